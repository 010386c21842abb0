"""Sending a plan's volumes to the copies that can be reached, without the lease.

A copy that is silent or cannot be reached is a warning; one that is no mirror any more is not touched, for repair keeps what is its own
first. A transfer's calls fail as soon as a claim is open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import combinations

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
from dr_provider.reconcile.window import left_untouched, window_line
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
    if mirror.to_site == left_untouched(view):
        return window_line(view)
    state = view.seen.arrays[b]
    if view.seen.array(b) is None:
        return f"{mirror.to_site}: array {b} is silent ({getattr(state, 'reason', '')}), so nothing was sent there"
    if view.volume(mirror.volume, str(view.active)) is None:
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
    hops = _hops(open_mirrors(view))
    results: list[_Result] = []
    for hop in hops:
        with ThreadPoolExecutor(max_workers=_TRANSFERS, thread_name_prefix="send") as pool:
            results += pool.map(lambda mirror: _send(cycle, view, mirror), hop)
    mirrors = [mirror for hop in hops for mirror in hop]
    errors = [(_what(mirror), result.error) for mirror, result in zip(mirrors, results, strict=True) if result.error]
    for result in results:
        cycle.sent += result.transfers
    by_target: dict[str, list[replication.Arrived]] = {}
    came = [result.arrived for result in results if result.arrived is not None]
    for arrived in (*came, *_siblings(came)):
        by_target.setdefault(arrived.target_array, []).append(arrived)
    for target, group in by_target.items():
        try:
            replication.move_holds(cycle.world.fleet, group, _guard(cycle))
        except DrError as failed:
            errors.append((f"volumes {listed(sorted(each.volume for each in group))} to {target}", failed))
    for what, error in errors:
        if isinstance(error, Stopped | MoveInProgress):
            raise error
        if isinstance(error, Unreachable | NotReady):
            cycle.warn(
                f"{what}: the transfer was cut ({error}); what arrived is kept, and the next run goes on from there"
            )
        else:
            cycle.failures.append(f"{what} could not be sent: {error}")


def _hops(mirrors: Iterable[MirrorState]) -> list[list[MirrorState]]:
    """What can be sent at once; each list after the one before, for a copy passes on what has come to it."""
    depth: dict[tuple[str, str], int] = {}
    hops: list[list[MirrorState]] = []
    for mirror in mirrors:  # feeders stand first
        at = depth[mirror.volume, mirror.to_array] = depth.get((mirror.volume, mirror.from_array), -1) + 1
        hops.extend([] for _ in range(at + 1 - len(hops)))
        hops[at].append(mirror)
    return hops


def _siblings(arrived: Iterable[replication.Arrived]) -> Iterator[replication.Arrived]:
    """The other pairs of copies that have a snapshot in common now. It is held on both, so that each can feed the other when what is
    between them is lost."""
    same: dict[tuple[str, str], list[replication.Arrived]] = {}
    for each in arrived:
        same.setdefault((each.volume, each.common), []).append(each)
    for (volume, common), group in same.items():
        states: dict[str, VolumeState | None] = {a.target_array: a.target_state for a in group}
        for each in group:
            states.setdefault(each.source_array, each.source_state)
        sent = {frozenset((a.source_array, a.target_array)) for a in group}
        for a, b in combinations(sorted(states), 2):
            if frozenset((a, b)) not in sent:
                yield replication.Arrived(volume, a, b, states[a], states[b], common)


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
    passed_on = mirror.from_site != active
    for point in dict.fromkeys(p.id for p in wanted if p is not None and mirror.volume in p.intent.members):
        try:
            if result.transfers or passed_on:  # this run has changed what both sides have
                source = _volume(cycle.world, mirror.from_array, mirror.volume)
                target = cycle.world.fleet.array(mirror.to_array).state().volumes.get(mirror.volume)
            assert source is not None
            if passed_on and source.snapshot(point) is None:
                continue  # it has not come so far; that is said of its own mirror
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
