"""Volumes and LUNs."""

from __future__ import annotations

import base64
import os
import zlib
from pathlib import Path
from typing import Any

from . import files, properties
from .branches import collect, current, erase
from .core import Context, Fault, attempt, fault_of, fault_of_os, op, zfs
from .datasets import (
    RECORDS,
    VOLUME,
    Catalog,
    Lun,
    Volume,
    assign,
    need_lun,
    need_volume,
    options,
    owner_said,
    refuse_unwritable,
    save,
)
from .lunservice import mapped, offer, offered, withdraw
from .meta import Change, changing, record_size
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
                _luns_folder(ctx, mine)
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


def _luns_folder(ctx: Context, volume: Volume) -> Path:
    files.opened(ctx, volume)
    assert volume.mounted is not None
    place = Path(volume.mounted) / "luns"
    try:
        place.mkdir(exist_ok=True)
    except OSError as error:
        raise fault_of_os(ctx, error, f"making the LUNs' folder of volume {volume.name}") from error
    return place


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
    from .branches import unmount

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


# -- LUNs -------------------------------------------------------------------------------------------


@op("create_lun")
def create_lun(
    ctx: Context, *, volume: str, lun: str, size: int, image: bool = False, guard: dict[str, Any] | None = None
) -> str:
    """Make or grow a LUN: "done". "send": it is not there, and is to be made with an image (`begin_image`)."""
    with changing(ctx, guard) as change:
        mine = need_volume(ctx, current(ctx, change), volume)
        old = mine.luns.get(lun)
        if old is not None and old.size >= size:
            return "done"
        refuse_unwritable(ctx, mine, f"take a new or larger LUN ({lun})")
        if old is None and image:
            return "send"
        _luns_folder(ctx, mine)
        change.touch()
        if old is not None:
            _resize(ctx, mine, lun, size)
            old.size = size
            user = mapped(ctx, mine).get(lun)
            if user is not None:
                # A LUN service looks at a file's size once. A guest that runs logs in again by itself, and loses nothing by it.
                withdraw(ctx, mine, [lun])
                offer(ctx, mine, lun, user)
        else:
            # A file without an entry is what a call that was cut, or a deletion, left.
            mine.file(lun).unlink(missing_ok=True)
            _size(ctx, mine.file(lun), size, lun)
            files.born(ctx, mine, lun)
            mine.luns[lun] = Lun(size)
        save(ctx, mine)
        return "done"


@op("begin_image")
def begin_image(
    ctx: Context, *, volume: str, lun: str, draft: str, size: int, guard: dict[str, Any] | None = None
) -> None:
    """A file to write an image to, under a name of its own (`draft`, a token). Another call that writes one is told at its next piece."""
    with changing(ctx, guard) as change:
        mine = need_volume(ctx, current(ctx, change), volume)
        refuse_unwritable(ctx, mine, f"take a new or larger LUN ({lun})")
        place = _luns_folder(ctx, mine)
        for left in place.glob(f".{lun}=*"):
            left.unlink()
        _size(ctx, _draft(mine, lun, draft), size, lun)


def _draft(volume: Volume, lun: str, token: str) -> Path:
    assert volume.mounted is not None
    return Path(volume.mounted) / "luns" / f".{lun}={token}"


def _size(ctx: Context, path: Path, size: int, lun: str) -> None:
    try:
        with path.open("xb") as file:
            file.truncate(size)
            os.fsync(file.fileno())
    except OSError as error:
        raise fault_of_os(ctx, error, f"making LUN {lun}") from error


def _resize(ctx: Context, volume: Volume, lun: str, size: int) -> None:
    try:
        with volume.file(lun).open("r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())
    except OSError as error:
        raise fault_of_os(ctx, error, f"growing LUN {lun} of volume {volume.name}") from error


def _drafted(ctx: Context, change: Change, volume: str, lun: str, draft: str) -> Volume:
    mine = need_volume(ctx, current(ctx, change), volume)
    if not mine.writable or not _draft(files.opened(ctx, mine), lun, draft).exists():
        raise Fault(
            "Conflict",
            f"LUN {lun} of volume {volume} on {ctx.where} is being made by another call; look again when it is done",
        )
    return mine


@op("write_image")
def write_image(
    ctx: Context, *, volume: str, lun: str, draft: str, offset: int, data: str, guard: dict[str, Any] | None = None
) -> None:
    """A piece of the image: base64 of its zlib. Zeros are left as holes."""
    with changing(ctx, guard) as change:
        mine = _drafted(ctx, change, volume, lun, draft)
        piece = zlib.decompress(base64.b64decode(data))
        step = record_size(ctx)
        try:
            with _draft(mine, lun, draft).open("r+b", buffering=0) as file:
                for at in range(0, len(piece), step):
                    part = piece[at : at + step]
                    if part.count(0) != len(part):
                        os.pwrite(file.fileno(), part, offset + at)
        except OSError as error:
            _draft(mine, lun, draft).unlink()
            raise fault_of_os(ctx, error, f"writing the image of LUN {lun} of volume {volume}") from error


@op("finish_image")
def finish_image(
    ctx: Context, *, volume: str, lun: str, draft: str, size: int, image: int, guard: dict[str, Any] | None = None
) -> None:
    with changing(ctx, guard) as change:
        mine = _drafted(ctx, change, volume, lun, draft)
        path = _draft(mine, lun, draft)
        if lun in mine.luns:
            path.unlink()
            return
        change.touch()
        try:
            with path.open("r+b") as file:
                os.fsync(file.fileno())
            path.replace(mine.file(lun))
        except OSError as error:
            raise fault_of_os(ctx, error, f"finishing LUN {lun} of volume {volume}") from error
        mine.luns[lun] = Lun(size, image)
        save(ctx, mine)


@op("delete_lun")
def delete_lun(ctx: Context, *, volume: str, lun: str, guard: dict[str, Any] | None = None) -> bool:
    with changing(ctx, guard) as change:
        mine = current(ctx, change).volumes.get(volume)
        if mine is None or lun not in mine.luns:
            return False
        refuse_unwritable(ctx, mine, f"lose a LUN ({lun})")
        user = mapped(ctx, mine).get(lun)
        if user is not None:
            raise Fault(
                "Busy",
                f"LUN {lun} of volume {volume} on {ctx.where} is mapped to {user}; stop its VM and unmap it first",
            )
        change.touch()
        del mine.luns[lun]
        save(ctx, mine)
        try:
            files.opened(ctx, mine).file(lun).unlink(missing_ok=True)
        except OSError as error:
            raise fault_of_os(ctx, error, f"deleting LUN {lun} of volume {volume}") from error
        return True


@op("set_lun_online")
def set_lun_online(
    ctx: Context, *, volume: str, luns: list[str], online: bool, guard: dict[str, Any] | None = None
) -> None:
    """Offline: not offered to anyone, and kept in mind to whom it was; online: offered to that one again."""
    with changing(ctx, guard) as change:
        mine = need_volume(ctx, current(ctx, change), volume)
        doomed = [lun for lun in luns if need_lun(ctx, mine, lun).online != online]
        if not doomed:
            return
        change.touch()
        users = mapped(ctx, mine)
        for lun in doomed:
            mine.luns[lun].online = online
            if not online:
                mine.luns[lun].wish = users.get(lun)
        if not online:
            withdraw(ctx, mine, doomed)
        save(ctx, mine)
        if online and mine.writable:
            for lun in doomed:
                wish = mine.luns[lun].wish
                if wish is not None:
                    offer(ctx, files.opened(ctx, mine), lun, wish)


@op("map_lun")
def map_lun(ctx: Context, *, volume: str, luns: list[str], initiator: str, guard: dict[str, Any] | None = None) -> None:
    with changing(ctx, guard) as change:
        mine = need_volume(ctx, current(ctx, change), volume)
        refuse_unwritable(ctx, mine, "be mapped to a host")
        users = mapped(ctx, mine)
        for lun in luns:
            row = need_lun(ctx, mine, lun)
            user = users.get(lun) if row.online else row.wish
            if user not in (None, initiator):
                raise Fault(
                    "Conflict",
                    f"LUN {lun} of volume {volume} on {ctx.where} is mapped to {user}, wanted {initiator}; unmap it first",
                )
        fresh = [
            lun for lun in luns if mine.luns[lun].wish != initiator or (mine.luns[lun].online and lun not in users)
        ]
        if not fresh:
            return
        change.touch()
        for lun in fresh:
            mine.luns[lun].wish = initiator
        save(ctx, mine)
        for lun in fresh:
            if mine.luns[lun].online:
                offer(ctx, files.opened(ctx, mine), lun, initiator)
        users = mapped(ctx, mine)
        for lun in fresh:
            if mine.luns[lun].online and users.get(lun) != initiator:
                raise Fault(
                    "DeviceFault",
                    f"LUN {lun} of volume {volume} on {ctx.where} was mapped to {initiator}, and the LUN service shows "
                    f"{users.get(lun) or 'nobody'}; see the LUN service there",
                )


@op("unmap_luns")
def unmap_luns(ctx: Context, *, luns: dict[str, list[str]], guard: dict[str, Any] | None = None) -> None:
    with changing(ctx, guard) as change:
        found = current(ctx, change)
        seen = offered(ctx)
        for volume, names in luns.items():
            mine = found.volumes.get(volume)
            if mine is None:
                continue  # no host can write to what is not there
            users = mapped(ctx, mine, seen)
            some = [lun for lun in names if lun in users or (lun in mine.luns and mine.luns[lun].wish is not None)]
            if not some:
                continue
            change.touch()
            withdraw(ctx, mine, some)
            for lun in some:
                mine.luns[lun].wish = None
            save(ctx, mine)


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
