"""The examples of templates/callouts, run as they stand; only the programs and servers that they speak to are stand-ins."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model.callouts import Move
from dr_provider.model.loader import load
from dr_provider.reconcile.callout_run import CalloutFailed, carry_out
from tests.support.topologies import write_topology

EXAMPLES = Path(__file__).parents[2] / "templates" / "callouts"
MOVE = Move("planned", "east", "west", 2, "e1-s2-0102")


def play(folder: Path, **callout: Any) -> str:
    (folder / "callouts").symlink_to(EXAMPLES)

    def named(document: dict[str, Any]) -> None:
        document["vms"]["db"]["nics"][0]["names"] = ["db.shop.example.org"]
        document["vms"]["web"]["nics"][0] |= {
            "names": "web6",
            "address": {"east": "fd00:1::9/64", "west": "fd00:2::9/64"},
        }

    topology = load(write_topology(folder, plan={"callouts": {"a": {"after": "start", **callout}}}, change=named))
    return carry_out(topology, "shop", "a", MOVE, stop=lambda: None, say=lambda _line: None)[1]


@pytest.fixture
def program(tmp_path: Path) -> dict[str, str]:
    """A folder of stand-ins first in the callouts' PATH: they repeat their arguments and what they are sent."""
    for name in ("nsupdate", "curl"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        stand_in = tmp_path / "bin" / name
        stand_in.write_text(
            '#!/bin/sh\necho "$0 $*"; cat; for file in key body; do test ! -e $file || cat $file; done\n'
        )
        stand_in.chmod(0o700)
    return {"value": f"{tmp_path / 'bin'}:/usr/bin:/bin"}


def test_dns(tmp_path: Path, program: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNS_KEY", 'key "dr" { secret "c2VjcmV0"; };')
    said = play(tmp_path, command=["sh", "-eu"], script="callouts/dns.sh.j2",
                environment={"DNS_KEY": "env:DNS_KEY", "PATH": program})  # fmt: skip
    assert said.splitlines()[2:6] == [
        "update delete db.shop.example.org. A",
        "update delete web6. AAAA",
        "update add db.shop.example.org. 60 A 10.2.0.10",
        "update add web6. 60 AAAA fd00:2::9",
    ]
    assert said.endswith("send\n***\ndb.shop.example.org web6 now at west")


def test_chat(tmp_path: Path, program: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_WEBHOOK", "https://chat.example.org/hooks/hunter2")
    said = play(tmp_path, command=["sh", "-eu"], script="callouts/chat.sh.j2",
                environment={"CHAT_WEBHOOK": "env:CHAT_WEBHOOK", "PATH": program}).splitlines()  # fmt: skip
    assert said[0].endswith("--header Content-Type: application/json --data @body")
    assert said[1] == 'url = "***"'
    assert json.loads(said[2]) == {"text": "Plan shop (planned, east to west, epoch 2): after the start"}


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    class Balancer(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.append((self.path, str(self.headers["Authorization"]), json.loads(body)))
            self.send_response(200 if self.headers["Authorization"] == "Bearer t0ken" else 403)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    told: list[Any] = []
    server = HTTPServer(("127.0.0.1", 0), Balancer)
    vars(server)["told"] = told
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("token", "well"), [("t0ken", True), ("another", False)])
def test_load_balancer(
    tmp_path: Path, server: HTTPServer, monkeypatch: pytest.MonkeyPatch, token: str, well: bool
) -> None:
    monkeypatch.setenv("LB_TOKEN", token)
    url = {"value": f"http://127.0.0.1:{server.server_port}/api/pools/{{{{ plan }}}}"}
    keys: dict[str, Any] = {"command": ["python3"], "script": "callouts/load-balancer.py.j2"}
    keys["environment"] = {"LB_URL": url, "LB_TOKEN": "env:LB_TOKEN"}
    if well:
        assert play(tmp_path, **keys) == "members: 1; status 200"
    else:
        with pytest.raises(
            CalloutFailed, match=r"it ended with exit status 1; it said: urllib.error.HTTPError: HTTP Error 403"
        ):
            play(tmp_path, **keys)
    assert vars(server)["told"] == [
        ("/api/pools/shop", f"Bearer {token}", {"members": [{"name": "web", "address": "fd00:2::9"}]})
    ]
