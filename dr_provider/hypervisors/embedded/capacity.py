"""CPUs and memory of a host: what running VMs and reservations take, and whether more fits.

Each function is called inside the transaction that then takes the room, so that two processes never share it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from dr_provider.model.errors import HostFull
from dr_provider.model.state import Reservation

__all__ = ["Size", "check_definition", "check_room", "reservations", "reserve"]

_GIB = 1 << 30


@dataclass(frozen=True)
class Size:
    """`cpus`, and `memory` in bytes."""

    cpus: int
    memory: int

    def __add__(self, other: Size) -> Size:
        return Size(self.cpus + other.cpus, self.memory + other.memory)

    def __str__(self) -> str:
        return f"{self.cpus} CPUs and {self.memory / _GIB:.4g} GiB"

    def within(self, other: Size) -> bool:
        return self.cpus <= other.cpus and self.memory <= other.memory


def check_definition(host: str, total: Size, vm: str, wanted: Size) -> None:
    """Raise HostFull for a VM that is larger than the whole host."""
    if not wanted.within(total):
        raise HostFull(
            f"host {host}: VM {vm} wants {wanted}, and the whole host has {total}; make the VM smaller or choose another host"
        )


def _running(db: sqlite3.Connection, but: str) -> Size:
    row = db.execute(
        "SELECT COALESCE(SUM(cpus), 0), COALESCE(SUM(memory), 0) FROM vm WHERE state = 'running' AND name != ?", (but,)
    )
    return Size(*row.fetchone())


_TAKEN = """
SELECT * FROM (SELECT COALESCE(SUM(cpus), 0), COALESCE(SUM(memory), 0) FROM vm WHERE state = 'running' AND name != ?1),
    (SELECT COALESCE(SUM(cpus), 0), COALESCE(SUM(memory), 0) FROM reservation WHERE vm != ?1)
"""


def check_room(db: sqlite3.Connection, host: str, total: Size, vm: str, wanted: Size) -> None:
    """Raise HostFull unless the VM fits beside the running VMs and the reservations of others."""
    cpus, memory, kept_cpus, kept_memory = db.execute(_TAKEN, (vm,)).fetchone()
    running, reserved = Size(cpus, memory), Size(kept_cpus, kept_memory)
    if not (running + reserved + wanted).within(total):
        raise HostFull(
            f"host {host}: VM {vm} wants {wanted}; of {total} running VMs take {running} and reservations {reserved}; "
            "stop something there or choose another host"
        )


def reserve(db: sqlite3.Connection, host: str, total: Size, tag: str, demands: Sequence[Reservation]) -> None:
    """Replace what is kept under the tag. A VM that runs here already has its room, so nothing is kept for it. Raises HostFull."""
    db.execute("DELETE FROM reservation WHERE tag = ?", (tag,))
    here = {row["name"] for row in db.execute("SELECT name FROM vm WHERE state = 'running'")}
    wanted = {demand.vm: demand for demand in demands if demand.vm not in here}
    if not wanted:
        return
    kept = db.execute("SELECT COALESCE(SUM(cpus), 0), COALESCE(SUM(memory), 0) FROM reservation")
    running, reserved = _running(db, ""), Size(*kept.fetchone())
    asked = sum((Size(demand.cpus, demand.memory) for demand in wanted.values()), Size(0, 0))
    if not (running + reserved + asked).within(total):
        names = ", ".join(sorted(wanted))
        raise HostFull(
            f"host {host}: no room to keep {asked} for {names}; of {total} running VMs take {running} and other reservations {reserved}; "
            "nothing was reserved"
        )
    db.executemany(
        "INSERT INTO reservation (tag, vm, cpus, memory) VALUES (?, ?, ?, ?)",
        [(tag, demand.vm, demand.cpus, demand.memory) for demand in wanted.values()],
    )


def reservations(db: sqlite3.Connection) -> tuple[Reservation, ...]:
    return tuple(
        Reservation(*row) for row in db.execute("SELECT tag, vm, cpus, memory FROM reservation ORDER BY tag, vm")
    )
