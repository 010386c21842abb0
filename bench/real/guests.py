"""The lab's guests, as the rows need them: something to write, and their own account of how long they held still."""

from __future__ import annotations

from collections.abc import Mapping

from bench.real.topology import GUESTS
from demo.lab_guests import Guests
from demo.stage import for_each
from dr_provider.model.errors import DrError
from lab.machines import Lab

__all__ = ["Stamps"]

_STAMPS = "/run/stamps"
"""Where the guest's application notes when it is told `freeze`, before anything is frozen, and `thaw`, after all is thawed; /run is memory."""


class Stamps:
    """Each guest notes, on its own clock, when it began to hold still and when it went on."""

    def __init__(self, lab: Lab, sites: Mapping[str, str]) -> None:
        self._guests = Guests(lab, sites)
        self._clear()

    def write(self, entries: int) -> None:
        """Each guest's application writes so much."""
        self._guests.ask({guest: ("add", str(entries)) for guest in GUESTS})

    def held(self) -> dict[str, list[float]]:
        """Seconds that each guest held still, each time since the last call."""
        said = self._say(["/bin/cat", _STAMPS])
        self._clear()
        return {guest: _spans(guest, text) for guest, text in said.items()}

    def _clear(self) -> None:
        self._say(["/bin/sh", "-c", f": >{_STAMPS}"])

    def _say(self, words: list[str]) -> dict[str, str]:
        where = self._guests.running()
        if missing := [guest for guest in GUESTS if guest not in where]:
            raise DrError(f"guest {missing[0]} does not run on any host of the lab")
        return for_each(GUESTS, lambda guest: self._guests.execute(where[guest], guest, words[0], words[1:]))


def _spans(guest: str, text: str) -> list[float]:
    """Pairs of a freeze and its thaw. A thaw without a freeze is the end of an earlier one that its hook ended already."""
    spans: list[float] = []
    began: float | None = None
    for line in text.splitlines():
        what, _, at = line.partition(" ")
        if what == "freeze":
            began = float(at)
        elif began is not None:
            spans.append(float(at) - began)
            began = None
    if began is not None:
        raise DrError(f"guest {guest} noted that it was frozen, and never that it was thawed")
    return spans
