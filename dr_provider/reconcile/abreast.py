"""Calls to several devices at the same time: a step that asks four of them takes as long as the slowest, not as all together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

__all__ = ["abreast"]

T = TypeVar("T")
U = TypeVar("U")

_WIDTH = 16


def abreast(items: Iterable[T], call: Callable[[T], U]) -> list[U]:
    """`call` for each item, side by side; the results in the order of the items. All have ended when it returns or raises the first error."""
    given = list(items)
    if len(given) < 2:
        return [call(item) for item in given]
    with ThreadPoolExecutor(max_workers=min(_WIDTH, len(given)), thread_name_prefix="abreast") as pool:
        futures = [pool.submit(call, item) for item in given]
        wait(futures)
        return [future.result() for future in futures]
