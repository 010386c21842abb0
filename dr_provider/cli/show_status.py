"""`dr status`, `dr points` and `dr history` for people: one screen, what is wrong first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from dr_provider.cli.paper import Paper, ago, span
from dr_provider.model.units import counted

__all__ = ["history", "points", "show_vms", "status"]

_VMS_IN_FULL = 12
_MIRRORS_IN_FULL = 8
_SENTENCES_IN_FULL = 6
_ITEMS_IN_FULL = 4
_NOBODY_SAID = ("backend", "repository")
_LEADS = {"problem": "not ready", "warning": "note"}
_STYLES = {"problem": "red", "warning": ""}


def status(paper: Paper, document: Mapping[str, Any], *, everything: bool = False) -> None:
    """The status document of SPEC.md: of several plans a line each, and what is wrong; of one all of it. `everything`: the items of
    readiness that are well, too."""
    plans = document["plans"]
    if not plans:
        paper.line("The topology has no plan.")
    elif len(plans) == 1 or everything:
        for number, (name, plan) in enumerate(plans.items()):
            if number:
                paper.line()
            _plan(paper, name, plan, alone=len(plans) == 1, everything=everything)
    else:
        _overview(paper, plans)
    shown = [plan for plan in plans.values() if plan["activeSite"] is not None and (len(plans) == 1 or everything)]
    said = [sentence for plan in shown for sentence in (*plan["degraded"], *plan.get("warnings", ()))]
    # What a plan's warnings have said of a silent party is not said again.
    silent = [r for r in document.get("silent", {}).values() if not any(r in sentence for sentence in said)]
    if silent:
        paper.line()
        paper.line("Silent:", "yellow")
        _some(paper, silent)


def _some(paper: Paper, sentences: Sequence[str], style: str = "yellow") -> None:
    """What is wrong, as far as a screen has room for it."""
    paper.bullets(sentences[:_SENTENCES_IN_FULL], style, indent=2)
    if len(sentences) > _SENTENCES_IN_FULL:
        paper.line(f"and {len(sentences) - _SENTENCES_IN_FULL} more (--json lists them all)", indent=4)


# -- several plans --------------------------------------------------------------------------------------


def _overview(paper: Paper, plans: Mapping[str, Mapping[str, Any]]) -> None:
    rows = [_row(name, plan) for name, plan in plans.items()]
    paper.table(("plan", "runs at", "epoch", "phase", "VMs", "lag", "drilled", "ready"), rows, indent=0)
    # The worst of every plan before the second of any.
    wrong = [[f"{name}: {sentence}" for sentence in _wrong(plan)] for name, plan in plans.items()]
    lines = [line for turn in zip_longest(*wrong) for line in turn if line is not None]
    if lines:
        paper.line()
        _some(paper, lines)
        paper.line("dr status PLAN says all of one plan.", indent=2)


def _row(name: str, plan: Mapping[str, Any]) -> tuple[str, ...]:
    run = sum(vm["state"] == "running" for vm in plan["vms"].values())
    unknown = sum(vm["state"] == "unknown" for vm in plan["vms"].values())
    return (
        name,
        plan["activeSite"] or ("never made" if _unmade(plan) else "not known"),
        str(plan["epoch"]),
        plan["phase"],
        f"{run}/{len(plan['vms'])}" + (f", {unknown} ?" if unknown else ""),
        _lag(plan),
        _drilled(plan),
        _READY[plan["ready"]],
    )


def _drilled(plan: Mapping[str, Any]) -> str:
    """How long ago in one unit, and whether it was well: a column has no room for more."""
    last = plan["lastDrill"]
    if last is None:
        return _never(plan)
    return ago(last["time"], short=True) if last["ok"] else "FAILED"


def _never(plan: Mapping[str, Any]) -> str:
    """Of a plan of which no drill is known: who would know of one may be silent."""
    dark = any(item["level"] == "unknown" and item["check"] in ("made", "drill") for item in plan["readiness"])
    return "not known" if dark else "never"


def _unmade(plan: Mapping[str, Any]) -> bool:
    """Whether everybody who may know of the plan says that it was never made."""
    return any(item["level"] == "problem" and item["check"] == "made" for item in plan["readiness"])


_READY = {True: "yes", False: "NO", None: "not known"}


def _wrong(plan: Mapping[str, Any]) -> list[str]:
    """What keeps a plan from being well: what does not run, then what would keep it from moving."""
    asked = [f"waits for an answer, prompt {p['prompt']}: {p['text']} ({p['answer']})" for p in plan.get("prompts", [])]
    return [*asked, *plan["degraded"], *(_item(item) for item in _worst(plan) if item["level"] == "problem")]


def _worst(plan: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The items that are not ok, worst first; what nobody has said is no fault."""
    order = ("problem", "unknown", "warning")
    items = [i for i in plan["readiness"] if i["level"] in order]
    said = [i for i in items if i["level"] != "unknown" or i["check"] not in _NOBODY_SAID]
    return sorted(said, key=lambda item: order.index(item["level"]))


def _item(item: Mapping[str, Any]) -> str:
    return f"{item['found']} {item['todo']}".rstrip()


# -- one plan ---------------------------------------------------------------------------------------------


def _plan(paper: Paper, name: str, plan: Mapping[str, Any], *, alone: bool, everything: bool) -> None:
    well = plan["phase"] == "steady" and plan["protected"] and not plan["degraded"] and plan["ready"]
    site = plan["activeSite"]
    if site is None:
        # Nothing is known of it: its VMs and mirrors would be a page of dashes.
        paper.line(f"{name}: {'never made' if _unmade(plan) else 'not known to what answers'}", "bold yellow")
        paper.bullets(plan["degraded"], "yellow", indent=2)
        return
    protected = "protected" if plan["protected"] else "NOT PROTECTED"
    ready = {True: "ready", False: "NOT READY", None: "readiness not known"}[plan["ready"]]
    where = f"active at {site} since epoch {plan['epoch']}"
    paper.line(f"{name}: {where}, {plan['phase']}, {protected}, {ready}", "bold green" if well else "bold yellow")
    point = plan["recoveryPoint"]
    paper.pairs(
        [
            ("recovery point", f"{point['id']}, {ago(point['time'])}" if point else "none"),
            ("lag", f"{_lag(plan)} ({span(plan['rpoSeconds'])} allowed)"),
            ("last drill", _last_drill(plan)),
            ("drills up", ", ".join(f"{drill} at {at['site']}" for drill, at in plan.get("drills", {}).items())),
        ]
    )
    for asked in plan.get("prompts", []):
        _prompt(paper, asked)
    _some(paper, plan["degraded"])
    _some(paper, plan.get("warnings", []))
    _readiness(paper, name, plan, everything=everything)
    show_vms(paper, plan["vms"], most=_VMS_IN_FULL if alone else _VMS_IN_FULL // 2)
    _mirrors(paper, plan["mirrors"])


def _prompt(paper: Paper, asked: Mapping[str, Any]) -> None:
    paper.line(f"waits for an answer, prompt {asked['prompt']}: {asked['text']}", "bold yellow", indent=2)
    left = f"nobody has by {asked['until']}: {asked['default']}"
    if not asked["waits"]:
        left = "no run waits for it now: the next one hears what was answered, or asks again"
    paper.line(f"{asked['answer']}; {left}", indent=4)
    if (said := asked["answered"]) is not None:
        why = f": {said['note']}" if said["note"] else ""
        paper.line(f"answered {ago(said['time'])}: {said['answer']}, said {said['by']}{why}", indent=4)


def _lag(plan: Mapping[str, Any]) -> str:
    lag = plan["lagSeconds"]
    return "not known" if lag is None else span(float(round(lag)))


def _last_drill(plan: Mapping[str, Any]) -> str:
    last = plan["lastDrill"]
    if last is None:
        return _never(plan)
    changed = ", before the plan was changed" if last["changedSince"] else ""
    return f"{ago(last['time'])} at {last['site']}, {'well' if last['ok'] else 'FAILED'}{changed}"


def _readiness(paper: Paper, name: str, plan: Mapping[str, Any], *, everything: bool) -> None:
    if everything:
        rows = [(item["level"], item["check"], _item(item)) for item in plan["readiness"]]
        paper.table(("", "check", "found, and what to do"), rows)
        return
    worst = _worst(plan)
    unknown = dict.fromkeys(item["check"] for item in worst if item["level"] == "unknown")
    # A drill that failed or is overdue stands among the plan's warnings.
    told = [i for i in worst if i["level"] != "unknown" and not (i["check"] == "drill" and _warned_of_drill(plan))]
    for item in told[:_ITEMS_IN_FULL]:
        paper.line(_item(item), _STYLES[item["level"]], indent=2, lead=f"{_LEADS[item['level']]}: ")
    if unknown:
        # Why stands above: who is silent.
        paper.line(f"not known: {', '.join(unknown)} (silent)", "yellow", indent=2)
    if len(told) > _ITEMS_IN_FULL:
        paper.line(f"and {len(told) - _ITEMS_IN_FULL} more; dr status {name} -v lists every item", indent=4)


def _warned_of_drill(plan: Mapping[str, Any]) -> bool:
    return any("drill" in sentence for sentence in plan.get("warnings", ()))


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
    plan, rows, silent = document["plan"], document["points"], document.get("silent", {})
    if rows:
        paper.line(f"Recovery points of plan {plan}:", "bold")
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
            whole=("point",),
        )
    elif silent:
        paper.line(f"Nothing that answers knows a recovery point of plan {plan}; silent, and may hold some:")
    elif document["activeSite"] is None:
        paper.line(f"Plan {plan} was never made (dr apply, or pulumi up).")
    else:
        paper.line(f"Plan {plan} has no recovery point yet; dr protect {plan} --now makes one.")
    paper.bullets(silent.values(), "yellow")


def history(paper: Paper, document: Mapping[str, Any]) -> None:
    """The epochs of a plan, newest first; what is to be read in full stands below them."""
    rows = document["epochs"]
    if not rows and document["silent"]:
        paper.line(f"Nothing that answers knows plan {document['plan']}; silent, and may know it:")
    elif not rows:
        paper.line(f"Plan {document['plan']} was never made (dr apply, or pulumi up).")
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
    return f"{counted(vms, 'VM')}, {counted(volumes, 'volume')}"


def _whole_at(point: Mapping[str, Any]) -> str:
    said = [site for site, at in point["sites"].items() if at["complete"]]
    said += [f"{site} CORRUPT ({', '.join(at['corrupt'])})" for site, at in point["sites"].items() if at["corrupt"]]
    return ", ".join(said) or "nowhere"


def _kept_for(point: Mapping[str, Any]) -> str:
    """Why it is not pruned; a hold's name goes on with what it is for (`common.west-a....`), which only --json shows."""
    return ", ".join(sorted({hold.partition(".")[0] for at in point["sites"].values() for hold in at["holds"]})) or "-"
