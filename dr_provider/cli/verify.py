"""`dr verify`: a recovery point is read back before it is needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from dr_provider.cli.common import Session, command
from dr_provider.cli.interrupts import careful
from dr_provider.cli.names import PlanArgument, plan_named, site_named, site_option
from dr_provider.cli.paper import Paper, span
from dr_provider.model.errors import BadInput
from dr_provider.model.units import counted, format_size

__all__ = ["add"]


def verify(
    session: Session,
    plan: PlanArgument = None,
    point: Annotated[
        str | None, typer.Option("--point", metavar="ID|TIME", help="This one (else the newest at each site).")
    ] = None,
    site: Annotated[str | None, site_option("--site", "Only what this site holds.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every recovery point that is whole somewhere.")] = False,
) -> int:
    """Read recovery points back where they are, and compare the sites with each other and with earlier readings.

    \b
    dr verify shop                 the newest point of each site
    dr verify shop --all --site west
    dr verify shop --point 2026-03-02T08:00:00Z --json
    """
    spec = plan_named(session, plan, "verify")
    if every and point is not None:
        raise BadInput("dr verify: --all and --point exclude each other; nothing was done")
    chosen = site_named(spec, site, "verify", "--site") if site is not None else None
    from dr_provider.reconcile.verify import verify_plan

    world = session.world()
    with careful():
        verdict = verify_plan(world, spec.name, wish=point, site=chosen, every=every)
    document = verdict.document()
    if not verdict.well:
        document["error"] = "; ".join(verdict.findings) or f"plan {spec.name}: nothing could be verified"
    session.emit(document, lambda paper: _show(paper, document))
    return 0 if verdict.well else 1


def _show(paper: Paper, document: Mapping[str, Any]) -> None:
    for point in document["points"]:
        paper.line(f"Recovery point {point['id']} ({point['time']}):", "bold")
        for site, at in point["sites"].items():
            volumes = at["volumes"].values()
            count, seconds = sum(v["bytes"] for v in volumes), sum(v["seconds"] for v in volumes)
            state = "well" if at["well"] else "NOT well"
            paper.line(
                f"{site}: {state}; {format_size(count)} of {counted(len(volumes), 'volume')} read in {span(seconds)}",
                indent=2,
            )
    paper.bullets(document["findings"], "red")
    paper.bullets(document["notKnown"], "yellow")
    paper.bullets(document["warnings"], "yellow")
    if not document["findings"] and not document["well"]:
        paper.line("Nothing could be verified.", "bold red")


def add(app: typer.Typer) -> None:
    command(app, panel="Protect")(verify)
