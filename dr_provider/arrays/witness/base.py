"""What is asked of a witness: a few small records, and one atomic step.

Every call ends within the deadline that the store was opened with, and can raise `Unreachable` (no answer), `NotReady` (what answers
cannot be used) and `DeviceFault` (it could not do the call; doing it again may work). A record that was written is what everybody
reads from then on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

__all__ = ["RecordStore"]


class RecordStore(ABC):
    """One record store, opened; nothing is asked of it before the first call."""

    @abstractmethod
    def records(self, prefix: str) -> Mapping[str, str]:
        """Every record whose key starts with the prefix (one that ends with /), by key."""

    @abstractmethod
    def read(self, key: str) -> str | None: ...

    @abstractmethod
    def create(self, key: str, value: str) -> bool:
        """Create if absent, atomically; False: it was there (and is left as it was)."""

    @abstractmethod
    def put(self, key: str, value: str) -> None: ...

    @abstractmethod
    def delete(self, key: str) -> None:
        """One that is not there: nothing is done."""

    @abstractmethod
    def make(self) -> None:
        """Make the store where that is possible and nothing is there; raise NotReady where it does not keep `create` atomic."""

    def close(self) -> None:
        """Let go of connections; nothing is changed."""
