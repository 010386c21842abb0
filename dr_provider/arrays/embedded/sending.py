"""Replication of an embedded array, the sending side: what a step would bring, and its extents with the checksums of their blocks."""

from __future__ import annotations

import hashlib
import sqlite3
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from dr_provider.arrays.base import Extent, Stream
from dr_provider.arrays.embedded.chain import (
    blocks_with_data,
    chain,
    differing,
    read,
    read_with_sums,
    stored_sums,
)
from dr_provider.arrays.embedded.core import Core
from dr_provider.arrays.embedded.extents import Tally, coalesce, count, runs
from dr_provider.arrays.embedded.rows import (
    SnapshotRow,
    VolumeRow,
    find_snapshot,
    lun_keys,
    luns_of,
    need_snapshot,
    need_volume,
    snapshot_luns,
    snapshot_state,
)
from dr_provider.arrays.embedded.schema import BLOCK
from dr_provider.model import faults
from dr_provider.model.errors import (
    BadInput,
    NoCommonSnapshot,
    NotFound,
    NothingToSend,
    Stopped,
)
from dr_provider.model.state import LunState

__all__ = ["SendCalls"]

_ZEROS = bytes(BLOCK)
_READ = 256  # blocks of one extent at most, read in one view


class SendCalls(Core):
    def estimate(self, volume: str, base: str | None, snapshot: str | None) -> int:
        with self._reading() as db:
            found = need_volume(db, volume, self._where)
            point = need_snapshot(db, found, snapshot, self._where) if snapshot is not None else None
            if base is None:
                return (point.data if point else found.data) * BLOCK
            if point is not None and point.name == base:
                return 0
            return count(self._changes(db, found, base, point)) * BLOCK

    def _changes(
        self, db: sqlite3.Connection, volume: VolumeRow, base: str | None, snapshot: SnapshotRow | None
    ) -> dict[str, array[int]]:
        point = snapshot.point if snapshot else volume.head
        luns = lun_keys(snapshot_luns(db, snapshot) if snapshot else luns_of(db, volume))
        if base is None:
            levels = chain(db, point)
            return {name: blocks_with_data(db, levels, luns[name]) for name in sorted(luns)}
        old = find_snapshot(db, volume, base)
        changes = differing(db, point, luns, old.point, lun_keys(snapshot_luns(db, old))) if old else None
        if changes is None:
            found = "an unknown one" if old is None else "a newer one"
            raise NoCommonSnapshot(
                f"volume {volume.name} on {self._where}: wanted {base} as an older snapshot of the same data, found {found}; send a full copy"
            )
        return changes

    def send(self, volume: str, base: str | None, snapshot: str, *, start: int = 0) -> Stream:
        if base == snapshot:
            raise NothingToSend(
                f"volume {volume}: the destination stands at snapshot {snapshot} of {self._where} already"
            )
        with self._reading() as db:
            found = need_volume(db, volume, self._where)
            point = need_snapshot(db, found, snapshot, self._where)
            changes = self._changes(db, found, base, point)
            old = find_snapshot(db, found, base) if base is not None else None
            luns = snapshot_luns(db, point)
            total = count(changes) * BLOCK
            if start % BLOCK or not 0 <= start <= total:
                raise BadInput(
                    f"volume {volume}: a step of {total} bytes cannot start at byte {start}; start it at 0; nothing was done"
                )
            tally = Tally()
            return Stream(
                array=self.name,
                site=self.site,
                volume=volume,
                size=found.size,
                snapshot=snapshot_state(point, frozenset()),
                base=snapshot_state(old, frozenset()) if old else None,
                luns={lun.name: LunState(lun.name, lun.size, True, None, lun.image_bytes) for lun in luns.values()},
                total=total,
                start=start,
                extents=self._extents(point, lun_keys(luns), changes, start // BLOCK, tally),
                checksum=lambda: tally.sum,
            )

    def _extents(
        self, snapshot: SnapshotRow, keys: Mapping[str, int], changes: Mapping[str, array[int]], skip: int, tally: Tally
    ) -> Iterator[Extent]:
        for name, numbers in changes.items():
            there, left = numbers[:skip], numbers[skip:]
            skip = max(0, skip - len(numbers))
            for at in range(0, len(there), _READ):
                self._add_up(snapshot, name, keys[name], there[at : at + _READ], tally)
            for at in range(0, len(left), _READ):
                yield from self._read_extents(snapshot, name, keys[name], left[at : at + _READ], tally)

    @contextmanager
    def _sending(self, snapshot: SnapshotRow) -> Iterator[tuple[sqlite3.Connection, tuple[faults.Fault, ...]]]:
        """One view for a part of a step. Between two of them the array may be lost, or the snapshot deleted."""
        with self._store.reading() as db:
            found = faults.read(db)
            faults.refuse_transfer(found, self._where)
            if db.execute("SELECT 1 FROM snapshot WHERE id = ?", (snapshot.id,)).fetchone() is None:
                raise NotFound(
                    f"snapshot {snapshot.name} was deleted from {self._where} while it was being sent; send a newer one"
                )
            yield db, found

    def digests(
        self,
        volume: str,
        snapshot: str,
        *,
        progress: Callable[[int], None] | None = None,
        stop: Callable[[], str | None] | None = None,
    ) -> Mapping[str, str]:
        with self._reading() as db:
            point = need_snapshot(db, need_volume(db, volume, self._where), snapshot, self._where)
            luns = snapshot_luns(db, point)
        found: dict[str, str] = {}
        before = 0
        for name, lun in sorted(luns.items()):
            sha = hashlib.sha256()
            where = f"LUN {name} of volume {volume} at snapshot {snapshot} on {self._where}"
            for at in range(0, lun.size, _READ * BLOCK):
                if stop is not None and (reason := stop()) is not None:
                    raise Stopped(f"{where}: the reading was stopped: {reason}")
                some = min(_READ * BLOCK, lun.size - at)
                with self._sending(point) as (db, _):
                    blocks = read(db, chain(db, point.point), lun.key, at // BLOCK, -(-some // BLOCK), where)
                sha.update(b"".join(_ZEROS if block is None else block for block in blocks)[:some])
                if progress is not None:
                    progress(before + at + some)
            before += lun.size
            found[name] = sha.hexdigest()
        return found

    def _add_up(self, snapshot: SnapshotRow, name: str, key: int, numbers: Sequence[int], tally: Tally) -> None:
        """Count what the destination has already into the checksum of the step."""
        with self._sending(snapshot) as (db, _):
            for first, count in runs(numbers):
                for no, checksum in stored_sums(db, chain(db, snapshot.point), key, first, count).items():
                    tally.add(name, no, checksum)

    def _read_extents(
        self, snapshot: SnapshotRow, name: str, key: int, numbers: Sequence[int], tally: Tally
    ) -> list[Extent]:
        """Extents of some blocks, neighbours in one."""
        extents: list[Extent] = []
        where = f"LUN {name} at snapshot {snapshot.name} on {self._where}"
        with self._sending(snapshot) as (db, found):
            levels = chain(db, snapshot.point)
            for first, count in runs(numbers):
                blocks, sums = read_with_sums(db, levels, key, first, count, where)
                for no, checksum in enumerate(sums, first):
                    if blocks[no - first] is not None:
                        tally.add(name, no, checksum)
                extents += coalesce(name, first, blocks, sums)
        return [_garbled(extent, found) for extent in extents]


def _garbled(extent: Extent, found: Sequence[faults.Fault]) -> Extent:
    """The extent as it arrives: with a bit flipped where `dr sim garble` says so."""
    if extent.data is None or not faults.spoils(found):
        return extent
    return replace(extent, data=bytes([extent.data[0] ^ 1]) + extent.data[1:])
