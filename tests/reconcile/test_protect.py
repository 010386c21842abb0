"""`dr protect` on embedded arrays and hosts: whole cycles, what is due when, more than one plan."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from dr_provider.arrays.embedded import EmbeddedArray
from dr_provider.model import keys
from dr_provider.model.codec import load
from dr_provider.model.records import PeerPins, Split
from dr_provider.model.state import ArrayState
from dr_provider.model.vm import VmDefinition
from dr_provider.reconcile.lease import hold_lease
from dr_provider.reconcile.protect import ProtectOutcome, protect_all, watch
from tests.reconcile.conftest import Clock, MakeLab
from tests.reconcile.protecting import copy, levels, newest, put, whole
from tests.support.lab import Lab

# -- a whole cycle ----------------------------------------------------------------------------------


def test_marks_are_the_last_entries_on_the_disks(lab: Lab) -> None:
    lab.write(70, "db")
    lab.write(7, "app", "web")
    outcome = lab.protect()
    point = newest(lab)
    assert outcome.point == point.id
    assert (outcome.level, outcome.warnings, outcome.failures) == ("application", (), ())
    assert levels(point) == {vm: ("application", last) for vm, last in lab.last().items()}
    assert lab.last() == {"db": 70, "app": 7, "web": 7}
    assert whole(lab, "east") == whole(lab, "west") == [point.id]
    assert {(t.volume, t.target) for t in outcome.sent} == {("vol-1", "west-a"), ("vol-2", "west-a")}


@pytest.mark.parametrize(("capacity", "used", "full"), [(16 << 40, 1 << 40, ()), (16 << 40, (16 << 40) - (100 << 30), ("west-a",)), (40 << 20, 0, ("west-a",)), (80 << 20, 1 << 20, ())])  # fmt: skip
def test_a_full_array_is_said(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capacity: int, used: int, full: tuple[str, ...]
) -> None:
    state = EmbeddedArray.state

    def filled(self: EmbeddedArray, **asked: Any) -> ArrayState:
        found = state(self, **asked)
        return replace(found, capacity=capacity, used=used) if self.name == "west-a" else found

    monkeypatch.setattr(EmbeddedArray, "state", filled)
    outcome = lab.protect()
    assert outcome.failures == ()
    assert [sentence.partition(" is full (")[0] for sentence in outcome.warnings] == [f"array {name}" for name in full]


def test_the_record_at_the_other_site_is_enough_to_restore_from(lab: Lab) -> None:
    lab.protect()
    places = {p.vm: (p.host, p.state.definition) for p in lab.view().places}
    lab.lose("site:east")
    intent = newest(lab).intent
    assert {vm: load(VmDefinition, text, vm) for vm, text in intent.definitions.items()} == {
        vm: definition for vm, (_, definition) in places.items()
    }
    assert intent.hosts == {vm: host for vm, (host, _) in places.items()}


def test_both_sides_hold_what_they_share_and_only_that(lab: Lab) -> None:
    for _ in range(3):
        lab.write(5)
        lab.protect()
    last = newest(lab).id
    for array, peer in (("east-a", "west-a"), ("west-a", "east-a")):
        held = {s.name: set(s.holds) for s in copy(lab, array).snapshots if s.holds}
        assert held == {last: {f"common.{peer}.{last}"}}


def test_a_second_run_does_nothing(lab: Lab) -> None:
    lab.protect()
    before = lab.world().look()
    outcome = lab.protect(now=False)
    after = lab.world().look()
    assert (outcome.point, outcome.sent, outcome.pruned, outcome.line()) == (None, (), (), "plan shop: nothing is due")
    assert {n: s.serial for n in before.arrays if (s := before.array(n))} == {
        n: s.serial for n in after.arrays if (s := after.array(n))
    }


def test_the_arrays_remember_each_other(lab: Lab) -> None:
    lab.protect()
    seen = lab.world().look()
    for name in ("east-a", "west-a"):
        state = seen.array(name)
        assert state is not None
        pins = load(PeerPins, state.records["shop-test/peers"], "test").arrays
        assert {other: pin.own_id for other, pin in pins.items()} == {
            n: s.own_id for n in seen.arrays if (s := seen.array(n))
        }
        assert all(0 < pin.serial <= s.serial for n, pin in pins.items() if (s := seen.array(n)))


def test_an_incremental_transfer_moves_what_changed(lab: Lab) -> None:
    lab.write(640)
    lab.protect()
    lab.write(5, "db")
    outcome = lab.protect()
    # Of one LUN, its header and one or two blocks of entries.
    assert 0 < sum(t.bytes for t in outcome.sent) <= 3 * 4096


# -- when ---------------------------------------------------------------------------------------------


def test_what_is_due_when(make: MakeLab, clock: Clock) -> None:
    lab = make(backup={"every": "15m", "keep": {"last": 8}}, replicate_every="5m")
    told: list[tuple[int, str | None]] = []
    for _ in range(8):
        lab.write(1)
        outcome = lab.protect(now=False)
        kind = newest(lab).intent.kind if outcome.point else None
        told.append((len(outcome.sent), kind))
        assert outcome.next_due is not None
        assert outcome.next_due > clock.time
        clock.forward(2.5)
    assert told == [
        (2, "backup"), (0, None), (2, "crash"), (0, None), (2, "crash"), (0, None), (2, "backup"), (0, None),
    ]  # fmt: skip


def test_next_due_is_the_nearest(make: MakeLab, clock: Clock) -> None:
    lab = make(backup={"every": "15m"}, replicate_every="20m")
    assert lab.protect(now=False).next_due == clock.time + timedelta(minutes=15)
    clock.forward(1)
    assert lab.protect(now=False).next_due == clock.time + timedelta(minutes=14)


def test_a_cycles_own_group_is_crash_level_and_says_so(make: MakeLab, clock: Clock) -> None:
    lab = make(backup={"every": "1h"}, replicate_every="5m")
    lab.protect(now=False)
    clock.forward(6)
    outcome = lab.protect(now=False)
    assert outcome.level == "crash"
    assert levels(newest(lab)) == dict.fromkeys(("db", "app", "web"), ("crash", None))
    assert newest(lab).complete_at("west")


def test_a_copy_that_was_away_gets_the_newest_backup_too(make: MakeLab, clock: Clock) -> None:
    lab = make(backup={"every": "1h"}, replicate_every="5m")
    lab.protect(now=False)
    lab.lose("link:east/west")
    clock.forward(61)
    backup = lab.protect(now=False).point
    lab.heal("link:east/west")
    clock.forward(6)
    lab.write(5)
    outcome = lab.protect(now=False)
    assert [t.snapshot for t in outcome.sent if t.volume == "vol-1"] == [backup, outcome.point]
    assert whole(lab, "west")[-2:] == [backup, outcome.point]


def test_retention_over_time(make: MakeLab, clock: Clock) -> None:
    lab = make(backup={"every": "15m", "keep": {"last": 3, "hourly": 2}}, replicate_every="15m")
    ids = []
    for _ in range(13):
        lab.write(1, "db")
        ids.append(lab.protect(now=False).point)
        clock.forward(15)
    # 08:00 to 11:00: the last three, and the newest of the hours of 11 and of 10.
    kept = [ids[10], ids[11], ids[12]]
    assert whole(lab, "east") == whole(lab, "west") == kept
    names = {a: [s.name for s in copy(lab, a).snapshots] for a in ("east-a", "west-a")}
    assert names == {"east-a": kept, "west-a": kept}, "nothing is left behind, the first copy's snapshot included"
    assert lab.last("db") == {"db": 13}


# -- more than one, and staying -----------------------------------------------------------------------


def second_plan(document: dict[str, Any]) -> None:
    document["volumes"]["solo"] = {"size": "64MiB", "home": "east-a", "copies": ["west-a"]}
    document["vms"]["lone"] = {"cpus": 1, "memory": "64MiB", "disks": {"root": {"volume": "solo", "size": "4MiB"}}}
    document["plans"]["solo"] = {**document["plans"]["shop"], "tiers": [{"members": ["lone"]}]}


def test_a_plan_that_fails_does_not_stop_another(make: MakeLab) -> None:
    lab = make(change=second_plan)
    put(
        lab,
        keys.split_key("shop-test", "shop"),
        Split("shop", ("east", "west"), None, ("seen",), "2026-01-01T00:00:00Z"),
    )
    bad, good = protect_all(lab.world(), ["shop", "solo"], now=True)
    assert (bad.plan, bad.well, bad.point) == ("shop", False, None)
    assert "dr resolve shop" in bad.failures[0]
    assert (good.plan, good.well) == ("solo", True)
    assert good.document()["point"] == good.point


def test_watch_does_each_plan_in_its_own_time_until_it_is_asked_to_end(make: MakeLab, clock: Clock) -> None:
    lab = make(change=second_plan, backup={"every": "15m"}, replicate_every="15m")
    world, stop, lines = lab.world(), threading.Event(), []

    def heard(line: str) -> None:
        if "next at" not in line:
            return
        lines.append(line)
        # Both are due again at once; a third round each is enough.
        clock.forward(20)
        if len(lines) >= 6:
            stop.set()

    world.progress = heard
    lab.lose("array:west-a")
    watch(world, ["shop", "solo"], stop, clock=lambda: clock.time)
    assert {line.split(":")[0] for line in lines} == {"plan shop", "plan solo"}
    assert all("west-a" in line for line in lines), "the silent copy is said in every cycle"
    assert all("took e1-" in line for line in lines)


def test_watch_asks_a_silent_copy_again_in_each_round(make: MakeLab, clock: Clock) -> None:
    lab = make(backup={"every": "15m"})
    world, stop, lines = lab.world(), threading.Event(), []

    def heard(line: str) -> None:
        if "next at" in line:
            lines.append(line)
            clock.forward(20)
            lab.heal("array:west-a")
            if len(lines) == 2:
                stop.set()

    world.progress = heard
    lab.lose("array:west-a")
    watch(world, ["shop"], stop, clock=lambda: clock.time)
    assert "array west-a is silent" in lines[0]
    assert "sent 2 volumes to west-a" in lines[1]


def test_watch_outlives_a_lease_that_another_holds(make: MakeLab, clock: Clock) -> None:
    lab = make(backup={"every": "15m"})
    world, stop, lines = lab.world(), threading.Event(), []

    def heard(line: str) -> None:
        if "next at" in line:
            lines.append(line)
            stop.set()

    world.progress = heard
    with hold_lease(lab.world(), "shop", "something else"):
        watch(world, ["shop"], stop, clock=lambda: clock.time)
    assert "the lease is held by" in lines[0]


def test_one_line_says_it_all() -> None:
    outcome = ProtectOutcome("shop", "e1-s2-ab", "application", warnings=("west: silent",), failures=("vol: full",))
    assert outcome.line() == "plan shop: took e1-s2-ab (application); vol: full; west: silent"
