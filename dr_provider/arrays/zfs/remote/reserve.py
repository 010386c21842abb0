"""Room that is kept for what a full array must still do.

A pool without room refuses records, properties and snapshots, and a plan could not even be moved away from it: its LUNs could not be unmapped.
So `tank/dr/meta` has a reservation, which is room for the records at any time; for the rest a part of it is let go for as long as the call takes that
found none. No more than it needs: what guests and transfers write at the same moment may take it.
(Taking a reservation back needs no room itself: OpenZFS checks for it less strictly than for anything else, zfs-fuse not at all; dsl_dir.c.)
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .core import Context, Fault, attempt

__all__ = ["ROOM", "carry_out", "keep"]

ROOM = 32 << 20
"""Bytes; a move of a hundred volumes leaves less than a tenth of it in records and properties."""
_PARTS = 2 << 20, 8 << 20, ROOM
"""What is let go for a call: more where less was not enough."""
_SPARE = 256 << 10
"""Bytes that stay free beside what is kept, so that keeping it is refused by nobody's rounding."""

_MUST = frozenset(
    {
        "clone",
        "create_record",
        "delete_lun",
        "delete_record",
        "delete_snapshots",
        "delete_volume",
        "demote",
        "hold",
        "map_lun",
        "promote",
        "put_record",
        "put_volume_records",
        "release",
        "seal",
        "set_lun_online",
        "snapshot",
        "state",
        "transfer.drop",
        "transfer.finish",
        "unmap_luns",
    }
)
"""What moves a plan, proves where it stands, or makes room; nothing that brings data. Each of them can be repeated."""

_turn = threading.Lock()


def carry_out(ctx: Context, name: str, operation: Callable[..., Any], args: Mapping[str, Any]) -> Any:
    """The operation's result. One that must be done, and finds no room, is done again with some of the room that is kept."""
    parts = _PARTS if name in _MUST else ()
    for lent in (0, *parts):
        try:
            with _let_go(ctx, lent):
                return operation(ctx, **args)
        except Fault as fault:
            if fault.kind != "ArrayFull" or lent == (0, *parts)[-1]:
                raise
    raise AssertionError("the last part returns or raises")


def keep(ctx: Context) -> None:
    """See that the room is kept, as far as there is any; an array that is too full or does not let this account do it goes without."""
    kept, there = _kept(ctx)
    wanted = min(ROOM, there - _SPARE)
    if kept is not None and wanted > kept:
        attempt(ctx, _reserve(ctx, str(wanted)))


def _kept(ctx: Context) -> tuple[int | None, int]:
    """What is reserved (None: it cannot be asked), and what could be: what the dataset has, and what it could get."""
    said = attempt(ctx, ["zfs", "get", "-Hp", "-o", "value", "reservation,used,available", f"{ctx.root}/meta"])
    numbers = [int(word) for word in said.out.split() if word.isdigit()]
    return (numbers[0], numbers[1] + numbers[2]) if said.status == 0 and len(numbers) == 3 else (None, 0)


@contextlib.contextmanager
def _let_go(ctx: Context, part: int) -> Iterator[None]:
    if not part:
        yield
        return
    with _turn:
        kept, _ = _kept(ctx)
        if kept:
            attempt(ctx, _reserve(ctx, str(kept - part) if kept > part else "none"))
        try:
            yield
        finally:
            keep(ctx)


def _reserve(ctx: Context, room: str) -> list[str]:
    return ["zfs", "set", f"reservation={room}", f"{ctx.root}/meta"]
