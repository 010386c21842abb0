"""When the pool was last written before the array went down.

After a power failure ZFS replays its intent log at the first mount of a dataset, and every replayed write sets the file's time to that of the
replay: what guests wrote before the failure then looks like written after it. Nobody can have written between, so the time of the last
transaction group before this start of ZFS stands for it; the pool's uberblocks, a ring of 128, carry it until they are overwritten.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from .core import Context, attempt

__all__ = ["last_sync", "started"]

_TIMESTAMP = re.compile(r"^\s*timestamp = (\d+)\b", re.MULTILINE)
_STATES = ("ONLINE", "DEGRADED")
_SLACK = 1


def last_sync(ctx: Context) -> int | None:
    """Seconds since the epoch, by the array's clock; None: it cannot be known any more, or not by this account."""
    # Both are told in whole seconds: what the start itself has written, the import above all, can bear the second before it.
    since = int(started()) - _SLACK
    for device in _devices(ctx):
        # `-l -u` prints the uberblocks of a label (zfs-fuse 0.7.0 and OpenZFS 2.x, cmd/zdb/zdb.c).
        done = attempt(ctx, ["zdb", "-l", "-u", device])
        before = [time for time in map(int, _TIMESTAMP.findall(done.out)) if time < since]
        if before:
            return max(before)
    return None


def _devices(ctx: Context) -> list[str]:
    pool = ctx.pool.partition("/")[0]
    for words in (["zpool", "status", "-P", pool], ["zpool", "status", pool]):
        done = attempt(ctx, words)
        if done.status == 0:
            break
    rows = [line.split() for line in done.out.partition("config:")[2].splitlines()]
    names = [row[0] for row in rows if len(row) >= 5 and row[1] in _STATES and row[0] != pool]
    paths = [name if name.startswith("/") else f"/dev/{name}" for name in names]
    return [path for path in paths if Path(path).exists()]


def started(proc: Path = Path("/proc")) -> float:
    """When this machine's ZFS was started: the daemon of zfs-fuse, else the kernel."""
    boot = next(
        float(line.split()[1]) for line in (proc / "stat").read_text().splitlines() if line.startswith("btime ")
    )
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "comm").read_text().strip() == "zfs-fuse":
                    ticks = int((entry / "stat").read_text().rpartition(")")[2].split()[19])
                    return boot + ticks / os.sysconf("SC_CLK_TCK")
    return boot
