"""Mirrors: the first full copy of a volume to where it is to be recovered. All later transfers are protection's.

Invariant: a copy that is there is never written here. One that has diverged is brought back in line by the plan's own repair, which
keeps what it alone holds first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dr_provider.model import keys
from dr_provider.model.errors import BadInput, Conflict, MoveInProgress, NotFound, NotReady, Unreachable
from dr_provider.model.records import Owner
from dr_provider.model.state import VolumeState
from dr_provider.protection.lines import copy_of, declared_feeder
from dr_provider.protection.replication import Arrived, common_snapshot, held_common, move_holds, send_volume
from dr_provider.reconcile import ownership
from dr_provider.reconcile.provision import Released, ground, in_move, not_mine
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.world import World

__all__ = ["MirrorResult", "ensure_mirror", "release_mirror"]


@dataclass(frozen=True)
class MirrorResult:
    """`source` and `target` are arrays, as the direction is now. `pending`: a sentence where the first copy is not there yet."""

    name: str
    volume: str
    plan: str
    source: str | None
    target: str | None
    state: str
    pending: str | None = None


def ensure_mirror(world: World, volume: str, copy: str, owner: Owner, *, adopt: bool = False) -> MirrorResult:
    """Send the volume to its other copy where that is absent. Raises Conflict (another stack's), ArrayFull."""
    topology = world.topology
    spec = topology.volumes[volume]
    plan = topology.plan_of_volume(volume)
    if plan is None or copy not in spec.arrays:
        raise BadInput(f"volume {volume}: it has no copy on {copy} that a plan protects")
    name, pair = keys.mirror_name(volume, copy), (spec.home, copy)
    view = world.view(plan.name)
    recorded = ownership.owner_of(view.seen, topology.name, "mirror", name, pair)
    ownership.check_taking("mirror", name, recorded, owner, adopt=adopt)
    at = ground(view)
    result = MirrorResult(name, volume, plan.name, None, None, "none", at.pending)
    if at.pending or at.site is None:
        return result
    source, target = _direction(view, volume, pair, at.site)
    result = replace(result, source=source, target=target)
    silent = ownership.silent_among(view.seen, dict.fromkeys((*pair, source, target)))
    if silent:
        return replace(result, state="unreachable", pending=f"unreachable: {'; '.join(silent.values())}")
    try:
        ownership.take(world, "mirror", name, plan.name, pair, owner)
        there = copy_of(view.seen, target, volume)
        if there is not None and there.snapshots:
            near = copy_of(view.seen, source, volume)
            _hold_common(world, plan.name, near, there, (source, target))
            return replace(result, state=_standing(near, there))
        _first_transfer(
            world, view.spec.name, volume, source, target, passed_on=topology.arrays[source].site != at.site
        )
    except MoveInProgress:
        return replace(result, pending=in_move(plan.name))
    except NotFound as error:
        return replace(result, pending=f"volume {volume} is not made yet: {error}")
    except (Unreachable, NotReady) as error:
        return replace(result, state="unreachable", pending=f"unreachable: {error}")
    return replace(result, state="synced")


def _direction(view: PlanView, volume: str, pair: tuple[str, str], active: str) -> tuple[str, str]:
    """The pair's copy that is not the active one is the target, and is fed from wherever it is fed now."""
    spec = view.topology.volumes[volume]
    root = view.copy_array(volume, active)
    target = pair[0] if pair[1] == root else pair[1]
    return view.feeders(volume, active).get(target) or declared_feeder(spec, root, target), target


def _standing(source: VolumeState | None, target: VolumeState) -> str:
    if source is None or common_snapshot(source, target) is None:
        return "broken"
    return (
        "broken"
        if target.writable
        else "lagging"
        if source.snapshots[-1].name != target.snapshots[-1].name
        else "synced"
    )


def _hold_common(world: World, plan: str, near: VolumeState | None, there: VolumeState, pair: tuple[str, str]) -> None:
    """What a first transfer that was killed at its very end left to do: its snapshot is on both arrays, and neither holds it."""
    common = common_snapshot(near, there) if near is not None and not there.writable else None
    if near is None or common is None or (held_common(near, pair[1]) and held_common(there, pair[0])):
        return
    arrived = Arrived(there.name, *pair, near, there, common.name)
    move_holds(world.fleet, [arrived], ownership.claim_guard(world.topology.name, plan))


def _first_transfer(world: World, plan: str, volume: str, source: str, target: str, *, passed_on: bool) -> None:
    """A snapshot of the volume alone, sent whole. It is no recovery point; it is what the first increment starts from.

    `passed_on`: the source is a copy itself; it passes on the newest that it has, for a snapshot of its own would put it out of line.
    """
    guard = ownership.claim_guard(world.topology.name, plan)
    sender = world.fleet.array(source)
    known = sender.state().volumes.get(volume)
    if known is None or known.owner is None:
        raise NotFound(f"volume {volume} is not on array {source}")
    # A try that was cut is taken up where it was: with the snapshot that it had begun to send.
    there = world.fleet.array(target).state().volumes.get(volume)
    begun = there.incoming.snapshot if there is not None and there.incoming is not None else None
    snapshot = begun if begun is not None and known.snapshot(begun) else f"init-{target}"
    if passed_on and snapshot != begun:
        if not known.snapshots:
            raise NotFound(f"its copy on {source}, which feeds {target}, has nothing yet")
        snapshot = known.snapshots[-1].name
    if known.snapshot(snapshot) is None:
        sender.snapshot([volume], snapshot, guard)
        known = sender.state().volumes[volume]
    owner = known.owner or Owner(world.topology.name, "", keys.new_incarnation())
    sent = send_volume(
        world.fleet, volume, source, target, known, there, snapshot=snapshot, owner=owner, guard=guard, full_ok=True
    )
    world.progress(f"mirror of {volume}: sent from {source} to {target}, {sent.bytes / 2**20:.1f} MiB")


def release_mirror(
    world: World, plan: str, volume: str, copy: str, pair: tuple[str, ...], owner: Owner, *, delete_data: bool
) -> Released:
    """Let the pair go. The copy stays, unless the topology says to delete the volume's data. Raises MoveInProgress, Busy."""
    name = keys.mirror_name(volume, copy)
    notes = not_mine(world, "mirror", name, pair, owner)
    if notes is not None:
        return notes
    ownership.refuse_in_move(world, plan, pair, f"mirror {name}")
    silent = ownership.silent_among(world.look(), pair)
    if not delete_data:
        ownership.give_back(world, "mirror", name, plan, pair, owner)
        if silent:
            ownership.bury(world, "mirror", name, plan, pair, owner)
        return Released((f"mirror {name}: released; both copies of the volume stay",))
    said = []
    for array in pair:
        state = world.look().array(array)
        found = state.volumes.get(volume) if state else None
        if found is None or found.writable or found.kind != "data" or found.owner is None:
            continue
        if found.owner.topology != world.topology.name:
            raise Conflict(f"volume {volume} on {array} belongs to topology {found.owner.topology}; nothing was done")
        guard = ownership.claim_guard(world.topology.name, plan)
        for tag in sorted({t for s in found.snapshots for t in s.holds if not t.startswith("drill")}):
            world.fleet.array(array).release([volume], tag, guard)
        if world.fleet.array(array).delete_volume(volume, found.owner, guard):
            said.append(f"mirror {name}: its copy on {array} is destroyed")
    ownership.forget(world, "mirror", name, pair)
    if silent:
        ownership.bury(world, "mirror", name, plan, pair, owner, delete_data=True)
    return Released(tuple(said))
