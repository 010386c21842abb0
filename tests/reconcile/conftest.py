from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model import keys
from dr_provider.reconcile.actions import callouts as verbs
from tests.reconcile.hooked import Bench, Hooks
from tests.support.lab import Lab

MakeLab = Callable[..., Lab]


@pytest.fixture
def make(tmp_path: Path) -> MakeLab:
    def lab(**topology: Any) -> Lab:
        return Lab(tmp_path / "project", **{"source_budget": "300ms", **topology})

    return lab


@pytest.fixture
def lab(make: MakeLab) -> Lab:
    return make()


class Clock:
    """The time of day of everything that `dr` stamps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = datetime.fromisoformat("2026-03-02T08:00:00+00:00")
        monkeypatch.setattr(keys, "now", lambda: self.time)

    def forward(self, minutes: float) -> None:
        self.time += timedelta(minutes=minutes)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A lab whose plan has these callouts and prompts; `{log}` in a command is the file that `said` reads."""
    monkeypatch.setenv("DR_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(verbs, "POLL", 0.01)

    def make(callouts: Hooks, prompts: Hooks | None = None, **topology: Any) -> Lab:
        def change(document: dict[str, Any]) -> None:
            document["plans"]["shop"] |= {"callouts": callouts, "prompts": prompts or {}}

        lab = Lab(tmp_path / "project", source_budget="300ms", change=change, **topology)
        lab.write(5)
        lab.protect()
        return lab

    return make
