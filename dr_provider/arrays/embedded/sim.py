"""What the lab bench (`dr sim`) does with an embedded array from outside: past all faults, maps and limits. Nothing else uses it."""

from __future__ import annotations

import sqlite3
import zlib
from pathlib import Path

from dr_provider.arrays.embedded.blocks import read_range
from dr_provider.arrays.embedded.chain import Point, blocks_with_data, chain
from dr_provider.arrays.embedded.rows import LunRow, need_lun, need_snapshot, need_volume, snapshot_luns
from dr_provider.arrays.embedded.schema import BLOCK
from dr_provider.arrays.embedded.store import store_of
from dr_provider.model.errors import NotFound

__all__ = ["damage_block", "damage_record", "lun_size", "read_lun"]


def lun_size(path: Path, volume: str, lun: str) -> int:
    """Bytes of a LUN. Raises NotReady and NotFound."""
    where = f"array file {path}"
    with store_of(path).reading() as db:
        return need_lun(db, need_volume(db, volume, where), lun, where).size


def read_lun(path: Path, volume: str, lun: str, offset: int = 0, length: int | None = None) -> bytes:
    """Bytes of a LUN as they are now (`length` None: to its end). Raises NotReady, NotFound and CorruptRecord."""
    where = f"array file {path}"
    with store_of(path).reading() as db:
        found = need_volume(db, volume, where)
        row = need_lun(db, found, lun, where)
        end = row.size if length is None else min(row.size, offset + length)
        return read_range(db, found, row, offset, max(0, end - offset), f"LUN {lun} of volume {volume} in {where}")


def damage_record(path: Path, key: str) -> None:
    """Flip one bit of a record's text at rest. Raises NotReady and NotFound."""
    with store_of(path).writing() as db:
        row = db.execute("SELECT value FROM record WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise NotFound(f"record {key} is not in array file {path}; nothing was damaged")
        text = str(row[0])
        at = len(text) // 2
        db.execute(
            "UPDATE record SET value = ? WHERE key = ?", (text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :], key)
        )


def damage_block(path: Path, volume: str, lun: str, snapshot: str | None = None, *, unnoticed: bool = False) -> int:
    """Flip one bit at rest in the first block of a LUN that holds data, as of a snapshot (None: now); the bit's offset in bytes.

    Every snapshot that shares the block shares the damage. `unnoticed`: the array's own checksum is made to fit, so that only a comparison
    with another copy, or with what was read before, finds it. Raises NotReady and NotFound (also where the LUN holds no data).
    """
    where = f"array file {path}"
    with store_of(path).writing() as db:
        found = need_volume(db, volume, where)
        if snapshot is None:
            point, row = found.head, need_lun(db, found, lun, where)
        else:
            taken = need_snapshot(db, found, snapshot, where)
            point, row = taken.point, snapshot_luns(db, taken).get(lun) or need_lun(db, found, lun, where)
        no, block, data = _first_block(db, point, row, f"LUN {lun} of volume {volume} in {where}")
        changed = bytes([data[0] ^ 1]) + data[1:]
        db.execute("UPDATE block SET data = ? WHERE id = ?", (changed, block))
        if unnoticed:
            db.execute("UPDATE block SET sum = ? WHERE id = ?", (zlib.crc32(changed), block))
        return no * BLOCK


def _first_block(db: sqlite3.Connection, point: Point, lun: LunRow, where: str) -> tuple[int, int, bytes]:
    levels = chain(db, point)
    numbers = blocks_with_data(db, levels, lun.key)
    if not numbers:
        raise NotFound(f"{where} holds no data; nothing was damaged")
    for level in levels:
        row = db.execute(
            "SELECT id, data FROM block WHERE branch = ? AND lun = ? AND no = ? AND gen <= ? ORDER BY gen DESC LIMIT 1",
            (level.branch, lun.key, numbers[0], level.gen),
        ).fetchone()
        if row is not None:
            return numbers[0], row[0], row[1]
    raise AssertionError("a block that holds data is on its chain")
