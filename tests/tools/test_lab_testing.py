"""`make test-lab` as a command: what it refuses, and that its lab is taken down however the tests end."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab import testing
from lab.layout import LabError


class Labs:
    """Notes what is made and removed, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.did: list[str] = []
        monkeypatch.delenv("KEEP", raising=False)
        monkeypatch.setattr(testing, "REPORTS", tmp_path)
        monkeypatch.setattr("lab.needs.install", lambda: self.did.append("packages"))
        monkeypatch.setattr("lab.machines.Lab.up", lambda name: self.did.append(f"up {name}"))
        monkeypatch.setattr("lab.machines.Lab.down", lambda name: self.did.append(f"down {name}"))

    def suites(self, monkeypatch: pytest.MonkeyPatch, *statuses: int | BaseException) -> None:
        """How pytest ends, suite by suite."""
        left = list(statuses)

        class Process:
            def __init__(self, words: list[str], **more: Any) -> None:
                self.did = words
                assert more["env"]["DR_LAB"] == testing.NAME

            def wait(self, timeout: float) -> int:
                status = left.pop(0)
                if isinstance(status, BaseException):
                    left.insert(0, 2)
                    raise status
                return status

            def poll(self) -> int | None:
                return None if left and left[0] == 2 else 0

            def send_signal(self, number: int) -> None:
                assert number == signal.SIGINT

        monkeypatch.setattr(subprocess, "Popen", Process)


@pytest.fixture
def labs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Labs:
    return Labs(monkeypatch, tmp_path)


ALWAYS = ["packages", "down test", "up test", "down test"]


def test_all_suites_run_and_the_lab_goes(
    labs: Labs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labs.suites(monkeypatch, 0, 0)
    assert testing.main([]) == 0
    assert labs.did == ALWAYS
    assert capsys.readouterr().out.count("passed in") == len(testing.SUITES)


@pytest.mark.parametrize("statuses", [(1, 0), (0, 1), (5, 0), (0, 5)])
def test_a_suite_that_fails_or_is_empty_fails_the_run_after_all_of_them(
    labs: Labs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], statuses: tuple[int, ...]
) -> None:
    labs.suites(monkeypatch, *statuses)
    assert testing.main([]) == 1
    assert labs.did == ALWAYS
    assert "FAILED (pytest ended with" in capsys.readouterr().out


def test_a_selection_may_leave_a_suite_empty(labs: Labs, monkeypatch: pytest.MonkeyPatch) -> None:
    labs.suites(monkeypatch, 5, 0)
    assert testing.main(["-k", "something"]) == 0


def test_the_lab_goes_after_a_run_that_hangs(labs: Labs, monkeypatch: pytest.MonkeyPatch) -> None:
    labs.suites(monkeypatch, subprocess.TimeoutExpired("pytest", 1), 0)
    assert testing.main([]) == 1
    assert labs.did == ALWAYS


def test_keep_leaves_the_lab_up(labs: Labs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEP", "1")
    labs.suites(monkeypatch, 1, 0)
    assert testing.main([]) == 1
    assert labs.did == ALWAYS[:-1]


def test_what_cannot_have_a_lab_is_refused_with_a_sentence(
    labs: Labs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise LabError("this is no Debian")

    monkeypatch.setattr("lab.needs.install", refuse)
    assert testing.main([]) == 1
    assert labs.did == []
    assert capsys.readouterr().err == "test-lab: this is no Debian\n"
