"""Callouts that the stack runs: for a new committed epoch, with the real plugin, here and over a real sshd; and for nothing else."""

from __future__ import annotations

import getpass
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dr_provider.reconcile.decision import Want
from dr_provider.reconcile.run import run_plan
from tests.engine.bench import ROOT, Project

PLUGIN = "pulumi-resource-command"
SHARED = ROOT.parent / "shared" / "pulumi"


@pytest.fixture(autouse=True)
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{os.environ.get('PATH', '')}{os.pathsep}{SHARED}"
    if shutil.which(PLUGIN, path=path) is None:
        pytest.skip(
            f"there is no {PLUGIN} on PATH or in {SHARED}: the plugin of pulumi-command, which downloads by itself where the internet is reached"
        )
    monkeypatch.setenv("PATH", path)


def calling(callouts: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["plans"]["shop"]["callouts"] = callouts

    return change


def script(file: Path, after: str = "") -> dict[str, str]:
    text = f'echo "$DR_EPOCH $DR_KIND {{{{ from_site }}}} {{{{ to_site }}}} {{{{ vms.db.ip }}}} {{{{ vms.db.host }}}}" >>{shlex.quote(str(file))}\n{after}'
    return {"text": text}


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def rewrite(shop: Project, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(shop.topology_file.read_text())
    change(document)
    shop.topology_file.write_text(json.dumps(document))


def test_a_callout_runs_for_a_new_epoch_and_for_nothing_else(project: Callable[..., Project], tmp_path: Path) -> None:
    told = tmp_path / 'told it\'s "so"'
    dns = {"after": "move", "by": "pulumi", "command": ["sh", "-eu"], "script": script(told)}
    shop = project(change=calling({"dns": dns}))
    shop.make_stack(activeSites={"shop": "east"})
    shop.up()
    shop.protect()
    assert lines(told) == [], "the first `up` runs none"
    shop.no_changes()

    shop.configure(activeSites={"shop": "west"})
    assert "local:Command" in shop.preview().text
    assert lines(told) == [], "a preview runs none"
    shop.up()
    host = shop.running()["db"]
    moved = f"2 planned east west 10.2.0.10 {host}"
    assert lines(told) == [moved]
    shop.no_changes()

    def other(document: dict[str, Any]) -> None:
        document["plans"]["shop"]["backup"]["keep"] = {"last": 9}
        document["plans"]["shop"]["callouts"]["dns"]["script"] = script(told, "true\n")

    rewrite(shop, other)
    shop.up()
    assert lines(told) == [moved], "neither another change nor a template that is edited runs it"
    shop.no_changes()

    # Moved without the stack, and once it has failed: the next `up` runs it, and again until it was well.
    run_plan(shop.world(), "shop", Want(site="east"))
    rewrite(shop, lambda document: document["plans"]["shop"]["callouts"]["dns"].update(script=script(told, "exit 3\n")))
    shop.configure(activeSites={"shop": "east"})
    assert "exit status 3" in shop.up(ok=False).text
    assert shop.status()["activeSite"] == "east"
    rewrite(shop, lambda document: document["plans"]["shop"]["callouts"]["dns"].update(script=script(told)))
    shop.up()
    home = f"3 failback west east 10.1.0.10 {shop.running()['db']}"
    assert lines(told) == [moved, home, home]
    shop.no_changes()


@pytest.mark.long
def test_one_that_is_declared_late_waits_for_the_next_epoch_unless_asked(shop: Project, tmp_path: Path) -> None:
    late, first = tmp_path / "late", tmp_path / "first"
    common = {"after": "move", "by": "pulumi", "command": ["sh", "-eu"]}
    hooks = {"late": {**common, "script": script(late)}, "first": {**common, "script": script(first), "atFirst": True}}
    shop.configure(activeSites={"shop": "west"})
    shop.up()
    rewrite(shop, calling(hooks))
    shop.up()
    assert (lines(late), [line.split()[0] for line in lines(first)]) == ([], ["2"])
    shop.no_changes()
    # In the same `up` as a move, it is for that move.
    rewrite(shop, calling({**hooks, "third": {**common, "script": script(tmp_path / "third")}}))
    shop.configure(activeSites={"shop": "east"})
    shop.up()
    assert [[line.split()[0] for line in lines(tmp_path / name)] for name in ("late", "first", "third")] == [["3"], ["2", "3"], ["3"]]  # fmt: skip
    # A saved plan with one in it holds for it, too.
    shop.configure(activeSites={"shop": "west"})
    shop.preview("--save-plan", str(tmp_path / "plan.json"))
    shop.run("up", "--yes", "--plan", str(tmp_path / "plan.json"))
    assert [line.split()[0] for line in lines(late)] == ["3", "4"]


# -- over SSH ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sshd:
    port: int
    host_key: str
    agent: str


_CONFIG = """Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin prohibit-password
"""


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None or shutil.which("ssh-agent") is None:
        pytest.skip("there is no sshd and ssh-agent here: install openssh-server and openssh-client")
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / name)]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    (folder / "config").write_text(_CONFIG.format(port=port, folder=folder))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where its unprivileged part is kept
    with subprocess.Popen(
        [program, "-D", "-e", "-f", str(folder / "config")], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stderr is not None
        said = next((line for line in server.stderr if "listening" in line), "sshd ended before it listened")
        assert "Server listening" in said, said
        # It goes into the background once it can be asked.
        started = subprocess.run(
            ["ssh-agent", "-a", str(folder / "agent")], capture_output=True, text=True, check=True
        ).stdout
        agent = int(started.partition("SSH_AGENT_PID=")[2].partition(";")[0])
        try:
            known = {**os.environ, "SSH_AUTH_SOCK": str(folder / "agent")}
            subprocess.run(["ssh-add", "-q", str(folder / "user")], env=known, check=True, stdin=subprocess.DEVNULL)
            yield Sshd(port, " ".join((folder / "host.pub").read_text().split()[:2]), str(folder / "agent"))
        finally:
            os.kill(agent, signal.SIGTERM)
            server.terminate()


@pytest.mark.long
def test_one_on_another_machine(
    project: Callable[..., Project], sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", sshd.agent)
    told = tmp_path / "told"
    remote = {"host": "127.0.0.1", "port": sshd.port, "user": getpass.getuser(), "hostKey": sshd.host_key}
    dns = {"after": "move", "by": "pulumi", "remote": remote, "command": ["sh", "-eu"], "script": script(told)}
    shop = project(change=calling({"dns": dns}))
    shop.make_stack(activeSites={"shop": "east"})
    shop.up()
    shop.protect()
    assert lines(told) == []
    shop.configure(activeSites={"shop": "west"})
    shop.up()
    assert [line.split()[:4] for line in lines(told)] == [["2", "planned", "east", "west"]]
    shop.no_changes()
    assert "PRIVATE KEY" not in shop.run("stack", "export").text

    # Another machine at that address is not believed.
    other = {
        **dns,
        "remote": {
            **remote,
            "hostKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3p0RIVlOaaKEmfD5/kIYBbJTV3PdhTO1VvIOEqu3vE",
        },
    }
    rewrite(shop, calling({"dns": other}))
    shop.configure(activeSites={"shop": "east"})
    shop.up(ok=False)
    assert shop.status()["activeSite"] == "east"
    assert len(lines(told)) == 1
