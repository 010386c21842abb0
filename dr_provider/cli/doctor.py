"""`dr doctor`: whether the machines of a topology are fit for what it wants of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from dr_provider.cli.common import Session, command
from dr_provider.cli.paper import Paper
from dr_provider.model.errors import BadInput

if TYPE_CHECKING:
    from dr_provider.reconcile.doctor import Diagnosis

__all__ = ["add"]


def doctor(
    session: Session,
    file: Annotated[
        str | None, typer.Argument(metavar="TOPOLOGY", help="A topology file (else the one in use).")
    ] = None,
) -> int | None:
    """Look at every array, host, network, clock and guest; say what would fail, and what to do. Changes nothing.

    \b
    dr doctor stacks/topology/shop.yaml
    dr doctor -v                          also what is well
    dr doctor --from zfs:ssh://root@10.0.2.10/tank
    """
    if file is not None:
        if session.options.topology is not None or session.options.source is not None:
            raise BadInput("dr doctor: say TOPOLOGY, --topology or --from, one of them; nothing was done")
        session.options = replace(session.options, topology=file)
    world = session.world()
    from dr_provider.reconcile.doctor import diagnose

    diagnosis = diagnose(world)
    session.emit(diagnosis.document(), lambda paper: _show(paper, diagnosis, everything=session.verbose))
    return 1 if diagnosis.count("problem") else 0


def _show(paper: Paper, diagnosis: Diagnosis, *, everything: bool) -> None:
    for site, findings in diagnosis.sites.items():
        shown = [finding for finding in findings if everything or finding.level != "ok"]
        if not shown:
            continue
        paper.line(f"At site {site}:" if site else "In all:", "bold")
        paper.table(
            ("", "what", "check", "found, and what to do"),
            [(f.level, f.subject, f.check, f"{f.found} {f.todo}".rstrip()) for f in shown],
        )
        paper.line()
    paper.line(*_closing(diagnosis))


def _closing(diagnosis: Diagnosis) -> tuple[str, str]:
    """The last sentence, and its colour."""
    problems, warnings = diagnosis.count("problem"), diagnosis.count("warning")
    looked = f"topology {diagnosis.topology}: {_count(len(diagnosis.findings), 'check')}, "
    if problems:
        return (
            f"{looked}{_count(problems, 'problem')} and {_count(warnings, 'warning')}. Mend the problems, then run dr doctor again.",
            "red",
        )
    if warnings:
        return (
            f"{looked}no problem and {_count(warnings, 'warning')}. It works; look at the warnings on a quiet day.",
            "yellow",
        )
    return f"{looked}all is well.", "green"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def add(app: typer.Typer) -> None:
    command(app, panel="Look")(doctor)
