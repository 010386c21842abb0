"""A libvirt host of a running lab, for the contract suite: real QEMU guests on LUNs of a real tgt, at site east.

python -m lab up --name NAME;  DR_LAB=NAME python -m pytest tests/contract/test_hypervisor.py -k libvirt
"""

from __future__ import annotations

import contextlib
import importlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dr_provider.hypervisors.base import Hypervisor
from dr_provider.hypervisors.libvirt import LibvirtHost
from dr_provider.model.topology import HealthSpec, HostSpec
from dr_provider.model.vm import DiskAttachment, NicDefinition
from lab.machines import Lab

__all__ = ["LibvirtBench", "wait_for"]

libvirt: Any = importlib.import_module("libvirt")  # it has no types

GIB = 1 << 30
FOLDER = "/run/contract"
BOOT_SECONDS = 150.0
AGENT = HealthSpec(tcp=None, agent=True, within=BOOT_SECONDS)
PORT = HealthSpec(tcp=7, agent=False, within=BOOT_SECONDS)


def wait_for(what: str, check: Callable[[], object], seconds: float = BOOT_SECONDS) -> None:
    """Look until it is so."""
    until = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < until, f"waited {seconds:g} s for {what}"
        time.sleep(0.1)


class LibvirtBench:
    """`folder` is not used: what the tests share is the host, so it is emptied before each."""

    fresh = False
    port = PORT
    checks_disks = False

    def __init__(self, _folder: Path, *, timeout: float = 5.0) -> None:
        self.lab = Lab.find(os.environ["DR_LAB"])
        self.machine = self.lab.machine("east-1")
        self.array = self.lab.machine("east-a")
        self.timeout = timeout
        self.options: dict[str, Any] = {
            **self.lab.topology_options()["east-1"],
            "cpus": 4,
            "memory": 8 * GIB,
            "initiator": "iqn.2026-11.io.dr:contract",
        }
        self.spec = HostSpec("east-1", "east", "libvirt", options=self.options)
        network = self.machine.address.rpartition(".")[0]
        self.nic = NicDefinition("br-prod", "02:dd:00:00:01:fb", f"{network}.251/16")

    def open(self) -> Hypervisor:
        return LibvirtHost(self.spec, timeout=self.timeout)

    def disk(self, vm: str, role: str = "root") -> DiskAttachment:
        lun = f"{vm}.{role}"
        iqn = f"iqn.2026-11.io.dr:contract:{lun}"
        path = f"{FOLDER}/{lun}"
        if self.array.exec(["test", "-e", path], check=False).rc != 0:
            self.array.exec(["mkdir", "-p", FOLDER])
            image = Path(self.options["boot"]["kernel"]).with_name("ledger.img")
            self.array.exec(["cp", "--sparse=always", str(image), path])
            number = str(1 + max(self._targets(), default=0))
            self._tgt("new", "target", number, "-T", iqn)
            self._tgt("new", "logicalunit", number, "--lun", "1", "--bstype", "rdwr", "-b", path)
            self._tgt("bind", "target", number, "-Q", str(self.options["initiator"]))
        host, _, port = self.lab.topology_options()["east-a"]["luns"]["portal"].partition(":")
        return DiskAttachment(role, "shop", lun, 32 << 20, f"iscsi://{host}:{port}/{iqn}/1")

    def unmap(self, disk: DiskAttachment) -> None:
        iqn = disk.target.split("/")[3]
        for number, name in self._targets().items():
            if name == iqn:
                self._tgt("delete", "target", str(number), force=True)

    def later(self, seconds: float) -> None:
        time.sleep(seconds)  # the clock of a real guest

    def silence(self) -> None:
        self.lab.cut("operator", "east-1")

    def booted(self, host: Hypervisor, name: str) -> None:
        wait_for(f"the agent of {name}", lambda: host.probe(name, AGENT).well)
        wait_for(f"the ledger of {name}", lambda: host.probe(name, self.port).well)

    def prepare(self) -> None:
        self.lab.heal()
        conn = libvirt.open(f"qemu+unix:///system?socket={self._socket()}")
        try:
            for domain in conn.listAllDomains(0):
                if domain.isActive():
                    domain.destroy()
                with contextlib.suppress(libvirt.libvirtError):  # a transient one went with its end
                    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)
            for secret in conn.listAllSecrets(0):
                secret.undefine()
        finally:
            conn.close()
        for number, name in self._targets().items():
            if ":contract:" in name:
                self._tgt("delete", "target", str(number), force=True)
        self.array.exec(["rm", "-rf", FOLDER])

    def _socket(self) -> str:
        """The host's own socket, as it is seen from outside of its mount namespace."""
        init = self.machine.enter([])[2]
        return f"/proc/{init}/root/run/libvirt/libvirt-sock"

    def _tgt(self, op: str, mode: str, number: str, *words: str, force: bool = False) -> None:
        forced = ["--force"] if force else []
        self.array.exec(["tgtadm", "--lld", "iscsi", "--op", op, *forced, "--mode", mode, "--tid", number, *words])

    def _targets(self) -> dict[int, str]:
        found = dict[int, str]()
        for line in self.array.exec(["tgtadm", "--lld", "iscsi", "--op", "show", "--mode", "target"]).out.splitlines():
            if line.startswith("Target "):
                number, _, name = line.removeprefix("Target ").partition(": ")
                found[int(number)] = name.strip()
        return found
