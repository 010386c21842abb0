"""What `dr sim` does to an embedded host: outside all faults, straight at its file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dr_provider.hypervisors.embedded import guest, ledger
from dr_provider.hypervisors.embedded.clock import Clock
from dr_provider.hypervisors.embedded.disks import Read, attach, read_only_regions
from dr_provider.hypervisors.embedded.guest import Guest
from dr_provider.hypervisors.embedded.ledger import Ledger
from dr_provider.hypervisors.embedded.locks import guest_lock
from dr_provider.hypervisors.embedded.store import HostFile
from dr_provider.model import faults
from dr_provider.model.errors import DrError, Unreachable
from dr_provider.model.topology import HostSpec
from dr_provider.model.vm import Connect, VmDefinition

__all__ = ["Lab", "Written", "read_ledger"]

_PATIENCE = 30.0


@dataclass(frozen=True)
class Written:
    """What became of `sim write`: the last entry on the disks, entries only in memory, and why they could not be written out."""

    last: int
    buffered: int
    stuck: str = ""


class Lab:
    """One host's file and the guests in it. Every method can raise NotReady."""

    def __init__(self, spec: HostSpec, *, clock: Clock | None = None) -> None:
        self.name = spec.name
        self.site = spec.site
        self._where = f"host {spec.name}"
        self._clock = clock or Clock()
        self._store = HostFile(Path(str(spec.options["path"])), spec.name, _PATIENCE)

    def guests(self) -> list[Guest]:
        with self._store.reading() as db:
            return guest.load(db, self._where)

    def initiator(self) -> str:
        with self._store.reading() as db:
            return str(db.execute("SELECT initiator FROM host").fetchone()[0])

    def in_force(self) -> tuple[faults.Fault, ...]:
        with self._store.reading() as db:
            return faults.read(db)

    @contextmanager
    def quiet(self, vm: str) -> Iterator[None]:
        """No entry of the VM is on its way to a disk meanwhile."""
        with guest_lock(self._store.path, vm, _PATIENCE):
            yield

    def write(self, vm: str, count: int, connect: Connect) -> Written:
        """The guest's application takes `count` entries and writes out whole batches, unless it is frozen.

        The entries are taken even when a disk does not answer: they stay in memory, and `stuck` says why. Raises NotFound,
        Conflict (the application is not up) and RegionFull.
        """
        with self.quiet(vm):
            with self._store.reading() as db:
                there = guest.find(db, vm, self._where)
                initiator = str(db.execute("SELECT initiator FROM host").fetchone()[0])
            disks = attach(there.definition, connect, self.site, initiator) if there else ()
            if there is not None and there.running and not there.refusal:
                guest.room_for(there, disks, count)
            taken = guest.take(self._store, vm, count, self._where)
            if taken.frozen(self._clock):
                return Written(taken.ledger.last, taken.buffered)
            try:
                written = guest.write_out(self._store, taken, disks, everything=False)
            except guest.GuestGone:
                raise
            except DrError as error:
                with self._store.reading() as db:
                    now = guest.find(db, vm, self._where) or taken
                return Written(now.ledger.last, now.buffered, guest.why(error))
            return Written(written.ledger.last, written.buffered)

    def cut_power(self) -> tuple[str, ...]:
        """All guests end at once, with what was only in their memory; reservations are gone too. The VMs that ran.

        When it returns, no guest of this host writes any more.
        """
        with self._store.writing() as db:
            ran = tuple(row["name"] for row in db.execute("SELECT name FROM vm WHERE state = 'running' ORDER BY name"))
            db.execute(
                "UPDATE vm SET state = 'off', taken = durable, refusal = '', thaw_boot = NULL, thaw_at = NULL "
                "WHERE state = 'running'"
            )
            db.execute("DELETE FROM reservation")
        for name in ran:
            # A guest that waits for a silent array has nothing on its way.
            try:
                with self.quiet(name):
                    pass
            except Unreachable:
                continue
        return ran

    def close(self) -> None:
        self._store.close()


def read_ledger(definition: VmDefinition, reader: Read) -> Ledger:
    """The ledger on a copy of the VM's disks, whoever may write to it now."""
    return ledger.read(read_only_regions(definition, reader), definition.vm)
