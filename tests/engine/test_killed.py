"""The engine killed in the middle of a move, alone and with its whole process group; then `pulumi cancel` and `up`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.engine.bench import Project


@pytest.mark.parametrize("group", [False, True], ids=["engine", "group"])
def test_killed_in_mid_move_then_cancel_and_up(shop: Project, group: bool) -> None:
    marks = {vm: r.last + r.buffered for vm in shop.topology.vms if (r := shop.bench.ledger(vm))}
    shop.configure(activeSites={"shop": "west"})
    # Slow enough that the kill comes between claim and commit.
    for target in ("array:west-a", "array:east-a"):
        shop.bench.slow(target, 0.15)
    log = shop.folder / "killed.log"
    with log.open("w") as out:
        engine = subprocess.Popen(
            shop.command("up", "--yes", "--skip-preview"),
            cwd=shop.folder,
            env=shop.environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _wait_for(log, "stop VM web")
    family = psutil.Process(engine.pid).children(recursive=True)
    ours = [process for process in family if any("launcher.py" in word for word in process.cmdline())]
    assert ours
    if group:
        # The engine puts what it starts into groups of their own; a machine that loses power knows no groups.
        os.killpg(engine.pid, signal.SIGKILL)
        _kill(family)
    else:
        engine.kill()
    engine.wait()
    # Nothing of ours may go on for long: the provider ends at the next action. The engine's own helpers do, and are ended here.
    _, alive = psutil.wait_procs(ours, timeout=20)
    assert not alive, f"{alive} go on"
    _kill(family)
    for target in ("array:west-a", "array:east-a"):
        shop.bench.heal(target)
    shop.run("cancel", "--yes", ok=None)
    shop.up()
    found = shop.status()
    assert (found["activeSite"], found["epoch"], found["phase"], found["protected"]) == ("west", 2, "steady", True)
    assert {vm: shop.bench.ledger(vm).last for vm in shop.topology.vms} == marks
    assert set(shop.running().values()) <= {"west-1", "west-2"}
    assert shop.exports()["shop"]["activeSite"] == "west"
    shop.no_changes()


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _wait_for(log: Path, text: str) -> None:
    until = time.monotonic() + 60
    while text + " on" not in log.read_text() or "done" not in log.read_text():
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.02)
