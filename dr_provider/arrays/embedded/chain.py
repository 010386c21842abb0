"""The blocks of a volume as of a point of its history: reading, writing, and what differs between two points.

A *point* is (branch, generation). The chain of a point is the point itself, then where its branch left its parent, and so on.
Invariant: between two references (snapshots, clones, heads, transfers) of one branch, a block has one row at most; `garbage`
restores it when a reference goes, and `write` keeps it by updating in place what no reference shows.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dr_provider.arrays.embedded.garbage import references
from dr_provider.arrays.embedded.schema import BLOCK
from dr_provider.model.errors import CorruptRecord

__all__ = [
    "Delta",
    "Point",
    "Target",
    "blocks_with_data",
    "chain",
    "count_changed",
    "differing",
    "read",
    "read_with_sums",
    "stored_sums",
    "write",
]

_ZEROS = bytes(BLOCK)


@dataclass(frozen=True)
class Point:
    branch: int
    gen: int


@dataclass(frozen=True)
class _Seen:
    level: int
    gen: int
    row: int
    hole: bool


@dataclass(frozen=True)
class Delta:
    """How many more blocks hold data, are stored on the branch, and differ from the newest snapshot."""

    data: int
    stored: int
    changed: int


def chain(db: sqlite3.Connection, point: Point) -> tuple[Point, ...]:
    levels = [point]
    while True:
        parent, gen = db.execute("SELECT parent, parent_gen FROM branch WHERE id = ?", (levels[-1].branch,)).fetchone()
        if parent is None:
            return tuple(levels)
        levels.append(Point(parent, gen))


def _visible(db: sqlite3.Connection, levels: Sequence[Point], key: int, first: int, last: int) -> dict[int, _Seen]:
    """The newest row of each block of a LUN from `first` to `last`; blocks that were never written are left out."""
    seen: dict[int, _Seen] = {}
    for level, point in enumerate(levels):
        # The bare columns of a max() query come from the row that has the maximum (sqlite.org/lang_select.html#bareagg).
        for no, gen, row, hole in db.execute(
            "SELECT no, max(gen), id, data IS NULL FROM block"
            " WHERE branch = ? AND lun = ? AND no BETWEEN ? AND ? AND gen <= ? GROUP BY no",
            (point.branch, key, first, last, point.gen),
        ):
            if no not in seen:
                seen[no] = _Seen(level, gen, row, bool(hole))
    return seen


def read(
    db: sqlite3.Connection, levels: Sequence[Point], key: int, first: int, count: int, where: str
) -> list[bytes | None]:
    """`count` blocks of a LUN from block `first` on; None: zeros. Raises CorruptRecord, which names `where`."""
    return read_with_sums(db, levels, key, first, count, where)[0]


def read_with_sums(
    db: sqlite3.Connection, levels: Sequence[Point], key: int, first: int, count: int, where: str
) -> tuple[list[bytes | None], list[int]]:
    """As `read`, and the checksum of each block (0: zeros)."""
    seen = _visible(db, levels, key, first, first + count - 1)
    found: list[bytes | None] = [None] * count
    sums = [0] * count
    rows = [s.row for s in seen.values() if not s.hole]
    if rows:
        query = "SELECT no, sum, data FROM block WHERE id IN (SELECT value FROM json_each(?))"
        for no, checksum, data in db.execute(query, (json.dumps(rows),)):
            if len(data) != BLOCK or zlib.crc32(data) != checksum:
                raise CorruptRecord(f"{where}: block {no} fails its checksum; restore the volume from another copy")
            found[no - first], sums[no - first] = data, checksum
    return found, sums


def stored_sums(db: sqlite3.Connection, levels: Sequence[Point], key: int, first: int, count: int) -> dict[int, int]:
    """The checksums that are stored of blocks which hold data, by their numbers; the data is not looked at."""
    rows = [s.row for s in _visible(db, levels, key, first, first + count - 1).values() if not s.hole]
    query = "SELECT no, sum FROM block WHERE id IN (SELECT value FROM json_each(?))"
    return dict(db.execute(query, (json.dumps(rows),)).fetchall())


@dataclass(frozen=True)
class Target:
    """Where writes go: the chain of the head, the newest reference below it on its branch, and where the newest snapshot stands."""

    levels: tuple[Point, ...]
    floor: int
    newest: Point | None

    @classmethod
    def at(cls, db: sqlite3.Connection, head: Point, newest: Point | None) -> Target:
        floor = max((gen for gen in references(db, head.branch) if gen < head.gen), default=0)
        return cls(chain(db, head), floor, newest)

    def after_newest(self, seen: _Seen) -> bool:
        """Whether a row is newer than the newest snapshot (none: whether it is the branch's own)."""
        if self.newest is None:
            return seen.level == 0
        for level, point in enumerate(self.levels):
            if point.branch == self.newest.branch:
                return seen.level < level or (seen.level == level and seen.gen > self.newest.gen)
        return seen.level == 0


def write(
    db: sqlite3.Connection,
    target: Target,
    key: int,
    first: int,
    blocks: Sequence[bytes | None],
    sums: Sequence[int] | None = None,
) -> Delta:
    """Write whole blocks (None or zeros: a hole) from block `first` on, at the head. The caller adds the delta to its counts.

    `sums`: their CRC-32 where the caller has worked it out already.
    """
    head = target.levels[0]
    seen = _visible(db, target.levels, key, first, first + len(blocks) - 1)
    inserts: list[tuple[int, int, int, int, int, bytes | None]] = []
    updates: list[tuple[int, int, bytes | None, int]] = []
    data = stored = changed = 0
    for no, block in enumerate(blocks, first):
        content = None if block is None or block == _ZEROS else block
        old = seen.get(no)
        own = old is not None and old.level == 0 and old.gen > target.floor
        had = old is not None and not old.hole
        if content is None and not had and not own:
            continue
        checksum = 0 if content is None else zlib.crc32(content) if sums is None else sums[no - first]
        if own and old is not None:
            updates.append((head.gen, checksum, content, old.row))
            stored += (content is not None) - had
        else:
            inserts.append((head.branch, key, no, head.gen, checksum, content))
            stored += content is not None
        data += (content is not None) - had
        changed += old is None or not target.after_newest(old)
    db.executemany("INSERT INTO block (branch, lun, no, gen, sum, data) VALUES (?, ?, ?, ?, ?, ?)", inserts)
    db.executemany("UPDATE block SET gen = ?, sum = ?, data = ? WHERE id = ?", updates)
    if stored:
        db.execute("UPDATE branch SET stored = stored + ? WHERE id = ?", (stored, head.branch))
    return Delta(data, stored, changed)


# -- what differs ------------------------------------------------------------------------------


def blocks_with_data(db: sqlite3.Connection, levels: Sequence[Point], key: int) -> array[int]:
    """The numbers of a LUN's blocks that hold data, in order."""
    seen: dict[int, bool] = {}
    for point in levels:
        for no, _, hole in db.execute(
            "SELECT no, max(gen), data IS NULL FROM block WHERE branch = ? AND lun = ? AND gen <= ? GROUP BY no",
            (point.branch, key, point.gen),
        ):
            seen.setdefault(no, bool(hole))
    return array("Q", sorted(no for no, hole in seen.items() if not hole))


def _newer(db: sqlite3.Connection, levels: Sequence[Point], base: Point) -> dict[int, set[int]] | None:
    """Blocks by LUN key with a row newer than the base; None: the base is not in the history of the point."""
    newer: dict[int, set[int]] = {}
    for point in levels:
        reached = point.branch == base.branch
        if reached and base.gen > point.gen:
            return None
        rows = db.execute(
            "SELECT lun, no FROM block WHERE branch = ? AND gen > ? AND gen <= ?",
            (point.branch, base.gen if reached else 0, point.gen),
        )
        for key, no in rows:
            newer.setdefault(key, set()).add(no)
        if reached:
            return newer
    return None


def count_changed(db: sqlite3.Connection, head: Point, newest: Point | None, keys: frozenset[int]) -> int:
    """What a volume's `changed` must be: blocks written since the newest snapshot (none: since the branch began)."""
    levels = chain(db, head)
    newer = _newer(db, levels, newest) if newest is not None else _newer(db, levels[:1], Point(head.branch, 0))
    return sum(len(numbers) for key, numbers in (newer or {}).items() if key in keys)


def differing(
    db: sqlite3.Connection, point: Point, luns: Mapping[str, int], base: Point, base_luns: Mapping[str, int]
) -> dict[str, array[int]] | None:
    """The block numbers, by LUN in order of name, in which a point may differ from its base; None: the base is not in its history.

    `luns` and `base_luns` map names to keys. A LUN that was made anew under its name differs wherever either has data.
    """
    levels = chain(db, point)
    newer = _newer(db, levels, base)
    if newer is None:
        return None
    found: dict[str, array[int]] = {}
    for name in sorted(luns):
        key, old = luns[name], base_luns.get(name)
        if old == key:
            numbers = newer.get(key, set())
        else:
            numbers = set(blocks_with_data(db, levels, key))
            if old is not None:
                numbers.update(blocks_with_data(db, chain(db, base), old))
        found[name] = array("Q", sorted(numbers))
    return found
