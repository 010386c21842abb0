"""Records that fail their checksum: what may stand in their place, so that one damaged record does not stop a plan. Pure.

Invariant: nothing is made up that could set a VM free to write. What other arrays hold under the same key is the same fact, and takes the
damaged one's place. Of the rest, only that is passed over whose absence makes the system more careful; a claim, and an epoch that may be the
newest, stay as they are found, and whoever reads them raises CorruptRecord.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dr_provider.model.codec import damaged, dump
from dr_provider.model.records import Lease
from dr_provider.model.state import ArrayState

__all__ = ["set_aside"]

# Two arrays' records of these kinds are not the same fact.
_OWN = frozenset({"alive", "drill", "peers", "pin"})
# Without it: a run lease that proves nothing, a stack that has not declared anything yet, a drill to be cleaned up by hand (or asked
# for anew), one that has shown nothing, other arrays' pins unknown to this one.
_SPARED = frozenset({"alive", "corrupt", "declared", "drill", "drill-end", "drill-result", "peers", "tombstone"})


def set_aside(topology: str, states: Mapping[str, ArrayState]) -> dict[str, ArrayState]:
    """The arrays' states with each damaged record replaced or left out, and named in `damaged`; one that nobody can replace is left as it is."""
    bad = {
        name: {key for key, text in state.records.items() if key.startswith(f"{topology}/") and damaged(text)}
        for name, state in states.items()
    }
    if not any(bad.values()):
        return dict(states)
    good: dict[str, str] = {}
    for name, state in sorted(states.items()):
        for key, text in state.records.items():
            if key not in bad[name]:
                good.setdefault(key, text)
    return {name: _mended(topology, state, bad[name], good) for name, state in states.items()}


def _mended(topology: str, state: ArrayState, bad: set[str], good: Mapping[str, str]) -> ArrayState:
    if not bad:
        return state
    records, aside = dict(state.records), set()
    for key in bad:
        kind, *rest = key.removeprefix(f"{topology}/").split("/")
        text = good.get(key) if kind not in _OWN else None
        if text is None and kind == "lease" and len(rest) == 2 and rest[1].isdigit():
            text = _unknown_holder(rest[0], int(rest[1]))
        if text is not None:
            records[key] = text
        elif kind in _SPARED or (kind == "epoch" and _is_past(key, good)):
            del records[key]
        else:
            continue
        aside.add(key)
    return replace(state, records=records, damaged=frozenset(aside))


def _unknown_holder(plan: str, n: int) -> str:
    """A holder that lives writes its record anew at its next heartbeat; one that does not is waited out like any other."""
    return dump(Lease(plan, n, "a holder whose record is damaged", "", 0, 0.0, 0, "an unknown time", "not known"))


def _is_past(key: str, good: Mapping[str, str]) -> bool:
    """Whether a later epoch of the same plan is on record: then this one is history."""
    prefix, number, _ = key.rsplit("/", 2)
    later = (k for k in good if k.startswith(f"{prefix}/"))
    return number.isdigit() and any(int(n) > int(number) for k in later if (n := k.rsplit("/", 2)[1]).isdigit())
