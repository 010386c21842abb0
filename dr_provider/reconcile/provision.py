"""Volumes and LUNs: made where their plan is active, released where it was; shared by the resources and by `dr` without Pulumi.

Invariants:
* Nothing is made while a move is under way or two sides have both written: the result's `pending` says so, and a later run goes on.
* A silent array is not waited for and not mistaken for an empty one. What was made before and is missing on an array that answers is
  *lost*, and is never made anew beside a copy that may still hold its data.
* Data is released, not destroyed, unless the topology says `deleteData: true`; see `ownership`.
"""

from __future__ import annotations

from dataclasses import dataclass

from dr_provider.model import keys
from dr_provider.model.errors import BadInput, Conflict, DrError, MoveInProgress, NotFound, NotReady, Unreachable
from dr_provider.model.records import Owner
from dr_provider.model.state import VolumeState
from dr_provider.model.topology import DiskSpec, VolumeSpec
from dr_provider.reconcile import ownership
from dr_provider.reconcile.givenup import had_lun
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.world import World

__all__ = [
    "Ground",
    "LunResult",
    "Released",
    "VolumeResult",
    "ensure_lun",
    "ensure_volume",
    "ground",
    "in_move",
    "not_mine",
    "release_lun",
    "release_volume",
]


@dataclass(frozen=True)
class VolumeResult:
    """Where the volume is worked with. `pending`: a sentence where what was asked for is not done yet."""

    name: str
    plan: str
    size: int
    site: str | None
    array: str | None
    pending: str | None = None


@dataclass(frozen=True)
class LunResult:
    name: str
    volume: str
    plan: str
    size: int
    site: str | None
    array: str | None
    pending: str | None = None


@dataclass(frozen=True)
class Released:
    """What a delete did, as lines for people."""

    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ground:
    """The site where a plan's things may be made now, or why not."""

    site: str | None
    pending: str | None = None


def ground(view: PlanView) -> Ground:
    """Where the plan is active, unless a move is under way, there is a split, or nobody who knows answers."""
    plan = view.spec.name
    if view.epoch is None:
        silent = ownership.silent_among(view.seen, view.topology.plan_arrays(plan))
        said = f" (silent: {'; '.join(silent.values())})" if silent else ""
        return Ground(None, f"plan {plan} is not made yet{said}")
    if view.claim is not None:
        return Ground(view.epoch.site, in_move(plan))
    if view.split is not None:
        return Ground(
            view.epoch.site,
            f"plan {plan} is split between {' and '.join(view.split.sides)}: run dr resolve {plan} --keep SITE",
        )
    return Ground(view.epoch.site)


def in_move(plan: str) -> str:
    return f"move in progress: plan {plan} is being moved; run again after it"


# -- volumes ------------------------------------------------------------------------------------


def ensure_volume(world: World, volume: str, owner: Owner, *, adopt: bool = False) -> VolumeResult:
    """Make, grow or adopt the volume where its plan is active; copies elsewhere are taken over too.

    Raises Conflict (another's, or larger than wanted), DrError (lost), ArrayFull.
    """
    topology = world.topology
    spec = topology.volumes[volume]
    plan = _plan_of_volume(world, volume)
    view = world.view(plan)
    there = {array: _volume(view, array, volume) for array in spec.arrays}
    recorded = ownership.owner_of(view.seen, topology.name, "volume", volume, spec.arrays)
    for known in (recorded, *(state.owner for state in there.values() if state)):
        ownership.check_taking("volume", volume, known, owner, adopt=adopt)
    at = ground(view)
    array = topology.copy_at(volume, at.site) if at.site else None
    pending = at.pending or _silent(view, array)
    if pending or array is None:
        return VolumeResult(volume, plan, spec.size, at.site, array, pending)
    state = there[array]
    if state is None and (recorded is not None or any(there.values())):
        raise DrError(_lost(view, spec, array, there))
    if state is not None and state.size > spec.size:
        raise Conflict(
            f"volume {volume} on {array}: it has {_mib(state.size)} and the topology wants {_mib(spec.size)}; volumes are never shrunk: set its size back"
        )
    guard = ownership.claim_guard(topology.name, plan)
    driver = world.fleet.array(array)
    try:
        if state is None or state.size != spec.size or _free(state.owner, owner):
            if state is not None and adopt:
                driver.adopt_volume(volume, owner, guard)
            driver.create_volume(volume, spec.size, owner, guard=guard)
        elif state.owner != owner:
            driver.adopt_volume(volume, owner, guard)
        for other, copy in there.items():
            if other != array and copy is not None and copy.owner != owner:
                _quietly_adopt(world, other, volume, owner, plan)
        ownership.take(world, "volume", volume, plan, spec.arrays, owner)
    except MoveInProgress:
        pending = in_move(plan)
    except (Unreachable, NotReady) as error:
        pending = f"unreachable: {error}"
    return VolumeResult(volume, plan, spec.size, at.site, array, pending)


def _free(there: Owner | None, owner: Owner) -> bool:
    """Nobody's in particular: made by `dr`, or released."""
    return there is None or (not there.stack and there != owner)


def _quietly_adopt(world: World, array: str, volume: str, owner: Owner, plan: str) -> None:
    try:
        world.fleet.array(array).adopt_volume(volume, owner, ownership.claim_guard(world.topology.name, plan))
    except (Unreachable, NotReady) as error:
        world.progress(f"volume {volume}: its copy on {array} was not taken over ({error})")


def _lost(view: PlanView, spec: VolumeSpec, array: str, there: dict[str, VolumeState | None]) -> str:
    others = [name for name, state in there.items() if name != array and state is not None]
    where = f"a copy is on {', '.join(others)}" if others else "no answering array has a copy"
    elsewhere = [s for s in view.spec.sites if s != view.active]
    how = f": move plan {view.spec.name} there (dr failover {view.spec.name} --to {elsewhere[0]})" if others else ""
    return (
        f"volume {spec.name} is lost on {array}: it was made there and is missing, and {where}; it is not made anew, "
        f"since that would hide the loss{how}"
    )


def release_volume(
    world: World, plan: str, volume: str, arrays: tuple[str, ...], owner: Owner, *, delete_data: bool
) -> Released:
    """Give the volume back, or destroy every copy that answers with `delete_data`. Raises MoveInProgress, Busy, Unreachable (all silent)."""
    topology, seen = world.topology.name, world.look()
    notes = not_mine(world, "volume", volume, arrays, owner)
    if notes is not None:
        return notes
    ownership.refuse_in_move(world, plan, arrays, f"volume {volume}")
    silent = ownership.silent_among(seen, arrays)
    if len(silent) == len(arrays):
        raise Unreachable(f"volume {volume}: no array of it answers ({'; '.join(silent.values())}); nothing was done")
    guard = ownership.claim_guard(topology, plan)
    said = []
    for array in arrays:
        state = seen.array(array)
        found = state.volumes.get(volume) if state else None
        if found is None or found.owner is None or found.owner.topology != topology:
            continue
        driver = world.fleet.array(array)
        if delete_data:
            _let_go(world, array, found, plan)
            gone = driver.delete_volume(volume, found.owner, guard)
            said.append(f"volume {volume}: destroyed on {array}" if gone else f"volume {volume}: was gone from {array}")
        else:
            driver.adopt_volume(volume, Owner(topology, "", owner.incarnation), guard)
            said.append(f"volume {volume}: released on {array}, its data stays")
    if delete_data:
        ownership.forget(world, "volume", volume, arrays)
    else:
        ownership.give_back(world, "volume", volume, plan, arrays, owner)
    if silent:
        ownership.bury(world, "volume", volume, plan, arrays, owner, delete_data=delete_data)
        then = "destroyed" if delete_data else "released"
        said.append(
            f"volume {volume}: {', '.join(silent)} does not answer; its copy there is {then} when it is back (a tombstone says so)"
        )
    return Released(tuple(said))


def _let_go(world: World, array: str, volume: VolumeState, plan: str) -> None:
    """Holds keep data for the volume's sake; where the topology says to destroy it they end. A drill's clone still stands in the way."""
    tags = {tag for snapshot in volume.snapshots for tag in snapshot.holds if not tag.startswith("drill")}
    for tag in sorted(tags):
        world.fleet.array(array).release([volume.name], tag, ownership.claim_guard(world.topology.name, plan))


# -- LUNs ---------------------------------------------------------------------------------------


def ensure_lun(world: World, vm: str, role: str, owner: Owner, *, adopt: bool = False) -> LunResult:
    """Make, grow or adopt the LUN of a disk where its plan is active; an image is written only when it is first made.

    Raises Conflict (another's, or larger than wanted), DrError (lost), ArrayFull.
    """
    topology = world.topology
    disk = _disk(world, vm, role)
    name = keys.lun_name(vm, role)
    spec = topology.volumes[disk.volume]
    plan = _plan_of_volume(world, disk.volume)
    view = world.view(plan)
    recorded = ownership.owner_of(view.seen, topology.name, "lun", name, spec.arrays)
    ownership.check_taking("LUN", name, recorded, owner, adopt=adopt)
    at = ground(view)
    array = topology.copy_at(disk.volume, at.site) if at.site else None
    pending = at.pending or _silent(view, array)
    if pending or array is None:
        return LunResult(name, disk.volume, plan, disk.size, at.site, array, pending)
    copies = {other: copy for other in spec.arrays if (copy := _volume(view, other, disk.volume)) is not None}
    state = copies[array].luns.get(name) if array in copies else None
    again = state is None and _named_again(view, vm, name, array, disk.volume)
    if state is None and recorded is not None and not again and had_lun(view, vm, name, str(at.site)):
        raise DrError(
            f"LUN {name} is lost on {array}: it was made in volume {disk.volume} and is missing there; it is not made anew, since that would hide the loss"
        )
    if state is not None and state.size > disk.size:
        raise Conflict(
            f"LUN {name} on {array}: it has {_mib(state.size)} and the topology wants {_mib(disk.size)}; disks are never shrunk: set its size back"
        )
    try:
        if state is None or state.size < disk.size:
            guard = ownership.claim_guard(topology.name, plan)
            image = disk.image if state is None else None
            world.fleet.array(array).create_lun(disk.volume, name, disk.size, image=image, guard=guard)
        if state is not None and not state.online:
            # It was released here, and is wanted again.
            guard = ownership.claim_guard(topology.name, plan)
            world.fleet.array(array).set_lun_online(disk.volume, [name], True, guard)
        ownership.take(world, "lun", name, plan, spec.arrays, owner)
    except MoveInProgress:
        pending = in_move(plan)
    except (Unreachable, NotReady) as error:
        pending = f"unreachable: {error}"
    except NotFound as error:
        pending = f"volume {disk.volume} is not made yet: {error}"
    return LunResult(name, disk.volume, plan, disk.size, at.site, array, pending)


def _named_again(view: PlanView, vm: str, lun: str, array: str, volume: str) -> bool:
    """Whether the LUN that is on record is another, which a VM of the same name had in another volume. Raises Conflict where the VM has it still."""
    found = view.seen.array(array)
    others = [v.name for v in found.volumes.values() if v.kind == "data" and lun in v.luns] if found is not None else []
    for place in view.places:
        had = next((d.volume for d in place.state.definition.disks if d.lun == lun and d.volume != volume), None)
        if place.vm == vm and had is not None:
            raise Conflict(
                f"LUN {lun}: VM {vm} has it in volume {had} on {place.host}, and the topology wants it in {volume}; a disk is not moved to another "
                f"volume: set it back to {had}, or give the new disk another role and copy its data in the guest"
            )
    return bool(others)


def release_lun(
    world: World, plan: str, volume: str, lun: str, arrays: tuple[str, ...], owner: Owner, *, delete_data: bool
) -> Released:
    """Give the LUN back, or destroy it where it can be written with `delete_data`. Raises MoveInProgress, Busy (it is mapped)."""
    notes = not_mine(world, "lun", lun, arrays, owner)
    if notes is not None:
        return notes
    ownership.refuse_in_move(world, plan, arrays, f"LUN {lun}")
    seen, topology = world.look(), world.topology.name
    silent = ownership.silent_among(seen, arrays)
    if not delete_data:
        ownership.give_back(world, "lun", lun, plan, arrays, owner)
        if silent:
            ownership.bury(world, "lun", lun, plan, arrays, owner, volume=volume)
        return Released((f"LUN {lun}: released, its data stays in volume {volume}",))
    said = []
    for array in arrays:
        state = seen.array(array)
        found = state.volumes.get(volume) if state else None
        if found is None or not found.writable or lun not in found.luns:
            continue  # a destination follows its source
        world.fleet.array(array).delete_lun(volume, lun, ownership.claim_guard(topology, plan))
        said.append(f"LUN {lun}: destroyed on {array}")
    ownership.forget(world, "lun", lun, arrays)
    if silent:
        ownership.bury(world, "lun", lun, plan, arrays, owner, delete_data=True, volume=volume)
    return Released(tuple(said))


# -- parts --------------------------------------------------------------------------------------


def not_mine(world: World, kind: str, name: str, arrays: tuple[str, ...], owner: Owner) -> Released | None:
    """Why a delete does nothing; None: the thing is its own."""
    there = ownership.owner_of(world.look(), world.topology.name, kind, name, arrays)
    if there is None or (there.stack == owner.stack and there.incarnation == owner.incarnation):
        return None
    if not there.stack:
        return Released((f"{kind} {name}: it was released before; nothing was done",))
    whose = f"stack {there.stack}" if there.stack != owner.stack else "a newer resource of this stack"
    return Released((f"{kind} {name}: it belongs to {whose} now; nothing was done",))


def _volume(view: PlanView, array: str, volume: str) -> VolumeState | None:
    state = view.seen.array(array)
    found = state.volumes.get(volume) if state else None
    return found if found is not None and found.kind == "data" else None


def _silent(view: PlanView, array: str | None) -> str | None:
    if array is None or view.seen.array(array) is not None:
        return None
    return f"unreachable: {ownership.silent_among(view.seen, [array])[array]}"


def _plan_of_volume(world: World, volume: str) -> str:
    plan = world.topology.plan_of_volume(volume)
    if plan is None:
        raise BadInput(f"volume {volume}: no VM of a plan has a disk on it; add one, or remove the volume")
    return plan.name


def _disk(world: World, vm: str, role: str) -> DiskSpec:
    disk = next((disk for disk in world.topology.vms[vm].disks if disk.role == role), None)
    if disk is None:
        raise BadInput(f"vm {vm}: it has no disk {role} in topology {world.topology.name}")
    return disk


def _mib(size: int) -> str:
    return f"{size / 2**20:g}MiB"
