"""What is known of a run at its end: what its report is composed of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["MOVES", "WELL", "WORDS", "Facts", "Result"]

Result = Literal["done", "partial", "failed", "called off", "stopped", "refused"]

MOVES = ("planned", "disaster", "resolve", "rollback")
WORDS: Mapping[str, str] = {
    "planned": "planned move",
    "disaster": "move after a disaster",
    "abort": "calling off of a move",
    "resolve": "end of a split",
    "rollback": "rollback",
    "restart": "restart in the site",
    "restore": "restore of a VM",
    "repair": "start of what did not run",
    "drill": "drill",
    "beside": "restore beside the running VM",
    "rehearsal": "rehearsal",
}

WELL = ("well", "runs")
"""The outcomes of a VM that is up."""


@dataclass(frozen=True)
class Facts:
    """What is known of a run at its end.

    `kind`: a decision's, or restart, restore, beside, drill, rehearsal. `lines`: of its journal. `status`: the plan's part of `dr status --json`
    after it. `vms`: those that the run was about, {VM: {"site", "host", "state"}} (a drill's own; else those of the status). `point_time`: when
    the recovery point was taken (RFC 3339). `moved`: a move got to its commit. `error`: how it ended early, a sentence an item. `since`: an earlier
    run began it then (RFC 3339), and this one went on. `extra`: keys of the kind's own, added as they are.
    """

    id: str
    kind: str
    started: str
    ended: str
    seconds: float
    by: str
    from_site: str | None = None
    to_site: str | None = None
    stack: str = ""
    initiator: Mapping[str, Any] = field(default_factory=dict)
    word: str | None = None
    proof: Sequence[str] = ()
    wish: str | None = None
    point: str | None = None
    point_time: str | None = None
    loss_seconds: float | None = None
    loss_statement: str = ""
    moved: bool = False
    result: Result = "done"
    error: Sequence[str] = ()
    failures: Sequence[str] = ()
    warnings: Sequence[str] = ()
    remarks: Sequence[str] = ()
    notes: Sequence[str] = ()
    safety: Sequence[str] = ()
    lines: Sequence[Mapping[str, Any]] = ()
    status: Mapping[str, Any] = field(default_factory=dict)
    vms: Mapping[str, Mapping[str, Any]] | None = None
    since: str | None = None
    resumed_by: str | None = None
    journal: str | None = None
    estimate: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
