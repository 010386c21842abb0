"""What datasets and snapshots say of themselves, asked of zfs.

A command of zfs costs some 20 ms whatever it asks, and calls that come together, one a volume of a plan, all ask first what file systems
there are. So one answer serves every call that was there when it was asked for: whatever anybody does by hand on the array, the next call
sees it. It serves no longer once the array's serial has risen by another program, or a command of this one has changed something (core.py).
Snapshots, which come in outside of the array's lock too, are asked for by each call.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import properties
from .core import Context, attempt, fault_of, zfs

__all__ = ["RECORDS", "VOLUME", "Listing", "file_systems", "forget", "values"]

VOLUME, RECORDS = "dr:volume", "dr:records"

if TYPE_CHECKING:
    Rows = dict[str, dict[str, str]]
    """Dataset or snapshot -> property -> value; each dataset's snapshots in the order in which they came to be there (zfs_iter.c, zfs_compare)."""


class Listing:
    """`at`: of time.monotonic(), when it was asked for. Whoever gets the rows leaves them as they are."""

    def __init__(self, rows: Rows, serial: int, at: float) -> None:
        self.rows = rows
        self.serial = serial
        self.at = at


def file_systems(ctx: Context) -> Rows:
    """All of the array's, with `origin`, `dr:volume` and `dr:records`. The caller holds the array's lock."""
    from .meta import serial, turn

    with turn(ctx, ctx.memory.listing_turn):
        listing = ctx.memory.listing
        if listing is None or listing.at < ctx.came or listing.serial != serial(ctx):
            at = time.monotonic()
            listing = Listing(_listed(ctx), serial(ctx), at)
            ctx.memory.listing = listing
        return listing.rows


def forget(ctx: Context) -> None:
    """What comes in outside of the array's lock may have come since."""
    ctx.memory.listing = None


def _listed(ctx: Context) -> Rows:
    columns = ("name", "origin", VOLUME, RECORDS)
    said = zfs(ctx, "list", "-rH", "-t", "filesystem", "-o", ",".join(columns), ctx.root)
    rows = {line.partition("\t")[0]: dict(zip(columns, line.split("\t"))) for line in said.splitlines()}  # noqa: B905  # Python 3.8 has no strict
    _complete(ctx, rows, (VOLUME, RECORDS))
    return rows


def values(
    ctx: Context, names: Iterable[str], keys: Iterable[str], *, deep: bool = False, texts: Iterable[str] = ()
) -> Rows:
    """Properties of datasets and snapshots; of all below them too with `deep`. Names that are not there are left out, and so is what a name
    has from its parent. `texts`: those of the keys that may be longer than a property."""
    flags = "-rHp" if deep else "-Hp"
    words = ["zfs", "get", flags, "-s", "local,received,none", "-o", "name,property,value", ",".join(keys), *names]
    done = attempt(ctx, words)
    if done.status != 0:
        fault = fault_of(ctx, words, done)
        if fault.kind != "NotFound":
            raise fault
    found: Rows = {}
    for line in done.out.splitlines():
        name, key, value = line.split("\t")
        found.setdefault(name, {})[key] = value
    _complete(ctx, found, texts)
    return found


def _complete(ctx: Context, rows: Rows, texts: Iterable[str]) -> None:
    """Add the rest of long texts, by one command for all of them."""
    more: dict[str, None] = {}
    long = []
    for name, row in rows.items():
        parts = [part for key in texts for part in properties.rest(key, row.get(key, ""))]
        if parts:
            long.append(name)
            more.update(dict.fromkeys(parts))
    if long:
        for name, row in values(ctx, long, more).items():
            rows[name].update(row)
