"""The line of a volume: the history that the active copy stands on, which copies are in it, and from where each other copy is fed. Pure.

A copy is *in line* when it is a destination and holds nothing that the line has not. Copies in line pass data on: what the active one has
pruned since may still be common with one of them, so that a copy that was away is brought up by an increment from there.

Feeding follows the topology (`copies`, `via`) as a tree whose root is wherever the plan is active. Where a neighbour towards the root is
silent, cut off or out of line, any copy in line that is reached takes its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dr_provider.model.state import Observation, SnapshotState, VolumeState
from dr_provider.model.topology import Topology, VolumeSpec

__all__ = ["Line", "copy_of", "declared_feeder", "distance", "feeders", "line_of", "meet", "newest_on", "way"]


def copy_of(seen: Observation, array: str, volume: str) -> VolumeState | None:
    """The volume's copy on an array; None: absent, or the array is silent."""
    state = seen.array(array)
    found = state.volumes.get(volume) if state else None
    return found if found is not None and found.kind == "data" else None


def meet(seen: Observation, a: str, b: str) -> bool:
    """Whether two arrays answer and reach each other."""
    at_a, at_b = seen.array(a), seen.array(b)
    return bool(at_a and at_b and at_a.peers.get(b) and at_b.peers.get(a))


@dataclass(frozen=True)
class Line:
    """`guids`: of every snapshot that is known to be in the history. `arrays`: the active one, then those whose copies are in line."""

    guids: frozenset[str]
    arrays: tuple[str, ...]


def line_of(spec: VolumeSpec, active: str, seen: Observation) -> Line:
    """The line that the copy on array `active` stands on; of an active copy that is not known, an empty one."""
    root = copy_of(seen, active, spec.name)
    if root is None:
        return Line(frozenset(), ())
    guids, arrays = {s.guid for s in root.snapshots}, [active]
    found = True
    while found:
        found = False
        for array in spec.arrays:
            copy = copy_of(seen, array, spec.name)
            if array in arrays or copy is None or copy.writable or copy.changed or not copy.snapshots:
                continue
            if copy.snapshots[-1].guid in guids:
                guids |= {s.guid for s in copy.snapshots}
                arrays.append(array)
                found = True
    return Line(frozenset(guids), tuple(arrays))


def newest_on(line: Line, copy: VolumeState) -> SnapshotState | None:
    """The newest snapshot of a copy that is in the line, as the copy names it."""
    return next((s for s in reversed(copy.snapshots) if s.guid in line.guids), None)


# -- from where -----------------------------------------------------------------------------------


def _edges(spec: VolumeSpec) -> frozenset[frozenset[str]]:
    return frozenset(frozenset((copy.via or spec.home, copy.array)) for copy in spec.copies)


def declared_feeder(spec: VolumeSpec, active: str, target: str) -> str:
    """The target's neighbour towards the active copy, as the topology has it."""
    edges = _edges(spec)
    after = {active: active}
    reached = [active]
    for array in reached:
        for other in sorted(spec.arrays):
            if other not in after and frozenset((array, other)) in edges:
                after[other] = array
                reached.append(other)
    return after.get(target, active)


def distance(spec: VolumeSpec, active: str, target: str) -> int:
    """How many mirrors of the topology are between the active copy and the target."""
    count = 0
    while target != active:
        target, count = declared_feeder(spec, active, target), count + 1
    return count


def feeders(spec: VolumeSpec, active: str, seen: Observation) -> Mapping[str, str]:
    """From which array each other copy that can be reached is fed, in the order in which they are to be sent to (a feeder before its own).

    A source whose increment fits goes before another, a way that the topology names before one that it does not, a short one before a long one.
    """
    line = line_of(spec, active, seen)
    if not line.arrays:
        return {}
    edges = _edges(spec)
    hops = {active: 0}
    fed: dict[str, str] = {}
    while True:
        ways = [
            (
                _awkward(spec, source, target, line, seen),
                frozenset((source, target)) not in edges,
                hops[source],
                source,
                target,
            )
            for source in hops
            if source == active or _passes_on(spec, source, line, seen)
            for target in spec.arrays
            if target not in hops and meet(seen, source, target)
        ]
        if not ways:
            return fed
        *_, source, target = min(ways)
        hops[target] = hops[source] + 1
        fed[target] = source


def _passes_on(spec: VolumeSpec, array: str, line: Line, seen: Observation) -> bool:
    """Whether others can be fed from a copy: it is in line, or is still to be made, and then is before them."""
    copy = copy_of(seen, array, spec.name)
    return array in line.arrays or copy is None or (not copy.writable and not copy.snapshots)


def _awkward(spec: VolumeSpec, source: str, target: str, line: Line, seen: Observation) -> bool:
    """Whether a source lacks the newest snapshot that the target's copy has of the line, so that no increment from it fits: not even once what
    the copy has beyond that was taken off it."""
    near, far = copy_of(seen, source, spec.name), copy_of(seen, target, spec.name)
    last = (newest_on(line, far) or far.snapshots[-1]) if far is not None and far.snapshots else None
    if last is None:
        return False
    return near is None or all(s.guid != last.guid for s in near.snapshots)


def way(topology: Topology, volume: str, source: str, target: str, seen: Observation) -> tuple[str, ...] | None:
    """The arrays from `source` to `target`, both included, over copies that are in line with the source; None: there is no way."""
    spec = topology.volumes[volume]
    if source == target or meet(seen, source, target):
        return (source, target)
    line = line_of(spec, source, seen)
    fed = feeders(spec, source, seen)
    found = [target]
    while found[-1] in fed:
        found.append(fed[found[-1]])
    relays: Iterable[str] = found[1:-1]
    if found[-1] != source or not all(array in line.arrays for array in relays):
        return None
    return tuple(reversed(found))
