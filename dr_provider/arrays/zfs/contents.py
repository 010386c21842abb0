"""A snapshot's own bytes, for whoever reads them on this machine: a safety copy that is written to a file.

What ZFS sends between arrays is no list of blocks, so the LUN's file is read instead; the array says where it is, and only while it
holds what the snapshot does.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from dr_provider.arrays.base import Extent
from dr_provider.model.errors import Conflict, DeviceFault, Unreachable
from dr_provider.model.state import LunState

if TYPE_CHECKING:
    from dr_provider.arrays.zfs.transfer import TransferCalls

__all__ = ["extents"]

PIECE = 1 << 20
"""Bytes of an extent; one that holds nothing but zeros is a hole."""


def extents(array: TransferCalls, volume: str, snapshot: str, luns: Mapping[str, LunState]) -> Iterator[Extent]:
    """Every LUN of a snapshot that nothing was written after. Raises Conflict where that is not so, and Unreachable."""
    for name, lun in luns.items():
        place = array._ask("lun.place", volume=volume, snapshot=snapshot, lun=name)
        offset = 0
        for data in _pieces(array, f"LUN {name} of volume {volume}", str(place)):
            yield Extent(name, offset, len(data), data if data.count(0) != len(data) else None)
            offset += len(data)
        if offset != lun.size:
            raise Conflict(
                f"LUN {name} of volume {volume} on {array._where}: its file holds {offset} bytes, wanted {lun.size}; do not use what was read"
            )


def _pieces(array: TransferCalls, what: str, path: str) -> Iterator[bytes]:
    giver = array._session.bulk(["cat", "--", path])
    with contextlib.ExitStack() as stack:
        stack.callback(giver.kill)
        kept = bytearray()
        while True:
            if not select.select([giver.output], [], [], array.timeout)[0]:
                raise Unreachable(f"{array._where}: no byte of {what} came for {array.timeout:g} s")
            some = os.read(giver.output, PIECE)
            kept += some
            while len(kept) >= PIECE:
                yield bytes(kept[:PIECE])
                del kept[:PIECE]
            if not some:
                break
        if kept:
            yield bytes(kept)
        status, said = giver.finish(array.timeout)
    if status == 255 or status is None:
        raise Unreachable(f"{array._where}: the connection was cut while {what} was read ({said or 'without a word'})")
    if status:
        raise DeviceFault(f"{array._where}: {what} could not be read ({said or f'status {status}'})")
