"""`dr report`: what a move, drill or rehearsal came to, as it was put down at its end; and the history over all of them."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dr_provider.cli.common import Session, command
from dr_provider.cli.names import PlanArgument, plan_named
from dr_provider.cli.paper import Paper, ago, span
from dr_provider.model.errors import BadInput
from dr_provider.model.problems import listed

if TYPE_CHECKING:
    from dr_provider.reconcile.reports.kept import Kept

__all__ = ["add"]

_VMS_IN_FULL = 12


def report(
    session: Session,
    plan: PlanArgument = None,
    which: Annotated[
        str | None, typer.Argument(metavar="REPORT", help="Which one (else the last).", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--list", help="All that are known, newest first.")] = False,
    history: Annotated[
        bool, typer.Option("--history", help="Over all moves and drills: each with its loss and time, and the trend.")
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", "-o", metavar="FILE", help="Write it as one self-contained page; - is stdout."),
    ] = None,
) -> None:
    """What the last move, drill or rehearsal of a plan came to: whether it worked, what was lost, how long it took, what is still to do.

    Reports are made at the end of each, and kept on this machine and on the arrays; so they can be read with the site dark that was left.

    \b
    dr report shop
    dr report shop --list
    dr report shop 20260302T091520-0421a2b3 --html move.html
    dr report shop --history --html history.html
    dr report shop --from embedded:.dr/west-a.db --json
    """
    spec = plan_named(session, plan, "report")
    if sum((which is not None, every, history)) > 1:
        raise BadInput("dr report: say one of REPORT, --list and --history; nothing was done")
    if every and html is not None:
        raise BadInput("dr report: --list is no page; say --history for one over all; nothing was done")
    if html is not None and str(html) == "-" and session.json:
        raise BadInput("dr report: stdout takes the page or the JSON, not both; nothing was done")
    if history:
        _history(session, spec.name, html)
        return
    if every:
        document = _listing(_kept(session, spec.name))
        session.emit(document, lambda paper: _show_list(paper, document))
        return
    document = _one(session, spec.name, which)
    if html is not None:
        from dr_provider.reconcile.reports.page import report_page

        _write(html, report_page(document))
    if str(html) != "-":
        session.emit(document, lambda paper: _show(paper, document, html))


def _kept(session: Session, plan: str) -> Kept:
    from dr_provider.reconcile.reports.kept import Kept

    world = session.world()
    return Kept(world.fleet, world.topology, world.look(), plan)


def _one(session: Session, plan: str, name: str | None) -> dict[str, Any]:
    from dr_provider.reconcile.reports.kept import read_file

    here = read_file(session.topology().name, plan, name) if name is not None else None
    if here is not None:
        return here  # no machine need be asked
    kept = _kept(session, plan)
    if not kept.reports:
        raise BadInput(
            f"dr report: plan {plan} has no report yet; one is made at the end of each move, drill and rehearsal{_silent(kept)}; nothing was done"
        )
    if name is not None and name not in kept.reports:
        raise BadInput(
            f"dr report: plan {plan} has no report {name!r}; the nearest: {', '.join(_near(name, list(kept.reports)))}{_silent(kept)}; nothing was done"
        )
    return kept.read(name or next(iter(kept.reports)))


def _near(name: str, known: list[str]) -> list[str]:
    """The most alike of those that there are, else the newest."""
    return difflib.get_close_matches(name[:80], known, n=3, cutoff=0.5) or known[:3]


def _silent(kept: Kept) -> str:
    if not kept.silent:
        return ""
    said = "does not answer" if len(kept.silent) == 1 else "do not answer"
    return f" ({listed(kept.silent)} {said}, and may know of more)"


def _write(file: Path, text: str) -> None:
    if str(file) == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    try:
        file.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise BadInput(f"dr report: {file} cannot be written ({error.strerror}); nothing was done") from error


# -- one ----------------------------------------------------------------------------------------------


def _show(paper: Paper, document: Mapping[str, Any], html: Path | None) -> None:
    well = document["result"] == "done"
    paper.line(document["headline"], "bold green" if well else "bold red")
    paper.pairs(
        [
            ("report", f"{document['report']}, {document['words']}, {ago(document['started'])}"),
            ("by", _by(document["by"])),
            ("the word", document["word"] or ""),
            ("loss", _against(document["loss"], "RPO")),
            ("time", _against(document["time"], "RTO")),
            ("recovery point", _point(document["point"])),
            ("whole run", span(document["seconds"])),
        ]
    )
    vms = document["vms"]
    listed = vms if len(vms) <= _VMS_IN_FULL else [vm for vm in vms if vm["outcome"] not in ("well", "runs")]
    if listed:
        paper.table(
            ("VM", "tier", "host", "", "attach", "start", "health", "down"),
            [
                (
                    vm["vm"],
                    str(vm["tier"]),
                    vm["host"] or "-",
                    vm["outcome"],
                    *("-" if vm[key] is None else span(vm[key]) for key in ("attachSeconds", "startSeconds", "healthSeconds", "downSeconds")),
                )
                for vm in listed
            ],
        )  # fmt: skip
    if len(listed) < len(vms):
        paper.line(f"{len(vms) - len(listed)} of {len(vms)} VMs are well (--json and --html list them all)", indent=2)
    for key, title, style in (
        ("failures", "What failed:", "red"),
        ("todo", "Still to do:", "yellow"),
        ("safety", "Safety copies:", ""),
    ):
        sentences = [s for s in document[key] if key != "todo" or s not in document["failures"]]
        if sentences:
            paper.line(title, style)
            paper.bullets(sentences)
    if document["resumed"]:
        paper.line(f"Went on with what {document['resumed']['by']} began at {document['resumed']['since']}.", indent=2)
    if html is not None:
        paper.line(f"Written to {html}.")


def _by(by: Mapping[str, Any]) -> str:
    approver = f", approved by {by['approver']}" if by.get("approverFrom") == "said" else ""
    approver = "" if approver in by["who"] else approver  # whoever runs for `dr ci apply` says so in its name
    actor = f", started in {by['forge']} by {by['actor']}" if by.get("actor") else ""
    run = f", {by['run']}" if by.get("run") else ""
    return f"{by['who']}{approver}{actor}{run}"


def _against(part: Mapping[str, Any], name: str) -> str:
    verdict = {"met": "met", "missed": "MISSED", "open": "open", "not known": "not known"}.get(part["verdict"])
    target = f" ({name} {span(part['target'])}: {verdict})" if part["target"] is not None and verdict else ""
    return f"{part['statement']}{target}"


def _point(point: Mapping[str, Any] | None) -> str:
    if point is None:
        return ""
    age = f", {span(point['ageSeconds'])} old" if point["ageSeconds"] else ""
    return f"{point['id']}{age}"


# -- all ----------------------------------------------------------------------------------------------


def _listing(kept: Kept) -> dict[str, Any]:
    return {
        "plan": kept.plan,
        "reports": [{**line, "at": kept.where(name)} for name, line in kept.reports.items()],
        "silent": kept.silent,
    }


def _show_list(paper: Paper, document: Mapping[str, Any]) -> None:
    rows = document["reports"]
    if not rows:
        paper.line(f"Plan {document['plan']} has no report yet.")
    else:
        paper.line(f"Reports of plan {document['plan']}:", "bold")
        paper.table(
            ("report", "when", "what", "result", "loss", "time", "kept"),
            [
                (
                    line["report"],
                    ago(str(line["started"]), short=True),
                    f"{line['kind']} {line['drill'] or ''}".strip()
                    + (f" {'to' if line['from'] else 'at'} {line['to']}" if line["to"] else ""),
                    str(line["result"]),
                    _figure(line["loss"]),
                    _figure(line["time"]),
                    ", ".join(line["at"]) or "summary only",
                )
                for line in rows
            ],
            whole=("report",),
        )
    if document["silent"]:
        paper.line(f"Does not answer, and may know of more: {', '.join(document['silent'])}.", "yellow")


def _figure(part: Mapping[str, Any]) -> str:
    seconds = part.get("seconds")
    if seconds is None:
        return "-"
    return f"{span(seconds)}{' MISSED' if part.get('verdict') == 'missed' else ''}"


def _history(session: Session, plan: str, html: Path | None) -> None:
    from dr_provider.reconcile.drills.evidence import drill_results
    from dr_provider.reconcile.history import history_document
    from dr_provider.reconcile.reports.kept import Kept
    from dr_provider.reconcile.reports.trends import trend_document

    world = session.world()
    kept = Kept(world.fleet, world.topology, world.look(), plan)
    view = world.view(plan)
    document = trend_document(
        view.spec, history_document(view), kept.reports.values(), kept.silent, drill_results(view)
    )
    if html is not None:
        from dr_provider.reconcile.reports.page import history_page

        _write(html, history_page(document))
    if str(html) != "-":
        session.emit(document, lambda paper: _show_history(paper, document, html))


def _show_history(paper: Paper, document: Mapping[str, Any], html: Path | None) -> None:
    rows = document["events"]
    paper.line(f"Plan {document['plan']}, {_targets(document)}:", "bold")
    paper.table(
        ("when", "what", "where", "epoch", "result", "loss", "time"),
        [
            (
                ago(row["time"], short=True),
                f"{row['kind']} {row['drill'] or ''}".strip(),
                _where(row),
                str(row["epoch"] or "-"),
                row["result"],
                _figure(row["loss"]),
                _figure(row["taken"]),
            )
            for row in rows
        ],
    )
    for kind, title in (("moves", "moves"), ("drills", "drills")):
        part = document[kind]
        if part["count"]:
            said = [f"{part['count']} {title if part['count'] != 1 else title[:-1]}, {part['well']} well"]
            said += (
                [
                    f"time: last {span(part['time']['last'])}, median {span(part['time']['median'])}, worst {span(part['time']['worst'])}"
                ]
                if part["time"]
                else []
            )
            said += [f"loss: worst {span(part['loss']['worst'])}"] if part["loss"] else []
            paper.line("; ".join(said), indent=2)  # fmt: skip
    last = document["lastDrill"]
    paper.line(f"last drill: {ago(last['time'])}, {last['result']}" if last else "last drill: none on record", indent=2)
    if document["silent"]:
        paper.line(f"Does not answer, and may know of more: {', '.join(document['silent'])}.", "yellow")
    if html is not None:
        paper.line(f"Written to {html}.")


def _where(row: Mapping[str, Any]) -> str:
    """A drill goes nowhere: it is at a site."""
    if row["from"] and row["to"]:
        return f"{row['from']} -> {row['to']}"
    return f"at {row['to']}" if row["to"] else "-"


def _targets(document: Mapping[str, Any]) -> str:
    said = [
        f"{name} {span(document[key])}" for name, key in (("RPO", "rpo"), ("RTO", "rto")) if document[key] is not None
    ]
    return " and ".join(said) or "no RPO and RTO declared"


def add(app: typer.Typer) -> None:
    command(app, panel="Look")(report)
