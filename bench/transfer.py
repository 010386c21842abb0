"""Row 3: what an increment moves, against what was changed. The bytes are counted on their way, not asked of the arrays."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from bench.report import Row
from dr_provider.arrays.base import Extent
from dr_provider.arrays.embedded import EmbeddedArray, connect
from dr_provider.arrays.embedded.schema import BLOCK
from dr_provider.model.errors import DrError
from dr_provider.model.records import Owner
from dr_provider.model.vm import BlockAccess

__all__ = ["LIMIT", "SHARES", "transfers"]

LIMIT = 1.05
SHARES = (0.01, 0.1, 1.0)
"""Of the LUN's blocks, changed before each increment."""

_OWNER = Owner("bench", "", "1")
_VOLUME, _LUN, _HOST = "vol", "vm.root", "bench-initiator"
_CHUNK = 256


class _Wire:
    """The bytes that pass: data, and 16 for each extent's place and length."""

    def __init__(self) -> None:
        self.bytes = 0

    def carry(self, extents: Iterable[Extent]) -> Iterator[Extent]:
        for extent in extents:
            self.bytes += 16 + len(extent.data or b"")
            yield extent


def transfers(folder: Path, *, size: int = 64 << 20, shares: Iterable[float] = SHARES, seed: int = 1) -> list[Row]:
    """A full copy of a LUN of `size` bytes, then an increment for each share of its blocks, which are spread all over it."""
    folder.mkdir(parents=True, exist_ok=True)
    source = EmbeddedArray("source", "east", folder / "source.db", timeout=10)
    target = EmbeddedArray("target", "west", folder / "target.db", timeout=10)
    for array in (source, target):
        array.create()
    source.create_volume(_VOLUME, size, _OWNER)
    source.create_lun(_VOLUME, _LUN, size)
    source.map_lun(_VOLUME, [_LUN], _HOST)
    guest = connect(source.lun_target(_VOLUME, _LUN), "east")
    dice = random.Random(seed)  # the same blocks in every run
    blocks = size // BLOCK
    rows: list[Row] = []
    base: str | None = None
    for share in (1.0, *shares):
        chosen = sorted(dice.sample(range(blocks), max(1, round(blocks * share))))
        _write(guest, chosen, dice)
        name = f"s{len(rows)}"
        source.snapshot([_VOLUME], name)
        rows.append(_send(source, target, base, name, len(chosen) * BLOCK, share))
        base = name
    return rows[1:]


def _write(guest: BlockAccess, chosen: list[int], dice: random.Random) -> None:
    at = 0
    while at < len(chosen):
        end = at + 1
        while end < len(chosen) and chosen[end] == chosen[end - 1] + 1 and end - at < _CHUNK:
            end += 1
        guest.write(_VOLUME, _LUN, _HOST, chosen[at] * BLOCK, dice.randbytes((end - at) * BLOCK))
        at = end


def _send(source: EmbeddedArray, target: EmbeddedArray, base: str | None, name: str, changed: int, share: float) -> Row:
    wire = _Wire()
    begin = time.monotonic()
    stream = source.send(_VOLUME, base, name)
    received = target.receive(_VOLUME, replace(stream, extents=wire.carry(stream)), _OWNER)
    seconds = time.monotonic() - begin
    if received > wire.bytes:
        raise DrError(f"the target says that {received} bytes came, and {wire.bytes} passed")
    speed = changed / seconds / 2**20
    return Row(
        name=f"transfer-{share:.0%}".replace("%", "-percent"),
        title=f"increment after {share:.0%} of a LUN was changed",
        measured=wire.bytes / 2**20,
        reference=changed / 2**20,
        unit="MiB",
        limit=LIMIT,
        facts={
            "bytesOnTheWire": wire.bytes,
            "bytesReceived": received,
            "bytesChanged": changed,
            "seconds": round(seconds, 3),
            "mebibytesPerSecond": round(speed, 1),
        },
        remark=f"{speed:.0f} MiB/s",
    )
