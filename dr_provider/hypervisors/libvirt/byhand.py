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
from dr_provider.model.byhand import Block, ssh_line
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
        self.enter = (
            ssh_line(str(parts.hostname), parts.username, parts.port, spec.options.get("ssh")) if by_ssh else ""
        )

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
            "Shut the VMs down, each before the next (`virsh destroy NAME`, in a second session, ends one that does not go). One that is elsewhere is said not to be found, or not to run. The list must show none of them running.",
            *(line for vm in vms for line in self._shut_down(vm)),
            f"{self._virsh} list --all",
        )

    def _shut_down(self, vm: str) -> tuple[str, str]:
        """And wait: what is pasted behind it must not come while the guest still writes."""
        return (
            f"{self._virsh} shutdown {vm}",
            f"while {self._virsh} list --name | grep -qx {vm}; do echo {vm} still runs; sleep 3; done",
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

    def start(self, vm: str, says: str = "") -> Block:
        return self._block(
            f"Start VM {vm}{says}.", f"{self._virsh} start {name_of(vm)}", f"{self._virsh} domstate {name_of(vm)}"
        )

    def end(self, definitions: Sequence[VmDefinition]) -> Block:
        """Shut down and forget VMs that were started by hand."""
        names = [name_of(definition.vm) for definition in definitions]
        return self._block(
            "Shut down what was started by hand, each before the next (`virsh destroy NAME`, in a second session, ends one that does not go), then forget it. The list must show none of it.",
            *(line for name in names for line in self._shut_down(name)),
            *(f"{self._virsh} undefine {name}" for name in names),
            *(line for definition in definitions for line in self._log_out(definition)),
            f"{self._virsh} list --all",
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
        lines = []
        for portal, name in self._of_the_host(definition):
            lines += [
                f"iscsiadm -m discovery -t sendtargets -p {portal}",
                f"iscsiadm -m node -T {name} -p {portal} --login",
            ]
        return lines

    def _log_out(self, definition: VmDefinition) -> list[str]:
        return [f"iscsiadm -m node -T {name} -p {portal} --logout" for portal, name in self._of_the_host(definition)]

    def _of_the_host(self, definition: VmDefinition) -> list[tuple[str, str]]:
        """(portal, target) of the LUNs to which the host itself logs in."""
        if not self.block_devices:
            return []
        parts = [disk.target.removeprefix("iscsi://").split("/") for disk in definition.disks]
        return [(portal, name) for portal, name, _ in parts]

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
