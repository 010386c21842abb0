"""`dr status`, `dr points` and `dr history` for people: one screen, what is wrong first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dr_provider.cli.paper import Paper, ago, span

__all__ = ["history", "points", "show_vms", "status"]

_VMS_IN_FULL = 12
_MIRRORS_IN_FULL = 8
_SENTENCES_IN_FULL = 6


def status(paper: Paper, document: Mapping[str, Any]) -> None:
    """The status document of SPEC.md."""
    plans = document["plans"]
    if not plans:
        paper.line("The topology has no plan.")
    for number, (name, plan) in enumerate(plans.items()):
        if number:
            paper.line()
        _plan(paper, name, plan, alone=len(plans) == 1)
    shown = [plan for plan in plans.values() if plan["activeSite"] is not None]
    said = [sentence for plan in shown for sentence in (*plan["degraded"], *plan.get("warnings", ()))]
    # What a plan's warnings have said of a silent party is not said again.
    silent = [r for r in document.get("silent", {}).values() if not any(r in sentence for sentence in said)]
    if silent:
        paper.line()
        paper.line("Silent:", "yellow")
        _some(paper, silent)


def _some(paper: Paper, sentences: Sequence[str]) -> None:
    """What is wrong, as far as a screen has room for it."""
    paper.bullets(sentences[:_SENTENCES_IN_FULL], "yellow", indent=2)
    if len(sentences) > _SENTENCES_IN_FULL:
        paper.line(f"and {len(sentences) - _SENTENCES_IN_FULL} more (--json lists them all)", indent=4)


def _plan(paper: Paper, name: str, plan: Mapping[str, Any], *, alone: bool) -> None:
    well = plan["phase"] == "steady" and plan["protected"] and not plan["degraded"]
    site = plan["activeSite"]
    where = f"active at {site} since epoch {plan['epoch']}" if site else "not known to what answers"
    protected = "protected" if plan["protected"] else "NOT PROTECTED"
    paper.line(f"{name}: {where}, {plan['phase']}, {protected}", "bold green" if well else "bold yellow")
    if site is None:
        # Nothing is known of it: its VMs and mirrors would be a page of dashes.
        paper.bullets(plan["degraded"], "yellow", indent=2)
        return
    point = plan["recoveryPoint"]
    paper.pairs([("recovery point", f"{point['id']}, {ago(point['time'])}" if point else "none")])
    for asked in plan.get("prompts", []):
        paper.line(f"waits for an answer, prompt {asked['prompt']}: {asked['text']}", "bold yellow", indent=2)
        left = f"nobody has by {asked['until']}: {asked['default']}"
        paper.line(f"{asked['answer']}; {left}", indent=4)
    _some(paper, plan["degraded"])
    _some(paper, plan.get("warnings", []))
    show_vms(paper, plan["vms"], most=_VMS_IN_FULL if alone else _VMS_IN_FULL // 2)
    _mirrors(paper, plan["mirrors"])


def show_vms(paper: Paper, vms: Mapping[str, Mapping[str, Any]], *, most: int = _VMS_IN_FULL) -> None:
    """Each VM and where it is; of many, only those that do not run, and a count of the rest by host."""
    listed = vms
    if len(vms) > most:
        running = Counter(f"{vm['host']} ({vm['site']})" for vm in vms.values() if vm["state"] == "running")
        if running:
            total = sum(running.values())
            by_host = ", ".join(f"{count} on {host}" for host, count in sorted(running.items()))
            paper.line(f"{total} of {len(vms)} VMs run: {by_host}", indent=2)
        listed = {name: vm for name, vm in vms.items() if vm["state"] != "running"}
        if len(listed) > most:
            states = Counter(str(vm["state"]) for vm in listed.values())
            said = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
            paper.line(f"the others: {said} (--json lists them all)", "yellow", indent=2)
            listed = {}
    if listed:
        paper.table(
            ("VM", "site", "host", "state"),
            [(name, vm["site"] or "-", vm["host"] or "-", vm["state"]) for name, vm in listed.items()],
        )


def _mirrors(paper: Paper, mirrors: Sequence[Mapping[str, Any]]) -> None:
    if not mirrors:
        return
    listed = mirrors
    if len(mirrors) > _MIRRORS_IN_FULL:
        good = [mirror for mirror in mirrors if mirror["state"] == "synced"]
        if good:
            lags = [mirror["lagSeconds"] for mirror in good if mirror["lagSeconds"] is not None]
            worst = f", the oldest {span(max(lags))} behind" if lags else ""
            paper.line(f"{len(good)} of {len(mirrors)} mirrors synced{worst}", indent=2)
        listed = [mirror for mirror in mirrors if mirror["state"] != "synced"][:_MIRRORS_IN_FULL]
    if listed:
        paper.table(
            ("mirror", "from", "to", "state", "lag"),
            [
                (
                    m["volume"],
                    m["from"] or "-",
                    m["to"] or "-",
                    m["state"],
                    "-" if m["lagSeconds"] is None else span(m["lagSeconds"]),
                )
                for m in listed
            ],
        )


def points(paper: Paper, document: Mapping[str, Any]) -> None:
    """The recovery points of a plan, newest first, a line each with the sites that hold it whole."""
    rows = document["points"]
    if not rows:
        paper.line(f"Plan {document['plan']} has no recovery point yet; dr protect {document['plan']} --now makes one.")
        return
    paper.line(f"Recovery points of plan {document['plan']}:", "bold")
    paper.table(
        ("point", "age", "level", "holds", "whole at", "kept for"),
        [
            (
                p["id"],
                span(float(round(p["ageSeconds"]))),
                p["level"] or "not sealed",
                _content(p),
                _whole_at(p),
                _kept_for(p),
            )
            for p in rows
        ],
    )
    paper.bullets(document["silent"].values(), "yellow")


def history(paper: Paper, document: Mapping[str, Any]) -> None:
    """The epochs of a plan, newest first; what is to be read in full stands below them."""
    rows = document["epochs"]
    if not rows:
        paper.line(f"Plan {document['plan']} was never made, as far as what answers knows.")
    else:
        paper.line(f"Plan {document['plan']}, active at {document['activeSite']}:", "bold")
        paper.table(
            ("epoch", "when", "what", "from", "to", "by", "lost"),
            [
                (
                    str(e["epoch"]),
                    ago(e["time"]),
                    e["kind"] if e["state"] == "committed" else f"{e['kind']}, called off",
                    e["from"] or "-",
                    e["to"],
                    e["by"],
                    _lost(e),
                )
                for e in rows
            ],
        )
        paper.bullets(f"epoch {e['epoch']}, the word: {e['word']}" for e in rows if e["word"])
        paper.bullets(
            f"epoch {e['epoch']}: {e['loss']['statement']}"
            for e in rows
            if e["loss"]["seconds"] != 0 and e["loss"]["statement"]
        )
    going = document["underWay"]
    if going is not None:
        what = "being called off" if going["aborting"] else "under way"
        paper.line(
            f"A {going['kind']} from {going['from']} to {going['to']} is {what}: epoch {going['epoch']}, claimed {ago(going['time'])} by {going['by']}.",
            "yellow",
        )
    paper.bullets(document["silent"].values(), "yellow")


def _lost(epoch: Mapping[str, Any]) -> str:
    seconds = epoch["loss"]["seconds"]
    if epoch["state"] != "committed" or epoch["from"] is None or seconds == 0:
        return "-"
    return span(seconds)


def _content(point: Mapping[str, Any]) -> str:
    vms, volumes = len(point["vms"]), len(point["volumes"])
    return f"{vms} VM{'s' if vms != 1 else ''}, {volumes} volume{'s' if volumes != 1 else ''}"


def _whole_at(point: Mapping[str, Any]) -> str:
    said = [site for site, at in point["sites"].items() if at["complete"]]
    said += [f"{site} CORRUPT ({', '.join(at['corrupt'])})" for site, at in point["sites"].items() if at["corrupt"]]
    return ", ".join(said) or "nowhere"


def _kept_for(point: Mapping[str, Any]) -> str:
    """Why it is not pruned; a hold's name goes on with what it is for (`common.west-a....`), which only --json shows."""
    return ", ".join(sorted({hold.partition(".")[0] for at in point["sites"].values() for hold in at["holds"]})) or "-"
