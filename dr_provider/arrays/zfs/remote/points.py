"""Snapshots as the rest of the system sees them, and what else of that kind stands on a dataset.

`dr:point` is what was captured: time, and for each volume of the group its size, records and LUN table with stamps. It is set in the command
that takes the snapshot, or last of all when one was received, so that a snapshot without it is nobody's: one of another volume below the
same parent (zfs-fuse takes a group by `snapshot -r`), one whose transfer is not finished, the origin of a clone of "now", or a deleted one
that a clone still stands on (`zfs inherit dr:point` deletes it for everyone; it goes for good when the clone does).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import properties
from .core import BUSY_PATIENCE, Context, Fault, attempt, fault_of, zfs
from .datasets import Catalog, Volume, assign, describe
from .listing import values
from .meta import taking
from .resume import open_zfs

__all__ = [
    "HOLDS",
    "POINT",
    "SEAL",
    "Point",
    "Points",
    "captured",
    "destroy",
    "destroy_all",
    "every_point",
    "need_point",
    "points",
    "sweep",
]

POINT, SEAL, HOLDS = "dr:point", "dr:seal", "dr:holds"
_KEYS = ("guid", "used", "available", "referenced", POINT, SEAL, HOLDS)
TAG = "dr"


@dataclass
class Point:
    """`full`: dataset@name. `luns`: name -> {size, image, stamp}."""

    name: str
    full: str
    guid: str
    referenced: int
    time: str
    size: int
    records: Mapping[str, str]
    luns: Mapping[str, Mapping[str, int]]
    seal: str | None = None
    holds: list[str] = field(default_factory=list)
    seal_head: str = ""


@dataclass
class Points:
    """Of one dataset, oldest first: `seen` are everyone's, `all` the full names of every snapshot there is. `rows`: what zfs says of each, and of
    the dataset itself."""

    seen: list[Point] = field(default_factory=list)
    all: list[str] = field(default_factory=list)
    rows: dict[str, dict[str, str]] = field(default_factory=dict)

    def find(self, name: str) -> Point | None:
        return next((point for point in self.seen if point.name == name), None)

    @property
    def newest(self) -> Point | None:
        return self.seen[-1] if self.seen else None

    def nobodys(self) -> list[str]:
        mine = {point.full for point in self.seen}
        return [full for full in self.all if full not in mine]

    def after(self, point: Point) -> list[str]:
        return self.all[self.all.index(point.full) + 1 :]


# -- reading --------------------------------------------------------------------------------------


def points(ctx: Context, volumes: Iterable[Volume], name: str | None = None) -> dict[str, Points]:
    """Dataset -> its snapshots; with a `name`, that one only, which costs less."""
    by_dataset = {volume.dataset: volume for volume in volumes}
    if not by_dataset:
        return {}
    named = [dataset if name is None else f"{dataset}@{name}" for dataset in by_dataset]
    return _sorted_out(ctx, by_dataset, values(ctx, named, _KEYS, deep=name is None, texts=(POINT, SEAL)))


def every_point(ctx: Context, found: Catalog) -> tuple[dict[str, Points], Mapping[str, Mapping[str, str]]]:
    """As `points`, of all volumes, and what zfs says of each dataset: one command costs less than naming each."""
    by_dataset = {volume.dataset: volume for volume in found.volumes.values()}
    rows = values(ctx, [ctx.root], _KEYS, deep=True, texts=(POINT, SEAL))
    return _sorted_out(ctx, by_dataset, rows), rows


def _sorted_out(
    ctx: Context, by_dataset: Mapping[str, Volume], rows: Mapping[str, dict[str, str]]
) -> dict[str, Points]:
    found = {dataset: Points() for dataset in by_dataset}
    # zfs lists the snapshots of a dataset in the order in which they came to be there (zfs_iter.c, zfs_compare: by createtxg).
    for full, row in rows.items():
        dataset, at, _ = full.partition("@")
        if dataset in found:
            found[dataset].rows[full] = row
        if at and dataset in found:
            found[dataset].all.append(full)
            point = _point(ctx, by_dataset[dataset].name, full, row)
            if point is not None:
                found[dataset].seen.append(point)
    return found


def _point(ctx: Context, volume: str, full: str, row: Mapping[str, str]) -> Point | None:
    if properties.unset(row.get(POINT)):
        return None
    text = describe(ctx, full, POINT, row[POINT], row)
    member = text["members"].get(volume)
    if member is None:
        return None
    seal, holds = row.get(SEAL, ""), row.get(HOLDS)
    return Point(
        name=full.partition("@")[2],
        full=full,
        guid=row["guid"],
        referenced=int(row["referenced"]),
        time=text["time"],
        size=member["size"],
        records=text["records"][member["records"]],
        luns=member["luns"],
        seal=None if properties.unset(seal) else describe(ctx, full, SEAL, seal, row),
        holds=[] if holds is None or properties.unset(holds) else holds.split(","),
        seal_head="" if properties.unset(seal) else seal,
    )


def captured(time: str, members: Iterable[tuple[Volume, Mapping[str, int]]]) -> dict[str, Any]:
    """What `dr:point` says of a group: volumes with their LUNs' stamps."""
    records: list[dict[str, str]] = []
    told: dict[str, Any] = {}
    for volume, stamps in members:
        if volume.records not in records:
            records.append(volume.records)
        told[volume.name] = {
            "size": volume.size,
            "records": records.index(volume.records),
            "luns": {
                name: {"size": lun.size, "image": lun.image, "stamp": stamps[name]} for name, lun in volume.luns.items()
            },
        }
    return {"time": time, "members": told, "records": records}


def need_point(ctx: Context, volume: Volume, known: Points, name: str) -> Point:
    point = known.find(name)
    if point is None:
        raise Fault(
            "NotFound",
            f"snapshot {name} of volume {volume.name} is not on {ctx.where}; see `dr points` for what there is",
        )
    return point


# -- getting rid of -------------------------------------------------------------------------------


def set_holds(ctx: Context, wanted: Sequence[tuple[Point, list[str]]]) -> None:
    """Give snapshots these tags. A hold of zfs itself stands on each that has one, against a `zfs destroy` by hand. It comes before the first
    tag, for nobody would see that it lacks; and goes before the last, so that what a call that is cut leaves of it is let go with the tag."""
    fresh = [point.full for point, tags in wanted if tags and not point.holds]
    free = [point.full for point, tags in wanted if point.holds and not tags]
    if free:
        release(ctx, free)
        zfs(ctx, "inherit", HOLDS, *free)
    if fresh:
        words = ["zfs", "hold", TAG, *fresh]
        done = attempt(ctx, words)
        if done.status != 0 and "tag already exists" not in done.err:
            raise fault_of(ctx, words, done)
    by_tags: dict[str, list[str]] = {}
    for point, tags in wanted:
        if tags and tags != point.holds:
            by_tags.setdefault(",".join(tags), []).append(point.full)
    for text, names in by_tags.items():
        assign(ctx, [(HOLDS, text)], names)


def release(ctx: Context, fulls: Sequence[str]) -> None:
    """Take zfs's own hold off snapshots; those that have none are passed over."""
    words = ["zfs", "release", TAG, *fulls]
    done = attempt(ctx, words)
    if done.status != 0 and "no such tag" not in done.err:
        raise fault_of(ctx, words, done)


def destroy(ctx: Context, full: str) -> None:
    """Destroy a snapshot that nothing depends on, held or not; one that is gone is passed over."""
    for last in (False, True):
        try:
            zfs(ctx, "destroy", full, patience=BUSY_PATIENCE if last else 0.0)
            return
        except Fault as fault:
            if fault.kind == "NotFound":
                return
            if fault.kind != "Busy" or last:
                raise
        release(ctx, [full])


def destroy_all(ctx: Context, found: Catalog, fulls: Sequence[str]) -> None:
    """As `destroy`, of many: OpenZFS takes all of a dataset at once; zfs-fuse a group, where nothing else is below its parent."""
    parts: dict[str, list[str]] = {}
    for full in fulls:
        dataset, _, name = full.partition("@")
        parts.setdefault(dataset if open_zfs(ctx) else name, []).append(full)
    for part, some in parts.items():
        if len(some) == 1 or not (_at_once(ctx, part, some) if open_zfs(ctx) else _below(ctx, found, part, some)):
            for full in some:
                destroy(ctx, full)


def _at_once(ctx: Context, dataset: str, fulls: Sequence[str]) -> bool:
    try:
        zfs(ctx, "destroy", f"{dataset}@{','.join(full.partition('@')[2] for full in fulls)}", patience=0.0)
    except Fault as fault:
        if fault.kind not in ("Busy", "NotFound"):
            raise
        return False  # on one of them is a hold that was left, or it went already
    return True


def _below(ctx: Context, found: Catalog, name: str, fulls: Sequence[str]) -> bool:
    """All snapshots of that name below a dataset, by one command: it asks for one on that dataset, and takes all of the name or none."""
    datasets = {full.partition("@")[0] for full in fulls}
    parent = os.path.commonpath(datasets)
    if any(each.startswith(f"{parent}/") and each not in datasets for each in found.all):
        return False  # it may have one of that name, which nobody asked for
    try:
        if f"{parent}@{name}" not in fulls:
            attempt(
                ctx, ["zfs", "snapshot", f"{parent}@{name}"]
            )  # one that was left by a call that was cut does as well
        zfs(ctx, "destroy", "-r", f"{parent}@{name}", patience=0.0)
    except Fault as fault:
        if fault.kind not in ("Busy", "NotFound"):
            raise
        destroy(ctx, f"{parent}@{name}")
        return False
    return True


def sweep(ctx: Context, found: Catalog, volume: Volume, known: Points) -> bool:
    """Destroy what is nobody's on a volume and what no clone stands on; whether there was any. A transfer under way is left alone."""
    doomed = [full for full in known.nobodys() if not found.dependents(full)]
    if not doomed:
        return False
    with taking(ctx, volume.name) as ours:
        if not ours:
            return False
        for full in doomed:
            destroy(ctx, full)
            known.all.remove(full)
    return True
