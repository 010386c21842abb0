"""Whether a host has the networks that the topology names, and whether a drill's is apart from production. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dr_provider.model.findings import Finding, HostUse, ok, problem, warning

__all__ = ["Network", "Wires", "network_findings"]


@dataclass(frozen=True)
class Network:
    """A libvirt network. `bridge` "": it has none; `forward`: its mode ("" is isolated)."""

    name: str
    active: bool
    autostart: bool
    bridge: str = ""
    forward: str = ""


@dataclass(frozen=True)
class Wires:
    """`links` and `addresses` as `ip -j -d link` and `ip -j address` print them; None: the host was not looked at beyond libvirt."""

    networks: Mapping[str, Network]
    links: Sequence[Mapping[str, Any]] | None = None
    addresses: Sequence[Mapping[str, Any]] | None = None
    forwards: bool = False

    def bridge_of(self, name: str) -> str:
        network = self.networks.get(name)
        return network.bridge if network is not None else name

    def link(self, name: str) -> Mapping[str, Any] | None:
        return next((link for link in self.links or () if link.get("ifname") == name), None)

    def ports(self, bridge: str) -> list[Mapping[str, Any]]:
        return [link for link in self.links or () if link.get("master") == bridge]


def network_findings(subject: str, use: HostUse, wires: Wires) -> list[Finding]:
    found = [_there(subject, name, at, "network", wires) for name, at in use.networks.items()]
    production = {bridge for at in use.networks.values() if (bridge := wires.bridge_of(at))}
    for name, at in use.drills.items():
        there = _there(subject, name, at, "drill", wires)
        found.append(there if there.level == "problem" else _apart(subject, name, at, production, wires) or there)
    return found


def _there(subject: str, name: str, at: str, check: str, wires: Wires) -> Finding:
    """That guests can be put on it."""
    what = f"network {name}" if check == "network" else f"the drills of network {name}"
    network = wires.networks.get(at)
    if network is not None:
        if not network.active:
            return problem(
                subject,
                check,
                f"Its libvirt network {at}, for {what}, is not started.",
                f"virsh net-start {at} there, and virsh net-autostart {at}.",
            )
        if not network.autostart:
            return warning(
                subject,
                check,
                f"Its libvirt network {at}, for {what}, does not start with the host.",
                f"virsh net-autostart {at} there.",
            )
        return ok(subject, check, f"It has the libvirt network {at} for {what}.")
    if wires.links is None:
        return ok(subject, check, f"Whether it has the bridge {at} for {what} cannot be seen through this URI.")
    link = wires.link(at)
    if link is None:
        return problem(
            subject,
            check,
            f"It has neither a bridge nor a libvirt network {at}, for {what}.",
            "Make it there (docs/zfs-libvirt.md), or correct its name in the topology.",
        )
    if _kind(link) != "bridge":
        return problem(
            subject,
            check,
            f"Its {at}, for {what}, is no Linux bridge.",
            "Make it one there, or name the right one in the topology.",
        )
    if "UP" not in link.get("flags", ()):
        return problem(
            subject,
            check,
            f"Its bridge {at}, for {what}, is down.",
            f"ip link set {at} up there, and see that it comes up with the host.",
        )
    return ok(subject, check, f"It has the bridge {at} for {what}.")


def _apart(subject: str, name: str, at: str, production: Collection[str], wires: Wires) -> Finding | None:
    """What leads from a drill's network to another; None: nothing that can be seen."""
    network, bridge = wires.networks.get(at), wires.bridge_of(at)
    move = "Take that away, or name another bridge under drill: a drill's guests have the addresses and the services of the real ones."
    if bridge in production:
        return problem(
            subject, "drill", f"The drills of network {name} would be on {bridge}, where production is.", move
        )
    if network is not None and network.forward:
        return warning(
            subject,
            "drill",
            f"Its libvirt network {at}, for the drills of network {name}, forwards to the outside ({network.forward}).",
            f"Take <forward> out of it (virsh net-edit {at}), so that a drill's guests reach nothing real.",
        )
    for port in wires.ports(bridge):
        leads = _leads(port, production, wires)
        if leads is not None:
            return problem(
                subject,
                "drill",
                f"Its bridge {bridge}, for the drills of network {name}, is joined to {leads} by {port['ifname']}.",
                move,
            )
    outside = sorted(
        str(port["ifname"]) for port in wires.ports(bridge) if not _of_a_guest(port) and not _is_vlan(port)
    )
    if outside:
        return warning(
            subject,
            "drill",
            f"Its bridge {bridge}, for the drills of network {name}, goes on behind {', '.join(outside)}, where this cannot look.",
            "Make sure that nothing of production is there; a VLAN of its own, or no port at all, is safest.",
        )
    if wires.forwards and any(a.get("ifname") == bridge and _routed(a) for a in wires.addresses or ()):
        return warning(
            subject,
            "drill",
            f"The host has an address on {bridge} and forwards packets, so a drill's guests may reach production through it.",
            f"Take the address off {bridge}, or forbid forwarding to and from it in the firewall.",
        )
    return None


def _leads(port: Mapping[str, Any], production: Collection[str], wires: Wires) -> str | None:
    """The production bridge that a port leads to: over a veth pair, or over the same card without a VLAN."""
    if _kind(port) == "veth":
        peer = str(port.get("link") or "")
        master = (wires.link(peer) or {}).get("master")
        return str(master) if master in production else None
    if _is_vlan(port):
        # A VLAN's card may well carry production's frames too; a VLAN on the production bridge itself keeps apart as well.
        return None
    below = str(port.get("link") or "")
    return below if below in production else None


def _kind(link: Mapping[str, Any]) -> str:
    """The kernel's word for what a link is; a real card has none."""
    return str(link.get("linkinfo", {}).get("info_kind", ""))


def _is_vlan(port: Mapping[str, Any]) -> bool:
    return _kind(port) in ("vlan", "vxlan", "geneve")


def _of_a_guest(port: Mapping[str, Any]) -> bool:
    return _kind(port) == "tun"


def _routed(entry: Mapping[str, Any]) -> bool:
    return any(
        address.get("scope") == "global" and address.get("family") == "inet" for address in entry.get("addr_info", ())
    )
