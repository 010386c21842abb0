"""`dr apply`: make what the topology declares, without Pulumi."""

from __future__ import annotations

import typer

from dr_provider.cli.common import Session, command
from dr_provider.cli.interrupts import careful
from dr_provider.cli.paper import Paper
from dr_provider.model.errors import DrError

__all__ = ["add"]


def apply(session: Session) -> int:
    """Make what the topology declares: plans, volumes, LUNs, mirrors, VMs. Moves nothing; repeatable.

    \b
    dr apply --topology shop.yaml
    """
    from dr_provider.reconcile.provision_all import apply_all

    world = session.world()
    with careful():
        applied = apply_all(world, session.progress)
    failures = [str(one) for one in applied if isinstance(one, DrError)]
    pending = [one.pending for one in applied if not isinstance(one, DrError) and one.pending]
    made = len(applied) - len(failures) - len(pending)
    document = {"topology": world.topology.name, "made": made, "failures": failures, "pending": pending}
    problems = [*failures, *pending]

    def show(paper: Paper) -> None:
        if problems:
            paper.line("Not all of it is made yet:", "bold yellow")
            paper.bullets(dict.fromkeys(problems))
        else:
            paper.line(f"All that topology {world.topology.name} declares is made: {made} objects.", "green")

    session.emit(document, show)
    return 1 if problems else 0


def add(app: typer.Typer) -> None:
    command(app, panel="Protect")(apply)
