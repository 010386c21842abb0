"""Clocks twenty minutes apart: no order and no deletion goes by them, and what was written after a commit is known all the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dr_provider.model import keys
from dr_provider.model.codec import dump
from dr_provider.model.records import Declared
from dr_provider.model.state import Observation
from dr_provider.reconcile.clocks import came_after, clocks_of
from dr_provider.reconcile.view import plan_view
from tests.support.clocks import clocks, operator
from tests.support.lab import Lab
from tests.support.situations import minute, shop, view

VMS = ("db", "app", "web")
WORD = "1: power lost at east"
SHOP = shop()
APART = [(-20, 20, 0), (20, -20, 20), (20, 20, -20), (-20, -20, 20), (0, 20, -20), (0, -20, 0)]
"""Minutes by which the array at east, the machine of the failover, and that of the run afterwards are ahead. West's is 10 off the other way."""
EAST, WEST = "east-a", "west-a"


def seen(**shown: str) -> Observation:
    """Both arrays answer, and their clocks show this."""
    found = view().seen
    arrays = dict(found.arrays)
    for name in (EAST, WEST):
        state = found.array(name)
        assert state is not None
        arrays[name] = replace(state, clock=shown.get(name[:4], ""))
    return replace(found, arrays=arrays)


@pytest.mark.parametrize(
    ("time", "then", "now", "after"),
    [
        # Its own clock was noted: nothing else counts.
        (101, {EAST: 100, WEST: 500}, {"east": 130, "west": 530}, True),
        (99, {EAST: 100, WEST: 50}, {"east": 130, "west": 80}, False),
        # It was silent: the other's clock tells how long ago the moment is. East is 20 minutes ahead, then behind.
        (119, {WEST: 100}, {"east": 150, "west": 130}, False),
        (121, {WEST: 100}, {"east": 150, "west": 130}, True),
        (79, {WEST: 100}, {"east": 110, "west": 130}, False),
        (81, {WEST: 100}, {"east": 110, "west": 130}, True),
        # Its clock was put back since: it stays open, and that asks.
        (119, {WEST: 100}, {"east": 60, "west": 130}, True),
        # Nothing was noted, or those that were noted are silent about it now: the moment as its author's clock had it.
        (101, {}, {"east": 150, "west": 130}, True),
        (99, {}, {"east": 150, "west": 130}, False),
        (99, {WEST: 50}, {"east": 150}, False),
        (101, {WEST: 500}, {"west": 130}, True),
    ],
)
def test_whether_a_write_came_after_a_moment(time: int, then: dict[str, int], now: dict[str, int], after: bool) -> None:
    shown = seen(**{name: minute(at) for name, at in now.items()})
    noted = {name: minute(at) for name, at in then.items()}
    assert came_after(shown, EAST, minute(time), noted, minute(100)) is after


def test_only_clocks_that_answer_are_noted() -> None:
    assert clocks_of(seen(west=minute(7)), (EAST, WEST)) == {WEST: minute(7)}
    assert clocks_of(view(silent=[EAST]).seen, (EAST,)) == {}


@pytest.mark.parametrize(("east", "then", "later"), APART)
def test_a_powered_off_side_that_returns_is_no_split(tmp_path: Path, east: int, then: int, later: int) -> None:
    lab = Lab(tmp_path, source_budget="200ms")
    with clocks({EAST: east, WEST: -east / 2}):
        lab.write(20)
        lab.protect()
        lab.write(64)
        lab.lose("site:east")
        with operator(then):
            assert lab.move("west", word=WORD).failures == ()
        lab.heal("site:east")
        with operator(later):
            assert lab.move().failures == ()
        assert (lab.view().split, lab.status()["protected"]) == (None, True)
        assert any(name.startswith("vol-1.safety.") for name in lab.view().seen.array(EAST).volumes)  # type: ignore[union-attr]


@pytest.mark.parametrize(("east", "then", "later"), APART)
def test_a_side_that_wrote_after_the_commit_is_a_split(tmp_path: Path, east: int, then: int, later: int) -> None:
    """Nobody sees its guests run: only what they wrote is there when it returns."""
    lab = Lab(tmp_path, source_budget="200ms")
    with clocks({EAST: east, WEST: -east / 2}):
        lab.write(20)
        lab.protect()
        lab.lose("site:east", running=True)
        with operator(then):
            assert lab.move("west", word=WORD).failures == ()
        lab.write_at("east", 64)
        lab.heal("site:east")
        lab.lose("site:east")
        lab.heal("site:east")
        with operator(later):
            outcome = lab.move()
        assert lab.view().split is not None, outcome.warnings
        assert any("dr resolve" in sentence for sentence in outcome.failures)


@pytest.mark.parametrize("back", [-20, 20])
def test_points_stand_in_the_order_of_their_numbers_and_the_newest_stay(tmp_path: Path, back: int) -> None:
    """Whoever takes over has a clock that is behind, or ahead: what was taken later counts as later, and is not what is pruned."""
    lab = Lab(tmp_path, source_budget="200ms", backup={"every": "15m", "consistency": "crash", "keep": {"last": 2}})
    with operator(-back):
        lab.write(20)
        lab.protect()
        lab.protect()
    with operator(back), clocks({EAST: -back, WEST: back}):
        assert lab.move("west").failures == ()
        last = [lab.protect().point for _ in range(3)][-2:]
    points = lab.view().points
    assert [p.order for p in points] == sorted(p.order for p in points)
    kept = [p.id for p in points if p.complete_at("west")]
    assert kept[-2:] == last


def test_what_a_stack_declared_last_goes_by_epochs_not_by_clocks() -> None:
    """An array that was away still has what the stack declared before, by a machine whose clock is ahead."""
    key = keys.declared_key(SHOP.name, "project/stack", "shop")
    found = view().seen
    arrays = dict(found.arrays)
    for name, record in (
        (EAST, Declared("shop", "east", minute(120), 2)),
        (WEST, Declared("shop", "west", minute(105), 3)),
    ):
        state = found.array(name)
        assert state is not None
        arrays[name] = replace(state, records={**state.records, key: dump(record)})
    assert plan_view(SHOP, "shop", replace(found, arrays=arrays)).declared["project/stack"].site == "west"
