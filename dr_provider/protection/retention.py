"""Which recovery points go, and their removal.

Invariants: nothing that is held goes, nor the newest whole point of a site, nor the newest snapshot that two copies have in common, nor
what a drill's clone or a transfer stands on. A point goes from a site whole or not at all. Backups count for `keep`; the groups that
replication cycles took for themselves stay only as long as they are newer than the newest backup, so that they never crowd backups out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from dr_provider.model import keys
from dr_provider.model.errors import Busy, Conflict, DrError
from dr_provider.model.records import Guard
from dr_provider.model.state import Observation, VolumeState
from dr_provider.model.topology import Keep, Topology
from dr_provider.protection.backup import is_cycle
from dr_provider.protection.catalogue import RecoveryPoint, newest
from dr_provider.protection.fleet import Fleet
from dr_provider.protection.replication import common_snapshot

__all__ = ["Prune", "plan_pruning", "protected_snapshots", "run_pruning", "wanted_points"]

_FIRST = "init-"

Snapshot = tuple[str, str, str]
"""(array, volume, snapshot)."""


@dataclass(frozen=True)
class Prune:
    """A point that goes from a site: `volumes` maps each array there to the volumes that have a part of it."""

    point: str
    site: str
    volumes: Mapping[str, tuple[str, ...]]


# -- pure ---------------------------------------------------------------------------------------


def wanted_points(points: Sequence[RecoveryPoint], keep: Keep) -> frozenset[str]:
    """Ids of the points that the rules keep. `last` counts by the points' order; of each of the newest hours, days and weeks (UTC) that
    have one, the newest point stays."""
    ordered = sorted(points, key=lambda point: point.order, reverse=True)
    backups = [point for point in ordered if not is_cycle(point)]
    since = backups[0].order if backups else None
    cycles = [point for point in ordered if is_cycle(point) and (since is None or point.order > since)]
    kept = {point.id for point in (*backups[: max(1, keep.last)], *cycles[: max(1, keep.last)])}
    for count, bucket in ((keep.hourly, "%Y-%m-%d %H"), (keep.daily, "%Y-%m-%d"), (keep.weekly, "%G-%V")):
        kept |= _newest_of_each(backups, count, bucket)
    return frozenset(kept)


def _newest_of_each(newest_first: Sequence[RecoveryPoint], count: int, bucket: str) -> set[str]:
    found: dict[str, str] = {}
    for point in newest_first:
        if len(found) >= count:
            break
        found.setdefault(_utc(point.time).strftime(bucket), point.id)
    return set(found.values())


def _utc(time: str) -> datetime:
    return keys.at(time).astimezone(UTC)


def protected_snapshots(topology: Topology, plan: str, seen: Observation) -> frozenset[Snapshot]:
    """Snapshots that no rule prunes: held ones, the newest common one of each pair of copies, drill parents, and both ends of a transfer."""
    kept: set[Snapshot] = set()
    for spec in topology.plan_volumes(plan):
        copies: dict[str, VolumeState] = {}
        for array in spec.arrays:
            state = seen.array(array)
            if state is None:
                continue
            if spec.name in state.volumes:
                copies[array] = state.volumes[spec.name]
            kept |= {(array, *v.origin) for v in state.volumes.values() if v.kind == "drill" and v.origin is not None}
        for array, volume in copies.items():
            kept |= {(array, spec.name, s.name) for s in volume.snapshots if s.holds}
            for other, peer in copies.items():
                common = common_snapshot(volume, peer) if other != array else None
                if common is not None:
                    kept.add((array, spec.name, common.name))
                if other != array and peer.incoming is not None:
                    kept |= {(array, spec.name, n) for n in (peer.incoming.snapshot, peer.incoming.base) if n}
    return frozenset(kept)


def plan_pruning(
    topology: Topology,
    plan: str,
    seen: Observation,
    points: Iterable[RecoveryPoint],
    *,
    spare: Collection[str] = (),
) -> tuple[Prune, ...]:
    """What goes, oldest first; `spare` names sites where nothing is pruned (stale ones, and those that are not in line)."""
    known = sorted(points, key=lambda point: point.order)
    untouched = protected_snapshots(topology, plan, seen)
    found: list[Prune] = []
    for site in topology.plans[plan].sites:
        top = newest(known, site)
        # Without a whole point, anything here may be the best there is.
        if site in spare or top is None:
            continue
        kept = wanted_points([p for p in known if p.complete_at(site)], topology.plans[plan].backup.keep)
        for point in known:
            at = point.sites.get(site)
            # Newer than the newest whole one: a group that is being taken or is arriving.
            if at is None or point.order >= top.order or (at.complete and point.id in kept):
                continue
            if any((array, volume, point.id) in untouched for volume, array in at.arrays.items()):
                continue
            parts: dict[str, list[str]] = {}
            for volume, array in sorted(at.arrays.items()):
                parts.setdefault(array, []).append(volume)
            found.append(Prune(point.id, site, {array: tuple(names) for array, names in parts.items()}))
        found += _first_copies(topology, plan, site, seen, untouched)
    return tuple(sorted(found, key=lambda prune: (keys.point_order(prune.point) or (0, 0, ""), prune.site)))


def _first_copies(
    topology: Topology, plan: str, site: str, seen: Observation, untouched: Collection[Snapshot]
) -> list[Prune]:
    """Snapshots that a mirror's first transfer was made of: no points, and of no use once its copies share a newer one."""
    found = []
    for spec in topology.plan_volumes(plan):
        array = topology.copy_at(spec.name, site)
        state = seen.array(array) if array else None
        volume = state.volumes.get(spec.name) if state else None
        if array is None or volume is None:
            continue
        peers = [
            s.volumes[spec.name] for a in spec.arrays if a != array and (s := seen.array(a)) and spec.name in s.volumes
        ]
        shared = {common.name for peer in peers if (common := common_snapshot(volume, peer)) is not None}
        names = [s.name for s in volume.snapshots]
        since = max((names.index(name) for name in shared), default=0)
        for name in names[:since]:
            if name.startswith(_FIRST) and (array, spec.name, name) not in untouched:
                found.append(Prune(name, site, {array: (spec.name,)}))
    return found


# -- the run ------------------------------------------------------------------------------------


def run_pruning(fleet: Fleet, prunes: Iterable[Prune], *, guard: Guard) -> tuple[tuple[Prune, ...], tuple[str, ...]]:
    """Delete; what went, and a sentence for each volume where that could not be done (the next run tries again)."""
    planned = tuple(prunes)
    doomed: dict[str, dict[str, list[str]]] = {}
    for prune in planned:
        for array, volumes in prune.volumes.items():
            for volume in volumes:
                doomed.setdefault(array, {}).setdefault(volume, []).append(prune.point)
    failed: dict[tuple[str, str], str] = {}

    def prune_array(array: str) -> None:
        try:
            fleet.array(array).delete_snapshots(doomed[array], guard)
        except (Busy, Conflict):
            # One volume's snapshot is in use, and none was deleted: by itself each of the others goes.
            for volume, names in sorted(doomed[array].items()):
                try:
                    fleet.array(array).delete_snapshots({volume: names}, guard)
                except DrError as error:
                    failed[array, volume] = _stays(array, volume, error)
        except DrError as error:
            failed.update({(array, volume): _stays(array, volume, error) for volume in doomed[array]})

    # Arrays side by side: each does all of its own deletions in one call.
    with ThreadPoolExecutor(max_workers=max(1, len(doomed)), thread_name_prefix="prune") as pool:
        list(pool.map(prune_array, doomed))
    gone = tuple(
        prune for prune in planned if not any((a, v) in failed for a, volumes in prune.volumes.items() for v in volumes)
    )
    return gone, tuple(sentence for _, sentence in sorted(failed.items()))


def _stays(array: str, volume: str, error: DrError) -> str:
    return f"{array}: old recovery points of volume {volume} stay for now: {error}"
