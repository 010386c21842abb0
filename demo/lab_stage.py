"""Real sites on this machine: ZFS arrays, iSCSI, libvirt hosts and QEMU guests, in a lab (lab/) of the run's own."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from demo import folder
from demo.commands import CommandFailed, Commands, environment
from demo.database import Health
from demo.lab_guests import Guests, ledger_of_image
from demo.lab_topology import lab_shop
from demo.stage import Ledger
from dr_provider.model.loader import load
from lab import needs
from lab.layout import LabError
from lab.machines import Lab, Machine
from lab.run import wait_for

__all__ = ["LabStage"]

_LIMIT = 600.0
"""Seconds for a command: a dozen guests without hardware support for them take their time to boot."""
_LOOK = "tank/look"
"""The clone through which a recovery point is looked at; beside what the product has, never in it."""


class LabStage:
    """`base`: the folder that the run has for itself. `keep`: the lab is left up at the end."""

    name = "lab"
    about = "ZFS over SSH, iSCSI and QEMU guests under libvirt"

    def __init__(self, base: Path, lab: str, *, keep: bool) -> None:
        self._base, self._name, self._keep = base, lab, keep
        self._lab: Lab | None = None

    def take(self, tell: Callable[[str], None]) -> None:
        self.folder = place = folder.prepare(self._base)
        self.run = Commands(place.project, place.log, environment(place.home, place.state), tell, limit=_LIMIT)

    def prepare(self) -> None:
        needs.check()
        self.run.tell(f"lab {self._name}: both sites are switched on")
        Lab.down(self._name)
        self._lab = lab = Lab.up(self._name)
        document = lab_shop(lab, folder.SHOP, lab.names.guest / "ledger.img")
        # JSON is YAML too.
        self.folder.topology.write_text(json.dumps(document, indent=2), encoding="utf-8")
        hosts = load(self.folder.topology).hosts
        self._guests = Guests(lab, {name: host.site for name, host in hosts.items()})

    def close(self) -> None:
        try:
            if not self._keep:
                Lab.down(self._name)
        finally:
            folder.release(self._base)

    @property
    def lab(self) -> Lab:
        assert self._lab is not None, "the stage is not prepared"
        return self._lab

    # -- guests ------------------------------------------------------------------------------------

    def write(self, counts: Mapping[str, int]) -> dict[str, Ledger]:
        first = next(iter(counts))
        self.run.show(f"(in guest {first}) ledger add {counts[first]}")
        return self._guests.ask({vm: ("add", str(count)) for vm, count in counts.items()})

    def ledgers(self, vms: Iterable[str]) -> dict[str, Ledger]:
        return self._guests.ask(dict.fromkeys(vms, ("state",)))

    def ledger_in(self, file: Path, vm: str) -> Ledger:
        return ledger_of_image(file, self._guests.sites)

    def database_in(self, vm: str, disk: str) -> tuple[Health, Health]:
        raise CommandFailed("the lab's guests hold no database; say `only: embedded`")

    def unclean(self, site: str, point: str) -> dict[str, str]:
        array = next(machine for machine in self.lab.site(site) if machine.role == "array")
        found: dict[str, str] = {}
        for snapshot in _lines(array, "zfs", "list", "-H", "-o", "name", "-t", "snapshot", "-r", "tank"):
            if snapshot.partition("@")[2] == point:
                found |= _look(array, snapshot)
        if not found:
            raise CommandFailed(f"array {array.name} has no snapshot {point} with LUNs in it, so none can be looked at")
        return {vm: state for vm, state in found.items() if state != "clean"}

    # -- the world's events ------------------------------------------------------------------------

    def lose(self, kind: str, name: str) -> list[str]:
        self.run.show(f"python -m lab {'lose' if kind == 'site' else 'kill'} {name}")
        machines = self.lab.site(name) if kind == "site" else [self.lab.machine(name)]
        ended = sorted(self._guests.running([machine for machine in machines if machine.role == "host"]))
        if kind == "site":
            self.lab.lose_site(name)
        else:
            self.lab.machine(name).kill()
        return ended

    def give_back(self, kind: str, name: str) -> None:
        self.run.show(f"python -m lab {'return' if kind == 'site' else 'start'} {name}")
        if kind == "site":
            self.lab.return_site(name)
        else:
            self.lab.machine(name).start()

    def cut(self, one: str, other: str) -> None:
        self.run.show(f"python -m lab cut {one} {other}")
        self.lab.cut(one, other)

    def heal(self, one: str, other: str) -> None:
        self.run.show(f"python -m lab heal {one} {other}")
        self.lab.heal(one, other)

    # -- what stands -------------------------------------------------------------------------------

    def things(self) -> Mapping[str, int]:
        found = {"ZFS datasets": 0, "iSCSI targets": 0, "domains": 0, "libvirt secrets": 0}
        for machine in self.lab.machines.values():
            if not machine.alive:
                continue
            if machine.role == "array":
                found["ZFS datasets"] += len(_lines(machine, "zfs", "list", "-H", "-o", "name", "-t", "filesystem"))
                targets = machine.exec(["tgtadm", "--lld", "iscsi", "--op", "show", "--mode", "target"]).out
                found["iSCSI targets"] += len(re.findall(r"^Target \d+:", targets, re.MULTILINE))
            else:
                found["domains"] += len(_lines(machine, "virsh", "-q", "list", "--all", "--name"))
                found["libvirt secrets"] += len(_lines(machine, "virsh", "-q", "secret-list"))
        return found


def _lines(machine: Machine, *words: str) -> list[str]:
    return [line.strip() for line in machine.exec(words).out.splitlines() if line.strip()]


def _look(array: Machine, snapshot: str) -> dict[str, str]:
    """What dumpe2fs finds in each `root` LUN of a snapshot: `clean`, or what it is instead."""
    place = f"/run/look-{time.monotonic_ns()}"
    array.exec(["zfs", "clone", "-o", f"mountpoint={place}", "-o", "readonly=on", snapshot, _LOOK])
    try:
        files = _lines(array, "find", place, "-name", "*.root.img")
        return {Path(file).name.partition(".")[0]: _state(array, file) for file in files}
    finally:
        # zfs-fuse unmounts in its own time, and says `busy` until then.
        wait_for(
            lambda: array.exec(["zfs", "destroy", _LOOK], check=False).rc == 0,
            within=10,
            otherwise=lambda: (
                f"array {array.name}: {_LOOK}, through which {snapshot} was looked at, cannot be destroyed"
            ),
        )


def _state(array: Machine, file: str) -> str:
    header = array.exec(["dumpe2fs", "-h", file]).out
    features = re.search(r"^Filesystem features:(.*)$", header, re.MULTILINE)
    if features is None:
        raise LabError(f"array {array.name}: dumpe2fs said nothing about the features of {file}")
    return "in need of recovery" if "needs_recovery" in features[1].split() else "clean"
