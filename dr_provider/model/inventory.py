"""What hosts and arrays have, whoever made it: for `dr discover`."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FoundDisk", "FoundNic", "FoundVm", "FoundVolume"]


@dataclass(frozen=True)
class FoundDisk:
    """`name`: its role, else its place in the VM (vda). `source`: where its bytes are, as the host names it; `size` in bytes, None: not known."""

    name: str
    source: str
    size: int | None = None


@dataclass(frozen=True)
class FoundNic:
    """`network`: the bridge or network that it is on."""

    network: str
    mac: str = ""


@dataclass(frozen=True)
class FoundVm:
    """A VM on a host. `topology`, `plan` and `vm`: whose it is, where dr made it; else empty."""

    name: str
    cpus: int
    memory: int
    running: bool
    disks: tuple[FoundDisk, ...] = ()
    nics: tuple[FoundNic, ...] = ()
    topology: str = ""
    plan: str = ""
    vm: str = ""


@dataclass(frozen=True)
class FoundVolume:
    """Something on an array that holds data: `kind` data, drill or safety (of dr), filesystem or zvol. `topology`: whose it is, where dr made it.
    `size`: what it may hold, None: no bound; `used`: what it takes, in bytes."""

    name: str
    kind: str
    used: int
    size: int | None = None
    topology: str = ""
