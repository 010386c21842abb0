"""A lab's folder: who is at work in it, and its end."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.layout import LabError

__all__ = ["Gone", "held", "place", "remove"]

_WAIT = 120.0


class Gone(LabError):
    """There is no such lab, or there is none any more."""


def place(folder: Path) -> Path:
    """The folder's one absolute path. Raises LabError for a name that would not fit in the names of links or paths."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", folder.name):
        raise LabError(f"a lab's name is small letters, digits and dashes, at most 31; `{folder.name}` is not")
    return folder.parent.resolve() / folder.name


@contextmanager
def held(folder: Path, *, make: bool) -> Iterator[Path]:
    """Alone in the folder: the lock is on the folder itself, so that nothing but the folder has to be removed.

    Another's `up` or `down` is waited for up to 2 minutes. Raises LabError after that, Gone when it is not there and
    `make` is not set.
    """
    path, end = place(folder), time.monotonic() + _WAIT
    while True:
        if make:
            path.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            raise Gone(f"there is no lab in {path}") from None
        try:
            if _locked(handle, path):
                yield path
                return
        finally:
            os.close(handle)
        if time.monotonic() > end:
            raise LabError(
                f"another process has been making or removing the lab in {path} for {_WAIT:.0f} s; try again"
            )
        time.sleep(0.1)


def _locked(handle: int, path: Path) -> bool:
    """Whether the lock is ours, and on the folder that has the name now, not on one that was removed meanwhile."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return path.exists() and os.path.samestat(os.fstat(handle), path.stat())


def remove(path: Path) -> None:
    """Remove the folder and all in it, and build/lab with it when it was the last."""
    shutil.rmtree(path)
    if not any(path.parent.iterdir()):
        path.parent.rmdir()
