"""Devices and links that swallow every call: their silence is waited out once, by all side by side, and not once an object."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dr_provider.arrays.embedded.array import EmbeddedArray
from dr_provider.model import faults, gate
from dr_provider.model.errors import MoveFailed, Unreachable
from tests.support.lab import Lab

WORD = "1: east is dark, confirmed by phone"
MANY: dict[str, Any] = {"vms": 40, "volumes": 10, "disk": "64KiB", "hosts_per_site": 4, "memory": "8MiB"}
EAST = ["array east-a", *(f"host east-{n}" for n in range(1, 5))]
SILENT = ("silent", "isolated", "operator")


class Waits:
    """Counts who was waited for. The waiters of one round go on only when all of them wait: one after the other they would not end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, expected: int) -> None:
        self.of: Counter[str] = Counter()
        self._round = threading.Barrier(expected)
        monkeypatch.setattr(gate.Gate, "_wait_for_answer", lambda at, look: self._answer(at, look))

    def _answer(self, at: gate.Gate, look: Callable[[], Sequence[faults.Fault]]) -> Sequence[faults.Fault]:
        found = look()
        if any(fault.kind in SILENT for fault in found):
            self.of[" ".join(at.what.split()[:2])] += 1
            self._round.wait(timeout=60)
            raise Unreachable(f"{at.what} gives no answer")
        return found


@pytest.mark.parametrize(
    ("options", "dark", "silent"),
    [
        (MANY, ["site:east"], EAST),
        (MANY, ["link:operator/east"], EAST),
        ({"sites": ("east", "west", "south"), "hosts_per_site": 1}, ["site:east"], ["array east-a", "host east-1"]),
        (
            {"sites": ("east", "west", "south"), "hosts_per_site": 1},
            ["site:east", "site:south"],
            ["array east-a", "array south-a", "host east-1", "host south-1"],
        ),
    ],
    ids=["40 VMs", "reach of the operator", "three sites", "two of three sites"],
)
def test_a_failover_waits_once_for_each_that_is_dark_and_for_all_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], dark: list[str], silent: list[str]
) -> None:
    lab = Lab(tmp_path, **options)
    lab.protect()
    for target in dark:
        lab.lose(target)
    waits = Waits(monkeypatch, len(silent))
    outcome = lab.move("west", word=WORD)
    assert outcome.failures == ()
    assert waits.of == dict.fromkeys(silent, 1)
    members = lab.topology.plans["shop"].members
    monkeypatch.undo()
    at_west = {p.vm for p in lab.view().places if p.running and p.site == "west"}
    assert at_west == set(members)


def test_a_link_that_swallows_transfers_is_tried_by_no_volume_after_the_first_that_met_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both arrays answer and say that they reach each other: only a transfer notices."""
    lab = Lab(tmp_path, vms=10, volumes=10, disk="64KiB", width=1, host_width=1)
    lab.protect()
    tried: list[str] = []
    met = threading.Event()

    def swallowed(self: EmbeddedArray, volume: str, *_args: Any, **_words: Any) -> int:
        assert not met.is_set(), f"{volume} was tried after silence was met"
        tried.append(volume)
        if len(tried) == wide:
            met.set()
        in_flight.wait(timeout=60)
        raise Unreachable(f"{self.name} has no answer from east-a")

    wide = 8  # as many actions of the run as go abreast with these widths
    in_flight = threading.Barrier(wide)
    monkeypatch.setattr(EmbeddedArray, "receive", swallowed)
    with pytest.raises(MoveFailed, match="called off"):
        lab.move("west")
    assert len(tried) == wide
    monkeypatch.undo()
    assert set(lab.running().values()) == {"east"}
    assert lab.move("west").failures == ()
