"""`dr backup`: a recovery point now, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from dr_provider.cli.common import Session, command
from dr_provider.cli.interrupts import careful
from dr_provider.cli.names import PlanArgument, plan_named
from dr_provider.cli.paper import Paper
from dr_provider.model.errors import BadInput

__all__ = ["add"]


def backup(
    session: Session,
    plan: PlanArgument = None,
    every: Annotated[bool, typer.Option("--all", help="A point of every plan.")] = False,
) -> int:
    """Take a recovery point now, where the plan is active: before a risky change, say. Nothing is sent or pruned; dr protect does that.

    \b
    dr backup shop
    dr backup --all --json
    """
    if every and plan is not None:
        raise BadInput("dr backup: say PLAN or --all, not both; nothing was done")
    names = sorted(session.topology().plans) if every else [plan_named(session, plan, "backup").name]
    from dr_provider.reconcile.protect import backup_all
    from dr_provider.reconcile.status import point_listing

    world = session.world()
    with careful():
        outcomes = backup_all(world, names)
    plans: dict[str, Any] = {}
    for outcome in outcomes:
        known = {point["id"]: point for point in point_listing(world, outcome.plan)["points"]} if outcome.point else {}
        point = known.get(outcome.point)
        plans[outcome.plan] = {
            "point": outcome.point,
            "time": point["time"] if point else None,
            "site": point["takenAt"] if point else None,
            "level": outcome.level,
            "vms": point["vms"] if point else {},
            "warnings": list(outcome.warnings),
            "failures": list(outcome.failures),
        }
    document: dict[str, Any] = {"plans": plans}
    failures = [sentence for outcome in outcomes for sentence in outcome.failures]
    if failures:
        document["error"] = "; ".join(failures)
    session.emit(document, lambda paper: _show(paper, plans))
    return 1 if failures else 0


def _show(paper: Paper, plans: Mapping[str, Mapping[str, Any]]) -> None:
    for name, taken in plans.items():
        if taken["point"]:
            paper.line(
                f"Plan {name}: took recovery point {taken['point']} at {taken['site']} ({taken['level']}).", "bold"
            )
            paper.table(
                ("VM", "level", "host", ""),
                [(vm, at["level"] or "-", at["host"] or "-", at["reason"]) for vm, at in taken["vms"].items()],
            )
        else:
            paper.line(f"Plan {name}: no recovery point was taken.", "bold red")
        paper.bullets(taken["failures"], "red")
        paper.bullets(taken["warnings"], "yellow")


def add(app: typer.Typer) -> None:
    command(app, panel="Protect")(backup)
