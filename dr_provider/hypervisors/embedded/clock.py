"""The clock of thaw timers: one that all processes of a machine share, and that no change of the time of day touches."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

import psutil

__all__ = ["Clock"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@cache
def _boot() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return f"since {psutil.boot_time():.0f}"


class Clock:
    """Seconds since the machine came up, sleep included where the system counts it (Linux: CLOCK_BOOTTIME)."""

    def now(self) -> float:
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

    def boot(self) -> str:
        """Differs after each boot: a time of another boot means nothing."""
        return _boot()
