"""What `dr doctor` and readiness find: sentences with a level, and the facts that are only judged beside those of other machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "ArrayUse",
    "ClockReading",
    "Examination",
    "Finding",
    "HostUse",
    "Item",
    "Level",
    "Room",
    "VmUse",
    "ok",
    "problem",
    "warning",
]

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """`subject` is the thing ("array east-a", "VM db"), `check` a short word for what was looked at, `found` and `todo` one sentence each."""

    level: Level
    subject: str
    check: str
    found: str
    todo: str = ""


@dataclass(frozen=True)
class Item:
    """One item of a plan's readiness. `unknown`: who could say it is silent, or nobody has said it. `check` and `subject` (a site, an array,
    or "") stay the same, for scripts; `found` and `todo` are sentences."""

    check: str
    level: Literal["ok", "warning", "problem", "unknown"]
    found: str
    todo: str = ""
    subject: str = ""


def ok(subject: str, check: str, found: str) -> Finding:
    return Finding("ok", subject, check, found)


def warning(subject: str, check: str, found: str, todo: str) -> Finding:
    """It works, and will not on some day, or less well than it could."""
    return Finding("warning", subject, check, found, todo)


def problem(subject: str, check: str, found: str, todo: str) -> Finding:
    """A backup, a move or a drill would fail on it."""
    return Finding("problem", subject, check, found, todo)


@dataclass(frozen=True)
class ClockReading:
    """How far a machine's clock is ahead of this one's, in seconds, and how far that may be wrong (half of the time that asking took)."""

    ahead: float
    within: float = 0.0

    @classmethod
    def of(cls, sent: float, got: float, began: float, ended: float) -> ClockReading:
        """From four times of day: of ours, when it was asked and when the answer was there; of the machine's, when it began and when it
        had its answer. What lies between the last two does not count against it."""
        least, most = ended - got, began - sent
        return cls((least + most) / 2, abs(most - least) / 2)


@dataclass(frozen=True)
class Room:
    """Bytes of whatever a machine keeps things on. `shared`: it holds other things too, so how much of it is free says little."""

    size: int
    free: int
    shared: bool = False


@dataclass(frozen=True)
class Examination:
    """What a driver found of its machine. `clock` and `room` are None where they cannot be known."""

    findings: tuple[Finding, ...] = ()
    clock: ClockReading | None = None
    room: Room | None = None


@dataclass(frozen=True)
class ArrayUse:
    """What the topology wants of an array: the bytes of each volume that stands on it, and the arrays that it exchanges data with."""

    volumes: Mapping[str, int] = field(default_factory=dict)
    peers: tuple[str, ...] = ()


@dataclass(frozen=True)
class VmUse:
    """What the topology wants of a VM's guest: to be frozen for backups (`application`), to say by its agent that it is well (`health`),
    to be given its addresses (`addresses`)."""

    application: bool
    health: bool
    addresses: bool = False


@dataclass(frozen=True)
class HostUse:
    """What the topology wants of a host: `networks` maps each to its bridge or network at the host's site, `drills` to the isolated one;
    `portals` maps the arrays of its site to where their LUNs are offered, and those in `quiet` listen there only while they offer some;
    `vms` are those of the topology, by name."""

    networks: Mapping[str, str] = field(default_factory=dict)
    drills: Mapping[str, str] = field(default_factory=dict)
    portals: Mapping[str, str] = field(default_factory=dict)
    quiet: frozenset[str] = frozenset()
    vms: Mapping[str, VmUse] = field(default_factory=dict)
