"""A libvirt host without dr: what virsh is told to stop, define and start a VM by hand, and what is typed in its guest. Pure.

The domain is the driver's own (`domain.unmarked`), without dr's mark, and under another name: dr leaves it alone, and it cannot be taken for the VM that dr moves.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from dr_provider.hypervisors.libvirt.domain import unmarked
from dr_provider.hypervisors.libvirt.facts import facts_unseen
from dr_provider.model.byhand import Block
from dr_provider.model.topology import HealthSpec, HostSpec
from dr_provider.model.vm import NicDefinition, VmDefinition

__all__ = ["HandHost", "name_of"]

_VIRSH = "virsh -c qemu:///system"


def name_of(vm: str) -> str:
    """The domain's name by hand."""
    return f"{vm}-byhand"


class HandHost:
    """The commands for one host."""

    def __init__(self, spec: HostSpec) -> None:
        self.name = spec.name
        self._options = spec.options
        self._facts = facts_unseen(spec.options, spec.name)
        uri = str(spec.options["uri"])
        parts = urlsplit(uri)
        by_ssh = "ssh" in parts.scheme.partition("+")[2]
        # Another transport leads to its libvirt only: virsh goes there from here.
        self._virsh = _VIRSH if by_ssh else f"virsh -c {shlex.quote(uri)}"
        who = f"{parts.username}@{parts.hostname}" if parts.username else str(parts.hostname)
        self.enter = shlex.join(["ssh", *(["-p", str(parts.port)] if parts.port else []), who]) if by_ssh else ""

    @property
    def initiator(self) -> str:
        """The name by which LUNs are offered to it."""
        return self._facts.initiator

    @property
    def block_devices(self) -> bool:
        return self._options.get("disks") == "block"

    def stop(self, vms: Sequence[str]) -> Block:
        """Shut down VMs of dr's, in this order."""
        return self._block(
            "Shut the VMs down, in this order, and wait until the list shows none of them running (`virsh destroy NAME` ends one that does not go). One that is elsewhere is said not to be found, or not to run.",
            *(f"{self._virsh} shutdown {vm}" for vm in vms),
            f"{self._virsh} list --all",
        )

    def define(self, definition: VmDefinition) -> Block:
        """Define the VM on LUNs that are offered by hand."""
        named = replace(definition, name=name_of(definition.vm))
        xml = unmarked(named, self._facts, self._options)
        file = f"/tmp/{named.name}.xml"
        return self._block(
            f"Define VM {definition.vm} as {named.name}. Where the host has no KVM write `qemu` for `kvm` in the first line; leave `<cpu>` out where its model is refused; "
            'a libvirt network in place of a bridge is `<interface type="network">` with `<source network=...>`.',
            *self._log_in(definition),
            f"cat > {file} <<'END'",
            *xml.rstrip("\n").split("\n"),
            "END",
            f"{self._virsh} define {file}",
        )

    def start(self, vm: str) -> Block:
        return self._block(
            f"Start VM {vm}.", f"{self._virsh} start {name_of(vm)}", f"{self._virsh} domstate {name_of(vm)}"
        )

    def end(self, vms: Sequence[str]) -> Block:
        """Shut down and forget VMs that were started by hand."""
        return self._block(
            "Shut down what was started by hand, in this order; when the list shows none of it running, forget it.",
            *(f"{self._virsh} shutdown {name_of(vm)}" for vm in vms),
            f"{self._virsh} list --all",
            *(f"{self._virsh} undefine {name_of(vm)}" for vm in vms),
        )

    def address(self, vm: str, nics: Sequence[NicDefinition]) -> Block | None:
        """In the guest: the static addresses of this site; None: it has none. The guest's own configuration stays as it is."""
        lines = [line for nic in nics if nic.address for line in _address(nic)]
        if not lines:
            return None
        return Block(
            f"guest of VM {vm}",
            tuple(lines),
            "The guest brings the addresses of the other site. Log in on its console (Ctrl-] leaves it), and give it those of this site; they last until its next boot.",
            f"{self.enter} -t {self._virsh} console {name_of(vm)}"
            if self.enter
            else f"{self._virsh} console {name_of(vm)}",
        )

    def look(self, vm: str, nics: Sequence[NicDefinition], health: HealthSpec | None) -> Block:
        """Whether it is well."""
        lines = [f"{self._virsh} domstate {name_of(vm)}"]
        if health is not None and health.agent:
            lines.append(f'{self._virsh} qemu-agent-command {name_of(vm)} \'{{"execute":"guest-ping"}}\'')
        if health is not None and health.tcp is not None:
            at = next((nic.address.partition("/")[0] for nic in nics if nic.address), "ITS-ADDRESS")
            lines.append(f"nc -z -w 5 {at} {health.tcp} && echo it listens")
        said = "" if health is None else f", which may take {health.within:g} s"
        return self._block(f"See that VM {vm} is well{said}.", *lines)

    def _log_in(self, definition: VmDefinition) -> list[str]:
        """With `disks: block` the host itself logs in to the LUNs first."""
        if not self.block_devices:
            return []
        lines = []
        for disk in definition.disks:
            portal, name, _ = disk.target.removeprefix("iscsi://").split("/")
            lines += [
                f"iscsiadm -m discovery -t sendtargets -p {portal}",
                f"iscsiadm -m node -T {name} -p {portal} --login",
            ]
        return lines

    def _block(self, says: str, *lines: str) -> Block:
        return Block(f"host {self.name}", lines, says, self.enter)


def _address(nic: NicDefinition) -> list[str]:
    """As network.set_addresses does it by the agent."""
    family = f"ip -{ipaddress.ip_interface(str(nic.address)).version}"
    lines = [
        f"card=$(ip -o link | awk -F': ' '/{nic.mac}/ {{sub(/@.*/, \"\", $2); print $2}}')",
        'ip link set dev "$card" up',
        f'{family} addr flush dev "$card" scope global',
        f'{family} addr add {nic.address} dev "$card"',
    ]
    if nic.gateway:
        lines.append(f'{family} route replace default via {nic.gateway} dev "$card"')
    if nic.dns:
        servers = " ".join(nic.dns)
        lines.append(f"resolvectl dns \"$card\" {servers} || printf 'nameserver %s\\n' {servers} > /etc/resolv.conf")
    return lines
