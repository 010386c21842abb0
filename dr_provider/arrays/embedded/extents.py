"""Block numbers as extents of a stream, and a stream's extents as steps of a receive."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence

from dr_provider.arrays.base import Extent, Stream
from dr_provider.arrays.embedded.schema import BLOCK
from dr_provider.model.errors import DrError

__all__ = ["Tally", "batches", "coalesce", "count", "runs"]

_STEP = 1024  # blocks that one transaction takes in at most


class Tally:
    """A checksum of blocks with their places, in whatever order they are added; holes add nothing."""

    def __init__(self) -> None:
        self.sum = 0

    def add(self, lun: str, number: int, checksum: int) -> None:
        self.sum = (self.sum + zlib.crc32(f"{lun}/{number}/{checksum}".encode())) % (1 << 64)


def count(changes: Mapping[str, array[int]]) -> int:
    """How many blocks."""
    return sum(len(numbers) for numbers in changes.values())


def runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(first, count) of the runs of neighbours in sorted numbers."""
    first = count = 0
    for number in numbers:
        if count and number == first + count:
            count += 1
            continue
        if count:
            yield first, count
        first, count = number, 1
    if count:
        yield first, count


def coalesce(lun: str, first: int, blocks: Sequence[bytes | None], sums: Sequence[int]) -> Iterator[Extent]:
    """Neighbouring blocks from block `first` on as extents: one a stretch of data, one a stretch of holes."""
    at = 0
    while at < len(blocks):
        end = at
        while end < len(blocks) and (blocks[end] is None) == (blocks[at] is None):
            end += 1
        data = None if blocks[at] is None else b"".join(block for block in blocks[at:end] if block is not None)
        yield Extent(
            lun, (first + at) * BLOCK, (end - at) * BLOCK, data, tuple(sums[at:end]) if data is not None else ()
        )
        at = end


def batches(extents: Stream) -> Iterator[list[Extent]]:
    """Extents in lists of at most a step's bytes. What came before the source failed is handed on before the failure is."""
    batch: list[Extent] = []
    size = 0
    try:
        for extent in extents:
            if batch and size + extent.length > _STEP * BLOCK:
                yield batch
                batch, size = [], 0
            batch.append(extent)
            size += extent.length
    except DrError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch
