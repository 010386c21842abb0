"""Killed anywhere: another run ends where an undisturbed one would, nothing doubled, nothing orphaned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from dr_provider.reconcile.run import Outcome
from tests.support.kills import killed_at
from tests.support.lab import Lab

WRITTEN, LATER = 20, 13


@dataclass(frozen=True)
class Case:
    """A kind of move: what is lost before, how the move is asked for, where the plan ends, at which epoch, and each ledger's end."""

    prepare: Callable[[Lab], None]
    move: Callable[[Lab], Outcome]
    again: Callable[[Lab], Outcome]
    site: str
    epoch: int
    last: int | None
    protected_at: str | None
    points: int


def _planned(lab: Lab) -> Outcome:
    return lab.move("west")


def _forced(lab: Lab) -> Outcome:
    return lab.move("west", word="1: power lost at east")


def _gone(lab: Lab) -> None:
    lab.lose("site:east")


def _hosts_gone(lab: Lab) -> None:
    lab.lose("host:east-1")
    lab.lose("host:east-2")


def _returned(lab: Lab) -> None:
    _gone(lab)
    _forced(lab)
    lab.heal("site:east")


def _split(lab: Lab) -> None:
    lab.lose("site:east", running=True)
    _forced(lab)
    lab.heal("site:east")
    lab.move()


def _repair(lab: Lab) -> Outcome:
    return lab.move()


def _resolve(lab: Lab) -> Outcome:
    return lab.move("east", goal="resolve")


CASES = {
    "planned": Case(lambda lab: None, _planned, _planned, "west", 2, WRITTEN + LATER, "east", 28),
    "site lost": Case(_gone, _forced, _forced, "west", 2, WRITTEN, None, 17),
    "hosts lost": Case(_hosts_gone, _planned, _planned, "west", 2, None, "east", 25),
    "returned": Case(_returned, _repair, _repair, "west", 2, WRITTEN, "east", 10),
    "split resolved": Case(_split, _resolve, _resolve, "east", 3, WRITTEN + LATER, "west", 19),
}

POINTS = [(name, at) for name, case in CASES.items() for at in range(case.points)]


@pytest.mark.parametrize(("name", "at"), POINTS, ids=[f"{name}-{at}" for name, at in POINTS])
def test_a_killed_run_is_finished_by_the_next(tmp_path: Path, name: str, at: int) -> None:
    case = CASES[name]
    lab = Lab(tmp_path, source_budget="300ms")
    lab.write(WRITTEN)
    lab.protect()
    lab.write(LATER)
    case.prepare(lab)
    # Before action n+1 is after action n; every second point takes the other side of its action, so both are walked.
    assert killed_at(lambda: case.move(lab), at, "before" if at % 2 == 0 else "after")

    outcome = case.again(lab)

    assert outcome.failures == ()
    assert lab.running() == dict.fromkeys(("db", "app", "web"), case.site)
    if case.last is not None:
        assert set(lab.last().values()) == {case.last}
    assert all(lab.ledger(vm).intact for vm in ("db", "app", "web"))
    view = lab.view()
    assert view.epoch is not None
    assert (view.epoch.number, view.claims, view.split) == (case.epoch, {}, None)
    hosts = [state for name in lab.topology.hosts if (state := view.seen.host(name)) is not None]
    assert [kept for host in hosts for kept in host.reservations] == []
    if case.protected_at is not None:
        assert any(point.epoch == case.epoch and point.complete_at(case.protected_at) for point in view.points)
    assert lab.decide().actions == (), "a second run has nothing to do"
