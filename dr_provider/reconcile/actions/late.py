"""Volumes that came to the plan after the recovery point that it was moved at (`reconcile/late.py` decides which and how)."""

from __future__ import annotations

from dr_provider.model import keys
from dr_provider.model.errors import DrError
from dr_provider.model.records import Owner
from dr_provider.reconcile.actions.storage import transfer
from dr_provider.reconcile.context import Run
from dr_provider.reconcile.decision import Action
from dr_provider.reconcile.ownership import owner_of

__all__ = ["bring_late", "make_late", "take_over"]


def take_over(run: Run, action: Action) -> str:
    """Make a destination writable at the newest that it has."""
    volume, name = action.of["volume"], action.of["array"]
    newest = _write_here(run, volume, name)
    run.fresh()
    if not newest:
        return "it is writable"
    run.remark(
        f"volume {volume} came to the plan after the recovery point that it was moved at: it goes on at {run.array(name).site} as of {newest}, "
        "the newest of it there, and what was written to it later stays where it was, as a safety copy once that side is back"
    )
    return newest


def _write_here(run: Run, volume: str, name: str) -> str:
    """Break at the newest snapshot, and take the LUNs offline and online; the snapshot, or empty where it could be written already."""
    array = run.array(name)
    state = array.state().volumes.get(volume)
    if state is None or not state.snapshots:
        raise DrError(f"volume {volume}: array {name} has nothing whole of it any more; run again to look anew")
    if state.writable:
        return ""
    newest = state.snapshots[-1].name
    array.promote(volume, newest, run.guard)
    luns = sorted(state.luns)
    array.set_lun_online(volume, luns, False, run.guard)
    array.set_lun_online(volume, luns, True, run.guard)
    return newest


def bring_late(run: Run, action: Action) -> str:
    """Copy the volume as it is from the one side that has it, write it here, and make that side's its destination."""
    volume, source, target = action.of["volume"], action.of["source"], action.of["array"]
    holder = run.array(source)
    state = holder.state().volumes.get(volume)
    if state is None:
        raise DrError(f"volume {volume}: it is gone from {source}; run again to look anew")
    mapped = sorted(lun.name for lun in state.luns.values() if lun.mapped_to is not None)
    if mapped:
        raise DrError(f"volume {volume}: {', '.join(mapped)} on {source} is mapped still; run again when it is not")
    if state.writable and (state.changed or not state.snapshots):
        holder.snapshot([volume], f"late-{keys.new_id()}", run.guard)
        state = holder.state().volumes[volume]
    newest = state.snapshots[-1].name
    run.fresh()
    sent = transfer(run, volume, source, target, snapshot=newest)
    _write_here(run, volume, target)
    if state.writable:
        holder.demote(volume, newest, run.guard)
    run.fresh()
    run.remark(
        f"volume {volume} came to the plan after the recovery point that it was moved at, and had not come to {run.array(target).site}: "
        f"all of it is brought from {source}"
    )
    return sent


def make_late(run: Run, action: Action) -> str:
    """Make it anew and empty, as its resource would; what a side that is silent has of it becomes a safety copy there."""
    volume, name = action.of["volume"], action.of["array"]
    array, topology = run.array(name), run.view.topology
    spec, found = topology.volumes[volume], array.state().volumes.get(volume)
    if found is not None and (found.writable or found.snapshots):
        return "it is there"
    if found is not None and found.owner is not None:
        array.delete_volume(volume, found.owner, run.guard)  # a first copy that never came to its end
    owner = owner_of(run.view.seen, topology.name, "volume", volume, spec.arrays)
    array.create_volume(volume, spec.size, owner or Owner(topology.name, "", keys.new_incarnation()), guard=run.guard)
    run.fresh()
    run.remark(
        f"volume {volume} came to the plan after the recovery point that it was moved at, and nobody who answers has any of it: "
        f"it is made anew, empty, on {name}; what a silent side has of it is kept as a safety copy when that side is back"
    )
    return ""
