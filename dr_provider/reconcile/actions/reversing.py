"""The way back: the old side's copies become destinations again, and a new recovery point arrives there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dr_provider.model import keys
from dr_provider.model.errors import DrError, LeaseLost, MoveInProgress, Stopped
from dr_provider.protection import backup as backups
from dr_provider.protection.lines import copy_of
from dr_provider.reconcile.abreast import abreast
from dr_provider.reconcile.actions.storage import keep, kept, safety_name, transfer
from dr_provider.reconcile.context import Run, listed
from dr_provider.reconcile.copies import standing
from dr_provider.reconcile.decision import Action
from dr_provider.reconcile.leftovers import past_holds
from dr_provider.reconcile.places import backup_places

__all__ = ["backup", "clear", "demote", "protect", "remirror", "reverse", "send", "settled", "unhold"]


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
    if copy.standing == "alone":
        raise DrError(f"volume {volume}: it is not at {run.epoch().site}, so the copy on {array} is left as it is")
    if copy.mapped:
        run.array(array).unmap_luns({volume: copy.mapped}, run.guard)
    if copy.standing in ("diverged", "foreign"):
        name = safety_name(run, volume, array)
        keep(run, replace(action, of={"volume": volume, "array": array, "name": name}))
    if copy.common is None:
        return clear(run, action)
    return demote(run, replace(action, of={**action.of, "snapshot": copy.common}))


def demote(run: Run, action: Action) -> str:
    """Make a copy a destination that stands at the common snapshot. What it has beyond that is in a safety copy by now; what a guest wrote
    out as it was stopped has been seen by nobody before, and is kept here."""
    volume, array, snapshot = action.of["volume"], action.of["array"], action.of["snapshot"]
    driver_state = run.array(array).state()
    state = driver_state.volumes.get(volume)
    if state is None:
        return "it is gone"
    names = [s.name for s in state.snapshots]
    if snapshot not in names:
        raise DrError(f"volume {volume} on {array}: snapshot {snapshot} is not there any more; run again to look anew")
    beyond = state.snapshots[names.index(snapshot) + 1 :]
    if (beyond or state.changed) and not kept(driver_state, state):
        keep(run, replace(action, of={"volume": volume, "array": array, "name": safety_name(run, volume, array)}))
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
    """Take a break back: the copy stands at its break point again, its LUNs online as they were."""
    volume, driver = action.of["volume"], run.array(action.of["array"])
    state = driver.state().volumes.get(volume)
    off = sorted(lun.name for lun in state.luns.values() if not lun.online) if state is not None else []
    if off:
        driver.set_lun_online(volume, off, True, run.guard)
    return demote(run, action)


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
        members=view.volume_names,
        kind="backup",
        consistency=view.spec.backup.consistency,
        progress=run.world.progress,
    )
    run.fresh()
    return point


def send(run: Run, action: Action) -> str:
    """Send the newest recovery point of the active side, or of it what the array on the way has, from one array to another."""
    volume, source, target = action.of["volume"], action.of["source"], action.of["target"]
    site, by = run.epoch().site, run.view.topology.arrays[action.of["source"]].site
    if by != site:
        run.fresh()  # what it passes on may have come by a step of this run
    there = copy_of(run.view.seen, source, volume)
    # Of this volume: the others' parts of the point may still be on their way to the source.
    whole = (
        p for p in run.view.points if p.complete_at(site) and there is not None and there.snapshot(p.id) is not None
    )
    point = max(whole, key=lambda each: each.order, default=None)
    return transfer(run, volume, source, target, snapshot=point.id if point else None)


def protect(run: Run, action: Action) -> str:
    """A new recovery point, sent to the other sides by the way that each is fed, and checked to be whole there."""
    site, others = action.of["site"], listed(action.of["other"])
    point = backup(run, action)
    failed: dict[str, DrError] = {}
    for hop in _hops(run, site, others):
        run.fresh()
        failed.update(_send_hop(run, hop, point))
    said = []
    for other in others:
        wrong = [error for (array, error) in failed.items() if run.view.topology.arrays[array].site == other]
        try:
            if wrong:
                raise wrong[0]
            said.append(settled(run, replace(action, of={"site": site, "other": other, "point": point})))
        except DrError as error:
            if len(others) == 1 or isinstance(error, Stopped | LeaseLost | MoveInProgress):
                raise
            said.append(f"{other}: {error}")
            failed[run.view.copy_array(run.view.volume_names[0], other)] = error
    if failed:
        raise DrError("; ".join(said))
    return "; ".join(said)


def _hops(run: Run, site: str, others: Iterable[str]) -> list[list[tuple[str, str, str]]]:
    """(volume, from, to) of what can be sent at once; each list after the one before."""
    view, wanted = run.view, set(others)
    depth: dict[tuple[str, str], int] = {}
    hops: list[list[tuple[str, str, str]]] = []
    for name in view.volume_names:
        root = view.copy_array(name, site)
        fed = dict(view.feeders(name, site))
        for target in view.topology.volumes[name].arrays:
            if target != root and view.topology.arrays[target].site in wanted:
                fed.setdefault(target, root)
        for target, source in fed.items():
            if view.topology.arrays[target].site not in wanted:
                continue
            at = depth[name, target] = depth.get((name, source), -1) + 1
            hops.extend([] for _ in range(at + 1 - len(hops)))
            hops[at].append((name, source, target))
    return hops


def _send_hop(run: Run, hop: Iterable[tuple[str, str, str]], point: str) -> dict[str, DrError]:
    """What failed, by array; one copy's failure does not keep the point from another."""
    failed: dict[str, DrError] = {}

    def attempt(step: tuple[str, str, str]) -> None:
        volume, source, target = step
        try:
            transfer(run, volume, source, target, snapshot=point)
        except (Stopped, LeaseLost, MoveInProgress):
            raise
        except DrError as error:
            failed[target] = error

    abreast(list(hop), attempt)
    return failed


def settled(run: Run, action: Action) -> str:
    """Check that a recovery point of this epoch is whole at the other side; once it is so at all sides, no fork of before is needed."""
    site, other, epoch = action.of["site"], action.of["other"], run.epoch()
    run.tidied()  # the commit's tidying puts the hold on the fork: it must not come after its release
    view = run.fresh()
    arrived = [p for p in view.points if p.epoch == epoch.number and p.complete_at(other) and p.complete_at(site)]
    wanted = action.of.get("point")
    if not arrived or (wanted and wanted not in {p.id for p in arrived}):
        named = f"recovery point {wanted}" if wanted else f"a recovery point of epoch {epoch.number}"
        raise DrError(f"plan {run.plan}: {named} is not whole at {other} after its transfer; run dr protect {run.plan}")
    unhold(run, action)
    return f"{arrived[-1].id} is whole at {other}"


def unhold(run: Run, action: Action) -> str:
    """Let go what is held for moves that have ended."""
    for (site, name), tags in past_holds(run.view).items():
        for tag in tags:
            run.array(run.view.copy_array(name, site)).release([name], tag, run.guard)
    return ""
