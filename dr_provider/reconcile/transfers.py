"""Sending a plan's volumes to the copies that can be reached, without the lease.

A copy that is silent or cannot be reached is a warning; one that is no mirror any more is not touched, for repair keeps what is its own
first. A transfer's calls fail as soon as a claim is open.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from dr_provider.model import keys
from dr_provider.model.errors import DrError, MoveInProgress, NotFound, NotReady, Stopped, Unreachable
from dr_provider.model.records import Guard, Owner
from dr_provider.model.state import VolumeState
from dr_provider.protection import replication
from dr_provider.protection.mirrors import MirrorState, mirror_states
from dr_provider.reconcile.cycle import Cycle, Transfer
from dr_provider.reconcile.due import newest_at
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.world import World

__all__ = ["claim_guard", "mirrors_of", "open_mirrors", "say_unreached", "send_all"]

_TRANSFERS = 16


def claim_guard(world: World, plan: str, guard: Guard) -> Guard:
    """The guard, that also fails once a move of the plan is claimed."""
    return replace(guard, absent=(*guard.absent, keys.claim_key(world.topology.name, plan)))


def open_mirrors(view: PlanView) -> tuple[MirrorState, ...]:
    """The mirrors that something can be sent through now."""
    return tuple(m for m in mirrors_of(view) if _barrier(view, m) is None)


def mirrors_of(view: PlanView) -> tuple[MirrorState, ...]:
    active = str(view.active)
    return mirror_states(view.topology, view.spec.name, view.seen, active=active, split=view.split is not None)


def _barrier(view: PlanView, mirror: MirrorState) -> str | None:
    """Why nothing can be sent through a mirror now. The sentence names arrays and sites, so that volumes share it."""
    a, b = mirror.from_array, mirror.to_array
    state = view.seen.arrays[b]
    if view.seen.array(b) is None:
        return f"{mirror.to_site}: array {b} is silent ({getattr(state, 'reason', '')}), so nothing was sent there"
    if view.volume(mirror.volume, mirror.from_site) is None:
        return f"volume {mirror.volume} is not on {a}, so it was not sent to {b}"
    if mirror.state == "unreachable":
        return f"{a} and {b} do not reach each other (the link is cut), so nothing was sent to {mirror.to_site}"
    if mirror.state in ("broken", "split"):
        return f"volume {mirror.volume}: {mirror.reason}; it was not sent there and not touched"
    return None


def say_unreached(cycle: Cycle, view: PlanView) -> None:
    for mirror in mirrors_of(view):
        sentence = _barrier(view, mirror)
        if sentence is not None:
            cycle.warn(sentence)


def send_all(cycle: Cycle, view: PlanView) -> None:
    """Every volume to every copy that can be reached, side by side; without the lease."""
    mirrors = open_mirrors(view)
    with ThreadPoolExecutor(max_workers=_TRANSFERS, thread_name_prefix="send") as pool:
        results = list(pool.map(lambda mirror: _send(cycle, view, mirror), mirrors))
    for mirror, (transfers, error) in zip(mirrors, results, strict=True):
        cycle.sent += transfers
        what = f"volume {mirror.volume} from {mirror.from_array} to {mirror.to_array}"
        if isinstance(error, Stopped | MoveInProgress):
            raise error
        if isinstance(error, Unreachable | NotReady):
            cycle.warn(
                f"{what}: the transfer was cut ({error}); what arrived is kept, and the next run goes on from there"
            )
        elif error is not None:
            cycle.failures.append(f"{what} could not be sent: {error}")


def _send(cycle: Cycle, view: PlanView, mirror: MirrorState) -> tuple[list[Transfer], DrError | None]:
    """The newest backup, and then what is newer: a copy that has been away gets a point that its guests made ready, not only the last one."""
    active = str(view.active)
    wanted = [newest_at(view, active, backups=True), newest_at(view, active)]
    done: list[Transfer] = []
    source, target = view.volume(mirror.volume, mirror.from_site), view.volume(mirror.volume, mirror.to_site)
    for point in dict.fromkeys(p.id for p in wanted if p is not None and mirror.volume in p.intent.members):
        assert source is not None
        try:
            if done:  # the first has changed what both sides have
                source, target = (_volume(cycle.world, a, mirror.volume) for a in (mirror.from_array, mirror.to_array))
            transfer = _send_point(cycle, mirror, source, target, point)
        except DrError as error:
            return done, error
        if transfer is not None:
            done.append(transfer)
    return done, None


def _volume(world: World, array: str, volume: str) -> VolumeState:
    found = world.fleet.array(array).state().volumes.get(volume)
    if found is None:
        raise NotFound(f"volume {volume} is no longer on {array}")
    return found


def _send_point(
    cycle: Cycle, mirror: MirrorState, source: VolumeState, target: VolumeState | None, point: str
) -> Transfer | None:
    sent = replication.send_volume(
        cycle.world.fleet,
        mirror.volume,
        mirror.from_array,
        mirror.to_array,
        source,
        target,
        snapshot=point,
        owner=(target.owner if target else None) or source.owner or Owner(cycle.world.topology.name, "", keys.new_id()),
        guard=claim_guard(cycle.world, cycle.plan, Guard()),
        stop=cycle.stop,
        full_ok=target is None or not target.snapshots,
    )
    if not sent.steps:
        return None
    return Transfer(mirror.volume, mirror.from_array, mirror.to_array, sent.common, sent.bytes, sent.seconds)
