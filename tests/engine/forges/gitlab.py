"""GitLab CI: jobs by stage and rule; its API for packages and notes is served on loopback, for the steps' own curl."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from ruamel.yaml import YAML

from tests.engine.forges.forge import Forge

__all__ = ["GitLab"]


@dataclass
class GitLab(Forge):
    name: str = "gitlab"
    file: str = ".gitlab-ci.yml"

    def _run(self, event: Mapping[str, str]) -> bool:
        self.log, self.steps = "", []
        sources = {"pull_request": "merge_request_event", "by hand": "web"}
        config = YAML(typ="safe").load(self.text)
        with self._served() as address:
            known = {
                "CI_PIPELINE_SOURCE": sources.get(event["event"], event["event"]),
                "CI_COMMIT_BRANCH": "" if event["event"] == "pull_request" else "main",
                "CI_MERGE_REQUEST_LABELS": "",
                "CI_MERGE_REQUEST_IID": "7",
                "CI_PROJECT_ID": "3",
                "CI_API_V4_URL": address,
                "CI_JOB_TOKEN": "job token",
                "DR_COMMENT_TOKEN": "comment token",
                "DR_TASK": event.get("task", ""),
                "PULUMI_BACKEND_URL": self.project.environment["PULUMI_BACKEND_URL"],
                "PULUMI_CONFIG_PASSPHRASE": "passphrase",
                # Who started the pipeline, and of a job that is started by hand, who started that.
                "GITLAB_USER_LOGIN": self.approver,
                **{name: str(value) for name, value in config["variables"].items()},
            }
            jobs = {name: spec for name, spec in config.items() if isinstance(spec, dict) and "script" in spec}
            order = sorted(jobs, key=lambda name: config["stages"].index(jobs[name]["stage"]))
            done = [self._job(name, jobs[name], config, known) for name in order if self._is_in(jobs[name], known)]
        return bool(done) and all(done)

    def _job(self, name: str, spec: Mapping[str, Any], config: Mapping[str, Any], known: Mapping[str, str]) -> bool:
        self._take_away()
        self.steps.append(name)
        for other in spec.get("needs", ()):
            if not self._kept(other).exists():
                return False
            shutil.copytree(self._kept(other), self.project.folder / "dr-ci")
        lines = [*config["default"]["before_script"], *spec["script"]]
        done = self.shell("\n".join(lines), {**known, **{n: str(v) for n, v in spec.get("variables", {}).items()}})
        artifacts = spec.get("artifacts")
        if artifacts and (done.returncode == 0 or artifacts.get("when") == "always"):
            self._keep(name, artifacts["paths"][0])
        return bool(done.returncode == 0)

    @staticmethod
    def _is_in(spec: Mapping[str, Any], known: Mapping[str, str]) -> bool:
        def value(found: re.Match[str]) -> str:
            return repr(known.get(found[1], ""))

        for rule in spec["rules"]:
            text = re.sub(r"\$(\w+) =~ /(\w+)/", lambda f: str(f[2] in known.get(f[1], "")), rule["if"])
            text = re.sub(r"\$(\w+)", value, text).replace("&&", "and").replace("||", "or")
            if eval(text, {"__builtins__": {}}):
                return True
        return False

    @contextmanager
    def _served(self) -> Iterator[str]:
        """GitLab's API, as far as packages and notes go."""
        folder = self.folder

        class Api(BaseHTTPRequestHandler):
            def _file(self) -> Path:
                assert self.headers["JOB-TOKEN"] == "job token"
                assert re.fullmatch(r"/projects/3/packages/generic/[\w.-]+/[\w.-]+/[\w.-]+", self.path), self.path
                return folder / "artifacts" / self.path.replace("/", "_")

            def _body(self) -> bytes:
                return self.rfile.read(int(self.headers["Content-Length"]))

            def _end(self, status: int, body: bytes = b"") -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_PUT(self) -> None:
                self._file().write_bytes(self._body())
                self._end(201)

            def do_GET(self) -> None:
                self._end(200, self._file().read_bytes()) if self._file().exists() else self._end(404)

            def do_POST(self) -> None:
                assert self.headers["PRIVATE-TOKEN"] == "comment token"
                assert self.path == "/projects/3/merge_requests/7/notes"
                (folder / "comment.md").write_text(parse_qs(self._body().decode())["body"][0])
                self._end(201)

            def log_message(self, *_: object) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def _comment(self) -> str:
        return (self.folder / "comment.md").read_text()
