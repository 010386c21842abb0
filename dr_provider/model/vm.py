"""A virtual machine as a hypervisor is told of it, and how a guest reaches its blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from dr_provider.model.records import Owner

__all__ = ["BlockAccess", "Connect", "DiskAttachment", "NicDefinition", "VmDefinition"]


@dataclass(frozen=True)
class DiskAttachment:
    """A disk: `volume` and `lun` are the array's names, `target` its address as `Array.lun_target` gives it.

    `image_bytes` is the length of the image that the LUN started from (0: none); guests keep off it.
    """

    role: str
    volume: str
    lun: str
    size: int
    target: str
    image_bytes: int = 0


@dataclass(frozen=True)
class NicDefinition:
    bridge: str
    mac: str
    address: str | None = None
    gateway: str | None = None
    dns: tuple[str, ...] = ()


@dataclass(frozen=True)
class VmDefinition:
    """`name` is the host's name for it (drill VMs differ there), `vm` the topology's, `uuid` stable for topology, VM and drill."""

    name: str
    vm: str
    plan: str
    uuid: str
    cpus: int
    memory: int
    disks: tuple[DiskAttachment, ...]
    nics: tuple[NicDefinition, ...]
    owner: Owner


class BlockAccess(Protocol):
    """A LUN as a host reaches it: only while it is mapped to the host's initiator, online and (to write) on a writable volume.

    Raises Unreachable (the array or the path is silent) and Conflict (not mapped to this initiator, offline, read-only).
    """

    def read(self, volume: str, lun: str, initiator: str, offset: int, length: int) -> bytes: ...

    def write(self, volume: str, lun: str, initiator: str, offset: int, data: bytes) -> None: ...

    def check(self, volume: str, lun: str, initiator: str) -> None:
        """Raise if the initiator cannot write to the LUN now."""
        ...


Connect = Callable[[str, str], BlockAccess]
"""(target as in DiskAttachment.target, site of the host that asks) -> access to the array's blocks."""
