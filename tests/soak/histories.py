"""What is on the arrays: every copy's ledgers, on volumes, snapshots and safety copies alike, read past all faults.

An entry of a ledger carries a checksum that goes on from the entry before, so (number, checksum) names a whole history, and the
checksums of a disk's entries say of any history whether it is part of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dr_provider.arrays.embedded.chain import Point, chain, read
from dr_provider.arrays.embedded.rows import all_volumes, luns_of, snapshot_luns, snapshots_of
from dr_provider.arrays.embedded.store import store_of
from dr_provider.model.topology import Topology

__all__ = ["Copy", "History", "Tip", "copies_of", "extends", "tip"]

History = tuple[int, ...]
"""The checksum of each entry, first to last."""
Tip = tuple[int, int]
"""The last entry's number and checksum; (0, 0): nothing was written."""

_BLOCK = 4096
_ENTRY = struct.Struct("<4sQQQ32sI")
_AT_ONCE = 4


@dataclass(frozen=True)
class Copy:
    """One LUN on one volume as it is now (`snapshot` empty) or as of a snapshot."""

    array: str
    site: str
    volume: str
    kind: str
    snapshot: str
    lun: str
    history: History


def tip(history: History) -> Tip:
    return (len(history), history[-1]) if history else (0, 0)


def extends(history: History, old: Tip) -> bool:
    """Whether all that the tip names is part of the history."""
    number, checksum = old
    return number == 0 or (len(history) >= number and history[number - 1] == checksum)


_of_snapshots: dict[tuple[Path, int, str, str], History] = {}


def copies_of(topology: Topology) -> list[Copy]:
    return [copy for array in sorted(topology.arrays) for copy in _on(topology, array)]


def _on(topology: Topology, array: str) -> Iterator[Copy]:
    spec = topology.arrays[array]
    path = Path(str(spec.options["path"]))
    if not path.is_file():
        return
    with store_of(path).reading() as db:
        inode = path.stat().st_ino
        for volume in all_volumes(db):
            for lun in luns_of(db, volume).values():
                if lun.image_bytes:
                    continue
                history = _history(db, volume.head, lun.key, lun.size)
                yield Copy(array, spec.site, volume.name, volume.kind, "", lun.name, history)
            for snapshot in snapshots_of(db, volume):
                for lun in snapshot_luns(db, snapshot).values():
                    if lun.image_bytes:
                        continue
                    key = (path, inode, f"{volume.id}/{snapshot.id}/{snapshot.guid}", lun.name)
                    if key not in _of_snapshots:
                        _of_snapshots[key] = _history(db, snapshot.point, lun.key, lun.size)
                    yield Copy(array, spec.site, volume.name, volume.kind, snapshot.name, lun.name, _of_snapshots[key])


def _history(db: object, point: Point, key: int, size: int) -> History:
    levels = chain(db, point)  # type: ignore[arg-type]
    found: list[int] = []
    block = 1
    while block * _BLOCK < size:
        count = min(_AT_ONCE, size // _BLOCK - block)
        for data in read(db, levels, key, block, count, "a ledger"):  # type: ignore[arg-type]
            for slot in range(0, _BLOCK, _ENTRY.size):
                magic, number, *_, checksum = _ENTRY.unpack_from(data or bytes(_BLOCK), slot)
                if magic != b"LEDG" or number != len(found) + 1:
                    return tuple(found)
                found.append(checksum)
        block += count
    return tuple(found)
