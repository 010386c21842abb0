"""The array interface: what the rest of the system may ask of any storage array.

Rules that every driver keeps (tests/contract/test_array.py states them):

* Calls are synchronous and safe from several threads and processes at once. Every call can raise `Unreachable` (no answer
  within `timeout` seconds of the call's start; the driver is opened with it) and `NotReady` (what answers is not an array that
  can be used: empty, not imported, newer format); nothing else stands for silence.
* Every changing call can be repeated: doing again what is already so succeeds and changes nothing.
* A changing call takes a `Guard`; the array checks it in the same atomic step as the change (LeaseLost, MoveInProgress).
* `owner` on what is created; create on what another owner holds raises Conflict.
* Names of volumes, LUNs, snapshots and records match the patterns below; anything else raises BadInput before any command is made.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dr_provider.model.errors import BadInput
from dr_provider.model.findings import ArrayUse, Examination
from dr_provider.model.inventory import FoundVolume
from dr_provider.model.records import Guard, Owner
from dr_provider.model.state import ArrayState, LunState, SnapshotState, VolumeKind
from dr_provider.model.topology import ArraySpec, Topology

__all__ = ["NO_GUARD", "Array", "Extent", "Fabric", "Stream", "check_key", "check_name"]

NO_GUARD = Guard()

_NAME = re.compile(r"[a-z0-9][a-z0-9.:_-]{0,119}")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]*(/[A-Za-z0-9][A-Za-z0-9._:@-]*)*/?")


def check_name(kind: str, name: str) -> str:
    """The name itself; raises BadInput where a volume's, LUN's or snapshot's name has characters that could reach a shell, path or URL."""
    if not _NAME.fullmatch(name):
        raise BadInput(
            f"{kind} name {name!r}: wanted lower-case letters, digits and . : _ -, at most 120; nothing was done"
        )
    return name


def check_key(key: str) -> str:
    """The record key (or prefix, with a final /) itself; raises BadInput otherwise."""
    if len(key) > 400 or not _KEY.fullmatch(key):
        raise BadInput(
            f"record key {key!r}: wanted parts of letters, digits and . _ : @ - between single slashes; nothing was done"
        )
    return key


@dataclass(frozen=True)
class Fabric:
    """What an array is told of the topology around it.

    `groups` maps a volume to its plan: what is snapshot at one point, which some arrays keep together. `peers` are the topology's
    arrays by name, so that a source knows where a destination is to be reached. `vantage`: the site that calls come from, where that
    decides what an embedded array answers ("": the operator's place).
    """

    groups: Mapping[str, str] = field(default_factory=dict)
    peers: Mapping[str, ArraySpec] = field(default_factory=dict)
    vantage: str = ""

    @classmethod
    def of(cls, topology: Topology, vantage: str = "") -> Fabric:
        plans = {v: plan for plan in topology.plans for v in (volume.name for volume in topology.plan_volumes(plan))}
        return cls(plans, dict(topology.arrays), vantage)


@dataclass(frozen=True)
class Extent:
    """`data` at `offset` bytes of a LUN; data None: `length` bytes of zeros (a hole).

    `checksums`: CRC-32 of each block of 4096 bytes of the data, as the source has it; none where the source keeps no such.
    """

    lun: str
    offset: int
    length: int
    data: bytes | None
    checksums: tuple[int, ...] = ()


@dataclass
class Stream:
    """A snapshot on its way to another copy: driver-neutral, so that unlike arrays can be paired.

    `base` None: a full copy. `luns` is the volume's whole LUN table as of the snapshot. `start` counts the bytes that are left out at
    the beginning because the destination has them already (a resumed transfer); `total` is the bytes of the whole step, those included.
    `checksum` tells that of the whole step, once all of its extents were read (how it is counted is the two drivers' affair).
    """

    array: str
    site: str
    volume: str
    size: int
    snapshot: SnapshotState
    base: SnapshotState | None
    luns: Mapping[str, LunState]
    total: int
    start: int
    extents: Iterable[Extent] = field(default_factory=tuple)
    checksum: Callable[[], int] | None = None

    def __iter__(self) -> Iterator[Extent]:
        return iter(self.extents)


class Array(ABC):
    """One array, opened. `name` and `site` are the topology's."""

    name: str
    site: str

    # -- identity and facts ---------------------------------------------------------------------

    @abstractmethod
    def state(self, *, records: str = "", peers: Sequence[str] = ()) -> ArrayState:
        """Everything in one call: facts, volumes with LUNs and snapshots, records under the prefix (those under `<prefix>blob/` left out).

        `peers`: names of arrays to say whether this array reaches them for a transfer.
        """

    @abstractmethod
    def create(self) -> str:
        """Make the array where that is possible (embedded: its file) and nothing is there; its own id. An array that is there is left as it is."""

    # -- records of the array ---------------------------------------------------------------------

    @abstractmethod
    def read_record(self, key: str) -> str | None: ...

    @abstractmethod
    def create_record(self, key: str, value: str, guard: Guard = NO_GUARD) -> bool:
        """Create if absent, atomically; False: it was there (and is left as it was)."""

    @abstractmethod
    def put_record(self, key: str, value: str, guard: Guard = NO_GUARD) -> None: ...

    @abstractmethod
    def delete_record(self, key: str, guard: Guard = NO_GUARD) -> None: ...

    # -- volumes and LUNs ---------------------------------------------------------------------------

    @abstractmethod
    def create_volume(
        self, volume: str, size: int, owner: Owner, *, writable: bool = True, guard: Guard = NO_GUARD
    ) -> None:
        """Make a `data` volume. One that is there is adopted (its owner becomes `owner`) when it is of the same topology and stack
        or was made without a stack; another's raises Conflict. A size that is larger grows it; a smaller one raises Conflict."""

    @abstractmethod
    def adopt_volume(self, volume: str, owner: Owner, guard: Guard = NO_GUARD) -> None:
        """Take a volume over whoever owns it (`dr:adopt`, another stack's release)."""

    @abstractmethod
    def delete_volume(self, volume: str, owner: Owner, guard: Guard = NO_GUARD) -> bool:
        """Destroy a volume with its LUNs and snapshots. False, and nothing is done, where it is gone or of another incarnation.
        Busy: a LUN is mapped, or a snapshot is held."""

    @abstractmethod
    def create_lun(
        self, volume: str, lun: str, size: int, *, image: str | None = None, guard: Guard = NO_GUARD
    ) -> None:
        """Make a LUN, online and mapped to none; `image` is a file whose bytes it starts with. One that is there: grown, never shrunk, never written."""

    @abstractmethod
    def delete_lun(self, volume: str, lun: str, guard: Guard = NO_GUARD) -> bool:
        """False: it was not there. Busy: it is mapped."""

    @abstractmethod
    def restore_lun(self, volume: str, lun: str, source: str, guard: Guard = NO_GUARD) -> int:
        """Give a LUN the bytes that the LUN of its name has in `source`, another volume of the array (a clone of one of the volume's
        snapshots); bytes that differed. Nothing else of the volume changes, and what did not differ is not written, so that the next increment
        stays small. A LUN that is not there is made; one that is larger keeps its size, with zeros behind. Cut in between, it is part old and
        part new: called again, it finishes. Busy: it is mapped, here or in the source. Conflict: the volume is not writable."""

    @abstractmethod
    def set_lun_online(self, volume: str, luns: Sequence[str], online: bool, guard: Guard = NO_GUARD) -> None: ...

    @abstractmethod
    def map_lun(self, volume: str, luns: Sequence[str], initiator: str, guard: Guard = NO_GUARD) -> None:
        """Map LUNs to one initiator. Conflict: one is mapped to another, or the volume is not writable."""

    @abstractmethod
    def unmap_luns(self, luns: Mapping[str, Sequence[str]], guard: Guard = NO_GUARD) -> None:
        """Unmap LUNs of some volumes (volume -> LUN names), from whatever initiator. When it returns no host can write to them."""

    @abstractmethod
    def lun_target(self, volume: str, lun: str) -> str:
        """How a host addresses the LUN (`DiskAttachment.target`); no call is made."""

    # -- snapshots ------------------------------------------------------------------------------------

    @abstractmethod
    def put_volume_records(self, volumes: Sequence[str], key: str, value: str, guard: Guard = NO_GUARD) -> None:
        """Set a record on each volume; snapshots taken later capture it and it travels with them."""

    @abstractmethod
    def snapshot(self, volumes: Sequence[str], snapshot: str, guard: Guard = NO_GUARD) -> None:
        """Snapshot all the volumes at one point in time, atomically. Where all have a snapshot of that name already: nothing is done."""

    @abstractmethod
    def seal(self, volumes: Sequence[str], snapshot: str, seal: str, guard: Guard = NO_GUARD) -> None:
        """Set the seal on the snapshot of each volume."""

    @abstractmethod
    def digests(
        self,
        volume: str,
        snapshot: str,
        *,
        progress: Callable[[int], None] | None = None,
        stop: Callable[[], str | None] | None = None,
    ) -> Mapping[str, str]:
        """SHA-256 (hexadecimal) of all bytes of each LUN as of a snapshot, read through where they are.

        CorruptRecord: some cannot be read as they were written. NotFound: the volume or snapshot is not there. `progress` gets the bytes so
        far; `stop` is asked now and then and ends it with Stopped.
        """

    @abstractmethod
    def delete_snapshots(self, snapshots: Mapping[str, Sequence[str]], guard: Guard = NO_GUARD) -> None:
        """Delete snapshots of some volumes (volume -> snapshots). Those that are gone are passed over. Busy, and none of any volume is
        deleted: one is held or a clone depends on it."""

    @abstractmethod
    def hold(self, snapshots: Mapping[str, str], tag: str, guard: Guard = NO_GUARD) -> None:
        """Put a hold with the tag (a reason, pattern of names) on a snapshot of each volume (volume -> snapshot)."""

    @abstractmethod
    def release(self, volumes: Sequence[str], tag: str, guard: Guard = NO_GUARD) -> None:
        """Take the hold with this tag off every snapshot of the volumes."""

    @abstractmethod
    def clone(
        self,
        volume: str,
        snapshot: str | None,
        name: str,
        kind: VolumeKind,
        owner: Owner,
        *,
        guard: Guard = NO_GUARD,
    ) -> None:
        """A writable volume of its own from a snapshot (None: from the volume as it is now, with all that was written since the newest one).

        Its LUNs are online and mapped to none. Whatever happens to the parent afterwards (rollback, delete of newer snapshots, demote,
        receive) the clone keeps its data and does not stand in the way. A `drill` clone makes its parent snapshot Busy to delete.
        `ArrayFull` where the array cannot keep it.
        """

    # -- replication ------------------------------------------------------------------------------------

    @abstractmethod
    def estimate(self, volume: str, base: str | None, snapshot: str | None) -> int:
        """Bytes that differ between a base (None: nothing) and a snapshot (None: the volume as it is now)."""

    @abstractmethod
    def send(self, volume: str, base: str | None, snapshot: str, *, start: int = 0) -> Stream:
        """Open a step. `start`: bytes that the destination has already (`VolumeState.incoming`)."""

    @abstractmethod
    def receive(
        self,
        volume: str,
        stream: Stream,
        owner: Owner,
        *,
        progress: Callable[[int], None] | None = None,
        stop: Callable[[], str | None] | None = None,
        rate: int | None = None,
        guard: Guard = NO_GUARD,
    ) -> int:
        """Take a stream in; bytes received. The snapshot appears whole at the end or not at all; what arrived before a cut is kept to resume from.

        `volume` must be absent or a `data` volume that is not writable. A full copy replaces it only when complete; an increment needs its base as newest
        snapshot by guid (NoCommonSnapshot: the base is not there; Diverged: newer ones are). Unreachable: the path from the stream's
        array is silent. `progress` gets the bytes of the step so far; `stop` is asked between chunks and ends it with Stopped; `rate`: bytes a second at most.
        CorruptRecord: what arrived is not what was sent; nothing of it appears, none of it is kept, and the next transfer sends it all again.
        Already there (same guid): nothing is done, 0.
        """

    @abstractmethod
    def promote(self, volume: str, snapshot: str, guard: Guard = NO_GUARD) -> None:
        """Break: make a destination writable with the data of the snapshot; newer snapshots and partly received data are dropped
        (who wants them clones them first). Nothing is done where the volume is writable already and nothing is newer than the snapshot; a
        writable volume with newer data raises Conflict."""

    @abstractmethod
    def demote(self, volume: str, snapshot: str, guard: Guard = NO_GUARD) -> None:
        """Make a volume a destination that stands at the snapshot; what is newer is dropped (who wants it clones it first). Busy: a LUN is mapped."""

    def examine(self, use: ArrayUse) -> Examination:
        """Look closely, for `dr doctor`: what would keep the array from what the topology wants of it. Changes nothing; also works
        where `state` is NotReady, as far as it can."""
        return Examination()

    def inventory(self) -> tuple[FoundVolume, ...]:
        """Everything on the array that holds data, whoever made it, by name. Changes nothing."""
        return tuple(
            FoundVolume(v.name, v.kind, v.used, v.size, v.owner.topology if v.owner is not None else "")
            for _, v in sorted(self.state().volumes.items())
        )

    def close(self) -> None:
        """Let go of connections; nothing is changed."""
