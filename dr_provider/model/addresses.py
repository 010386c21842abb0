"""Network addresses and services as the topology writes them. Every function raises ValueError with a sentence that says what would be right."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

__all__ = [
    "Address",
    "Interface",
    "SshAddress",
    "derived_mac",
    "dns_name",
    "interface",
    "ip",
    "libvirt_uri",
    "mac",
    "portal",
    "s3_url",
    "ssh",
]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII)
_CIDR = re.compile(r"[0-9a-fA-F.:]+/[0-9]{1,3}", re.ASCII)
_IP = re.compile(r"[0-9a-fA-F.:]+", re.ASCII)
_SSH = re.compile(
    r"ssh://(?:(?P<user>[A-Za-z_][A-Za-z0-9_.-]{0,63})@)?(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9][A-Za-z0-9_.-]{0,252})(?::(?P<port>[0-9]{1,5}))?/?",
    re.ASCII,
)
_PORTAL = re.compile(
    r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]{0,252})(?::(?P<port>[0-9]{1,5}))?", re.ASCII
)
_S3 = re.compile(
    r"https?://(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]{0,252})(?::(?P<port>[0-9]{1,5}))?/?", re.ASCII
)
_LIBVIRT = re.compile(r"[a-z]+(\+[a-z0-9]+)?://[!-~]{0,1000}")
_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}|[0-9a-fA-F:.]+")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII | re.IGNORECASE)
_LONGEST_NAME = 253
_ISCSI_PORT = 3260


@dataclass(frozen=True)
class SshAddress:
    """Where a machine answers to SSH. `user` and `port` are None where OpenSSH's own configuration decides."""

    user: str | None
    host: str
    port: int | None


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


def dns_name(text: str) -> str:
    """A host's name in DNS (RFC 1123), in small letters: db.example.org."""
    wanted = "wanted a host's name in DNS, such as db.example.org: letters, digits and - between dots, without a dot at the end"
    if len(text) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in text.split(".")):
        raise ValueError(wanted)
    if _IP.fullmatch(text) and text.replace(".", "").isdigit():
        raise ValueError(f"is an address; {wanted}")
    return text.lower()


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


def ssh(text: str) -> SshAddress:
    """An SSH address: ssh://root@10.0.2.10, ssh://array-a:2222, ssh://[fd00::1]."""
    match = _SSH.fullmatch(text)
    if match is None:
        raise ValueError("wanted an SSH address such as ssh://root@10.0.2.10 or ssh://array-a:2222")
    return SshAddress(match["user"], match["host"].strip("[]"), _port(match["port"], None))


def portal(text: str) -> tuple[str, int]:
    """Host and port of an iSCSI service: 10.0.2.10 or 10.0.2.10:3260."""
    match = _PORTAL.fullmatch(text)
    if match is None:
        raise ValueError("wanted an iSCSI portal: an address and port such as 10.0.2.10:3260")
    return match["host"].strip("[]"), _port(match["port"], _ISCSI_PORT) or _ISCSI_PORT


def s3_url(text: str) -> str:
    """The address of an S3-like object store: http or https, a host, and perhaps a port."""
    match = _S3.fullmatch(text)
    if match is None:
        raise ValueError(
            "wanted the address of an object store, such as https://s3.example.org:9000, and nothing else in it"
        )
    _port(match["port"], None)
    return text.rstrip("/")


def libvirt_uri(text: str) -> str:
    """A libvirt URI: qemu+ssh://root@10.0.2.11/system, test:///default. The text may hold a password, so it is never repeated.

    One may come from an array that a stranger has written to (`dr --from`), so it names no program that would be started here
    (https://libvirt.org/uri.html, extra parameters).
    """
    if _LIBVIRT.fullmatch(text) is None:
        raise ValueError("wanted a libvirt URI, such as qemu+ssh://root@10.0.2.11/system")
    try:
        parts = urlsplit(text)
        named = {key for key, _ in parse_qsl(parts.query, keep_blank_values=True)}
        _port(str(parts.port) if parts.port is not None else None, None)
    except ValueError:
        raise ValueError("wanted a libvirt URI, such as qemu+ssh://root@10.0.2.11/system") from None
    if parts.password is not None:
        raise ValueError("a libvirt URI may not hold a password; let the account in by a key (ssh: {identity: FILE})")
    if not _ACCOUNT.fullmatch(parts.username or "a") or not _HOST.fullmatch(parts.hostname or "a"):
        raise ValueError("wanted a libvirt URI with a plain account and host, such as qemu+ssh://root@10.0.2.11/system")
    if programs := sorted(named & {"command", "netcat"}):
        raise ValueError(f"a libvirt URI may not name a program to start ({', '.join(programs)}); leave that out")
    return text


def _port(text: str | None, default: int | None) -> int | None:
    if text is None:
        return default
    if not 0 < int(text) < 65536:
        raise ValueError(f"port {text} is none; wanted one from 1 to 65535")
    return int(text)


def derived_mac(topology: str, vm: str, index: int) -> str:
    """The MAC of a card that the document gives none: locally administered, the same in every run and at every site."""
    digest = hashlib.sha256(f"{topology}/{vm}/{index}".encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (2, *digest[:5]))
