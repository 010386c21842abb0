"""What is written on arrays about drills: those that are open, those that are to be ended, and what each has shown.

Keys: see model.records. All of it is public format, as the other records are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from dr_provider.model.records import Record
from dr_provider.model.units import counted

__all__ = ["DrillEnd", "DrillKind", "DrillRecord", "DrillResult", "what_went"]

DrillKind = Literal["asked", "scheduled", "beside"]
"""`asked`: by a stack or by `dr drill`. `beside`: one VM beside the running one (`dr restore --as`), which shows nothing about the plan."""


@dataclass(frozen=True)
class DrillRecord(Record):
    """What a drill made at its site, so that its end finds all of it: volumes (clones) and holds on `array`, VMs on hosts.

    `expires`: from then on whoever holds the plan's lease next ends it (None: it stays until somebody ends it). `stack`: "project/stack",
    or "" for what `dr` made without Pulumi. `network`: which of the isolated networks it is on, where the topology names several.
    """

    plan: str
    drill: str
    site: str
    stack: str
    point: str
    array: str
    volumes: tuple[str, ...]
    vms: Mapping[str, str]
    time: str
    expires: str | None = None
    by: str = ""
    kind: DrillKind = "asked"
    network: int = 0
    own_cards: bool = False


@dataclass(frozen=True)
class DrillEnd(Record):
    """A drill that was ended while a part of it did not answer: what is left there is removed when it does. `site` "": not known."""

    plan: str
    drill: str
    site: str
    by: str
    time: str


@dataclass(frozen=True)
class DrillResult(Record):
    """What a drill has shown. `rto_seconds`: from the order to the last health check (None: it did not get there); `rpo_seconds`: the age of
    the point at the order. `ok`: every VM of the plan was well, with its data. `digest`: the plan as it was then (reconcile.drills.evidence).

    `failures`: the first few sentences; the whole document stands under `<T>/blob/drill/<plan>/<id>`, as `DrillOutcome.document` gives it.
    """

    plan: str
    drill: str
    kind: DrillKind
    site: str
    point: str
    point_time: str
    time: str
    rpo_seconds: float
    rto_seconds: float | None
    ok: bool
    failures: tuple[str, ...]
    vms: int
    by: str
    stack: str
    digest: str


def what_went(counts: Mapping[str, int]) -> str:
    """What went with a drill, as a part of a sentence: "2 VMs, 1 volume, 1 hold"."""
    words = {"vms": "VM", "volumes": "volume", "holds": "hold"}
    return ", ".join(counted(n, words[kind]) for kind, n in counts.items())
