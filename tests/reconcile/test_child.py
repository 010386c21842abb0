"""Commands of callouts: real processes, small ones, and what is left of them."""

from __future__ import annotations

import base64
import multiprocessing
import os
import select
import signal
import sys
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from dr_provider.reconcile.child import KEPT, Ended, Mask, run_child

ENVIRONMENT = {"PATH": os.environ["PATH"], "TOKEN": 'hunter2"&\nsecond line'}
LONG = 30.0
"""Seconds that nothing here takes: a command that is to hang hangs for longer."""


def run(folder: Path, *command: str, seconds: float = LONG, mask: Mask | None = None) -> Ended:
    return run_child(command, ENVIRONMENT, folder, seconds, mask or Mask())


def shell(folder: Path, script: str, *, seconds: float = LONG, mask: Mask | None = None) -> Ended:
    return run(folder, "sh", "-c", script, seconds=seconds, mask=mask)


@pytest.mark.parametrize(
    ("script", "wanted"),
    [
        ("echo said; echo on stderr >&2", Ended("exit", 0, output="said\non stderr")),
        ("echo before; exit 3", Ended("exit", 3, output="before")),
        ("kill -9 $$", Ended("signal", 9)),
        ("exec >&- 2>&-; exit 4", Ended("exit", 4)),
        ("cat; echo over", Ended("exit", 0, output="over")),
        ("printf 'a\\033[2Jb'", Ended("exit", 0, output="a\\x1b[2Jb")),
        ("exec 3>&1; { yes; echo $? >&3; } | head -n1 >/dev/null", Ended("exit", 0, output="141")),
        ("pwd -P", None),
    ],
)
def test_how_it_ends(tmp_path: Path, script: str, wanted: Ended | None) -> None:
    assert shell(tmp_path, script) == (wanted or Ended("exit", 0, output=str(tmp_path.resolve())))


def test_what_cannot_be_started_says_why(tmp_path: Path) -> None:
    assert run(tmp_path, "no-such-program") == Ended("missing", why="No such file or directory")
    assert run(tmp_path / "gone", "true").how == "missing"


def test_it_gets_this_environment_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "of the stack")
    found = {line.partition("=")[0] for line in shell(tmp_path, "env").output.splitlines()}
    # What shells and Python's own start add.
    assert found - {"PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"} == {"PATH", "TOKEN", "second line"}


# -- everything that it started ---------------------------------------------------------------------


def ended(pid: int) -> bool:
    """Whether the process is gone, once it had time to go."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 20)[0])
    finally:
        os.close(handle)


LEAVES = "mkfifo up; setsid sh -c 'setsid sleep 600 & echo $! $$; echo > up; exec sleep 600' & read up < up; "
"""A grandchild in a session of its own, and one of its own in another; their parent goes on once they are there."""


@pytest.mark.parametrize("rest", ["sleep 600", "trap '' TERM; sleep 600 & wait; wait", "exec >&- 2>&-; sleep 600"])
def test_at_its_time_out_it_ends_with_all_that_it_started(tmp_path: Path, rest: str) -> None:
    found = shell(tmp_path, f"{LEAVES}{rest}", seconds=2)
    assert found.how == "timeout"
    assert all(ended(int(pid)) for pid in found.output.split())


def test_what_it_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    found = shell(tmp_path, f"{LEAVES}exit 0")
    assert (found.how, found.number) == ("exit", 0)
    assert all(ended(int(pid)) for pid in found.output.split())


def test_it_ends_with_who_asked_for_it(tmp_path: Path) -> None:
    """A run that is killed leaves no callout behind that goes on beside the next run's."""
    pids = tmp_path / "pids"
    os.mkfifo(pids)
    fork = multiprocessing.get_context("fork")
    run = fork.Process(target=shell, args=(tmp_path, f"echo $$ > {pids}; setsid sleep 600 & wait"))
    run.start()
    assert run.pid is not None
    command = int(pids.read_text(encoding="utf-8"))
    os.kill(run.pid, signal.SIGKILL)
    run.join()
    assert ended(command)


def test_it_ends_when_nobody_is_left_to_end_it(tmp_path: Path) -> None:
    """Both the run and the supervisor are killed, before the supervisor could do anything."""
    pids = tmp_path / "pids"
    os.mkfifo(pids)
    run = multiprocessing.get_context("fork").Process(
        target=shell, args=(tmp_path, f"echo $$ > {pids}; exec sleep 600")
    )
    run.start()
    command = int(pids.read_text(encoding="utf-8"))
    supervisor = psutil.Process(command).ppid()
    os.kill(supervisor, signal.SIGSTOP)
    run.kill()
    run.join()
    os.kill(supervisor, signal.SIGKILL)
    assert ended(command)


def test_a_supervisor_that_is_killed_is_no_success_and_its_command_ends_with_it(tmp_path: Path) -> None:
    found = shell(tmp_path, "sleep 600 & echo $! $$; kill -9 $PPID; exec sleep 600")
    assert found.how == "lost"
    assert all(ended(int(pid)) for pid in found.output.split())


# -- secrets ----------------------------------------------------------------------------------------

SECRET = ENVIRONMENT["TOKEN"]


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        "a line: second line.",
        '"token": "hunter2\\"&"',
        f"?token={quote(SECRET, safe='')}",
        f"Basic {base64.b64encode(SECRET.encode()).decode()}",
    ],
)
def test_secrets_are_masked_in_every_form(text: str) -> None:
    masked = Mask([SECRET]).text(text)
    assert "***" in masked
    assert not any(part in masked for part in ("hunter2", "second", quote(SECRET), "aHVudGVy"))


def test_nothing_is_masked_without_secrets() -> None:
    assert Mask().text("as it is") == Mask([""]).text("as it is") == "as it is"


def test_a_longer_secret_is_masked_before_one_that_it_begins_with() -> None:
    assert Mask(["abc", "abcdef"]).text("abcdef abc") == "*** ***"


def test_output_is_bounded_and_its_end_is_kept(tmp_path: Path) -> None:
    said = run(tmp_path, sys.executable, "-c", f"print('start'); print('x' * {3 * KEPT}); print('end')").output
    assert said.startswith("[...]xxx")
    assert said.endswith("\nend")
    assert len(said) <= KEPT + len("[...]")


@pytest.mark.parametrize("shift", range(8))
def test_a_secret_that_the_bound_cuts_is_not_shown_in_part(tmp_path: Path, shift: int) -> None:
    mask = Mask(["hunter2"])
    tail = KEPT + mask.margin - shift
    said = run(tmp_path, sys.executable, "-c", f"print('y' * 99 + 'hunter2' + 'x' * {tail}, end='')", mask=mask).output
    assert said.startswith("[...]")
    assert not set(said.removeprefix("[...]")) & set("hunter2y")
