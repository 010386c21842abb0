"""The way back: the old side's copies become destinations again, and a new recovery point arrives there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from dr_provider.model import keys
from dr_provider.model.errors import DrError
from dr_provider.protection import backup as backups
from dr_provider.protection.catalogue import newest
from dr_provider.reconcile.actions.storage import keep, transfer
from dr_provider.reconcile.context import Run
from dr_provider.reconcile.copies import standing
from dr_provider.reconcile.decision import Action

__all__ = ["backup", "clear", "demote", "protect", "remirror", "reverse", "send"]


def reverse(run: Run, action: Action) -> str:
    """Turn one mirror round; what the old source alone holds is kept first."""
    volume, array, site = action.of["volume"], action.of["array"], action.of["site"]
    view = run.fresh()
    copy = standing(view, volume, run.epoch().site, site)
    if copy.standing == "mirrored":
        return "was reversed already"
    if copy.standing == "unknown":
        raise DrError(
            f"volume {volume}: array {array} at {site} is silent; its mirror is reversed when it answers again"
        )
    if copy.mapped:
        run.array(array).unmap_luns({volume: copy.mapped}, run.guard)
    if copy.standing in ("diverged", "foreign"):
        name = keys.safety_volume(volume, f"e{run.epoch().number}")
        keep(run, replace(action, of={"volume": volume, "array": array, "name": name}))
    if copy.common is None:
        return clear(run, action)
    return demote(run, replace(action, of={**action.of, "snapshot": copy.common}))


def demote(run: Run, action: Action) -> str:
    """Make a copy a destination that stands at the common snapshot. Its data beyond that is in its safety copy by now."""
    volume, array, snapshot = action.of["volume"], action.of["array"], action.of["snapshot"]
    state = run.array(array).state().volumes.get(volume)
    if state is None:
        return "it is gone"
    names = [s.name for s in state.snapshots]
    if snapshot not in names:
        raise DrError(f"volume {volume} on {array}: snapshot {snapshot} is not there any more; run again to look anew")
    beyond = state.snapshots[names.index(snapshot) + 1 :]
    for tag in sorted({hold for s in beyond for hold in s.holds}):
        _release_beyond(
            run, array, volume, tag, [s.name for s in state.snapshots if tag in s.holds and s not in beyond]
        )
    run.array(array).demote(volume, snapshot, run.guard)
    return snapshot


def _release_beyond(run: Run, array: str, volume: str, tag: str, stay: list[str]) -> None:
    """Take a hold off snapshots that are about to go, and leave it on those that stay."""
    driver = run.array(array)
    driver.release([volume], tag, run.guard)
    for name in stay:
        driver.hold({volume: name}, tag, run.guard)


def clear(run: Run, action: Action) -> str:
    """Make a copy with nothing in common a destination: the full copy that follows takes its place only when complete."""
    volume, array = action.of["volume"], action.of["array"]
    driver = run.array(array)
    state = driver.state().volumes.get(volume)
    if state is None:
        return "it is gone"
    for tag in sorted({hold for snapshot in state.snapshots for hold in snapshot.holds}):
        driver.release([volume], tag, run.guard)
    last = state.snapshots[-1].name if state.snapshots and not state.changed else ""
    if not last:
        last = f"aside-{keys.new_id()}"
        driver.snapshot([volume], last, run.guard)
    driver.demote(volume, last, run.guard)
    return ""


def remirror(run: Run, action: Action) -> str:
    """Take a break back: nothing was written to the copy, so it stands at its break point again."""
    run.array(action.of["array"]).demote(action.of["volume"], action.of["snapshot"], run.guard)
    return ""


def backup(run: Run, action: Action) -> str:
    """A recovery point where the plan is active."""
    site = action.of["site"]
    view = run.fresh()
    epoch = run.epoch()
    return backups.take_group(
        run.world.fleet,
        run.world.topology,
        run.plan,
        site,
        epoch=epoch,
        sequence=backups.next_sequence(view.points, epoch.number),
        guard=run.guard,
        view_places={
            p.vm: (p.host, p.state.definition, p.running)
            for p in sorted(view.places, key=lambda p: p.running)
            if p.site == site
        },
        kind="backup",
        consistency=view.spec.backup.consistency,
        progress=run.world.progress,
    )


def send(run: Run, action: Action) -> str:
    """Send the newest recovery point from one array to another."""
    arrays = run.world.topology.arrays
    source, target = arrays[action.of["source"]].site, arrays[action.of["target"]].site
    point = newest(run.view.points, source)
    if point is None or point.epoch != run.epoch().number:
        point = newest(run.fresh().points, source)
    return transfer(run, action.of["volume"], source, target, snapshot=point.id if point else None)


def protect(run: Run, action: Action) -> str:
    """A new recovery point, sent to the other side, and checked to be whole there."""
    site, other = action.of["site"], action.of["other"]
    point = backup(run, action)
    view = run.fresh()
    with ThreadPoolExecutor(max_workers=max(1, len(view.volume_names)), thread_name_prefix="send") as pool:
        list(pool.map(lambda name: transfer(run, name, site, other, snapshot=point), view.volume_names))
    arrived = next((p for p in run.fresh().points if p.id == point), None)
    if arrived is None or not arrived.complete_at(other):
        raise DrError(
            f"plan {run.plan}: recovery point {point} is not whole at {other} after its transfer; run dr protect {run.plan}"
        )
    return f"{point} is whole at {other}"
