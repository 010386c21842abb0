"""The embedded array: one SQLite file, no daemon. This module has its facts and records; the other calls come from its parts."""

from __future__ import annotations

from collections.abc import Sequence

from dr_provider.arrays.base import NO_GUARD, Array, check_key
from dr_provider.arrays.embedded.core import used_blocks
from dr_provider.arrays.embedded.rows import (
    SnapshotRow,
    above,
    all_volumes,
    now,
    records_of,
    snapshot_state,
    snapshots_of,
)
from dr_provider.arrays.embedded.schema import BLOCK
from dr_provider.arrays.embedded.snapshots import SnapshotCalls
from dr_provider.arrays.embedded.transfer import TransferCalls
from dr_provider.arrays.embedded.volumes import VolumeCalls
from dr_provider.model import faults
from dr_provider.model.files import file_finding, room_of
from dr_provider.model.findings import ArrayUse, Examination
from dr_provider.model.records import Guard
from dr_provider.model.state import ArrayState, Incoming, LunState, VolumeState

__all__ = ["EmbeddedArray"]


class EmbeddedArray(VolumeCalls, SnapshotCalls, TransferCalls, Array):
    """Implements `Array` on one SQLite file."""

    def state(self, *, records: str = "", peers: Sequence[str] = ()) -> ArrayState:
        if records:
            check_key(records)
        with self._reading() as db:
            own_id, serial, capacity = db.execute("SELECT own_id, serial, capacity FROM array").fetchone()
            cut = faults.unreached(faults.read(db), peers)
            stored: dict[int, int] = dict(db.execute("SELECT id, stored FROM branch").fetchall())
            holds: dict[int, set[str]] = {}
            for snapshot_id, tag in db.execute("SELECT snapshot, tag FROM hold"):
                holds.setdefault(snapshot_id, set()).add(tag)
            snapshots: dict[int, list[SnapshotRow]] = {}
            for snapshot in snapshots_of(db):
                snapshots.setdefault(snapshot.volume, []).append(snapshot)
            luns: dict[int, dict[str, LunState]] = {}
            for volume_id, name, size, online, mapped, image in db.execute(
                "SELECT volume, name, size, online, mapped_to, image_bytes FROM lun ORDER BY volume, name"
            ):
                luns.setdefault(volume_id, {})[name] = LunState(name, size, bool(online), mapped, image)
            incoming = {
                row[0]: Incoming(row[1], row[2], row[3], row[4])
                for row in db.execute("SELECT volume, snapshot, guid, base, received FROM incoming")
            }
            volumes = {}
            for v in all_volumes(db):
                own = snapshots.get(v.id, [])
                branches = {v.head.branch, *(s.point.branch for s in own)}
                volumes[v.name] = VolumeState(
                    name=v.name,
                    size=v.size,
                    kind=v.kind,
                    writable=v.writable,
                    owner=v.owner,
                    luns=luns.get(v.id, {}),
                    snapshots=tuple(snapshot_state(s, frozenset(holds.get(s.id, ()))) for s in own),
                    changed=v.changed * BLOCK,
                    last_write=v.last_write,
                    origin=v.origin,
                    records=records_of(v.records),
                    incoming=incoming.get(v.id),
                    used=sum(stored[branch] for branch in branches) * BLOCK,
                )
            if records:
                rows = db.execute(
                    "SELECT key, value FROM record WHERE key >= ? AND key < ? AND NOT (key >= ? AND key < ?) ORDER BY key",
                    (records, above(records), f"{records}blob/", above(f"{records}blob/")),
                )
            else:
                rows = db.execute(
                    "SELECT key, value FROM record WHERE NOT (key >= 'blob/' AND key < 'blob0') ORDER BY key"
                )
            return ArrayState(
                own_id=own_id,
                serial=serial,
                capacity=capacity if self._capacity is None else self._capacity,
                used=used_blocks(db) * BLOCK,
                volumes=volumes,
                records=dict(rows.fetchall()),
                peers={peer: peer not in cut for peer in peers},
                clock=now(),
            )

    def examine(self, use: ArrayUse) -> Examination:
        if self.path.exists():
            # A fault that is set on the array is met here as everywhere.
            with self._reading():
                pass
        return Examination((file_finding(f"array {self.name}", self.path),), room=room_of(self.path))

    # -- records of the array -----------------------------------------------------------------------

    def read_record(self, key: str) -> str | None:
        check_key(key)
        with self._reading() as db:
            row = db.execute("SELECT value FROM record WHERE key = ?", (key,)).fetchone()
            return None if row is None else str(row[0])

    def create_record(self, key: str, value: str, guard: Guard = NO_GUARD) -> bool:
        check_key(key)
        with self._changing(guard) as db:
            return db.execute("INSERT OR IGNORE INTO record VALUES (?, ?)", (key, value)).rowcount == 1

    def put_record(self, key: str, value: str, guard: Guard = NO_GUARD) -> None:
        check_key(key)
        with self._changing(guard) as db:
            db.execute(
                "INSERT INTO record VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE value IS NOT excluded.value",
                (key, value),
            )

    def delete_record(self, key: str, guard: Guard = NO_GUARD) -> None:
        check_key(key)
        with self._changing(guard) as db:
            db.execute("DELETE FROM record WHERE key = ?", (key,))
