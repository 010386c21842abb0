"""`dr runbook`: the move as a document for people, rendered from cli/templates/runbook."""

from __future__ import annotations

import functools
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dr_provider.cli import templates
from dr_provider.cli.common import Session, command
from dr_provider.cli.names import PlanArgument, SiteOption, plan_named, site_named
from dr_provider.model.errors import BadInput, DrError

if TYPE_CHECKING:
    from jinja2 import Environment, TemplateError
    from markupsafe import Markup

    from dr_provider.model.topology import Topology
    from dr_provider.reconcile.runbooks.document import Known

__all__ = ["add", "render"]

_FORMATS = {"md": "runbook/runbook.md.j2", "html": "runbook/runbook.html.j2"}
_SUFFIXES = {".html": "html", ".htm": "html", ".md": "md", ".markdown": "md"}


def runbook(
    session: Session,
    plan: PlanArgument = None,
    to: SiteOption = None,
    shape: Annotated[
        str | None,
        typer.Option("--format", metavar="md|html", help="Markdown or HTML (else as FILE's name ends, else md)."),
    ] = None,
    file: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FILE", help="Write it there (else to stdout).")
    ] = None,
) -> int | None:
    """Write the move of a plan as a document for people: every step in order, with the commands of dr, of Pulumi, and by hand if all software is gone.

    \b
    dr runbook shop
    dr runbook shop --to west -o shop.html
    dr runbook shop --from zfs:ssh://root@10.0.2.10/tank --format html -o shop.html
    """
    spec = plan_named(session, plan, "runbook")
    site = None if to is None else site_named(spec, to, "runbook", "--to")
    wanted = shape or _SUFFIXES.get(Path(file).suffix.lower() if file else "", "md")
    if wanted not in _FORMATS:
        raise BadInput(f"dr runbook --format {wanted!r}: wanted md or html; nothing was done")
    from dr_provider.model import keys
    from dr_provider.reconcile.runbooks.document import runbook as of

    topology = session.topology()
    document = of(
        topology, spec.name, site, _known(session, topology, spec.name, site), keys.stamp(keys.now())
    ).document()
    if file is not None:
        _write(Path(file), render(document, wanted))
    if session.json or file is not None:
        session.emit(
            {**document, "file": file} if file else document,
            lambda paper: paper.line(
                f"{file}: the runbook of plan {spec.name}, {document['from']} to {document['to']}."
            ),
        )
    else:
        print(render(document, wanted), end="", flush=True)
    return None


def _known(session: Session, topology: Topology, plan: str, site: str | None) -> Known:
    """What the machines say; with all of them dark that is nothing, and no reason for no runbook."""
    from dr_provider.protection.catalogue import newest
    from dr_provider.reconcile.placement import place
    from dr_provider.reconcile.runbooks.document import Known
    from dr_provider.reconcile.status import plan_status

    spec = topology.plans[plan]
    try:
        world = session.world()
        view = world.view(plan)
    except DrError as error:
        return Known(silent={"the machines": str(error)})
    silent = {
        name: why
        for each in spec.sites
        for name, why in {**view.silent_arrays(each), **view.silent_hosts(each)}.items()
    }
    if view.epoch is None:
        return Known(silent=silent)
    status = plan_status(view)
    to = site or next(each for each in spec.sites if each != view.active)
    return Known(
        active=view.active,
        epoch=view.epoch.number,
        since=view.epoch.time,
        phase=status["phase"],
        protected=status["protected"],
        points={
            each: (point.id, point.time) for each in spec.sites if (point := newest(view.points, each)) is not None
        },
        hosts=place(view, to, view.vms).hosts,
        silent=silent,
    )


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(
            f"-o {file}: it cannot be written ({error.strerror or error}); the runbook is not there"
        ) from error


def render(document: Mapping[str, Any], shape: str) -> str:
    """The document as Markdown or as one self-contained page. Raises DrError naming the template and its line."""
    from jinja2 import TemplateError

    try:
        return _templates().get_template(_FORMATS[shape]).render(book=document)
    except TemplateError as error:
        file, line = _place(error, _FORMATS[shape])
        said = f", line {line}" if line else ""
        raise DrError(f"template {file}{said}: {error.message or type(error).__name__}; mend it") from error


def _place(error: TemplateError, name: str) -> tuple[Path, int]:
    """The template and the line at which it fails (0: none)."""
    from jinja2 import TemplateSyntaxError

    if isinstance(error, TemplateSyntaxError):
        return templates.TEMPLATES / (error.name or name), error.lineno
    # Jinja2 puts the templates' own lines into the traceback.
    frames = [(Path(frame.filename), frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    return next((at for at in reversed(frames) if at[0].suffix == ".j2"), (templates.TEMPLATES / name, 0))


@functools.cache
def _templates() -> Environment:
    from jinja2 import select_autoescape

    made = templates.environment()
    made.autoescape = select_autoescape(["html.j2"])
    made.filters["cell"] = _cell
    made.filters["prose"] = _prose
    return made


def _cell(text: object) -> str:
    """Text in a cell of a Markdown table."""
    return str(text).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _prose(text: object) -> Markup:
    """A sentence in HTML, in which words between back quotes are code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def add(app: typer.Typer) -> None:
    command(app, panel="Look")(runbook)
