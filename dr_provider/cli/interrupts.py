"""Ctrl-C in the middle of a change: the first ends at the next safe action, the second at once.

Signals are heeded by a thread of their own. A handler in Python waits until the main thread runs Python again: one that has just begun to wait for a
lock, or is in a call into a library, would hear of Ctrl-C when that ends. What the interpreter writes to its wake-up descriptor comes at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from dr_provider.model import stopping

__all__ = ["careful"]

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "a request to end (SIGTERM)"}
_FLUSH = 1.0
"""Seconds that a last flush may take: the main thread may be in the middle of a print that nobody reads."""


def _say(line: str) -> None:
    # Past every buffer and its lock, which the main thread may hold; and where nobody reads it, the signal still counts.
    with suppress(OSError):
        os.write(2, f"{line}\n".encode())


def _heed(heard: int) -> None:
    """Do what each signal asks for, until nobody can write to the pipe any more."""
    while numbers := os.read(heard, 1 << 6):
        for number in numbers:
            if number in _NAMES:
                _one(_NAMES[signal.Signals(number)])


def _one(name: str) -> None:
    if stopping.requested() is None:
        stopping.request(name)
        _say(f"dr: {name}: ending at the next safe action; once more ends at once")
        return
    cursor = "\x1b[?25h" if os.isatty(2) else ""  # a picture of the move may have hidden it
    _say(f"{cursor}dr: ended at once; what was begun is taken up by the next run (see dr status)")
    last = threading.Thread(target=sys.stdout.flush, daemon=True)
    last.start()
    last.join(_FLUSH)
    os._exit(1)


@contextmanager
def _heeding() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    thread = threading.Thread(target=_heed, args=(reading,), name="signals", daemon=True)
    thread.start()
    woken = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda _number, _frame: None) for number in _NAMES}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
        signal.set_wakeup_fd(woken)
        os.close(writing)
        thread.join()
        os.close(reading)


@contextmanager
def careful() -> Iterator[None]:
    """While something is changed: a first signal asks for a stop at the next safe action, a second ends the process."""
    with _heeding():
        try:
            yield
        finally:
            stopping.clear()
