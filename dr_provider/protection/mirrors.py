"""The state of each mirror of a plan, out of one observation. Pure.

A mirror goes from the copy at the active site to another one. Its lag is the age of the newest sealed snapshot that both have: what
would be lost if the active side were gone now. Of a copy that is silent, the source's hold tells what it had.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from dr_provider.model import keys
from dr_provider.model.state import Observation, SnapshotState, VolumeState
from dr_provider.model.topology import PlanSpec, Topology
from dr_provider.protection.catalogue import snapshot_intent
from dr_provider.protection.replication import common_snapshot, held_common

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


def paths(topology: Topology, plan: str, active: str) -> Iterator[tuple[str, str, str]]:
    """(volume, array at the active site, another array with a copy) for each mirror of the plan."""
    for volume in topology.plan_volumes(plan):
        source = topology.copy_at(volume.name, active)
        if source is not None:
            for target in volume.arrays:
                if target != source:
                    yield volume.name, source, target


def mirror_states(
    topology: Topology, plan: str, seen: Observation, *, active: str, split: bool = False
) -> tuple[MirrorState, ...]:
    """Each mirror of the plan, by volume and target."""
    limit = lag_limit(topology.plans[plan])
    return tuple(
        _mirror(topology, seen, volume, source, target, limit=limit, split=split)
        for volume, source, target in paths(topology, plan, active)
    )


def _mirror(
    topology: Topology, seen: Observation, volume: str, source: str, target: str, *, limit: float, split: bool
) -> MirrorState:
    near, far = _copy(seen, source, volume), _copy(seen, target, volume)
    common = _common(seen, source, target, near, far)
    lag = _age(common, seen.time) if common else None
    state, reason = _state(seen, source, target, near, far, common, lag, limit)
    if split:
        state, reason = "split", "both sides have written since their fork"
    sites = topology.arrays[source].site, topology.arrays[target].site
    return MirrorState(volume, source, target, *sites, state, lag, common.name if common else None, reason)


def _copy(seen: Observation, array: str, volume: str) -> VolumeState | None:
    state = seen.array(array)
    found = state.volumes.get(volume) if state else None
    return found if found is not None and found.kind == "data" else None


def _common(
    seen: Observation, source: str, target: str, near: VolumeState | None, far: VolumeState | None
) -> SnapshotState | None:
    """The newest sealed snapshot that both have; of a side that is silent, the other's hold tells what it had."""
    if near is not None and far is not None:
        there = {s.guid for s in far.snapshots if s.seal is not None}
        return next((s for s in reversed(near.snapshots) if s.guid in there and s.seal is not None), None)
    if near is not None and seen.array(target) is None:
        return held_common(near, target)
    if far is not None and seen.array(source) is None:
        return held_common(far, source)
    return None


def _age(snapshot: SnapshotState, now: str) -> float:
    """By the clock of whoever took the group, which is the same on every copy; an array's own clock where there is no intent."""
    intent = snapshot_intent(snapshot)
    age = (keys.at(now) - keys.at(intent.time if intent else snapshot.time)).total_seconds()
    return round(max(0.0, age), 3)


def _state(
    seen: Observation,
    source: str,
    target: str,
    near: VolumeState | None,
    far: VolumeState | None,
    common: SnapshotState | None,
    lag: float | None,
    limit: float,
) -> tuple[State, str]:
    at_source, at_target = seen.array(source), seen.array(target)
    for array, state in ((source, at_source), (target, at_target)):
        if state is None:
            return "unreachable", f"array {array} is silent"
    assert at_source is not None
    assert at_target is not None
    if near is None:
        return "none", f"{source} has no such volume"
    meet = at_source.peers.get(target) and at_target.peers.get(source)
    cut = "" if meet else f"{source} and {target} do not reach each other"
    if far is None:
        return ("unreachable", cut) if cut else ("none", f"{target} has no copy yet")
    if far.writable:
        return "broken", f"the copy on {target} is writable"
    shared = common_snapshot(near, far)
    if far.snapshots and shared is None:
        return "broken", f"the copy on {target} has no snapshot in common with {source}"
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
