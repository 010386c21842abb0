"""Which drills give way to a move: as few as it takes, the plan's own first, the oldest of them before others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dr_provider.model import keys
from dr_provider.model.drills import DrillRecord
from dr_provider.model.records import Owner
from dr_provider.model.state import VmState
from dr_provider.reconcile.drills.giving_way import make_room
from tests.support.situations import NAME, PLAN, drill, reserved, shop, view, vm_state

SMALL: dict[str, Any] = {"memory": "1GiB", "cpus": 1, "host_cpus": 4, "host_memory": "4GiB", "hosts_per_site": 1}
"""Four VMs fill the one host of a site; the plan has three."""


def at(name: str, minutes: int, *vms: str) -> dict[str, DrillRecord]:
    return {name: replace(drill(name, *vms), time=f"2026-01-01T00:{minutes:02}:00.000Z")}


def of_another_plan(name: str, cpus: int) -> VmState:
    there = vm_state("other", cpus, cpus << 30)
    drilled = f"other.drill.{name}"
    definition = replace(there.definition, name=drilled, plan="solo", owner=Owner(NAME, "", "i1"))
    return replace(there, name=drilled, definition=definition)


CASES: dict[str, tuple[dict[str, Any], list[tuple[str, str]], int]] = {
    "none": ({}, [], 3),
    "there is room": ({"drills": at("d1", 1, "db")}, [], 3),
    "the only one": ({"drills": at("d1", 1, "db", "app")}, [(PLAN, "d1")], 3),
    "the oldest of two": ({"drills": {**at("young", 9, "db"), **at("old", 1, "db")}}, [(PLAN, "old")], 3),
    "the oldest is not enough": (
        {"drills": {**at("a", 3, "db"), **at("b", 2, "db"), **at("c", 1, "db")}}, [(PLAN, "c"), (PLAN, "b")], 3,
    ),
    "one that makes all the room spares the others": (
        {"drills": {**at("large", 9, "db", "app", "web"), **at("small", 1, "db")}}, [(PLAN, "large")], 3,
    ),
    "another plan's": ({"hosts": {"west-1": [of_another_plan("d1", 3)]}}, [("solo", "d1")], 3),
    "its own before another plan's": (
        {"drills": at("d1", 9, "db"), "hosts": {"west-1": [of_another_plan("d1", 1)]}}, [(PLAN, "d1")], 3,
    ),
    "one that is being started": (
        {"reservations": {"west-1": [reserved(2, 2 << 30, tag=keys.drill_tag(NAME, "solo", "d2"), vm="x.drill.d2")]}},
        [("solo", "d2")], 3,
    ),
    "what is kept for a move does not give way": (
        {"drills": at("d1", 1, "db"), "reservations": {"west-1": [reserved(4, 1 << 30, tag="move.other.plan")]}}, [], 0,
    ),
    "a drill whose end brings too little is ended all the same, for as many VMs as it brings": (
        {"drills": at("d1", 1, "db"), "reservations": {"west-1": [reserved(2, 1 << 30, tag="move.other.plan")]}}, [(PLAN, "d1")], 2,
    ),
    "another's VM does not": ({"hosts": {"west-1": [vm_state("big", 2, 2 << 30)]}}, [], 2),
    "the host is silent": ({"drills": at("d1", 1, "db", "app"), "silent": ["west-1"]}, [], 0),
    "one whose VM is off takes no room": (
        {"drills": at("d1", 2, "db", "app"), "hosts": {"west-1": [replace(of_another_plan("d2", 2), state="off")]}}, [(PLAN, "d1")], 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_as_few_as_it_takes(case: str) -> None:
    situation, gone, placed = CASES[case]
    seen = view(shop(**SMALL), **situation)
    placement, ways = make_room(seen, "west", seen.vms)
    assert [(way.plan, way.drill) for way in ways] == gone
    assert len(placement.hosts) == placed


@pytest.mark.parametrize(
    ("tag", "whose"),
    [
        ("drill.t.shop.d1", ("shop", "d1")),
        ("drill.other.shop.d1", None),
        ("move.t.shop.d1", None),
        ("drill.d1", None),
        ("drill.t.shop", None),
    ],
)
def test_whose_room_is_kept(tag: str, whose: tuple[str, str] | None) -> None:
    assert keys.drill_of_tag("t", tag) == whose
    if whose is not None:
        assert keys.drill_tag("t", *whose) == tag
