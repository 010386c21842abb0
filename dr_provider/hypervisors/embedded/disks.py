"""A VM's disks as its guest sees them, and where on them its ledger is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dr_provider.hypervisors.embedded.ledger import BLOCK, Region
from dr_provider.model.vm import BlockAccess, Connect, DiskAttachment, VmDefinition

__all__ = ["GuestDisk", "Read", "attach", "read_only_regions", "regions"]

Read = Callable[[DiskAttachment, int, int], bytes]
"""(disk, offset, length) -> bytes."""


@dataclass(frozen=True)
class GuestDisk:
    """One disk, reached through the host's initiator. Raises Unreachable and Conflict as `BlockAccess` does."""

    attachment: DiskAttachment
    access: BlockAccess
    initiator: str

    @property
    def name(self) -> str:
        return self.attachment.role

    def read(self, offset: int, length: int) -> bytes:
        return self.access.read(self.attachment.volume, self.attachment.lun, self.initiator, offset, length)

    def write(self, offset: int, data: bytes) -> None:
        self.access.write(self.attachment.volume, self.attachment.lun, self.initiator, offset, data)

    def check(self) -> None:
        self.access.check(self.attachment.volume, self.attachment.lun, self.initiator)


def attach(definition: VmDefinition, connect: Connect, site: str, initiator: str) -> tuple[GuestDisk, ...]:
    """Every disk of the VM, by role."""
    disks = sorted(definition.disks, key=lambda disk: disk.role)
    return tuple(GuestDisk(disk, connect(disk.target, site), initiator) for disk in disks)


@dataclass(frozen=True)
class _ReadOnly:
    attachment: DiskAttachment
    reader: Read

    @property
    def name(self) -> str:
        return self.attachment.role

    def read(self, offset: int, length: int) -> bytes:
        return self.reader(self.attachment, offset, length)

    def write(self, offset: int, data: bytes) -> None:
        raise NotImplementedError("a copy that is only looked at is never written")


def regions(disks: tuple[GuestDisk, ...]) -> tuple[Region, ...]:
    """Where the ledger is: on each disk without an image; if all have one, on the first behind its image."""
    return _regions(disks)


def read_only_regions(definition: VmDefinition, reader: Read) -> tuple[Region, ...]:
    """The same, of disks that are only read, by whatever way."""
    return _regions(tuple(_ReadOnly(disk, reader) for disk in sorted(definition.disks, key=lambda disk: disk.role)))


def _regions(disks: tuple[GuestDisk, ...] | tuple[_ReadOnly, ...]) -> tuple[Region, ...]:
    chosen = [disk for disk in disks if not disk.attachment.image_bytes] or list(disks[:1])
    return tuple(
        Region(disk, -(-disk.attachment.image_bytes // BLOCK) * BLOCK, disk.attachment.size // BLOCK * BLOCK)
        for disk in chosen
    )
