"""A VM set back in its place: its LUNs unmapped, the point cloned, and only they made as they are in it."""

from __future__ import annotations

from dr_provider.model import keys
from dr_provider.model.errors import ArrayFull, DrError
from dr_provider.model.records import Owner
from dr_provider.model.state import ArrayState
from dr_provider.model.units import format_size
from dr_provider.reconcile.abreast import abreast
from dr_provider.reconcile.context import Run, listed
from dr_provider.reconcile.decision import Action
from dr_provider.reconcile.restoring import record_array

__all__ = ["copy", "detach", "end_restore", "hold_tag", "set_aside", "set_back"]


def hold_tag(vm: str) -> str:
    """The hold on a point that a VM is being set back to."""
    return f"restore.{vm}"


def _arrays(run: Run, vm: str, site: str) -> dict[str, list[str]]:
    """The volumes with disks of the VM, by array at the site."""
    found: dict[str, list[str]] = {}
    for volume in run.view.topology.vms[vm].volumes():
        found.setdefault(run.view.copy_array(volume, site), []).append(volume)
    return found


def detach(run: Run, action: Action) -> str:
    """Take a VM's disks from whatever host has them, and read back that none has."""
    vm, arrays = action.of["vm"], _arrays(run, action.of["vm"], action.of["site"])
    own = {keys.lun_name(vm, disk.role) for disk in run.view.topology.vms[vm].disks}

    def mapped(state: ArrayState, volumes: list[str]) -> dict[str, list[str]]:
        found = {}
        for name in volumes:
            luns = state.volumes[name].luns.values() if name in state.volumes else ()
            if held := [lun.name for lun in luns if lun.name in own and lun.mapped_to is not None]:
                found[name] = held
        return found

    def one(name: str) -> None:
        array = run.array(name)
        found = mapped(array.state(), arrays[name])
        if not found:
            return
        array.unmap_luns(found, run.guard)
        left = [lun for names in mapped(array.state(), arrays[name]).values() for lun in names]
        if left:
            raise DrError(
                f"array {name}: {', '.join(left)} still mapped after they were unmapped; nothing of VM {vm} was changed"
            )

    abreast(sorted(arrays), one)
    return "read back"


def copy(run: Run, action: Action) -> str:
    """A clone of the point to read from, for as long as the restore takes."""
    owner = Owner(run.topology, "", keys.new_id())
    array = run.array(action.of["array"])
    array.clone(action.of["volume"], action.of["snapshot"], action.of["name"], "safety", owner, guard=run.guard)
    return ""


def set_aside(run: Run, action: Action) -> str:
    """A safety copy of what is about to be set back. Its name is the restore's own: made once, however often the restore is cut, it is never
    made anew of a volume that is set back in part."""
    volume, name = action.of["volume"], action.of["name"]
    owner = Owner(run.topology, "", keys.new_id())
    try:
        run.array(action.of["array"]).clone(volume, None, name, "safety", owner, guard=run.guard)
    except ArrayFull as error:
        raise DrError(
            f"{error}; nothing is set back before what is there is kept: make room, or drop older safety copies (dr safety list)"
        ) from error
    run.safety.append(name)
    return name


def set_back(run: Run, action: Action) -> str:
    array, volume, clone = run.array(action.of["array"]), action.of["volume"], action.of["name"]
    changed = sum(array.restore_lun(volume, lun, clone, run.guard) for lun in listed(action.of["luns"]))
    return f"{format_size(changed)} differed"


def end_restore(run: Run, action: Action) -> str:
    """Remove the clones and holds, then the record, from where on the VM may be started."""
    vm, site = action.of["vm"], action.of["site"]
    for name, volumes in sorted(_arrays(run, vm, site).items()):
        array = run.array(name)
        there = array.state().volumes
        for volume in volumes:
            clone = there.get(keys.restore_volume(volume, vm))
            if clone is not None and clone.kind == "safety" and clone.owner is not None:
                array.delete_volume(clone.name, clone.owner, run.guard)
        array.release([v for v in volumes if v in there], hold_tag(vm), run.guard)
    key = keys.restore_key(run.topology, run.plan, vm)
    run.array(record_array(run.view, vm, site)).delete_record(key, run.guard)
    return ""
