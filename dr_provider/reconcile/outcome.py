"""What a run came to: the decision's shape with what came of it, and the sentences on what it should have done and did not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from dr_provider.reconcile.context import Run
from dr_provider.reconcile.decision import Decision, Loss
from dr_provider.reconcile.graph import GraphResult
from dr_provider.reconcile.journal import Journal
from dr_provider.reconcile.resumed import Resumed
from dr_provider.reconcile.status import status_document
from dr_provider.reconcile.world import World

__all__ = ["Outcome", "failures_of", "outcome_of", "warnings_of"]

_VM_GROUPS = ("attach", "start")


@dataclass(frozen=True)
class Outcome:
    """What a run came to. `failures`: sentences on what this run should have done and did not (VMs that do not run, above all);
    `warnings`: best-effort steps that failed, and what stays to be mended. `status` is the plan's part of `dr status --json`."""

    decision: Decision
    status: dict[str, object]
    loss: Loss
    point: str | None
    seconds: float
    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    safety: tuple[str, ...] = ()
    steps: tuple[dict[str, object], ...] = ()
    journal: str | None = None
    resumed: Resumed | None = None
    report: str | None = None

    def document(self) -> dict[str, object]:
        """The decision's shape (SPEC.md) with what came of it."""
        return {
            **self.decision.document(),
            "point": self.point,
            "loss": {"seconds": self.loss.seconds, "statement": self.loss.statement},
            "seconds": round(self.seconds, 3),
            "failures": list(self.failures),
            "warnings": list(self.warnings),
            "remarks": list(self.remarks),
            "safety": list(self.safety),
            "steps": list(self.steps),
            "resumed": {"since": self.resumed.since, "by": self.resumed.by} if self.resumed else None,
            "journal": self.journal,
            "report": self.report,
            "status": self.status,
        }


def failures_of(decision: Decision, result: GraphResult) -> tuple[str, ...]:
    """A sentence for each thing that was asked for and is not so; a VM is named once, by its first cause."""
    said: list[str] = []
    for action in decision.actions:
        counts = action.needed or action.group in _VM_GROUPS
        if action.id in result.failed and counts:
            said.append(f"{action.sentence}: {result.failed[action.id]}")
        elif action.id in result.skipped and action.verb == "start":
            cause = result.skipped[action.id]
            if not cause.startswith("map the LUNs of VM " + action.of["vm"] + " "):
                said.append(f"VM {action.of['vm']} was not started: it waits ({cause})")
    return tuple(said)


def warnings_of(decision: Decision, result: GraphResult) -> tuple[str, ...]:
    """The decision's own, and a sentence for each step that was best effort and failed."""
    soft = [a for a in decision.actions if a.id in result.failed and not a.needed and a.group not in _VM_GROUPS]
    return (*decision.warnings, *(f"{action.sentence}: {result.failed[action.id]}" for action in soft))


def outcome_of(
    world: World,
    plan: str,
    decision: Decision,
    started: float,
    *,
    failures: Sequence[str] = (),
    warnings: Sequence[str] | None = None,
    run: Run | None = None,
    journal: Journal | None = None,
    resumed: Resumed | None = None,
) -> Outcome:
    """`started` is on the monotonic clock; `warnings` None: the decision's."""
    epoch = run.committed if run is not None else None
    return Outcome(
        decision,
        status_document(world)["plans"][plan],
        Loss(epoch.loss_seconds, epoch.loss_statement) if epoch is not None and epoch.point else decision.loss,
        epoch.point if epoch is not None else decision.point,
        time.monotonic() - started,
        tuple(failures),
        tuple(decision.warnings if warnings is None else warnings),
        tuple(run.remarks) if run else (),
        tuple(run.safety) if run else (),
        tuple(line for line in journal.lines if line["event"] in ("done", "failed", "skipped")) if journal else (),
        str(journal.path) if journal and journal.path else None,
        resumed,
    )
