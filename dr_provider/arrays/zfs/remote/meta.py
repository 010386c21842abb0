"""The array's own small file system, tank/dr/meta: its id, its serial, the lock that every call takes, and the records.

own-id          made once with link(), so that one of several makers wins
serial          rises with every change, before the change is made: one that was seen never comes back
gate, lock      flock; readers share `lock`, a writer waits at `gate`, behind which new readers queue
records/a/b=    the text of record a/b; the sign at the end lets a key also be the beginning of longer ones
taking/VOLUME   flock, held while a transfer comes in
settled         rewritten after a name was given or taken away: see `settle_names`
written/VOLUME  when a guest last wrote, as far as snapshots have covered it up (files.py)
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .core import Context, Fault, attempt, fault_of, fault_of_os, run, zfs
from .reserve import keep

__all__ = [
    "Change",
    "changing",
    "create",
    "folder",
    "own_id",
    "reading",
    "ready",
    "serial",
    "settle_names",
    "taking",
    "turn",
]

_PAUSES = (0.002, 0.02)


def folder(ctx: Context) -> Path:
    """Where tank/dr/meta is mounted; `ready` has seen to it."""
    path: Path = ctx.memory.once("meta", lambda: Path(_mountpoint(ctx)) / "meta")
    return path


def _mountpoint(ctx: Context) -> str:
    path = zfs(ctx, "get", "-H", "-o", "value", "mountpoint", ctx.root).strip()
    if not path.startswith("/"):
        raise Fault(
            "NotReady",
            f"{ctx.where}: dataset {ctx.root} has the mountpoint {path!r}, wanted a folder; `zfs inherit mountpoint {ctx.root}` there",
        )
    return path


def mounts() -> dict[str, str]:
    """Dataset -> folder, of all that is mounted on this machine."""
    found = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        source, path, kind = line.split(" ")[:3]
        if kind in ("zfs", "fuse.zfs"):
            found[_unescape(source)] = _unescape(path)
    return found


def _unescape(text: str) -> str:
    return text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


# -- is it there? -------------------------------------------------------------------------------


def ready(ctx: Context) -> None:
    """See that the pool is imported and healthy and that our datasets are there and mounted. Raises NotReady, "NotReady:missing"."""
    if mounts().get(f"{ctx.root}/meta") is None:
        _refuse_pool(ctx)
        if not _exists(ctx, f"{ctx.root}/meta"):
            raise _missing(ctx)
        mount(ctx, ctx.root)
        mount(ctx, f"{ctx.root}/meta")
        ctx.memory.forget("meta")
    try:
        if (folder(ctx) / "own-id").is_file():
            return
    except OSError as error:
        raise Fault(
            "NotReady",
            f"{ctx.where}: {folder(ctx)} does not answer ({error.strerror}); where zfs-fuse was started anew, unmount what its "
            "predecessor left (umount -l) and mount again (zfs mount -a)",
        ) from error
    raise _missing(ctx)


def _missing(ctx: Context) -> Fault:
    return Fault(
        "NotReady:missing",
        f"{ctx.where}: pool {ctx.pool} is there, and dataset {ctx.root} is not an array's yet; it is made at the first use of its array",
    )


def _refuse_pool(ctx: Context) -> None:
    # What dr was given may be a part of a pool.
    words = ["zpool", "list", "-H", "-o", "health", ctx.pool.partition("/")[0]]
    done = attempt(ctx, words)
    health = done.out.strip()
    if done.status != 0:
        fault = fault_of(ctx, words, done)
        if fault.kind != "NotReady" or "no such pool" not in done.err.lower():
            raise fault
        raise Fault(
            "NotReady",
            f"{ctx.where}: pool {ctx.pool} is not imported; see `zpool import` there, and import it only if no other machine has it",
        )
    if health not in ("ONLINE", "DEGRADED"):
        raise Fault("NotReady", f"{ctx.where}: pool {ctx.pool} is {health}; see `zpool status {ctx.pool}` there")


def _exists(ctx: Context, dataset: str) -> bool:
    words = ["zfs", "list", "-H", "-o", "name", dataset]
    done = attempt(ctx, words)
    if done.status == 0:
        return True
    fault = fault_of(ctx, words, done)
    if fault.kind != "NotFound":
        raise fault
    return False


def mount(ctx: Context, dataset: str) -> None:
    """Mount a dataset; one that is mounted is left."""
    words = ["zfs", "mount", dataset]
    done = attempt(ctx, words)
    if done.status != 0 and "already mounted" not in done.err:
        raise fault_of(ctx, words, done)


def create(ctx: Context) -> str:
    """Make our datasets where they are not there; the array's own id. Safe when several processes try at once."""
    _refuse_pool(ctx)
    for name, options in (
        (ctx.root, {"atime": "off", "recordsize": str(ctx.config["recordSize"])}),
        (f"{ctx.root}/meta", {}),
        (f"{ctx.root}/vols", {"canmount": "off"}),
        (f"{ctx.root}/copies", {"canmount": "off"}),
        # What is received there must neither be mounted nor written to: either would refuse its next increment.
        (f"{ctx.root}/incoming", {"mountpoint": "none", "readonly": "on"}),
    ):
        if _exists(ctx, name):
            continue
        words = ["zfs", "create"]
        for key, value in options.items():
            words += ["-o", f"{key}={value}"]
        done = attempt(ctx, [*words, name])
        if done.status != 0 and not _exists(ctx, name):
            raise fault_of(ctx, [*words, name], done)
    for name in (ctx.root, f"{ctx.root}/meta"):
        if name not in mounts():
            mount(ctx, name)
    ctx.memory.forget("meta")
    place = folder(ctx)
    own(ctx, place)
    with _told(ctx, "writing the array's own id"):
        draft = place / f".{uuid.uuid4().hex}"
        write_synced(ctx, draft, f"{uuid.uuid4()}\n".encode())
        with contextlib.suppress(FileExistsError):
            os.link(draft, place / "own-id")
        draft.unlink()
        for name in ("records", "taking", "written"):
            (place / name).mkdir(exist_ok=True)
    keep(ctx)
    return own_id(ctx)


def own(ctx: Context, path: Path) -> None:
    """Give a fresh file system to the account that the array is used by: under sudo, root has made it."""
    if os.geteuid() != 0 and not os.access(path, os.W_OK):
        run(ctx, ["chown", "-R", f"{os.geteuid()}:{os.getegid()}", str(path)])


def own_id(ctx: Context) -> str:
    return (folder(ctx) / "own-id").read_text().strip()


# -- the lock and the serial ----------------------------------------------------------------------


@contextlib.contextmanager
def _told(ctx: Context, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise fault_of_os(ctx, error, what) from error


def write_synced(ctx: Context, path: Path, data: bytes) -> None:
    piece = record_size(ctx)
    with path.open("wb", buffering=0) as file:
        for at in range(0, len(data), piece):
            file.write(data[at : at + piece])
        os.fsync(file.fileno())


def settle_names(ctx: Context, place: Path) -> None:
    """See that the names that files of the folder have now outlive a power failure.

    In zfs-fuse 0.7.0 neither fsync of a folder, which does nothing, nor of a file without a write of its own since does that (a kill -9 brought
    back the record before); what is written and synced takes along all that came before it.
    """
    folders = os.open(str(place), os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folders)
    finally:
        os.close(folders)
    file = os.open(str(folder(ctx) / "settled"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(file, time.monotonic_ns().to_bytes(8, "big"), 0)
        os.fsync(file)
    finally:
        os.close(file)


def record_size(ctx: Context) -> int:
    """Bytes that may be written at once, at multiples of it. zfs-fuse 0.7.0 dies of a write that finds room for a part of it only
    (zfs_operations.c, zfsfuse_write: assertion `uio.uio_resid == 0`); within one record there is room for all or for nothing."""
    return int(ctx.config["recordSize"])


def _flock(ctx: Context, file: int, how: int) -> None:
    pause, longest = _PAUSES
    while True:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        if ctx.left() <= 0:
            raise _kept(ctx)
        time.sleep(pause)
        pause = min(pause * 2, longest)


def _kept(ctx: Context) -> Fault:
    return Fault("Unreachable", f"{ctx.where}: another call kept the array's lock for too long; see what hangs there")


@contextlib.contextmanager
def turn(ctx: Context, lock: threading.Lock) -> Iterator[None]:
    """One of this process's calls at a time."""
    if not lock.acquire(timeout=max(0.0, ctx.left())):
        raise _kept(ctx)
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _locked(ctx: Context, how: int) -> Iterator[None]:
    place = folder(ctx)
    with contextlib.ExitStack() as stack:
        files = []
        with _told(ctx, "taking the array's lock"):
            for name in ("gate", "lock"):
                files.append(os.open(str(place / name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
                stack.callback(os.close, files[-1])
        gate, lock = files
        _flock(ctx, gate, how)
        _flock(ctx, lock, how)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield


@contextlib.contextmanager
def reading(ctx: Context) -> Iterator[None]:
    """One consistent view: no change is made meanwhile."""
    ready(ctx)
    with _locked(ctx, fcntl.LOCK_SH):
        yield


class Change:
    """One locked change. `touch` before the first thing that is really changed."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self.touched = False

    def touch(self) -> None:
        if not self.touched:
            self.touched = True
            _raise_serial(self._ctx)


@contextlib.contextmanager
def changing(ctx: Context, guard: Mapping[str, Any] | None = None) -> Iterator[Change]:
    """The lock for one change, its guard checked."""
    ready(ctx)
    with _locked(ctx, fcntl.LOCK_EX):
        # Once a session: arrays that were made before room was kept, and those where it was lent by a process that was killed.
        ctx.memory.once("reserve", lambda: keep(ctx))
        if guard:
            _check(ctx, guard)
        yield Change(ctx)


def serial(ctx: Context) -> int:
    try:
        return int((folder(ctx) / "serial").read_text())
    except FileNotFoundError:
        return 0


def _raise_serial(ctx: Context) -> None:
    with _told(ctx, "counting a change"):
        before = serial(ctx)
        text = f"{before + 1:020d}\n".encode()
        # In place: 21 bytes of one record are written whole or not at all.
        file = os.open(str(folder(ctx) / "serial"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(file, text, 0)
            os.fsync(file)
        finally:
            os.close(file)
    listing = ctx.memory.listing
    if listing is not None and listing.serial == before:
        listing.serial = before + 1  # the change is ours, and a command that makes the listing untrue drops it


@contextlib.contextmanager
def taking(ctx: Context, volume: str) -> Iterator[bool]:
    """True, and it is ours until the end: no other transfer comes in for the volume. False: one does."""
    with _told(ctx, f"locking volume {volume}"):
        file = os.open(str(folder(ctx) / "taking" / volume), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(file)


# -- the guard --------------------------------------------------------------------------------------


def _check(ctx: Context, guard: Mapping[str, Any]) -> None:
    """Raises LeaseLost and MoveInProgress; the words are those of the embedded array."""
    from . import records

    prefix, number = guard.get("lease_prefix"), guard.get("lease")
    if prefix is not None:
        highest = max(records.keys(ctx, prefix), default=None)
        if highest is None:
            raise Fault(
                "LeaseLost", f"lease {prefix}{number} is gone from {ctx.where}; nothing was changed, start over"
            )
        found = highest[len(prefix) :]
        if not found.isdigit() or int(found) != number:
            raise Fault(
                "LeaseLost",
                f"lease {prefix}{number} on {ctx.where} is lost: number {found.lstrip('0')} holds now, "
                f"by {_holder(records.read(ctx, highest))}; nothing was changed",
            )
    for key in guard.get("absent", ()):
        if records.read(ctx, key) is not None:
            raise Fault(
                "MoveInProgress",
                f"record {key} stands on {ctx.where}: a move is in progress; this call waits for its end",
            )


def _holder(value: str | None) -> str:
    try:
        record = json.loads(value or "")
        return f"{record['holder']} ({record['doing']}, since {record['since']})"
    except (ValueError, KeyError, TypeError):
        return "a holder whose record cannot be read"
