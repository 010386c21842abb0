"""How a guest reaches its LUNs: whole bytes at any offset, checked and done in one transaction.

Guest I/O is not a driver call: it knows no latency, no width and no operator; silence of the array is felt at once.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import quote

from dr_provider.arrays.embedded.chain import Target, chain, read, write
from dr_provider.arrays.embedded.core import refuse_overflow
from dr_provider.arrays.embedded.rows import LunRow, VolumeRow, need_lun, need_volume, newest_snapshot, now
from dr_provider.arrays.embedded.schema import BLOCK
from dr_provider.arrays.embedded.store import Store, store_of
from dr_provider.model import faults
from dr_provider.model.errors import BadInput, Conflict
from dr_provider.model.vm import BlockAccess

__all__ = ["EmbeddedBlocks", "connect", "read_range"]


_WELL = (
    "SELECT 1 FROM volume AS v JOIN lun AS l ON l.volume = v.id"
    " WHERE v.name = ? AND l.name = ? AND l.mapped_to = ? AND l.online AND v.writable"
)


class EmbeddedBlocks:
    """Implements `BlockAccess` for guests of hosts at one site. Also raises ArrayFull (a write beyond the capacity) and CorruptRecord."""

    def __init__(self, store: Store, site: str) -> None:
        self._store = store
        self._site = site
        self._where = f"array file {store.path}"

    def read(self, volume: str, lun: str, initiator: str, offset: int, length: int) -> bytes:
        with self._store.reading() as db:
            found, row = self._mapped(db, volume, lun, initiator)
            _check_range(volume, row, offset, length)
            return read_range(db, found, row, offset, length, f"LUN {lun} of volume {volume} in {self._where}")

    def write(self, volume: str, lun: str, initiator: str, offset: int, data: bytes) -> None:
        with self._store.writing() as db:
            found, row = self._mapped(db, volume, lun, initiator)
            self._refuse_read_only(found)
            _check_range(volume, row, offset, len(data))
            write_range(db, found, row, offset, data, f"LUN {lun} of volume {volume} in {self._where}")
            refuse_overflow(db, BLOCK, self._where, f"a write to volume {volume}")

    def check(self, volume: str, lun: str, initiator: str) -> None:
        with self._store.connection() as db:
            # Every start and every look at a guest's health asks this: where all is well, in two queries.
            faults.refuse_guest(faults.read(db), self._where, self._site)
            if db.execute(_WELL, (volume, lun, initiator)).fetchone() is not None:
                return
        with self._store.reading() as db:
            found, _ = self._mapped(db, volume, lun, initiator)
            self._refuse_read_only(found)

    def _mapped(self, db: sqlite3.Connection, volume: str, lun: str, initiator: str) -> tuple[VolumeRow, LunRow]:
        faults.refuse_guest(faults.read(db), self._where, self._site)
        found = need_volume(db, volume, self._where)
        row = need_lun(db, found, lun, self._where)
        if row.mapped_to != initiator:
            raise Conflict(
                f"LUN {lun} of volume {volume} in {self._where} is mapped to {row.mapped_to or 'no host'}, wanted {initiator}; map it first"
            )
        if not row.online:
            raise Conflict(f"LUN {lun} of volume {volume} in {self._where} is offline; set it online first")
        return found, row

    def _refuse_read_only(self, volume: VolumeRow) -> None:
        if not volume.writable:
            raise Conflict(
                f"volume {volume.name} in {self._where} is read-only: it is a mirror's destination; promote it first"
            )


def _check_range(volume: str, lun: LunRow, offset: int, length: int) -> None:
    if offset < 0 or length < 0 or offset + length > lun.size:
        raise BadInput(
            f"LUN {lun.name} of volume {volume} has {lun.size} bytes; {length} at {offset} are beyond its end; nothing was done"
        )


def read_range(db: sqlite3.Connection, volume: VolumeRow, lun: LunRow, offset: int, length: int, where: str) -> bytes:
    """Bytes of a LUN as its volume is now. Raises CorruptRecord, which names `where`."""
    if not length:
        return b""
    first, last = offset // BLOCK, (offset + length - 1) // BLOCK
    blocks = read(db, chain(db, volume.head), lun.key, first, last - first + 1, where)
    whole = b"".join(bytes(BLOCK) if block is None else block for block in blocks)
    return whole[offset - first * BLOCK :][:length]


def write_range(db: sqlite3.Connection, volume: VolumeRow, lun: LunRow, offset: int, data: bytes, where: str) -> None:
    """Write bytes, with what the first and last block hold beside them, and count them on the volume."""
    if not data:
        return
    first, last = offset // BLOCK, (offset + len(data) - 1) // BLOCK
    before = offset - first * BLOCK
    after = (last + 1) * BLOCK - offset - len(data)
    levels = chain(db, volume.head)
    head = read(db, levels, lun.key, first, 1, where)[0] if before or (after and first == last) else None
    tail = head if first == last else read(db, levels, lun.key, last, 1, where)[0] if after else None
    whole = (
        (head or bytes(BLOCK))[:before] + data + (tail or bytes(BLOCK))[BLOCK - after :] if before or after else data
    )
    newest = newest_snapshot(db, volume)
    target = Target.at(db, volume.head, newest.point if newest else None)
    delta = write(db, target, lun.key, first, [whole[at : at + BLOCK] for at in range(0, len(whole), BLOCK)])
    db.execute(
        "UPDATE volume SET data = data + ?, changed = changed + ?, last_write = ? WHERE id = ?",
        (delta.data, delta.changed, now(), volume.id),
    )
    db.execute("UPDATE array SET serial = serial + 1")


def connect(target: str, site: str) -> BlockAccess:
    """Access for a host at `site` to the array behind a LUN's target, `embedded:PATH#VOLUME/LUN`. Raises BadInput."""
    scheme, _, rest = target.partition(":")
    path, mark, _ = rest.rpartition("#")
    if scheme != "embedded" or not mark or not Path(path).is_absolute():
        raise BadInput(
            f"target {quote(target, safe=':/#')}: wanted embedded:PATH#VOLUME/LUN with an absolute path; nothing was done"
        )
    return EmbeddedBlocks(store_of(Path(path)), site)
