"""LUNs: files of a volume, their images, whether they are online, and who may reach them."""

from __future__ import annotations

import base64
import os
import zlib
from pathlib import Path
from typing import Any

from . import files
from .branches import current
from .core import Context, Fault, fault_of_os, op
from .datasets import Lun, Volume, catalog, need_lun, need_volume, refuse_unwritable, save
from .lunservice import mapped, offer, offered, withdraw
from .meta import Change, changing, reading, record_size
from .points import need_point, points

__all__ = ["luns_folder"]

RESTORE_PIECE = 32 << 20
"""Bytes of a LUN that are compared in one call; a multiple of every record size."""


def luns_folder(ctx: Context, volume: Volume) -> Path:
    files.opened(ctx, volume)
    assert volume.mounted is not None
    place = Path(volume.mounted) / "luns"
    try:
        place.mkdir(exist_ok=True)
    except OSError as error:
        raise fault_of_os(ctx, error, f"making the LUNs' folder of volume {volume.name}") from error
    return place


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
        luns_folder(ctx, mine)
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
        place = luns_folder(ctx, mine)
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


@op("lun.place")
def place_of(ctx: Context, *, volume: str, snapshot: str, lun: str) -> str:
    """The file that holds a LUN as it is in the newest snapshot; Conflict where that is another one, or it was written to since."""
    with reading(ctx):
        mine = need_volume(ctx, catalog(ctx), volume)
        need_lun(ctx, mine, lun)
        known = points(ctx, [mine])[mine.dataset]
        point = need_point(ctx, mine, known, snapshot)
        refuse_unwritable(ctx, mine, f"be read at its snapshot {snapshot}")
        files.opened(ctx, mine)
        if point is not known.newest or files.changed(
            ctx, mine, {name: at["stamp"] for name, at in point.luns.items()}
        ):
            raise Fault(
                "Conflict",
                f"volume {volume} on {ctx.where} was written to after its snapshot {snapshot}, which cannot be read alone; clone it first",
            )
        return str(mine.file(lun))


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


@op("restore_lun")
def restore_lun(
    ctx: Context, *, volume: str, lun: str, source: str, offset: int, guard: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A piece of a LUN, from `offset` on, made as it is in another volume: {"written": bytes, "next": offset, or null at the end}. In place and
    only where it differs, so that snapshots, increments and clones grow by no more than that."""
    with changing(ctx, guard) as change:
        found = current(ctx, change)
        mine, other = need_volume(ctx, found, volume), need_volume(ctx, found, source)
        refuse_unwritable(ctx, mine, f"have a LUN restored ({lun})")
        wanted = need_lun(ctx, other, lun)
        for one in (other, mine):
            user = mapped(ctx, one).get(lun) or (one.luns[lun].wish if lun in one.luns else None)
            if user is not None:
                raise Fault(
                    "Busy",
                    f"LUN {lun} of volume {one.name} on {ctx.where} is mapped to {user}; stop its VM and unmap it first",
                )
        luns_folder(ctx, mine)
        old = mine.luns.get(lun)
        if old is None or old.size < wanted.size or old.image != wanted.image:
            change.touch()
            if old is None:
                mine.file(lun).unlink(missing_ok=True)
                _size(ctx, mine.file(lun), wanted.size, lun)
                old = mine.luns[lun] = Lun(wanted.size, wanted.image)
            elif old.size < wanted.size:
                _resize(ctx, mine, lun, wanted.size)
            old.size, old.image = max(old.size, wanted.size), wanted.image
            save(ctx, mine)
        try:
            written = _take_piece(ctx, change, files.opened(ctx, other).file(lun), mine.file(lun), offset)
        except OSError as error:
            raise fault_of_os(ctx, error, f"restoring LUN {lun} of volume {volume}") from error
        after = offset + RESTORE_PIECE
        return {"written": written, "next": after if after < old.size else None}


def _take_piece(ctx: Context, change: Change, source: Path, target: Path, offset: int) -> int:
    step, written = record_size(ctx), 0
    with source.open("rb", buffering=0) as new, target.open("r+b", buffering=0) as file:
        end = min(offset + RESTORE_PIECE, os.fstat(file.fileno()).st_size)
        for at in range(offset, end, step):
            size = min(step, end - at)
            wanted = os.pread(new.fileno(), size, at).ljust(size, b"\0")
            if os.pread(file.fileno(), size, at) != wanted:
                change.touch()
                os.pwrite(file.fileno(), wanted, at)
                written += size
        if written:
            os.fsync(file.fileno())
    return written


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
