"""LUN files, and how it is known whether a guest has written since a snapshot.

Times cannot be compared for that: zfs-fuse keeps them in whole seconds, and two arrays' clocks differ. A *stamp* is used: before a
snapshot is taken, the modification time of each LUN file that was written since the last one is set to a random number of seconds
that lies long before any real time. A write sets the real time again, so a file that carries the stamp its snapshot noted was not written
to since; a write between stamp and snapshot counts as one after it, which errs on the careful side.
Files carry stamps into snapshots and over to other arrays. BORN is the stamp of a file that nobody ever wrote to.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from .core import Context, fault_of_os
from .datasets import Volume
from .meta import folder, mount, mounts, own
from .outage import last_sync

__all__ = ["BORN", "changed", "last_write", "opened", "restamp", "stamp"]

BORN = 1
_REAL = 1_000_000_000  # seconds; every stamp is below, every real time (from 2001 on) above


def opened(ctx: Context, volume: Volume) -> Volume:
    """The volume, mounted, and what its mount wrote dated back: by whoever comes next, where the one that mounted it was cut off between."""
    if volume.mounted is None:
        volume.mounted = mounts().get(volume.dataset)  # another process may have done it by now
    if volume.mounted is None:
        if volume.kind == "data":
            _note_mount(ctx, volume.name)
        mount(ctx, volume.dataset)
        volume.mounted = mounts()[volume.dataset]
        own(ctx, Path(volume.mounted))
    if volume.kind == "data":
        _date_back(ctx, volume)
    return volume


def _mounting(ctx: Context, name: str) -> Path:
    """Holds when the mount began, from before it until its writes are dated back."""
    return folder(ctx) / "mounting" / name


def _note_mount(ctx: Context, name: str) -> None:
    noted = _mounting(ctx, name)
    draft = noted.parent / f".{uuid.uuid4().hex}"
    try:
        noted.parent.mkdir(exist_ok=True)
        draft.write_text(f"{int(time.time())}\n")
        with contextlib.suppress(FileExistsError):  # nothing was offered since an earlier mount that was cut off
            os.link(draft, noted)
        draft.unlink()
    except OSError as error:
        raise fault_of_os(ctx, error, f"noting that volume {name} is mounted") from error


def _date_back(ctx: Context, volume: Volume) -> None:
    """What the mount itself has written are writes of before the array went down: nothing of an unmounted volume is offered to anybody.
    Where their time cannot be told any more, they keep that of the mount, which errs on the careful side (a split instead of a safety copy)."""
    noted = _mounting(ctx, volume.name)
    try:
        began = int(noted.read_text())
    except FileNotFoundError:
        return
    except OSError as error:
        raise fault_of_os(ctx, error, f"looking when volume {volume.name} was mounted") from error
    replayed = [lun for lun, at in _times(ctx, volume).items() if at >= began]
    known = last_sync(ctx) if replayed else None
    if known is not None:
        for lun in replayed:
            _set(ctx, volume, lun, known)
    noted.unlink(missing_ok=True)


def _times(ctx: Context, volume: Volume) -> dict[str, int]:
    try:
        return {lun: int(volume.file(lun).stat().st_mtime) for lun in volume.luns}
    except OSError as error:
        raise fault_of_os(ctx, error, f"looking at the LUNs of volume {volume.name}") from error


def _set(ctx: Context, volume: Volume, lun: str, at: int) -> None:
    try:
        os.utime(volume.file(lun), (at, at))
    except OSError as error:
        raise fault_of_os(ctx, error, f"stamping LUN {lun} of volume {volume.name}") from error


def stamp(ctx: Context, volume: Volume) -> dict[str, int]:
    """Stamp what was written to; the stamp of each LUN. The volume is mounted."""
    times = _times(ctx, volume)
    written = [at for at in times.values() if at >= _REAL]
    if written:
        _note(ctx, volume.name, max(written))
    fresh = random.randrange(BORN + 1, _REAL)
    for lun, at in times.items():
        if at >= _REAL:
            _set(ctx, volume, lun, fresh)
            times[lun] = fresh
    return times


def restamp(ctx: Context, volume: Volume, stamps: Mapping[str, int]) -> None:
    """After the volume was set to a snapshot: what was written between its stamps and itself is no later write."""
    fresh = random.randrange(BORN + 1, _REAL)
    for lun, at in _times(ctx, volume).items():
        wanted = stamps.get(lun, fresh if at >= _REAL else at)
        if at != wanted:
            _set(ctx, volume, lun, wanted)


def born(ctx: Context, volume: Volume, lun: str) -> None:
    _set(ctx, volume, lun, BORN)


def changed(ctx: Context, volume: Volume, stamps: Mapping[str, int] | None) -> bool:
    """Whether a LUN was written since the snapshot that noted these stamps; None: since the volume was made."""
    for lun, at in _times(ctx, volume).items():
        if at == BORN or (stamps is None and at < _REAL) or (stamps is not None and stamps.get(lun) == at):
            continue
        return True
    return False


# -- when it was written to ---------------------------------------------------------------------


def _notes(ctx: Context, name: str) -> Path:
    return folder(ctx) / "written" / name


def _note(ctx: Context, name: str, at: int) -> None:
    try:
        _notes(ctx, name).write_text(f"{at}\n")
    except OSError as error:
        raise fault_of_os(ctx, error, f"noting when volume {name} was written to") from error


def note_written(ctx: Context, volume: Volume) -> None:
    """Before the volume is set back: remember when it was last written to."""
    if volume.mounted is not None:
        written = [at for at in _times(ctx, volume).values() if at >= _REAL]
        if written:
            _note(ctx, volume.name, max(written))


def forget(ctx: Context, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        _notes(ctx, name).unlink()
    with contextlib.suppress(FileNotFoundError):
        _mounting(ctx, name).unlink()


def last_write(ctx: Context, volume: Volume) -> str | None:
    """RFC 3339 by the array's clock; None: not that we know."""
    times = [at for at in _times(ctx, volume).values() if at >= _REAL] if volume.mounted else []
    with contextlib.suppress(FileNotFoundError, ValueError):
        times.append(int(_notes(ctx, volume.name).read_text()))
    return datetime.fromtimestamp(max(times), UTC).isoformat().replace("+00:00", "Z") if times else None
