"""What the lab bench (`dr sim`) does with an embedded array from outside: past all faults, maps and limits. Nothing else uses it."""

from __future__ import annotations

from pathlib import Path

from dr_provider.arrays.embedded.blocks import read_range
from dr_provider.arrays.embedded.rows import need_lun, need_volume
from dr_provider.arrays.embedded.store import store_of
from dr_provider.model.errors import NotFound

__all__ = ["damage_record", "lun_size", "read_lun"]


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
