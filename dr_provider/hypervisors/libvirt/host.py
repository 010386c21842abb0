"""A host that libvirt manages: its domains, what is kept there, and what its guests say."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from dr_provider.hypervisors.base import FreezeReport, Hypervisor, ProbeReport, StopReport
from dr_provider.hypervisors.libvirt import binding, blocks, examine, failures, metadata, power, watcher
from dr_provider.hypervisors.libvirt.binding import Load
from dr_provider.hypervisors.libvirt.book import Book
from dr_provider.hypervisors.libvirt.domain import Rendered, render
from dr_provider.hypervisors.libvirt.facts import Facts, read_facts
from dr_provider.hypervisors.libvirt.health import Health
from dr_provider.hypervisors.libvirt.inventory import read_all
from dr_provider.hypervisors.libvirt.link import Link, Work
from dr_provider.hypervisors.libvirt.metadata import Note
from dr_provider.hypervisors.libvirt.quiesce import FREEZE_SECONDS, THAW_SECONDS, Quiesce, is_frozen
from dr_provider.hypervisors.libvirt.running import Running, find, look, runs
from dr_provider.hypervisors.libvirt.taken import Taken
from dr_provider.hypervisors.room import Size, check_definition
from dr_provider.model.errors import BadInput, Busy, Conflict, NotFound, Unreachable
from dr_provider.model.findings import Examination, HostUse
from dr_provider.model.inventory import FoundVm
from dr_provider.model.records import Owner
from dr_provider.model.state import HostState, Reservation, VmRun, VmState
from dr_provider.model.topology import HealthSpec, HostSpec
from dr_provider.model.vm import VmDefinition

__all__ = ["LibvirtHost"]

_NAME = re.compile(r"[a-z0-9][a-z0-9.:_-]{0,119}")
_POLL = 0.2
_ASK_AGAIN = 5.0
T = TypeVar("T")


class LibvirtHost(Hypervisor):
    """Options of its spec: uri, ssh (identity, knownHosts, config), cpus, memory (bytes), initiator, disks (iscsi or block), machine,
    cpuModel, boot (kernel, initrd, cmdline). `timeout`: seconds until silence is Unreachable; `now`: the time of day in seconds."""

    def __init__(
        self, spec: HostSpec, *, timeout: float, load: Load = binding.load, now: Callable[[], float] = time.time
    ) -> None:
        self.name = spec.name
        self.site = spec.site
        self._spec = spec
        self._where = f"host {spec.name}"
        uri = str(spec.options.get("uri") or "")
        if not uri:
            raise BadInput(f"{self._where}: its libvirt URI is missing; wanted uri: qemu+ssh://[USER@]HOST/system")
        ssh = spec.options.get("ssh")
        self._link = Link(
            uri,
            cast(Mapping[str, object], ssh) if isinstance(ssh, Mapping) else {},
            where=self._where,
            timeout=timeout,
            load=load,
        )
        self._now = now
        self._health = Health(self._link)
        self._facts: tuple[Any, Facts] | None = None
        self._taken = Taken(spec.name, Book(self._where))
        self._block = spec.options.get("disks") == "block"
        self._log = urlsplit(uri).path == "/system"

    # -- facts -----------------------------------------------------------------------------------

    def state(self) -> HostState:
        def work(w: Work) -> HostState:
            facts = self._read_facts(w)
            # What is kept before what runs: a VM leaves the one only when it is in the other.
            kept = self._taken.book.read(w).kept
            ours, foreign = look(w)
            now = self._now()
            vms = {at.note.definition.name: _vm_state(at, now) for at in ours}
            free = Size(max(0, facts.size.cpus - foreign.cpus), max(0, facts.size.memory - foreign.memory))
            reservations = tuple(sorted(kept, key=lambda r: (r.tag, r.vm)))
            return HostState(facts.initiator, free.cpus, free.memory, dict(sorted(vms.items())), reservations)

        return self._call(work, "say what is on it")

    def inventory(self) -> tuple[FoundVm, ...]:
        return self._call(read_all, "say which VMs it has")

    def create(self) -> None:
        """A host is a machine, which nobody makes here; whether it answers is all that there is to do."""
        self._call(lambda w: w.conn.getLibVersion(), "answer")

    def rescan(self) -> None:
        def work(w: Work) -> None:
            if self._block:
                blocks.refresh(w)
            else:
                # QEMU logs in to each LUN itself when a guest starts, so there is nothing to look at before.
                w.conn.getLibVersion()

        self._call(work, "look for its LUNs")

    # -- definitions -----------------------------------------------------------------------------

    def define(self, definition: VmDefinition) -> None:
        _check_name(definition.name)

        def work(w: Work) -> None:
            facts = self._read_facts(w)
            wanted = Size(definition.cpus, definition.memory)
            check_definition(self.name, facts.size, definition.name, wanted)
            rendered = render(definition, facts, self._spec.options, _networks(w), log=self._log)
            domain = find(w, definition.name)
            if domain is None:
                self._make(w, definition, rendered)
                return
            there = metadata.read(w, domain, self._where)
            self._check_adoption(there, definition)
            assert there is not None
            note = Note(definition, rendered.digest, there.freeze)
            if runs(domain):
                if replace(there.definition, owner=definition.owner) != definition:
                    raise Conflict(
                        f"VM {definition.name}: it runs on {self._where} with another definition; stop it first"
                    )
                if not domain.isPersistent():
                    # It runs on after its definition was taken away by hand.
                    self._make(w, definition, rendered)
                if there.definition != definition:
                    metadata.write(w, domain, replace(note, rendered=there.rendered), live=True, config=True)
            elif (there.definition, there.rendered) != (definition, rendered.digest):
                if domain.UUIDString() != definition.uuid.lower():
                    _forget(w, domain)
                self._make(w, definition, rendered)

        self._call(work, f"define VM {definition.name}")

    def undefine(self, name: str, owner: Owner) -> bool:
        def work(w: Work) -> bool:
            domain = find(w, name)
            note = None if domain is None else metadata.read(w, domain, self._where)
            if note is None or not _same(note.definition.owner, owner):
                return False
            if runs(domain):
                raise Busy(f"VM {name}: it runs on {self._where}; stop it before it is removed")
            if self._block:
                blocks.log_out(w, note.definition)
            _forget(w, domain)
            return True

        return self._call(work, f"remove VM {name}")

    # -- power -----------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        def work(w: Work) -> None:
            domain = find(w, name)
            note = None if domain is None else metadata.read(w, domain, self._where)
            if domain is None or note is None:
                raise self._absent(name)
            if runs(domain):
                return
            definition = note.definition
            values = power.passwords(definition)
            facts = self._read_facts(w)
            with self._taken.starting(w, facts.size, definition), power.secrets_there(w, definition, values):
                if self._block:
                    blocks.log_in(w, definition, facts.initiator)
                power.power_on(w, domain, definition)

        began = time.monotonic()
        try:
            self._link.call(work, wanted=f"start VM {name}", seconds=power.START_SECONDS)
        except Unreachable:
            if time.monotonic() - began >= power.START_SECONDS:
                self._give_up(name)
            raise

    def stop(self, name: str, *, graceful: float = 60.0) -> StopReport:
        seen = self._call(lambda w: _look_at(w, name, self._where), f"stop VM {name}")
        if seen is None:
            return StopReport("was off")
        definition, paused = seen
        how: StopReport | None = None
        if graceful > 0 and not paused:
            until, ask = time.monotonic() + graceful, 0.0
            while how is None and (now := time.monotonic()) < until:
                # Again and again: a guest that is still booting hears neither its agent nor the power button.
                if now >= ask:
                    self._link.call(lambda w: self._ask(w, name), wanted=f"stop VM {name}", seconds=2.0 * THAW_SECONDS)
                    ask = time.monotonic() + _ASK_AGAIN
                if self._call(lambda w: _look_at(w, name, self._where), f"stop VM {name}") is None:
                    how = StopReport("graceful")
                else:
                    time.sleep(min(_POLL, max(0.0, until - time.monotonic())))

        def work(w: Work) -> None:
            if how is None and (domain := find(w, name)) is not None and runs(domain):
                power.end(w, domain)
            if self._block and definition is not None:
                blocks.log_out(w, definition)

        if how is None or self._block:
            self._link.call(work, wanted=f"stop VM {name}", seconds=power.START_SECONDS)
        return how or StopReport("hard")

    # -- guests ----------------------------------------------------------------------------------

    def freeze(self, name: str, *, thaw_after: float) -> FreezeReport:
        def work(w: Work) -> FreezeReport:
            at = _ours(w, name, self._where)
            if at is None:
                raise self._absent(name)
            if not at.active:
                return FreezeReport("off")
            if at.paused:
                return FreezeReport("crash", reason=at.detail)
            return self._quiesce(w, at).freeze(thaw_after)

        seconds = FREEZE_SECONDS + 2.0 * THAW_SECONDS
        return self._link.call(work, wanted=f"freeze VM {name}", seconds=seconds)

    def thaw(self, name: str) -> bool:
        return self._thaw(name, None)

    def thaw_freeze(self, name: str, token: str) -> bool:
        """Thaw if it is still this freeze that holds the guest (watchdogs)."""
        return self._thaw(name, token)

    def _thaw(self, name: str, token: str | None) -> bool:
        def work(w: Work) -> bool:
            at = _ours(w, name, self._where)
            if at is None or not at.active:
                return False
            if token is not None and (at.note.freeze is None or at.note.freeze.token != token):
                return False
            return self._quiesce(w, at).thaw()

        return self._link.call(work, wanted=f"thaw VM {name}", seconds=2.0 * THAW_SECONDS)

    def probe(self, name: str, health: HealthSpec) -> ProbeReport:
        def work(w: Work) -> ProbeReport:
            at = _ours(w, name, self._where)
            if at is None:
                return ProbeReport(False, f"not defined on {self._where}")
            if not at.active:
                return ProbeReport(False, f"it is off{f' ({at.detail})' if at.detail else ''}")
            if at.paused:
                return ProbeReport(False, at.detail)
            if not is_frozen(at.note, self._now()):
                self._quiesce(w, at).settle()
            return self._health.look(w, at, health)

        return self._link.call(work, wanted=f"look at VM {name}", seconds=self._health.seconds)

    # -- room ------------------------------------------------------------------------------------

    def reserve(self, tag: str, demands: Sequence[Reservation]) -> None:
        self._call(lambda w: self._taken.reserve(w, self._read_facts(w).size, tag, demands), f"keep room for {tag}")

    def release(self, tag: str) -> None:
        self._call(lambda w: self._taken.release(w, tag), f"give back the room of {tag}")

    def examine(self, use: HostUse) -> Examination:
        return examine.examine(self._spec, self._link, use)

    def close(self) -> None:
        self._link.close()

    # -- parts of them ---------------------------------------------------------------------------

    def _call(self, work: Callable[[Work], T], wanted: str) -> T:
        return self._link.call(work, wanted=wanted)

    def _read_facts(self, w: Work) -> Facts:
        known = self._facts
        if known is None or known[0] is not w.conn:
            self._facts = known = (w.conn, read_facts(w, self._spec.options, self._where))
        return known[1]

    def _make(self, w: Work, definition: VmDefinition, rendered: Rendered) -> None:
        w.go_on()
        try:
            w.conn.defineXMLFlags(rendered.xml, w.libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
        except w.libvirt.libvirtError as error:
            if failures.code(error) == w.libvirt.VIR_ERR_OPERATION_FAILED and definition.uuid.lower() in str(error):
                raise Conflict(
                    f"VM {definition.name}: {self._where} has another VM with the same uuid; remove that one first: {failures.text(error)}"
                ) from error
            raise

    def _check_adoption(self, there: Note | None, definition: VmDefinition) -> None:
        if there is None:
            raise Conflict(
                f"VM {definition.name}: {self._where} has a VM of that name which was not made by this program, and leaves it alone; "
                "give the VM another name, or remove the other one first"
            )
        owner = there.definition.owner
        if owner.topology != definition.owner.topology:
            raise Conflict(
                f"VM {definition.name}: on {self._where} it belongs to topology {owner.topology}, and {definition.owner.topology} wanted to define it; "
                "give the VM another name, or remove the other one first"
            )

    def _absent(self, name: str) -> NotFound:
        return NotFound(f"VM {name}: {self._where} has no VM of that name that is ours; define it first")

    def _quiesce(self, w: Work, at: Running) -> Quiesce:
        def watch(vm: str, token: str, seconds: float) -> None:
            watcher.watch(self._spec, self._link.timeout, vm, token, seconds)

        return Quiesce(w, at.domain, at.note, watch, self._now)

    def _ask(self, w: Work, name: str) -> None:
        at = _ours(w, name, self._where)
        if at is not None and at.active:
            self._quiesce(w, at).settle()
            power.ask_to_stop(w, at.domain)

    def _give_up(self, name: str) -> None:
        """A start that hangs would come up when nobody expects it any more."""

        def work(w: Work) -> None:
            if (domain := find(w, name)) is not None and runs(domain):
                power.end(w, domain)

        self._call(work, f"end the start of VM {name}")
        raise Conflict(
            f"VM {name} on {self._where}: it did not come up within {power.START_SECONDS:g} s and was ended; a LUN of it gives no answer, "
            "so look at its array and at the path to it"
        )


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise BadInput(
            f"VM name {name!r}: wanted lower-case letters, digits and . : _ -, at most 120; nothing was done"
        )


def _same(one: Owner, other: Owner) -> bool:
    return one.topology == other.topology and one.incarnation == other.incarnation


def _vm_state(at: Running, now: float) -> VmState:
    state: VmRun = "running" if at.active else "failed" if at.crashed else "off"
    return VmState(at.note.definition.name, state, at.note.definition, at.active and is_frozen(at.note, now), at.detail)


def _ours(w: Work, name: str, where: str) -> Running | None:
    domain = find(w, name)
    note = None if domain is None else metadata.read(w, domain, where)
    return None if note is None else Running.of(w, domain, note)


def _look_at(w: Work, name: str, where: str) -> tuple[VmDefinition, bool] | None:
    """(definition, whether it is paused) of a VM of ours that runs, else None."""
    at = _ours(w, name, where)
    return (at.note.definition, at.paused) if at is not None and at.active else None


def _networks(w: Work) -> set[str]:
    try:
        return {str(network.name()) for network in w.conn.listAllNetworks(0)}
    except w.libvirt.libvirtError as error:
        if failures.code(error) == w.libvirt.VIR_ERR_NO_SUPPORT:
            return set()
        raise


def _forget(w: Work, domain: Any) -> None:
    """The definition, and all that libvirt keeps with it."""
    libvirt = w.libvirt
    w.go_on()
    domain.undefineFlags(
        libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    )
