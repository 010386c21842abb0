"""Folders that only this user can read, gone with what they were made for; those of processes that were killed go when the next is made.

Who made one holds a lock on a file in it (flock(2)) for as long as it lives: a process id would be another's in another container with the
same /tmp.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

__all__ = ["Scratch", "scratch"]

_LOCK = ".lock"
_YOUNG = 60.0
"""Seconds for which one that nobody has locked is left alone: it may have been made just now."""


class Scratch:
    """A new folder `dr-KIND-...`, until `remove`."""

    def __init__(self, kind: str) -> None:
        _clear(kind, tempfile.gettempdir())
        self.path = Path(tempfile.mkdtemp(prefix=f"dr-{kind}-"))
        self._lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


@contextmanager
def scratch(kind: str) -> Iterator[Path]:
    """The same for as long as a piece of work takes."""
    made = Scratch(kind)
    try:
        yield made.path
    finally:
        made.remove()


@cache
def _clear(kind: str, within: str) -> None:
    """Remove this user's folders of the kind whose makers are gone; once a process."""
    for path in Path(within).glob(f"dr-{kind}-*"):
        with suppress(OSError):  # another clears it too, or it has no lock: an older version made it
            found = path.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and time.time() - found.st_mtime > _YOUNG:
                _remove_dead(path)


def _remove_dead(path: Path) -> None:
    lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: its maker lives
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)
