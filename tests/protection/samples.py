"""Small states for tests of pure modules: snapshots, volumes, arrays, points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from dr_provider.model import keys
from dr_provider.model.codec import dump
from dr_provider.model.records import Intent, Seal
from dr_provider.model.state import ArrayState, Incoming, Observation, Silent, SnapshotState, VolumeState

__all__ = ["START", "array", "observation", "point_snapshot", "snap", "time_at", "volume"]

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def time_at(minutes: float) -> str:
    return keys.stamp(START + timedelta(minutes=minutes))


def snap(name: str, *, sealed: bool = True, holds: Iterable[str] = (), guid: str | None = None) -> SnapshotState:
    """A snapshot whose guid follows from its name, as on every copy of one volume."""
    return SnapshotState(name, guid or f"guid-{name}", time_at(0), frozenset(holds), {}, "{}" if sealed else None)


def volume(
    snapshots: str | Iterable[SnapshotState] = "",
    *,
    name: str = "data",
    writable: bool = False,
    changed: int = 0,
    incoming: Incoming | None = None,
) -> VolumeState:
    """A volume with snapshots given as states, or as a text of one-letter names (a lower-case one is not sealed)."""
    states = (
        tuple(snap(letter, sealed=letter.isupper()) for letter in snapshots)
        if isinstance(snapshots, str)
        else tuple(snapshots)
    )
    return VolumeState(
        name, 1 << 20, "data", writable, None, snapshots=states, changed=changed, incoming=incoming, used=4096
    )


def point_snapshot(
    sequence: int,
    *,
    members: tuple[str, ...],
    minutes: float = 0.0,
    kind: str = "backup",
    sealed: bool = True,
    holds: Iterable[str] = (),
    epoch: int = 1,
    plan: str = "shop",
    topology: str = "shop-test",
    volume: str = "",
) -> SnapshotState:
    """The part of a recovery point that one volume holds."""
    group = f"{sequence:08x}"
    name = keys.point_name(epoch, sequence, group)
    intent = Intent(
        group, topology, plan, epoch, f"epoch{epoch}", sequence, "east", members, time_at(minutes), kind, {}, {}
    )
    seal = dump(Seal(group, time_at(minutes), "application")) if sealed else None
    return SnapshotState(name, f"{volume}-{name}", time_at(minutes), frozenset(holds), {"intent": dump(intent)}, seal)


def array(*volumes: VolumeState, peers: Mapping[str, bool] | None = None, **records: str) -> ArrayState:
    return ArrayState("own", 1, 1 << 40, 0, {v.name: v for v in volumes}, records, dict(peers or {}))


def observation(minutes: float = 60.0, **arrays: ArrayState | Silent) -> Observation:
    """Arrays by their names with `_` for `-`."""
    return Observation({name.replace("_", "-"): state for name, state in arrays.items()}, {}, time_at(minutes))
