"""One thread, known ids, a known clock: the same steps give the same arrays each time, so that what is found can be found again.

What threads would do side by side is done one after the other, in an order that the seed chooses.
"""

from __future__ import annotations

import random
import secrets
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from types import ModuleType
from typing import Any

from dr_provider.arrays.embedded import rows
from dr_provider.model import keys
from dr_provider.protection import backup, fleet, replication, retention
from dr_provider.reconcile import abreast, context, graph, lease, protect, provision_all, transfers
from dr_provider.reconcile.lease import Machine

__all__ = ["Clock", "alone"]

_SIDE_BY_SIDE: tuple[ModuleType, ...] = (
    abreast, backup, fleet, graph, protect, provision_all, replication, retention, transfers,
)  # fmt: skip


@dataclass
class Clock:
    """The time of day; `ahead` is what the clock of whoever acts now shows more. The time that a heartbeat is watched passes at once."""

    time: datetime = field(default_factory=lambda: datetime(2026, 3, 2, 8, tzinfo=UTC))
    ahead: timedelta = field(default_factory=timedelta)
    array: timedelta = field(default_factory=timedelta)
    passed: float = 0.0

    def now(self) -> datetime:
        self.time += timedelta(milliseconds=1)
        return self.time + self.ahead

    def forward(self, minutes: float) -> None:
        self.time += timedelta(minutes=minutes)

    def sleep(self, seconds: float) -> None:
        self.passed += seconds

    def monotonic(self) -> float:
        return self.passed


@dataclass(frozen=True)
class SimMachine(Machine):
    """A process of a machine that is only played; `living`: pids of it that are alive."""

    living: set[int] = field(default_factory=set)

    def alive(self, pid: int, start: float) -> bool:
        return pid in self.living


class _Inline:
    """Does at once what it is given."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def submit(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        _fill(future, lambda: work(*args, **kwargs))
        return future

    def map(self, work: Callable[..., Any], *lists: Iterable[Any]) -> Iterator[Any]:
        given = list(zip(*lists, strict=False))
        order = list(range(len(given)))
        self._rng.shuffle(order)
        done = {index: self.submit(work, *given[index]) for index in order}
        for index in range(len(given)):
            yield done[index].result()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        return

    def __enter__(self) -> _Inline:
        return self

    def __exit__(self, *_: object) -> None:
        return


class _Later(Future[Any]):
    """Done when somebody waits for it."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__()
        self._work = work

    def result(self, timeout: float | None = None) -> Any:
        if not self.done():
            _fill(self, self._work)
        return super().result(timeout)


class _Aside(_Inline):
    """What runs beside the actions is done when it is waited for, at the latest at the end of the run."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._pending: list[_Later] = []

    def submit(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        later = _Later(lambda: work(*args, **kwargs))
        self._pending.append(later)
        return later

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        for later in self._pending:
            if not later.done():
                _fill(later, later._work)


def _fill(future: Future[Any], work: Callable[[], Any]) -> None:
    future.set_running_or_notify_cancel()
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 -- as an executor does: the waiter gets it, a kill too
        future.set_exception(error)
    else:
        future.set_result(result)


@contextmanager
def alone(seed: int, clock: Clock, machine: Callable[[], Machine]) -> Iterator[None]:
    """While this lasts everything of the program that this process runs is determined by the seed; `machine` says who runs."""
    rng = random.Random(seed)

    class ArrayTime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            clock.time += timedelta(milliseconds=1)
            return clock.time + clock.array

    def any_order(actions: Any, waits: Any) -> dict[str, tuple[float, int, int]]:
        return {action.id: (rng.random(), 0, 0) for action in actions}

    changed: list[tuple[Any, str, Any]] = [
        *((module, "ThreadPoolExecutor", lambda *_a, **_k: _Inline(rng)) for module in _SIDE_BY_SIDE),
        (context, "ThreadPoolExecutor", lambda *_a, **_k: _Aside(rng)),
        (graph, "_order", any_order),
        (lease, "this_machine", machine),
        (keys, "now", clock.now),
        (rows, "datetime", ArrayTime),
        (uuid, "uuid4", lambda: uuid.UUID(int=rng.getrandbits(128), version=4)),
        (secrets, "randbits", rng.getrandbits),
    ]
    before = [(module, name, vars(module)[name]) for module, name, _ in changed]
    for module, name, value in changed:
        vars(module)[name] = value
    try:
        yield
    finally:
        for module, name, value in before:
            vars(module)[name] = value
