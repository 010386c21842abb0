"""What a host is and can do: read once a connection."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass

from dr_provider.hypervisors.libvirt import failures
from dr_provider.hypervisors.libvirt.link import Work
from dr_provider.hypervisors.room import Size
from dr_provider.model.errors import NotReady

__all__ = ["Facts", "facts_unseen", "read_facts"]

_INITIATOR = "iqn.2026-11.io.dr:"
_MACHINES = {"x86_64": "q35", "aarch64": "virt", "riscv64": "virt", "ppc64le": "pseries", "s390x": "s390-ccw-virtio"}
_CPU_MODELS = {"x86_64": ("Westmere", "Nehalem", "Conroe")}
"""Models that any host of the last ten years can give, by Intel or AMD, with KVM or without; the first has what Linux
distributions call x86-64-v2, and AES. A guest finds the same CPU at the other site, whatever stands there."""


@dataclass(frozen=True)
class Facts:
    """`kind`: kvm or qemu. `machine`: an alias, so that each host takes the newest of that type it has. `model` None: QEMU's own default."""

    initiator: str
    size: Size
    kind: str
    arch: str
    machine: str
    model: str | None


def read_facts(work: Work, options: Mapping[str, object], where: str) -> Facts:
    """Facts of the host, with what the topology's options say instead. Raises NotReady for a host that has no full virtualization."""
    root = ET.fromstring(work.conn.getCapabilities())
    arch = root.findtext("host/cpu/arch") or "x86_64"
    kinds = [
        {domain.get("type", "") for domain in guest.findall("arch/domain")}
        for guest in root.findall("guest")
        if guest.findtext("os_type") == "hvm" and (at := guest.find("arch")) is not None and at.get("name") == arch
    ]
    if not kinds:
        raise NotReady(f"{where}: its libvirt has no hypervisor for {arch} guests; install QEMU there (qemu-system)")
    kind = "kvm" if "kvm" in kinds[0] else "qemu" if "qemu" in kinds[0] else sorted(kinds[0])[0]
    machine = str(options.get("machine") or _MACHINES.get(arch, ""))
    return Facts(
        initiator=str(options.get("initiator") or f"{_INITIATOR}{(root.findtext('host/uuid') or '').lower()}"),
        size=_size(work, options),
        kind=kind,
        arch=arch,
        machine=machine,
        model=str(options["cpuModel"]) if options.get("cpuModel") else _model(work, arch, machine, kind),
    )


def facts_unseen(options: Mapping[str, object], host: str) -> Facts:
    """What is likely of a host that nobody can ask, for a domain that is defined by hand: an x86-64 host with KVM. QEMU logs in by whatever initiator
    name its domain gives it, so one that is made of the host's name does as well; with `disks: block` it is the host's own that counts."""
    arch = "x86_64"
    return Facts(
        initiator=str(options.get("initiator") or f"{_INITIATOR}{host}"),
        size=Size(0, 0),
        kind="kvm",
        arch=arch,
        machine=str(options.get("machine") or _MACHINES[arch]),
        model=str(options.get("cpuModel") or _CPU_MODELS[arch][0]),
    )


def _size(work: Work, options: Mapping[str, object]) -> Size:
    _, mebibytes, cpus, *_ = work.conn.getInfo()
    given_cpus, given_memory = options.get("cpus"), options.get("memory")
    return Size(
        int(cpus) if given_cpus is None else int(str(given_cpus)),
        int(mebibytes) << 20 if given_memory is None else int(str(given_memory)),
    )


def _model(work: Work, arch: str, machine: str, kind: str) -> str | None:
    if arch not in _CPU_MODELS:
        return None
    try:
        text = work.conn.getDomainCapabilities(None, arch, machine or None, kind, 0)
    except work.libvirt.libvirtError as error:
        if failures.code(error) != work.libvirt.VIR_ERR_NO_SUPPORT:
            raise
        return None
    usable = {
        model.text
        for model in ET.fromstring(text).findall("cpu/mode[@name='custom']/model")
        if model.get("usable") == "yes"
    }
    return next((model for model in _CPU_MODELS[arch] if model in usable), None)
