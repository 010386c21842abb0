"""CPUs and memory of a host in sentences that every driver says alike: what is wanted, what is taken, what there is."""

from __future__ import annotations

from dataclasses import dataclass

from dr_provider.model.errors import HostFull
from dr_provider.model.units import counted

__all__ = ["Size", "check_definition", "check_kept", "check_room"]

_GIB = 1 << 30


@dataclass(frozen=True)
class Size:
    """CPUs, and memory in bytes."""

    cpus: int
    memory: int

    def __add__(self, other: Size) -> Size:
        return Size(self.cpus + other.cpus, self.memory + other.memory)

    def __str__(self) -> str:
        return f"{counted(self.cpus, 'CPU')} and {self.memory / _GIB:.4g} GiB"

    def within(self, other: Size) -> bool:
        return self.cpus <= other.cpus and self.memory <= other.memory


def check_definition(host: str, total: Size, vm: str, wanted: Size) -> None:
    """Raise HostFull for a VM that is larger than the whole host."""
    if not wanted.within(total):
        raise HostFull(
            f"host {host}: VM {vm} wants {wanted}, and the whole host has {total}; make the VM smaller or choose another host"
        )


def check_room(host: str, total: Size, vm: str, wanted: Size, *, running: Size, reserved: Size) -> None:
    """Raise HostFull unless the VM fits beside the running VMs and the reservations of others."""
    if not (running + reserved + wanted).within(total):
        raise HostFull(
            f"host {host}: VM {vm} wants {wanted}; of {total} running VMs take {running} and reservations {reserved}; "
            "stop something there or choose another host"
        )


def check_kept(host: str, total: Size, vms: list[str], asked: Size, *, running: Size, reserved: Size) -> None:
    """Raise HostFull unless what is to be kept for the VMs fits beside running VMs and other reservations."""
    if not (running + reserved + asked).within(total):
        raise HostFull(
            f"host {host}: no room to keep {asked} for {', '.join(sorted(vms))}; of {total} running VMs take {running} and other reservations "
            f"{reserved}; nothing was reserved"
        )
