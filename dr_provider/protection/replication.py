"""Bringing a copy of a volume up to a snapshot: a pure planner, and the run of its steps.

The planner looks for the newest snapshot that both copies have, by guid, and returns the shortest path from there, or a typed conflict
whose sentence shows the evidence. The run moves the hold on the common snapshot only when the new one has arrived: the new one is held
first, on both sides, then the old one let go, so that at every moment both sides hold a snapshot that they share.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from dr_provider.model import stopping
from dr_provider.model.errors import Diverged, NoCommonSnapshot, NotFound, NothingToSend
from dr_provider.model.records import Guard, Owner
from dr_provider.model.state import SnapshotState, VolumeState
from dr_provider.protection.fleet import Fleet

__all__ = [
    "Arrived",
    "Sent",
    "Step",
    "Steps",
    "common_snapshot",
    "common_tag",
    "held_common",
    "move_holds",
    "plan_steps",
    "send_volume",
]

_SHOWN = 3


@dataclass(frozen=True)
class Step:
    """From a base (None: a full copy) to a snapshot; `start`: bytes of it that have arrived before."""

    base: str | None
    snapshot: str
    start: int = 0

    def __str__(self) -> str:
        again = f", from byte {self.start}" if self.start else ""
        return f"{self.base or 'nothing'} to {self.snapshot}{again}"


@dataclass(frozen=True)
class Steps:
    """The path, and the common snapshot that it starts from (None: a full copy)."""

    common: str | None
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Sent:
    """What a transfer did: no steps where the copy was up to date already. `bytes` went over the wire; `common` is what both have now."""

    steps: tuple[Step, ...]
    bytes: int
    seconds: float
    common: str


# -- pure -----------------------------------------------------------------------------------------


def common_snapshot(source: VolumeState, target: VolumeState) -> SnapshotState | None:
    """The newest snapshot of the source that the target has too, by guid, as the source names it."""
    there = {snapshot.guid for snapshot in target.snapshots}
    return next((snapshot for snapshot in reversed(source.snapshots) if snapshot.guid in there), None)


def plan_steps(
    source: VolumeState, target: VolumeState | None, snapshot: str | None, *, intermediate: bool = False
) -> Steps:
    """The shortest path that brings the target to `snapshot` (None: the newest sealed one of the source).

    `intermediate`: by way of every sealed snapshot in between. A transfer that was cut is taken up where it lies on the way. A target that
    is absent, or is an empty destination, gets a full copy. Raises NothingToSend, Diverged, NoCommonSnapshot, and NotFound where the source has not the snapshot.
    """
    wanted = _wanted(source, snapshot)
    names = [s.name for s in source.snapshots]
    common = common_snapshot(source, target) if target is not None else None
    if target is not None:
        _refuse_conflict(source, target, common)
    first = names.index(common.name) + 1 if common else 0
    last = names.index(wanted.name)
    if last < first:
        raise NothingToSend(
            f"volume {source.name}: the destination has {wanted.name} already (last common {common.name if common else None})"
        )
    ahead = source.snapshots[first : last + 1]
    stops = [s.name for s in ahead[:-1] if intermediate and common is not None and s.seal is not None] + [wanted.name]
    base = common.name if common else None
    begun = _begun(target, ahead, common)
    if begun is not None and begun.snapshot not in stops:
        stops = [begun.snapshot, *(name for name in stops if names.index(name) > names.index(begun.snapshot))]
    steps = []
    for stop in stops:
        start = begun.start if begun is not None and (base, stop) == (begun.base, begun.snapshot) else 0
        steps.append(Step(base, stop, start))
        base = stop
    return Steps(common.name if common else None, tuple(steps))


def _wanted(source: VolumeState, snapshot: str | None) -> SnapshotState:
    if snapshot is not None:
        named = source.snapshot(snapshot)
        if named is None:
            raise NotFound(
                f"volume {source.name}: the source has no snapshot {snapshot} to send; it has {_names(source.snapshots)}"
            )
        return named
    newest = next((s for s in reversed(source.snapshots) if s.seal is not None), None)
    if newest is None:
        raise NothingToSend(
            f"volume {source.name}: the source has no sealed snapshot yet (it has {_names(source.snapshots)}); take a recovery point first"
        )
    return newest


def _refuse_conflict(source: VolumeState, target: VolumeState, common: SnapshotState | None) -> None:
    if common is None and target.snapshots:
        raise NoCommonSnapshot(
            f"volume {source.name}: the copies have no snapshot in common (source only: {_names(source.snapshots)}; "
            f"target only: {_names(target.snapshots)}); only a full copy brings them together, after a safety copy of the target"
        )
    there = [s.guid for s in target.snapshots]
    newer = target.snapshots[there.index(common.guid) + 1 :] if common else ()
    if not (newer or target.writable or target.changed):
        return
    ours = {s.guid for s in target.snapshots}
    why = "it has snapshots of its own" if newer else "it is writable" if target.writable else "it was written"
    raise Diverged(
        f"volume {source.name}: the destination is no mirror of the source: {why} (last common: {common.name if common else 'none'}; "
        f"source only: {_names([s for s in source.snapshots if s.guid not in ours])}; target only: {_names(newer)}; "
        f"{target.changed} bytes written there since its newest snapshot); keep what is its own, then demote it"
    )


def _begun(target: VolumeState | None, ahead: Sequence[SnapshotState], common: SnapshotState | None) -> Step | None:
    """The cut transfer on the target, if it lies on the way: same snapshot and same base as the source has them."""
    part = target.incoming if target is not None else None
    if part is None or part.base != (common.name if common else None):
        return None
    if not any(s.name == part.snapshot and s.guid == part.guid for s in ahead):
        return None
    return Step(part.base, part.snapshot, part.received)


def _names(snapshots: Sequence[SnapshotState]) -> str:
    names = [s.name for s in snapshots]
    if len(names) > _SHOWN:
        return f"{', '.join(names[-_SHOWN:])} and {len(names) - _SHOWN} older"
    return ", ".join(names) or "none"


# -- holds on the common snapshot ---------------------------------------------------------------------


def common_tag(peer: str, snapshot: str) -> str:
    """The hold that says: this snapshot is the newest that the copy on array `peer` has too."""
    return f"common.{peer}.{snapshot}"


def held_common(volume: VolumeState, peer: str) -> SnapshotState | None:
    """The newest snapshot that is held as common with an array: what is known of a copy that is silent now."""
    return next((s for s in reversed(volume.snapshots) if common_tag(peer, s.name) in s.holds), None)


@dataclass(frozen=True)
class Arrived:
    """A volume that has `common` on both arrays now. The states are those of before the transfer."""

    volume: str
    source_array: str
    target_array: str
    source_state: VolumeState | None
    target_state: VolumeState | None
    common: str


def move_holds(fleet: Fleet, arrived: Iterable[Arrived], guard: Guard) -> None:
    """Hold what is common now on both sides, and only then let older ones go; one call for all volumes of an array that need the same, the
    arrays side by side. Raises the first error once all calls have ended."""
    fresh: dict[tuple[str, str], dict[str, str]] = {}
    old: dict[tuple[str, str], list[str]] = {}
    for each in arrived:
        sides = (
            (each.target_array, each.source_array, each.target_state),
            (each.source_array, each.target_array, each.source_state),
        )
        for array, peer, state in sides:
            prefix, tag = common_tag(peer, ""), common_tag(peer, each.common)
            snapshots = state.snapshots if state else ()
            held = {hold: s.name for s in snapshots for hold in s.holds if hold.startswith(prefix)}
            if held.get(tag) != each.common:
                fresh.setdefault((array, tag), {})[each.volume] = each.common
            for other in held:
                if other != tag:
                    old.setdefault((array, other), []).append(each.volume)
    _at_once(partial(fleet.array(array).hold, names, tag, guard) for (array, tag), names in fresh.items())
    _at_once(partial(fleet.array(array).release, names, tag, guard) for (array, tag), names in old.items())


def _at_once(calls: Iterable[Callable[[], None]]) -> None:
    with ThreadPoolExecutor(thread_name_prefix="hold") as pool:
        futures = [pool.submit(call) for call in calls]
    for future in futures:
        future.result()


# -- the run ------------------------------------------------------------------------------------------


def send_volume(
    fleet: Fleet,
    volume: str,
    source_array: str,
    target_array: str,
    source_state: VolumeState,
    target_state: VolumeState | None,
    *,
    snapshot: str | None = None,
    intermediate: bool = False,
    owner: Owner,
    guard: Guard,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], str | None] = stopping.requested,
    rate: int | None = None,
    full_ok: bool = False,
    clock: Callable[[], float] = time.monotonic,
    settle: Callable[[Arrived], None] | None = None,
) -> Sent:
    """Bring the copy on `target_array` to a snapshot of the source (None: the newest sealed one), and move the common hold there
    (`settle`: leave that to it, since several volumes can be settled by one `move_holds`).

    `progress` gets (bytes arrived, bytes in all) of the step under way. `full_ok`: a full copy may be made, also where the target's own
    snapshots have nothing in common with the source. Raises the planner's conflicts (NothingToSend is none: it is an empty Sent),
    Unreachable (what arrived is kept to resume from), MoveInProgress, Stopped.
    """
    began = clock()
    try:
        path = plan_steps(source_state, target_state, snapshot, intermediate=intermediate)
    except NoCommonSnapshot:
        if not full_ok or target_state is None or target_state.writable:
            raise
        path = plan_steps(source_state, replace(target_state, snapshots=()), snapshot, intermediate=intermediate)
    except NothingToSend:
        common = common_snapshot(source_state, target_state) if target_state is not None else None
        if common is None:
            raise
        path = Steps(common.name, ())
    if path.common is None and path.steps and not full_ok:
        raise NoCommonSnapshot(
            f"volume {volume}: {target_array} has no copy to build upon, and a full copy from {source_array} was not asked for"
        )
    source, target = fleet.array(source_array), fleet.array(target_array)
    moved = 0
    for step in path.steps:
        stream = source.send(volume, step.base, step.snapshot, start=step.start)

        def tell(arrived: int, total: int = stream.total) -> None:
            if progress is not None:
                progress(arrived, total)

        moved += target.receive(volume, stream, owner, progress=tell, stop=stop, rate=rate, guard=guard)
    now_common = path.steps[-1].snapshot if path.steps else str(path.common)
    arrived = Arrived(volume, source_array, target_array, source_state, target_state, now_common)
    if settle is not None:
        settle(arrived)
    else:
        move_holds(fleet, [arrived], guard)
    return Sent(path.steps, moved, clock() - began, now_common)
