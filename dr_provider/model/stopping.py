"""How a running process is asked to end at the next safe action.

Whoever learns that it is time (the launcher whose engine is gone, a signal handler, a first Ctrl-C) calls `request`.
Whoever works through a list of actions looks at `requested` before each one, and wraps the whole move in `busy`, so
that the asker can wait for a state worth leaving behind.

The state is the process's: one reason and one count, for all threads. Only the first reason is kept, since it is the
one that a person needs to read. `request` takes no lock, so a signal handler may call it at any point.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["busy", "clear", "request", "requested", "wait_idle"]

# A dict's setdefault is one atomic step: a handler that interrupts any of these functions cannot deadlock or lose a
# reason.
_reasons: dict[str, str] = {}
_idle = threading.Condition()
_active = 0


def request(reason: str) -> None:
    """Ask everything in this process to end at its next safe action; `reason` is a short phrase for people."""
    _reasons.setdefault("first", reason)


def requested() -> str | None:
    """The first reason given, or None as long as nobody asked."""
    return _reasons.get("first")


def clear() -> None:
    """Forget the request: for a process that goes on after it obeyed, and for tests."""
    _reasons.clear()


@contextmanager
def busy() -> Iterator[None]:
    """Mark a stretch in which this process must not simply be ended, such as a move; may be nested and concurrent."""
    global _active
    with _idle:
        _active += 1
    try:
        yield
    finally:
        with _idle:
            _active -= 1
            _idle.notify_all()


def wait_idle(timeout: float | None = None) -> bool:
    """Wait until nothing is busy, `timeout` seconds at most (None: for ever); False if something still is."""
    with _idle:
        return _idle.wait_for(lambda: _active == 0, timeout)
