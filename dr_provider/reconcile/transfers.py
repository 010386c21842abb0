"""Sending a plan's volumes to the copies that can be reached, without the lease.

A copy that is silent or cannot be reached is a warning; one that is no mirror any more is not touched, for repair keeps what is its own
first. A transfer's calls fail as soon as a claim is open.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from dr_provider.model import keys
from dr_provider.model.errors import DrError, MoveInProgress, NotFound, NotReady, Stopped, Unreachable
from dr_provider.model.problems import listed
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
    """Every volume to every copy that can be reached, side by side; without the lease. Their holds move together once all have ended: until
    then the older ones stand, and a later run moves what a killed one did not."""
    mirrors = open_mirrors(view)
    with ThreadPoolExecutor(max_workers=_TRANSFERS, thread_name_prefix="send") as pool:
        results = list(pool.map(lambda mirror: _send(cycle, view, mirror), mirrors))
    errors = [(_what(mirror), result.error) for mirror, result in zip(mirrors, results, strict=True) if result.error]
    for result in results:
        cycle.sent += result.transfers
    by_target: dict[str, list[replication.Arrived]] = {}
    for result in results:
        if result.arrived is not None:
            by_target.setdefault(result.arrived.target_array, []).append(result.arrived)
    for target, arrived in by_target.items():
        try:
            replication.move_holds(cycle.world.fleet, arrived, _guard(cycle))
        except DrError as failed:
            errors.append((f"volumes {listed(sorted(each.volume for each in arrived))} to {target}", failed))
    for what, error in errors:
        if isinstance(error, Stopped | MoveInProgress):
            raise error
        if isinstance(error, Unreachable | NotReady):
            cycle.warn(
                f"{what}: the transfer was cut ({error}); what arrived is kept, and the next run goes on from there"
            )
        else:
            cycle.failures.append(f"{what} could not be sent: {error}")


@dataclass
class _Result:
    """What became of a mirror: what was sent, the common snapshot as it is now (None: as it was), and what ended it early."""

    transfers: list[Transfer] = field(default_factory=list)
    arrived: replication.Arrived | None = None
    error: DrError | None = None


def _what(mirror: MirrorState) -> str:
    return f"volume {mirror.volume} from {mirror.from_array} to {mirror.to_array}"


def _guard(cycle: Cycle) -> Guard:
    return claim_guard(cycle.world, cycle.plan, Guard())


def _send(cycle: Cycle, view: PlanView, mirror: MirrorState) -> _Result:
    """The newest backup, and then what is newer: a copy that has been away gets a point that its guests made ready, not only the last one."""
    active = str(view.active)
    wanted = [newest_at(view, active, backups=True), newest_at(view, active)]
    result = _Result()
    source, target = view.volume(mirror.volume, mirror.from_site), view.volume(mirror.volume, mirror.to_site)
    for point in dict.fromkeys(p.id for p in wanted if p is not None and mirror.volume in p.intent.members):
        assert source is not None
        try:
            if result.transfers:  # the first has changed what both sides have
                source, target = (_volume(cycle.world, a, mirror.volume) for a in (mirror.from_array, mirror.to_array))
            _send_point(cycle, mirror, source, target, point, result)
        except DrError as error:
            result.error = error
            break
    return result


def _volume(world: World, array: str, volume: str) -> VolumeState:
    found = world.fleet.array(array).state().volumes.get(volume)
    if found is None:
        raise NotFound(f"volume {volume} is no longer on {array}")
    return found


def _send_point(
    cycle: Cycle,
    mirror: MirrorState,
    source: VolumeState,
    target: VolumeState | None,
    point: str,
    result: _Result,
) -> None:
    def settle(arrived: replication.Arrived) -> None:
        result.arrived = arrived

    sent = replication.send_volume(
        cycle.world.fleet,
        mirror.volume,
        mirror.from_array,
        mirror.to_array,
        source,
        target,
        snapshot=point,
        owner=(target.owner if target else None) or source.owner or Owner(cycle.world.topology.name, "", keys.new_id()),
        guard=_guard(cycle),
        stop=cycle.stop,
        full_ok=target is None or not target.snapshots,
        settle=settle,
    )
    if sent.steps:
        result.transfers.append(
            Transfer(mirror.volume, mirror.from_array, mirror.to_array, sent.common, sent.bytes, sent.seconds)
        )
