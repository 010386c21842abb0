"""What every call of an embedded array has in common: faults first, then one transaction, the guard at its head."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dr_provider.arrays.embedded.rows import check_guard
from dr_provider.arrays.embedded.schema import DEFAULT_CAPACITY
from dr_provider.arrays.embedded.store import store_of
from dr_provider.model import faults
from dr_provider.model.errors import ArrayFull
from dr_provider.model.gate import Gate
from dr_provider.model.records import Guard

__all__ = ["Core", "refuse_overflow", "used_blocks"]


class Core:
    """An opened embedded array. `capacity` None: as the file has it from whoever opened it with one."""

    def __init__(
        self,
        name: str,
        site: str,
        path: Path,
        *,
        timeout: float,
        capacity: int | None = None,
        latency: float = 0.0,
        width: int | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        vantage: str = "",
    ) -> None:
        self.name = name
        self.site = site
        self.path = path.absolute()
        self._where = (
            f"array {name} at site {site}" if site else f"array {name}" if name != "witness" else f"witness {path}"
        )
        self._store = store_of(self.path)
        self._capacity = capacity
        self._sleep = sleep
        self._clock = clock
        self._gate = Gate(
            self._where, str(self.path), timeout=timeout, latency=latency, width=width, sleep=sleep, clock=clock,
            vantage=vantage, site=site,
        )  # fmt: skip

    def create(self) -> str:
        """Make the array's file if there is none; its own id."""
        self._store.create(self._capacity or DEFAULT_CAPACITY)
        with self._reading() as db:
            own_id: str = db.execute("SELECT own_id FROM array").fetchone()[0]
        return own_id

    def close(self) -> None:
        self._store.close()

    def _faults(self) -> tuple[faults.Fault, ...]:
        with self._store.connection() as db:
            return faults.read(db)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A driver call that changes nothing."""
        with self._gate.call(self._faults), self._store.reading() as db:
            yield db

    @contextmanager
    def _changing(self, guard: Guard) -> Iterator[sqlite3.Connection]:
        """A driver call that is one atomic change."""
        with self._gate.call(self._faults), self._step(guard) as db:
            yield db

    @contextmanager
    def _step(self, guard: Guard) -> Iterator[sqlite3.Connection]:
        """One transaction of a call that has passed the gate. The serial rises only if something changed."""
        with self._store.writing() as db:
            check_guard(db, guard, self._where)
            if self._capacity is not None:
                # Guests reach the file without the topology: the limit stands where they find it.
                db.execute("UPDATE array SET capacity = ?1 WHERE capacity <> ?1", (self._capacity,))
            before = db.total_changes
            yield db
            if db.total_changes != before:
                db.execute("UPDATE array SET serial = serial + 1")


def used_blocks(db: sqlite3.Connection) -> int:
    used: int = db.execute("SELECT coalesce(sum(stored), 0) FROM branch").fetchone()[0]
    return used


def refuse_overflow(db: sqlite3.Connection, block: int, where: str, what: str, more: int = 0) -> None:
    """Raise ArrayFull where stored blocks and `more` are beyond the capacity; the caller's transaction is undone."""
    (capacity,) = db.execute("SELECT capacity FROM array").fetchone()
    used = (used_blocks(db) + more) * block
    if used > capacity:
        raise ArrayFull(
            f"{where} is full: {what} needs {used} bytes in all, and its capacity is {capacity}; delete snapshots or safety copies"
        )
