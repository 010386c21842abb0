"""The libvirt driver on a libvirt in memory, for the contract suite: everything but the wire and other processes."""

from __future__ import annotations

import uuid
from pathlib import Path

from dr_provider.hypervisors.base import Hypervisor
from dr_provider.hypervisors.libvirt import LibvirtHost
from dr_provider.model.records import Owner
from dr_provider.model.topology import HealthSpec, HostSpec
from dr_provider.model.vm import DiskAttachment, NicDefinition, VmDefinition
from tests.hypervisors.fake_libvirt import FakeHost, modules

__all__ = ["OWNER", "FakeLibvirtBench", "vm"]

GIB = 1 << 30
OWNER = Owner("shop-test", "dr/prod", "one")
LISTENS = (
    "  0: 00000000:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n"
)
"""A line of /proc/net/tcp: port 5432, every address, waiting for connections."""


def vm(name: str = "db", **changes: object) -> VmDefinition:
    """A VM without disks."""
    values: dict[str, object] = {
        "name": name,
        "vm": name,
        "plan": "shop",
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),
        "cpus": 1,
        "memory": GIB,
        "disks": (),
        "nics": (),
        "owner": OWNER,
    }
    return VmDefinition(**(values | changes))  # type: ignore[arg-type]


class FakeLibvirtBench:
    fresh = False
    port = HealthSpec(tcp=5432, agent=False, within=10.0)
    nic = NicDefinition("br-prod", "02:00:00:00:00:01", "10.0.1.5/24")
    checks_disks = False

    def __init__(self, _folder: Path | None = None, **options: object) -> None:
        self.time = 1000.0
        self.libvirt = FakeHost(lambda: self.time)
        self.libvirt.tcp = LISTENS
        self.options: dict[str, object] = {"uri": "qemu+tcp://east-1/system", "cpus": 4, "memory": 8 * GIB, **options}

    def open(self) -> Hypervisor:
        spec = HostSpec("east-1", "east", "libvirt", options=self.options)
        return LibvirtHost(spec, timeout=5.0, load=modules(self.libvirt), now=lambda: self.time)

    def disk(self, vm: str, role: str = "root") -> DiskAttachment:
        lun = f"{vm}.{role}"
        return DiskAttachment(role, "shop", lun, 1 << 20, f"iscsi://10.0.1.1:3260/iqn.2026-11.io.dr:a:shop:{lun}/1")

    def unmap(self, disk: DiskAttachment) -> None:
        self.libvirt.lost.add(disk.target.split("/", 3)[3])

    def later(self, seconds: float) -> None:
        self.time += seconds
        self.libvirt.tick()

    def silence(self) -> None:
        self.libvirt.silent = True

    def prepare(self) -> None:
        pass

    def booted(self, host: Hypervisor, name: str) -> None:
        pass
