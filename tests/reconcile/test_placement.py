"""Which host each VM is restored on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from dr_provider.reconcile.placement import Placement, place
from dr_provider.reconcile.view import PlanView
from tests.support.situations import GIB, VMS, Side, drill, own_tag, reserved, shop, view, vm_state

SMALL: dict[str, Any] = {"memory": "2GiB", "cpus": 2, "host_cpus": 4, "host_memory": "4GiB"}
"""Two VMs fill a host."""


def at_west(seen: PlanView, **more: Any) -> Placement:
    return place(seen, "west", seen.vms, **more)


@pytest.mark.parametrize(
    ("situation", "hosts"),
    [
        ({}, {"app": "west-1", "db": "west-2", "web": "west-1"}),
        ({"west": Side("replica", vms="off")}, {"app": "west-2", "db": "west-1", "web": "west-1"}),
        ({"silent": ["west-2"], "hosts": {}}, {"app": "west-1", "db": "west-1"}),
        ({"hosts": {"west-1": [vm_state("big", 3, 3 * GIB)]}}, {"app": "west-2", "db": "west-2"}),
        (
            {"hosts": {"west-1": [vm_state("big", 3, 3 * GIB, state="off")]}},
            {"app": "west-1", "db": "west-2", "web": "west-1"},
        ),
        ({"reservations": {"west-1": [reserved(3, 3 * GIB)]}}, {"app": "west-2", "db": "west-2"}),
        (
            {"reservations": {"west-1": [reserved(3, 3 * GIB, tag=own_tag())]}},
            {"app": "west-1", "db": "west-2", "web": "west-1"},
        ),
    ],
    ids=["spread", "where it was", "one host", "beside others", "others that are off", "others' room", "its own room"],
)
def test_a_host_with_room_is_found(situation: dict[str, Any], hosts: Mapping[str, str]) -> None:
    placement = at_west(view(shop(**SMALL), **situation))
    assert placement.hosts == hosts
    assert set(placement.unplaced) == set(VMS) - set(hosts)


def test_a_vm_that_has_no_room_is_told_what_it_wanted() -> None:
    placement = at_west(view(shop(**SMALL), silent=["west-2"]))
    assert placement.unplaced == {
        "web": "VM web: wanted 2 CPUs and 2 GiB at west, and none of west-1 has that left; silent: west-2"
    }


def test_nobody_to_ask_is_another_sentence() -> None:
    placement = at_west(view(shop(**SMALL), silent=["west-1", "west-2"]))
    assert placement.hosts == {}
    assert placement.unplaced["db"] == "VM db: no host that the plan allows at west answers; silent: west-1, west-2"


def test_a_vm_that_runs_stays_where_it_is_even_on_a_host_that_is_not_allowed() -> None:
    seen = view(shop(plan={"hosts": {"west": ["west-1"]}}), west=Side(vms={"app": "running"}))
    placement = at_west(seen)
    assert placement.hosts == {"app": "west-2", "db": "west-1", "web": "west-1"}


def test_a_vm_defined_on_a_host_that_is_not_allowed_any_more_goes_elsewhere() -> None:
    seen = view(shop(plan={"hosts": {"west": ["west-1"]}}), west=Side(vms={"app": "off"}))
    assert at_west(seen).hosts["app"] == "west-1"


def test_a_drill_comes_in_addition_and_what_is_ended_leaves_its_room() -> None:
    seen = view(shop(**SMALL), west=Side(vms={"db": "running"}), drills={"d1": drill("d1", "app")})
    assert at_west(seen, anew=True, tag="drill.d2").hosts == {"app": "west-2", "db": "west-2"}
    assert set(at_west(seen, ended=frozenset({"app.drill.d1"})).hosts) == set(VMS)


def test_packed_tight_only_where_spreading_finds_no_place() -> None:
    """Spread, the two small ones take from both hosts what the large one needs; sorted by size, it comes first."""

    def change(document: dict[str, Any]) -> None:
        for vm, cpus, memory in (("db", 4, "1GiB"), ("app", 1, "2GiB"), ("web", 2, "2GiB")):
            document["vms"][vm].update(cpus=cpus, memory=memory)

    placement = at_west(view(shop(change, host_cpus=4, host_memory="4GiB")))
    assert placement.unplaced == {}
    assert placement.hosts["app"] == placement.hosts["web"] != placement.hosts["db"]


def test_the_answer_is_the_same_each_time() -> None:
    seen = view(shop(vms=9, hosts_per_site=3, memory="1GiB"))
    assert len({tuple(sorted(at_west(seen).hosts.items())) for _ in range(5)}) == 1
