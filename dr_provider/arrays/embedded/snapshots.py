"""Snapshots, holds, clones, promote and demote of an embedded array."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Mapping, Sequence

from dr_provider.arrays.base import NO_GUARD, check_name
from dr_provider.arrays.embedded.chain import Point
from dr_provider.arrays.embedded.core import Core, refuse_overflow
from dr_provider.arrays.embedded.history import drop_snapshots, new_branch, recount, rollback
from dr_provider.arrays.embedded.rows import (
    LunRow,
    SnapshotRow,
    VolumeRow,
    find_snapshot,
    find_volume,
    luns_of,
    need_snapshot,
    need_volume,
    newest_snapshot,
    now,
    owner_columns,
    refuse_unwritable,
    snapshot_luns,
)
from dr_provider.arrays.embedded.schema import BLOCK
from dr_provider.model.errors import Busy, Conflict
from dr_provider.model.records import Guard, Owner
from dr_provider.model.state import VolumeKind

__all__ = ["SnapshotCalls", "add_snapshot"]


def add_snapshot(
    db: sqlite3.Connection,
    volume: int,
    name: str,
    guid: str,
    time: str,
    point: Point,
    data: int,
    records: str,
    seal: str | None,
    luns: Sequence[LunRow],
) -> None:
    cursor = db.execute(
        "INSERT INTO snapshot (volume, name, guid, time, branch, gen, data, records, seal) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (volume, name, guid, time, point.branch, point.gen, data, records, seal),
    )
    db.executemany(
        "INSERT INTO snapshot_lun (snapshot, name, key, size, image_bytes) VALUES (?, ?, ?, ?, ?)",
        [(cursor.lastrowid, lun.name, lun.key, lun.size, lun.image_bytes) for lun in luns],
    )


class SnapshotCalls(Core):
    def snapshot(self, volumes: Sequence[str], snapshot: str, guard: Guard = NO_GUARD) -> None:
        check_name("snapshot", snapshot)
        with self._changing(guard) as db:
            found = [need_volume(db, volume, self._where) for volume in sorted(set(volumes))]
            have = [v.name for v in found if find_snapshot(db, v, snapshot) is not None]
            if len(have) == len(found):
                return
            if have:
                raise Conflict(
                    f"snapshot {snapshot} on {self._where} is there for {', '.join(have)} only, so it cannot become one point; choose another name"
                )
            time = now()
            for volume in found:
                refuse_unwritable(volume, f"be snapshot ({snapshot})", self._where)
                luns = list(luns_of(db, volume).values())
                add_snapshot(
                    db,
                    volume.id,
                    snapshot,
                    str(uuid.uuid4()),
                    time,
                    volume.head,
                    volume.data,
                    volume.records,
                    None,
                    luns,
                )
                db.execute("UPDATE volume SET gen = gen + 1, changed = 0 WHERE id = ?", (volume.id,))

    def seal(self, volumes: Sequence[str], snapshot: str, seal: str, guard: Guard = NO_GUARD) -> None:
        with self._changing(guard) as db:
            for volume in volumes:
                found = need_snapshot(db, need_volume(db, volume, self._where), snapshot, self._where)
                if found.seal != seal:
                    db.execute("UPDATE snapshot SET seal = ? WHERE id = ?", (seal, found.id))

    def delete_snapshots(self, snapshots: Mapping[str, Sequence[str]], guard: Guard = NO_GUARD) -> None:
        with self._changing(guard) as db:
            for volume, names in snapshots.items():
                found = find_volume(db, volume)
                if found is None:
                    continue
                doomed = [s for name in dict.fromkeys(names) if (s := find_snapshot(db, found, name)) is not None]
                for snapshot in doomed:
                    self._refuse_in_use(db, found, snapshot)
                if doomed:
                    newest = newest_snapshot(db, found)
                    drop_snapshots(db, doomed)
                    if newest in doomed:
                        recount(db, found)

    def _refuse_in_use(self, db: sqlite3.Connection, volume: VolumeRow, snapshot: SnapshotRow) -> None:
        held = [tag for (tag,) in db.execute("SELECT tag FROM hold WHERE snapshot = ? ORDER BY tag", (snapshot.id,))]
        if held:
            raise Busy(
                f"snapshot {snapshot.name} of volume {volume.name} on {self._where} is held: {', '.join(held)}; none was deleted"
            )
        drill = db.execute(
            "SELECT name FROM volume WHERE kind = 'drill' AND origin_id = ? ORDER BY name LIMIT 1", (snapshot.id,)
        ).fetchone()
        if drill is not None:
            raise Busy(
                f"snapshot {snapshot.name} of volume {volume.name} on {self._where} is what drill clone {drill[0]} was made of; end the drill first"
            )

    def hold(self, snapshots: Mapping[str, str], tag: str, guard: Guard = NO_GUARD) -> None:
        check_name("hold", tag)
        with self._changing(guard) as db:
            for volume, snapshot in snapshots.items():
                found = need_snapshot(db, need_volume(db, volume, self._where), snapshot, self._where)
                db.execute("INSERT OR IGNORE INTO hold VALUES (?, ?)", (found.id, tag))

    def release(self, volumes: Sequence[str], tag: str, guard: Guard = NO_GUARD) -> None:
        with self._changing(guard) as db:
            for volume in volumes:
                found = find_volume(db, volume)
                if found is not None:
                    db.execute(
                        "DELETE FROM hold WHERE tag = ? AND snapshot IN (SELECT id FROM snapshot WHERE volume = ?)",
                        (tag, found.id),
                    )

    # -- clones -----------------------------------------------------------------------------------

    def clone(
        self, volume: str, snapshot: str | None, name: str, kind: VolumeKind, owner: Owner, *, guard: Guard = NO_GUARD
    ) -> None:
        check_name("volume", name)
        with self._changing(guard) as db:
            there = find_volume(db, name)
            if there is not None:
                if (
                    there.origin == (volume, snapshot or "")
                    and there.kind == kind
                    and there.owner is not None
                    and there.owner.topology == owner.topology
                ):
                    return
                raise Conflict(
                    f"volume {name} on {self._where} is there and is not a {kind} clone of {volume} at {snapshot or 'now'}; choose another name"
                )
            parent = need_volume(db, volume, self._where)
            if snapshot is None:
                # From now on the parent writes above what the clone sees. What it overwrites has to be kept for the clone as well.
                refuse_overflow(db, BLOCK, self._where, f"clone {name} of volume {volume}", more=parent.changed)
                point, data, records, luns = parent.head, parent.data, parent.records, luns_of(db, parent)
                db.execute("UPDATE volume SET gen = gen + 1 WHERE id = ?", (parent.id,))
                origin_id = None
            else:
                found = need_snapshot(db, parent, snapshot, self._where)
                refuse_overflow(db, BLOCK, self._where, f"clone {name} of volume {volume}", more=1)
                point, data, records, luns = found.point, found.data, found.records, snapshot_luns(db, found)
                origin_id = found.id
            cursor = db.execute(
                "INSERT INTO volume (name, size, kind, writable, topology, stack, incarnation, branch, gen, data,"
                " origin_volume, origin_snapshot, origin_id, records) VALUES (?, ?, ?, 1, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?)",
                (
                    name,
                    parent.size,
                    kind,
                    *owner_columns(owner),
                    new_branch(db, point),
                    data,
                    volume,
                    snapshot or "",
                    origin_id,
                    records,
                ),
            )
            db.executemany(
                "INSERT INTO lun (volume, name, key, size, image_bytes, online, mapped_to) VALUES (?, ?, ?, ?, ?, 1, NULL)",
                [(cursor.lastrowid, lun.name, lun.key, lun.size, lun.image_bytes) for lun in luns.values()],
            )

    # -- break and rejoin ---------------------------------------------------------------------------

    def promote(self, volume: str, snapshot: str, guard: Guard = NO_GUARD) -> None:
        with self._changing(guard) as db:
            found = need_volume(db, volume, self._where)
            point = need_snapshot(db, found, snapshot, self._where)
            newest = newest_snapshot(db, found) == point
            if found.writable:
                if newest and not found.changed:
                    return
                raise Conflict(
                    f"volume {volume} on {self._where} is writable and has data newer than snapshot {snapshot}; demote it first, after a clone of what is newer"
                )
            rollback(db, found, point)
            db.execute("UPDATE volume SET writable = 1 WHERE id = ?", (found.id,))

    def demote(self, volume: str, snapshot: str, guard: Guard = NO_GUARD) -> None:
        with self._changing(guard) as db:
            found = need_volume(db, volume, self._where)
            if found.kind != "data":
                raise Conflict(
                    f"volume {volume} on {self._where} is a {found.kind} copy, which no mirror writes to; choose the data volume"
                )
            point = need_snapshot(db, found, snapshot, self._where)
            mapped = [
                f"{lun.name} (to {lun.mapped_to})" for lun in luns_of(db, found).values() if lun.mapped_to is not None
            ]
            if mapped:
                raise Busy(
                    f"volume {volume} on {self._where} has mapped LUNs: {', '.join(mapped)}; stop the VMs and unmap them first"
                )
            if not found.writable and not found.changed and newest_snapshot(db, found) == point:
                return
            rollback(db, found, point)
            db.execute("UPDATE volume SET writable = 0 WHERE id = ?", (found.id,))
