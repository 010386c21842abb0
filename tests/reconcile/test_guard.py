"""Guard and target on the embedded drivers: whatever is cut, lost or paused, VMs stand still at the source before they may start elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model import keys
from dr_provider.model.codec import dump
from dr_provider.model.errors import DeviceFault, MoveFailed, Refused
from dr_provider.model.records import Grant
from dr_provider.reconcile.actions import VERBS
from dr_provider.reconcile.actions import fencing as actions
from dr_provider.reconcile.context import Run
from dr_provider.reconcile.fencing import BEAT, MARGIN, TTL, WITNESS
from dr_provider.reconcile.guard import boot_clock
from dr_provider.reconcile.safety import list_safety
from dr_provider.reconcile.verdict import look_once
from tests.support.guards import Timeline, fenced_lab_options, move_beside
from tests.support.lab import Lab

Make = Callable[..., Timeline]
MODES = ["lease", "both", "witness"]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def timeline(mode: str = "lease", *, rounds: int = 1, **more: Any) -> Timeline:
        """20 entries protected at east, 13 written since, and a guard there that has gone round."""
        options = fenced_lab_options("lease" if mode == "both" else mode, witness=mode in ("both", "witness"))
        lab = Lab(tmp_path, **{**options, **more})
        lab.write(20)
        lab.protect()
        lab.write(13)
        time = Timeline(lab)
        guard = time.guard()
        for _ in range(rounds):
            guard.round()
        return time

    return timeline


def said(time: Timeline, part: str) -> bool:
    return any(part in line for line in time.lab.lines)


# -- the main road --------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "rate"), [("lease", 0.99), ("both", 1.01), ("witness", 1.0)])
def test_a_site_cut_off_alive_is_stopped_by_its_guard_before_the_target_starts(
    make: Make, mode: str, rate: float
) -> None:
    time = make(mode)
    time.rate = rate
    lab = time.lab
    lab.lose("site:east", running=True)
    assert time.runs("east") == ["app", "db"]
    outcome = move_beside(time)
    assert outcome.failures == ()
    assert time.stopped_at is not None
    assert time.began is not None
    assert TTL - BEAT <= time.stopped_at - time.began < TTL + MARGIN - BEAT, "well before the target went on"
    assert time.runs("west") == ["app", "db"]
    assert time.runs("east") == []
    assert set(lab.last().values()) == {20}
    assert said(time, "stopped hard at east: app, db")
    assert said(time, "the run lease of east stands still")
    lab.heal("site:east")
    time.guards[0].round()
    lab.protect()
    assert lab.status()["phase"] == "steady", "what it wrote before it was stopped is no split"
    assert [copy["volume"] for copy in list_safety(lab.world())] == ["vol-1"]
    assert set(lab.running().values()) == {"west"}


def test_the_steps_say_what_was_watched(make: Make) -> None:
    time = make("witness")
    time.lab.lose("site:east")
    time.guarded = False
    outcome = move_beside(time)
    assert "its run lease stood still for 50 s on witness" in [step.get("detail") for step in outcome.steps]
    epoch = time.lab.view().epoch
    assert epoch is not None
    assert (epoch.number, epoch.word, epoch.proof) == (2, None, ("app", "db"))
    grant = time.grant()
    assert grant is not None
    assert (grant.site, grant.claim) == ("west", epoch.id)


# -- no proof -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_beat_that_moves_refuses_the_move_and_leads_back(make: Make, mode: str) -> None:
    time = make(mode)
    time.lab.lose("link:operator/east")
    with pytest.raises(MoveFailed) as raised:
        move_beside(time)
    assert "east lives: its guard has renewed the run lease on" in raised.value.reasons[0]
    assert "needs a link to east, or your word" in raised.value.reasons[0]
    assert "the move was called off: plan shop is active at east as before" in raised.value.reasons[-1]
    assert time.lab.view().claim is None
    assert time.runs("east") == ["app", "db"]
    assert time.now - 1000 < TTL
    if mode != "lease":
        assert time.grant() is None


@pytest.mark.parametrize("mode", MODES)
def test_without_a_guard_the_word_is_asked_for_as_before(make: Make, mode: str) -> None:
    time = make(mode, rounds=0)
    time.lab.lose("site:east", running=True)
    with pytest.raises(
        Refused, match=r"no guard of plan shop is known to have run at east in epoch 1 \(dr guard --site east\)"
    ):
        move_beside(time)
    assert move_beside(time, word="1: power lost at east").failures == ()


def test_a_guard_that_ended_in_order_stands_surety_no_more(make: Make) -> None:
    time = make("both")
    assert time.guards[0].end()
    assert time.runs("east") == ["app", "db"]
    time.lab.lose("site:east", running=True)
    with pytest.raises(Refused, match="the guard at east was ended in order"):
        move_beside(time)


def test_a_guard_that_can_tell_nobody_keeps_its_promise_before_it_ends(make: Make) -> None:
    time = make("both")
    time.lab.lose("site:east", running=True)
    assert time.guards[0].end()
    assert time.runs("east") == []
    assert said(time, "can tell nobody, so it keeps its promise first")


@pytest.mark.parametrize(("mode", "runs_on"), [("witness", False), ("both", True)])
def test_a_lost_witness_is_no_proof_and_stops_what_counts_on_nothing_else(make: Make, mode: str, runs_on: bool) -> None:
    time = make(mode)
    time.lab.lose("witness")
    time.sleep(TTL + BEAT)
    assert bool(time.runs("east")) is runs_on
    time.lab.lose("site:east")
    with pytest.raises(Refused, match="where it cannot be seen"):
        move_beside(time)
    time.lab.heal("witness")


def test_a_witness_that_has_forgotten_everything_is_not_asked(make: Make, tmp_path: Path) -> None:
    time = make("witness")
    file = tmp_path / ".dr" / "witness.db"
    time.lab.lose("site:east")
    for each in file.parent.glob("witness.db*"):
        each.unlink()
    with pytest.raises(Refused, match="it was in use before, so no new one is made in its place"):
        move_beside(time)
    time.lab.world().fleet.witness().make()
    with pytest.raises(Refused, match="is not the one that was asked before"):
        move_beside(time)


def test_a_store_that_falls_silent_while_it_is_watched_proves_nothing(make: Make) -> None:
    time = make("witness")
    time.lab.lose("site:east")
    time.guarded = False
    time.each = lambda: time.lab.lose("witness")
    with pytest.raises(MoveFailed, match="could not be watched to the end, so nothing is proved") as raised:
        move_beside(time)
    assert "the move was called off" in raised.value.reasons[-1]
    assert time.lab.view().claim is None


# -- races ------------------------------------------------------------------------------------------


def test_of_two_targets_the_one_without_the_grant_goes_no_further(make: Make) -> None:
    time = make("witness")
    time.lab.lose("site:east")
    time.guarded = False
    other = Grant("shop", 2, "another", "south", "dr (another)", "2026-03-02T08:00:00.000Z")
    time.each = lambda: time.lab.world().fleet.witness().put(keys.grant_key("shop-test", "shop", 2), dump(other))
    with pytest.raises(MoveFailed, match=r"granted epoch 2 to a move to south \(by dr \(another\)") as raised:
        move_beside(time)
    assert "the move was called off" in raised.value.reasons[-1]
    view = time.lab.view()
    assert (view.claim, view.active, time.grant()) == (None, "east", other)
    assert time.runs("west") == []


def test_a_guard_that_comes_back_between_the_watch_and_the_grant_is_seen(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its renewal and the grant cross: whichever came first, one of the two sees the other."""
    time = make("witness")
    time.lab.lose("link:operator/east")
    time.guarded = False
    change = vars(Run)["change_claim"]

    def late(run: Run, **changes: object) -> None:
        if changes.get("fenced"):
            time.guard().round()
        change(run, **changes)

    monkeypatch.setattr(Run, "change_claim", late)
    with pytest.raises(MoveFailed, match="east lives"):
        move_beside(time)
    assert time.grant() is None, "it was given back"
    assert time.runs("east") == ["app", "db"]


def test_a_guard_that_comes_back_after_the_grant_stops_what_runs(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    time = make("witness")
    time.lab.lose("link:operator/east")
    time.guarded = False
    stand, runs = vars(actions)["_must_stand"], list[list[str]]()

    def last(run: Any, *rest: Any) -> None:
        stand(run, *rest)
        if run.claim.fenced:
            time.guard().round()
            runs.append(time.runs("east"))

    monkeypatch.setattr(actions, "_must_stand", last)
    assert move_beside(time).failures == ()
    assert runs == [[]], "before the first VM started at the target"


def test_a_claim_that_was_called_off_gives_its_grant_back(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    time = make("witness")
    time.lab.lose("site:east")
    time.guarded = False

    def broken(*_: Any) -> str:
        raise DeviceFault("west-a: a fault of the test")

    with monkeypatch.context() as patch:
        patch.setitem(VERBS, "break", broken)
        with pytest.raises(MoveFailed, match="a fault of the test"):
            move_beside(time)
    assert time.grant() is not None
    time.lab.heal("site:east")
    time.lab.move(goal="abort")
    assert time.grant() is None
    assert time.lab.view().active == "east"


# -- a guard that was away ----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_guard_that_was_paused_past_its_ttl_stops_before_it_renews(make: Make, mode: str) -> None:
    time = make(mode)
    guard, store = time.guards[0], "west-a" if mode == "lease" else WITNESS
    before = time.alive(store)
    time.guarded = False
    time.sleep(TTL + 1)
    beats: list[object] = []
    stop = vars(type(guard))["_stop"]

    def watched(watch: Any, why: str) -> None:
        beats.append(time.alive(store))
        stop(guard, watch, why)

    guard._stop = watched  # type: ignore[method-assign]
    guard.round()
    assert beats == [before], "not renewed before"
    assert time.runs("east") == []
    after = time.alive(store)
    assert after is not None
    assert before is not None
    assert after.beat > before.beat, "the site answers all, so its lease is renewed for what may be started again"
    time.lab.protect()
    assert time.runs("east") == ["app", "db"], "decide allows it: everybody answers"
    guard.round()
    time.now += BEAT
    guard.check()
    assert time.runs("east") == ["app", "db"]


def test_a_guard_that_wakes_after_the_move_stops_what_is_past(make: Make) -> None:
    time = make("lease")
    time.lab.lose("site:east", running=True)
    time.guarded = False
    assert move_beside(time).failures == ()
    assert time.runs("east") == ["app", "db"], "nobody was there to stop them"
    before = time.alive("west-a")
    time.lab.heal("site:east")
    time.guards[0].round()
    assert time.runs("east") == []
    assert time.alive("west-a") == before


def test_a_stale_site_whose_vms_run_is_put_on_record_as_split_before_it_is_stopped(make: Make) -> None:
    time = make("lease")
    time.lab.lose("site:east", running=True)
    time.guarded = False
    move_beside(time)
    time.lab.heal("site:east")
    time.guard().round()  # a new process, which has no lease that could lapse
    assert time.runs("east") == []
    split = time.lab.view().split
    assert split is not None
    assert split.sides == ("west", "east")
    assert "was seen running on east-1" in split.evidence[0]
    assert time.lab.status()["phase"] == "split"


def test_a_guard_started_anew_in_the_dark_keeps_the_promise_of_the_one_before(make: Make) -> None:
    time = make("lease")
    time.lab.lose("site:east", running=True)
    new = time.guard()
    new.round()
    new.check()
    assert time.runs("east") == []


def test_a_guard_that_never_reached_anybody_leaves_what_runs(make: Make) -> None:
    time = make("lease", rounds=0)
    time.lab.lose("site:east", running=True)
    time.guards[0].round()
    time.now += 10 * TTL
    time.guards[0].round()
    time.guards[0].check()
    assert time.runs("east") == ["app", "db"]
    assert said(time, "no surety was given yet")
    time.lab.heal("site:east")
    time.guards[0].round()
    assert time.alive("west-a") is not None


# -- stopping -----------------------------------------------------------------------------------------


def test_a_silent_host_is_stopped_by_its_array_and_both_silent_are_said(make: Make) -> None:
    time = make("lease")
    time.lab.lose("link:east/west")
    for host in ("east-1", "east-2"):
        time.lab.lose(f"host:{host}", running=True)
    time.lab.lose("array:east-a")
    time.now += TTL
    time.guards[0].check()
    assert said(time, "NOT STOPPED at east")
    time.lab.heal("array:east-a")
    time.guards[0].world.fleet.forget_silence()
    time.guards[0].check()
    assert said(time, "its VMs are stopped at east")
    volume = time.guards[0].world.view("shop", refresh=True).volume("vol-1", "east")
    assert volume is not None
    assert {lun.mapped_to for lun in volume.luns.values()} == {None}


def test_what_belongs_to_another_plan_or_a_drill_is_left_alone(make: Make) -> None:
    def second(document: dict[str, Any]) -> None:
        fenced_lab_options("lease")["change"](document)
        document["volumes"]["other"] = {**document["volumes"]["vol-1"]}
        document["vms"]["lone"] = {"cpus": 1, "memory": "64MiB", "disks": {"root": {"volume": "other", "size": "4MiB"}}}
        document["plans"]["other"] = {
            **document["plans"]["shop"],
            "fencing": "operator",
            "tiers": [{"members": ["lone"]}],
        }

    time = make("lease", change=second)
    time.lab.lose("link:east/west")
    time.now += TTL
    time.guards[0].check()
    assert time.runs("east") == []
    time.lab.heal("link:east/west")
    assert [place.vm for place in time.lab.world().view("other").running_at("east")] == ["lone"]


# -- beside it ----------------------------------------------------------------------------------------


def test_a_site_that_comes_back_alone_asks_the_witness_before_it_starts(make: Make) -> None:
    time = make("witness")
    time.lab.lose("site:west")
    time.lab.lose("site:east")
    time.lab.heal("site:east")
    assert time.lab.move().failures == ()
    assert time.runs("east") == ["app", "db"]
    time.lab.lose("witness")
    time.lab.lose("site:east")
    time.lab.heal("site:east")
    assert "another side might have taken over and cannot be asked" in time.lab.move().failures[0]


def test_a_planned_move_and_the_way_back_are_not_disturbed_by_guards(make: Make) -> None:
    time = make("both")
    time.guard("west")
    time.each = lambda: None
    for guard in time.guards:
        guard.round()
    for site in ("west", "east"):
        assert move_beside(time, site).failures == ()
        for guard in time.guards:
            guard.round()
        assert time.runs(site) == ["app", "db"]
    assert time.lab.status()["phase"] == "steady"
    found = time.alive("west-a")
    assert found is not None
    assert (found.epoch, found.ended) == (3, False)


def test_looking_once_changes_nothing(make: Make) -> None:
    time = make("both", rounds=0)
    document: Any = look_once(time.guards[0].world, "east", ["shop"])
    assert document["plans"]["shop"] == {
        "state": "active", "epoch": 1, "sentence": "it is active here since epoch 1",
        "would": "renew its run lease on west-a, witness", "runs": ["app", "db"],
    }  # fmt: skip
    assert time.alive("west-a") is None


def test_the_clock_goes_on() -> None:
    first = boot_clock()
    assert boot_clock() >= first > 0


def test_a_call_to_a_silent_store_is_bounded_by_a_beat(tmp_path: Path) -> None:
    lab = Lab(tmp_path, **{**fenced_lab_options("lease"), "source_budget": "10s", "made": False})
    assert Timeline(lab).guard().world.topology.source_budget == BEAT
