"""The lab bench behind `dr sim`: disasters for embedded arrays and hosts, and a look at what guests have on their disks.

It stands outside all faults: files are opened directly, whoever is silent.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dr_provider.arrays.embedded import connect
from dr_provider.arrays.embedded.sim import damage_block
from dr_provider.arrays.embedded.store import store_of
from dr_provider.cli.simulated_disks import attachment, export_disk, file_of, has_disks, read_disk, writable
from dr_provider.hypervisors.embedded.guest import Guest
from dr_provider.hypervisors.embedded.lab import Lab, Written, read_ledger
from dr_provider.model import faults, keys
from dr_provider.model.errors import BadInput, NotFound, NotReady
from dr_provider.model.records import Owner
from dr_provider.model.topology import ArraySpec, HostSpec, Topology
from dr_provider.model.vm import DiskAttachment, VmDefinition

__all__ = ["Bench", "FaultLine", "LedgerReport", "Lost"]


@dataclass(frozen=True)
class LedgerReport:
    """A VM's ledger on one copy of its disks; `host` is None where no host of the site has the VM. `problem`: why it is not intact."""

    vm: str
    site: str
    host: str | None
    last: int
    buffered: int
    intact: bool
    problem: str = ""


@dataclass(frozen=True)
class Lost:
    """What a loss did: how many files it touched, and the VMs that ended with their host, as (VM, host)."""

    files: int
    ended: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class FaultLine:
    target: str
    kind: str
    device: str
    value: float
    peers: tuple[str, ...]


@dataclass(frozen=True)
class _Place:
    """Where a VM was found: its definition, on a host (with its guest) or only in the topology."""

    site: str
    definition: VmDefinition
    lab: Lab | None = None
    guest: Guest | None = None

    @property
    def running(self) -> bool:
        return self.guest is not None and self.guest.running


class Bench:
    """All embedded devices of a topology. Methods raise BadInput for unknown names, NotReady for files that cannot be used."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._labs = {name: Lab(spec) for name, spec in sorted(topology.hosts.items()) if spec.driver == "embedded"}

    def close(self) -> None:
        for lab in self._labs.values():
            lab.close()

    # -- guests ----------------------------------------------------------------------------------

    def write(self, vm: str, count: int, site: str | None = None) -> Written:
        """The running guest's application takes `count` entries. NotFound where it runs nowhere."""
        if count < 1:
            raise BadInput(f"sim write {vm} --count {count}: wanted at least 1; nothing was done")
        places = self._defined(vm, site)
        running = [place for place in places if place.running]
        if not running:
            state = f"it is off on {_hosts(places)}" if places else "no host has it"
            raise NotFound(f"VM {vm} runs nowhere{_at(site)}: {state}; start it first")
        lab = self._only(vm, running).lab
        assert lab is not None
        return lab.write(vm, count, connect)

    def ledger(self, vm: str, site: str | None = None) -> LedgerReport:
        """The ledger where the VM runs, else on its writable copy; `site`: on that site's copy."""
        place = self._place(vm, site)
        with self._quiet(place):
            guest = self._now(place)
            found = read_ledger(place.definition, read_disk)
        host = place.lab.name if place.lab else None
        buffered = guest.taken - guest.ledger.last if guest is not None and guest.running else 0
        return LedgerReport(vm, place.site, host, found.last, buffered, found.intact, found.problem)

    def export(self, vm: str, disk: str, file: Path, site: str | None = None) -> int:
        """Write a disk, as the guest sees it, to a file; its bytes. The file appears whole or not at all."""
        place = self._place(vm, site)
        chosen = _disk(place, vm, disk)
        with self._quiet(place):
            return export_disk(chosen, file)

    # -- disasters -------------------------------------------------------------------------------

    def lose(self, target: str, *, running: bool = False) -> Lost:
        """Lose a site, host, array or link. Power goes with a site or host, unless `running`."""
        kind = self._check_target(target, ("site", "host", "array", "witness", "link"))
        if running and kind not in ("site", "host"):
            raise BadInput(
                f"sim lose {target} --running: only a site or a host has guests that run on; nothing was done"
            )
        set_ = faults.loss(self._topology, target, running=running)
        files = self._put(target, set_)
        ended = list[tuple[str, str]]()
        # Silence first, so that no guest is started on a host whose power is already counted as gone.
        for name, lab in self._labs.items():
            fault = set_.get(_path(self._topology.hosts[name]))
            if fault is not None and fault.kind == "silent" and _path(self._topology.hosts[name]).is_file():
                ended += [(vm, name) for vm in lab.cut_power()]
        return Lost(files, tuple(sorted(ended)))

    def slow(self, target: str, seconds: float) -> int:
        """Every call to the target waits; how many files took the fault."""
        self._check_target(target, ("site", "host", "array", "witness"))
        return self._put(target, faults.slowness(self._topology, target, seconds))

    def fail(self, target: str, call: int) -> int:
        """The given call from now on fails; how many files took the fault."""
        self._check_target(target, ("site", "host", "array", "witness"))
        return self._put(target, faults.failure(self._topology, target, call))

    def garble(self, target: str, extent: int) -> int:
        """The given extent of a transfer from now on arrives with a bit flipped; how many arrays took the fault."""
        self._check_target(target, ("site", "array"))
        return self._put(target, faults.garbling(self._topology, target, extent))

    def corrupt(self, vm: str, disk: str, site: str | None, point: str | None, *, unnoticed: bool) -> tuple[str, int]:
        """Flip a bit at rest in the disk's first data, as of a recovery point (None: now); site and offset in bytes."""
        place = self._place(vm, site)
        chosen = _disk(place, vm, disk)
        with self._quiet(place), _plain(f"VM {vm}"):
            at = damage_block(file_of(chosen), chosen.volume, chosen.lun, point, unnoticed=unnoticed)
        return place.site, at

    def heal(self, target: str) -> None:
        """Clear every fault of the target; where there is none nothing is done."""
        self._check_target(target, ("site", "host", "array", "witness", "link"))
        with _plain(target):
            faults.clear(self._topology, target)

    def in_force(self) -> list[FaultLine]:
        """What is in force, device by device."""
        found: list[FaultLine] = []
        for device, path in faults.record_files(self._topology).items():
            if path.is_file():
                with store_of(path).reading() as db:
                    found += _lines(device, faults.read(db))
        for name, lab in self._labs.items():
            if _path(self._topology.hosts[name]).is_file():
                found += _lines(f"host {name}", lab.in_force())
        return sorted(found, key=lambda line: (line.target, line.device, line.kind))

    # -- finding a VM ----------------------------------------------------------------------------

    def _defined(self, vm: str, site: str | None) -> list[_Place]:
        """Where hosts have the VM. BadInput: nobody knows such a VM."""
        if site is not None and site not in self._topology.sites:
            raise BadInput(
                f"--at {site}: no such site; wanted one of: {', '.join(sorted(self._topology.sites))}; nothing was done"
            )
        known, places = set(self._topology.vms), list[_Place]()
        embedded = 0
        for lab in self._labs.values():
            embedded += 1
            if not _path(self._topology.hosts[lab.name]).is_file():
                continue
            for guest in lab.guests():
                known.add(guest.name)
                if guest.name == vm and site in (None, lab.site):
                    places.append(_Place(lab.site, guest.definition, lab, guest))
        if vm not in known:
            raise BadInput(f"VM {vm!r}: no such VM; known are: {', '.join(sorted(known))}; nothing was done")
        if not embedded:
            raise BadInput(
                f"VM {vm}: topology {self._topology.name} has no embedded host, and sim knows only those; nothing was done"
            )
        return places

    def _place(self, vm: str, site: str | None) -> _Place:
        places = self._defined(vm, site)
        running = [place for place in places if place.running]
        if running:
            return self._only(vm, running)
        # A VM may be defined off at both sites, and before its first failover it is known at its home only.
        places += self._from_topology(vm, site, {place.site for place in places})
        if not places:
            raise NotFound(f"VM {vm}: no host and no array has anything of it{_at(site)}")
        return next((place for place in places if writable(place.definition)), places[0])

    def _from_topology(self, vm: str, site: str | None, but: Iterable[str]) -> Iterator[_Place]:
        spec = self._topology.vms.get(vm)
        plan = self._topology.plan_of_vm(vm)
        if spec is None or plan is None:
            return
        for where in plan.sites:
            if where in but or site not in (None, where):
                continue
            disks = list[DiskAttachment]()
            for disk in spec.disks:
                copy = self._topology.copy_at(disk.volume, where)
                array = self._topology.arrays[copy] if copy else None
                if array is None:
                    break
                if array.driver != "embedded":
                    raise BadInput(
                        f"array {array.name} has driver {array.driver}, and sim knows only embedded ones; nothing was done"
                    )
                lun = keys.lun_name(vm, disk.role)
                disks.append(attachment(disk.role, disk.volume, lun, disk.size, _path(array)))
            else:
                yield _Place(
                    where,
                    VmDefinition(vm, vm, plan.name, "", 0, 0, tuple(disks), (), Owner(self._topology.name, "", "")),
                )

    def _only(self, vm: str, running: list[_Place]) -> _Place:
        if len({place.site for place in running}) > 1:
            raise BadInput(
                f"VM {vm} runs at more than one site ({_hosts(running)}); say which with --at SITE; nothing was done"
            )
        # One of two on a site has lost its disks: the guest that counts is the other.
        return max(running, key=lambda at: at.lab is not None and has_disks(at.definition, at.lab.initiator()))

    @contextmanager
    def _quiet(self, place: _Place) -> Iterator[None]:
        if place.lab is None or not place.running:
            yield
            return
        with place.lab.quiet(place.definition.name):
            yield

    def _now(self, place: _Place) -> Guest | None:
        if place.lab is None:
            return None
        return next((guest for guest in place.lab.guests() if guest.name == place.definition.name), None)

    # -- targets ---------------------------------------------------------------------------------

    def _check_target(self, target: str, kinds: tuple[str, ...]) -> str:
        """The target's kind. BadInput: an unknown one, with those that are known, or a driver that is not embedded."""
        topology = self._topology
        kind, _, name = target.partition(":")
        if (
            target == "witness"
            and kind in kinds
            and topology.witness is not None
            and topology.witness.driver == "embedded"
        ):
            return kind
        names = {"site": list(topology.sites), "host": list(topology.hosts), "array": list(topology.arrays)}
        if kind == "link" and kind in kinds:
            self._check_link(target, name)
            return kind
        if kind == "array" and "/" in name and "link" in kinds:
            faults.node_of(topology, target)
            return kind
        if kind not in kinds or name not in names.get(kind, []):
            known = [f"{k}:{n}" for k in kinds if k in names for n in sorted(names[k])]
            more = ", or link:A/B of two sites, two arrays, or operator and a site" if "link" in kinds else ""
            raise BadInput(f"target {target!r}: wanted one of {', '.join(known)}{more}; nothing was done")
        devices: list[ArraySpec | HostSpec] = [*topology.arrays.values(), *topology.hosts.values()]
        touched = [d for d in devices if name == d.site] if kind == "site" else []
        touched += [topology.hosts[name]] if kind == "host" else []
        touched += [topology.arrays[name]] if kind == "array" else []
        _check_drivers(target, touched)
        return kind

    def _check_link(self, target: str, name: str) -> None:
        topology = self._topology
        ends = name.split("/")
        known = {*topology.sites, *topology.arrays, "operator", *(["witness"] if topology.witness is not None else [])}
        both_operator_and_array = "operator" in ends and not set(ends) <= {*topology.sites, "operator", "witness"}
        if len(ends) != 2 or ends[0] == ends[1] or not set(ends) <= known or both_operator_and_array:
            raise BadInput(
                f"target {target!r}: wanted link:A/B of two sites ({', '.join(sorted(topology.sites))}), two arrays "
                f"({', '.join(sorted(topology.arrays))}), or operator and a site; nothing was done"
            )
        arrays = [a for a in topology.arrays.values() if a.name in ends or a.site in ends]
        hosts = [h for h in topology.hosts.values() if "operator" in ends and h.site in ends]
        _check_drivers(target, [*arrays, *hosts])

    def _put(self, target: str, set_: dict[Path, faults.Fault]) -> int:
        with _plain(target):
            files = faults.put_all(set_)
        if not files:
            missing = ", ".join(str(path) for path in sorted(set_))
            raise NotReady(
                f"{target}: nothing of it has been made yet (no file {missing or 'at all'}); run the first `up` before"
            )
        return files


def _disk(place: _Place, vm: str, role: str) -> DiskAttachment:
    chosen = next((d for d in place.definition.disks if d.role == role), None)
    if chosen is None:
        roles = ", ".join(sorted(d.role for d in place.definition.disks))
        raise BadInput(f"VM {vm} has no disk {role!r}; wanted one of: {roles}; nothing was done")
    return chosen


def _check_drivers(target: str, devices: Iterable[ArraySpec | HostSpec]) -> None:
    for device in devices:
        if device.driver != "embedded":
            word = "host" if isinstance(device, HostSpec) else "array"
            raise BadInput(
                f"target {target}: {word} {device.name} has driver {device.driver}, and sim knows only embedded ones; nothing was done"
            )


def _path(device: ArraySpec | HostSpec) -> Path:
    return Path(str(device.options["path"]))


def _lines(device: str, found: Iterable[faults.Fault]) -> list[FaultLine]:
    return [FaultLine(fault.target, fault.kind, device, fault.value, fault.peers) for fault in found]


def _at(site: str | None) -> str:
    return f" at {site}" if site else ""


def _hosts(places: Iterable[_Place]) -> str:
    return ", ".join(place.lab.name for place in places if place.lab)


@contextmanager
def _plain(target: str) -> Iterator[None]:
    """A device's file that is not one, as a sentence."""
    try:
        yield
    except sqlite3.Error as error:
        raise NotReady(
            f"{target}: a file of it is damaged or not an embedded device's ({error}); bring it back from a copy"
        ) from error
