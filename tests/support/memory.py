"""Where files are kept in memory."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

__all__ = ["in_memory"]

_SHARED = Path("/dev/shm")
_ROOM = 2 << 30
"""Bytes that must be free: what all tests have open at once is far less."""


def in_memory() -> Path | None:
    """A folder in memory with room enough for the tests; None where there is none, as in most containers."""
    if os.path.ismount(_SHARED) and os.access(_SHARED, os.W_OK) and shutil.disk_usage(_SHARED).free >= _ROOM:
        return _SHARED
    return None
