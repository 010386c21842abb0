"""Runs one command and ends all that it started: at its end, at its time-out, and when whoever asked for it is gone.

A program of its own (standard library only, `python -I -S supervisor.py FD SECONDS PROGRAM [ARGUMENT ...]`), so that a callout of a run
that is killed does not go on beside the next run's. FD is a socket: one line on how the command ended goes to it, and its end of file says
that nobody listens any more. On Linux orphans of the command become children of this process, whatever session they moved to.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from contextlib import suppress

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_GRACE = 1.0
"""Seconds between being asked to end and being killed."""
_PATIENCE = 5.0
"""Seconds in which what was killed must be gone; what the kernel holds longer is left."""


def main(words: list[str]) -> int:
    listener, seconds, command = int(words[0]), float(words[1]), words[2:]
    os.set_inheritable(listener, False)
    adopt_orphans()
    try:
        pid = os.posix_spawnp(command[0], command, os.environ, setsid=True)
    except (OSError, ValueError) as error:
        tell(listener, f"missing {getattr(error, 'strerror', None) or error}")
        return 1
    ended = wait(pid, listener, time.monotonic() + seconds)
    if ended is None:
        with suppress(OSError):
            os.killpg(pid, signal.SIGTERM)
        wait(pid, None, time.monotonic() + _GRACE)
    end_all(pid)
    tell(listener, ended or "timeout")
    return 0


def adopt_orphans() -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def tell(listener: int, line: str) -> None:
    with suppress(OSError):
        os.write(listener, line.encode())


def wait(pid: int, listener: int | None, until: float) -> str | None:
    """How the command ended; None: it has not in time, or nobody listens any more."""
    watched, handle = select.poll(), None
    if listener is not None:
        watched.register(listener, select.POLLIN)
    with suppress(OSError, AttributeError):
        handle = os.pidfd_open(pid)
        watched.register(handle, select.POLLIN)
    try:
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                return f"exit {code}" if code >= 0 else f"signal {-code}"
            left = until - time.monotonic()
            if left <= 0:
                return None
            # Where the kernel has no handles on processes, a look every so often.
            ready = watched.poll(1000 * (left if handle is not None else min(left, 0.05)))
            if any(each == listener for each, _ in ready):
                return None
    except ChildProcessError:
        return None
    finally:
        if handle is not None:
            os.close(handle)


def end_all(pid: int) -> None:
    """Kill what is left of the command: its session, and every descendant."""
    until = time.monotonic() + _PATIENCE
    with suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    while time.monotonic() < until:
        for each in descendants():
            with suppress(OSError):
                os.kill(each, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return  # none is left
        time.sleep(0.005)


def descendants() -> list[int]:
    """Every process under this one, as far as /proc tells."""
    children: dict[int, list[int]] = {}
    names: list[str] = []
    with suppress(OSError):
        names = os.listdir("/proc")  # noqa: PTH208 - pathlib would double its start
    for name in names:
        if name.isdecimal():
            with suppress(OSError, ValueError, IndexError):
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - pathlib would double its start
                    # The name of a process stands in parentheses, and may hold anything.
                    parent = int(file.read().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(name))
    found, left = [], [os.getpid()]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
