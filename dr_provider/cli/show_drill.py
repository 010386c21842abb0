"""`dr drill` for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dr_provider.cli.paper import Paper, ago, brief, span
from dr_provider.model import keys
from dr_provider.model.drills import what_went
from dr_provider.model.units import counted

__all__ = ["ended", "history", "listing", "outcome", "outcomes"]

_VMS_IN_FULL = 20
_KINDS = {"asked": "", "scheduled": "scheduled", "beside": "one VM, dr restore --as"}


def outcome(paper: Paper, document: Mapping[str, Any], *, stays: bool) -> None:
    """One drill: its VMs by tier, what was measured, and what stands now."""
    name, plan = document["drill"], document["plan"]
    old = span(float(round(document["rpoSeconds"])))
    paper.line(f"Drill {name} of plan {plan} at {document['site']}, from {document['point']}, {old} old then:", "bold")
    vms = document["vms"]
    shown = vms if len(vms) <= _VMS_IN_FULL else {vm: at for vm, at in vms.items() if not at["well"]}
    if shown:
        paper.table(
            ("tier", "VM", "host", "", "after", "checks"),
            [
                (str(at["tier"]), vm, at["host"] or "-", "well" if at["well"] else "NOT WELL",
                 "-" if at["seconds"] is None else span(at["seconds"]), _checks(at["checks"]))
                for vm, at in shown.items()
            ],
        )  # fmt: skip
    well = sum(at["well"] for at in vms.values())
    wanted = document["wanted"]
    measured = (
        f"RTO {span(document['rtoSeconds'])}{_against(wanted['rtoSeconds'])}, RPO {old}{_against(wanted['rpoSeconds'])}"
    )
    are = "is" if well == 1 else "are"
    paper.line(
        f"{well} of {counted(len(vms), 'VM')} {are} well. {measured}.", "green" if document["ok"] else "bold red"
    )
    paper.bullets(document["failures"], "red")
    paper.bullets(document["notes"], "yellow")
    _stands(paper, document, stays=stays)
    if document.get("report"):
        paper.line(f"report: {document['report']}")


def _stands(paper: Paper, document: Mapping[str, Any], *, stays: bool) -> None:
    name, plan = document["drill"], document["plan"]
    end = f"dr drill end {plan} {name} ends it"
    if stays:
        until = (
            f"until {document['expires']}; {end} before"
            if document["expires"]
            else f"until {end.removesuffix(' ends it')}"
        )
        paper.line(f"It stays up {until}.")
    elif document["left"]:
        _left(paper, plan, name, document["left"])
    elif document["ended"]:
        paper.line(f"It is ended, and nothing of it is left but what it showed (dr drill history {plan}).")


def _left(paper: Paper, plan: str, name: str, left: Sequence[str]) -> None:
    paper.line("It is not ended whole. Left:", "yellow")
    paper.bullets(left, "yellow")
    paper.line(f"The next dr protect that can removes it; so does dr drill end {plan} {name}.", "yellow")


def outcomes(paper: Paper, documents: Sequence[Mapping[str, Any]], *, stays: bool) -> None:
    for number, document in enumerate(documents):
        if number:
            paper.line()
        if "point" in document:
            outcome(paper, document, stays=stays)
        else:
            paper.line(f"Drill {document['drill']} was not run:", "bold red")
            paper.bullets(document["failures"], "red")


def _against(wanted: float | None) -> str:
    return "" if wanted is None else f" (wanted: {span(wanted)})"


def _checks(checks: Sequence[Mapping[str, Any]]) -> str:
    said = []
    for check in checks:
        word = check["detail"] if check["check"] == "data" else check["check"]
        said.append(word if check["well"] or check["check"] == "data" else f"{word} FAILED")
    return ", ".join(said) or "-"


def listing(paper: Paper, document: Mapping[str, Any]) -> None:
    rows = document["drills"]
    if rows:
        paper.table(
            ("drill", "plan", "at", "point", "age", "expires", "VMs", "by"),
            [
                (row["drill"], row["plan"], row["site"] or "?", row["point"] or "?", "?" if row["since"] is None else brief(row["ageSeconds"]),
                 _expires(row, document["time"]), _vms(row["vms"]), _by(row))
                for row in rows
            ],
            whole=("drill", "plan", "point"),
        )  # fmt: skip
    else:
        paper.line("No drill is open." if not document["silent"] else "No drill is known to what answers.")
    paper.bullets((f"{reason}; drills there are not known" for reason in document["silent"].values()), "yellow")


def _by(row: Mapping[str, Any]) -> str:
    kind = _KINDS.get(row["kind"] or "asked", "")
    return f"{row['by'] or '?'}{f' ({kind})' if kind else ''}"


def _expires(row: Mapping[str, Any], now: str) -> str:
    if row["ending"]:
        return "is being ended"
    if row["expired"]:
        return "has expired"
    return f"in {brief((keys.at(row['expires']) - keys.at(now)).total_seconds())}" if row["expires"] else "-"


def _vms(vms: Mapping[str, Mapping[str, str]]) -> str:
    return f"{sum(vm['state'] == 'running' for vm in vms.values())} of {len(vms)} run"


def history(paper: Paper, document: Mapping[str, Any]) -> None:
    plan, rows = document["plan"], document["drills"]
    if not rows:
        paper.line(f"Plan {plan} was never drilled, as far as what answers knows; dr drill start {plan}")
    else:
        paper.line(f"Drills of plan {plan}:", "bold")
        paper.table(
            ("when", "drill", "at", "point", "RPO", "RTO", "", "by"),
            [
                (ago(row["time"], short=True), row["drill"], row["site"], row["point"], span(float(round(row["rpoSeconds"]))),
                 "-" if row["rtoSeconds"] is None else span(row["rtoSeconds"]), "well" if row["ok"] else "failed", _by(row))
                for row in rows
            ],
            whole=("drill", "point"),
        )  # fmt: skip
        paper.bullets(f"{row['drill']}: {sentence}" for row in rows for sentence in row["failures"])
    if document["changedSince"]:
        paper.line("The plan has changed since the last drill: it needs another.", "yellow")
    if document["due"]:
        paper.line(f"The next is due at {document['due']}.{' It is OVERDUE.' if document['overdue'] else ''}")
    paper.bullets(document["silent"].values(), "yellow")


def ended(paper: Paper, documents: Sequence[Mapping[str, Any]], *, silent: Mapping[str, str]) -> None:
    if not documents and silent:
        paper.line("What answers knows no such drill; silent, and may know one:", "yellow")
        paper.bullets(silent.values(), "yellow")
    elif not documents:
        paper.line("There was no such drill.")
    for document in documents:
        drill, plan = document["drill"], document["plan"]
        if document["left"]:
            paper.line(f"Drill {drill} of plan {plan}: {what_went(document['removed'])} removed.")
            _left(paper, plan, drill, document["left"])
        else:
            paper.line(f"Drill {drill} of plan {plan} is ended: {what_went(document['removed'])} removed.")
