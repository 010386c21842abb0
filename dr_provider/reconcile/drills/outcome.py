"""What a drill came to: of each VM where it ran, how long it took and what was looked at; the evidence of it on the arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dr_provider.model import keys
from dr_provider.model.codec import canonical, dump
from dr_provider.model.drills import DrillKind, DrillResult
from dr_provider.model.errors import ArrayFull, DeviceFault, NotReady, Unreachable
from dr_provider.model.topology import PlanSpec
from dr_provider.model.units import counted, format_duration
from dr_provider.reconcile.drills.evidence import plan_digest
from dr_provider.reconcile.lease import HeldLease
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.world import World

__all__ = ["DrillCheck", "DrillOutcome", "DrillVm", "keep_result", "missed"]

_KEPT = 20
_SENTENCES = 5


@dataclass(frozen=True)
class DrillCheck:
    """One look at a VM. `check`: `tcp 5432`, `agent`, `running` or `data`; `seconds` from the VM's start until it was well, or was given up."""

    check: str
    well: bool
    seconds: float
    detail: str = ""

    def document(self) -> dict[str, Any]:
        return {"check": self.check, "well": self.well, "seconds": round(self.seconds, 3), "detail": self.detail}


@dataclass(frozen=True)
class DrillVm:
    """`tier` counts from 1. `seconds`: from the order to its last check (None: it did not get there). `why`: why it is not well."""

    vm: str
    tier: int
    host: str
    name: str
    state: str
    seconds: float | None = None
    checks: tuple[DrillCheck, ...] = ()
    why: str = ""

    @property
    def well(self) -> bool:
        return not self.why

    def document(self) -> dict[str, Any]:
        return {
            "host": self.host,
            "name": self.name,
            "state": self.state,
            "tier": self.tier,
            "well": self.well,
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            "checks": [check.document() for check in self.checks],
            "why": self.why,
        }


@dataclass(frozen=True)
class DrillOutcome:
    """What a drill showed. RTO: seconds from the order to the last health check; RPO: age of the point when the drill began.

    `ended`: why it is up no more ("": it is). `notes`: what a reader should know beside the failures (an objective that was missed).
    """

    drill: str
    plan: str
    site: str
    point: str
    point_time: str
    rpo_seconds: float
    rto_seconds: float
    vms: Mapping[str, DrillVm]
    failures: tuple[str, ...] = ()
    steps: tuple[Mapping[str, object], ...] = ()
    kind: DrillKind = "asked"
    by: str = ""
    stack: str = ""
    started: str = ""
    expires: str | None = None
    ended: str = ""
    left: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    wanted: Mapping[str, float | None] = field(default_factory=dict)
    report: str | None = None

    @property
    def ok(self) -> bool:
        return not self.failures

    @property
    def sentence(self) -> str:
        well = sum(vm.well for vm in self.vms.values())
        return (
            f"drill {self.drill} at {self.site} from {self.point}: {well} of {counted(len(self.vms), 'VM')} well, RTO {self.rto_seconds:.1f} s, "
            f"RPO {self.rpo_seconds:.0f} s"
        )

    def document(self) -> dict[str, Any]:
        return {
            "drill": self.drill,
            "plan": self.plan,
            "kind": self.kind,
            "site": self.site,
            "point": self.point,
            "pointTime": self.point_time,
            "started": self.started,
            "by": self.by,
            "stack": self.stack or None,
            "ok": self.ok,
            "rpoSeconds": round(self.rpo_seconds, 3),
            "rtoSeconds": round(self.rto_seconds, 3),
            "wanted": {"rpoSeconds": self.wanted.get("rpo"), "rtoSeconds": self.wanted.get("rto")},
            "vms": {vm: at.document() for vm, at in self.vms.items()},
            "failures": list(self.failures),
            "notes": list(self.notes),
            "steps": [dict(step) for step in self.steps],
            "expires": self.expires,
            "ended": self.ended or None,
            "left": list(self.left),
            "report": self.report,
        }


def missed(spec: PlanSpec, rpo: float, rto: float) -> tuple[str, ...]:
    """Sentences on the plan's objectives that a drill of these seconds has missed."""
    said = (
        []
        if rpo >= 0
        else ["its recovery point was taken by a clock that is ahead of this one, so its age is not known"]
    )
    if spec.rto is not None and rto > spec.rto:
        said.append(f"it took {rto:.1f} s, and the plan's rto is {format_duration(spec.rto)}")
    if spec.rpo is not None and rpo > spec.rpo:
        age = f"{rpo:.0f} s" if rpo < 600 else f"{rpo / 60:.0f} min"
        said.append(f"its recovery point was {age} old, and the plan's rpo is {format_duration(spec.rpo)}")
    return tuple(said)


def keep_result(
    world: World, view: PlanView, lease: HeldLease, outcome: DrillOutcome, *, finished: bool = True
) -> None:
    """Put what a drill showed on every array that the lease is held on; the last twenty stay. One that falls silent goes without."""
    topology, plan, result = world.topology, outcome.plan, keys.new_incarnation()
    record = DrillResult(
        plan=plan, drill=outcome.drill, kind=outcome.kind, site=outcome.site, point=outcome.point,
        point_time=outcome.point_time, time=outcome.started, rpo_seconds=round(outcome.rpo_seconds, 3),
        rto_seconds=round(outcome.rto_seconds, 3) if finished else None, ok=outcome.ok,
        failures=outcome.failures[:_SENTENCES], vms=len(outcome.vms), by=outcome.by, stack=outcome.stack,
        digest=plan_digest(topology, plan),
    )  # fmt: skip
    prefix = keys.drill_result_prefix(topology.name, plan)
    for name in lease.arrays:
        array, state = world.fleet.array(name), view.seen.array(name)
        known = sorted(key.removeprefix(prefix) for key in (state.records if state else ()) if key.startswith(prefix))
        try:
            array.put_record(
                keys.drill_document_key(topology.name, plan, result), canonical(outcome.document()), lease.guard
            )
            array.put_record(keys.drill_result_key(topology.name, plan, result), dump(record), lease.guard)
            for old in known[: max(0, len(known) + 1 - _KEPT)]:
                array.delete_record(keys.drill_result_key(topology.name, plan, old), lease.guard)
                array.delete_record(keys.drill_document_key(topology.name, plan, old), lease.guard)
        except (Unreachable, NotReady, DeviceFault, ArrayFull) as error:
            world.progress(f"plan {plan}: what drill {outcome.drill} showed is not on record at {name} ({error})")
