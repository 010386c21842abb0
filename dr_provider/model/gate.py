"""What every driver call to one embedded device passes through first: its faults, its latency and its width."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from dr_provider.model.errors import DeviceFault, Unreachable
from dr_provider.model.faults import Fault, spend

__all__ = ["Gate", "answers"]

_POLL = 0.05


def answers(faults: Sequence[Fault], vantage: str, site: str) -> bool:
    """Whether a device at a site answers a caller at another place: a site (its guard), or "" for the operator."""
    if not vantage:
        return not any(fault.kind in ("silent", "isolated", "operator") for fault in faults)
    for fault in faults:
        within = vantage == site and fault.target == f"site:{site}"
        if fault.kind == "silent" or (fault.kind == "isolated" and not within):
            return False
        if fault.kind == "cut" and vantage != site and (vantage in fault.peers or fault.target == f"site:{vantage}"):
            return False
    return True


_slots: dict[str, threading.BoundedSemaphore] = {}
_slots_lock = threading.Lock()


class Gate:
    """What every driver call to one device passes through first: its faults, its latency and its width.

    `what` names device and site for people; `key` (the file) is what all gates of a process to one device share; `width` is how
    many calls a process has under way at once. `vantage`: the site that calls come from ("": they are the operator's), `site` the device's own.
    """

    def __init__(
        self,
        what: str,
        key: str,
        *,
        timeout: float,
        latency: float = 0.0,
        width: int | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        vantage: str = "",
        site: str = "",
    ) -> None:
        self.what = what
        self._vantage = vantage
        self._site = site
        self._timeout = timeout
        self._latency = latency
        self._sleep = sleep
        self._clock = clock
        self._slot: threading.BoundedSemaphore | None = None
        if width is not None:
            with _slots_lock:
                self._slot = _slots.setdefault(f"{width} {key}", threading.BoundedSemaphore(width))

    @contextmanager
    def call(self, look: Callable[[], Sequence[Fault]]) -> Iterator[None]:
        """Around one driver call; `look` reads the device's faults. Raises Unreachable and DeviceFault."""
        # Silence is waited out before a slot is taken, so that callers wait side by side and not one after the other.
        faults = self._wait_for_answer(look)
        if self._slot is None:
            self._serve(faults)
            yield
            return
        waits = not self._slot.acquire(blocking=False)
        if waits:
            self._slot.acquire()
        try:
            self._serve(self._wait_for_answer(look) if waits else faults)
            yield
        finally:
            self._slot.release()

    def _wait_for_answer(self, look: Callable[[], Sequence[Fault]]) -> Sequence[Fault]:
        start = self._clock()
        while True:
            faults = look()
            if answers(faults, self._vantage, self._site):
                return faults
            left = start + self._timeout - self._clock()
            if left <= 0:
                raise Unreachable(f"{self.what} gives no answer within {self._timeout:g} s")
            self._sleep(min(_POLL, left))

    def _serve(self, faults: Sequence[Fault]) -> None:
        slow = sum(fault.value for fault in faults if fault.kind == "slow")
        wait = self._latency + slow
        if slow and wait > self._timeout:
            self._sleep(self._timeout)
            raise Unreachable(f"{self.what} gives no answer within {self._timeout:g} s (it takes {wait:g} s a call)")
        if wait > 0:
            self._sleep(wait)
        for fault in faults:
            if fault.kind == "fail" and spend(fault):
                raise DeviceFault(f"{self.what} could not do the call (fault of {fault.target}); run it again")
