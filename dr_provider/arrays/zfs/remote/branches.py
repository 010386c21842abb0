"""Setting a volume to one of its snapshots, clones, break and rejoin, and the garbage that all this leaves.

A volume is set back by `zfs rollback -r` where nothing depends on what is newer. Where a safety copy or a drill does, a new branch takes its place:
a clone of the snapshot, of the next generation, which by that is the volume; `zfs promote` then gives it the snapshots up to there. The old
dataset is kept for as long as anything stands on it. A call that is cut in between is completed by the next one (`current`).
"""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

from . import files, properties, resume
from .core import BUSY_PATIENCE, Context, Fault, attempt, fault_of, op, run, zfs
from .datasets import Catalog, Lun, Volume, assign, catalog, need_volume, options, save
from .listing import RECORDS, VOLUME, forget
from .lunservice import mapped, withdraw
from .meta import Change, changing, mounts
from .names import HIDDEN
from .points import Point, Points, need_point, points, release, sweep
from .receiving import stop_receiving

__all__ = ["collect", "current", "pending", "stand_at", "tidy", "unmount"]


def pending(found: Catalog) -> list[Volume]:
    """Volumes that are new branches and have not taken over their snapshots yet."""
    kept = {volume.dataset: volume.name for volume in found.kept}
    return [v for v in found.volumes.values() if v.base and kept.get(v.base.partition("@")[0]) == v.name]


def current(ctx: Context, change: Change) -> Catalog:
    """The catalog, after what an earlier call began has been completed."""
    found = catalog(ctx)
    waiting = pending(found)
    if not waiting:
        return found
    change.touch()
    for volume in waiting:
        _take_over(ctx, volume)
    return catalog(ctx)


def _take_over(ctx: Context, volume: Volume) -> None:
    # In this order: it is pending until it has its snapshots, and without a mountpoint it could never be opened.
    zfs(ctx, "inherit", "mountpoint", volume.dataset)
    zfs(ctx, "promote", volume.dataset)


def unmount(ctx: Context, volume: Volume) -> None:
    if volume.mounted is None:
        return
    end = time.monotonic() + BUSY_PATIENCE
    while volume.dataset in mounts():
        words = ["zfs", "umount", volume.dataset]
        done = attempt(ctx, words)
        if done.status == 0 or "not currently mounted" in done.err:
            break
        fault = fault_of(ctx, words, done)
        if fault.kind != "Busy" or time.monotonic() > end:
            raise fault
        time.sleep(0.05)
    volume.mounted = None


# -- setting back -----------------------------------------------------------------------------------


def stand_at(ctx: Context, found: Catalog, volume: Volume, known: Points, point: Point, *, writable: bool) -> Volume:
    """Set a volume to a snapshot: what is newer is dropped, clones keep theirs. The volume as it is then."""
    withdraw(ctx, volume, list(volume.luns))
    files.note_written(ctx, volume)
    unmount(ctx, volume)
    newer = known.after(point)
    after = Volume(
        dataset=volume.dataset,
        name=volume.name,
        generation=volume.generation,
        kind=volume.kind,
        writable=writable,
        size=volume.size,
        owner=volume.owner,
        luns={
            name: Lun(told["size"], told["image"], volume.luns[name].online if name in volume.luns else True)
            for name, told in point.luns.items()
        },
        origin=volume.origin,
        records=dict(point.records),
        head=volume.head,
        told=volume.told,
        records_head=volume.records_head,
    )
    if any(found.dependents(full) for full in newer):
        _branch(ctx, found, volume, after, point)
    else:
        held = [p.full for p in known.seen if p.holds and p.full in newer]
        if held:
            release(ctx, held)
        _roll_back(ctx, point.full)
        if writable:
            zfs(ctx, "inherit", "readonly", after.dataset)
        else:
            assign(ctx, [("readonly", "on")], [after.dataset])
        if after.records != volume.records:
            assign(ctx, properties.assignments(RECORDS, after.records, after.records_head), [after.dataset])
    if writable:
        files.opened(ctx, after)
        _drop_drafts(after)
        files.restamp(ctx, after, {name: told["stamp"] for name, told in point.luns.items()})
    save(ctx, after)
    return after


def _roll_back(ctx: Context, full: str) -> None:
    """zfs-fuse unmounts asynchronously, and says "I/O error" of a dataset that it has not let go of yet."""
    words = ["zfs", "rollback", "-r", full]
    end = time.monotonic() + BUSY_PATIENCE
    while True:
        done = attempt(ctx, words)
        if done.status == 0:
            return
        if "i/o error" not in done.err.lower() or time.monotonic() > end:
            run(ctx, words)  # "busy" is waited for, and what it says now is what counts
            return
        time.sleep(0.05)


def _branch(ctx: Context, found: Catalog, volume: Volume, after: Volume, point: Point) -> None:
    after.generation = found.generation(volume.name)
    after.dataset = f"{volume.dataset.rpartition('/')[0]}/{volume.name}.R{after.generation}"
    after.base = point.full
    # Without a mountpoint, since zfs-fuse mounts a clone at once, whatever canmount says; a mount may write, and a destination must not be.
    settings = [("mountpoint", "none"), ("canmount", "noauto"), ("readonly", "off" if after.writable else "on")]
    settings += properties.assignments(RECORDS, after.records)
    told = properties.assignments(VOLUME, after.text())
    zfs(ctx, "clone", *options([*settings, *told]), point.full, after.dataset)
    after.head, after.told, after.records_head = told[-1][1], after.text(), settings[-1][1]
    _take_over(ctx, after)
    point.full = f"{after.dataset}@{point.name}"


def _drop_drafts(volume: Volume) -> None:
    """What was there of an image that was being written when the snapshot was taken."""
    assert volume.mounted is not None
    for draft in (Path(volume.mounted) / "luns").glob(".*"):
        draft.unlink()


# -- garbage ----------------------------------------------------------------------------------------


def tidy(ctx: Context, found: Catalog, before: Volume, after: Volume) -> None:
    """After `stand_at`: `collect`, where there can be anything."""
    if found.kept or after.dataset != before.dataset:
        collect(ctx)


def collect(ctx: Context) -> None:
    """Destroy kept datasets that nothing stands on any more, and deleted snapshots with them."""
    found = catalog(ctx)
    while found.kept:
        # A kept dataset is needed while another one (not its own snapshots) has its base in it.
        free = [
            v for v in found.kept if not any(base and base.startswith(f"{v.dataset}@") for base in found.all.values())
        ]
        if not free:
            return
        for volume in free:
            erase(ctx, volume)
        bases = {v.base for v in free if v.base}
        found = catalog(ctx)
        for volume in [*found.volumes.values(), *found.kept]:
            if any(base.startswith(f"{volume.dataset}@") for base in bases):
                sweep(ctx, found, volume, points(ctx, [volume])[volume.dataset])


def erase(ctx: Context, volume: Volume) -> None:
    """Destroy a dataset with its snapshots; nothing depends on them."""
    unmount(ctx, volume)
    words = ["zfs", "destroy", "-r", volume.dataset]
    done = attempt(ctx, words)
    if done.status == 0:
        return
    if fault_of(ctx, words, done).kind == "Busy":
        held = points(ctx, [volume])[volume.dataset].all
        if held:
            release(ctx, held)
    run(ctx, words)


# -- clones -----------------------------------------------------------------------------------------


@op("clone")
def clone(
    ctx: Context,
    *,
    volume: str,
    snapshot: str | None,
    name: str,
    kind: str,
    owner: list[str],
    guard: dict[str, Any] | None = None,
) -> None:
    with changing(ctx, guard) as change:
        found = current(ctx, change)
        there = found.volumes.get(name)
        if there is not None:
            same = there.origin == [volume, snapshot or ""] and there.kind == kind
            if same and there.owner is not None and there.owner[0] == owner[0]:
                files.opened(ctx, there)
                return
            raise Fault(
                "Conflict",
                f"volume {name} on {ctx.where} is there and is not a {kind} clone of {volume} at {snapshot or 'now'}; choose another name",
            )
        parent = need_volume(ctx, found, volume)
        known = points(ctx, [parent])[parent.dataset]
        point = need_point(ctx, parent, known, snapshot) if snapshot is not None else None
        change.touch()
        if point is None and not parent.writable:
            point = (
                known.newest
            )  # a destination has nothing newer, and a snapshot of ours would stand in the way of its increments
        if point is not None:
            base, records = point.full, dict(point.records)
            luns = {lun: Lun(told["size"], told["image"]) for lun, told in point.luns.items()}
        else:
            sweep(ctx, found, parent, known)  # of a call that was cut before it came to its clone
            base, records = f"{parent.dataset}@{HIDDEN}{uuid.uuid4().hex[:12]}", parent.records
            luns = {lun: Lun(told.size, told.image) for lun, told in parent.luns.items()}
            zfs(ctx, "snapshot", base)
        generation = found.generation(name)
        mine = Volume(
            dataset=f"{ctx.root}/copies/{name}.R{generation}" if generation > 1 else f"{ctx.root}/copies/{name}",
            name=name,
            generation=generation,
            kind=kind,
            writable=True,
            size=parent.size,
            owner=owner,
            luns=luns,
            origin=[volume, snapshot or ""],
            records=records,
            base=base,
        )
        settings = [("canmount", "noauto"), ("readonly", "off")]
        settings += properties.assignments(RECORDS, mine.records) + properties.assignments(VOLUME, mine.text())
        zfs(ctx, "clone", *options(settings), base, mine.dataset)
        mine.mounted = mounts().get(mine.dataset)
        files.opened(ctx, mine)
        _drop_drafts(mine)
        files.restamp(ctx, mine, {} if point is None else {n: told["stamp"] for n, told in point.luns.items()})


# -- break and rejoin -------------------------------------------------------------------------------


@op("promote")
def promote(ctx: Context, *, volume: str, snapshot: str, guard: dict[str, Any] | None = None) -> None:
    with changing(ctx, guard) as change:
        found = current(ctx, change)
        mine = need_volume(ctx, found, volume)
        known = points(ctx, [mine])[mine.dataset]
        point = need_point(ctx, mine, known, snapshot)
        if mine.writable:
            files.opened(ctx, mine)
            stamps = {lun: told["stamp"] for lun, told in point.luns.items()}
            if known.newest is point and not files.changed(ctx, mine, stamps):
                return
            raise Fault(
                "Conflict",
                f"volume {volume} on {ctx.where} is writable and has data newer than snapshot {snapshot}; "
                "demote it first, after a clone of what is newer",
            )
        change.touch()
        incoming = f"{ctx.root}/incoming/{volume}"
        if stop_receiving(ctx, [mine.dataset, incoming]):
            forget(ctx)
            found = catalog(ctx)
        if incoming in found.all:
            run(ctx, ["zfs", "destroy", "-r", incoming])
        resume.abandon(ctx, mine.dataset)
        # A transfer may have ended meanwhile: what it brought is nobody's, and goes with the rest that is newer.
        tidy(ctx, found, mine, stand_at(ctx, found, mine, known, point, writable=True))


@op("demote")
def demote(ctx: Context, *, volume: str, snapshot: str, guard: dict[str, Any] | None = None) -> None:
    with changing(ctx, guard) as change:
        found = current(ctx, change)
        mine = need_volume(ctx, found, volume)
        if mine.kind != "data":
            raise Fault(
                "Conflict",
                f"volume {volume} on {ctx.where} is a {mine.kind} copy, which no mirror writes to; choose the data volume",
            )
        known = points(ctx, [mine])[mine.dataset]
        point = need_point(ctx, mine, known, snapshot)
        users = mapped(ctx, mine)
        if users:
            said = ", ".join(f"{lun} (to {user})" for lun, user in users.items())
            raise Fault(
                "Busy", f"volume {volume} on {ctx.where} has mapped LUNs: {said}; stop the VMs and unmap them first"
            )
        if not mine.writable and known.newest is point and not known.after(point):
            return
        change.touch()
        tidy(ctx, found, mine, stand_at(ctx, found, mine, known, point, writable=False))
