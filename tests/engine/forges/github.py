"""GitHub Actions: jobs of steps, expressions, outputs, artifacts; `gh` is a small program of the tests' own, which answers as GitHub's API
does (https://docs.github.com/rest/actions/artifacts, https://docs.github.com/rest/actions/workflow-runs) and has a real jq."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.engine.forges.forge import Forge

__all__ = ["GitHub"]

_GH = """#!{python}
import json, pathlib, shutil, sys
import jq
forge = pathlib.Path({folder!r})
words = sys.argv[1:]
def after(option): return words[words.index(option) + 1]
def answer(document):
    for found in jq.compile(after("--jq")).input_value(document):
        print(found if isinstance(found, str) else json.dumps(found))
if words[:2] == ["pr", "comment"]:
    assert "--edit-last" in words and "--create-if-none" in words
    shutil.copy(after("--body-file"), forge / f"comment-{{words[2]}}.md")
elif words[0] == "api" and "/artifacts?name=" in words[1]:
    name = words[1].partition("name=")[2]
    run = {{"id": 17, "repository_id": 3, "head_repository_id": 3}}
    there = (forge / "artifacts" / name).exists()
    answer({{"total_count": int(there), "artifacts": [{{"name": name, "expired": False, "workflow_run": run}}] if there else []}})
elif words[0] == "api" and words[1].endswith("/runs/41/approvals"):
    who = (forge / "approver").read_text()
    answer([{{"state": "approved", "comment": "", "user": {{"login": who}}}}] if who else [])
elif words[:3] == ["run", "download", "17"]:
    shutil.copytree(forge / "artifacts" / after("--name"), after("--dir"))
else:
    sys.exit(f"gh {{words}}: not of a file that dr init-ci writes")
"""


_TOKEN = re.compile(r"'[^']*'|[A-Za-z_][\w.-]*(?:\(\))?|==|!=|&&|\|\||[!()]")


@dataclass
class GitHub(Forge):
    name: str = "github"
    file: str = ".github/workflows/dr.yml"

    def __post_init__(self) -> None:
        super().__post_init__()
        (self.folder / "bin").mkdir()
        gh = self.folder / "bin" / "gh"
        gh.write_text(_GH.format(python=sys.executable, folder=str(self.folder)))
        gh.chmod(0o755)

    def _run(self, event: Mapping[str, str]) -> bool:
        self.log, self.steps = "", []
        crons = {"protect": "*/15 * * * *", "drift": "17 5 * * *", "drill": "17 3 * * 0"}
        names = {"by hand": "workflow_dispatch"}
        known: dict[str, Any] = {
            "github.event_name": names.get(event["event"], event["event"]),
            "github.event.schedule": crons.get(event.get("task", "")),
            "github.event.pull_request.head.repo.full_name": "team/shop",
            "github.event.pull_request.number": "7",
            "github.repository": "team/shop",
            "github.ref_name": "main",
            "github.token": "token",
            "vars.PULUMI_BACKEND_URL": self.project.environment["PULUMI_BACKEND_URL"],
            "secrets.PULUMI_CONFIG_PASSPHRASE": "passphrase",
            "secrets.PULUMI_ACCESS_TOKEN": "",
        }
        (self.folder / "approver").write_text(self.approver)
        workflow = YAML(typ="safe").load(self.text)
        done: dict[str, bool] = {}
        for job, spec in workflow["jobs"].items():
            needs = spec.get("needs")
            if "if" in spec and not self._value(str(spec["if"]), known):
                continue
            if needs is not None and not done.get(needs):
                continue
            environment = self._filled(str(spec.get("environment", "")), known)
            # A job of an environment with required reviewers begins when one of them has said yes.
            if environment.endswith("-approval") and self.approver == "":
                self.log += f"waiting for a reviewer of {environment}\n"
            done[job] = self._job(job, workflow, spec, known)
        return bool(done) and all(done.values())

    def _job(self, job: str, workflow: Mapping[str, Any], spec: Mapping[str, Any], known: dict[str, Any]) -> bool:
        self._take_away()
        folder = self.folder / "job"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        files = {name: folder / name for name in ("GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")}
        base = {**workflow["env"], **spec.get("env", {})}
        green = True
        for number, step in enumerate(spec["steps"]):
            condition = str(step.get("if", "success()"))
            state = {"success()": green, "always()": True, "cancelled()": False}
            if "()" not in condition:
                condition = f"{condition} && success()"
            if not self._value(condition, {**known, **state}):
                known[f"steps.{step.get('id')}.outcome"] = "skipped"
                continue
            self.steps.append(f"{job}: {step.get('name') or step.get('uses')}")
            well = self._uses(step, known) if "uses" in step else self._script(step, base, files, known)
            known[f"steps.{step.get('id', number)}.outcome"] = "success" if well else "failure"
            for name, value in self._outputs(files["GITHUB_OUTPUT"]):
                known[f"steps.{step.get('id', number)}.outputs.{name}"] = value
            green = green and well
        for name, value in spec.get("outputs", {}).items():
            known[f"needs.{job}.outputs.{name}"] = self._filled(value, known)
        if files["GITHUB_STEP_SUMMARY"].exists():
            shutil.copy(files["GITHUB_STEP_SUMMARY"], self.folder / "summary.md")
        return green

    def _uses(self, step: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
        action, given = step["uses"].partition("@")[0], step.get("with", {})
        if action == "actions/upload-artifact":
            self._keep(self._filled(given["name"], known), given["path"])
        elif action == "actions/download-artifact":
            shutil.copytree(self._kept(given["name"]), self.project.folder / given["path"])
        else:
            assert action == "actions/checkout", action
        return True

    def _script(
        self, step: Mapping[str, Any], base: Mapping[str, Any], files: Mapping[str, Path], known: Mapping[str, Any]
    ) -> bool:
        given = {**base, **step.get("env", {})}
        added = files["GITHUB_PATH"].read_text().split() if files["GITHUB_PATH"].exists() else []
        path = os.pathsep.join([*reversed(added), str(self.folder / "bin"), self.environment["PATH"]])
        environment = {
            **{name: self._filled(str(value), known) for name, value in given.items()},
            **{name: str(file) for name, file in files.items()},
            "GITHUB_REPOSITORY": "team/shop",
            "GITHUB_RUN_ID": "41",
            "PATH": path,
        }
        files["GITHUB_OUTPUT"].unlink(missing_ok=True)
        shell = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail")
        return bool(self.shell(self._filled(step["run"], known), environment, *shell).returncode == 0)

    @staticmethod
    def _outputs(file: Path) -> Iterator[tuple[str, str]]:
        for line in file.read_text().splitlines() if file.exists() else ():
            name, _, value = line.partition("=")
            yield name, value

    def _filled(self, text: str, known: Mapping[str, Any]) -> str:
        return re.sub(r"\$\{\{(.*?)\}\}", lambda found: str(self._value(found[1], known)), text)

    @staticmethod
    def _value(expression: str, known: Mapping[str, Any]) -> Any:
        """Of the expressions that the files use: names, texts, comparisons, and, or, not."""
        expression = expression.strip().removeprefix("${{").removesuffix("}}")
        words = {"&&": " and ", "||": " or ", "!": " not ", "==": "==", "!=": "!=", "(": "(", ")": ")"}
        found = [
            words[token] if token in words else token if token.startswith("'") else f"known[{token!r}]"
            for token in _TOKEN.findall(expression)
        ]
        return eval("".join(found), {"__builtins__": {}}, {"known": known})

    def _comment(self) -> str:
        return (self.folder / "comment-7.md").read_text()
