"""What was done from what, and who is doing it now.

A stamp is written only after its step is complete, so a killed set-up leaves either a true stamp or none.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.setup.console import held_by_children, say

__all__ = ["Stamp", "content_key", "exclusive"]


def content_key(*parts: str | Path) -> str:
    """A hash over texts and the contents of files; a missing file counts as such."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            data = part.read_bytes() if part.is_file() else b"\0missing"
        else:
            data = part.encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


class Stamp:
    """One step's record of completion, plus a mark that the step was begun."""

    def __init__(self, folder: Path, step: str) -> None:
        self._done = folder / step
        self._begun = folder / f"{step}.begun"

    def holds(self, key: str) -> bool:
        try:
            return self._done.read_text() == key
        except OSError:
            return False

    def begin(self) -> bool:
        """Note that the step starts now; True if an earlier start never came to its end."""
        interrupted = self._begun.exists()
        self._done.unlink(missing_ok=True)
        self._begun.parent.mkdir(parents=True, exist_ok=True)
        self._begun.touch()
        return interrupted

    def complete(self, key: str) -> None:
        self._done.parent.mkdir(parents=True, exist_ok=True)
        partial = self._done.with_suffix(".partial")
        partial.write_text(key)
        partial.replace(self._done)
        self._begun.unlink(missing_ok=True)


@contextmanager
def exclusive(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path`. The kernel frees it when its holder dies, however that happens.

    A command that `console.run` starts holds it too: should set-up be killed alone, an orphaned pip or go still keeps
    the next set-up waiting in place of working beside it.
    The file holds the pid of its holder, for people, and is never removed: a removed lock file could be locked twice.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            say(f"{what}: process {lock.read().strip() or 'unknown'} (or what it started) is at it, waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        held_by_children.append(lock.fileno())
        try:
            yield
        finally:
            held_by_children.remove(lock.fileno())
