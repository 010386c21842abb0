"""Which `zfs receive` run on this machine, and their end."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from .core import BUSY_PATIENCE, Context, Fault, attempt

__all__ = ["stop_receiving"]


def stop_receiving(ctx: Context, datasets: list[str]) -> bool:
    """Kill `zfs receive` of these datasets, whoever started it: a volume that is promoted takes in nothing more. Whether there was one."""
    end = time.monotonic() + BUSY_PATIENCE
    any_found = False
    while True:
        found = [pid for pid, words in _processes() if _receives(words, datasets)]
        if not found:
            return any_found
        any_found = True
        if time.monotonic() > end:
            raise Fault(
                "Busy", f"{ctx.where}: process {found[0]} goes on with `zfs receive` of {datasets[0]}; end it there"
            )
        for pid in found:
            if ctx.sudo:
                attempt(ctx, ["kill", "-9", str(pid)])
            else:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _processes() -> list[tuple[int, list[str]]]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found.append((int(entry.name), (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")))
    return found


def _receives(words: list[str], datasets: list[str]) -> bool:
    for at, word in enumerate(words[:-1]):
        if word.rpartition("/")[2] == "zfs" and words[at + 1] in ("receive", "recv"):
            return any(each.partition("@")[0] in datasets for each in words[at + 2 :])
    return False
