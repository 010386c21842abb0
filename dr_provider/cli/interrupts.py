"""Ctrl-C in the middle of a change: the first ends at the next safe action, the second at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from dr_provider.model import stopping

__all__ = ["careful"]

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "a request to end (SIGTERM)"}


def _say(line: str) -> None:
    # A handler may interrupt a print on the same stream: the file descriptor has no lock to wait for.
    os.write(2, f"{line}\n".encode())


@contextmanager
def _handling(handler: signal.Handlers | object) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in _NAMES}  # type: ignore[arg-type]
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def careful() -> Iterator[None]:
    """While something is changed: a first signal asks for a stop at the next safe action, a second ends the process."""

    def handle(number: int, _frame: FrameType | None) -> None:
        name = _NAMES[signal.Signals(number)]
        if stopping.requested() is not None:
            if os.isatty(2):
                os.write(2, b"\x1b[?25h")  # a picture of the move may have hidden the cursor
            _say("dr: ended at once; what was begun is taken up by the next run (see dr status)")
            sys.stdout.flush()
            os._exit(1)
        stopping.request(name)
        _say(f"dr: {name}: ending at the next safe action; once more ends at once")

    with _handling(handle):
        try:
            yield
        finally:
            stopping.clear()
