"""Network addresses as the topology writes them. Every function raises ValueError with a sentence that says what would be right."""

from __future__ import annotations

import hashlib
import ipaddress
import re

__all__ = ["Address", "Interface", "derived_mac", "interface", "ip", "mac"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII)
_CIDR = re.compile(r"[0-9a-fA-F.:]+/[0-9]{1,3}", re.ASCII)
_IP = re.compile(r"[0-9a-fA-F.:]+", re.ASCII)


def interface(text: str) -> Interface:
    """An address that a network card can have, with its prefix: 10.0.1.5/24 or fd00:1::5/64."""
    wanted = "wanted an address with its prefix length, such as 10.0.1.5/24"
    if not _CIDR.fullmatch(text):
        if _IP.fullmatch(text) and "/" not in text:
            wanted = f"the prefix length is missing; wanted something like {text}/{64 if ':' in text else 24}"
        raise ValueError(wanted)
    try:
        value = ipaddress.ip_interface(text)
    except ValueError:
        raise ValueError(wanted) from None
    _usable(value.ip)
    network = value.network
    if network.prefixlen == 0:
        raise ValueError("a prefix length of 0 is no network; " + wanted)
    if value.version == 4 and network.prefixlen < 31:
        if value.ip == network.network_address:
            raise ValueError(
                f"is the address of the network itself; wanted one of a card, such as {value.ip + 1}/{network.prefixlen}"
            )
        if value.ip == network.broadcast_address:
            raise ValueError(
                f"is the network's broadcast address; wanted one of a card, such as {value.ip - 1}/{network.prefixlen}"
            )
    return value


def ip(text: str) -> Address:
    """A plain address, without prefix: 10.0.1.1 or fd00:1::1."""
    wanted = "wanted an IP address without a prefix, such as 10.0.1.1"
    if not _IP.fullmatch(text):
        raise ValueError(wanted)
    try:
        value = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(wanted) from None
    _usable(value)
    return value


def _usable(value: Address) -> None:
    if value.is_multicast or value.is_unspecified or value.is_loopback or str(value) == "255.255.255.255":
        raise ValueError(
            "is a multicast, loopback, broadcast or empty address; wanted one that a network card can have"
        )


def mac(text: str) -> str:
    """A unicast MAC, in lower case with colons."""
    value = text.lower().replace("-", ":")
    if not _MAC.fullmatch(value):
        raise ValueError("wanted a MAC of six bytes, such as 02:00:00:00:00:01")
    if int(value[:2], 16) & 1:
        raise ValueError("is a multicast MAC; wanted one whose first byte is even, such as 02:00:00:00:00:01")
    if value == "00:00:00:00:00:00":
        raise ValueError("is no MAC of a card; wanted one such as 02:00:00:00:00:01")
    return value


def derived_mac(topology: str, vm: str, index: int) -> str:
    """The MAC of a card that the document gives none: locally administered, the same in every run and at every site."""
    digest = hashlib.sha256(f"{topology}/{vm}/{index}".encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (2, *digest[:5]))
