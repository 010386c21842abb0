"""Two arrays that replicate to each other, as the contract suite wants them from every driver; and an audit of embedded files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from dr_provider.arrays.base import Array, Extent, Stream
from dr_provider.arrays.embedded import EmbeddedArray, connect
from dr_provider.arrays.embedded import sim as embedded_sim
from dr_provider.arrays.embedded.chain import blocks_with_data, chain, count_changed
from dr_provider.arrays.embedded.garbage import references
from dr_provider.arrays.embedded.rows import (
    all_volumes,
    lun_keys,
    luns_of,
    newest_snapshot,
    snapshot_luns,
    snapshots_of,
)
from dr_provider.arrays.embedded.schema import BLOCK
from dr_provider.model import faults
from dr_provider.model.errors import Unreachable
from dr_provider.model.records import Owner

__all__ = ["OWNER", "EmbeddedPair", "Pair", "audit"]

OWNER = Owner("shop", "dr/prod", "1")


class Pair(Protocol):
    """What the contract suite needs of a driver: two arrays, `a` at site east and `b` at site west, and ways to do harm.

    `exact`: its counts of bytes are those of the guests' blocks. `resumes`: a transfer that was cut goes on where it was. `rate`: bytes a
    second at which a transfer of some MiB can be caught in the middle. `small`: bytes of an array that is soon full.
    """

    a: Array
    b: Array
    exact: bool
    resumes: bool
    rate: int | None
    small: int

    def again(self, which: str, *, capacity: int | None = None) -> Array:
        """Another opened handle of `a` or `b`."""
        ...

    def write(self, array: Array, volume: str, lun: str, offset: int, data: bytes) -> None:
        """As the guest of the host that the LUN is mapped to."""
        ...

    def read(self, array: Array, volume: str, lun: str, offset: int, length: int) -> bytes:
        """Past maps and faults."""
        ...

    def cut_receive(self, volume: str, stream: Stream, extents: int) -> None:
        """Let `b` receive the stream; after some extents (0: at its begin) the source is silent, then it can be reached again."""
        ...

    def fill(self, array: Array, volume: str, capacity: int) -> None:
        """Write to LUN db of the volume until there is room for a block at most."""
        ...

    def cut(self) -> None: ...

    def silence(self, which: str) -> None: ...

    def heal(self) -> None: ...

    def audit(self) -> None:
        """Assert what the driver promises of its own store; where it has none, nothing."""
        ...


class EmbeddedPair:
    exact = True
    resumes = True
    rate: int | None = None
    small = 1 << 20

    def __init__(self, folder: Path, *, timeout: float = 0.2) -> None:
        self.folder = folder
        self.timeout = timeout
        self.a: Array = self.again("a")
        self.b: Array = self.again("b")
        self.a.create()
        self.b.create()

    def path(self, which: str) -> Path:
        return self.folder / f"{which}.db"

    def again(self, which: str, *, capacity: int | None = None) -> Array:
        return EmbeddedArray(
            which, {"a": "east", "b": "west"}[which], self.path(which), timeout=self.timeout, capacity=capacity
        )

    def write(self, array: Array, volume: str, lun: str, offset: int, data: bytes) -> None:
        mapped = array.state().volumes[volume].luns[lun].mapped_to
        connect(array.lun_target(volume, lun), array.site).write(volume, lun, mapped or "nobody", offset, data)

    def read(self, array: Array, volume: str, lun: str, offset: int, length: int) -> bytes:
        return embedded_sim.read_lun(self.path(array.name), volume, lun, offset, length)

    def cut_receive(self, volume: str, stream: Stream, extents: int) -> None:
        def run() -> Iterator[Extent]:
            for number, extent in enumerate(stream):
                if number == extents:
                    raise Unreachable("array a gives no answer")
                yield extent

        self.b.receive(volume, replace(stream, extents=run()), OWNER)

    def fill(self, array: Array, volume: str, capacity: int) -> None:
        self.write(array, volume, "db", 0, b"x" * (capacity - BLOCK))

    def cut(self) -> None:
        faults.put(self.path("a"), faults.Fault("link:east/west", "cut", peers=("west", "b")))
        faults.put(self.path("b"), faults.Fault("link:east/west", "cut", peers=("east", "a")))

    def silence(self, which: str) -> None:
        faults.put(self.path(which), faults.Fault(f"array:{which}", "silent"))

    def heal(self) -> None:
        for which in "ab":
            for target in ("link:east/west", f"array:{which}"):
                faults.heal(self.path(which), target)

    def audit(self) -> None:
        audit(self.path("a"))
        audit(self.path("b"))


def audit(path: Path) -> None:
    """Assert that an embedded file is whole and that every count in it is what counting says."""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        for branch, stored in db.execute("SELECT id, stored FROM branch").fetchall():
            assert stored == db.execute("SELECT count(data) FROM block WHERE branch = ?", (branch,)).fetchone()[0], (
                f"stored of branch {branch}"
            )
            kept = references(db, branch)
            assert kept, f"branch {branch} is garbage"
            below = 0
            for gen in kept:
                twice = db.execute(
                    "SELECT lun, no FROM block WHERE branch = ? AND gen > ? AND gen <= ? GROUP BY lun, no HAVING count(*) > 1",
                    (branch, below, gen),
                ).fetchall()
                assert twice == [], f"two rows of one block below one reference of branch {branch}"
                below = gen
            assert (
                db.execute("SELECT count(*) FROM block WHERE branch = ? AND gen > ?", (branch, below)).fetchone()[0]
                == 0
            ), "unseen blocks"
        assert db.execute("SELECT count(*) FROM block WHERE branch NOT IN (SELECT id FROM branch)").fetchone()[0] == 0
        for volume in all_volumes(db):
            keys = lun_keys(luns_of(db, volume))
            levels = chain(db, volume.head)
            assert volume.data == sum(len(blocks_with_data(db, levels, key)) for key in keys.values()), (
                f"data of {volume.name}"
            )
            newest = newest_snapshot(db, volume)
            assert volume.changed == count_changed(
                db, volume.head, newest.point if newest else None, frozenset(keys.values())
            ), f"changed of {volume.name}"
            for snapshot in snapshots_of(db, volume):
                levels = chain(db, snapshot.point)
                data = sum(
                    len(blocks_with_data(db, levels, key)) for key in lun_keys(snapshot_luns(db, snapshot)).values()
                )
                assert snapshot.data == data, f"data of {volume.name} at {snapshot.name}"
