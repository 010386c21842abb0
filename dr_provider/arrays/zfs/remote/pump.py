"""Moving many bytes from one file descriptor to another: counted, throttled, given up when nothing moves, stopped when asked.

It runs on the arrays (direct transfers) and at the operator's machine (relay, images), so it stands on the standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import time
from collections.abc import Callable

__all__ = ["Stalled", "pump", "widen"]

CHUNK = 1 << 20
_SETPIPE = 1031  # F_SETPIPE_SZ of <fcntl.h>, which Python names from 3.10 on
_ASK = 0.2  # seconds between two questions whether to stop


class Stalled(Exception):
    """No byte moved for the time allowed. `side`: "source" where none came, "target" where none was taken."""

    def __init__(self, side: str) -> None:
        self.side = side
        super().__init__(side)


def widen(fd: int) -> None:
    """Give a pipe a larger buffer where that is allowed: fewer changes between the two processes at its ends."""
    # It may be no pipe, or the user's pages for pipes may be used up: it works as it is.
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, _SETPIPE, CHUNK)


def pump(
    source: int,
    target: int,
    *,
    idle: float,
    rate: int | None = None,
    tell: Callable[[int], object] | None = None,
    stopped: Callable[[], object] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Move all bytes of `source` (a descriptor) to `target` (another); their number.

    `idle`: seconds without a byte after which Stalled is raised. `rate`: bytes a second at most. `tell` gets the bytes so far.
    `stopped` is asked now and then; true ends it at once. A target that closes raises BrokenPipeError.
    """
    for fd in (source, target):
        widen(fd)
        os.set_blocking(fd, False)
    mover: _Mover = _Splice(source, target) if hasattr(os, "splice") else _Copy(source, target)
    moved, began, asked = 0, clock(), clock()
    last = began
    while True:
        now = clock()
        if stopped is not None and now - asked >= _ASK:
            asked = now
            if stopped():
                return moved
        allowed = CHUNK
        if rate:
            ahead = moved - (now - began) * rate
            if ahead > 0:
                time.sleep(min(ahead / rate, _ASK))
                last = clock()
                continue
            allowed = max(4096, min(CHUNK, int(rate / 10)))
        count = mover.step(allowed)
        if count == 0:
            return moved
        if count is not None:
            moved += count
            last = clock()
            if tell is not None:
                tell(moved)
        elif clock() - last >= idle:
            raise Stalled(mover.waiting)
        else:
            mover.wait(_ASK if stopped is not None else min(1.0, idle))


class _Mover:
    def __init__(self, source: int, target: int) -> None:
        self.source = source
        self.target = target
        self.waiting = "source"

    def step(self, count: int) -> int | None:
        """Move up to `count` bytes: how many, 0 at the source's end, None where one side must be waited for."""
        raise NotImplementedError

    def wait(self, seconds: float) -> None:
        poll = select.poll()
        if self.waiting == "source":
            poll.register(self.source, select.POLLIN)
        else:
            poll.register(self.target, select.POLLOUT)
        poll.poll(int(seconds * 1000))

    def _ready(self, fd: int, what: int) -> bool:
        poll = select.poll()
        poll.register(fd, what)
        return bool(poll.poll(0))


class _Splice(_Mover):
    """Pages go from pipe to pipe within the kernel."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__(source, target)
        self._copy: _Copy | None = None

    def step(self, count: int) -> int | None:
        if self._copy is not None:
            moved = self._copy.step(count)
            self.waiting = self._copy.waiting
            return moved
        try:
            return os.splice(self.source, self.target, count, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            # Splice does not say which side it waits for.
            self.waiting = "target" if self._ready(self.source, select.POLLIN) else "source"
            return None
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._copy = _Copy(self.source, self.target)  # neither of the two is a pipe
            return None


class _Copy(_Mover):
    def __init__(self, source: int, target: int) -> None:
        super().__init__(source, target)
        self._held = memoryview(b"")

    def step(self, count: int) -> int | None:
        if not self._held:
            self.waiting = "source"
            try:
                self._held = memoryview(os.read(self.source, count))
            except BlockingIOError:
                return None
            if not self._held:
                return 0
        self.waiting = "target"
        try:
            written = os.write(self.target, self._held)
        except BlockingIOError:
            return None
        self._held = self._held[written:]
        return written
