"""What a decision says before anybody says yes to it: as lines in the engine's preview, and read back out of them for a pull request.

Loss and time are no part of what a saved plan holds a run to (they change from minute to minute), so they cross as a line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dr_provider.model.units import counted
from dr_provider.reconcile.decision import Decision, Loss

__all__ = ["ENDS_RED", "Announced", "announce", "announced", "pending"]

ENDS_RED = "nothing is done about it, and `up` ends red"
"""Of a decision by which declared and active site go on differing."""


@dataclass(frozen=True)
class Announced:
    """A move as its line says it; `point` None: a final snapshot, `estimate` None: not known yet."""

    kind: str
    from_site: str | None
    to_site: str | None
    point: str | None
    loss: Loss
    estimate: float | None


_LINE = re.compile(
    r"(?P<kind>planned|disaster) move from (?P<from>\S+) to (?P<to>\S+); "
    r"recovery point(?: (?P<point>\S+)|: a final snapshot); "
    r"loss: (?P<loss>.*); expected time: (?:(?P<time>[0-9.]+) s|not known yet)"
)


def announce(decision: Decision) -> list[str]:
    """The lines: refusals, warnings, notes, then the move itself and how much there is to do."""
    said = [*decision.refused, *decision.warnings, *decision.notes]
    if decision.actions and decision.kind in ("planned", "disaster"):
        point = f"recovery point {decision.point}" if decision.point else "recovery point: a final snapshot"
        time = f"{decision.estimate:.1f} s" if decision.estimate is not None else "not known yet"
        said.append(
            f"{decision.kind} move from {decision.from_site} to {decision.to_site}; {point}; "
            f"loss: {decision.loss.statement}; expected time: {time}"
        )
    if decision.exit_bad and not decision.refused:
        said.append(ENDS_RED)
    if decision.actions:
        said.append(pending(len(decision.actions)))
    return said


def pending(actions: int) -> str:
    """The line that says how much there is to do."""
    return counted(actions, "pending action")


def announced(line: str) -> Announced | None:
    """The move that a line announces; None where it is another line."""
    found = _LINE.fullmatch(line.strip())
    if found is None:
        return None
    sites = [None if found[side] == "None" else found[side] for side in ("from", "to")]
    time = None if found["time"] is None else float(found["time"])
    return Announced(found["kind"], sites[0], sites[1], found["point"], Loss(None, found["loss"]), time)
