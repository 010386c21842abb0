"""Whether something on an array came after a moment that is on record, though no two clocks need agree. Pure.

Invariant: times of two clocks are never compared as they are. A moment is on record with what each answering array's own clock showed
then; an array that was silent then is compared by how far it is now from one that was not. So a clock may be wrong by any amount, as
long as it goes evenly; one that was put back since leaves it open, and then the answer is yes: what follows from that only asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dr_provider.model import keys
from dr_provider.model.state import Observation

__all__ = ["came_after", "clocks_of"]


def clocks_of(seen: Observation, arrays: Iterable[str]) -> dict[str, str]:
    """What the clocks of the answering arrays showed in an observation (RFC 3339), by array."""
    return {name: state.clock for name in sorted(arrays) if (state := seen.array(name)) is not None and state.clock}


def came_after(seen: Observation, array: str, time: str, clocks: Mapping[str, str], moment: str) -> bool:
    """Whether `time`, by the array's clock, is after the moment at which the clocks showed `clocks`, and its author's own `moment`.

    The author's is gone by only where no clock of an array was noted then (a record of an older version).
    """
    state, at = seen.array(array), keys.at(time)
    now = keys.at(state.clock) if state is not None and state.clock else None
    if now is not None and at > now:
        return True  # its clock was put back since
    if array in clocks:
        return at > keys.at(clocks[array])
    for other, then in sorted(clocks.items()):
        known = seen.array(other)
        if now is not None and known is not None and known.clock:
            return now - at < keys.at(known.clock) - keys.at(then)
    return at > keys.at(moment)
