"""Everything about the array in one answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import files, resume
from . import records as stored
from .branches import current, pending
from .core import Context, op
from .datasets import Catalog, Volume, catalog
from .lunservice import mapped, offered
from .meta import changing, create, own_id, reading, serial
from .points import Points, every_point
from .snapshots import now

__all__ = ["state"]


@op("create")
def make(ctx: Context) -> str:
    return create(ctx)


@op("state")
def state(ctx: Context, *, records: str = "") -> dict[str, Any]:
    with reading(ctx):
        found = catalog(ctx)
        if not pending(found):
            return _seen(ctx, found, records)
    # A call was cut in the middle of a change: it is completed first, which takes the other lock.
    with changing(ctx) as change:
        return _seen(ctx, current(ctx, change), records)


def _seen(ctx: Context, found: Catalog, prefix: str) -> dict[str, Any]:
    volumes = list(found.volumes.values())
    known, rows = every_point(ctx, found)
    used, free = _room(ctx, rows)
    offers = offered(ctx)
    parts = resume.parts(
        ctx, [*(v.dataset for v in volumes), *(d for d in found.all if d.startswith(f"{ctx.root}/incoming/"))]
    )
    texts = _Texts()
    return {
        "own_id": own_id(ctx),
        "serial": serial(ctx),
        "capacity": used + free,
        "used": used,
        "clock": now(),
        "records": stored.under(ctx, prefix),
        "volumes": {
            v.name: {
                **_volume(ctx, v, known[v.dataset], offers, texts),
                "incoming": _incoming(
                    known[v.dataset], parts.get(f"{ctx.root}/incoming/{v.name}") or parts.get(v.dataset)
                ),
            }
            for v in volumes
        },
        "texts": list(texts.known),
    }


def _room(ctx: Context, rows: Mapping[str, Mapping[str, str]]) -> tuple[int, int]:
    """Bytes that are used, and that are free. What is kept for records (reserve.py) and not used is neither: only its dataset has it to itself."""
    whole, own = rows[ctx.root], rows.get(f"{ctx.root}/meta", {})
    used, free = int(whole["used"]), int(whole["available"])
    kept = max(0, int(own.get("available", free)) - free)
    return max(0, used - kept), free


class _Texts:
    """Records and seals are the same for all volumes of a group: each text is sent once, and named by its place in `known`."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def place(self, text: str) -> int:
        return self.known.setdefault(text, len(self.known))

    def places(self, records: Mapping[str, str]) -> dict[str, int]:
        return {key: self.place(text) for key, text in records.items()}


def _incoming(known: Points, part: dict[str, Any] | None) -> dict[str, Any] | None:
    """What arrived of a step that was cut; None: nothing that can be gone on with."""
    if part is None:
        return None
    base = next((point.name for point in known.seen if point.guid == part["base"]), None)
    return None if part["base"] is not None and base is None else {**part, "base": base}


def _volume(ctx: Context, volume: Volume, known: Points, offers: dict[str, str], texts: _Texts) -> dict[str, Any]:
    if volume.writable:
        files.opened(ctx, volume)
    users = mapped(ctx, volume, offers)
    return {
        "size": volume.size,
        "kind": volume.kind,
        "writable": volume.writable,
        "owner": volume.owner,
        "luns": {
            name: {
                "size": lun.size,
                "online": lun.online,
                "mapped_to": users.get(name),
                "image": lun.image,
            }
            for name, lun in sorted(volume.luns.items())
        },
        "snapshots": [
            {
                "name": point.name,
                "guid": point.guid,
                "time": point.time,
                "holds": point.holds,
                "records": texts.places(point.records),
                "seal": None if point.seal is None else texts.place(point.seal),
                "referenced": point.referenced,
            }
            for point in known.seen
        ],
        "changed": changed_bytes(ctx, volume, known),
        "last_write": files.last_write(ctx, volume),
        "origin": volume.origin,
        "records": texts.places(volume.records),
        "used": int(known.rows[volume.dataset]["used"]),
    }


def changed_bytes(ctx: Context, volume: Volume, known: Points) -> int:
    """Bytes written since the newest snapshot. Whether it is 0 is certain; how many it is, an estimate from what the dataset
    refers to (zfs-fuse has no `written`)."""
    if not volume.writable:
        return 0  # what a transfer has brought and not finished is nobody's, and the next one drops it
    newest = known.newest
    stamps = {name: lun["stamp"] for name, lun in newest.luns.items()} if newest is not None else None
    if not files.changed(ctx, volume, stamps):
        return 0
    grown = int(known.rows[volume.dataset]["referenced"]) - (newest.referenced if newest is not None else 0)
    return max(int(ctx.config["recordSize"]), grown)
