"""Volumes and their records."""

from __future__ import annotations

from typing import Any

from . import files, properties
from .branches import collect, current, erase, unmount
from .core import Context, Fault, attempt, fault_of, op, zfs
from .datasets import (
    Catalog,
    Volume,
    assign,
    need_volume,
    options,
    owner_said,
    save,
)
from .listing import RECORDS, VOLUME
from .luns import luns_folder
from .lunservice import mapped, withdraw
from .meta import changing
from .points import points, sweep

__all__ = ["make_group", "may_adopt"]


def may_adopt(found: list[str] | None, owner: list[str]) -> bool:
    return found is None or (found[0] == owner[0] and found[1] in ("", owner[1]))


def make_group(ctx: Context, found: Catalog, group: str) -> str:
    """The parent of a plan's volumes."""
    parent = f"{ctx.root}/vols/{group}"
    if parent not in found.all:
        words = ["zfs", "create", "-o", "canmount=off", parent]
        done = attempt(ctx, words)
        if done.status != 0:
            raise fault_of(ctx, words, done)
    return parent


def place_for(ctx: Context, found: Catalog, group: str, name: str) -> tuple[str, int]:
    """Dataset and generation of a new dataset of a volume."""
    generation = found.generation(name)
    parent = make_group(ctx, found, group)
    return (f"{parent}/{name}" if generation == 1 else f"{parent}/{name}.R{generation}"), generation


@op("create_volume")
def create_volume(
    ctx: Context,
    *,
    volume: str,
    size: int,
    owner: list[str],
    group: str,
    writable: bool = True,
    guard: dict[str, Any] | None = None,
) -> None:
    with changing(ctx, guard) as change:
        found = current(ctx, change)
        mine = found.volumes.get(volume)
        if mine is None:
            change.touch()
            dataset, generation = place_for(ctx, found, group, volume)
            mine = Volume(dataset, volume, generation, "data", writable, size, owner, {})
            settings = [("canmount", "noauto"), ("readonly", "off" if writable else "on")]
            settings += properties.assignments(VOLUME, mine.text())
            zfs(ctx, "create", *options(settings), dataset)
            files.forget(ctx, volume)
            if writable:
                luns_folder(ctx, mine)
            return
        if mine.kind != "data":
            raise Fault(
                "Conflict",
                f"volume {volume} on {ctx.where} is there as a {mine.kind} copy, wanted a data volume; choose another name",
            )
        if not may_adopt(mine.owner, owner):
            raise Fault(
                "Conflict",
                f"volume {volume} on {ctx.where} belongs to {owner_said(mine.owner)}, wanted {owner_said(owner)}; adopt it with dr:adopt",
            )
        if size < mine.size:
            raise Fault(
                "Conflict",
                f"volume {volume} on {ctx.where} has {mine.size} bytes and cannot shrink to {size}; declare at least {mine.size}",
            )
        if (mine.size, mine.owner) != (size, owner):
            change.touch()
            mine.size, mine.owner = size, owner
            save(ctx, mine)


@op("adopt_volume")
def adopt_volume(ctx: Context, *, volume: str, owner: list[str], guard: dict[str, Any] | None = None) -> None:
    with changing(ctx, guard) as change:
        mine = need_volume(ctx, current(ctx, change), volume)
        if mine.owner != owner:
            change.touch()
            mine.owner = owner
            save(ctx, mine)


@op("delete_volume")
def delete_volume(ctx: Context, *, volume: str, owner: list[str], guard: dict[str, Any] | None = None) -> bool:
    with changing(ctx, guard) as change:
        found = current(ctx, change)
        mine = found.volumes.get(volume)
        if mine is None or mine.owner != owner:
            return False
        known = points(ctx, [mine])[mine.dataset]
        _refuse_used(ctx, found, mine, [(p.name, tag) for p in known.seen for tag in sorted(p.holds)])
        change.touch()
        withdraw(ctx, mine, list(mine.luns))
        if f"{ctx.root}/incoming/{volume}" in found.all:
            zfs(ctx, "destroy", "-r", f"{ctx.root}/incoming/{volume}")
        files.forget(ctx, volume)
        if any(found.dependents(full) for full in known.all):
            # Safety copies stand on it. For everyone else it is gone with this one property; the rest is garbage collection.
            _retire(ctx, mine)
        else:
            erase(ctx, mine)
            _free_base(ctx, found, mine)
        collect(ctx)
        return True


def _refuse_used(ctx: Context, found: Catalog, volume: Volume, holds: list[tuple[str, str]]) -> None:
    users = mapped(ctx, volume)
    if users:
        said = ", ".join(f"{lun} (to {user})" for lun, user in users.items())
        raise Fault(
            "Busy", f"volume {volume.name} on {ctx.where} has mapped LUNs: {said}; stop the VMs and unmap them first"
        )
    if holds:
        name, tag = min(holds)
        raise Fault(
            "Busy", f"volume {volume.name} on {ctx.where} has a held snapshot: {name} ({tag}); release the hold first"
        )
    drills = [
        v.name
        for v in found.volumes.values()
        if v.kind == "drill" and v.origin is not None and v.origin[0] == volume.name
    ]
    if drills:
        raise Fault(
            "Busy", f"volume {volume.name} on {ctx.where} has a drill clone: {min(drills)}; end the drill first"
        )


def _retire(ctx: Context, volume: Volume) -> None:
    kept = Volume(
        volume.dataset, volume.name, volume.generation, "kept", False, volume.size, None, {}, head=volume.head
    )
    save(ctx, kept)
    unmount(ctx, volume)


def _free_base(ctx: Context, found: Catalog, gone: Volume) -> None:
    """A clone has gone: so does the snapshot it stood on, if that was nobody's."""
    if gone.base is None:
        return
    parent = gone.base.partition("@")[0]
    del found.all[gone.dataset]
    for volume in found.volumes.values():
        if volume.dataset == parent:
            sweep(ctx, found, volume, points(ctx, [volume])[parent])


@op("put_volume_records")
def put_volume_records(
    ctx: Context, *, volumes: list[str], key: str, value: str, guard: dict[str, Any] | None = None
) -> None:
    with changing(ctx, guard) as change:
        found = current(ctx, change)
        members = [need_volume(ctx, found, name) for name in volumes]
        # Volumes of a plan mostly get the same text: one command for all that say the same before and after.
        alike: dict[tuple[str, str], list[Volume]] = {}
        for volume in members:
            if volume.records.get(key) != value:
                head = volume.records_head
                text = properties.assignments(RECORDS, {**volume.records, key: value}, head)[-1][1]
                alike.setdefault((head.partition(":")[0], text), []).append(volume)
        for some in alike.values():
            change.touch()
            first = some[0]
            settings = properties.assignments(RECORDS, {**first.records, key: value}, first.records_head)
            assign(ctx, settings, [volume.dataset for volume in some])
