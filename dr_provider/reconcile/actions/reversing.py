"""The way back: the old side's copies become destinations again, and a new recovery point arrives there."""

from __future__ import annotations

from dataclasses import replace

from dr_provider.model import keys
from dr_provider.model.errors import DrError
from dr_provider.protection import backup as backups
from dr_provider.protection.catalogue import newest
from dr_provider.reconcile.abreast import abreast
from dr_provider.reconcile.actions.storage import keep, transfer
from dr_provider.reconcile.context import Run
from dr_provider.reconcile.copies import standing
from dr_provider.reconcile.decision import Action
from dr_provider.reconcile.places import backup_places

__all__ = ["backup", "clear", "demote", "protect", "remirror", "reverse", "send", "settled"]


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
    """A recovery point where the plan is active; the view knows it afterwards."""
    site = action.of["site"]
    view = run.fresh()
    epoch = run.epoch()
    point = backups.take_group(
        run.world.fleet,
        run.world.topology,
        run.plan,
        site,
        epoch=epoch,
        sequence=backups.next_sequence(view.points, epoch.number),
        guard=run.guard,
        view_places=backup_places(view, site),
        kind="backup",
        consistency=view.spec.backup.consistency,
        progress=run.world.progress,
    )
    run.fresh()
    return point


def send(run: Run, action: Action) -> str:
    """Send the newest recovery point from one array to another."""
    arrays = run.world.topology.arrays
    source, target = arrays[action.of["source"]].site, arrays[action.of["target"]].site
    point = newest(run.view.points, source)
    return transfer(run, action.of["volume"], source, target, snapshot=point.id if point else None)


def protect(run: Run, action: Action) -> str:
    """A new recovery point, sent to the other side, and checked to be whole there."""
    site, other = action.of["site"], action.of["other"]
    point = backup(run, action)
    abreast(run.view.volume_names, lambda name: transfer(run, name, site, other, snapshot=point))
    return settled(run, replace(action, of={"site": site, "other": other, "point": point}))


def settled(run: Run, action: Action) -> str:
    """Check that a recovery point of this epoch is whole at the other side; from then on no fork of before is needed."""
    site, other, epoch = action.of["site"], action.of["other"], run.epoch()
    view = run.fresh()
    arrived = [p for p in view.points if p.epoch == epoch.number and p.complete_at(other) and p.complete_at(site)]
    wanted = action.of.get("point")
    if not arrived or (wanted and wanted not in {p.id for p in arrived}):
        named = f"recovery point {wanted}" if wanted else f"a recovery point of epoch {epoch.number}"
        raise DrError(f"plan {run.plan}: {named} is not whole at {other} after its transfer; run dr protect {run.plan}")
    for at in (site, other):
        for name in view.volume_names:
            volume = view.volume(name, at)
            forks = {tag for s in (volume.snapshots if volume else ()) for tag in s.holds if tag.startswith("fork.")}
            for tag in sorted(forks):
                run.array(view.copy_array(name, at)).release([name], tag, run.guard)
    return f"{arrived[-1].id} is whole at {other}"
