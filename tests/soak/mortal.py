"""Runs that die, stop or pause in the middle, in the test's own process.

A run of a command is a `Life`: all that it does to arrays and hosts goes through it, call by call. Once it is dead no call of it gets
through any more, whatever `finally` or heartbeat makes it: what stands on arrays and hosts is what SIGKILL at that call leaves. (What it
holds in memory goes with the world that it was given, and with its journal, which nothing decides on.)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from dr_provider.arrays.base import Stream
from dr_provider.model import stopping

__all__ = ["Cut", "Killed", "Life", "Mortal"]

_LOOKS = frozenset({"state", "read_record", "estimate", "probe", "examine"})
_PASSED = frozenset({"lun_target", "close", "name", "site"})


class Killed(BaseException):
    """The process ended here. No `except DrError` and no `except Exception` may see it."""


@dataclass(frozen=True)
class Cut:
    """What befalls a run at its changing call number `at` (from 0): it is killed before or after the call, asked to stop, or paused."""

    kind: Literal["before", "after", "stop", "pause"]
    at: int

    def __str__(self) -> str:
        said = {"before": "killed before", "after": "killed after", "stop": "asked to stop at", "pause": "paused at"}
        return f"{said[self.kind]} call {self.at}"


@dataclass
class Life:
    """One run. `meanwhile` is what others do while it is paused; `wrote` is told of calls by which a guest may have written to its disks."""

    cut: Cut | None = None
    meanwhile: Callable[[], None] = lambda: None
    wrote: Callable[[], None] = lambda: None
    calls: int = 0
    dead: bool = False
    hit: str = ""
    """The action (else the call) that the cut has met."""
    doing: str = ""
    _thread: int = field(default_factory=threading.get_ident)

    def call(self, name: str, work: Callable[[], Any]) -> Any:
        if self.dead:
            raise Killed
        # A heartbeat has a thread of its own: it dies with its run, and is not counted, so that the count is the same each time.
        if name in _LOOKS or threading.get_ident() != self._thread:
            return work()
        due = self.cut if self.cut is not None and self.calls == self.cut.at else None
        self.calls += 1
        if due is not None:
            self.hit = self.doing or name
            if due.kind == "before":
                self._die()
            elif due.kind == "stop":
                stopping.request("the test asked it to end")
            elif due.kind == "pause":
                self.meanwhile()
        result = work()
        if name in ("stop", "freeze"):
            self.wrote()
        if due is not None and due.kind == "after":
            self._die()
        return result

    def _die(self) -> None:
        self.dead = True
        raise Killed

    def each(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.call("chunk", lambda: None)
            yield item


class Mortal:
    """Stands before a driver."""

    def __init__(self, driver: Any, life: Life) -> None:
        self._driver = driver
        self._life = life

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._driver, name)
        if name in _PASSED or not callable(member):
            return member

        def call(*args: Any, **kwargs: Any) -> Any:
            result = self._life.call(name, lambda: member(*args, **kwargs))
            if isinstance(result, Stream):
                result.extents = self._life.each(result.extents)
            return result

        return call
