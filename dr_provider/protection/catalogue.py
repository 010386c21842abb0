"""The catalogue of recovery points: which groups are whole, where. Pure: made from one observation.

Invariant: only a group whose own members are all present and sealed at a site is a recovery point there; those that are no volumes of
the plan any more do not count. Points are ordered by (epoch, sequence), never by clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from dr_provider.model import keys
from dr_provider.model.codec import load
from dr_provider.model.errors import BadInput, CorruptRecord
from dr_provider.model.problems import nearest
from dr_provider.model.records import Corrupt, Intent, Seal
from dr_provider.model.state import Observation, SnapshotState, VolumeState
from dr_provider.model.topology import Topology

__all__ = ["RecoveryPoint", "SitePoint", "catalogue", "choose_point", "newest", "snapshot_intent", "snapshot_seal"]


@dataclass(frozen=True)
class SitePoint:
    """A group at one site. `arrays` maps each member that is present to its array.

    `missing`, `unsealed` and `corrupt` name members that keep it from being a recovery point there; `corrupt`: read back, and found wrong.
    """

    arrays: Mapping[str, str]
    missing: tuple[str, ...] = ()
    unsealed: tuple[str, ...] = ()
    holds: frozenset[str] = frozenset()
    corrupt: tuple[str, ...] = ()

    @property
    def arrived(self) -> bool:
        """All of it is there and sealed, whatever was found when it was read back."""
        return not self.missing and not self.unsealed

    @property
    def complete(self) -> bool:
        return self.arrived and not self.corrupt


@dataclass(frozen=True)
class RecoveryPoint:
    """A group by its id. `sites` has an entry for each site where at least one member is present and known.

    `members`: those of its volumes that are the plan's still; `intent.members` are all that it was taken of.
    """

    id: str
    epoch: int
    sequence: int
    group: str
    time: str
    intent: Intent
    seal: Seal | None
    sites: Mapping[str, SitePoint] = field(default_factory=dict)
    members: tuple[str, ...] = ()

    @property
    def order(self) -> tuple[int, int, str]:
        return (self.epoch, self.sequence, self.group)

    def complete_at(self, site: str) -> bool:
        at = self.sites.get(site)
        return at is not None and at.complete

    def corrupt_at(self, site: str) -> bool:
        at = self.sites.get(site)
        return at is not None and bool(at.corrupt)

    def arrived_at(self, site: str) -> bool:
        """As `complete_at`, and also where it was found corrupt."""
        at = self.sites.get(site)
        return at is not None and at.arrived


# The members of a group carry the same texts, on every copy and in every sweep.
@lru_cache(maxsize=256)
def _intent(text: str) -> Intent | None:
    try:
        return load(Intent, text, "an intent")
    except CorruptRecord:
        return None


@lru_cache(maxsize=256)
def _seal(text: str) -> Seal | None:
    try:
        return load(Seal, text, "a seal")
    except CorruptRecord:
        return None


def snapshot_intent(snapshot: SnapshotState) -> Intent | None:
    """The intent that the snapshot captured; None: it has none that can be read."""
    text = snapshot.records.get("intent")
    return _intent(text) if text else None


def snapshot_seal(snapshot: SnapshotState) -> Seal | None:
    """The seal, where there is one that can be read and names the group that the snapshot is of."""
    seal = _seal(snapshot.seal) if snapshot.seal else None
    order = keys.point_order(snapshot.name)
    return seal if seal is not None and order is not None and seal.group == order[2] else None


def _volumes_at(
    topology: Topology, site: str, members: Iterable[str], seen: Observation
) -> dict[str, VolumeState | None]:
    """Each member's volume at the site; None: absent or not known."""
    found: dict[str, VolumeState | None] = {}
    for member in members:
        array = topology.copy_at(member, site) if member in topology.volumes else None
        state = seen.array(array) if array else None
        volume = state.volumes.get(member) if state else None
        found[member] = volume if volume is not None and volume.kind == "data" else None
    return found


def catalogue(topology: Topology, plan: str, seen: Observation) -> tuple[RecoveryPoint, ...]:
    """Every group of the plan that is on an answering array, oldest first."""
    spec = topology.plans[plan]
    current = tuple(volume.name for volume in topology.plan_volumes(plan))
    intents: dict[str, Intent] = {}
    for site in spec.sites:
        for volume in _volumes_at(topology, site, current, seen).values():
            for snapshot in volume.snapshots if volume else ():
                if snapshot.name not in intents and keys.point_order(snapshot.name):
                    intent = snapshot_intent(snapshot)
                    if intent is not None and intent.plan == plan and intent.topology == topology.name:
                        intents[snapshot.name] = intent
    marks = _marks(topology, plan, seen)
    points = [_point(topology, name, intent, seen, marks) for name, intent in intents.items()]
    return tuple(sorted(points, key=lambda point: point.order))


def _marks(topology: Topology, plan: str, seen: Observation) -> dict[tuple[str, str], tuple[str, ...]]:
    """(point, site) -> the volumes that were found corrupt there, as any answering array of the plan knows."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    prefix = keys.corrupt_prefix(topology.name, plan)
    for array in topology.plan_arrays(plan):
        state = seen.array(array)
        for key, text in state.records.items() if state else ():
            if key.startswith(prefix):
                mark = load(Corrupt, text, f"array {array}, {key}")
                found[mark.point, mark.site] = mark.volumes
    return found


def _point(
    topology: Topology,
    name: str,
    intent: Intent,
    seen: Observation,
    marks: Mapping[tuple[str, str], tuple[str, ...]],
) -> RecoveryPoint:
    sites: dict[str, SitePoint] = {}
    first_seal: Seal | None = None
    # A volume that was taken out of the plan since is restored by nobody, and its absence takes nothing from the others.
    current = {volume.name for volume in topology.plan_volumes(intent.plan)}
    members = tuple(name for name in intent.members if name in current)
    for site in topology.plans[intent.plan].sites:
        volumes = _volumes_at(topology, site, members, seen)
        present: dict[str, SnapshotState] = {}
        for member, volume in volumes.items():
            snapshot = volume.snapshot(name) if volume else None
            if snapshot is not None:
                present[member] = snapshot
        if not present:
            continue
        seals = {member: snapshot_seal(snapshot) for member, snapshot in present.items()}
        first_seal = first_seal or next((seal for seal in seals.values() if seal), None)
        sites[site] = SitePoint(
            arrays={member: str(topology.copy_at(member, site)) for member in present},
            missing=tuple(member for member in members if member not in present),
            unsealed=tuple(member for member, seal in seals.items() if seal is None),
            holds=frozenset(hold for snapshot in present.values() for hold in snapshot.holds),
            corrupt=tuple(member for member in marks.get((name, site), ()) if member in present),
        )
    return RecoveryPoint(
        name, intent.epoch, intent.sequence, intent.group, intent.time, intent, first_seal, sites, members
    )


def newest(points: Iterable[RecoveryPoint], site: str) -> RecoveryPoint | None:
    """The newest point that is whole at the site."""
    return max((point for point in points if point.complete_at(site)), key=lambda point: point.order, default=None)


def choose_point(
    points: Iterable[RecoveryPoint], site: str, wish: str, *, whole: Iterable[RecoveryPoint] | None = None
) -> RecoveryPoint:
    """The point that an id or an RFC 3339 time names: the newest one at or before the time. `whole`: those that count (None: the ones
    that are whole at the site). One that was found corrupt is taken only where it is named by its id. Raises BadInput, naming what there is."""
    points = tuple(points)
    usable = [point for point in points if point.complete_at(site)] if whole is None else list(whole)
    by_id = next((p for p in (*usable, *points) if p.id == wish and (p in usable or p.arrived_at(site))), None)
    if by_id is not None:
        return by_id
    there = ", ".join(point.id for point in usable[-5:]) or "none"
    try:
        until = keys.at(wish)
    except ValueError:
        partial = next((point for point in points if point.id == wish), None)
        found = "it is not whole there" if partial else "there is none of that name"
        meant = None if partial else nearest(wish, [point.id for point in usable])
        near = f"; did you mean {meant}?" if meant else ""
        raise BadInput(
            f"recovery point {wish!r}: {found} at {site}{near}; the newest whole ones at {site}: {there}"
        ) from None
    before = [point for point in usable if keys.at(point.time) <= until]
    if not before:
        raise BadInput(
            f"recovery point {wish!r}: no whole point at {site} is that old; the whole ones at {site}: {there}"
        )
    return max(before, key=lambda point: point.order)
