"""Clocks that do not agree: each array's own, and that of the machine that an operator works on."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from dr_provider.arrays.embedded import array, blocks, snapshots
from dr_provider.arrays.embedded.store import Store
from dr_provider.model import keys

__all__ = ["clocks", "operator"]


@contextmanager
def clocks(minutes: Mapping[str, float]) -> Iterator[None]:
    """While this lasts, the clocks of these embedded arrays are ahead by so many minutes (behind, if negative)."""
    at = threading.local()
    original = Store.connection

    @contextmanager
    def connection(self: Store) -> Iterator[Any]:
        before, at.path = getattr(at, "path", None), self.path
        try:
            with original(self) as db:
                yield db
        finally:
            at.path = before

    def now() -> str:
        path: Path = at.path
        return keys.stamp(datetime.now(UTC) + timedelta(minutes=minutes.get(path.stem, 0.0)))

    with ExitStack() as stack:
        stack.enter_context(patch.object(Store, "connection", connection))
        for module in (array, blocks, snapshots):
            stack.enter_context(patch.object(module, "now", now))
        yield


@contextmanager
def operator(minutes: float) -> Iterator[None]:
    """What is done in here is done on a machine whose clock is ahead by so many minutes."""
    with patch.object(keys, "now", lambda: datetime.now(UTC) + timedelta(minutes=minutes)):
        yield
