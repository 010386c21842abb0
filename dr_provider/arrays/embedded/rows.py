"""Rows as typed values, what each call looks up first, and the guard."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import cast

from dr_provider.arrays.embedded.chain import Point
from dr_provider.arrays.embedded.schema import BLOCK
from dr_provider.model.errors import Conflict, LeaseLost, MoveInProgress, NotFound
from dr_provider.model.records import Guard, Owner
from dr_provider.model.state import SnapshotState, VolumeKind

__all__ = [
    "LunRow",
    "SnapshotRow",
    "VolumeRow",
    "above",
    "all_volumes",
    "check_guard",
    "find_snapshot",
    "find_volume",
    "lun_keys",
    "luns_of",
    "need_lun",
    "need_snapshot",
    "need_volume",
    "new_key",
    "newest_snapshot",
    "now",
    "owner_columns",
    "records_of",
    "refuse_unwritable",
    "snapshot_luns",
    "snapshot_state",
    "snapshots_of",
]


def now() -> str:
    """The array's clock: RFC 3339 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class VolumeRow:
    id: int
    name: str
    size: int
    kind: VolumeKind
    writable: bool
    owner: Owner | None
    head: Point
    data: int
    changed: int
    last_write: str | None
    origin: tuple[str, str] | None
    origin_id: int | None
    records: str


@dataclass(frozen=True)
class LunRow:
    """A LUN of a volume; of a snapshot too, where `online` and `mapped_to` say nothing."""

    name: str
    key: int
    size: int
    image_bytes: int
    online: bool = True
    mapped_to: str | None = None


@dataclass(frozen=True)
class SnapshotRow:
    id: int
    volume: int
    name: str
    guid: str
    time: str
    point: Point
    data: int
    records: str
    seal: str | None


_VOLUME = (
    "SELECT id, name, size, kind, writable, topology, stack, incarnation, branch, gen, data, changed, last_write,"
    " origin_volume, origin_snapshot, origin_id, records FROM volume"
)
_SNAPSHOT = "SELECT id, volume, name, guid, time, branch, gen, data, records, seal FROM snapshot"

_Row = tuple[object, ...]


def _volume(row: _Row) -> VolumeRow:
    (
        id_,
        name,
        size,
        kind,
        writable,
        topology,
        stack,
        incarnation,
        branch,
        gen,
        data,
        changed,
        last,
        origin,
        origin_snapshot,
        origin_id,
        records,
    ) = row
    return VolumeRow(
        cast(int, id_),
        cast(str, name),
        cast(int, size),
        cast(VolumeKind, kind),
        bool(writable),
        None if topology is None else Owner(cast(str, topology), cast(str, stack), cast(str, incarnation)),
        Point(cast(int, branch), cast(int, gen)),
        cast(int, data),
        cast(int, changed),
        cast("str | None", last),
        None if origin is None else (cast(str, origin), cast(str, origin_snapshot)),
        cast("int | None", origin_id),
        cast(str, records),
    )


def _snapshot(row: _Row) -> SnapshotRow:
    id_, volume, name, guid, time, branch, gen, data, records, seal = row
    return SnapshotRow(
        cast(int, id_),
        cast(int, volume),
        cast(str, name),
        cast(str, guid),
        cast(str, time),
        Point(cast(int, branch), cast(int, gen)),
        cast(int, data),
        cast(str, records),
        cast("str | None", seal),
    )


def owner_columns(owner: Owner) -> tuple[str, str, str]:
    return owner.topology, owner.stack, owner.incarnation


# -- volumes -----------------------------------------------------------------------------------


def find_volume(db: sqlite3.Connection, name: str) -> VolumeRow | None:
    row = db.execute(f"{_VOLUME} WHERE name = ?", (name,)).fetchone()
    return None if row is None else _volume(row)


def need_volume(db: sqlite3.Connection, name: str, where: str) -> VolumeRow:
    volume = find_volume(db, name)
    if volume is None:
        raise NotFound(f"volume {name} is not on {where}; see `dr status` for where its copies are")
    return volume


def all_volumes(db: sqlite3.Connection) -> list[VolumeRow]:
    return [_volume(row) for row in db.execute(f"{_VOLUME} ORDER BY name")]


# -- LUNs --------------------------------------------------------------------------------------


def luns_of(db: sqlite3.Connection, volume: VolumeRow) -> dict[str, LunRow]:
    rows = db.execute(
        "SELECT name, key, size, image_bytes, online, mapped_to FROM lun WHERE volume = ? ORDER BY name", (volume.id,)
    )
    return {
        name: LunRow(name, key, size, image, bool(online), mapped) for name, key, size, image, online, mapped in rows
    }


def need_lun(db: sqlite3.Connection, volume: VolumeRow, name: str, where: str) -> LunRow:
    row = db.execute(
        "SELECT name, key, size, image_bytes, online, mapped_to FROM lun WHERE volume = ? AND name = ?",
        (volume.id, name),
    ).fetchone()
    if row is None:
        raise NotFound(f"LUN {name} of volume {volume.name} is not on {where}; see what the volume holds")
    return LunRow(row[0], row[1], row[2], row[3], bool(row[4]), row[5])


def snapshot_luns(db: sqlite3.Connection, snapshot: SnapshotRow) -> dict[str, LunRow]:
    rows = db.execute(
        "SELECT name, key, size, image_bytes FROM snapshot_lun WHERE snapshot = ? ORDER BY name", (snapshot.id,)
    )
    return {name: LunRow(name, key, size, image) for name, key, size, image in rows}


def lun_keys(luns: Mapping[str, LunRow]) -> dict[str, int]:
    return {name: lun.key for name, lun in luns.items()}


def new_key(db: sqlite3.Connection) -> int:
    (key,) = db.execute("UPDATE array SET next_key = next_key + 1 RETURNING next_key - 1").fetchone()
    return cast(int, key)


# -- snapshots ---------------------------------------------------------------------------------


def find_snapshot(db: sqlite3.Connection, volume: VolumeRow, name: str) -> SnapshotRow | None:
    row = db.execute(f"{_SNAPSHOT} WHERE volume = ? AND name = ?", (volume.id, name)).fetchone()
    return None if row is None else _snapshot(row)


def need_snapshot(db: sqlite3.Connection, volume: VolumeRow, name: str, where: str) -> SnapshotRow:
    snapshot = find_snapshot(db, volume, name)
    if snapshot is None:
        raise NotFound(f"snapshot {name} of volume {volume.name} is not on {where}; see `dr points` for what there is")
    return snapshot


def snapshots_of(db: sqlite3.Connection, volume: VolumeRow | None = None) -> Sequence[SnapshotRow]:
    """A volume's snapshots (None: all volumes'), oldest first."""
    if volume is None:
        return [_snapshot(row) for row in db.execute(f"{_SNAPSHOT} ORDER BY id")]
    return [_snapshot(row) for row in db.execute(f"{_SNAPSHOT} WHERE volume = ? ORDER BY id", (volume.id,))]


def newest_snapshot(db: sqlite3.Connection, volume: VolumeRow) -> SnapshotRow | None:
    row = db.execute(f"{_SNAPSHOT} WHERE volume = ? ORDER BY id DESC LIMIT 1", (volume.id,)).fetchone()
    return None if row is None else _snapshot(row)


@lru_cache(maxsize=4096)
def records_of(text: str) -> Mapping[str, str]:
    """The records of a volume or snapshot. Most snapshots of a group share one text, and texts never change."""
    found: dict[str, str] = json.loads(text)
    return found


def snapshot_state(snapshot: SnapshotRow, holds: frozenset[str]) -> SnapshotState:
    return SnapshotState(
        name=snapshot.name,
        guid=snapshot.guid,
        time=snapshot.time,
        holds=holds,
        records=records_of(snapshot.records),
        seal=snapshot.seal,
        referenced=snapshot.data * BLOCK,
    )


# -- records and the guard ---------------------------------------------------------------------


def above(prefix: str) -> str:
    """The smallest string that is greater than all strings with the prefix."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def _holder(value: str) -> str:
    """Who holds a lease, as far as its record can be read."""
    try:
        record = json.loads(value)
        return f"{record['holder']} ({record['doing']}, since {record['since']})"
    except (ValueError, KeyError, TypeError):
        return "a holder whose record cannot be read"


def check_guard(db: sqlite3.Connection, guard: Guard, where: str) -> None:
    """Raises LeaseLost and MoveInProgress. Called first in the transaction of every change."""
    if guard.lease_prefix is not None:
        row = db.execute(
            "SELECT key, value FROM record WHERE key >= ? AND key < ? ORDER BY key DESC LIMIT 1",
            (guard.lease_prefix, above(guard.lease_prefix)),
        ).fetchone()
        if row is None:
            raise LeaseLost(
                f"lease {guard.lease_prefix}{guard.lease} is gone from {where}; nothing was changed, start over"
            )
        number = row[0][len(guard.lease_prefix) :]
        if not number.isdigit() or int(number) != guard.lease:
            raise LeaseLost(
                f"lease {guard.lease_prefix}{guard.lease} on {where} is lost: number {number.lstrip('0')} holds now, by {_holder(row[1])}; nothing was changed"
            )
    for key in guard.absent:
        if db.execute("SELECT 1 FROM record WHERE key = ?", (key,)).fetchone() is not None:
            raise MoveInProgress(f"record {key} stands on {where}: a move is in progress; this call waits for its end")


def refuse_unwritable(volume: VolumeRow, what: str, where: str) -> None:
    if not volume.writable:
        raise Conflict(
            f"volume {volume.name} on {where} is a mirror's destination: it cannot {what} before it is promoted"
        )
