"""Gathers what a run comes to, and leaves its report when the run, and its lease, are over.

Invariants: a report is written after the lease is free, so nobody waits for it; and nothing that goes wrong with it, of whatever kind, ends
or fails the run that it is about: that is a line of progress.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from dr_provider.model import keys
from dr_provider.model.errors import BadInput, DrError, LeaseLost, MoveFailed, Refused, Stopped
from dr_provider.reconcile.decision import Decision, Want
from dr_provider.reconcile.journal import Journal
from dr_provider.reconcile.reports.document import compose
from dr_provider.reconcile.reports.facts import Facts, Result
from dr_provider.reconcile.reports.initiator import initiator
from dr_provider.reconcile.reports.kept import keep_on_arrays, write_files
from dr_provider.reconcile.reports.rehearsed import rehearsed
from dr_provider.reconcile.resumed import Resumed
from dr_provider.reconcile.status import plan_status
from dr_provider.reconcile.world import World

if TYPE_CHECKING:
    from dr_provider.reconcile.context import Run
    from dr_provider.reconcile.drills.outcome import DrillOutcome
    from dr_provider.reconcile.outcome import Outcome

__all__ = ["Account", "leave_drill", "leave_rehearsal", "leave_report", "new_report_id"]

_MOVES = ("planned", "disaster", "abort", "resolve", "rollback")


def new_report_id() -> str:
    """Sorts by the time of its making, to the millisecond: the first three characters behind the dash."""
    now = keys.now()
    return f"{now:%Y%m%dT%H%M%S}-{now.microsecond // 1000:03d}{keys.new_id()[:5]}"


def leave_report(world: World, plan: str, facts: Callable[[], Facts], *, arrays: bool = True) -> str | None:
    """Write the report of a run that is over; the path of its page (None: it could not be written here). Never raises.

    `facts` gathers what is known, which may look once more, and fail. `arrays`: also there. Who was overtaken by another run changes nothing
    on them any more.
    """
    return _leave(world, plan, lambda: compose(world.topology, world.topology.plans[plan], facts()), arrays=arrays)


def leave_rehearsal(
    world: World,
    found: Mapping[str, Any],
    began: str,
    *,
    lost: Sequence[str],
    notes: Sequence[str],
    run: Mapping[str, Any] | None,
) -> str | None:
    """The same of a rehearsal (`found`: the plan's part of `dr rehearse --json`), on this machine only: the real arrays are only looked at."""
    topology, plan = world.topology, str(found["plan"])

    def composed() -> dict[str, Any]:
        ended = keys.now()
        vms = {
            vm["vm"]: {"site": vm["site"], "host": vm["host"], "state": "running" if vm["host"] else "off"}
            for vm in found["vms"]
        }
        facts = Facts(
            id=new_report_id(),
            kind="rehearsal",
            started=began,
            ended=keys.stamp(ended),
            seconds=(ended - keys.at(began)).total_seconds(),
            by=world.by,
            initiator=initiator(os.environ),
            to_site=found["site"],
            vms=vms,
        )
        return rehearsed(topology, topology.plans[plan], facts, found, lost=lost, notes=notes, run=run)

    return _leave(world, plan, composed, arrays=False)


def _leave(world: World, plan: str, composed: Callable[[], dict[str, Any]], *, arrays: bool) -> str | None:
    path: Path | None = None
    # Nothing less will do than all errors: by now VMs run at the other side, and whatever is raised here would be told as the end of that move.
    # What can go wrong is anything that a template, a picture or a sentence makes of what devices, records and operators have said. It is said,
    # with the place at which it went wrong, since -v shows no traceback of what is not raised.
    try:
        document = composed()
        path = _write(world, plan, document)
        for said in keep_on_arrays(world.fleet, world.topology, world.look(), document) if arrays else ():
            world.progress(f"plan {plan}: {said}; the run itself is not touched by that")
    except Exception as error:  # noqa: BLE001  see above
        lacks = "no report could be made of this run" if path is None else f"the report is in {path} only"
        world.progress(f"plan {plan}: {lacks} ({_fault(error)}); the run itself is not touched by that")
    if path is None:
        return None
    world.reported[plan] = str(path)
    if world.stack:
        # The engine shows what is said, and nothing else of a run tells where its report is.
        world.progress(f"plan {plan}: report: {path}")
    return str(path)


def _fault(error: Exception) -> str:
    if isinstance(error, DrError):
        return str(error)
    at = traceback.extract_tb(error.__traceback__)[-1]
    return f"a fault in dr: {type(error).__name__}: {error}, at {Path(at.filename).name}:{at.lineno}; report it"


def _write(world: World, plan: str, document: Mapping[str, Any]) -> Path | None:
    # The template engine takes longer to load than most of what a run does, and not every run leaves a report.
    from dr_provider.reconcile.reports.page import report_page

    try:
        return write_files(document, report_page)
    except OSError as error:
        world.progress(f"plan {plan}: the report cannot be kept on this machine ({error.strerror}: {error.filename})")
        return None


@dataclass
class Account:
    """The account of one run of a plan. Used around the lease, so that the report is made when that is free."""

    world: World
    plan: str
    want: Want
    began: float = field(default_factory=time.monotonic)
    started: str = field(default_factory=lambda: keys.stamp(keys.now()))
    decision: Decision | None = None
    run: Run | None = None
    journal: Journal | None = None
    resumed: Resumed | None = None
    outcome: Outcome | None = None
    refused: tuple[str, ...] = ()
    path: str | None = None

    def __enter__(self) -> Account:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if (error is None or isinstance(error, Exception)) and not isinstance(error, BadInput) and self._worth_it():
            overtaken = isinstance(error, LeaseLost) or (self.run is not None and self.run.lease.lost is not None)
            self.path = leave_report(self.world, self.plan, lambda: self._facts(error), arrays=not overtaken)

    def _worth_it(self) -> bool:
        """Of moves, and of what brings VMs back; not of what mends mirrors and records every few minutes."""
        decision = self.decision
        if decision is None or decision.kind == "create":
            return False
        if self.journal is None:
            # Refused in the middle of a move that an earlier run began: somebody waits for it.
            return bool(decision.refused) and self.world.view(self.plan).claim is not None
        if decision.kind in _MOVES or self.want.goal in ("restart", "restore"):
            return bool(decision.actions)
        return any(line["event"] == "done" and line.get("verb") == "start" for line in self.journal.lines)

    def _kind(self, decision: Decision) -> str:
        verbs = {action.verb for action in decision.actions}
        if self.want.goal in ("restart", "restore"):
            return self.want.goal
        if decision.kind == "repair":
            return "restart" if "isolate" in verbs else "restore" if "end-restore" in verbs else "repair"
        return decision.kind

    def _facts(self, error: BaseException | None) -> Facts:
        decision, run, outcome = self.decision, self.run, self.outcome
        assert decision is not None
        # An outcome has looked; who ended early has not seen what came of it.
        view = self.world.view(self.plan, refresh=outcome is None)
        epoch = run.committed if run is not None else None
        claim = run.claim if run is not None else view.claim
        point = (epoch.point if epoch else None) or (claim.point if claim else None) or decision.point
        at = next((p.time for p in view.points if p.id == point), None)
        loss = outcome.loss if outcome is not None else decision.loss
        return Facts(
            id=new_report_id(),
            kind=self._kind(decision),
            started=self.started,
            ended=keys.stamp(keys.now()),
            seconds=time.monotonic() - self.began,
            by=self.want.by,
            stack=self.want.stack or self.world.stack,
            initiator=initiator(os.environ),
            from_site=decision.from_site,
            to_site=decision.to_site,
            word=(epoch.word if epoch else None) or (claim.word if claim else None),
            proof=epoch.proof if epoch else claim.proof if claim else (),
            wish=self.want.point,
            point=point,
            point_time=at,
            loss_seconds=loss.seconds,
            loss_statement=loss.statement,
            moved=epoch is not None,
            result=self._result(error),
            error=_sentences(error),
            failures=outcome.failures if outcome is not None else (),
            warnings=outcome.warnings if outcome is not None else decision.warnings,
            remarks=outcome.remarks if outcome is not None else tuple(run.remarks) if run is not None else (),
            notes=decision.notes,
            safety=tuple(run.safety) if run is not None else (),
            lines=self.journal.lines if self.journal is not None else (),
            status=plan_status(view),
            since=self.resumed.since if self.resumed else None,
            resumed_by=self.resumed.by if self.resumed else None,
            journal=str(self.journal.path) if self.journal and self.journal.path else None,
            estimate=decision.estimate,
        )

    def _result(self, error: BaseException | None) -> Result:
        if error is None:
            return "partial" if self.outcome is not None and self.outcome.failures else "done"
        if isinstance(error, Refused):
            return "refused"
        if isinstance(error, Stopped):
            return "stopped"
        # Led back to its source: what withdrew the claim put that on record.
        run = self.run
        led_back = (
            isinstance(error, MoveFailed)
            and run is not None
            and run.claim is None
            and run.decision is not self.decision
        )
        return "called off" if led_back else "failed"


def _sentences(error: BaseException | None) -> Sequence[str]:
    if error is None:
        return ()
    if isinstance(error, MoveFailed | Refused):
        return error.reasons
    return (str(error) if isinstance(error, DrError) else f"{type(error).__name__}: {error}",)


def _begun(lines: Sequence[Mapping[str, Any]]) -> str | None:
    """When the run began that these lines are of: a drill that is gone on with has its own beginning in an earlier one."""
    return keys.stamp(keys.at(lines[0]["time"]) - timedelta(seconds=lines[0]["at"])) if lines else None


def leave_drill(world: World, outcome: DrillOutcome, lines: Sequence[Mapping[str, Any]]) -> str | None:
    """Write the report of a drill (`lines`: its steps as they came); the path of its page. Never raises."""
    return leave_report(world, outcome.plan, lambda: _of_drill(world, outcome, lines))


def _of_drill(world: World, outcome: DrillOutcome, lines: Sequence[Mapping[str, Any]]) -> Facts:
    ended = keys.now()
    return Facts(
        id=new_report_id(),
        kind="beside" if outcome.kind == "beside" else "drill",
        started=_begun(lines) or outcome.started,
        ended=keys.stamp(ended),
        seconds=outcome.rto_seconds,
        by=outcome.by or world.by,
        stack=outcome.stack,
        initiator=initiator(os.environ),
        to_site=outcome.site,
        point=outcome.point,
        point_time=outcome.point_time,
        loss_seconds=outcome.rpo_seconds,
        loss_statement="what was written after the recovery point would have been lost, had this been a disaster",
        result="partial" if outcome.failures and any(vm.well for vm in outcome.vms.values()) else "failed" if outcome.failures else "done",
        failures=outcome.failures,
        notes=(*outcome.notes, *((f"it was a {outcome.kind} drill",) if outcome.kind == "scheduled" else ())),
        lines=lines,
        vms={
            vm: {"site": outcome.site, "host": at.host or None, "state": at.state, "why": at.why}
            for vm, at in outcome.vms.items()
        },
        extra={"drill": outcome.drill, "rpoSeconds": round(outcome.rpo_seconds, 3), "rtoSeconds": round(outcome.rto_seconds, 3)},
    )  # fmt: skip
