"""Group snapshots, seals, deletion and holds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from . import files, properties
from .branches import collect, current, stand_at
from .core import Context, Fault, attempt, fault_of, op, zfs
from .datasets import Catalog, Volume, assign, need_volume, options, refuse_unwritable
from .listing import values
from .meta import changing
from .points import POINT, SEAL, Point, captured, destroy, destroy_all, need_point, points, set_holds, sweep
from .resume import open_zfs

__all__ = ["now"]


def now() -> str:
    """The array's clock: RFC 3339 in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@op("snapshot")
def snapshot(ctx: Context, *, volumes: list[str], snapshot: str, guard: dict[str, Any] | None = None) -> None:
    with changing(ctx, guard) as change:
        found = current(ctx, change)
        members = [need_volume(ctx, found, name) for name in sorted(set(volumes))]
        there = values(ctx, [f"{v.dataset}@{snapshot}" for v in members], ["guid", POINT])
        have = [v.name for v in members if not properties.unset(there.get(f"{v.dataset}@{snapshot}", {}).get(POINT))]
        if members and len(have) == len(members):
            return
        if have:
            raise Fault(
                "Conflict",
                f"snapshot {snapshot} on {ctx.where} is there for {', '.join(have)} only, so it cannot become one point; choose another name",
            )
        for volume in members:
            refuse_unwritable(ctx, volume, f"be snapshot ({snapshot})")
        if not members:
            return
        change.touch()
        for full in there:
            _clear(ctx, found, full)
        stamped = [(files.opened(ctx, volume), files.stamp(ctx, volume)) for volume in members]
        text = options(properties.assignments(POINT, captured(now(), stamped)))
        _take(ctx, found, members, snapshot, text)


def _clear(ctx: Context, found: Catalog, full: str) -> None:
    """Make room for a snapshot where one that is nobody's has its name."""
    if found.dependents(full):
        raise Fault(
            "Conflict",
            f"snapshot {full} on {ctx.where} was deleted, and a clone still stands on it; choose another name, or delete the clone",
        )
    destroy(ctx, full)


def _take(ctx: Context, found: Catalog, members: list[Volume], name: str, text: list[str]) -> None:
    """All members' snapshots in one transaction of the pool."""
    fulls = [f"{volume.dataset}@{name}" for volume in members]
    if len(members) == 1 or open_zfs(ctx):
        zfs(ctx, "snapshot", *text, *fulls)
        return
    # zfs-fuse takes one name, and with -r all that is below it: what was not asked for goes again, and is nobody's until then.
    parent = _common([volume.dataset for volume in members])
    extras = [
        f"{dataset}@{name}"
        for dataset in found.all
        if (dataset == parent or dataset.startswith(f"{parent}/")) and f"{dataset}@{name}" not in fulls
    ]
    words = ["zfs", "snapshot", "-r", *text, f"{parent}@{name}"]
    done = attempt(ctx, words)
    if done.status != 0:
        fault = fault_of(ctx, words, done)
        if fault.kind != "Conflict":
            raise fault
        for full in extras:  # left by a call that was cut between the two steps
            destroy(ctx, full)
        zfs(ctx, *words[1:])
    for full in extras:
        destroy(ctx, full)


def _common(datasets: list[str]) -> str:
    """The nearest dataset that all of these are below."""
    parts = [name.split("/") for name in datasets]
    same = []
    for level in range(min(len(p) for p in parts) - 1):
        if len({p[level] for p in parts}) > 1:
            break
        same.append(parts[0][level])
    return "/".join(same)


@op("seal")
def seal(ctx: Context, *, volumes: list[str], snapshot: str, seal: str, guard: dict[str, Any] | None = None) -> None:
    with changing(ctx, guard) as change:
        found = current(ctx, change)
        members = [need_volume(ctx, found, name) for name in volumes]
        wanted = _named(ctx, members, snapshot)
        # Equal texts are written by one command; heads differ only where an older seal is replaced.
        by_head: dict[str, list[str]] = {}
        for point in wanted:
            if point.seal != seal:
                by_head.setdefault(point.seal_head, []).append(point.full)
        for head, fulls in by_head.items():
            change.touch()
            assign(ctx, properties.assignments(SEAL, seal, head), fulls)


def _named(ctx: Context, members: list[Volume], name: str) -> list[Point]:
    """That snapshot of each volume."""
    known = points(ctx, members, name)
    return [need_point(ctx, volume, known[volume.dataset], name) for volume in members]


@op("delete_snapshots")
def delete_snapshots(ctx: Context, *, snapshots: dict[str, list[str]], guard: dict[str, Any] | None = None) -> None:
    with changing(ctx, guard) as change:
        found = current(ctx, change)
        members = [found.volumes[name] for name in snapshots if name in found.volumes]
        known = points(ctx, members)
        doomed: dict[str, list[Point]] = {}
        for mine in members:
            there = known[mine.dataset]
            names = dict.fromkeys(snapshots[mine.name])
            doomed[mine.name] = [point for name in names if (point := there.find(name)) is not None]
            for point in doomed[mine.name]:
                _refuse_in_use(ctx, found, mine, point)
        if any(doomed.values()):
            change.touch()
        newest = {mine.name: known[mine.dataset].newest for mine in members}
        every = [point for some in doomed.values() for point in some]
        hidden = [point for point in every if found.dependents(point.full)]
        if hidden:
            zfs(ctx, "inherit", POINT, *[point.full for point in hidden])
        destroy_all(ctx, found, [point.full for point in every if point not in hidden])
        branched = False
        for mine in members:
            there = known[mine.dataset]
            for point in doomed[mine.name]:
                there.seen.remove(point)
                if point not in hidden:
                    there.all.remove(point.full)
            sweep(ctx, found, mine, there)  # what a call that was cut has left of earlier ones, too
            if newest[mine.name] in doomed[mine.name] and there.newest is not None and not mine.writable:
                # The next increment stands on what is the newest now, and so must the data.
                after = stand_at(ctx, found, mine, there, there.newest, writable=False)
                branched = branched or after.dataset != mine.dataset
        if branched or (every and found.kept):
            collect(ctx)


def _refuse_in_use(ctx: Context, found: Catalog, volume: Volume, point: Point) -> None:
    if point.holds:
        raise Fault(
            "Busy",
            f"snapshot {point.name} of volume {volume.name} on {ctx.where} is held: {', '.join(sorted(point.holds))}; none was deleted",
        )
    drills = [v.name for v in found.volumes.values() if v.kind == "drill" and v.base == point.full]
    if drills:
        raise Fault(
            "Busy",
            f"snapshot {point.name} of volume {volume.name} on {ctx.where} is what drill clone {min(drills)} was made of; end the drill first",
        )


@op("hold")
def hold(ctx: Context, *, snapshots: dict[str, str], tag: str, guard: dict[str, Any] | None = None) -> None:
    with changing(ctx, guard) as change:
        found = current(ctx, change)
        members = [need_volume(ctx, found, name) for name in snapshots]
        wanted = []
        by_name: dict[str, list[Volume]] = {}
        for volume in members:
            by_name.setdefault(snapshots[volume.name], []).append(volume)
        for name, some in by_name.items():
            wanted += [
                (point, sorted({*point.holds, tag})) for point in _named(ctx, some, name) if tag not in point.holds
            ]
        if wanted:
            change.touch()
            set_holds(ctx, wanted)


@op("release")
def release(ctx: Context, *, volumes: list[str], tag: str, guard: dict[str, Any] | None = None) -> None:
    with changing(ctx, guard) as change:
        found = current(ctx, change)
        members = [found.volumes[name] for name in volumes if name in found.volumes]
        known = points(ctx, members)
        wanted = [
            (point, [each for each in point.holds if each != tag])
            for each_known in known.values()
            for point in each_known.seen
            if tag in point.holds
        ]
        if wanted:
            change.touch()
            set_holds(ctx, wanted)
