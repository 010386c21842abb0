"""What a killed run leaves held, and what the next one makes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dr_provider.model.records import Lease
from dr_provider.reconcile import lease as leases
from dr_provider.reconcile.leftovers import stale_holds
from dr_provider.reconcile.resumed import found_unfinished
from tests.support.situations import (
    ACTIVE,
    LEFT,
    P1,
    P2,
    RETURNED,
    Point,
    Side,
    answer,
    claim,
    epoch,
    ids,
    lease,
    minute,
    moved,
    shop,
    view,
)

SENT = Point(1, 2, "west")
THREE = shop(sites=("east", "west", "south"))


def held(*tags: str, by: Point = P2) -> Point:
    return replace(by, holds=tags)


def west(*points: Point, vms: Any = "running") -> Side:
    return Side(points=points, vms=vms)


@pytest.mark.parametrize(
    ("situation", "stale"),
    [
        # The move to west was committed, and its run killed: the fork's hold takes the place of the move's while a copy is behind it.
        ({"west": west(P1, held("point.id-2")), "east": RETURNED}, {("point.id-2", "fork.e2")}),
        ({"west": west(P1, held("point.id-2", "fork.e2"), SENT), "east": replace(LEFT, points=(P1, P2, SENT))},
         {("point.id-2", None), ("fork.e2", None)}),
        # A fork that is needed, and a hold of something else, stay.
        ({"west": west(P1, held("fork.e2", "common.east-a.x", "drill.d")), "east": RETURNED}, set()),
        ({"west": west(P1, held("fork.e2"), SENT), "silent": ["east-a"]}, set()),
        # An earlier move's, which was called off.
        ({"west": west(P1, held("point.gone"), SENT), "east": LEFT}, {("point.gone", None)}),
        # One that is under way holds what it has chosen, and the forks of before stay until it is over.
        ({"west": west(P1, held("fork.e2"), SENT), "east": replace(LEFT, points=(P1, held("point.id-3", by=P2), SENT)),
          "claim": claim("east", 3)}, set()),
    ],
)  # fmt: skip
def test_no_hold_outlives_its_reason(situation: dict[str, Any], stale: set[tuple[str, str | None]]) -> None:
    seen = moved(**situation)
    assert {(hold.tag, hold.becomes) for hold in stale_holds(seen)} == stale
    if "claim" not in situation:
        assert [i for i in ids(answer(seen)) if i.startswith("let-go")] == (["let-go:west-a"] if stale else [])


def test_before_a_plan_is_made_nothing_is_stale() -> None:
    assert stale_holds(view(epochs=())) == []


def test_a_point_for_the_end_of_a_cascade_goes_by_way_of_the_copy_between() -> None:
    """A run was killed when the new point had come to the copy between: the next one takes another, which that copy lacks."""
    points = (P1, P2, SENT)
    decision = answer(
        moved(
            THREE,
            west=replace(ACTIVE, points=points),
            east=replace(LEFT, points=points),
            south=Side("replica", points=(P1, P2)),
        )
    )
    sends = {a.id: (a.of["source"], a.of["target"], a.after) for a in decision.actions if a.verb == "send"}
    assert sends["send:vol-1@east"] == ("west-a", "east-a", ("backup",))
    assert sends["send:vol-1@south"] == ("east-a", "south-a", ("send:vol-1@east",))


@pytest.mark.parametrize(
    ("past", "wanted"),
    [
        # Killed after the claim was on record as aborted: what was stopped is started by the same command again.
        ((epoch(), epoch(2, "west", state="aborted")), ["attach:db", "start:db"]),
        ((epoch(),), None),
    ],
)
def test_a_move_that_was_called_off_is_called_off_again_as_far_as_something_is_left(
    past: tuple[Any, ...], wanted: list[str] | None
) -> None:
    off = {"db": "off", "app": "running", "web": "running"}
    decision = answer(view(east=Side(vms=off), epochs=past), goal="abort")  # type: ignore[arg-type]
    if wanted is None:
        assert "nothing to call off" in decision.refused[0]
    else:
        assert (ids(decision), decision.refused) == (wanted, ())
        assert "was called off already" in decision.notes[0]


def test_a_move_called_off_long_ago_leaves_nothing_to_call_off() -> None:
    assert "nothing to call off" in answer(view(epochs=(epoch(), epoch(2, "west", state="aborted"))), goal="abort").refused[0]  # fmt: skip


HERE = leases.Machine("boot", 7, 7.0)


class _Machine(leases.Machine):
    def alive(self, pid: int, start: float) -> bool:
        return pid == 8


@pytest.mark.parametrize(
    ("found", "left"),
    [
        ([], None),
        ([{"pid": 9, "boot": "boot"}], 1),
        ([{"pid": 9, "boot": "boot", "released": True}], None),
        ([{"pid": 9, "boot": "boot"}, {"pid": 9, "boot": "boot", "released": True}], None),
        ([{"pid": 8, "boot": "boot"}], None),
        ([{"pid": 7, "boot": "boot"}], None),
        ([{"pid": 9, "boot": "another"}], None),
    ],
)
def test_a_lease_is_left_behind_only_by_a_dead_process_of_this_machine(
    found: list[dict[str, Any]], left: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "this_machine", lambda: _Machine("boot", 7, 7.0))
    there = leases.left_behind(lease(1, **more) for more in found)
    assert (there.n if there else None) == left


@pytest.mark.parametrize(
    ("seen", "after", "said"),
    [
        (view(), None, None),
        (view(), lease(4), "resumed: an earlier run by dr (another) (a test) began at"),
        (view(claim=claim()), lease(4), "resumed: an earlier run by dr (operator) claimed this move to west at"),
        (view(claim=claim("east", kind="resolve")), None, "claimed this resolve to east at"),
    ],
)
def test_a_run_says_what_it_goes_on_with(seen: Any, after: Lease | None, said: str | None) -> None:
    held_lease: Any = type("Held", (), {"after": after})()
    resumed = found_unfinished(seen, held_lease)
    assert (resumed is None) == (said is None)
    if resumed is not None:
        assert str(said) in resumed.sentence
        assert (resumed.since, resumed.by) in {(minute(101), "dr (operator)"), (lease(4).since, "dr (another)")}
