"""The embedded host: a hypervisor in one SQLite file, whose guests reach real blocks of their arrays."""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dr_provider.hypervisors.base import DataReport, FreezeReport, Hypervisor, ProbeReport, StopReport
from dr_provider.hypervisors.embedded import capacity, guest, ledger
from dr_provider.hypervisors.embedded.capacity import Size
from dr_provider.hypervisors.embedded.clock import Clock
from dr_provider.hypervisors.embedded.disks import attach, regions
from dr_provider.hypervisors.embedded.guest import Guest
from dr_provider.hypervisors.embedded.locks import guest_lock
from dr_provider.hypervisors.embedded.store import HostFile
from dr_provider.model import codec, faults
from dr_provider.model.errors import BadInput, Busy, Conflict, CorruptRecord, DrError, NotFound, Unreachable
from dr_provider.model.files import file_finding, room_of
from dr_provider.model.findings import Examination, HostUse
from dr_provider.model.gate import Gate
from dr_provider.model.records import Owner
from dr_provider.model.state import HostState, Reservation, VmRun, VmState
from dr_provider.model.topology import HealthSpec, HostSpec
from dr_provider.model.vm import Connect, VmDefinition

__all__ = ["EmbeddedHost"]

_NAME = re.compile(r"[a-z0-9][a-z0-9.:_-]{0,119}")
_UNLIMITED = Size(1 << 20, 1 << 60)


def _new_session() -> int:
    return secrets.randbits(63)


class EmbeddedHost(Hypervisor):
    """Options of its spec: path, cpus, memory (bytes), latency (seconds a call), width (calls at once in a process).

    `timeout`: seconds until silence is Unreachable. `clock` runs the thaw timers; `session` names each start of a guest; `vantage` is the
    site that calls come from ("": the operator's place).
    """

    def __init__(
        self,
        spec: HostSpec,
        *,
        connect: Connect,
        timeout: float,
        clock: Clock | None = None,
        session: Callable[[], int] = _new_session,
        vantage: str = "",
    ) -> None:
        self.name = spec.name
        self.site = spec.site
        self._where = f"host {spec.name}"
        self._total = Size(_integer(spec, "cpus", _UNLIMITED.cpus), _integer(spec, "memory", _UNLIMITED.memory))
        self._connect = connect
        self._timeout = timeout
        self._clock = clock or Clock()
        self._session = session
        path = Path(str(spec.options["path"]))
        self._store = HostFile(path, spec.name, timeout)
        width = spec.options.get("width")
        latency = spec.options.get("latency") or 0.0
        self._gate = Gate(
            f"host {spec.name} at site {spec.site}",
            str(path.resolve()),
            timeout=timeout,
            latency=float(str(latency)),
            width=None if width is None else int(str(width)),
            vantage=vantage,
            site=spec.site,
        )

    # -- the calls -------------------------------------------------------------------------------

    def state(self) -> HostState:
        with self._call(), self._store.reading() as db:
            vms = {g.name: self._vm_state(g) for g in guest.load(db, self._where)}
            return HostState(_initiator(db), self._total.cpus, self._total.memory, vms, capacity.reservations(db))

    def create(self) -> None:
        # Nothing that could be silent is there before; a file that is there may well be.
        self._store.create()
        with self._call():
            pass

    def define(self, definition: VmDefinition) -> None:
        _check_name(definition.name)
        wanted = Size(definition.cpus, definition.memory)
        with self._call():
            capacity.check_definition(self.name, self._total, definition.name, wanted)
            with self._store.writing() as db:
                there = guest.find(db, definition.name, self._where)
                if there is not None:
                    if there.definition == definition:
                        return
                    self._check_adoption(there, definition)
                db.execute(
                    "INSERT INTO vm (name, definition, cpus, memory) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE "
                    "SET definition = excluded.definition, cpus = excluded.cpus, memory = excluded.memory",
                    (definition.name, codec.dump(definition), definition.cpus, definition.memory),
                )

    def undefine(self, name: str, owner: Owner) -> bool:
        with self._call(), self._guest(name), self._store.writing() as db:
            there = guest.find(db, name, self._where)
            if there is None or not _same(there.definition.owner, owner):
                return False
            if there.running:
                raise Busy(f"VM {name}: it runs on {self._where}; stop it before it is removed")
            db.execute("DELETE FROM vm WHERE name = ?", (name,))
            return True

    def start(self, name: str) -> None:
        with self._call(), self._guest(name):
            with self._store.reading() as db:
                there, initiator = self._find(db, name), _initiator(db)
                if there.running:
                    return
                self._check_room(db, there.definition)
            disks = attach(there.definition, self._connect, self.site, initiator)
            with self._naming(name):
                for disk in disks:
                    disk.check()
                try:
                    found = ledger.read(regions(disks), there.definition.vm)
                except CorruptRecord as error:
                    # The array cannot give a block: the machine starts, the application does not.
                    found = ledger.Ledger(0, 0, (), (), guest.why(error))
            with self._store.writing() as db:
                # The host may have lost power meanwhile, or another process redefined the VM or taken the room.
                if any(fault.kind == "silent" for fault in faults.read(db)):
                    raise Unreachable(f"{self._where} at site {self.site} gives no answer")
                if self._find(db, name).definition != there.definition:
                    raise Conflict(
                        f"VM {name}: its definition on {self._where} was changed while it was started; start it again"
                    )
                self._check_room(db, there.definition)
                db.execute("DELETE FROM reservation WHERE vm = ?", (name,))
                db.execute(
                    "UPDATE vm SET state = 'running', starts = starts + 1, session = ?, durable = ?, chain = ?, ends = ?, headers = ?, taken = ?, "
                    "refusal = ?, thaw_boot = NULL, thaw_at = NULL WHERE name = ?",
                    (
                        self._session(),
                        found.last,
                        found.chain,
                        json.dumps(found.ends),
                        json.dumps(found.headers),
                        found.last,
                        found.problem,
                        name,
                    ),
                )

    def stop(self, name: str, *, graceful: float = 60.0) -> StopReport:
        with self._call(), self._guest(name):
            with self._store.reading() as db:
                there, initiator = guest.find(db, name, self._where), _initiator(db)
            if there is None or not there.running:
                return StopReport("was off")
            report = StopReport("hard")
            if graceful > 0 and not there.refusal:
                # A guest that cannot write hangs in its shutdown, and is ended hard.
                try:
                    mark = self._flush(there, initiator)
                    report = StopReport("graceful", mark)
                except DrError:
                    report = StopReport("hard")
            with self._store.writing() as db:
                db.execute(
                    "UPDATE vm SET state = 'off', taken = durable, refusal = '', thaw_boot = NULL, thaw_at = NULL WHERE name = ?",
                    (name,),
                )
            return report

    def freeze(self, name: str, *, thaw_after: float) -> FreezeReport:
        with self._call():
            deadline = self._clock.now() + thaw_after
            with self._guest(name):
                with self._store.reading() as db:
                    there, initiator = self._find(db, name), _initiator(db)
                if not there.running:
                    return FreezeReport("off", self._mark_of_off(there, initiator))
                if there.refusal:
                    return FreezeReport("crash", reason=f"its application is not up: {there.refusal}")
                mark: int | None = there.ledger.last
                if there.frozen(self._clock):
                    # Frozen all along for both who asked: nothing more is written out, and the timer is the later one.
                    deadline = max(deadline, there.thaw_at or 0.0)
                else:
                    try:
                        mark = self._flush(there, initiator)
                    except DrError as error:
                        return FreezeReport("crash", reason=guest.why(error))
                with self._store.writing() as db:
                    frozen = db.execute(
                        "UPDATE vm SET thaw_boot = ?, thaw_at = ? WHERE name = ? AND state = 'running' AND starts = ?",
                        (self._clock.boot(), deadline, name, there.starts),
                    ).rowcount
            if not frozen:
                return FreezeReport("crash", reason="its guest ended while it was frozen")
            return FreezeReport("application", mark)

    def thaw(self, name: str) -> bool:
        with self._call(), self._store.writing() as db:
            there = guest.find(db, name, self._where)
            if there is None:
                return False
            db.execute("UPDATE vm SET thaw_boot = NULL, thaw_at = NULL WHERE name = ? AND thaw_at IS NOT NULL", (name,))
            return there.frozen(self._clock)

    def rescan(self) -> None:
        # Guests see the array as it is at each read and write, so there is nothing to refresh: only reach is tested.
        with self._call():
            pass

    def probe(self, name: str, health: HealthSpec) -> ProbeReport:
        with self._call():
            with self._store.reading() as db:
                there, initiator = guest.find(db, name, self._where), _initiator(db)
            if there is None:
                return ProbeReport(False, f"not defined on {self._where}")
            if not there.running:
                return ProbeReport(False, f"it is {there.state}")
            if there.refusal:
                return ProbeReport(False, f"its application is not up: {there.refusal}")
            if health.tcp is not None and not there.definition.nics:
                return ProbeReport(False, f"no network card to probe port {health.tcp} through")
            try:
                for disk in attach(there.definition, self._connect, self.site, initiator):
                    disk.check()
            except (Unreachable, Conflict, NotFound) as error:
                return ProbeReport(False, f"it waits for a disk: {guest.why(error)}")
            return ProbeReport(True, "answers")

    def read_data(self, name: str) -> DataReport | None:
        with self._call(), self._guest(name):
            with self._store.reading() as db:
                there, initiator = self._find(db, name), _initiator(db)
            if not there.running:
                return DataReport(False, None, f"it is {there.state}")
            disks = attach(there.definition, self._connect, self.site, initiator)
            found = ledger.read(regions(disks), there.definition.vm)
            return DataReport(found.intact, found.last, found.problem)

    def reserve(self, tag: str, demands: Sequence[Reservation]) -> None:
        with self._call(), self._store.writing() as db:
            capacity.reserve(db, self.name, self._total, tag, demands)

    def release(self, tag: str) -> None:
        with self._call(), self._store.writing() as db:
            db.execute("DELETE FROM reservation WHERE tag = ?", (tag,))

    def examine(self, use: HostUse) -> Examination:
        if self._store.path.exists():
            # A fault that is set on the host is met here as everywhere.
            with self._call():
                pass
        return Examination((file_finding(f"host {self.name}", self._store.path),), room=room_of(self._store.path))

    def close(self) -> None:
        self._store.close()

    # -- parts of them ---------------------------------------------------------------------------

    @contextmanager
    def _call(self) -> Iterator[None]:
        with self._gate.call(self._faults):
            yield

    def _faults(self) -> tuple[faults.Fault, ...]:
        with self._store.looking() as db:
            return faults.read(db)

    @contextmanager
    def _guest(self, name: str) -> Iterator[None]:
        with guest_lock(self._store.path, name, self._timeout):
            yield

    def _find(self, db: sqlite3.Connection, name: str) -> Guest:
        there = guest.find(db, name, self._where)
        if there is None:
            raise NotFound(f"VM {name}: {self._where} has no VM of that name; define it first")
        return there

    def _vm_state(self, there: Guest) -> VmState:
        detail = f"its application is not up: {there.refusal}" if there.running and there.refusal else ""
        state: VmRun = "running" if there.running else "off"
        return VmState(there.name, state, there.definition, there.frozen(self._clock), detail)

    def _check_adoption(self, there: Guest, definition: VmDefinition) -> None:
        owner = there.definition.owner
        if owner.topology != definition.owner.topology:
            raise Conflict(
                f"VM {there.name}: on {self._where} it belongs to topology {owner.topology}, and {definition.owner.topology} wanted to define it; "
                "give the VM another name, or remove the other one first"
            )
        # A new owner of the same definition is no change to what runs.
        if there.running and replace(there.definition, owner=definition.owner) != definition:
            raise Conflict(f"VM {there.name}: it runs on {self._where} with another definition; stop it first")

    def _check_room(self, db: sqlite3.Connection, definition: VmDefinition) -> None:
        capacity.check_room(db, self.name, self._total, definition.name, Size(definition.cpus, definition.memory))

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """Say whose disk it is that cannot be used."""
        try:
            yield
        except (Unreachable, Conflict) as error:
            raise type(error)(f"VM {name} on {self._where}: {error}") from error
        except NotFound as error:
            raise Conflict(f"VM {name} on {self._where}: {error}") from error

    def _flush(self, there: Guest, initiator: str) -> int | None:
        """Write everything out and say the last entry; None for a guest without a disk."""
        disks = attach(there.definition, self._connect, self.site, initiator)
        if not disks:
            return None
        for disk in disks:
            disk.check()
        return guest.write_out(self._store, there, disks, everything=True).ledger.last

    def _mark_of_off(self, there: Guest, initiator: str) -> int | None:
        try:
            disks = attach(there.definition, self._connect, self.site, initiator)
            found = ledger.read(regions(disks), there.definition.vm)
        except DrError:
            return None
        return found.last if disks and found.intact else None


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise BadInput(
            f"VM name {name!r}: wanted lower-case letters, digits and . : _ -, at most 120; nothing was done"
        )


def _same(one: Owner, other: Owner) -> bool:
    return one.topology == other.topology and one.incarnation == other.incarnation


def _initiator(db: sqlite3.Connection) -> str:
    return str(db.execute("SELECT initiator FROM host").fetchone()[0])


def _integer(spec: HostSpec, key: str, default: int) -> int:
    value = spec.options.get(key)
    return default if value is None else int(str(value))
