"""`dr restore`: one VM, lost or damaged, from a recovery point; beside the running one or in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dr_provider.cli import show_drill, show_move
from dr_provider.cli.common import Session, command
from dr_provider.cli.confirm import ask, must_be_able_to_ask
from dr_provider.cli.interrupts import careful
from dr_provider.cli.paper import Paper
from dr_provider.model.errors import BadInput
from dr_provider.model.problems import meant

if TYPE_CHECKING:
    from dr_provider.reconcile.drills.outcome import DrillOutcome

__all__ = ["add"]


def restore(
    session: Session,
    vm: Annotated[str | None, typer.Argument(metavar="VM", help="A VM of the topology.", show_default=False)] = None,
    point: Annotated[
        str | None, typer.Option("--point", metavar="POINT", help="A recovery point's id, or an RFC 3339 time.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="HOST", help="The host to start it on (else where it runs, or fits).")
    ] = None,
    beside: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Beside the running one, on the drill network, under this name."),
    ] = None,
    remove: Annotated[
        str | None,
        typer.Option("--remove", metavar="NAME", help="Remove one that was restored beside the running one."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts.")] = False,
) -> int:
    """Restore one VM from a recovery point: in its place, or beside the running one.

    \b
    dr restore db --point e1-s42-0f3a --as db-before
    dr restore --remove db-before
    dr restore db --point 2026-03-02T08:00:00Z --dry-run
    dr restore db --point e1-s42-0f3a
    """
    if remove is not None:
        if vm is not None or point is not None or to is not None or beside is not None or dry_run:
            raise BadInput("dr restore --remove NAME takes nothing else; nothing was done")
        return _remove(session, remove)
    known = f"the VMs of topology {session.topology().name}: {', '.join(sorted(session.topology().vms))}"
    if vm is None or vm not in session.topology().vms:
        said = "say which VM" if vm is None else f"there is no VM {vm!r}{meant(vm, session.topology().vms)}"
        raise BadInput(f"dr restore: {said}; {known}; nothing was done")
    if point is None:
        raise BadInput(f"dr restore {vm}: say --point POINT (dr points lists them); nothing was done")
    if beside is not None:
        if dry_run:
            raise BadInput(
                "dr restore --as: there is no --dry-run of it; it changes nothing that runs; nothing was done"
            )
        return _beside(session, vm, point, beside, to)
    return _in_place(session, vm, point, to, dry_run=dry_run, yes=yes)


def _in_place(session: Session, vm: str, point: str, to: str | None, *, dry_run: bool, yes: bool) -> int:
    must_be_able_to_ask("restore", yes=yes or dry_run)
    from dr_provider.reconcile.restore import decide_restore, restore_in_place

    world = session.world()
    document = decide_restore(world, vm, point, to).document()
    if dry_run or document["refused"]:
        session.emit(document, lambda paper: show_move.decision(paper, document, whole=True))
        return 1 if document["refused"] else 0
    if not yes:
        show_move.decision(session.err, document, whole=False)
        session.err.line(f"What the disks of {vm} hold now is replaced; a safety copy of it is kept.")
        ask(session, str(document["plan"]), "plan")
    with careful():
        outcome = restore_in_place(world, vm, point, to)
    result = outcome.document()
    session.emit(result, lambda paper: show_move.outcome(paper, result))
    return 1 if outcome.failures else 0


def _beside(session: Session, vm: str, point: str, name: str, to: str | None) -> int:
    from dr_provider.reconcile.restore import restore_beside

    with careful():
        outcome = restore_beside(session.world(), vm, point, name, to)
    document = outcome.document()
    session.emit(document, lambda paper: _show(paper, outcome, vm, name))
    return 1 if outcome.failures else 0


def _show(paper: Paper, outcome: DrillOutcome, vm: str, name: str) -> None:
    at = outcome.vms.get(vm)
    if at is not None:
        paper.line(
            f"VM {vm} as of {outcome.point} is {at.name} on {at.host}, on the drill network; dr restore --remove {name} ends it.",
            "green",
        )
    paper.bullets(outcome.failures, "red")
    paper.pairs([("report", outcome.report or "")])


def _remove(session: Session, name: str) -> int:
    from dr_provider.reconcile.restore import remove_restored

    with careful():
        ended = remove_restored(session.world(), name)
    gone: dict[str, Any] = {"removed": name, **ended.removed, "left": ended.left}
    if ended.left:
        gone["error"] = ended.sentence
    session.emit(gone, lambda paper: show_drill.ended(paper, [ended.document()], silent={}))
    return 1 if ended.left else 0


def add(app: typer.Typer) -> None:
    command(app, panel="Move")(restore)
