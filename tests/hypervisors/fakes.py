"""Arrays in memory, so that hosts can be tested without one: LUNs with a mapping, and a power cut after any number of block writes."""

from __future__ import annotations

from dataclasses import dataclass, field

from dr_provider.hypervisors.embedded.clock import Clock
from dr_provider.hypervisors.embedded.ledger import BLOCK
from dr_provider.model.errors import Conflict, NotFound, Unreachable

__all__ = ["FakeArray", "FakeClock", "FakeLun", "PowerCut"]


class PowerCut(BaseException):
    """The machine stops here: nobody catches it."""


@dataclass
class FakeLun:
    size: int
    mapped_to: str | None = None
    online: bool = True
    writable: bool = True
    data: bytearray = field(default_factory=bytearray)


@dataclass
class FakeArray:
    """BlockAccess, and the Connect that leads to it. `writes_left`: block writes until the power is cut (None: never)."""

    luns: dict[tuple[str, str], FakeLun] = field(default_factory=dict)
    silent: bool = False
    writes_left: int | None = None
    calls: list[tuple[str, int, int]] = field(default_factory=list)

    def add(self, volume: str, lun: str, size: int, mapped_to: str | None = None, image: bytes = b"") -> FakeLun:
        made = FakeLun(size, mapped_to, data=bytearray(image.ljust(size, b"\0")))
        self.luns[volume, lun] = made
        return made

    def connect(self, target: str, site: str) -> FakeArray:
        return self

    def check(self, volume: str, lun: str, initiator: str) -> None:
        found = self._reach(volume, lun, initiator)
        if not found.writable:
            raise Conflict(f"LUN {volume}/{lun}: its volume is not writable")

    def read(self, volume: str, lun: str, initiator: str, offset: int, length: int) -> bytes:
        found = self._reach(volume, lun, initiator)
        self.calls.append(("read", offset, length))
        return bytes(found.data[offset : offset + length])

    def write(self, volume: str, lun: str, initiator: str, offset: int, data: bytes) -> None:
        self.check(volume, lun, initiator)
        self.calls.append(("write", offset, len(data)))
        found = self.luns[volume, lun]
        assert offset + len(data) <= found.size
        # A write of several blocks may be cut between any two of them, never inside one.
        for at in range(0, len(data), BLOCK):
            if self.writes_left is not None:
                if self.writes_left == 0:
                    raise PowerCut
                self.writes_left -= 1
            found.data[offset + at : offset + at + BLOCK] = data[at : at + BLOCK]

    def _reach(self, volume: str, lun: str, initiator: str) -> FakeLun:
        if self.silent:
            raise Unreachable(f"LUN {volume}/{lun}: its array gives no answer")
        found = self.luns.get((volume, lun))
        if found is None:
            raise NotFound(f"LUN {volume}/{lun} is not there")
        if found.mapped_to != initiator:
            raise Conflict(f"LUN {volume}/{lun} is not mapped to {initiator}")
        if not found.online:
            raise Conflict(f"LUN {volume}/{lun} is offline")
        return found


@dataclass
class FakeClock(Clock):
    """A thaw timer's clock that a test moves on."""

    time: float = 1000.0
    boot_id: str = "boot-1"

    def now(self) -> float:
        return self.time

    def boot(self) -> str:
        return self.boot_id
