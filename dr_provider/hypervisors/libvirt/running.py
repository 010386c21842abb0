"""A host's domains as they are now: ours with what they are, others as what they take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dr_provider.hypervisors.libvirt import failures, metadata
from dr_provider.hypervisors.libvirt.link import Work
from dr_provider.hypervisors.libvirt.metadata import Note
from dr_provider.hypervisors.room import Size

__all__ = ["Running", "find", "look", "running_sizes", "runs"]


@dataclass(frozen=True)
class Running:
    """A domain of ours. `active`: it has a process, which may write to its disks, whatever it does at the moment; `crashed`: it ended by a crash.

    `paused`: its process stands still, for the reason in `detail`. It may go on at any time, so it is never taken for off.
    """

    domain: Any
    note: Note
    active: bool
    paused: bool = False
    crashed: bool = False
    detail: str = ""

    @classmethod
    def of(cls, work: Work, domain: Any, note: Note) -> Running:
        """Look at one domain."""
        state, reason = domain.state(0)
        return cls.seen(work, domain, note, int(state), int(reason))

    @classmethod
    def seen(cls, work: Work, domain: Any, note: Note, state: int, reason: int) -> Running:
        """From libvirt's state and reason (virDomainState, and the reasons of each)."""
        libvirt = work.libvirt
        if not runs(domain):
            crashed = state == libvirt.VIR_DOMAIN_SHUTOFF and reason == libvirt.VIR_DOMAIN_SHUTOFF_CRASHED
            return cls(domain, note, False, crashed=crashed, detail="its QEMU or its guest crashed" if crashed else "")
        if state == libvirt.VIR_DOMAIN_CRASHED:
            return cls(domain, note, True, True, detail="its guest crashed, and QEMU holds it still; stop it")
        if state == libvirt.VIR_DOMAIN_PAUSED:
            return cls(domain, note, True, True, detail=_paused(libvirt, reason))
        return cls(domain, note, True)


def _paused(libvirt: Any, reason: int) -> str:
    known = {
        libvirt.VIR_DOMAIN_PAUSED_IOERROR: "paused: a disk of it gave an error; look at its LUNs and their array, then stop and start it",
        libvirt.VIR_DOMAIN_PAUSED_USER: "paused by somebody; resume it (virsh resume), or stop it",
        libvirt.VIR_DOMAIN_PAUSED_WATCHDOG: "paused by its watchdog; stop and start it",
        libvirt.VIR_DOMAIN_PAUSED_CRASHED: "paused: its guest crashed; stop and start it",
        libvirt.VIR_DOMAIN_PAUSED_MIGRATION: "paused: it is being migrated",
        libvirt.VIR_DOMAIN_PAUSED_STARTING_UP: "it is being started",
    }
    return known.get(reason, f"paused (libvirt's reason {reason})")


def runs(domain: Any) -> bool:
    """Whether it has a process; also while it is being started, and while it is paused."""
    return bool(domain.isActive())


def find(work: Work, name: str) -> Any | None:
    """The domain of that name, or None."""
    try:
        return work.conn.lookupByName(name)
    except work.libvirt.libvirtError as error:
        if failures.code(error) == work.libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def look(work: Work) -> tuple[list[Running], Size]:
    """Our domains, and what the running ones of others take."""
    ours, foreign = list[Running](), Size(0, 0)
    for domain in work.conn.listAllDomains(0):
        try:
            note = metadata.read(work, domain, work.where)
            if note is not None:
                ours.append(Running.of(work, domain, note))
            elif runs(domain):
                foreign += _size(domain)
        except work.libvirt.libvirtError as error:
            # It was removed while we looked.
            if failures.code(error) != work.libvirt.VIR_ERR_NO_DOMAIN:
                raise
    return ours, foreign


def running_sizes(work: Work) -> dict[str, Size]:
    """What each running domain takes, ours or not, by name."""
    found = dict[str, Size]()
    for domain in work.conn.listAllDomains(work.libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        try:
            found[str(domain.name())] = _size(domain)
        except work.libvirt.libvirtError as error:
            if failures.code(error) != work.libvirt.VIR_ERR_NO_DOMAIN:
                raise
    return found


def _size(domain: Any) -> Size:
    _, kibibytes, _, cpus, _ = domain.info()
    return Size(int(cpus), int(kibibytes) << 10)
