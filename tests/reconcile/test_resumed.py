"""What a killed run leaves, and what the next one makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from dr_provider.model.records import Lease
from dr_provider.reconcile import lease as leases
from dr_provider.reconcile.resumed import found_unfinished
from tests.support.situations import (
    Side,
    answer,
    claim,
    epoch,
    ids,
    lease,
    minute,
    view,
)


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
    ("found", "left", "held"),
    [
        ([], None, None),
        ([{"pid": 9, "boot": "boot"}], 1, None),
        ([{"pid": 9, "boot": "boot", "released": True}], None, None),
        ([{"pid": 9, "boot": "boot"}, {"pid": 9, "boot": "boot", "released": True}], None, None),
        ([{"pid": 8, "boot": "boot"}], None, 1),
        ([{"pid": 7, "boot": "boot"}], None, 1),
        ([{"pid": 9, "boot": "another"}], None, 1),
        ([{"pid": 9, "boot": "another"}, {"pid": 9, "boot": "another", "released": True}], None, None),
    ],
)
def test_a_lease_is_left_behind_only_by_a_dead_process_of_this_machine(
    found: list[dict[str, Any]], left: int | None, held: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "this_machine", lambda: _Machine("boot", 7, 7.0))
    there = leases.left_behind(lease(1, **more) for more in found)
    assert (there.n if there else None) == left
    now = leases.held_now(lease(1, **more) for more in found)
    assert (now.n if now else None) == held


@pytest.mark.parametrize(
    ("seen", "after", "said"),
    [
        (view(), None, None),
        (view(), lease(4), "resumed: an earlier run by dr (another) (a test) began at"),
        (view(claim=claim()), lease(4), "resumed: an earlier run by dr (operator) claimed a move to west at"),
        (view(claim=claim("east", kind="resolve")), None, "claimed a resolve to east at"),
    ],
)
def test_a_run_says_what_it_goes_on_with(seen: Any, after: Lease | None, said: str | None) -> None:
    held_lease: Any = type("Held", (), {"after": after})()
    resumed = found_unfinished(seen, held_lease)
    assert (resumed is None) == (said is None)
    if resumed is not None:
        assert str(said) in resumed.sentence
        assert (resumed.since, resumed.by) in {(minute(101), "dr (operator)"), (lease(4).since, "dr (another)")}
