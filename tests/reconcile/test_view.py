"""One plan as an observation shows it: nothing is concluded from silence, and what has ended counts no more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dr_provider.model import keys
from dr_provider.model.errors import CorruptRecord
from dr_provider.model.state import HostState
from dr_provider.reconcile.leftovers import past_holds
from dr_provider.reconcile.restoring import record_array
from dr_provider.reconcile.view import plan_view
from tests.support.situations import (
    ABSENT,
    ACTIVE,
    NAME,
    P2,
    PLAN,
    Side,
    claim,
    declared,
    drill,
    epoch,
    lease,
    moved,
    observation,
    shop,
    split,
    view,
)


def test_what_a_silent_side_holds_is_neither_there_nor_absent() -> None:
    seen = view(silent=["west"])
    assert seen.silent_arrays("west") == {"west-a": "west-a gave no answer"}
    assert set(seen.silent_hosts("west")) == {"west-1", "west-2"}
    assert seen.volume("vol-1", "west") is None
    assert seen.array_state("vol-1", "west") is None
    assert view(west=ABSENT).array_state("vol-1", "west") is not None
    assert seen.linked("vol-1", "east", "west") is False
    assert [point.id for point in seen.points if point.complete_at("west")] == []


def test_a_silent_side_may_know_of_more_than_those_who_answer() -> None:
    behind = {"east-a": (epoch(),), "west-a": (epoch(), epoch(2, "west"))}
    assert view(epochs_at=behind).active == "west"
    assert view(epochs_at=behind, silent=["west-a"]).active == "east"
    assert view(silent=["east-a", "west-a"]).epoch is None


@pytest.mark.parametrize(("cut", "linked"), [(False, True), (True, False)])
def test_two_arrays_are_linked_where_both_say_so(cut: bool, linked: bool) -> None:
    assert view(cut=cut).linked("vol-1", "east", "west") is linked


def test_an_aborted_epoch_is_history_and_counts_no_more() -> None:
    seen = view(epochs=(epoch(), epoch(2, "west", state="aborted")), claim=claim())
    assert (seen.active, seen.known_epoch("west-a")) == ("east", 1)
    assert [e.number for e in seen.history] == [1, 2]
    assert seen.claim is None
    assert seen.leftover_claims == ("east-a", "west-a")


def test_a_claim_at_or_below_the_epoch_in_force_has_ended() -> None:
    seen = moved(claim_at={"east-a": claim(id="another")})
    assert seen.claim is None
    assert seen.leftover_claims == ("east-a",)


def test_the_record_of_a_split_below_the_epoch_in_force_has_ended() -> None:
    seen = moved(split=replace(split(), epoch=1))
    assert seen.split is None
    assert seen.leftover_splits == ("east-a", "west-a")
    seen = moved(split=replace(split(), epoch=2))
    assert seen.split is not None
    assert seen.leftover_splits == ()


def test_the_fullest_of_the_claims_counts() -> None:
    partial, full = claim(proof=("db",)), claim(proof=("db",), point=P2.id)
    assert view(claim_at={"east-a": partial, "west-a": full}).claim == full
    assert view(claim_at={"east-a": replace(partial, aborting=True), "west-a": full}).claim == replace(
        partial, aborting=True
    )


def test_one_number_under_two_ids_is_a_split() -> None:
    seen = view(epochs_at={"east-a": [epoch(2, "east", id="a", previous="id-1")], "west-a": [epoch(2, "west", id="b")]})
    assert seen.split is not None
    assert (seen.split.sides, seen.split.fork) == (("east", "west"), "id-1")
    assert "epoch 2 was committed at west (b, by dr (operator)" in seen.split.evidence[1]
    assert view(split=split()).split == split()
    assert view().split is None


def test_vms_are_those_of_the_plan_and_drills_are_not_among_them() -> None:
    seen = view(west=Side("replica", vms={"web": "off"}), drills={"d1": drill("d1", "db")})
    assert [(p.vm, p.host) for p in seen.running_at("east")] == [("db", "east-1"), ("web", "east-1"), ("app", "east-2")]
    assert seen.running_at("west") == ()
    place = seen.place("web", "west")
    assert place is not None
    assert not place.running
    assert seen.place("db", "west") is None
    assert list(seen.drills) == ["d1"]


def test_a_vm_is_where_it_runs_before_where_it_is_defined() -> None:
    steady = view()
    defined = steady.seen.hosts["east-1"]
    assert isinstance(defined, HostState)
    off = replace(defined.vms["db"], state="off")
    seen = view(east=replace(ACTIVE, vms={"app": "running"}), hosts={"east-1": [off], "east-2": [defined.vms["db"]]})
    place = seen.place("db", "east")
    assert place is not None
    assert (place.host, place.running) == ("east-2", True)


def test_never_made_is_said_only_where_no_answering_array_has_an_owner() -> None:
    assert view(unmade=["web"]).never_made("vm", "web")
    assert not view().never_made("vm", "web")


def test_the_last_declaration_of_a_stack_counts() -> None:
    key = keys.declared_key(NAME, "dr/prod", PLAN)
    newer = view(declared={"dr/prod": declared("west", minutes=120)}).seen.array("east-a")
    assert newer is not None
    seen = view(declared={"dr/prod": declared("east")}, records={"west-a": {key: newer.records[key]}})
    assert seen.declared["dr/prod"].site == "west"
    assert view(declared={"dr/prod": declared("east")}).declared["dr/prod"].site == "east"


def test_leases_by_array_in_order() -> None:
    seen = view(leases=[lease(2), lease(10)])
    assert [record.n for record in seen.leases["east-a"]] == [2, 10]


@pytest.mark.parametrize(
    "key",
    [
        keys.claim_key(NAME, PLAN),
        keys.split_key(NAME, PLAN),
        keys.epoch_key(NAME, PLAN, 2, "x"),
        keys.lease_key(NAME, PLAN, 1),
    ],
)
def test_a_record_that_cannot_be_read_is_named(key: str) -> None:
    with pytest.raises(CorruptRecord, match="array west-a"):
        view(records={"west-a": {key: "{"}})


def test_the_plans_arrays_and_volumes() -> None:
    seen = view(shop(vms=1, volumes=1))
    assert (seen.volume_names, seen.site_arrays("west")) == (("vol-1",), ("west-a",))
    assert seen.copy_array("vol-1", "east") == "east-a"


def test_a_disk_that_was_taken_out_of_the_topology_is_dropped_where_it_is_mapped_still() -> None:
    def renamed(document: dict[str, Any]) -> None:
        disks = document["vms"]["web"]["disks"]
        disks["data"] = disks.pop("root")

    seen = plan_view(shop(renamed), PLAN, observation())
    assert seen.dropped_luns("web", "east") == {"vol-1": ["web.root"]}
    assert (seen.dropped_luns("web", "west"), seen.dropped_luns("db", "east")) == ({}, {})
    assert plan_view(shop(renamed), PLAN, observation(silent=["east-a"])).dropped_luns("web", "east") == {}


def test_of_a_vm_that_left_the_topology_nobody_says_who_has_its_disks() -> None:
    full = view()
    (web,) = [at for at in full.places if at.vm == "web"]
    assert full.taken_to(web) is None
    assert replace(full, topology=shop(vms=2)).taken_to(web) is None


@pytest.mark.parametrize(
    "situation",
    [{}, {"claim": claim()}, {"split": split()}, {"epochs": ()}],
    ids=["all well", "a move under way", "split", "never made"],
)
def test_a_hold_is_past_only_where_nothing_is_under_way(situation: dict[str, Any]) -> None:
    seen = view(east=replace(ACTIVE, holds=("fork.2", "drill.d1")), **situation)
    wanted = {("east", name): ("fork.2",) for name in seen.volume_names}
    assert past_holds(seen) == ({} if situation else wanted)


def test_a_restore_is_on_record_at_the_array_of_the_first_disk() -> None:
    assert [record_array(view(), "app", site) for site in ("east", "west")] == ["east-a", "west-a"]
