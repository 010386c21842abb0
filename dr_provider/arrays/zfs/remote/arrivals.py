"""The beginnings of a replication step: what a source says of a snapshot, and how a destination makes ready for it, or clears up after it.

What has arrived is taken up in landings.py.
"""

from __future__ import annotations

from typing import Any

from . import properties
from .branches import current, stand_at, tidy, unmount
from .core import Context, Fault, zfs
from .datasets import Catalog, Volume, catalog, need_volume, options
from .listing import VOLUME, forget
from .meta import changing, mounts
from .points import Point, Points, need_point, points, sweep
from .receiving import stop_receiving
from .volumes import place_for

__all__ = ["begin", "describe", "drop", "refuse_held"]


# -- the source -----------------------------------------------------------------------------------


def describe(ctx: Context, volume: str, base: str | None, snapshot: str) -> tuple[dict[str, Any], Points]:
    """A step as its destination needs to know it, and the dataset to send it from; with that dataset's snapshots. The caller holds the array's lock."""
    if base == snapshot:
        raise Fault(
            "NothingToSend", f"volume {volume}: the destination stands at snapshot {snapshot} of {ctx.where} already"
        )
    mine = need_volume(ctx, catalog(ctx), volume)
    known = points(ctx, [mine])[mine.dataset]
    point = need_point(ctx, mine, known, snapshot)
    older = older_point(ctx, mine, known, base, point)
    step = {
        "dataset": mine.dataset,
        "array": ctx.config["name"],
        "site": ctx.config.get("site", ""),
        "volume": volume,
        "size": point.size,
        "snapshot": _told(point),
        "base": None if older is None else _told(older),
    }
    return step, known


def _told(point: Point) -> dict[str, Any]:
    return {
        "name": point.name,
        "guid": point.guid,
        "time": point.time,
        "records": dict(point.records),
        "seal": point.seal,
        "referenced": point.referenced,
        "luns": {name: dict(lun) for name, lun in point.luns.items()},
    }


def older_point(ctx: Context, volume: Volume, known: Points, base: str | None, point: Point | None) -> Point | None:
    """The snapshot that an increment stands on; None: there is none. Raises NoCommonSnapshot. `point` None: the volume as it is now."""
    if base is None:
        return None
    older = known.find(base)
    if older is not None and (point is None or known.all.index(older.full) < known.all.index(point.full)):
        return older
    found = "an unknown one" if older is None else "a newer one"
    raise Fault(
        "NoCommonSnapshot",
        f"volume {volume.name} on {ctx.where}: wanted {base} as an older snapshot of the same data, found {found}; send a full copy",
    )


# -- the destination --------------------------------------------------------------------------------


def begin(
    ctx: Context,
    volume: str,
    stream: dict[str, Any],
    owner: list[str],
    group: str,
    guard: dict[str, Any] | None,
    *,
    keep: bool = False,
) -> dict[str, Any]:
    """Make ready for a step: {"have": True} where its snapshot is here, else {"dataset", "full"} to receive into.

    The caller holds `meta.taking` of the volume, before this and until after `finish` or `drop`. `keep`: what arrived of the step before
    is gone on with.
    """
    with changing(ctx, guard) as change:
        base = stream["base"]
        if base is None:
            forget(ctx)  # whoever kept `taking` until now may have left something in incoming/
        found = current(ctx, change)
        mine = found.volumes.get(volume)
        incoming = f"{ctx.root}/incoming/{volume}"
        # Whoever received for this volume has let `taking` go: what it left, or what still runs of it, has no owner.
        if stop_receiving(ctx, [incoming, *([mine.dataset] if mine is not None else [])]):
            forget(ctx)
            found = current(ctx, change)
        if mine is None and base is not None:
            raise Fault(
                "NoCommonSnapshot",
                f"volume {volume} is not on {ctx.where}, so snapshot {base['name']} is not; send a full copy",
            )
        if mine is not None:
            known = points(ctx, [mine])[mine.dataset]
            _refuse_foreign(ctx, mine, owner)
            if any(point.guid == stream["snapshot"]["guid"] for point in known.seen):
                return {"have": True}
            _refuse_unfit(ctx, mine)
            if base is None:
                refuse_held(ctx, mine, known)
            else:
                _refuse_diverged(ctx, mine, known, base)
        change.touch()
        if mine is None or base is None:
            if mine is None:
                _announce(ctx, found, volume, stream["size"], owner, group)
            if incoming in found.all and not keep:
                zfs(ctx, "destroy", "-r", incoming)
            return {"dataset": incoming, "full": True}
        newest = known.newest
        assert newest is not None
        if mine.mounted is not None or known.after(newest):
            before, mine = mine, stand_at(ctx, found, mine, known, newest, writable=False)
            tidy(ctx, found, before, mine)
        return {"dataset": mine.dataset, "full": False}


def _announce(ctx: Context, found: Catalog, volume: str, size: int, owner: list[str], group: str) -> None:
    """The volume stands from the beginning of its first copy on, empty: others see whose it is."""
    dataset, generation = place_for(ctx, found, group, volume)
    mine = Volume(dataset, volume, generation, "data", False, size, owner, {})
    settings = [("canmount", "noauto"), ("readonly", "on"), *properties.assignments(VOLUME, mine.text())]
    zfs(ctx, "create", *options(settings), dataset)
    mine.mounted = mounts().get(dataset)  # zfs-fuse mounts what it makes, whatever canmount says
    unmount(ctx, mine)


def _refuse_foreign(ctx: Context, volume: Volume, owner: list[str]) -> None:
    if volume.owner is not None and volume.owner[0] != owner[0]:
        raise Fault(
            "Conflict",
            f"volume {volume.name} on {ctx.where} belongs to topology {volume.owner[0]}, wanted {owner[0]}; adopt it first",
        )


def _refuse_unfit(ctx: Context, volume: Volume) -> None:
    if volume.kind != "data" or volume.writable:
        found = "writable" if volume.kind == "data" else f"a {volume.kind} copy"
        raise Fault(
            "Conflict",
            f"volume {volume.name} on {ctx.where} is {found}, wanted a mirror's destination; demote it first",
        )


def refuse_held(ctx: Context, volume: Volume, known: Points) -> None:
    held = min(((point.name, tag) for point in known.seen for tag in point.holds), default=None)
    if held is not None:
        raise Fault(
            "Busy",
            f"volume {volume.name} on {ctx.where} has a held snapshot, which a full copy would replace: {held[0]} ({held[1]})",
        )


def _refuse_diverged(ctx: Context, volume: Volume, known: Points, base: dict[str, Any]) -> None:
    newest = known.newest
    if not any(point.guid == base["guid"] for point in known.seen):
        raise Fault(
            "NoCommonSnapshot",
            f"volume {volume.name} on {ctx.where} has not the snapshot {base['name']} that the increment stands on "
            f"(its newest is {newest.name if newest else 'none'}); send a full copy",
        )
    assert newest is not None
    if newest.guid != base["guid"]:
        raise Fault(
            "Diverged",
            f"volume {volume.name} on {ctx.where} has snapshots newer than {base['name']} (newest {newest.name}); "
            f"keep them as a clone and demote it to {base['name']}",
        )


def drop(ctx: Context, volume: str) -> None:
    """After a transfer that was cut: free what arrived and cannot be gone on with."""
    with changing(ctx) as change:
        found = current(ctx, change)
        incoming = f"{ctx.root}/incoming/{volume}"
        mine = found.volumes.get(volume)
        stop_receiving(ctx, [incoming, *([mine.dataset] if mine is not None else [])])
        forget(ctx)
        if incoming in catalog(ctx).all:
            change.touch()
            zfs(ctx, "destroy", "-r", incoming)
        if mine is None or mine.writable:
            return
        known = points(ctx, [mine])[mine.dataset]
        if known.newest is None:
            sweep(ctx, found, mine, known)
            return
        # A receive that was cut leaves the data at the newest snapshot; one that came to its end only for us to be cut off leaves more.
        if known.after(known.newest):
            change.touch()
            tidy(ctx, found, mine, stand_at(ctx, found, mine, known, known.newest, writable=False))
