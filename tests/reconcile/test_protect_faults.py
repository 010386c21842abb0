"""`dr protect` on embedded arrays and hosts: what it does when something is silent, killed, lost or in the way."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import pytest

from dr_provider.hypervisors.base import FreezeReport
from dr_provider.hypervisors.embedded import EmbeddedHost
from dr_provider.model import keys
from dr_provider.model.errors import DrError, MoveInProgress, Refused, Stopped, Unreachable
from dr_provider.model.records import Split
from dr_provider.reconcile.protect import protect_plan
from tests.reconcile.conftest import MakeLab
from tests.reconcile.protecting import claim, copy, destroy, levels, newest, put, small_steps, whole
from tests.support.lab import Lab

# -- guests and hosts that do not go along ------------------------------------------------------------


def test_a_guest_that_cannot_freeze(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    real = EmbeddedHost.freeze

    def freeze(host: EmbeddedHost, name: str, *, thaw_after: float) -> FreezeReport:
        return FreezeReport("crash", None, "no agent") if name == "app" else real(host, name, thaw_after=thaw_after)

    monkeypatch.setattr(EmbeddedHost, "freeze", freeze)
    lab.write(7)
    outcome = lab.protect()
    assert outcome.level == "crash"
    assert levels(newest(lab)) == {"db": ("application", 7), "app": ("crash", None), "web": ("application", 7)}
    assert not any(place.state.frozen for place in lab.view().places)


def test_a_host_that_is_silent_costs_its_vms_their_level_and_nothing_else(lab: Lab) -> None:
    lab.protect()
    host = next(p.host for p in lab.view().places if p.vm == "db")
    lab.lose(f"host:{host}", running=True)
    lab.protect()
    point = newest(lab)
    assert levels(point)["db"] == ("crash", None)
    assert point.seal is not None
    assert point.seal.levels["db"].reason == f"its host {host} is silent"
    # Without its definition a move to this point could not restore it.
    assert set(point.intent.definitions) == {"db", "app", "web"}
    assert point.intent.hosts["db"] == host


def test_two_arrays_at_home(make: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(document: dict[str, Any]) -> None:
        for site in ("east", "west"):
            document["arrays"][f"{site}-b"] = {**document["arrays"][f"{site}-a"], "path": f".dr/{site}-b.db"}
        document["volumes"]["vol-2"].update(home="east-b", copies=["west-b"])

    lab = make(change=change)
    lab.write(7)
    assert lab.protect().level == "application"
    assert set(newest(lab).sites["west"].arrays.values()) == {"west-a", "west-b"}

    monkeypatch.setattr(EmbeddedHost, "thaw", lambda _host, name: name != "app")
    assert lab.protect().level == "crash, per array"
    assert newest(lab).complete_at("west")


# -- killed in between ----------------------------------------------------------------------------------

KILLED = """
import os, sys
from pathlib import Path
from dr_provider.arrays.embedded import EmbeddedArray
from dr_provider.model.loader import load
from dr_provider.reconcile.protect import protect_plan
from dr_provider.reconcile.world import open_world

setattr(EmbeddedArray, sys.argv[2], lambda *_given: os._exit(9))
protect_plan(open_world(load(Path(sys.argv[1]))), "shop", now=True)
"""


def kill_at(lab: Lab, call: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(lab.path), call], check=False)
    assert done.returncode == 9


def test_killed_before_the_snapshot_leaves_guests_frozen_and_the_next_run_thaws_them(lab: Lab) -> None:
    kill_at(lab, "snapshot")
    assert {p.vm for p in lab.view().places if p.state.frozen} == {"db", "app", "web"}
    outcome = lab.protect()
    assert outcome.level == "application"
    assert not any(place.state.frozen for place in lab.view().places)


def test_a_run_with_nothing_due_thaws_too(lab: Lab) -> None:
    lab.protect()
    kill_at(lab, "snapshot")
    outcome = lab.protect(now=False)
    assert outcome.point is None
    assert not any(place.state.frozen for place in lab.view().places)


def test_killed_before_the_seal_leaves_no_point_and_no_rubbish(lab: Lab) -> None:
    first = lab.protect().point
    kill_at(lab, "seal")
    left = newest(lab)
    assert left.id != first
    assert left.seal is None
    assert not left.complete_at("east")
    assert lab.status()["recoveryPoint"]["id"] == first
    outcome = lab.protect()
    assert [p.id for p in lab.view().points] == [first, outcome.point]
    assert (left.id, "east") in {(p.point, p.site) for p in outcome.pruned}
    assert newest(lab).sequence == left.sequence + 1


# -- silence and cuts ---------------------------------------------------------------------------------


def test_a_silent_copy_is_a_warning(lab: Lab) -> None:
    lab.protect()
    lab.lose("array:west-a")
    outcome = lab.protect()
    assert outcome.well
    assert outcome.point is not None
    assert len([w for w in outcome.warnings if "west-a" in w and "silent" in w]) == 1, outcome.warnings
    lab.heal("array:west-a")
    assert lab.protect().warnings == ()
    assert whole(lab, "west")[-1] == newest(lab).id


def test_a_cut_link_is_a_warning(lab: Lab) -> None:
    lab.protect()
    lab.lose("link:east/west")
    outcome = lab.protect()
    assert (outcome.well, outcome.sent) == (True, ())
    assert [w for w in outcome.warnings if "do not reach each other" in w]
    assert [m["state"] for m in lab.status()["mirrors"]] == ["unreachable", "unreachable"]


def test_a_silent_home_is_an_error(lab: Lab) -> None:
    lab.protect()
    lab.lose("array:east-a")
    with pytest.raises(Unreachable, match=r"where it is active, at east, east-a gives no answer"):
        lab.protect()


def test_a_link_that_is_cut_in_a_transfer(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.protect()
    lab.write(6400, "db")
    small_steps(monkeypatch)

    def cut() -> str | None:
        # Once the small one is there: without it the point would not be whole at west, however this one goes on.
        large, small = copy(lab, "west-a", "vol-1"), copy(lab, "west-a", "vol-2")
        if len(small.snapshots) == 2 and large.incoming is not None and large.incoming.received:
            lab.lose("link:east/west")
        return None

    outcome = protect_plan(lab.world(), "shop", now=True, stop=cut)
    assert outcome.well
    assert [w for w in outcome.warnings if "was cut" in w and "what arrived is kept" in w]
    volume = next(v for v in ("vol-1", "vol-2") if copy(lab, "west-a", v).incoming is not None)
    part = copy(lab, "west-a", volume).incoming
    assert part is not None
    assert part.received > 0
    state = next(m["state"] for m in lab.status()["mirrors"] if m["volume"] == volume)
    assert state == "unreachable"

    lab.heal("link:east/west")
    whole_step = lab.world().fleet.array("east-a").estimate(volume, part.base, part.snapshot)
    again = protect_plan(lab.world(), "shop", now=True)
    resumed = next(t for t in again.sent if t.volume == volume)
    assert again.warnings == ()
    assert part.snapshot in whole(lab, "west")
    assert resumed.bytes < whole_step, "what had arrived was not sent again"
    assert newest(lab).complete_at("west")


def test_a_copy_that_was_never_made_gets_its_first_transfer(lab: Lab) -> None:
    for name in ("vol-1", "vol-2"):
        destroy(lab, "west-a", name)
    assert [m["state"] for m in lab.status()["mirrors"]] == ["none", "none"]
    lab.write(70)
    outcome = lab.protect()
    assert outcome.well
    assert whole(lab, "west") == [outcome.point]


def test_a_copy_that_was_written_is_not_overwritten(lab: Lab) -> None:
    """Repair keeps what is its own as a safety copy first; protect by itself never touches it."""
    first = lab.protect().point
    assert first is not None
    lab.world().fleet.array("west-a").promote("vol-1", first)
    outcome = lab.protect()
    assert outcome.repaired, "the reconciler brought it back in line"
    assert [m["state"] for m in lab.status()["mirrors"]] == ["synced", "synced"]


# -- refusals ---------------------------------------------------------------------------------------


def refusal(lab: Lab, error: type[DrError]) -> str:
    before = {n: s.serial for n in ("east-a", "west-a") if (s := lab.world().look().array(n))}
    with pytest.raises(error) as caught:
        lab.protect()
    after = {n: s.serial for n in ("east-a", "west-a") if (s := lab.world().look().array(n))}
    assert after == before, "a refusal changes nothing"
    return str(caught.value)


def test_refused_during_a_move(lab: Lab) -> None:
    put(lab, keys.claim_key("shop-test", "shop"), claim(lab))
    said = refusal(lab, MoveInProgress)
    assert "a move to west is under way" in said
    assert "dr abort shop" in said


def test_refused_in_a_split(lab: Lab) -> None:
    put(
        lab,
        keys.split_key("shop-test", "shop"),
        Split("shop", ("east", "west"), None, ("seen",), "2026-01-01T00:00:00Z"),
    )
    assert "dr resolve shop --keep SITE" in refusal(lab, Refused)


def test_refused_before_the_plan_is_made(make: MakeLab) -> None:
    lab = make(made=False)
    for array in ("east-a", "west-a"):
        lab.world().fleet.array(array).create()
    assert "dr apply" in refusal(lab, Refused)


def test_refused_while_a_volume_is_lost_here(lab: Lab) -> None:
    lab.protect()
    destroy(lab, "east-a", "vol-1")
    with pytest.raises(Refused, match=r"volume vol-1 is lost at east while west holds a copy"):
        lab.protect()


def test_refused_while_a_volume_is_lost_here_and_nobody_can_say_more(lab: Lab) -> None:
    lab.protect()
    destroy(lab, "east-a", "vol-1")
    lab.lose("array:west-a")
    with pytest.raises(Refused, match=r"volume vol-1 was made and is not at east any more"):
        lab.protect()


def test_a_move_that_is_claimed_stops_a_transfer(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.protect()
    lab.write(6400, "db")
    small_steps(monkeypatch)
    asked = itertools.count(1)  # two transfers ask at once

    def claimed() -> str | None:
        if next(asked) == 5:
            put(lab, keys.claim_key("shop-test", "shop"), claim(lab))
        return None

    with pytest.raises(MoveInProgress):
        protect_plan(lab.world(), "shop", now=True, stop=claimed)


def test_asked_to_stop_in_a_transfer(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write(640)
    with pytest.raises(Stopped):
        protect_plan(lab.world(), "shop", now=True, stop=lambda: "told to")
    assert lab.protect().well


def test_the_lease_is_not_held_for_a_transfer(lab: Lab) -> None:
    lab.write(64)
    free: list[bool] = []

    def stop() -> str | None:
        leases = [lease for leases in lab.view().leases.values() for lease in leases]
        free.append(all(lease.released for lease in leases))
        return None

    protect_plan(lab.world(), "shop", now=True, stop=stop)
    assert free
    assert all(free)
