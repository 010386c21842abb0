from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model import keys
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
