"""Reading the guests' ledger from outside: from a LUN file, a clone, or a guest's own answer. See guest/ledger.c for the format."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

__all__ = ["Ledger", "judge"]

_ENTRY = re.compile(r"(\d+) ([0-9a-f]{8}) (\S{1,8})")


@dataclass(frozen=True)
class Ledger:
    """How far a ledger goes, the checksum over all of it, and whether every entry is there and right."""

    last: int
    crc: int
    problem: str = ""

    @property
    def intact(self) -> bool:
        return not self.problem


def judge(text: str) -> Ledger:
    """Check the contents of a ledger file. A last line without its end was never acknowledged, and does not count."""
    last, crc = 0, 0
    for line in text.split("\n")[:-1]:
        entry = _ENTRY.fullmatch(line)
        if entry is None:
            return Ledger(last, crc, f"entry {last + 1} is not readable")
        if int(entry[1]) != last + 1:
            return Ledger(last, crc, f"entry {entry[1]} stands where {last + 1} should")
        wanted = zlib.crc32(f"{entry[1]} {entry[3]}".encode(), crc)
        if wanted != int(entry[2], 16):
            return Ledger(last, crc, f"entry {last + 1} has a wrong checksum")
        last, crc = last + 1, wanted
    return Ledger(last, crc)
