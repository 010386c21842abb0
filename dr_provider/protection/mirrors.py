"""The state of each mirror of a plan, out of one observation. Pure.

A mirror goes to a copy from the one that feeds it: the active one, or one on the way (lines.py). Its lag is the age of the newest
sealed snapshot that the copy has in common with the active line: what would be lost if the active side were gone now and this copy were
all that is left. Of a copy that is silent, the others' holds tell what it had.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from dr_provider.model import keys
from dr_provider.model.state import Observation, SnapshotState
from dr_provider.model.topology import PlanSpec, Topology, VolumeSpec
from dr_provider.protection.catalogue import snapshot_intent
from dr_provider.protection.lines import copy_of, declared_feeder, feeders, line_of, meet, newest_on
from dr_provider.protection.replication import held_common

__all__ = ["MirrorState", "lag_limit", "mirror_states", "paths"]

State = Literal["synced", "lagging", "syncing", "broken", "split", "unreachable", "none"]


@dataclass(frozen=True)
class MirrorState:
    """`lag_seconds` None: not known, or nothing has arrived yet. `common`: the newest sealed snapshot that both copies have.

    `reason` says why the state is what it is, where that is not plain: empty otherwise.
    """

    volume: str
    from_array: str
    to_array: str
    from_site: str
    to_site: str
    state: State
    lag_seconds: float | None = None
    common: str | None = None
    reason: str = ""


def lag_limit(spec: PlanSpec) -> float:
    """Seconds of lag up to which a mirror counts as synced: the plan's rpo, else two replication intervals."""
    return spec.rpo if spec.rpo is not None else 2 * spec.replicate_every


def paths(topology: Topology, plan: str, active: str, seen: Observation) -> Iterator[tuple[str, str, str, str]]:
    """(volume, array at the active site, array that feeds it, array with another copy) for each mirror of the plan, feeders first."""
    for volume in topology.plan_volumes(plan):
        root = topology.copy_at(volume.name, active)
        if root is None:
            continue
        fed = feeders(volume, root, seen)
        for target in (*fed, *(a for a in volume.arrays if a != root and a not in fed)):
            yield volume.name, root, fed.get(target) or declared_feeder(volume, root, target), target


def mirror_states(
    topology: Topology, plan: str, seen: Observation, *, active: str, split: bool = False
) -> tuple[MirrorState, ...]:
    """Each mirror of the plan, by volume and target."""
    limit = lag_limit(topology.plans[plan])
    return tuple(
        _mirror(topology, seen, volume, root, source, target, limit=limit, split=split)
        for volume, root, source, target in paths(topology, plan, active, seen)
    )


def _mirror(
    topology: Topology,
    seen: Observation,
    volume: str,
    root: str,
    source: str,
    target: str,
    *,
    limit: float,
    split: bool,
) -> MirrorState:
    common = _common(topology.volumes[volume], seen, root, source, target)
    lag = _age(common, seen.time) if common else None
    state, reason = _state(topology.volumes[volume], seen, root, source, target, common, lag, limit)
    if split:
        state, reason = "split", "more than one side has written since their fork"
    sites = topology.arrays[source].site, topology.arrays[target].site
    return MirrorState(volume, source, target, *sites, state, lag, common.name if common else None, reason)


def _common(spec: VolumeSpec, seen: Observation, root: str, source: str, target: str) -> SnapshotState | None:
    """The newest sealed snapshot that the copy has in common with the line; of a side that is silent, the others' holds tell what it had."""
    far = copy_of(seen, target, spec.name)
    if far is not None and seen.array(root) is not None:
        line = line_of(spec, root, seen)
        return next((s for s in reversed(far.snapshots) if s.guid in line.guids and s.seal is not None), None)
    if far is not None:
        return held_common(far, source) or held_common(far, root)
    if seen.array(target) is None:
        near = (copy_of(seen, array, spec.name) for array in (source, root))
        return next((held for copy in near if copy and (held := held_common(copy, target))), None)
    return None


def _age(snapshot: SnapshotState, now: str) -> float:
    """By the clock of whoever took the group, which is the same on every copy; an array's own clock where there is no intent."""
    intent = snapshot_intent(snapshot)
    age = (keys.at(now) - keys.at(intent.time if intent else snapshot.time)).total_seconds()
    return round(max(0.0, age), 3)


def _state(
    spec: VolumeSpec,
    seen: Observation,
    root: str,
    source: str,
    target: str,
    common: SnapshotState | None,
    lag: float | None,
    limit: float,
) -> tuple[State, str]:
    for array in (root, source, target):
        if seen.array(array) is None:
            return "unreachable", f"array {array} is silent"
    near, far = copy_of(seen, root, spec.name), copy_of(seen, target, spec.name)
    if near is None:
        return "none", f"{root} has no such volume"
    cut = "" if meet(seen, source, target) else f"{source} and {target} do not reach each other"
    if far is None:
        return ("unreachable", cut) if cut else ("none", f"{target} has no copy yet")
    if far.writable:
        return "broken", f"the copy on {target} is writable"
    shared = newest_on(line_of(spec, root, seen), far)
    if far.snapshots and shared is None:
        return "broken", f"the copy on {target} has no snapshot in common with {root}"
    if shared is not None and (far.snapshots[-1].guid != shared.guid or far.changed):
        return "broken", f"the copy on {target} has data of its own"
    if cut:
        return "unreachable", cut
    if shared is None:
        return (
            ("syncing", "its first full copy is not complete")
            if far.incoming
            else ("none", "nothing has been sent yet")
        )
    unchanged = near.snapshots[-1].guid == shared.guid and near.changed == 0
    if common is not None and (unchanged or (lag is not None and lag <= limit)):
        return "synced", ""
    return ("syncing", "a transfer is under way or was cut") if far.incoming else ("lagging", "")
