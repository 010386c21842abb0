"""The ledger that an embedded guest's application keeps on its disks: what measures loss and tearing after a restore.

Entries are numbered from 1, 64 bytes each, and written in batches. Each entry carries the number of the last entry before its
batch, the session (one start of the guest) that wrote it, and a CRC-32 that goes on from the entry before. So a lost block, a
block of another history or of another VM, or a batch that reached the second disk only, cannot pass for good.

Invariant, after every single write of a 4 KiB block, in this order:

* entries go to the first disk, in ascending order; then its header (the count so far); then the same to the next disk.
* The header never counts an entry that is not there; entries beyond it belong to one batch, which starts at its count.
* A disk is never ahead of the one before it, and behind it by one batch at most, which starts within what both hold.
* A header names the disks that the ledger is on. One that the newest header does not name was added since: it says nothing about the
  ledger, and gets a copy of all of it, its header last, before the next batch is written.
* What a crash left beyond the last common entry is cut on the last disk first (header, then blocks from the far end), before
  anything new is written; a header that lags is brought up then, too.

A region starts with a header block; 64 entries a block follow. All zero: an empty ledger. Reading needs no header: the entries
end at the first empty slot, and the header then says whether some went missing at the end.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from dr_provider.model.errors import DrError

__all__ = [
    "BATCH",
    "BLOCK",
    "ENTRY",
    "MAX_BATCH",
    "Disk",
    "Ledger",
    "Region",
    "RegionFull",
    "Scan",
    "append",
    "capacity",
    "read",
]

BLOCK = 4096
ENTRY = 64
BATCH = 8
"""The application writes out whenever so many entries are in memory."""
MAX_BATCH = 4096
"""At most so many entries go out in one batch."""

_PER_BLOCK = BLOCK // ENTRY
_BODY = struct.Struct("<4sQQQ32s")
_CRC = struct.Struct("<I")
_DISKS = struct.Struct("<4sH")
_HEADER = struct.Struct("<8sIQI32s")
_ENTRY_MAGIC = b"LEDG"
_HEADER_MAGIC = b"LEDGHEAD"
_DISKS_MAGIC = b"DSKS"
_VERSION = 1
_EMPTY = bytes(ENTRY)
_CHUNKS = (64 * 1024, 1024 * 1024)


class Disk(Protocol):
    """A LUN as the guest sees it; `name` is for messages."""

    @property
    def name(self) -> str: ...

    def read(self, offset: int, length: int) -> bytes: ...

    def write(self, offset: int, data: bytes) -> None: ...


class RegionFull(DrError):
    """The ledger's place on the disks is used up."""


@dataclass(frozen=True)
class Region:
    """Where on a disk the ledger is: bytes from `start` to `end`."""

    disk: Disk
    start: int
    end: int

    def offset(self, slot: int) -> int:
        """Where the block of the slot (entry number less one) begins."""
        return self.start + BLOCK + slot // _PER_BLOCK * BLOCK


@dataclass(frozen=True)
class Scan:
    """One disk's ledger. `crcs`: of each entry; `batches`: the starts of its batches; `problem`: why it is not intact."""

    count: int
    crcs: array[int]
    batches: tuple[int, ...]
    header: int
    problem: str = ""
    disks: frozenset[int] | None = None
    """The disks that the header names, each by the checksum of its name; None: it names none (it was written before that was done)."""

    def crc(self, count: int) -> int:
        """The checksum of the last of the first `count` entries."""
        return self.crcs[count - 1] if count else 0


@dataclass(frozen=True)
class Ledger:
    """What all disks together say.

    `last`: the last entry that every disk holds; `chain`: its checksum; `ends` and `headers`: how far each disk goes, and what its
    header counts (both differ from `last` only after a crash); -1 for a disk that was added since.
    """

    last: int
    chain: int
    ends: tuple[int, ...]
    headers: tuple[int, ...]
    problem: str = ""

    @property
    def intact(self) -> bool:
        return not self.problem


def capacity(regions: Sequence[Region]) -> int:
    """How many entries fit on every disk."""
    return min((max(0, (r.end - r.start) // BLOCK - 1) * _PER_BLOCK for r in regions), default=0)


def read(regions: Sequence[Region], vm: str) -> Ledger:
    """Read and judge the ledger of a VM (its name in the topology). Raises what the disks raise."""
    every = [_scan(region, vm) for region in regions]
    named = _named(every)
    there = [named is None or _mark(region) in named for region in regions]
    regions = [region for region, on in zip(regions, there, strict=True) if on]
    scans = [scan for scan, on in zip(every, there, strict=True) if on]
    last = min((scan.count for scan in scans), default=0)
    ends = tuple(scan.count if on else -1 for scan, on in zip(every, there, strict=True))
    problem = next((scan.problem for scan in scans if scan.problem), "")
    for (first, before), (second, after) in zip(
        zip(regions, scans, strict=True), list(zip(regions, scans, strict=True))[1:], strict=False
    ):
        problem = problem or _compare(first.disk.name, before, second.disk.name, after)
    headers = tuple(scan.header if on else -1 for scan, on in zip(every, there, strict=True))
    return Ledger(last, scans[0].crc(last) if scans else 0, ends, headers, problem)


def _mark(region: Region) -> int:
    return zlib.crc32(region.disk.name.encode())


def _named(scans: Sequence[Scan]) -> frozenset[int] | None:
    """The disks that the newest headers name; None: all."""
    newest = max((scan.header for scan in scans), default=0)
    lists = [scan.disks for scan in scans if scan.header == newest and newest]
    return frozenset[int]().union(*(each for each in lists if each is not None)) if any(lists) else None


def _compare(first: str, before: Scan, second: str, after: Scan) -> str:
    if after.count > before.count:
        return (
            f"disk {second} holds {after.count} entries and disk {first}, which is written first, only {before.count}"
        )
    if before.crc(after.count) != after.crc(after.count):
        return f"disks {first} and {second} hold different entries up to number {after.count}"
    if before.count > after.count and before.batches[-1] > after.count:
        return f"disk {first} ends at entry {before.count} and disk {second} at {after.count}: more than one write-out apart"
    return ""


def _scan(region: Region, vm: str) -> Scan:
    disk = region.disk.name
    # The header and the first entries in one read: every start of a guest looks at them.
    front = region.disk.read(region.start, max(0, min(BLOCK + _CHUNKS[0], region.end - region.start)))
    header, header_crc, problem = _judge_front(disk, front, vm)
    owner = vm.encode()
    crcs, batches = array("I"), list[int]()
    position, size, previous, batch = region.start + BLOCK, _CHUNKS[0], 0, -1
    ended = False
    while position < region.end and not problem and not ended:
        if position == region.start + BLOCK:
            chunk = memoryview(front)[BLOCK:]
        else:
            chunk = memoryview(region.disk.read(position, min(size, region.end - position)))
        for at in range(0, len(chunk) - ENTRY + 1, ENTRY):
            slot = chunk[at : at + ENTRY]
            if slot == _EMPTY:
                ended = True
                # One look past the end: what stands there was written after a block that is now missing.
                if chunk[at:].tobytes().strip(b"\0"):
                    problem = f"disk {disk}: entry {len(crcs) + 1} is missing and later ones are there"
                break
            number = len(crcs) + 1
            magic, found, start, _, name = _BODY.unpack_from(slot)
            crc = zlib.crc32(slot[: _BODY.size], previous)
            if magic != _ENTRY_MAGIC or found != number or crc != _CRC.unpack_from(slot, _BODY.size)[0]:
                problem = f"disk {disk}: entry {number} is torn or damaged (wrong number or checksum)"
                break
            if name.rstrip(b"\0") != owner:
                problem = (
                    f"disk {disk}: entry {number} is another VM's ({name.rstrip(bytes(1)).decode(errors='replace')})"
                )
                break
            if start != batch:
                if start != number - 1:
                    problem = f"disk {disk}: entry {number} is of a batch that starts after entry {start}, but the ones between are not"
                    break
                batch = start
                batches.append(start)
            crcs.append(crc)
            previous = crc
        position += len(chunk)
        size = _CHUNKS[1]
    scan = Scan(len(crcs), crcs, tuple(batches), header, problem, _disks(front))
    return scan if problem else replace(scan, problem=_judge_header(disk, scan, header_crc))


def _disks(front: bytes) -> frozenset[int] | None:
    at = _HEADER.size + _CRC.size
    if len(front) < BLOCK or front[at : at + len(_DISKS_MAGIC)] != _DISKS_MAGIC:
        return None
    _, count = _DISKS.unpack_from(front, at)
    listed = struct.Struct(f"<{count}I")
    end = at + _DISKS.size + listed.size
    if end + _CRC.size > BLOCK or zlib.crc32(front[at:end]) != _CRC.unpack_from(front, end)[0]:
        return None
    return frozenset(listed.unpack_from(front, at + _DISKS.size))


def _judge_front(disk: str, front: bytes, vm: str) -> tuple[int, int, str]:
    data = front[:BLOCK]
    if len(data) < BLOCK or not any(data):
        return 0, 0, ""
    magic, version, count, chain, name = _HEADER.unpack_from(data)
    if magic != _HEADER_MAGIC or zlib.crc32(data[: _HEADER.size]) != _CRC.unpack_from(data, _HEADER.size)[0]:
        return 0, 0, f"disk {disk}: the ledger's header is damaged"
    if version != _VERSION:
        return 0, 0, f"disk {disk}: the ledger has format {version}, this program reads {_VERSION}"
    if name.rstrip(b"\0") != vm.encode():
        return (
            0,
            0,
            f"disk {disk}: the ledger is another VM's ({name.rstrip(bytes(1)).decode(errors='replace')})",
        )
    return count, chain, ""


def _judge_header(disk: str, scan: Scan, crc: int) -> str:
    if scan.header > scan.count:
        return f"disk {disk}: {scan.header} entries were written and only {scan.count} are there"
    if scan.crc(scan.header) != crc:
        return f"disk {disk}: entry {scan.header} is not the one that was written (two histories are mixed)"
    if scan.count > scan.header and scan.batches[-1] > scan.header:
        return f"disk {disk}: entries {scan.header + 1} to {scan.count} are of more than one write-out"
    return ""


def _header(vm: str, count: int, chain: int, disks: Sequence[int]) -> bytes:
    body = _HEADER.pack(_HEADER_MAGIC, _VERSION, count, chain, vm.encode())
    listed = _DISKS.pack(_DISKS_MAGIC, len(disks)) + struct.pack(f"<{len(disks)}I", *disks)
    return (body + _CRC.pack(zlib.crc32(body)) + listed + _CRC.pack(zlib.crc32(listed))).ljust(BLOCK, b"\0")


@dataclass
class _Batch:
    """Entries `first`..`last` as bytes, with the checksum of the last."""

    data: bytes = b""
    chain: int = field(default=0)


def _entries(vm: str, first: int, last: int, session: int, chain: int) -> _Batch:
    parts = list[bytes]()
    for number in range(first, last + 1):
        body = _BODY.pack(_ENTRY_MAGIC, number, first - 1, session, vm.encode())
        chain = zlib.crc32(body, chain)
        parts += (body, _CRC.pack(chain))
    return _Batch(b"".join(parts), chain)


def append(regions: Sequence[Region], vm: str, ledger: Ledger, upto: int, session: int) -> Ledger:
    """Write entries `ledger.last` + 1 to `upto` as one batch, and say how the ledger stands then.

    Doing it again after a failure, with the same ledger and session and an `upto` as far or farther, writes the same bytes again.
    Raises RegionFull, and what the disks raise.
    """
    if upto <= ledger.last:
        return ledger
    room = capacity(regions)
    if upto > room:
        raise RegionFull(
            f"VM {vm}: its ledger has room for {room} entries on its disks and {upto} were wanted; nothing was written"
        )
    batch = _entries(vm, ledger.last + 1, upto, session, ledger.chain)
    disks = [_mark(region) for region in regions]
    # Backwards, so that no disk ever falls behind the one that is written after it.
    for region, end, header in reversed(list(zip(regions, ledger.ends, ledger.headers, strict=True))):
        if end >= 0:
            _settle(
                region,
                vm,
                ledger,
                end,
                header,
                session,
                disks=[m for m, e in zip(disks, ledger.ends, strict=True) if e >= 0],
            )
    source = next((region for region, end in zip(regions, ledger.ends, strict=True) if end >= 0), None)
    for region, end in zip(regions, ledger.ends, strict=True):
        if end < 0 and source is not None:
            _join(region, source, vm, ledger, disks)
    for region in regions:
        _append_to(region, vm, ledger.last, batch, upto, disks)
    return Ledger(upto, batch.chain, (upto,) * len(regions), (upto,) * len(regions))


def _join(region: Region, source: Region, vm: str, ledger: Ledger, disks: Sequence[int]) -> None:
    """Bring the whole ledger to a disk that was added; what else stands in its place there is cut. An earlier try's work is left."""
    front = region.disk.read(region.start, BLOCK)
    count, _, problem = _judge_front(region.disk.name, front, vm)
    if not problem and _disks(front) == frozenset(disks) and count >= ledger.last:
        return
    to = region.start + BLOCK
    for slot in range(0, ledger.last, _PER_BLOCK):
        block = source.disk.read(source.offset(slot), BLOCK)
        region.disk.write(region.offset(slot), block[: (ledger.last - slot) * ENTRY].ljust(BLOCK, b"\0"))
        to = region.offset(slot) + BLOCK
    while to + BLOCK <= region.end and any(region.disk.read(to, BLOCK)):
        region.disk.write(to, bytes(BLOCK))
        to += BLOCK
    region.disk.write(region.start, _header(vm, ledger.last, ledger.chain, disks))


def _settle(
    region: Region, vm: str, ledger: Ledger, end: int, header: int, session: int, *, disks: Sequence[int]
) -> None:
    """Bring a disk to exactly `ledger.last`, after a crash that left it beyond that, or its header behind."""
    slot = ledger.last
    if end <= slot and header >= slot:
        return
    offset, within = region.offset(slot), slot % _PER_BLOCK * ENTRY
    block = region.disk.read(offset, BLOCK)
    there = block[within : within + ENTRY]
    # Entries of this session are from its own earlier try, which had settled all disks before.
    stale = end > slot and there != _EMPTY and _BODY.unpack_from(there)[3] != session
    if stale or header < slot:
        # First of all, so that it never counts what is being cut, and that what follows is one batch beyond it.
        region.disk.write(region.start, _header(vm, slot, ledger.chain, disks))
    if stale:
        for far in range(region.offset(end - 1), offset, -BLOCK):
            region.disk.write(far, bytes(BLOCK))
        region.disk.write(offset, block[:within].ljust(BLOCK, b"\0"))


def _append_to(region: Region, vm: str, slot: int, batch: _Batch, upto: int, disks: Sequence[int]) -> None:
    offset, within = region.offset(slot), slot % _PER_BLOCK * ENTRY
    data = (region.disk.read(offset, BLOCK)[:within] if within else b"") + batch.data
    region.disk.write(offset, data.ljust(-(-len(data) // BLOCK) * BLOCK, b"\0"))
    region.disk.write(region.start, _header(vm, upto, batch.chain, disks))
