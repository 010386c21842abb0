"""Runs one command and ends all that it started: at its end, at its time-out, and when whoever asked for it is gone.

A program of its own (standard library only, `python -I -S supervisor.py FD SECONDS PROGRAM [ARGUMENT ...]`), so that a callout of a run
that is killed does not go on beside the next run's. FD is a socket: a line with the command's process group goes to it before it begins,
then one on how it ended; its end of file says that nobody listens any more. On Linux orphans of the command become children of this
process, whatever session they moved to, and the command dies with it.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from contextlib import suppress

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_GRACE = 1.0
"""Seconds between being asked to end and being killed."""
_PATIENCE = 5.0
"""Seconds in which what was killed must be gone; what the kernel holds longer is left."""
_IGNORED = tuple(number for name in ("SIGPIPE", "SIGXFSZ") if (number := getattr(signal, name, None)) is not None)
"""What Python ignores, and what a command is to be ended by all the same: a shell's `yes | head` counts on it."""


def main(words: list[str]) -> int:
    listener, seconds, command = int(words[0]), float(words[1]), words[2:]
    os.set_inheritable(listener, False)
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    children = heed_children()
    pid = os.fork()
    if pid == 0:
        become(command, listener)
    ended = wait(pid, children, listener, time.monotonic() + seconds)
    if ended is None:
        with suppress(OSError):
            os.killpg(pid, signal.SIGTERM)
        wait(pid, children, None, time.monotonic() + _GRACE)
    end_all(pid, children)
    tell(listener, ended or "timeout")
    return 0


def prctl(option: int, value: int) -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def become(command: list[str], listener: int) -> None:
    """The command itself, in a session of its own, once its group is known to whoever may have to end it. Does not return."""
    try:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        for number in _IGNORED:
            signal.signal(number, signal.SIG_DFL)
        tell(listener, f"began {os.getpid()}")
        os.execvp(command[0], command)
    except OSError as error:
        tell(listener, f"missing {error.strerror or error}")
    finally:
        os._exit(127)


def heed_children() -> int:
    """A pipe's end that can be read whenever a child has ended since it was read last."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading


def tell(listener: int, line: str) -> None:
    with suppress(OSError):
        os.write(listener, f"{line}\n".encode())


def wait(pid: int, children: int, listener: int | None, until: float) -> str | None:
    """How the command ended; None: it has not in time, or nobody listens any more."""
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return f"exit {code}" if code >= 0 else f"signal {-code}"
        if not heard(children, listener, until):
            return None


def heard(children: int, listener: int | None, until: float) -> bool:
    """Wait until a child has ended; False: none has in time, or nobody listens any more."""
    watched = select.poll()
    watched.register(children, select.POLLIN)
    if listener is not None:
        watched.register(listener, select.POLLIN)
    ready = dict(watched.poll(max(0.0, 1000 * (until - time.monotonic()))))
    if children in ready:
        os.read(children, 1 << 12)
    return bool(ready) and listener not in ready


def end_all(pid: int, children: int) -> None:
    """Kill what is left of the command: its session, and every descendant as it becomes a child of this process."""
    until = time.monotonic() + _PATIENCE
    with suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    while True:
        for each in own_children():
            with suppress(OSError):
                os.kill(each, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return  # none is left
        if not heard(children, None, until):
            return


def own_children() -> list[int]:
    """The processes whose parent this one is, as far as /proc tells."""
    found: list[int] = []
    names: list[str] = []
    with suppress(OSError):
        names = os.listdir("/proc")  # noqa: PTH208 - pathlib would double its start
    for name in names:
        if name.isdecimal():
            with suppress(OSError, ValueError, IndexError):
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - pathlib would double its start
                    # The name of a process stands in parentheses, and may hold anything.
                    parent = int(file.read().rpartition(")")[2].split()[1])
                if parent == os.getpid():
                    found.append(int(name))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
