"""What is decided about things that were removed while a side was away: situations, and the steps that come of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from dr_provider.model import keys
from dr_provider.model.codec import dump
from dr_provider.model.records import Owner, Tombstone
from dr_provider.model.state import LunState, VmState, VolumeState
from dr_provider.model.vm import DiskAttachment, VmDefinition
from dr_provider.reconcile.decide import decide
from dr_provider.reconcile.decision import Want
from dr_provider.reconcile.view import PlanView, plan_view
from tests.support import situations as s

T = "shop-test"
OLD, BURIED, LATER = "0100", "0200", "0300"
"""Incarnations: of what was there before the removal, of what was removed, of what was made since."""

VM = Tombstone("vm", "gone", "shop", s.minute(250), BURIED)
VOLUME = Tombstone("volume", "old", "shop", s.minute(250), BURIED, arrays=("east-a", "west-a"))
LUN = Tombstone("lun", "web.data", "shop", s.minute(250), BURIED, True, ("east-a", "west-a"), "vol-1")
DESTROYED = replace(VOLUME, delete_data=True)


def removed_vm(state: Any = "off", *, owner: str = OLD, plan: str = "shop", topology: str = T) -> VmState:
    disk = DiskAttachment("root", "old", "gone.root", 4096, "")
    who = Owner(topology, "dr/prod", owner)
    return VmState("gone", state, VmDefinition("gone", "gone", plan, "u", 1, 64, (disk,), (), who))


def old_volume(
    *,
    mapped: str | None = None,
    owner: str = OLD,
    stack: str = "dr/prod",
    last_write: str | None = None,
    kind: Any = "data",
) -> VolumeState:
    lun = LunState("gone.root", 4096, True, mapped)
    who = Owner(T, stack, owner)
    return VolumeState("old", 64 << 20, kind, True, who, {"gone.root": lun}, last_write=last_write)


@dataclass(frozen=True)
class Case:
    """A tombstone at west, where the plan is active; what is at a host, and on an array; what is silent; the steps, and a word of what is listed."""

    stone: Tombstone
    steps: tuple[str, ...] = ()
    vms: Mapping[str, VmState] = field(default_factory=dict)
    volumes: Mapping[str, VolumeState] = field(default_factory=dict)
    luns: Mapping[str, LunState] = field(default_factory=dict)
    records: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    silent: tuple[str, ...] = ()
    listed: str = ""


def owner_record(kind: str, name: str, incarnation: str = OLD) -> dict[str, str]:
    return {keys.owner_key(T, kind, name): dump(Owner(T, "dr/prod", incarnation))}


FORGET_VM, FORGET_VOLUME, FORGET_LUN = (
    "forget-removed:vm.gone",
    "forget-removed:volume.old",
    "forget-removed:lun.web.data",
)
EAST_VOLUME, DATA = "remove-volume:old@east-a", LunState("web.data", 4096, True, None)

CASES = {
    "nothing is left of it": Case(VM, (FORGET_VM,)),
    "a VM that is off": Case(VM, ("remove-vm:gone@east-1", FORGET_VM), {"east-1": removed_vm()}),
    "a VM that failed": Case(VM, ("remove-vm:gone@east-1", FORGET_VM), {"east-1": removed_vm("failed")}),
    "a VM that runs where the plan is": Case(VM, ("remove-vm:gone@west-2", FORGET_VM), {"west-2": removed_vm("running")}),
    "a VM on two hosts": Case(
        VM, ("remove-vm:gone@east-1", "remove-vm:gone@west-2", FORGET_VM), {"east-1": removed_vm(), "west-2": removed_vm()}
    ),
    "a later one of that name": Case(VM, (FORGET_VM,), {"east-1": removed_vm(owner=LATER)}),
    "one of an old tombstone, which says of no incarnation": Case(
        replace(VM, incarnation=""), ("remove-vm:gone@east-1", FORGET_VM), {"east-1": removed_vm(owner=LATER)}
    ),
    "another plan's": Case(VM, (FORGET_VM,), {"east-1": removed_vm(plan="other")}),
    "another topology's": Case(VM, (FORGET_VM,), {"east-1": removed_vm(topology="other")}),
    "in the topology again": Case(replace(VM, name="web"), ("forget-removed:vm.web",)),
    "the side is still away": Case(VM, silent=("east",), listed="VM gone was removed while east-1, east-2, east-a did not answer"),
    "one host is still away": Case(
        VM, ("remove-vm:gone@east-2",), {"east-2": removed_vm()}, silent=("east-1",), listed="while east-1 did not answer"
    ),
    "its record": Case(VM, ("give-back:vm.gone", FORGET_VM), records={"east-a": owner_record("vm", "gone")}),
    "a later record": Case(VM, (FORGET_VM,), records={"east-a": owner_record("vm", "gone", LATER)}),
    "a plan that is no more": Case(
        replace(VM, plan="past"), ("remove-vm:gone@east-1", FORGET_VM), {"east-1": removed_vm(plan="past")}
    ),
    "an older tombstone elsewhere": Case(
        VM, (FORGET_VM,), {"east-1": removed_vm(owner=LATER)},
        records={"east-a": {keys.tombstone_key(T, "vm", "gone"): dump(replace(VM, time=s.minute(260)))}},
    ),
    "a VM of other arrays' sites": Case(replace(VM, arrays=("west-a",)), (FORGET_VM,), {"east-1": removed_vm()}),
    "a volume": Case(VOLUME, (EAST_VOLUME, FORGET_VOLUME), volumes={"east-a": old_volume()}),
    "a volume that is released there": Case(VOLUME, (FORGET_VOLUME,), volumes={"east-a": old_volume(stack="")}),
    "a later volume": Case(VOLUME, (FORGET_VOLUME,), volumes={"east-a": old_volume(owner=LATER)}),
    "a safety copy of that name": Case(VOLUME, (FORGET_VOLUME,), volumes={"east-a": old_volume(kind="safety")}),
    "a volume mapped at the past side": Case(
        VOLUME, (EAST_VOLUME, FORGET_VOLUME), volumes={"east-a": old_volume(mapped="iqn.east-1")}
    ),
    "a volume mapped to a host where nobody uses it": Case(
        VOLUME, ("remove-volume:old@west-a", FORGET_VOLUME), volumes={"west-a": old_volume(mapped="iqn.west-1")}
    ),
    "a volume that a VM runs with": Case(
        VOLUME, (), {"west-1": removed_vm("running")}, {"west-a": old_volume(mapped="iqn.west-1")},
        listed="VM gone on west-1 runs with gone.root on west-a still",
    ),
    "a volume mapped to nobody who answers": Case(
        VOLUME, (), volumes={"west-a": old_volume(mapped="iqn.elsewhere")}, listed="gone.root is mapped to iqn.elsewhere",
    ),
    "a volume whose side is away": Case(
        VOLUME, volumes={"west-a": old_volume(stack="")}, silent=("east-a",), listed="cleared there when east-a is back"
    ),
    "deleteData": Case(DESTROYED, (EAST_VOLUME, FORGET_VOLUME), volumes={"east-a": old_volume(stack="")}),
    "deleteData, written before": Case(
        DESTROYED, (EAST_VOLUME, FORGET_VOLUME), volumes={"east-a": old_volume(last_write=s.minute(249))}
    ),
    "a LUN of a volume that stays": Case(LUN, ("remove-lun:web.data@west-a", FORGET_LUN), luns={"west-a": DATA}),
    "a LUN at a destination": Case(LUN, (FORGET_LUN,), luns={"east-a": DATA}),
    "a LUN whose data stays": Case(replace(LUN, delete_data=False), (FORGET_LUN,), luns={"west-a": DATA}),
    "a LUN mapped to nobody who answers": Case(
        LUN, luns={"west-a": replace(DATA, mapped_to="iqn.elsewhere")}, listed="LUN web.data was removed, and web.data is mapped"
    ),
    "a LUN whose side is away": Case(
        LUN, luns={"west-a": DATA}, silent=("east-a",), listed="LUN web.data was removed while east-a did not answer"
    ),
    "a mirror": Case(
        Tombstone("mirror", "old.west-a", "shop", s.minute(250), BURIED),
        ("give-back:mirror.old.west-a", "forget-removed:mirror.old.west-a"),
        records={"east-a": owner_record("mirror", "old.west-a")},
    ),
}  # fmt: skip


def situation(case: Case, **more: Any) -> PlanView:
    stone = {keys.tombstone_key(T, case.stone.kind, case.stone.name): dump(case.stone)}
    records = {array: dict(case.records.get(array, {})) for array in ("east-a", "west-a")}
    records["west-a"] |= stone
    vms = {host: (vm,) for host, vm in case.vms.items()}
    seen = s.moved(silent=case.silent, records=records, hosts=vms, **more).seen
    arrays = dict(seen.arrays)
    for array in ("east-a", "west-a"):
        state = seen.array(array)
        if state is None:
            continue
        volumes = dict(state.volumes)
        if array in case.volumes:
            volumes["old"] = case.volumes[array]
        if array in case.luns:
            lun = case.luns[array]
            volumes["vol-1"] = replace(volumes["vol-1"], luns={**volumes["vol-1"].luns, lun.name: lun})
        arrays[array] = replace(state, volumes=volumes)
    return plan_view(s.shop(), "shop", replace(seen, arrays=arrays))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_was_removed_is_cleared(case: Case) -> None:
    view = situation(case)
    decision = decide(view, Want())
    assert s.ids(decision) == list(case.steps)
    assert decision == decide(view, Want())
    notes = "\n".join(decision.notes)
    assert case.listed in notes
    assert bool(notes) == bool(case.listed)
    assert not decision.refused


def test_what_was_written_after_the_removal_is_not_destroyed() -> None:
    case = Case(DESTROYED, volumes={"east-a": old_volume(last_write=s.minute(251))})
    step = s.tree(decide(situation(case), Want()))[EAST_VOLUME]
    assert step.of["how"] == "release"
    assert "it was written after that" in step.sentence
    before = Case(DESTROYED, volumes={"east-a": old_volume(last_write=s.minute(249))})
    assert s.tree(decide(situation(before), Want()))[EAST_VOLUME].of["how"] == "destroy"


def test_a_vm_goes_before_its_volume_and_both_before_their_tombstones() -> None:
    case = Case(VOLUME, vms={"west-1": removed_vm("running")}, volumes={"west-a": old_volume(mapped="iqn.west-1")})
    more = {"east-a": {keys.tombstone_key(T, "vm", "gone"): dump(VM)}}
    found = s.tree(decide(situation(replace(case, records=more)), Want()))
    assert "stop it and forget it there" in found["remove-vm:gone@west-1"].sentence
    assert "remove-vm:gone@west-1" in found["remove-volume:old@west-a"].after
    assert found[FORGET_VOLUME].after == ("remove-volume:old@west-a",)
    assert found[FORGET_VM].after == ("remove-vm:gone@west-1",)
    assert not any(step.needed for step in found.values())


@pytest.mark.parametrize(
    "doubt",
    [
        {"split": s.split()},
        {"claim": s.claim("east", 3)},
        {"east": replace(s.RETURNED, last_write=s.minute(210), points=(s.P1, s.P2))},
    ],
    ids=["split", "a move under way", "written on both sides"],
)
def test_nothing_is_cleared_while_a_side_is_in_doubt(doubt: dict[str, Any]) -> None:
    view = situation(Case(VM, vms={"east-1": removed_vm()}), **doubt)
    verbs = set(s.verbs(decide(view, Want())))
    assert not verbs & {"remove-vm", "remove-volume", "remove-lun", "give-back", "forget-removed"}


def test_of_two_tombstones_the_later_one_counts() -> None:
    first = replace(DESTROYED, time=s.minute(240))
    case = Case(
        VOLUME,
        volumes={"east-a": old_volume()},
        records={"east-a": {keys.tombstone_key(T, "volume", "old"): dump(first)}},
    )
    assert s.tree(decide(situation(case), Want()))[EAST_VOLUME].of["how"] == "release"
