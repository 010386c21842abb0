"""Arrays on the way to recovery: fence, final snapshot and transfer, safety copies, break, offline and online."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count

from dr_provider.model import keys
from dr_provider.model.errors import ArrayFull, DrError, NothingToSend, Stopped
from dr_provider.model.records import Claim, Owner
from dr_provider.model.state import ArrayState, VolumeState
from dr_provider.model.units import counted
from dr_provider.protection import backup, replication
from dr_provider.protection.catalogue import RecoveryPoint
from dr_provider.protection.lines import copy_of
from dr_provider.reconcile.context import Run, listed
from dr_provider.reconcile.decision import Action
from dr_provider.reconcile.places import backup_places
from dr_provider.reconcile.source import final_kind
from dr_provider.reconcile.view import PlanView

__all__ = ["break_mirror", "bring", "fence", "fetch", "final", "keep", "kept", "online", "safety_name", "transfer"]


def fence(run: Run, action: Action) -> str:
    """Unmap the LUNs of the plan's volumes on an array, and read back that no host can write to them."""
    name = action.of["array"]
    array = run.array(name)
    volumes = listed(action.of["volumes"])
    state = array.state()
    luns = {v: sorted(state.volumes[v].luns) for v in volumes if v in state.volumes}
    array.unmap_luns(luns, run.guard)
    after = array.state()
    left = [
        lun.name
        for v in luns
        if v in after.volumes
        for lun in after.volumes[v].luns.values()
        if lun.mapped_to is not None
    ]
    if left:
        raise DrError(f"array {name}: {', '.join(left)} still mapped after they were unmapped; the fence does not hold")
    return "read back"


def final(run: Run, action: Action) -> str:
    """The last state of the source, taken after it holds still."""
    site = action.of["site"]
    view = run.fresh()
    epoch = run.epoch()
    known = backup_places(view, site)
    # Guests that this run saw shut down have written everything; of the others only the array's order of writes is known.
    everyone = all(vm in run.graceful or (vm in known and known[vm][2] is False) for vm in view.spec.members)
    return backup.take_group(
        run.world.fleet,
        run.world.topology,
        run.plan,
        site,
        epoch=epoch,
        sequence=backup.next_sequence(view.points, epoch.number),
        guard=run.guard,
        view_places=known,
        members=view.volume_names,
        kind=final_kind(run.open_claim().id),
        consistency="application" if everyone else "crash",
        marks=run.marks,
        progress=run.world.progress,
    )


def transfer(
    run: Run,
    volume: str,
    source: str,
    target: str,
    *,
    snapshot: str | None,
    stop: Callable[[], str | None] | None = None,
) -> str:
    """Send a volume's newest sealed snapshot (or the one that is named) from one array to another."""
    seen = run.view.seen
    near, far = copy_of(seen, source, volume), copy_of(seen, target, volume)
    if near is None:
        raise DrError(f"volume {volume}: it is not known on {source} now, so nothing can be sent from there")
    try:
        sent = replication.send_volume(
            run.world.fleet,
            volume,
            source,
            target,
            near,
            far,
            snapshot=snapshot,
            intermediate=False,
            owner=near.owner or Owner(run.topology, "", keys.new_id()),
            guard=run.guard,
            progress=None,
            stop=stop or run.stop,
            rate=None,
            full_ok=True,
        )
    except NothingToSend:
        return "nothing to send"
    return f"{sent.bytes} bytes"


def _final_of(view: PlanView, claim: Claim) -> RecoveryPoint | None:
    """The claim's final snapshot. One that a run was killed over before it was sealed is none: another was taken after it."""
    wanted, sites = final_kind(claim.id), (claim.from_site, claim.site)
    found = (p for p in reversed(view.points) if p.intent.kind == wanted and any(p.complete_at(s) for s in sites))
    return next(found, None)


def bring(run: Run, action: Action) -> str:
    """Send the final snapshot."""
    claim = run.open_claim()
    point = _final_of(run.view, claim) or _final_of(run.fresh(), claim)
    if point is None:
        raise DrError(f"plan {run.plan}: the final snapshot is not on the arrays of {claim.from_site}; run again")
    volume, source, target = (action.of[key] for key in ("volume", "source", "target"))
    if run.view.topology.arrays[source].site != claim.from_site:
        run.fresh()  # it has come to the array on the way by a step of this run
    limit = run.view.spec.last_transfer
    until = time.monotonic() + limit

    def stop() -> str | None:
        return run.stop() or ("its time is over" if time.monotonic() > until else None)

    try:
        return transfer(run, volume, source, target, snapshot=point.id, stop=stop)
    except Stopped as error:
        if run.stop() is not None:
            raise
        raise DrError(
            f"volume {volume}: its last transfer did not end within lastTransfer ({limit:g} s); what has arrived is kept, so run again, or give it longer"
        ) from error


def fetch(run: Run, action: Action) -> str:
    """Bring a part of the chosen point to the target from another copy that has it."""
    point = run.open_claim().point
    if point is None:
        raise DrError(f"plan {run.plan}: no recovery point was chosen before its parts are fetched; nothing was broken")
    return transfer(run, action.of["volume"], action.of["source"], action.of["target"], snapshot=point)


def keep(run: Run, action: Action) -> str:
    """A safety copy: a volume of its own, outside mirror and retention. No room for it: no resync.

    One that an earlier divergence left under the same name is another: it stays, and this one gets a number.
    """
    volume, array = action.of["volume"], run.array(action.of["array"])
    volumes = array.state().volumes
    own = volumes.get(volume)
    if own is None:
        return "it is gone"
    if own.writable:
        # The clone takes the volume's records along, so that a run that was killed here knows its own copy again.
        array.put_volume_records([volume], KEPT, _fingerprint(own), run.guard)
    names = (action.of["name"] if n == 1 else f"{action.of['name']}.{n}" for n in count(1))
    name = next(name for name in names if name not in volumes or _holds(volumes[name], own))
    try:
        array.clone(volume, None, name, "safety", Owner(run.topology, "", keys.new_id()), guard=run.guard)
    except ArrayFull as error:
        raise DrError(
            f"{error}; {volume} is not resynced before its own data is kept: make room, or drop older safety copies (dr safety list)"
        ) from error
    if name not in run.safety:
        run.safety.append(name)
    return name


KEPT = "kept"
"""Record of a volume: the state of it that was last kept beside."""


def safety_name(run: Run, volume: str, array: str) -> str:
    """What a safety copy of this epoch is called; with more than two sites the name says where it is."""
    site, label = run.view.topology.arrays[array].site, f"e{run.epoch().number}"
    return keys.safety_volume(volume, label if len(run.view.spec.sites) == 2 else f"{label}.{site}")


def kept(array: ArrayState, volume: VolumeState) -> bool:
    """Whether a safety copy on the array holds the volume as it is now."""
    prefix = keys.safety_volume(volume.name, "")
    return any(name.startswith(prefix) and _holds(copy, volume) for name, copy in array.volumes.items())


def _fingerprint(volume: VolumeState) -> str:
    newest = volume.snapshots[-1].guid if volume.snapshots else ""
    return f"{newest} {volume.changed} {volume.last_write or ''}"


def _holds(copy: VolumeState, volume: VolumeState) -> bool:
    """Whether a safety copy is of the volume as it is now. A destination has nothing beyond its newest snapshot, whose intent the copy has too."""
    if volume.writable:
        return copy.records.get(KEPT) == _fingerprint(volume)
    return bool(volume.snapshots) and copy.records.get("intent") == volume.snapshots[-1].records.get("intent")


def break_mirror(run: Run, action: Action) -> str:
    """Make the destination writable at the chosen point."""
    point = run.open_claim().point
    if point is None:
        raise DrError(f"plan {run.plan}: no recovery point was chosen before the break; nothing was broken")
    run.array(action.of["array"]).promote(action.of["volume"], point, run.guard)
    return point


def online(run: Run, action: Action) -> str:
    """Take the volume's LUNs offline and online, so that no host goes on with what it knew of the destination."""
    volume = action.of["volume"]
    array = run.array(action.of["array"])
    # LUNs that came with the last transfer are in the view by now: the point was chosen in it.
    known = run.view.seen.array(action.of["array"])
    state = known.volumes.get(volume) if known else None
    if state is not None and not state.writable and state.snapshots[-1].name != run.open_claim().point:
        # It was broken at an older one than its newest: LUNs that were made in between are not in it.
        state = array.state().volumes.get(volume)
    if state is None:
        raise DrError(f"array {action.of['array']}: volume {volume} is not there after its break")
    luns = sorted(state.luns)
    array.set_lun_online(volume, luns, False, run.guard)
    array.set_lun_online(volume, luns, True, run.guard)
    return counted(len(luns), "LUN")
