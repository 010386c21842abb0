"""`dr safety`: the copies that were kept before a diverged side was overwritten."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from dr_provider.cli.common import Session, command
from dr_provider.cli.confirm import ask, must_be_able_to_ask
from dr_provider.cli.interrupts import careful
from dr_provider.cli.paper import Paper, ago
from dr_provider.model.errors import BadInput

__all__ = ["add"]

Name = Annotated[
    str | None, typer.Argument(metavar="NAME", help="A safety copy, as dr safety list shows it.", show_default=False)
]


def list_copies(session: Session) -> None:
    """List the safety copies.

    \b
    dr safety list
    """
    from dr_provider.reconcile.safety import list_safety

    copies = list_safety(session.world())

    def show(paper: Paper) -> None:
        if not copies:
            paper.line("There is no safety copy.")
            return
        for copy in copies:
            _show(paper, copy)

    session.emit({"copies": copies}, show)


def _show(paper: Paper, copy: Mapping[str, Any]) -> None:
    from dr_provider.model.units import format_size

    paper.line(str(copy["name"]), "bold")
    paper.pairs(
        [
            ("of", f"volume {copy['volume']}, plan {copy['plan'] or 'none any more'}"),
            ("on", f"{copy['array']} ({copy['site']}), {format_size(copy['bytes'])} used"),
            ("since", f"recovery point {copy['fork']}" if copy["fork"] else ""),
            ("last write", ago(str(copy["lastWrite"])) if copy["lastWrite"] else ""),
            ("LUNs", ", ".join(copy["luns"])),
        ]
    )


def export(
    session: Session,
    copy_name: Name = None,
    lun: Annotated[
        str | None, typer.Argument(metavar="LUN", help="A LUN of it, such as db.root.", show_default=False)
    ] = None,
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="Where to write it; must not be there yet.", show_default=False)
    ] = None,
) -> None:
    """Write a LUN of a safety copy to a file.

    \b
    dr safety export shop.safety.2-1f0c db.root db-lost.img
    """
    copy = _copy(session, copy_name, "export")
    luns = sorted(copy["luns"])
    if lun is None or file is None:
        raise BadInput(
            f"dr safety export: say NAME LUN FILE; the LUNs of {copy['name']}: {', '.join(luns) or 'none'}; nothing was done"
        )
    if lun not in luns:
        raise BadInput(
            f"dr safety export: there is no LUN {lun!r} in {copy['name']}; its LUNs: {', '.join(luns)}; nothing was done"
        )
    path = Path(file)
    if path.exists():
        raise BadInput(f"dr safety export: {file} is there already; say a file that is not; nothing was done")
    if not path.absolute().parent.is_dir():
        raise BadInput(f"dr safety export: there is no folder {path.absolute().parent}; nothing was done")
    from dr_provider.reconcile.safety import export_safety

    size = export_safety(session.world(), str(copy["name"]), lun, path)
    session.emit(
        {"name": copy["name"], "lun": lun, "file": file, "bytes": size},
        lambda paper: paper.line(f"{copy['name']}, LUN {lun}: {size} bytes are in {file}."),
    )


def drop(
    session: Session,
    copy_name: Name = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a safety copy for good; asks for its plan's name.

    \b
    dr safety drop shop.safety.2-1f0c
    """
    must_be_able_to_ask("safety drop", yes=yes)
    copy = _copy(session, copy_name, "drop")
    from dr_provider.reconcile.safety import drop_safety

    if not yes:
        session.err.line(
            f"Safety copy {copy['name']} of plan {copy.get('plan')} is deleted; what only it holds is lost."
        )
        ask(session, str(copy.get("plan") or copy["name"]), "plan")
    with careful():
        document = drop_safety(session.world(), str(copy["name"]))
    session.emit(document, lambda paper: paper.line(f"Safety copy {copy['name']} is deleted."))


def _copy(session: Session, name: str | None, doing: str) -> Mapping[str, Any]:
    """The safety copy of a name; raises BadInput listing those that there are."""
    from dr_provider.reconcile.safety import list_safety

    copies: dict[str, Mapping[str, Any]] = {str(copy["name"]): copy for copy in list_safety(session.world())}
    known = f"there are: {', '.join(sorted(copies)) or 'none'}"
    if name is None:
        raise BadInput(f"dr safety {doing}: say which safety copy; {known}; nothing was done")
    if name not in copies:
        raise BadInput(f"dr safety {doing}: there is no safety copy {name!r}; {known}; nothing was done")
    return copies[name]


def add(app: typer.Typer) -> None:
    group = typer.Typer(
        name="safety", help="Safety copies: what a diverged side held before it was overwritten.", no_args_is_help=True
    )
    command(group, "list")(list_copies)
    command(group)(export)
    command(group)(drop)
    app.add_typer(group, rich_help_panel="Move")
