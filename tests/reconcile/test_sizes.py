"""VMs with another size or start delay at another site, and in drills: placed, reserved, started and brought back."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dr_provider.model.records import Owner
from dr_provider.model.state import HostState, Reservation
from dr_provider.reconcile.actions import compute
from dr_provider.reconcile.drills import vms as drilling
from dr_provider.reconcile.drills.begin import start_drill
from dr_provider.reconcile.drills.end import end_drill
from dr_provider.reconcile.losses import parse_loss
from dr_provider.reconcile.placement import place
from dr_provider.reconcile.remap import address_lines, decision_document
from dr_provider.reconcile.twin import twin_of
from dr_provider.reconcile.whatif import whatif
from tests.reconcile.conftest import MakeLab
from tests.support.lab import Lab
from tests.support.situations import GIB, answer, reserved, shop, view

MIB = 1 << 20
HALF = {"cpus": 1, "memory": "32MiB"}


def overridden(doc: dict[str, Any]) -> None:
    """At west the hosts are small: each VM has half there, and less in drills."""
    for vm in ("db", "app", "web"):
        doc["vms"][vm].update(cpus=2, memory="64MiB", at={"west": HALF, "drill": {"memory": "16MiB"}})
    for host in ("west-1", "west-2"):
        doc["hosts"][host].update(cpus=4, memory="64MiB")


@pytest.fixture
def lab(make: MakeLab) -> Lab:
    made = make(change=overridden, health={"agent": True, "within": "5s"})
    made.write(5)
    made.protect()
    return made


def sizes(lab: Lab) -> dict[str, tuple[str, int, int]]:
    """Of each VM that runs: its site, CPUs and MiB."""
    return {
        place.vm: (place.site, place.state.definition.cpus, place.state.definition.memory // MIB)
        for place in lab.view().places
        if place.running
    }


def test_it_has_the_size_of_the_site_and_home_gives_its_own_back(lab: Lab) -> None:
    assert sizes(lab) == dict.fromkeys(("db", "app", "web"), ("east", 2, 64))
    assert lab.move("west").failures == ()
    assert sizes(lab) == dict.fromkeys(("db", "app", "web"), ("west", 1, 32))
    assert lab.decide().actions == (), "another size at another site is no difference"
    assert lab.move("east").failures == ()
    assert sizes(lab) == dict.fromkeys(("db", "app", "web"), ("east", 2, 64))
    assert set(lab.last().values()) == {5}


def test_a_lost_host_is_restarted_with_the_size_of_the_site(lab: Lab) -> None:
    lab.move("west")
    lost = next(place.host for place in lab.view().places if place.running and place.site == "west")
    left = {place.vm for place in lab.view().places if place.running and place.host != lost}
    lab.lose(f"host:{lost}")
    lab.move(None, goal="restart")
    assert set(sizes(lab)) > left
    assert set(sizes(lab).values()) == {("west", 1, 32)}


def test_a_drill_has_its_own_size(lab: Lab) -> None:
    """Beside the VMs that run there is room for two, and only because they are small."""
    lab.move("west")
    outcome = start_drill(lab.world(), "shop", "west", "d1", Owner("shop-test", "", "i1"))
    assert outcome.failures == (
        "VM web: wanted 1 CPU and 0.0156 GiB at west, and none of west-1, west-2 has that left",
    )
    hosts = [state for name in lab.topology.hosts if (state := lab.world().look().host(name)) is not None]
    drilled = [vm.definition for host in hosts for vm in host.vms.values() if "drill" in vm.name]
    assert [(d.cpus, d.memory // MIB) for d in drilled] == [(1, 16)] * 2
    end_drill(lab.world(), "shop", "d1")


def test_what_if_and_the_twin_go_by_the_size_of_the_site(lab: Lab) -> None:
    case = whatif(lab.topology, lab.world().look(), [parse_loss(lab.topology, "site:east")])
    assert {(vm.state, vm.site) for fate in case.plans for vm in fate.vms} == {("restored", "west")}
    lab.lose("site:west")
    twin, notes = twin_of(lab.topology, lab.world().look(refresh=True), Path("/twin"))
    assert twin.vms["db"].at == lab.topology.vms["db"].at
    assert twin.hosts["west-1"].options["cpus"] == 4
    assert notes == ()


def test_the_remark_says_which_size_it_has_now(lab: Lab) -> None:
    said = lab.move("west").remarks
    assert "VM db ran with 2 CPUs and 64 MiB and is restored with 1 and 32 MiB, as the topology says of west" in said


@pytest.mark.parametrize(
    ("site", "drill", "waited"), [("west", False, 30.0), ("east", False, 2.0), ("west", True, 0.5)]
)
def test_each_waits_as_long_as_its_site_says(
    make: MakeLab, monkeypatch: pytest.MonkeyPatch, site: str, drill: bool, waited: float
) -> None:
    def delayed(doc: dict[str, Any]) -> None:
        for vm in doc["vms"].values():
            vm.update(startDelay="2s", at={"west": {"startDelay": "30s"}, "drill": {"startDelay": "500ms"}})

    lab = make(vms=1, volumes=1)
    lab.protect()
    if site == "east":
        lab.move("west")
    make(vms=1, volumes=1, change=delayed, made=False)
    paused: Counter[float] = Counter()
    for module in (compute, drilling):
        monkeypatch.setattr(module, "pause", lambda seconds, _stop: paused.update([seconds]))
    if drill:
        start_drill(lab.world(), "shop", site, "d1", Owner("shop-test", "", "i1"))
    else:
        assert lab.move(site).failures == ()
    assert paused == {waited: 1}


def test_room_is_kept_for_the_size_that_it_will_have(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []

    def keep(*of: Any) -> Reservation:
        kept.append(Reservation(*of))
        return kept[-1]

    monkeypatch.setattr(compute, "Reservation", keep)
    lab.move("west")
    assert [(each.vm, each.cpus, each.memory // MIB) for each in kept] == [(vm, 1, 32) for vm in ("app", "db", "web")]


# -- placement ----------------------------------------------------------------------------------------

SIZES = st.fixed_dictionaries(
    {}, optional={"cpus": st.integers(1, 6), "memory": st.sampled_from(["1GiB", "2GiB", "4GiB", "6GiB"])}
)


@st.composite
def overrides(draw: st.DrawFn) -> dict[str, dict[str, dict[str, Any]]]:
    vms = {}
    for vm in ("db", "app", "web"):
        at = {where: size for where in ("west", "drill") if (size := draw(SIZES))}
        if at:
            vms[vm] = at
    return vms


def taken(seen: HostState) -> tuple[int, int]:
    running = [vm.definition for vm in seen.vms.values() if vm.state == "running"]
    return (
        sum(d.cpus for d in running) + sum(r.cpus for r in seen.reservations),
        sum(d.memory for d in running) + sum(r.memory for r in seen.reservations),
    )


@settings(max_examples=60, deadline=None)
@given(overrides(), st.integers(0, 6), st.integers(0, 6), st.booleans())
def test_no_host_is_given_more_than_it_has(at: dict[str, Any], kept_cpus: int, kept_gib: int, drill: bool) -> None:
    def change(doc: dict[str, Any]) -> None:
        for vm, sizes in at.items():
            doc["vms"][vm]["at"] = sizes

    topology = shop(change, cpus=2, memory="2GiB", host_cpus=64)
    seen = view(topology, reservations={"west-1": [reserved(kept_cpus, kept_gib * GIB)]})
    states = {host: state for host in ("west-1", "west-2") if (state := seen.seen.host(host)) is not None}
    states = {host: replace(state, cpus=8, memory=8 * GIB) for host, state in states.items()}
    seen = replace(seen, seen=replace(seen.seen, hosts={**seen.seen.hosts, **states}))
    placement = place(seen, "west", seen.vms, anew=drill)
    assert set(placement.hosts) | set(placement.unplaced) == {"db", "app", "web"}
    for host, state in states.items():
        cpus, memory = taken(state)
        for vm in (vm for vm, chosen in placement.hosts.items() if chosen == host):
            size = topology.vms[vm].there("west", drill=drill)
            cpus, memory = cpus + size.cpus, memory + size.memory
        assert (cpus <= 8, memory <= 8 * GIB) == (True, True)
    free = [(8 - cpus, 8 * GIB - memory) for cpus, memory in map(taken, states.values())]
    for vm in placement.unplaced:
        size = topology.vms[vm].there("west", drill=drill)
        wanted = f"wanted {size.cpus} CPU{'s' if size.cpus > 1 else ''} and {size.memory / GIB:.3g} GiB at west"
        assert wanted in placement.unplaced[vm]
        assert len(placement.hosts) or not any(size.cpus <= c and size.memory <= m for c, m in free)


# -- addresses ------------------------------------------------------------------------------------------


def renumbered(doc: dict[str, Any]) -> None:
    doc["networks"]["prod"]["west"] = {"bridge": "br-prod", "gateway": "10.2.0.1"}
    doc["vms"]["db"]["nics"][0]["names"] = "db.example.org"
    doc["vms"]["app"]["nics"] = [{"network": "prod"}]


def test_a_decision_is_shown_with_the_addresses_after_it(make: MakeLab) -> None:
    lab = make(change=renumbered)
    lab.protect()
    decision = lab.decide("west")
    document: Any = decision_document(lab.topology, decision)
    assert [(card["vm"], card["changed"]) for card in document["addresses"]] == [
        ("db", True),
        ("app", False),
        ("web", True),
    ]
    assert document["names"] == [
        {"name": "db.example.org", "vm": "db", "before": "10.1.0.10", "after": "10.2.0.10", "byDhcp": False}
    ]
    assert address_lines(lab.topology, decision) == [
        "address: db, nics[0] on prod: br-prod, 10.1.0.10/16 -> br-prod, 10.2.0.10/16, gateway 10.2.0.1",
        "address: web, nics[0] on prod: br-prod, 10.1.0.12/16 -> br-prod, 10.2.0.12/16, gateway 10.2.0.1",
        "name: db.example.org -> 10.2.0.10 (db, 10.1.0.10 before)",
    ]
    for nothing in (lab.decide(), lab.decide("east")):
        assert address_lines(lab.topology, nothing) == []
        assert decision_document(lab.topology, nothing)["addresses"] == []


def test_many_addresses_are_not_all_said_in_a_preview() -> None:
    topology = shop(vms=30)
    lines = address_lines(topology, answer(view(topology), "west"))
    assert (len(lines), lines[-1]) == (21, "and 10 more addresses and names (dr runbook lists them)")
