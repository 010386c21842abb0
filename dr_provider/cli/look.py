"""`dr validate`, `dr schema`, `dr status`, `dr points`, `dr history`: what only looks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dr_provider.cli.common import Session, command
from dr_provider.cli.names import PlanArgument, plan_named
from dr_provider.cli.paper import Paper
from dr_provider.model.errors import BadInput

__all__ = ["add"]

_PANEL = "Look"


def validate(
    session: Session,
    file: Annotated[str | None, typer.Argument(metavar="FILE", help="A topology file (else the one in use).")] = None,
) -> None:
    """Check a topology: every error with its path and what would be right.

    \b
    dr validate stacks/topology/shop.yaml
    dr validate --json            the selected stack's
    """
    from dr_provider.cli import sources

    if file is None or session.options.source is not None:
        if file is not None:
            raise BadInput("dr validate: say FILE or --from, not both; nothing was done")
        topology, source = session.topology(), session.options.source or str(sources.file_of(session.options.topology))
    else:
        topology, source = sources.load_file(Path(file)), file
    counts = {
        kind: len(getattr(topology, kind))
        for kind in ("sites", "arrays", "hosts", "networks", "volumes", "vms", "plans")
    }
    from dr_provider.model.advice import advice

    warnings = [{"path": said.path, "message": said.message} for said in advice(topology)]
    document: dict[str, Any] = {
        "valid": True,
        "topology": topology.name,
        "source": source,
        "counts": counts,
        "warnings": warnings,
    }

    def show(paper: Paper) -> None:
        said = ", ".join(f"{n} {kind if n != 1 else kind[:-1]}" for kind, n in counts.items()).replace("vms", "VMs")
        paper.line(f"{source}: topology {topology.name} is good: {said}.", "green")
        paper.bullets((f"{each['path']}: {each['message']}" for each in warnings), "yellow")

    session.emit(document, show)


def status(
    session: Session,
    plan: PlanArgument = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit status 1 where a plan is not ready, or that is not known.")
    ] = False,
) -> int:
    """Where every plan is, whether it is protected and ready to be moved, and what is wrong.

    \b
    dr status
    dr status shop                 all of one plan; with -v every item of its readiness
    dr status --check              for scripts: 1 where a plan could not be moved today
    dr status --json | jq .plans.shop.ready
    dr status --from embedded:.dr/west-a.db
    """
    named = plan_named(session, plan, "status").name if plan is not None else None
    world = session.world()
    from dr_provider.cli import show_status
    from dr_provider.reconcile.status import status_document

    document = status_document(world, session.here())
    if named is not None:
        document = {**document, "plans": {named: document["plans"][named]}}
    session.emit(document, lambda paper: show_status.status(paper, document, everything=session.verbose))
    return 1 if check and not all(shown["ready"] for shown in document["plans"].values()) else 0


def points(session: Session, plan: PlanArgument = None) -> None:
    """List a plan's recovery points by site: level, age, holds.

    \b
    dr points shop
    """
    spec = plan_named(session, plan, "points")
    from dr_provider.cli import show_status
    from dr_provider.reconcile.status import point_listing

    document = point_listing(session.world(), spec.name)
    session.emit(document, lambda paper: show_status.points(paper, document))


def history(session: Session, plan: PlanArgument = None) -> None:
    """Where a plan has been: each move with its time, who asked for it, the word that was given, and what it lost.

    \b
    dr history shop
    dr history shop --json | jq '.epochs[0]'
    """
    spec = plan_named(session, plan, "history")
    from dr_provider.cli import show_status
    from dr_provider.reconcile.history import history_document

    document = history_document(session.world().view(spec.name))
    session.emit(document, lambda paper: show_status.history(paper, document))


def schema(session: Session) -> None:
    """Print the JSON Schema of a topology, for editors: completion, and faults as you type.

    \b
    dr schema > topology.schema.json
    """
    from dr_provider.model.plain import json_text
    from dr_provider.model.schema import schema as topology_schema

    print(json_text(topology_schema()), flush=True)


def add(app: typer.Typer) -> None:
    for function in (validate, schema, status, points, history):
        command(app, panel=_PANEL)(function)
