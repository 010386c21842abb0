"""Many drills at once, from older recovery points, while the plan is protected, pruned and moved."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dr_provider.model.errors import Refused
from dr_provider.model.records import Owner
from dr_provider.model.vm import VmDefinition
from dr_provider.reconcile.drills.begin import run_drill, start_drill
from dr_provider.reconcile.drills.decide import NoRoom
from dr_provider.reconcile.drills.end import end_drill
from dr_provider.reconcile.drills.many import run_abreast
from dr_provider.reconcile.drills.outcome import DrillOutcome
from dr_provider.reconcile.protect import protect_plan
from tests.reconcile.conftest import MakeLab
from tests.reconcile.protecting import whole
from tests.reconcile.test_drills import traces
from tests.reconcile.test_protect import second_plan
from tests.support.lab import Lab

OWNER = Owner("shop-test", "", "i1")
NAMES = ("h1", "h2", "h3")


def isolated(document: dict[str, Any]) -> None:
    document["networks"]["prod"]["drill"] = {"bridge": "br-iso-1", "more": ["br-iso-2", "br-iso-3"]}


def hunted(lab: Lab) -> list[str]:
    """Three points, with 8, 16 and 24 entries; a drill of each is up."""
    points = []
    for name in NAMES:
        lab.write(8)
        points.append(str(lab.protect().point))
        assert start_drill(lab.world(), "shop", "west", name, OWNER, points[-1]).ok
    return points


def definitions(lab: Lab, drill: str) -> list[VmDefinition]:
    seen = lab.view().seen
    hosts = [state for name in lab.topology.hosts if (state := seen.host(name)) is not None]
    return [vm.definition for state in hosts for vm in state.vms.values() if vm.name.endswith(f".drill.{drill}")]


def entries(lab: Lab) -> list[int]:
    return [lab.ledger(f"db.drill.{name}").last for name in NAMES]


def test_three_drills_from_three_points_through_pruning_and_a_move(make: MakeLab) -> None:
    lab = make(change=isolated, backup={"every": "15m", "keep": {"last": 1}})
    points = hunted(lab)
    assert entries(lab) == [8, 16, 24]
    every = [definition for name in NAMES for definition in definitions(lab, name)]
    assert len({d.name for d in every}) == len({d.uuid for d in every}) == 9
    networks = {name: {card.bridge for d in definitions(lab, name) for card in d.nics} for name in NAMES}
    assert networks == {"h1": {"br-iso-1"}, "h2": {"br-iso-2"}, "h3": {"br-iso-3"}}

    # Protection goes on, and prunes all but what the drills stand on.
    for _ in range(3):
        lab.write(8)
        lab.protect()
    assert set(points) <= set(whole(lab, "west"))
    outcome = lab.move("west")
    assert (outcome.failures, outcome.remarks) == ((), ())
    assert lab.last("db") == {"db": 48}
    assert entries(lab) == [8, 16, 24], "there is room for all, so none was ended"
    lab.write(8)
    lab.protect()
    assert set(points) <= set(whole(lab, "west"))

    for name in NAMES:
        assert end_drill(lab.world(), "shop", name).removed == {"vms": 3, "volumes": 2, "holds": 2}
    assert traces(lab) == []
    assert lab.protect().failures == ()
    assert not set(points) & set(whole(lab, "west"))
    back = lab.move("east")
    assert (back.failures, lab.last("db")) == ((), {"db": 56})


def test_a_disaster_in_the_middle(make: MakeLab) -> None:
    """The drills' site is what is left."""
    lab = make(change=isolated)
    hunted(lab)
    lab.lose("site:east")
    outcome = lab.move("west", word="1: power lost at east")
    assert outcome.failures == ()
    assert lab.last("db") == {"db": 24}
    assert entries(lab) == [8, 16, 24]
    for name in NAMES:
        end_drill(lab.world(), "shop", name)
    lab.heal("site:east")
    lab.protect()
    assert traces(lab) == []
    assert lab.status()["protected"]


def test_a_move_ends_as_many_as_it_needs_and_lists_them(make: MakeLab) -> None:
    """The hosts hold three times the plan: its VMs take the place of one drill."""
    lab = make(change=isolated, hosts_per_site=1, host_cpus=9)
    points = hunted(lab)
    decision = lab.decide("west")
    assert [a.sentence for a in decision.actions if a.verb == "end-drill"] == [
        "end drill h1 at west, whose room the move needs"
    ]
    outcome = lab.move("west")
    assert outcome.failures == ()
    (said,) = outcome.remarks
    assert "drill h1 was ended, since plan shop needs its room" in said
    assert set(lab.view().drills) == {"h2", "h3"}
    assert lab.ledger("db.drill.h2").last == 16
    assert points[1] in whole(lab, "west")


def test_a_drill_of_another_plan_gives_way_too(make: MakeLab) -> None:
    def change(document: dict[str, Any]) -> None:
        second_plan(document)
        for vm in document["vms"].values():
            vm["cpus"] = 1

    lab = make(change=change, hosts_per_site=1, host_cpus=4)
    lab.protect()
    protect_plan(lab.world(), "solo", now=True)
    start_drill(lab.world(), "shop", "west", "own", OWNER)
    start_drill(lab.world(), "solo", "west", "other", OWNER)
    end_drill(lab.world(), "shop", "own")
    lab.world().fleet.host("west-1").reserve("kept", [])
    outcome = lab.move("west")
    assert (outcome.failures, outcome.remarks) == ((), ()), "there is room beside it"
    lab.move("east")
    for vm in ("a", "b"):
        start_drill(lab.world(), "solo", "west", vm, OWNER)
    outcome = lab.move("west")
    assert outcome.failures == ()
    assert [line for line in outcome.remarks if "was ended, since plan shop needs its room" in line]
    assert lab.running() == dict.fromkeys(("db", "app", "web"), "west")


def test_a_drill_gives_way_to_vms_that_are_restarted_in_their_site(make: MakeLab) -> None:
    """The hosts of a site hold the plan twice: what runs, and the drill."""
    lab = make(host_cpus=3)
    lab.protect()
    assert start_drill(lab.world(), "shop", "east", "d1", OWNER).ok
    lab.lose("host:east-1")
    outcome = lab.move(goal="restart")
    assert outcome.failures == ()
    assert lab.running() == dict.fromkeys(("db", "app", "web"), "east")
    assert [line for line in outcome.remarks if "drill d1 " in line and "since plan shop needs its room" in line]
    lab.heal("host:east-1")
    lab.protect()
    assert traces(lab) == []


def test_a_second_drill_waits_for_another_isolated_network(make: MakeLab) -> None:
    """The same addresses twice on one wire would answer for each other."""
    lab = make()
    lab.protect()
    start_drill(lab.world(), "shop", "west", "first", OWNER)
    with pytest.raises(NoRoom, match=r"networks\.prod\.drill") as error:
        run_drill(lab.world(), "shop", "west", "second", OWNER)
    assert "drill first" in str(error.value)
    assert "more:" in str(error.value)


def test_without_static_addresses_they_share_it_with_cards_of_their_own(make: MakeLab) -> None:
    def change(document: dict[str, Any]) -> None:
        for vm in document["vms"].values():
            vm["nics"] = [{"network": "prod"}]

    lab = make(change=change)
    lab.protect()
    for name in ("first", "second"):
        assert start_drill(lab.world(), "shop", "west", name, OWNER).ok
    cards = {name: {card.mac for d in definitions(lab, name) for card in d.nics} for name in ("first", "second")}
    real = {p.vm: p.state.definition for p in lab.view().places}
    assert cards["first"] == {card.mac for d in real.values() for card in d.nics}
    assert not cards["first"] & cards["second"]


def test_one_after_another_where_there_is_room_for_one(make: MakeLab) -> None:
    lab = make()
    points = {}
    for name in NAMES:
        lab.write(8)
        points[name] = str(lab.protect().point)
    world = lab.world()

    def run(drill: str, point: str) -> DrillOutcome:
        return run_drill(world, "shop", "west", drill, OWNER, point)

    found = run_abreast(points, run)
    shown = {}
    for name, outcome in found.items():
        assert isinstance(outcome, DrillOutcome), outcome
        shown[name] = outcome.vms["db"].checks[-1].detail
    assert shown == {
        n: f"data intact: {e} entries, {e} in the recovery point" for n, e in zip(NAMES, (8, 16, 24), strict=True)
    }
    assert traces(lab) == []
    json.dumps([outcome.document() for outcome in found.values() if isinstance(outcome, DrillOutcome)])


def test_what_cannot_be_run_at_all_is_said_for_each() -> None:
    def run(drill: str, point: str) -> DrillOutcome:
        raise NoRoom((f"no room for {drill}",)) if drill != "c" else Refused((f"{drill} is refused at {point}",))

    found = run_abreast({"a": "1", "b": "2", "c": "3"}, run)
    assert {name: str(error) for name, error in found.items()} == {
        "a": "no room for a", "b": "no room for b", "c": "c is refused at 3",
    }  # fmt: skip
