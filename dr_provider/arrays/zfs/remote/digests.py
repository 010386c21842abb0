"""Reading a snapshot's LUNs through where they are, for the SHA-256 of each: no bytes leave the array.

zfs-fuse shows no snapshot as a folder, so a read-only clone of it is mounted for the time of the reading. It stands in a place of its own, where
nobody takes it for a volume; a snapshot that is deleted meanwhile goes when the clone does. ZFS keeps a checksum of every block and checks it as
it is read: what has rotted is an input/output error here, and not another digest.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from .branches import unmount
from .core import Context, Fault, attempt, fault_of_os, op, run, zfs
from .datasets import Volume, catalog, need_volume, options
from .meta import changing, mount, mounts, reading
from .points import need_point, points

__all__ = ["digests"]

_PIECE = 1 << 20
_PLACE = "peeks"


@op("digests")
def digests(ctx: Context, *, volume: str, snapshot: str) -> dict[str, str]:
    """LUN -> SHA-256 of it as of a snapshot, in hexadecimal."""
    with reading(ctx):
        mine = need_volume(ctx, catalog(ctx), volume)
        point = need_point(ctx, mine, points(ctx, [mine])[mine.dataset], snapshot)
    found, count = {}, 0
    with _shown(ctx, point.full) as peek:
        for lun, told in sorted(point.luns.items()):
            what = f"LUN {lun} of volume {volume} at snapshot {snapshot}"
            found[lun] = _read(ctx, peek.file(lun), int(told["size"]), count, what)
            count += int(told["size"])
    return found


@contextlib.contextmanager
def _shown(ctx: Context, full: str) -> Iterator[Volume]:
    """A snapshot as something mounted, for as long as it is looked at."""
    dataset = f"{ctx.root}/{_PLACE}/p{os.getpid()}-{uuid.uuid4().hex[:12]}"
    peek = _peek(dataset)
    with changing(ctx):
        _sweep(ctx)
        zfs(ctx, "clone", *options([("canmount", "noauto"), ("readonly", "on")]), full, dataset)
    try:
        if dataset not in mounts():
            mount(ctx, dataset)
        peek.mounted = mounts()[dataset]
        yield peek
    finally:
        peek.mounted = mounts().get(dataset)
        with changing(ctx):
            unmount(ctx, peek)
            run(ctx, ["zfs", "destroy", dataset])


def _peek(dataset: str) -> Volume:
    return Volume(dataset=dataset, name=_PLACE, generation=1, kind="kept", writable=False, size=0, owner=None, luns={})


def _sweep(ctx: Context) -> None:
    """See that there is a place for clones, and take away those of readers that were killed."""
    place = f"{ctx.root}/{_PLACE}"
    done = attempt(ctx, ["zfs", "list", "-rH", "-t", "filesystem", "-o", "name", place])
    if done.status != 0:
        zfs(ctx, "create", *options([("canmount", "off")]), place)
        return
    for name in done.out.splitlines():
        reader = name.rpartition("/p")[2].partition("-")[0]
        if name != place and reader.isdigit() and not Path(f"/proc/{reader}").exists():
            left = _peek(name)
            left.mounted = mounts().get(name)
            unmount(ctx, left)
            run(ctx, ["zfs", "destroy", name])


def _read(ctx: Context, path: Path, size: int, before: int, what: str) -> str:
    found, count = hashlib.sha256(), 0
    try:
        with path.open("rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                if ctx.cancelled():
                    raise Fault("Stopped", f"{ctx.where}: the reading of {what} was stopped")
                found.update(piece)
                count += len(piece)
                ctx.emit(before + count)
    except OSError as error:
        if error.errno == errno.EIO:
            raise Fault(
                "CorruptRecord",
                f"{ctx.where}: {what} cannot be read (input/output error at byte {count}): ZFS found a block whose checksum differs, or lost its device; "
                f"see `zpool status -v {ctx.pool}` there",
            ) from error
        raise fault_of_os(ctx, error, f"reading {what}") from error
    if count != size:
        raise Fault("CorruptRecord", f"{ctx.where}: {what} has {count} bytes, wanted {size}")
    return found.hexdigest()
