"""The guest of a running VM: its application takes entries into memory and writes them out to its disks.

Each function that touches a disk is called with the guest's lock held (locks.py), so there is one writer of a ledger at a time.
What a process was about to note down when it was killed is lost without harm: the next write-out writes the same bytes again.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, replace
from functools import lru_cache

from dr_provider.hypervisors.embedded import ledger
from dr_provider.hypervisors.embedded.clock import Clock
from dr_provider.hypervisors.embedded.disks import GuestDisk, regions
from dr_provider.hypervisors.embedded.store import HostFile
from dr_provider.model import codec
from dr_provider.model.errors import Conflict, DrError, NotFound
from dr_provider.model.vm import VmDefinition

__all__ = ["Guest", "GuestGone", "find", "load", "room_for", "save_written", "take", "why", "write_out"]


class GuestGone(Conflict):
    """The guest ended (stopped, or its host lost power) while something was asked of it."""


@dataclass(frozen=True)
class Guest:
    """A VM's row in the host's file. `taken`: the last entry in memory; `ledger.last`: the last that is on the disks."""

    name: str
    definition: VmDefinition
    state: str
    starts: int
    session: int
    ledger: ledger.Ledger
    taken: int
    refusal: str
    thaw_boot: str | None
    thaw_at: float | None

    @property
    def running(self) -> bool:
        return self.state == "running"

    @property
    def buffered(self) -> int:
        return self.taken - self.ledger.last if self.running else 0

    def frozen(self, clock: Clock) -> bool:
        """Whether the guest is quiesced now: its timer thaws it though no process may be there to see it."""
        if not self.running or self.thaw_at is None:
            return False
        return self.thaw_boot == clock.boot() and clock.now() < self.thaw_at


def find(db: sqlite3.Connection, name: str, where: str) -> Guest | None:
    """The VM of that name, or None."""
    row = db.execute("SELECT * FROM vm WHERE name = ?", (name,)).fetchone()
    return None if row is None else _guest(row, where)


def load(db: sqlite3.Connection, where: str) -> list[Guest]:
    """Every VM of the host, by name."""
    return [_guest(row, where) for row in db.execute("SELECT * FROM vm ORDER BY name")]


@lru_cache(maxsize=4096)
def _definition(text: str, what: str) -> VmDefinition:
    """A definition never changes, only its text is replaced: each text is read once."""
    return codec.load(VmDefinition, text, what)


def _guest(row: sqlite3.Row, where: str) -> Guest:
    name = row["name"]
    return Guest(
        name,
        _definition(row["definition"], f"{where}, VM {name}"),
        row["state"],
        row["starts"],
        row["session"],
        ledger.Ledger(row["durable"], row["chain"], tuple(json.loads(row["ends"])), tuple(json.loads(row["headers"]))),
        row["taken"],
        row["refusal"],
        row["thaw_boot"],
        row["thaw_at"],
    )


def save_written(db: sqlite3.Connection, guest: Guest, written: ledger.Ledger) -> None:
    """Note what is on the disks now. Raises GuestGone when this start of the guest is over."""
    changed = db.execute(
        "UPDATE vm SET durable = ?, chain = ?, ends = ?, headers = ? WHERE name = ? AND state = 'running' AND starts = ?",
        (written.last, written.chain, json.dumps(written.ends), json.dumps(written.headers), guest.name, guest.starts),
    ).rowcount
    if not changed:
        raise GuestGone(
            f"VM {guest.name}: its guest ended while it wrote to its disks; what was only in its memory is lost"
        )


def room_for(guest: Guest, disks: tuple[GuestDisk, ...], count: int) -> None:
    """Raise RegionFull unless `count` more entries fit on the guest's disks."""
    room = ledger.capacity(regions(disks))
    if guest.taken + count > room:
        raise ledger.RegionFull(
            f"VM {guest.name}: its ledger has room for {room} entries on its disks, {guest.taken} are taken, and {count} more were wanted; "
            "nothing was written. Give the VM a larger disk."
        )


def take(store: HostFile, name: str, count: int, where: str) -> Guest:
    """The application accepts `count` more entries, in memory. Raises NotFound, and Conflict where it is not up."""
    with store.writing() as db:
        guest = find(db, name, where)
        if guest is None:
            raise NotFound(f"VM {name}: {where} has no VM of that name")
        if not guest.running:
            raise Conflict(f"VM {name} is {guest.state} on {where}; start it first")
        if guest.refusal:
            raise Conflict(f"VM {name}: its application is not up: {guest.refusal}")
        db.execute("UPDATE vm SET taken = taken + ? WHERE name = ?", (count, name))
        return replace(guest, taken=guest.taken + count)


def write_out(store: HostFile, guest: Guest, disks: tuple[GuestDisk, ...], *, everything: bool) -> Guest:
    """Write entries from memory to the disks: all (at a freeze or stop), or whole batches only.

    Raises what the disks raise (what got there is noted), RegionFull and GuestGone.
    """
    goal = guest.taken if everything else guest.taken - guest.buffered % ledger.BATCH
    places = regions(disks)
    while guest.ledger.last < goal:
        upto = min(goal, guest.ledger.last + ledger.MAX_BATCH)
        written = ledger.append(places, guest.definition.vm, guest.ledger, upto, guest.session)
        with store.writing() as db:
            save_written(db, guest, written)
        guest = replace(guest, ledger=written)
    return guest


def why(error: DrError) -> str:
    """An error as the reason in a report: its first line, without a full stop."""
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
