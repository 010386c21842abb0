"""Replication of an embedded array, the receiving side: in steps of a few MiB.

What comes in stands at a generation that nothing shows: above the head of the volume's own branch for an increment, on a branch of
its own for a full copy. The last step makes it the volume, in one transaction; until then the volume is as it was.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
import zlib
from collections.abc import Callable, Sequence

from dr_provider.arrays.base import NO_GUARD, Extent, Stream, check_name
from dr_provider.arrays.embedded.chain import (
    Point,
    Target,
    blocks_with_data,
    chain,
    write,
)
from dr_provider.arrays.embedded.core import refuse_overflow
from dr_provider.arrays.embedded.extents import Tally, batches
from dr_provider.arrays.embedded.garbage import drop_keys, release
from dr_provider.arrays.embedded.history import discard_incoming, drop_snapshots, new_branch, replace_luns, rollback
from dr_provider.arrays.embedded.rows import (
    LunRow,
    SnapshotRow,
    VolumeRow,
    find_snapshot,
    find_volume,
    luns_of,
    need_volume,
    new_key,
    newest_snapshot,
    owner_columns,
    snapshots_of,
)
from dr_provider.arrays.embedded.schema import BLOCK
from dr_provider.arrays.embedded.sending import SendCalls
from dr_provider.arrays.embedded.snapshots import add_snapshot
from dr_provider.model import faults
from dr_provider.model.errors import (
    Busy,
    Conflict,
    CorruptRecord,
    Diverged,
    NoCommonSnapshot,
    Stopped,
)
from dr_provider.model.records import Guard, Owner

__all__ = ["TransferCalls"]


class TransferCalls(SendCalls):
    # -- the receiving side -------------------------------------------------------------------------

    def receive(
        self,
        volume: str,
        stream: Stream,
        owner: Owner,
        *,
        progress: Callable[[int], None] | None = None,
        stop: Callable[[], str | None] | None = None,
        rate: int | None = None,
        guard: Guard = NO_GUARD,
    ) -> int:
        check_name("volume", volume)
        check_name("snapshot", stream.snapshot.name)
        token = uuid.uuid4().hex
        with self._changing(guard) as db:
            faults.refuse_transfer(faults.read(db), self._where, stream.array, stream.site)
            if not self._open_incoming(db, volume, stream, owner, token):
                return 0
        taken = 0
        began = self._clock()
        for batch in batches(stream):
            reason = stop() if stop is not None else None
            if reason is not None:
                raise Stopped(f"transfer of {volume} to {self._where} stopped: {reason}; what arrived is kept")
            with self._step(guard) as db:
                faults.refuse_transfer(faults.read(db), self._where, stream.array, stream.site)
                self._take_in(db, volume, stream, token, batch)
            taken += sum(extent.length for extent in batch)
            if progress is not None:
                progress(stream.start + taken)
            if rate:
                ahead = taken / rate - (self._clock() - began)
                if ahead > 0:
                    self._sleep(ahead)
        with self._step(guard) as db:
            faults.refuse_transfer(faults.read(db), self._where, stream.array, stream.site)
            wrong = self._finish(db, volume, stream, token)
        if wrong:
            raise CorruptRecord(wrong)
        return taken

    def _open_incoming(self, db: sqlite3.Connection, name: str, stream: Stream, owner: Owner, token: str) -> bool:
        """Make ready for a stream, or go on with the part of it that is here. False: its snapshot is here already."""
        volume = find_volume(db, name)
        if volume is None:
            if stream.base is not None:
                raise NoCommonSnapshot(
                    f"volume {name} is not on {self._where}, so snapshot {stream.base.name} is not; send a full copy"
                )
            db.execute(
                "INSERT INTO volume (name, size, kind, writable, topology, stack, incarnation, branch, gen) VALUES (?, ?, 'data', 0, ?, ?, ?, ?, 1)",
                (name, stream.size, *owner_columns(owner), new_branch(db, None)),
            )
            volume = need_volume(db, name, self._where)
        if volume.owner is not None and volume.owner.topology != owner.topology:
            raise Conflict(
                f"volume {name} on {self._where} belongs to topology {volume.owner.topology}, wanted {owner.topology}; adopt it first"
            )
        own = snapshots_of(db, volume)
        if any(s.guid == stream.snapshot.guid for s in own):
            return False
        if volume.kind != "data" or volume.writable:
            found = "writable" if volume.kind == "data" else f"a {volume.kind} copy"
            raise Conflict(f"volume {name} on {self._where} is {found}, wanted a mirror's destination; demote it first")
        if stream.base is None:
            self._refuse_held(db, volume)
        else:
            _refuse_diverged(volume, own, stream, self._where)
        part = db.execute("SELECT guid, base_guid, received FROM incoming WHERE volume = ?", (volume.id,)).fetchone()
        base_guid = stream.base.guid if stream.base else None
        if part is not None and part == (stream.snapshot.guid, base_guid, stream.start) and stream.start:
            db.execute("UPDATE incoming SET token = ? WHERE volume = ?", (token, volume.id))
            return True
        if stream.start:
            has = 0 if part is None or part[:2] != (stream.snapshot.guid, base_guid) else part[2]
            raise Conflict(
                f"volume {name} on {self._where} has the first {has} bytes of the step, not {stream.start}; send it from there"
            )
        discard_incoming(db, volume)
        self._begin(db, volume, stream, token)
        return True

    def _refuse_held(self, db: sqlite3.Connection, volume: VolumeRow) -> None:
        held = db.execute(
            "SELECT s.name, h.tag FROM snapshot AS s JOIN hold AS h ON h.snapshot = s.id WHERE s.volume = ? ORDER BY 1, 2 LIMIT 1",
            (volume.id,),
        ).fetchone()
        if held is not None:
            raise Busy(
                f"volume {volume.name} on {self._where} has a held snapshot, which a full copy would replace: {held[0]} ({held[1]})"
            )

    def _begin(self, db: sqlite3.Connection, volume: VolumeRow, stream: Stream, token: str) -> None:
        if stream.base is None:
            point, data, known = Point(new_branch(db, None), 1), 0, {}
        else:
            newest = newest_snapshot(db, volume)
            assert newest is not None
            if volume.changed:
                # Only what a deleted newer snapshot left: the increment stands on its base, so the volume must too.
                rollback(db, volume, newest)
                volume = need_volume(db, volume.name, self._where)
            point, data, known = Point(volume.head.branch, volume.head.gen + 1), volume.data, luns_of(db, volume)
        db.execute(
            "INSERT INTO incoming VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?)",
            (
                volume.id,
                token,
                stream.snapshot.name,
                stream.snapshot.guid,
                stream.base.name if stream.base else None,
                stream.base.guid if stream.base else None,
                point.branch,
                point.gen,
                data,
            ),
        )
        for lun in stream.luns.values():
            key = known[lun.name].key if lun.name in known else new_key(db)
            db.execute(
                "INSERT INTO incoming_lun VALUES (?, ?, ?, ?, ?)",
                (volume.id, check_name("LUN", lun.name), key, lun.size, lun.image_bytes),
            )

    def _incoming(self, db: sqlite3.Connection, name: str, token: str) -> tuple[VolumeRow, Point, int, int]:
        volume = need_volume(db, name, self._where)
        row = db.execute(
            "SELECT branch, gen, received, data FROM incoming WHERE volume = ? AND token = ?", (volume.id, token)
        ).fetchone()
        if row is None or volume.writable:
            raise Conflict(
                f"volume {name} on {self._where} is no longer taking this transfer: another took its place, or the volume was promoted"
            )
        return volume, Point(row[0], row[1]), row[2], row[3]

    def _take_in(self, db: sqlite3.Connection, name: str, stream: Stream, token: str, batch: Sequence[Extent]) -> None:
        volume, point, received, data = self._incoming(db, name, token)
        keys = dict(db.execute("SELECT name, key FROM incoming_lun WHERE volume = ?", (volume.id,)).fetchall())
        target = Target.at(db, point, None)
        for extent in batch:
            if extent.lun not in keys or extent.offset % BLOCK or extent.length % BLOCK:
                raise CorruptRecord(
                    f"stream of {stream.volume} from array {stream.array}: an extent of LUN {extent.lun} fits no block; send it anew"
                )
            count = extent.length // BLOCK
            blocks: list[bytes | None] = [None] * count
            sums = [0] * count
            if extent.data is not None:
                parts = [extent.data[at : at + BLOCK] for at in range(0, extent.length, BLOCK)]
                blocks, sums = [*parts], [zlib.crc32(part) for part in parts]
            if extent.checksums and tuple(sums) != extent.checksums:
                raise CorruptRecord(
                    f"stream of {stream.volume} from array {stream.array} to {self._where}: {extent.length} bytes at {extent.offset} of LUN {extent.lun} "
                    f"were changed on their way (the checksum differs); nothing of {stream.snapshot.name} appears, and the next transfer sends them again"
                )
            data += write(db, target, keys[extent.lun], extent.offset // BLOCK, blocks, sums).data
            received += extent.length
        db.execute("UPDATE incoming SET received = ?, data = ? WHERE volume = ?", (received, data, volume.id))
        refuse_overflow(db, BLOCK, self._where, f"the transfer of volume {name}")

    def _finish(self, db: sqlite3.Connection, name: str, stream: Stream, token: str) -> str:
        """Make what arrived the volume. A sentence: it is not what was sent, and is thrown away, so that all of it is sent anew."""
        volume, point, received, data = self._incoming(db, name, token)
        if received != stream.total:
            raise CorruptRecord(
                f"stream of {stream.volume} from array {stream.array}: wanted {stream.total} bytes in all, found {received}; send it anew"
            )
        rows = db.execute(
            "SELECT name, key, size, image_bytes FROM incoming_lun WHERE volume = ? ORDER BY name", (volume.id,)
        )
        luns = [LunRow(*row) for row in rows]
        if stream.checksum is not None and stream.checksum() != _arrived(db, point, luns):
            discard_incoming(db, volume)
            return (
                f"stream of {stream.volume} from array {stream.array}: what stands on {self._where} is not what was sent (the checksum of the whole step differs); "
                f"it was thrown away, and the next transfer sends {stream.snapshot.name} anew"
            )
        before = [lun.key for lun in luns_of(db, volume).values()]
        if stream.base is not None:
            levels = chain(db, volume.head)
            data -= sum(len(blocks_with_data(db, levels, key)) for key in set(before) - {lun.key for lun in luns})
        records = json.dumps(dict(stream.snapshot.records), sort_keys=True)
        replaced = snapshots_of(db, volume) if stream.base is None else []
        shared = find_snapshot(db, volume, stream.snapshot.name)
        if shared is not None and stream.base is not None:
            raise Conflict(
                f"volume {name} on {self._where} has another snapshot of the name {shared.name}; delete it first"
            )
        if stream.base is None:
            self._refuse_held(db, volume)
        db.execute("DELETE FROM incoming WHERE volume = ?", (volume.id,))
        db.execute("DELETE FROM incoming_lun WHERE volume = ?", (volume.id,))
        db.execute(
            "UPDATE volume SET branch = ?, gen = ?, data = ?, changed = 0, records = ?, size = max(size, ?) WHERE id = ?",
            (point.branch, point.gen + 1, data, records, stream.size, volume.id),
        )
        drop_snapshots(db, replaced)
        add_snapshot(
            db,
            volume.id,
            stream.snapshot.name,
            stream.snapshot.guid,
            stream.snapshot.time,
            point,
            data,
            records,
            stream.snapshot.seal,
            luns,
        )
        replace_luns(db, volume, luns)
        release(db, volume.head.branch, volume.head.gen)
        drop_keys(db, before)
        return ""


def _arrived(db: sqlite3.Connection, point: Point, luns: Sequence[LunRow]) -> int:
    """The checksum of the blocks that a transfer has left at its generation, as `Tally` counts it."""
    names, tally = {lun.key: lun.name for lun in luns}, Tally()
    query = "SELECT lun, no, sum FROM block WHERE branch = ? AND gen = ? AND data IS NOT NULL"
    for key, no, checksum in db.execute(query, (point.branch, point.gen)):
        tally.add(names.get(key, str(key)), no, checksum)
    return tally.sum


def _refuse_diverged(volume: VolumeRow, own: Sequence[SnapshotRow], stream: Stream, where: str) -> None:
    assert stream.base is not None
    if not any(s.guid == stream.base.guid for s in own):
        raise NoCommonSnapshot(
            f"volume {volume.name} on {where} has not the snapshot {stream.base.name} that the increment stands on "
            f"(its newest is {own[-1].name if own else 'none'}); send a full copy"
        )
    if own[-1].guid != stream.base.guid:
        raise Diverged(
            f"volume {volume.name} on {where} has snapshots newer than {stream.base.name} (newest {own[-1].name}); keep them as a clone and demote it to {stream.base.name}"
        )
