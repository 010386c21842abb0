"""What is observed: every fact is known, absent or unreachable, and the three are never mixed up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from dr_provider.model.records import Owner
from dr_provider.model.vm import VmDefinition

__all__ = [
    "ArrayState",
    "HostState",
    "Incoming",
    "LunState",
    "Observation",
    "Reservation",
    "Silent",
    "SnapshotState",
    "VmState",
    "VolumeState",
    "WitnessState",
]

VolumeKind = Literal["data", "drill", "safety"]
VmRun = Literal["running", "off", "failed"]


@dataclass(frozen=True)
class LunState:
    name: str
    size: int
    online: bool
    mapped_to: str | None
    image_bytes: int = 0


@dataclass(frozen=True)
class SnapshotState:
    """`guid` is the same on every copy. `records` is what the volume's records were when it was taken; `seal` was set afterwards."""

    name: str
    guid: str
    time: str
    holds: frozenset[str] = frozenset()
    records: Mapping[str, str] = field(default_factory=dict)
    seal: str | None = None
    referenced: int = 0
    """Bytes that the volume's LUNs hold as of this snapshot."""


@dataclass(frozen=True)
class Incoming:
    """A transfer that was cut: what it brings, from which base (None: a full copy), and the bytes that have arrived."""

    snapshot: str
    guid: str
    base: str | None
    received: int


@dataclass(frozen=True)
class VolumeState:
    """`writable` False: a destination of a mirror. `changed`: bytes written since the newest snapshot.

    `last_write`: when a guest last wrote to it, RFC 3339 by the array's clock; evidence only, never an order.
    `origin`: volume and snapshot that a clone was made of.
    """

    name: str
    size: int
    kind: VolumeKind
    writable: bool
    owner: Owner | None
    luns: Mapping[str, LunState] = field(default_factory=dict)
    snapshots: tuple[SnapshotState, ...] = ()
    changed: int = 0
    last_write: str | None = None
    origin: tuple[str, str] | None = None
    records: Mapping[str, str] = field(default_factory=dict)
    incoming: Incoming | None = None
    used: int = 0

    def snapshot(self, name: str) -> SnapshotState | None:
        return next((s for s in self.snapshots if s.name == name), None)


@dataclass(frozen=True)
class ArrayState:
    """One array in one sweep. `records` are those under the prefix asked for, blobs left out. `peers`: which of the arrays asked for it reaches.

    `damaged`: keys of records that fail their checksum here; in `records` stands what others know in their place, or nothing
    (protection.damage).
    """

    own_id: str
    serial: int
    capacity: int
    used: int
    volumes: Mapping[str, VolumeState] = field(default_factory=dict)
    records: Mapping[str, str] = field(default_factory=dict)
    peers: Mapping[str, bool] = field(default_factory=dict)
    clock: str = ""
    damaged: frozenset[str] = frozenset()


@dataclass(frozen=True)
class VmState:
    """A VM on a host. `started` counts its starts here; `frozen`: its guest is quiesced now."""

    name: str
    state: VmRun
    definition: VmDefinition
    frozen: bool = False
    detail: str = ""


@dataclass(frozen=True)
class Reservation:
    """CPUs and memory (bytes) kept for VMs that are about to be started. `vm` is the host's name for the VM."""

    tag: str
    vm: str
    cpus: int
    memory: int


@dataclass(frozen=True)
class HostState:
    """One host in one sweep. Free capacity is what neither a running VM nor a reservation takes."""

    initiator: str
    cpus: int
    memory: int
    vms: Mapping[str, VmState] = field(default_factory=dict)
    reservations: tuple[Reservation, ...] = ()


@dataclass(frozen=True)
class Silent:
    """Nothing is known: no answer, or (`ready` False) an answer from something that is not the array that was pinned.

    `missing`: an embedded file that is not there and may be made anew, since nothing holds a pin for it (first use).
    """

    reason: str
    ready: bool = True
    missing: bool = False


@dataclass(frozen=True)
class WitnessState:
    """The witness in one sweep: its records of this topology. `pinned`: it is known to be the one that was asked before."""

    records: Mapping[str, str] = field(default_factory=dict)
    pinned: bool = True


@dataclass(frozen=True)
class Observation:
    """One sweep over the arrays and hosts of a topology. An object inside a state that is not listed there is *absent*.

    `witness` None: the topology has none.
    """

    arrays: Mapping[str, ArrayState | Silent]
    hosts: Mapping[str, HostState | Silent]
    time: str
    witness: WitnessState | Silent | None = None

    def array(self, name: str) -> ArrayState | None:
        """The array's state, or None while nothing is known of it."""
        state = self.arrays.get(name)
        return state if isinstance(state, ArrayState) else None

    def host(self, name: str) -> HostState | None:
        """The host's state, or None while nothing is known of it."""
        state = self.hosts.get(name)
        return state if isinstance(state, HostState) else None
