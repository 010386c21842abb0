"""Volumes and LUNs of an embedded array."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from dr_provider.arrays.base import NO_GUARD, check_key, check_name
from dr_provider.arrays.embedded.chain import Target, blocks_with_data, chain, count_changed, read, write
from dr_provider.arrays.embedded.core import Core, refuse_overflow
from dr_provider.arrays.embedded.garbage import drop_keys
from dr_provider.arrays.embedded.history import erase_volume, new_branch
from dr_provider.arrays.embedded.rows import (
    VolumeRow,
    find_volume,
    luns_of,
    need_lun,
    need_volume,
    new_key,
    newest_snapshot,
    owner_columns,
    refuse_unwritable,
)
from dr_provider.arrays.embedded.schema import BLOCK
from dr_provider.model.errors import BadInput, Busy, Conflict
from dr_provider.model.records import Guard, Owner

__all__ = ["VolumeCalls"]

_CHUNK = 1024  # blocks of an image in one transaction


def may_adopt(found: Owner | None, owner: Owner) -> bool:
    return found is None or (found.topology == owner.topology and found.stack in ("", owner.stack))


class VolumeCalls(Core):
    def create_volume(
        self, volume: str, size: int, owner: Owner, *, writable: bool = True, guard: Guard = NO_GUARD
    ) -> None:
        check_name("volume", volume)
        with self._changing(guard) as db:
            found = find_volume(db, volume)
            if found is None:
                db.execute(
                    "INSERT INTO volume (name, size, kind, writable, topology, stack, incarnation, branch, gen)"
                    " VALUES (?, ?, 'data', ?, ?, ?, ?, ?, 1)",
                    (volume, size, writable, *owner_columns(owner), new_branch(db, None)),
                )
                return
            if found.kind != "data":
                raise Conflict(
                    f"volume {volume} on {self._where} is there as a {found.kind} copy, wanted a data volume; choose another name"
                )
            if not may_adopt(found.owner, owner):
                raise Conflict(
                    f"volume {volume} on {self._where} belongs to {_name(found.owner)}, wanted {_name(owner)}; adopt it with dr:adopt"
                )
            if size < found.size:
                raise Conflict(
                    f"volume {volume} on {self._where} has {found.size} bytes and cannot shrink to {size}; declare at least {found.size}"
                )
            if size > found.size:
                db.execute("UPDATE volume SET size = ? WHERE id = ?", (size, found.id))
            self._set_owner(db, found, owner)

    def adopt_volume(self, volume: str, owner: Owner, guard: Guard = NO_GUARD) -> None:
        with self._changing(guard) as db:
            self._set_owner(db, need_volume(db, volume, self._where), owner)

    def _set_owner(self, db: sqlite3.Connection, found: VolumeRow, owner: Owner) -> None:
        if found.owner != owner:
            db.execute(
                "UPDATE volume SET topology = ?, stack = ?, incarnation = ? WHERE id = ?",
                (*owner_columns(owner), found.id),
            )

    def delete_volume(self, volume: str, owner: Owner, guard: Guard = NO_GUARD) -> bool:
        with self._changing(guard) as db:
            found = find_volume(db, volume)
            if found is None or found.owner != owner:
                return False
            mapped = [
                f"{lun.name} (to {lun.mapped_to})" for lun in luns_of(db, found).values() if lun.mapped_to is not None
            ]
            if mapped:
                raise Busy(
                    f"volume {volume} on {self._where} has mapped LUNs: {', '.join(mapped)}; stop the VMs and unmap them first"
                )
            held = db.execute(
                "SELECT s.name, h.tag FROM snapshot AS s JOIN hold AS h ON h.snapshot = s.id WHERE s.volume = ? ORDER BY 1, 2 LIMIT 1",
                (found.id,),
            ).fetchone()
            if held is not None:
                raise Busy(
                    f"volume {volume} on {self._where} has a held snapshot: {held[0]} ({held[1]}); release the hold first"
                )
            drill = db.execute(
                "SELECT name FROM volume WHERE kind = 'drill' AND origin_volume = ? ORDER BY name LIMIT 1", (volume,)
            ).fetchone()
            if drill is not None:
                raise Busy(f"volume {volume} on {self._where} has a drill clone: {drill[0]}; end the drill first")
            erase_volume(db, found)
            return True

    # -- LUNs -------------------------------------------------------------------------------------

    def create_lun(
        self, volume: str, lun: str, size: int, *, image: str | None = None, guard: Guard = NO_GUARD
    ) -> None:
        check_name("LUN", lun)
        with self._changing(guard) as db:
            found = need_volume(db, volume, self._where)
            old = luns_of(db, found).get(lun)
            if old is not None and old.size >= size:
                return
            refuse_unwritable(found, f"take a new or larger LUN ({lun})", self._where)
            if old is not None:
                db.execute("UPDATE lun SET size = ? WHERE volume = ? AND name = ?", (size, found.id, lun))
                return
            if image is None:
                self._add_lun(db, found, lun, new_key(db), size, 0)
                return
            length = _image_length(image, lun, size)
            key = self._stage(db, found, lun)
        self._copy_image(volume, lun, key, image, length, guard)
        with self._step(guard) as db:
            found = self._staged(db, volume, lun, key)
            db.execute("DELETE FROM staged WHERE key = ?", (key,))
            if lun in luns_of(db, found):
                drop_keys(db, [key])
            else:
                self._add_lun(db, found, lun, key, size, length)

    def _add_lun(
        self, db: sqlite3.Connection, volume: VolumeRow, lun: str, key: int, size: int, image_bytes: int
    ) -> None:
        db.execute(
            "INSERT INTO lun (volume, name, key, size, image_bytes, online, mapped_to) VALUES (?, ?, ?, ?, ?, 1, NULL)",
            (volume.id, lun, key, size, image_bytes),
        )
        if image_bytes:
            # Its blocks count from now on, wherever snapshots fell while they were copied in.
            (blocks,) = db.execute(
                "SELECT count(DISTINCT no) FROM block WHERE branch = ? AND lun = ?", (volume.head.branch, key)
            ).fetchone()
            db.execute("UPDATE volume SET data = data + ?1, changed = changed + ?1 WHERE id = ?2", (blocks, volume.id))

    def _stage(self, db: sqlite3.Connection, volume: VolumeRow, lun: str) -> int:
        """A key to copy an image under; what an earlier try that was cut left is freed, and a try under way is told at its next step."""
        left = db.execute("DELETE FROM staged WHERE volume = ? AND name = ? RETURNING key", (volume.id, lun)).fetchall()
        drop_keys(db, [key for (key,) in left])
        key = new_key(db)
        db.execute("INSERT INTO staged VALUES (?, ?, ?)", (key, volume.id, lun))
        return key

    def _staged(self, db: sqlite3.Connection, volume: str, lun: str, key: int) -> VolumeRow:
        found = need_volume(db, volume, self._where)
        if db.execute("SELECT 1 FROM staged WHERE key = ? AND volume = ?", (key, found.id)).fetchone() is None:
            raise Conflict(
                f"LUN {lun} of volume {volume} on {self._where} is being made by another call; look again when it is done"
            )
        return found

    def _copy_image(self, volume: str, lun: str, key: int, image: str, length: int, guard: Guard) -> None:
        with Path(image).open("rb") as file:
            for first in range(0, -(-length // BLOCK), _CHUNK):
                chunk = file.read(min(_CHUNK * BLOCK, length - first * BLOCK))
                with self._step(guard) as db:
                    found = self._staged(db, volume, lun, key)
                    target = Target.at(db, found.head, None)
                    blocks = [chunk[at : at + BLOCK].ljust(BLOCK, b"\0") for at in range(0, len(chunk), BLOCK)]
                    write(db, target, key, first, blocks)
                    refuse_overflow(db, BLOCK, self._where, f"the image of LUN {lun} of volume {volume}")

    def delete_lun(self, volume: str, lun: str, guard: Guard = NO_GUARD) -> bool:
        with self._changing(guard) as db:
            found = find_volume(db, volume)
            old = luns_of(db, found).get(lun) if found is not None else None
            if found is None or old is None:
                return False
            refuse_unwritable(found, f"lose a LUN ({lun})", self._where)
            if old.mapped_to is not None:
                raise Busy(
                    f"LUN {lun} of volume {volume} on {self._where} is mapped to {old.mapped_to}; stop its VM and unmap it first"
                )
            db.execute("DELETE FROM lun WHERE volume = ? AND name = ?", (found.id, lun))
            self._forget_blocks(db, found, old.key)
            return True

    def _forget_blocks(self, db: sqlite3.Connection, volume: VolumeRow, key: int) -> None:
        """Take a LUN's blocks out of the volume's counts, and free them unless a snapshot or a clone has them."""
        newest = newest_snapshot(db, volume)
        data = len(blocks_with_data(db, chain(db, volume.head), key))
        changed = count_changed(db, volume.head, newest.point if newest else None, frozenset([key]))
        db.execute(
            "UPDATE volume SET data = data - ?, changed = max(0, changed - ?) WHERE id = ?", (data, changed, volume.id)
        )
        drop_keys(db, [key])

    def restore_lun(self, volume: str, lun: str, source: str, guard: Guard = NO_GUARD) -> int:
        with self._changing(guard) as db:
            mine, other = need_volume(db, volume, self._where), need_volume(db, source, self._where)
            refuse_unwritable(mine, f"have a LUN restored ({lun})", self._where)
            wanted, there = need_lun(db, other, lun, self._where), luns_of(db, mine).get(lun)
            for name, row in ((source, wanted), (volume, there)):
                if row is not None and row.mapped_to is not None:
                    raise Busy(
                        f"LUN {lun} of volume {name} on {self._where} is mapped to {row.mapped_to}; stop its VM and unmap it first"
                    )
            if there is None:
                self._add_lun(db, mine, lun, new_key(db), wanted.size, 0)
                there = need_lun(db, mine, lun, self._where)
            elif there.size < wanted.size:
                db.execute("UPDATE lun SET size = ? WHERE volume = ? AND name = ?", (wanted.size, mine.id, lun))
            if there.image_bytes != wanted.image_bytes:
                db.execute(
                    "UPDATE lun SET image_bytes = ? WHERE volume = ? AND name = ?", (wanted.image_bytes, mine.id, lun)
                )
            newest = newest_snapshot(db, mine)
            here, target = chain(db, other.head), Target.at(db, mine.head, newest.point if newest else None)
            what = f"LUN {lun} of volume {source} on {self._where}"
            numbers = sorted({*blocks_with_data(db, here, wanted.key), *blocks_with_data(db, target.levels, there.key)})
            data = changed = written = 0
            for no in numbers:
                old = read(db, target.levels, there.key, no, 1, f"LUN {lun} of volume {volume} on {self._where}")
                new = read(db, here, wanted.key, no, 1, what)
                if old != new:
                    delta = write(db, target, there.key, no, new)
                    data, changed, written = data + delta.data, changed + delta.changed, written + 1
            if written:
                db.execute(
                    "UPDATE volume SET data = data + ?, changed = changed + ? WHERE id = ?", (data, changed, mine.id)
                )
            refuse_overflow(db, BLOCK, self._where, f"LUN {lun} of volume {volume}")
            return written * BLOCK

    def set_lun_online(self, volume: str, luns: Sequence[str], online: bool, guard: Guard = NO_GUARD) -> None:
        with self._changing(guard) as db:
            found = need_volume(db, volume, self._where)
            for name in luns:
                if need_lun(db, found, name, self._where).online != online:
                    db.execute("UPDATE lun SET online = ? WHERE volume = ? AND name = ?", (online, found.id, name))

    def map_lun(self, volume: str, luns: Sequence[str], initiator: str, guard: Guard = NO_GUARD) -> None:
        with self._changing(guard) as db:
            found = need_volume(db, volume, self._where)
            refuse_unwritable(found, "be mapped to a host", self._where)
            for name in luns:
                mapped = need_lun(db, found, name, self._where).mapped_to
                if mapped not in (None, initiator):
                    raise Conflict(
                        f"LUN {name} of volume {volume} on {self._where} is mapped to {mapped}, wanted {initiator}; unmap it first"
                    )
                if mapped is None:
                    db.execute(
                        "UPDATE lun SET mapped_to = ? WHERE volume = ? AND name = ?", (initiator, found.id, name)
                    )

    def unmap_luns(self, luns: Mapping[str, Sequence[str]], guard: Guard = NO_GUARD) -> None:
        with self._changing(guard) as db:
            for volume, names in luns.items():
                found = find_volume(db, volume)
                if found is None:
                    continue  # no host can write to what is not there
                for name in names:
                    db.execute(
                        "UPDATE lun SET mapped_to = NULL WHERE volume = ? AND name = ? AND mapped_to IS NOT NULL",
                        (found.id, name),
                    )

    def lun_target(self, volume: str, lun: str) -> str:
        return f"embedded:{self.path}#{check_name('volume', volume)}/{check_name('LUN', lun)}"

    def put_volume_records(self, volumes: Sequence[str], key: str, value: str, guard: Guard = NO_GUARD) -> None:
        check_key(key)
        with self._changing(guard) as db:
            for volume in volumes:
                found = need_volume(db, volume, self._where)
                db.execute(
                    "UPDATE volume SET records = json_set(records, ?1, ?2) WHERE id = ?3 AND json_extract(records, ?1) IS NOT ?2",
                    (f'$."{key}"', value, found.id),
                )


def _name(owner: Owner | None) -> str:
    if owner is None:
        return "nobody"
    return f"stack {owner.stack} of topology {owner.topology}" if owner.stack else f"topology {owner.topology}"


def _image_length(image: str, lun: str, size: int) -> int:
    try:
        length = Path(image).stat().st_size
        with Path(image).open("rb"):
            pass
    except OSError as error:
        raise BadInput(f"image {image} of LUN {lun} cannot be read ({error.strerror}); nothing was done") from error
    if length > size:
        raise BadInput(
            f"image {image} has {length} bytes, and LUN {lun} only {size}; declare a larger disk; nothing was done"
        )
    return length
