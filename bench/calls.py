"""Counts and times every driver call, by standing before the drivers: what the reconciler says of itself plays no part."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from dr_provider.arrays.base import Array, Fabric
from dr_provider.arrays.embedded.blocks import connect
from dr_provider.arrays.registry import open_array
from dr_provider.hypervisors.base import Hypervisor
from dr_provider.hypervisors.registry import open_host
from dr_provider.model.topology import Topology
from dr_provider.protection.fleet import Fleet
from dr_provider.reconcile.world import World

__all__ = ["Call", "Calls", "counted_world"]

_FREE = ("close", "lun_target")
"""Methods by which a driver is not called."""


@dataclass(frozen=True)
class Call:
    """`device` is "array NAME" or "host NAME"; `begin` and `end` are seconds on the monotonic clock."""

    device: str
    method: str
    begin: float
    end: float
    args: tuple[object, ...] = ()


@dataclass
class Calls:
    """Every call so far, in the order in which they ended."""

    made: list[Call] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, call: Call) -> None:
        with self._lock:
            self.made.append(call)

    def clear(self) -> None:
        with self._lock:
            self.made.clear()

    def between(self, begin: float, end: float) -> list[Call]:
        """Calls that began in this span."""
        with self._lock:
            return [call for call in self.made if begin <= call.begin <= end]

    def last_end(self, methods: Iterable[str]) -> float:
        with self._lock:
            return max(call.end for call in self.made if call.method in set(methods))


def by_method(calls: Iterable[Call]) -> dict[str, int]:
    """How often each kind of device was asked what: "host start" -> count."""
    counts = Counter(f"{call.device.partition(' ')[0]} {call.method}" for call in calls)
    return dict(sorted(counts.items()))


class _Counted:
    def __init__(self, driver: Any, device: str, calls: Calls) -> None:
        self._driver = driver
        self._device = device
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._driver, name)
        if not callable(member) or name in _FREE:
            return member

        def call(*args: Any, **kwargs: Any) -> Any:
            begin = time.monotonic()
            try:
                return member(*args, **kwargs)
            finally:
                self._calls.note(Call(self._device, name, begin, time.monotonic(), args))

        return call


def counted_world(topology: Topology, calls: Calls) -> World:
    """A world whose every driver call is noted."""
    fabric = Fabric.of(topology)
    fleet = Fleet(
        topology,
        lambda spec, timeout: cast(
            Array, _Counted(open_array(spec, timeout=timeout, fabric=fabric), f"array {spec.name}", calls)
        ),
        lambda spec, timeout: cast(
            Hypervisor, _Counted(open_host(spec, connect=connect, timeout=timeout), f"host {spec.name}", calls)
        ),
    )
    return World(topology, fleet, "bench")
