"""A host lost with its site and array alive: its VMs go on on other hosts of the site, without a move and with one writer at any time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dr_provider.reconcile.decision import Want
from dr_provider.reconcile.run import run_plan
from dr_provider.reconcile.view import PlanView
from tests.support.kills import failing, killed_at
from tests.support.lab import Lab
from tests.support.situations import (
    ACTIVE,
    REPLICA,
    answer,
    claim,
    drill,
    epoch,
    ids,
    reserved,
    shop,
    split,
    tree,
    verbs,
    view,
)

VMS = ("db", "app", "web")
IN_SITE = {"restart": "in-site"}
RESTARTED = ["reserve", "isolate:east-a", "attach:db", "attach:web", "start:db", "start:web"]


def clustered(document: dict[str, Any]) -> None:
    """Three hosts at east; the first and the last are one cluster. Nothing runs on the last."""
    for name, cluster in (("east-1", "one"), ("east-2", "two"), ("east-3", "one")):
        host = dict(document["hosts"]["east-1"])
        document["hosts"][name] = {**host, "path": f".dr/{name}.db", "cluster": cluster}
    document["plans"]["shop"]["restart"] = "in-site"


SHOP = shop(plan=IN_SITE)
TWO = ("east-1", "east-2")


# -- what is decided ----------------------------------------------------------------------------------


RESTARTS: list[tuple[PlanView, str, list[str]]] = [
        (view(SHOP, silent=["east-1"]), "move", RESTARTED),
        (view(silent=["east-1"]), "restart", RESTARTED),
        (view(silent=["east-1"]), "move", []),
        (view(SHOP, silent=["east-1", "east-a"]), "move", []),
        (view(SHOP, silent=["east-1", "west"]), "move", []),
        (view(SHOP, silent=TWO), "move", []),
        (view(SHOP, silent=["east-1"], unmade=VMS), "move", []),
        # Its disks are nobody's already: a run ended after it had taken them.
        (view(SHOP, silent=["east-1"], east=replace(ACTIVE, mapped=("app",))), "move",
         ["reserve", "attach:db", "attach:web", "start:db", "start:web"]),
        (view(SHOP, silent=["east-2"]), "move", ["reserve", "isolate:east-a", "attach:app", "start:app"]),
        (view(SHOP, silent=["west-1"]), "move", []),
        (view(SHOP), "restart", []),
        # A drill has the room that app needs.
        (view(shop(memory="2GiB", host_memory="6GiB", plan=IN_SITE), silent=["east-2"], drills={"d1": drill("d1", "db", site="east")}), "move",
         ["end-drill:d1", "reserve", "isolate:east-a", "attach:app", "start:app"]),
]  # fmt: skip


@pytest.mark.parametrize(("seen", "goal", "wanted"), RESTARTS)
def test_vms_of_a_silent_host_are_restarted_where_that_is_wanted(seen: PlanView, goal: Any, wanted: list[str]) -> None:
    decision = answer(seen, goal=goal)
    assert (decision.refused, ids(decision)) == ((), wanted)


def test_disks_are_taken_before_another_host_gets_them_and_tiers_keep_their_order() -> None:
    steps = tree(answer(view(SHOP, silent=["east-1"])))
    assert steps["isolate:east-a"].of == {"array": "east-a", "vms": "db,web"}
    assert steps["isolate:east-a"].after == ("reserve",)
    assert steps["reserve"].of["hosts"] == "db=east-2;web=east-2"
    for vm in ("db", "web"):
        assert set(steps[f"attach:{vm}"].after) == {"reserve", "isolate:east-a"}
    # app, between them, runs on: what waits for it need not.
    assert steps["start:web"].after == ("attach:web",)


NOT_RESTARTED: list[tuple[PlanView, str, str]] = [
        (view(silent=["east-1"]), "move",
         "VM db: not seen at east, and east-1 is silent; it may run there. Where that host is lost: dr restart shop takes its disks from it and "
         "starts it on another host of east (restart: in-site in the plan does so by itself)"),
        (view(SHOP, silent=["east-1", "east-a"]), "move",
         "VM db: not seen at east, and east-1 is silent; it may run there, and is not restarted elsewhere: array east-a is silent, so its disks "
         "cannot be taken from there"),
        (view(SHOP, silent=["east-1"], epochs_at={"east-a": [], "west-a": [epoch()]}), "move",
         "VM db: not seen at east, and east-1 is silent; it may run there, and is not restarted elsewhere: array east-a does not know the epoch "
         "in force yet; run again"),
        (view(SHOP, silent=TWO), "move", "VM db: no host that the plan allows at east answers; silent: east-1, east-2"),
        (view(shop(memory="2GiB", host_memory="4GiB", plan=IN_SITE), silent=["east-1"]), "move",
         "VM web: wanted 1 CPU and 2 GiB at east, and none of east-2 has that left; silent: east-1"),
        (view(SHOP, silent=["east-1"], reservations={"east-2": [reserved(16, 0)]}), "move",
         "VM db: wanted 1 CPU and 0.0625 GiB at east, and none of east-2 has that left; silent: east-1"),
        (view(SHOP, silent=["east-1", "west"]), "move",
         "plan shop: db, web not running at east, and not started: another side might have taken over and cannot be asked (west-a gave no "
         'answer); say so with --force "1: <reason>"'),
]  # fmt: skip


@pytest.mark.parametrize(("seen", "goal", "sentence"), NOT_RESTARTED)
def test_what_is_not_restarted_says_why(seen: PlanView, goal: Any, sentence: str) -> None:
    said = answer(seen, goal=goal).degraded
    assert any(one.startswith(sentence.partition("; say so with")[0]) for one in said), said


def test_a_vm_that_fits_nowhere_is_not_fenced() -> None:
    tight = view(shop(cpus=1, host_cpus=2, plan=IN_SITE), silent=["east-1"])
    decision = answer(tight)
    assert tree(decision)["isolate:east-a"].of["vms"] == "db"
    assert [said.partition(":")[0] for said in decision.degraded] == ["VM web"]


def test_hosts_of_the_same_cluster_are_taken_first() -> None:
    topology = shop(clustered)
    spread = view(topology, silent=["east-1"])
    assert tree(answer(spread))["reserve"].of["hosts"] == "db=east-3"
    full = view(topology, silent=["east-1"], reservations={"east-3": [reserved(16, 0)]})
    assert tree(answer(full))["reserve"].of["hosts"] == "db=east-2"


@pytest.mark.parametrize(
    ("seen", "sentence"),
    [
        (view(silent=["east-1"], split=split()), "dr resolve shop --keep SITE"),
        (view(silent=["east-1"], claim=claim()), "a move to west is under way (epoch 2), so no VM is restarted at east"),
    ],
)  # fmt: skip
def test_nothing_is_restarted_while_the_past_is_not_clear(seen: PlanView, sentence: str) -> None:
    decision = answer(seen, goal="restart")
    assert decision.actions == ()
    assert sentence in decision.refused[0]


def test_a_vm_that_runs_without_its_disks_is_stopped_and_the_other_left_alone() -> None:
    decision = answer(view(twice=["db"]))
    assert ids(decision) == ["evict:db@east-2"]
    assert tree(decision)["evict:db@east-2"].of == {"vm": "db", "host": "east-2"}
    # Nobody says which of two is without disks while the array is silent.
    assert verbs(answer(view(twice=["db"], silent=["east-a"]))) == []


def test_a_move_stops_both_and_counts_neither_as_gone() -> None:
    steps = tree(answer(view(twice=["db"]), "west"))
    assert {steps[i].of["host"] for i in ("stop:db", "stop:db#2")} == {"east-1", "east-2"}
    assert {"stop:db", "stop:db#2"} <= set(steps["prove"].after)


def test_without_a_backup_record_any_host_will_do() -> None:
    bare = view(SHOP, silent=["east-1"], east=replace(ACTIVE, points=()), west=replace(REPLICA, points=()))
    assert ids(answer(bare)) == RESTARTED


# -- on the embedded drivers ----------------------------------------------------------------------------


def prepared(folder: Path, plan: dict[str, Any]) -> Lab:
    """20 entries protected and 13 written since."""
    made = Lab(folder, source_budget="300ms", change=lambda document: document["plans"]["shop"].update(plan))
    made.write(20)
    made.protect()
    made.write(13)
    return made


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return prepared(tmp_path, IN_SITE)


def hosts_of(lab: Lab) -> dict[str, set[str]]:
    """Every host that runs each VM, or seems to."""
    places = lab.view().places
    return {vm: {p.host for p in places if p.vm == vm and p.running} for vm in VMS}


def on(lab: Lab, host: str) -> set[str]:
    return {vm for vm, hosts in hosts_of(lab).items() if hosts == {host}}


def settled(lab: Lab, host: str) -> None:
    """Everything runs on the host, once, with nothing lost of what was on disk and nothing left over."""
    assert hosts_of(lab) == {vm: {host} for vm in VMS}
    assert all(lab.ledger(vm).intact for vm in VMS)
    seen = lab.view().seen
    assert [kept for h in lab.topology.hosts if (s := seen.host(h)) is not None for kept in s.reservations] == []
    assert lab.decide().actions == (), "a second run has nothing to do"
    epoch_now = lab.view().epoch
    assert epoch_now is not None
    assert epoch_now.number == 1


def test_the_vms_of_a_lost_host_run_on_another_after_the_next_protect(lab: Lab) -> None:
    lost = on(lab, "east-1")
    assert lost
    assert on(lab, "east-2")
    before = lab.last()
    lab.lose("host:east-1")
    outcome = lab.protect()
    assert outcome.failures == ()
    assert any(sentence.startswith("unmap the LUNs of ") for sentence in outcome.repaired)
    settled(lab, "east-2")
    assert {vm: lab.last()[vm] for vm in lost} == {vm: before[vm] for vm in lost}
    assert outcome.point is not None, "and the recovery point that follows is whole"
    assert lab.status()["degraded"] == []

    lab.heal("host:east-1")
    lab.move()
    settled(lab, "east-2")
    assert all(place.host == "east-2" for place in lab.view().places if place.site == "east")


def test_without_the_option_it_is_said_and_done_once_by_hand(tmp_path: Path) -> None:
    lab = prepared(tmp_path, {})
    lost = on(lab, "east-1")
    lab.lose("host:east-1")
    outcome = lab.protect()
    assert {vm for vm in VMS for said in outcome.warnings if said.startswith(f"VM {vm}: not seen")} == lost
    assert all("dr restart shop" in said for said in outcome.warnings if "not seen" in said)
    assert on(lab, "east-2") == set(VMS) - lost

    done = run_plan(lab.world(), "shop", Want(goal="restart"))
    assert done.failures == ()
    settled(lab, "east-2")


def test_a_host_that_was_only_cut_off_comes_back_to_vms_that_can_write_nothing(lab: Lab) -> None:
    lost = on(lab, "east-1")
    lab.lose("host:east-1", running=True)
    lab.move()
    lab.write(5)
    before = lab.last()
    lab.heal("host:east-1")
    assert {vm for vm, hosts in hosts_of(lab).items() if hosts == {"east-1", "east-2"}} == lost
    status = lab.status()
    assert {vm: at["host"] for vm, at in status["vms"].items()} == dict.fromkeys(VMS, "east-2")
    assert all("without its disks" in said for said in status["degraded"])
    assert len(status["degraded"]) == len(lost)

    outcome = lab.move()
    assert outcome.failures == ()
    for vm in lost:
        assert (
            f"VM {vm} was still running on east-1, without its disks; it has been stopped there and could write nothing"
            in outcome.remarks
        )
    settled(lab, "east-2")
    assert lab.last() == before


def test_a_planned_move_with_a_vm_on_two_hosts_loses_nothing(lab: Lab) -> None:
    lab.lose("host:east-1", running=True)
    lab.move()
    lab.write(5)
    buffered = {vm: report.last + report.buffered for vm in VMS for report in [lab.ledger(vm)]}
    lab.heal("host:east-1")
    outcome = lab.move("west")
    assert outcome.failures == ()
    assert lab.running() == dict.fromkeys(VMS, "west")
    assert lab.last() == buffered, "the guests with their disks were asked to shut down"


def test_nothing_is_done_while_the_array_is_silent(lab: Lab) -> None:
    lab.lose("host:east-1")
    lab.lose("array:east-a")
    assert [a for a in lab.decide(goal="restart").actions if a.verb in ("isolate", "attach", "start")] == []
    lab.heal("array:east-a")
    lab.move()
    settled(lab, "east-2")


@pytest.mark.parametrize("action", ["reserve", "isolate:east-a"])
def test_without_the_fence_nothing_is_started(lab: Lab, action: str) -> None:
    lost = on(lab, "east-1")
    lab.lose("host:east-1", running=True)
    with failing(action):
        outcome = lab.move()
    assert len(outcome.failures) == len(lost) + 1
    assert on(lab, "east-2") == set(VMS) - lost
    lab.move()
    settled(lab, "east-2")


@pytest.mark.parametrize("goal", ["move", "restart"])
@pytest.mark.parametrize("at", range(6))
def test_a_killed_restart_is_finished_by_the_next_run(tmp_path: Path, at: int, goal: Any) -> None:
    lab = prepared(tmp_path, IN_SITE if goal == "move" else {})
    before = lab.last()
    lab.lose("host:east-1")

    def restart() -> None:
        run_plan(lab.world(), "shop", Want(goal=goal))

    assert killed_at(restart, at, "before" if at % 2 else "after")
    restart()
    settled(lab, "east-2")
    assert lab.last() == before


@pytest.mark.parametrize("at", range(6))
def test_a_host_that_comes_back_in_the_middle_leaves_one_writer(lab: Lab, at: int) -> None:
    lab.lose("host:east-1", running=True)
    assert killed_at(lab.move, at, "after" if at % 2 else "before")
    lab.heal("host:east-1")
    outcome = lab.move()
    assert outcome.failures == ()
    assert all(len(hosts) == 1 for hosts in hosts_of(lab).values())
    lab.write(3)
    assert all(lab.ledger(vm).intact for vm in VMS)
    assert lab.decide().actions == ()


def test_a_lost_host_whose_reserve_is_full_is_an_error_with_its_sentence(tmp_path: Path) -> None:
    def small(document: dict[str, Any]) -> None:
        document["plans"]["shop"].update(IN_SITE)
        for host in document["hosts"].values():
            host["cpus"] = 2

    lab = Lab(tmp_path, source_budget="300ms", change=small)
    lab.lose("host:east-1")
    outcome = lab.move()
    assert len(outcome.failures) == 1
    assert "none of east-2 has that left; silent: east-1" in outcome.failures[0]
    assert len(on(lab, "east-2")) == 2
