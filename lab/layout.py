"""Names, numbers and paths of a lab, and the one error of this package.

A lab is a folder, build/lab/NAME, a number k (lowest that is free on this machine) and a bridge dr<k> in the operator's
network namespace. Its subnet is 10.(100+k).0.0/16: the third part is the site (0: the operator), the fourth the machine.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from uuid import UUID

from dr_provider.model.errors import DrError

__all__ = ["BASE", "CACHE", "OPERATOR", "ROOT", "SITES", "LabError", "MachineSpec", "Names", "specs"]

ROOT = Path(__file__).resolve().parents[1]
BASE = ROOT / "build" / "lab"


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification: a relative value is to be ignored.
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "dr-lab"


CACHE = _cache()
"""What all labs of a user share and can be made again: the guests' kernel, initramfs and disk."""

SITES = ("east", "west")
OPERATOR = "operator"
"""In a cut: the side from which the project's own commands run."""

HOSTS = 2
"""Hosts a site."""


class LabError(DrError):
    """The lab cannot do what was asked; the message says which machine, what was wanted, what was found, what to do."""


@dataclass(frozen=True)
class MachineSpec:
    """One machine: an array (`east-a`) or a host (`east-1`)."""

    name: str
    site: str
    role: str
    """`array` or `host`."""
    number: int
    """Last part of its address."""


def specs() -> tuple[MachineSpec, ...]:
    """All machines, arrays first, since hosts read from them."""
    arrays = [MachineSpec(f"{site}-a", site, "array", 1) for site in SITES]
    hosts = [MachineSpec(f"{site}-{n}", site, "host", 10 + n) for site in SITES for n in range(1, HOSTS + 1)]
    return (*arrays, *hosts)


@dataclass(frozen=True)
class Names:
    """Everything that follows from a lab's folder and number."""

    folder: Path
    k: int

    @property
    def bridge(self) -> str:
        return f"dr{self.k}"

    @property
    def bridge_mac(self) -> str:
        """Marks the bridge as this lab's from the moment it is there, so that no lab takes down another's."""
        digest = blake2b(str(self.folder).encode(), digest_size=4).hexdigest()
        return ":".join(["02", "db", *re.findall("..", digest)])

    @property
    def subnet(self) -> str:
        return f"10.{100 + self.k}.0.0/16"

    @property
    def operator(self) -> str:
        return f"10.{100 + self.k}.0.254"

    def address(self, spec: MachineSpec) -> str:
        return self.guest_address(spec.site, spec.number)

    def guest_address(self, site: str, number: int) -> str:
        return f"10.{100 + self.k}.{SITES.index(site) + 1}.{number}"

    def mac(self, spec: MachineSpec) -> str:
        """Fixed: a rebuilt machine with a new one would be unreachable until its peers' ARP entries are stale."""
        return f"02:dd:00:{self.k:02x}:{SITES.index(spec.site) + 1:02x}:{spec.number:02x}"

    def veth(self, spec: MachineSpec) -> str:
        return f"{self.bridge}-{spec.name}"

    def uuid(self, spec: MachineSpec) -> str:
        """The host's identity for libvirt: the same at each start, another for each machine and lab."""
        return str(UUID(bytes=blake2b(f"{self.folder}/{spec.name}".encode(), digest_size=16).digest(), version=4))

    def machine(self, name: str) -> Path:
        return self.folder / "machines" / name

    @property
    def ssh(self) -> Path:
        """The operator's identity, known hosts and configuration."""
        return self.folder / "ssh"

    @property
    def guest(self) -> Path:
        """The guests' kernel, initramfs and disk image, at paths that do not change while the lab stands."""
        return self.folder / "guest"
