"""CPUs and memory of a host: what running VMs and reservations take, and whether more fits.

Each function is called inside the transaction that then takes the room, so that two processes never share it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from dr_provider.hypervisors import room
from dr_provider.hypervisors.room import Size, check_definition
from dr_provider.model.state import Reservation

__all__ = ["Size", "check_definition", "check_room", "reservations", "reserve"]


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
    room.check_room(host, total, vm, wanted, running=running, reserved=reserved)


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
    room.check_kept(host, total, list(wanted), asked, running=running, reserved=reserved)
    db.executemany(
        "INSERT INTO reservation (tag, vm, cpus, memory) VALUES (?, ?, ?, ?)",
        [(tag, demand.vm, demand.cpus, demand.memory) for demand in wanted.values()],
    )


def reservations(db: sqlite3.Connection) -> tuple[Reservation, ...]:
    return tuple(
        Reservation(*row) for row in db.execute("SELECT tag, vm, cpus, memory FROM reservation ORDER BY tag, vm")
    )
