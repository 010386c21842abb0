"""Removed while another side was silent: what is left of it there is cleared when that side is back. Pure.

Invariants:
* A tombstone acts only on what was there when it was written: what carries a later incarnation, or is in the topology (again), it leaves
  alone, and it is void for it.
* Data is released, not destroyed, unless the tombstone says that the topology had `deleteData: true`; what was written to it after it had
  been removed is kept even then, and listed.
* A LUN is unmapped where its VM is removed by the same steps, or where the side is past; one that a running VM uses is left, with all
  that depends on it.
* The tombstone goes when everyone whom it concerns has answered and nothing is left to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dr_provider.model import keys
from dr_provider.model.codec import load
from dr_provider.model.records import Owner, Tombstone
from dr_provider.model.state import LunState, VmState, VolumeState
from dr_provider.reconcile.clocks import came_after
from dr_provider.reconcile.steps import Steps
from dr_provider.reconcile.view import PlanView

__all__ = ["WHAT", "clear_removed", "tombstones_of"]

WHAT = {"vm": "VM", "lun": "LUN", "volume": "volume", "mirror": "mirror"}
"""How people call each kind."""


@dataclass
class _Grave:
    """One removed thing: the steps that are left, who has not answered yet, and what is listed."""

    stone: Tombstone
    steps: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    @property
    def what(self) -> str:
        return f"{WHAT[self.stone.kind]} {self.stone.name}"


def tombstones_of(view: PlanView) -> tuple[Tombstone, ...]:
    """The newest tombstone of each thing that was the plan's; VMs first, since a volume waits for its VMs. Those of plans that are in the
    topology no more fall to the first of those that are. Raises CorruptRecord."""
    name, plans = view.topology.name, view.topology.plans
    found: dict[tuple[str, str], Tombstone] = {}
    for array in sorted(view.seen.arrays):
        state = view.seen.array(array)
        for key, text in sorted(state.records.items()) if state else ():
            if not key.startswith(f"{name}/tombstone/"):
                continue
            stone = load(Tombstone, text, f"array {array}, {key}")
            whose = stone.plan if stone.plan in plans else min(plans)
            known = found.get((stone.kind, stone.name))
            if whose == view.spec.name and stone.kind in WHAT and (known is None or known.time < stone.time):
                found[stone.kind, stone.name] = stone
    order = list(WHAT)
    return tuple(sorted(found.values(), key=lambda stone: (order.index(stone.kind), stone.name)))


def clear_removed(view: PlanView, steps: Steps, *, after: Iterable[str]) -> list[str]:
    """Add the steps for every tombstone of the plan; lines about what waits and what is kept. Called only where no side is in doubt."""
    said: list[str] = []
    before = [*after, *steps.ids("stop", "fence")]
    graves = [_Grave(stone) for stone in tombstones_of(view)]
    gone = {grave.stone.name for grave in graves if grave.stone.kind == "vm" and not _declared(view, grave.stone)}
    for grave in graves:
        if not _declared(view, grave.stone):
            if grave.stone.kind == "vm":
                _remove_vm(view, grave, steps, before)
            elif grave.stone.kind == "volume":
                _remove_volume(view, grave, gone, steps, [*before, *steps.ids("remove-vm")])
            elif grave.stone.kind == "lun":
                _remove_lun(view, grave, gone, steps, [*before, *steps.ids("remove-vm")])
            _give_back(view, grave, steps, before)
        said += grave.kept
        if grave.silent:
            names = ", ".join(dict.fromkeys(grave.silent))
            said.append(
                f"{grave.what} was removed while {names} did not answer; it is cleared there when {names} is back"
            )
        elif not grave.kept:
            again = _declared(view, grave.stone)
            why = "is in the topology again" if again else "is cleared everywhere"
            steps.add(
                "forget-removed", f"{grave.stone.kind}.{grave.stone.name}", f"forget that {grave.what} was removed: it {why}",
                after=grave.steps, group="tombstones", needed=False, kind=grave.stone.kind, name=grave.stone.name, plan=grave.stone.plan,
            )  # fmt: skip
    return said


def _declared(view: PlanView, stone: Tombstone) -> bool:
    """Whether the thing is in the topology (again)."""
    topology = view.topology
    if stone.kind == "vm":
        return stone.name in topology.vms
    if stone.kind == "volume":
        return stone.name in topology.volumes
    if stone.kind == "lun":
        return any(stone.name == keys.lun_name(vm.name, d.role) for vm in topology.vms.values() for d in vm.disks)
    return any(
        stone.name == keys.mirror_name(volume.name, copy.array)
        for volume in topology.volumes.values()
        for copy in volume.copies
    )


def _older(stone: Tombstone, owner: Owner | None) -> bool:
    """Whether what carries this owner was there when the tombstone was written."""
    return owner is None or not stone.incarnation or owner.incarnation <= stone.incarnation


def _arrays(view: PlanView, stone: Tombstone) -> tuple[str, ...]:
    """The arrays that it concerns; one that has left the topology can be asked nothing."""
    named = stone.arrays or view.topology.plan_arrays(view.spec.name)
    return tuple(array for array in named if array in view.topology.arrays)


# -- each kind ----------------------------------------------------------------------------------------


def _remove_vm(view: PlanView, grave: _Grave, steps: Steps, after: Iterable[str]) -> None:
    stone, topology = grave.stone, view.topology
    concerned = {topology.arrays[array].site for array in _arrays(view, stone)} or set(view.spec.sites)
    for host, spec in sorted(topology.hosts.items()):
        if spec.site not in concerned:
            continue
        state = view.seen.host(host)
        if state is None:
            grave.silent.append(host)
            continue
        found = state.vms.get(stone.name)
        if found is None or not _is(view, stone, found):
            continue
        stop = "stop it and " if found.state == "running" else ""
        grave.steps.append(
            steps.add(
                "remove-vm", f"{stone.name}@{host}",
                f"VM {stone.name} was removed while {host} was away: {stop}forget it there (its disks stay)",
                after=after, group="tombstones", needed=False, vm=stone.name, host=host, plan=stone.plan,
                incarnation=found.definition.owner.incarnation,
            )
        )  # fmt: skip


def _is(view: PlanView, stone: Tombstone, found: VmState) -> bool:
    definition = found.definition
    ours = definition.owner.topology == view.topology.name and definition.plan == stone.plan
    return ours and definition.name == definition.vm and _older(stone, definition.owner)


def _remove_volume(view: PlanView, grave: _Grave, gone: set[str], steps: Steps, after: Iterable[str]) -> None:
    stone = grave.stone
    for array in _arrays(view, stone):
        state = view.seen.array(array)
        if state is None:
            grave.silent.append(array)
            continue
        found = state.volumes.get(stone.name)
        if found is None or found.kind != "data" or found.owner is None or found.owner.topology != view.topology.name:
            continue
        if not _older(stone, found.owner):
            continue
        used = _used(view, array, found, found.luns.values(), gone)
        if used:
            grave.kept.append(
                f"volume {stone.name} was removed, and {used} on {array} still; it is left there until that VM is stopped"
            )
            continue
        wrote = found.last_write if stone.delete_data else None
        late = wrote is not None and came_after(view.seen, array, wrote, stone.clocks, stone.time)
        mapped = sorted(lun.name for lun in found.luns.values() if lun.mapped_to is not None)
        if stone.delete_data and not late:
            said, how = "destroy its copy there, as deleteData says", "destroy"
        elif found.owner.stack or mapped:
            said, how = "take its LUNs offline and release it there; its data stays", "release"
            if late:
                said = f"release it there; it was written after that ({found.last_write}), so it is not destroyed"
        else:
            continue
        grave.steps.append(
            steps.add(
                "remove-volume", f"{stone.name}@{array}",
                f"volume {stone.name} was removed while {array} was away: {said}", after=after, group="tombstones",
                needed=False, volume=stone.name, array=array, how=how, plan=stone.plan,
                incarnation=found.owner.incarnation, mapped=",".join(mapped),
            )
        )  # fmt: skip


def _remove_lun(view: PlanView, grave: _Grave, gone: set[str], steps: Steps, after: Iterable[str]) -> None:
    """Only where it can be written and its volume stays: a destination follows its source, and a removed volume takes its LUNs along."""
    stone, topology = grave.stone, view.topology
    for array in _arrays(view, stone):
        state = view.seen.array(array)
        if state is None:
            grave.silent.append(array)
            continue
        volume = state.volumes.get(stone.volume)
        lun = volume.luns.get(stone.name) if volume else None
        if volume is None or lun is None or not volume.writable or volume.name not in topology.volumes:
            continue
        if topology.arrays[array].site != view.active or not stone.delete_data:
            continue
        used = _used(view, array, volume, [lun], gone)
        if used:
            grave.kept.append(
                f"LUN {stone.name} was removed, and {used} on {array} still; it is left there until that VM is stopped"
            )
            continue
        grave.steps.append(
            steps.add(
                "remove-lun", f"{stone.name}@{array}",
                f"LUN {stone.name} was removed while {array} was away: destroy it there, as deleteData says",
                after=after, group="tombstones", needed=False, lun=stone.name, volume=volume.name, array=array,
                plan=stone.plan, mapped=stone.name if lun.mapped_to is not None else "",
            )
        )  # fmt: skip


def _give_back(view: PlanView, grave: _Grave, steps: Steps, after: Iterable[str]) -> None:
    """Owner records that the removal could not reach."""
    stone = grave.stone
    key = keys.owner_key(view.topology.name, stone.kind, stone.name)
    behind = []
    for array in _arrays(view, stone):
        state = view.seen.array(array)
        if state is None:
            grave.silent.append(array)
        elif key in state.records:
            owner = load(Owner, state.records[key], f"array {array}, {key}")
            if owner.stack and _older(stone, owner):
                behind.append(array)
    if behind:
        grave.steps.append(
            steps.add(
                "give-back", f"{stone.kind}.{stone.name}",
                f"{grave.what} belongs to nobody any more: put that on record at {', '.join(behind)}",
                after=[*after, *grave.steps], group="tombstones", needed=False, kind=stone.kind, name=stone.name,
                plan=stone.plan, arrays=",".join(behind), forget="yes" if _forgotten(stone) else "",
            )
        )  # fmt: skip


def _forgotten(stone: Tombstone) -> bool:
    """Whether nothing is left that could have an owner."""
    return stone.kind == "vm" or stone.delete_data


def _used(view: PlanView, array: str, volume: VolumeState, luns: Iterable[LunState], gone: set[str]) -> str:
    """Who may be using LUNs that are mapped; empty: nobody. At a side that is past nobody may."""
    site = view.topology.arrays[array].site
    mapped = [lun for lun in luns if lun.mapped_to is not None]
    if not mapped or site not in (view.active, None):
        return ""
    hosts = {
        state.initiator: (host, state)
        for host in sorted(view.topology.hosts)
        if (state := view.seen.host(host)) is not None
    }
    for lun in mapped:
        at = hosts.get(str(lun.mapped_to))
        if at is None:
            return f"{lun.name} is mapped to {lun.mapped_to}, which no answering host has,"
        for vm in at[1].vms.values():
            uses = any(disk.lun == lun.name and disk.volume == volume.name for disk in vm.definition.disks)
            if uses and vm.state == "running" and vm.name not in gone:
                return f"VM {vm.name} on {at[0]} runs with {lun.name}"
    return ""
