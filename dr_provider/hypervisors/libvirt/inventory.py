"""Every domain of a host with its disks and cards, ours or not, as its XML says (https://libvirt.org/formatdomain.html)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from dr_provider.hypervisors.base import ours
from dr_provider.hypervisors.libvirt import failures, metadata
from dr_provider.hypervisors.libvirt.link import Work
from dr_provider.hypervisors.libvirt.running import runs
from dr_provider.model.inventory import FoundDisk, FoundNic, FoundVm
from dr_provider.model.state import VmState

__all__ = ["read_all"]

_UNITS = {"b": 1, "bytes": 1, "k": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mib": 1 << 20, "g": 1 << 30, "gib": 1 << 30, "kb": 1000, "mb": 10**6, "gb": 10**9, "t": 1 << 40, "tib": 1 << 40}  # fmt: skip


def read_all(work: Work) -> tuple[FoundVm, ...]:
    found = []
    for domain in work.conn.listAllDomains(0):
        try:
            note = metadata.read(work, domain, work.where)
            if note is not None:
                state = VmState(str(domain.name()), "running" if runs(domain) else "off", note.definition)
                found.append(ours(state))
            else:
                found.append(_foreign(work, domain))
        except work.libvirt.libvirtError as error:
            # It was removed while we looked.
            if failures.code(error) != work.libvirt.VIR_ERR_NO_DOMAIN:
                raise
    return tuple(sorted(found, key=lambda vm: vm.name))


def _foreign(work: Work, domain: Any) -> FoundVm:
    root = ET.fromstring(domain.XMLDesc(0))
    disks = []
    for disk in root.findall("devices/disk"):
        target, source = disk.find("target"), disk.find("source")
        # A drive without a medium, and media that only install, hold nothing of the VM's.
        if disk.get("device", "disk") != "disk" or target is None or source is None:
            continue
        name = target.get("dev", "")
        disks.append(FoundDisk(name, _source(disk.get("type", ""), source), _size(work, domain, name)))
    nics = [
        FoundNic(source.get("bridge") or source.get("network") or source.get("dev") or "", mac.get("address", ""))
        for card in root.findall("devices/interface")
        if (source := card.find("source")) is not None and (mac := card.find("mac")) is not None
    ]
    memory = root.find("memory")
    unit = (memory.get("unit") or "KiB").lower() if memory is not None else "kib"
    amount = int((memory.text if memory is not None else "") or 0) * _UNITS.get(unit, 1 << 10)
    return FoundVm(str(domain.name()), int(root.findtext("vcpu") or 1), amount, runs(domain), tuple(disks), tuple(nics))


def _source(kind: str, source: ET.Element) -> str:
    if kind == "volume":
        return f"{source.get('pool', '')}/{source.get('volume', '')}"
    if kind == "network":
        return f"{source.get('protocol', '')}:{source.get('name', '')}"
    return source.get("file") or source.get("dev") or ""


def _size(work: Work, domain: Any, target: str) -> int | None:
    """What the guest sees of the disk; None where libvirt cannot look at it now."""
    try:
        return int(domain.blockInfo(target, 0)[0]) or None
    except work.libvirt.libvirtError as error:
        if failures.code(error) == work.libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return None
