"""A guest's addresses: what its cards have by its agent, and those that the definition wants set where they are not.

A guest that was replicated brings the addresses of the other site. They are changed through the agent on the running guest only: what
stands in its own configuration is left alone, and this is done again after each of its starts.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from dr_provider.hypervisors.libvirt.agent import Agent
from dr_provider.model.errors import DeviceFault
from dr_provider.model.vm import NicDefinition, VmDefinition

__all__ = ["address_of", "listens", "set_addresses"]

# $1 card, $2 4 or 6, $3 address with prefix, $4 gateway or "", then name servers. Addresses of the other family stay.
_SET = """set -e; card=$1; family=$2; address=$3; gateway=$4; shift 4
ip link set dev "$card" up
ip "-$family" addr flush dev "$card" scope global
ip "-$family" addr add "$address" dev "$card"
if [ -n "$gateway" ]; then ip "-$family" route replace default via "$gateway" dev "$card"; fi
if [ $# -gt 0 ]; then
  if command -v resolvectl >/dev/null && resolvectl dns "$card" "$@" 2>/dev/null; then :; else
    { for server; do echo "nameserver $server"; done; } >/etc/resolv.conf
  fi
fi"""
_LISTEN = "0A"
"""TCP_LISTEN in /proc/net/tcp (include/net/tcp_states.h)."""


def set_addresses(agent: Agent, definition: VmDefinition) -> None:
    """Give each card its static address, where it has another. Raises AgentSilent, AgentRefused, and DeviceFault where the guest cannot."""
    wanted = [nic for nic in definition.nics if nic.address]
    if not wanted:
        return
    cards = _cards(agent)
    for nic in wanted:
        card = cards.get(nic.mac.lower())
        if card is None:
            raise DeviceFault(f"its guest has no network card {nic.mac}")
        if not _has(card, str(nic.address)):
            _set(agent, str(card["name"]), nic)


def address_of(agent: Agent, definition: VmDefinition) -> str | None:
    """An address of the first card, as the guest says; None: it has none."""
    cards = _cards(agent)
    for nic in definition.nics:
        for entry in cards.get(nic.mac.lower(), {}).get("ip-addresses", ()):
            address = ipaddress.ip_address(entry["ip-address"])
            if not address.is_link_local:
                return str(address)
    return None


def listens(agent: Agent, port: int) -> bool:
    """Whether something in the guest waits for connections on the TCP port, on another address than its own loopback."""
    done = agent.run("/bin/sh", ["-c", "cat /proc/net/tcp /proc/net/tcp6 2>/dev/null || true"])
    for line in done.out.splitlines():
        words = line.split()
        if len(words) > 3 and words[3] == _LISTEN:
            address, _, number = words[1].rpartition(":")
            if int(number, 16) == port and not _loopback(address):
                return True
    return False


def _cards(agent: Agent) -> dict[str, dict[str, Any]]:
    found = agent.ask("guest-network-get-interfaces")
    return {str(card["hardware-address"]).lower(): card for card in found if "hardware-address" in card}


def _has(card: dict[str, Any], address: str) -> bool:
    wanted = ipaddress.ip_interface(address)
    return any(
        ipaddress.ip_interface(f"{entry['ip-address']}/{entry['prefix']}") == wanted
        for entry in card.get("ip-addresses", ())
    )


def _set(agent: Agent, card: str, nic: NicDefinition) -> None:
    family = str(ipaddress.ip_interface(str(nic.address)).version)
    words = ["-c", _SET, "address", card, family, str(nic.address), nic.gateway or "", *nic.dns]
    done = agent.run("/bin/sh", words)
    if done.status != 0:
        said = " ".join(done.err.split()) or f"exit status {done.status}"
        raise DeviceFault(f"address {nic.address} could not be set on its card {card}: {said}")


def _loopback(address: str) -> bool:
    """/proc/net/tcp has addresses in hex, each word of 4 bytes in the order of a little-endian machine."""
    data = b"".join(bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8))
    found = ipaddress.ip_address(data)
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback
