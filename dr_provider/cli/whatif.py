"""`dr whatif`: which VMs come back, where, and what is lost, if something were lost now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from dr_provider.cli.common import Session, command
from dr_provider.cli.paper import Paper, span
from dr_provider.model.errors import BadInput
from dr_provider.model.problems import listed
from dr_provider.model.units import counted

__all__ = ["add"]

_WHYS = 12
"""Reasons that are shown; --json lists them all."""


def whatif(
    session: Session,
    lose: Annotated[
        list[str] | None,
        typer.Option("--lose", metavar="WHAT", help="site:S, array:A, host:H or link:A/B; several are lost together."),
    ] = None,
    pairs: Annotated[bool, typer.Option("--pairs", help="Every two losses together, not each one alone.")] = False,
) -> int:
    """Which VMs come back where, with what loss and time, if something were lost now; and which do not, and why.

    Without --lose: each single loss in turn. It looks once, changes nothing, and asks the same decision as a real failover.
    Exit status 1: a VM would have no way back, or nothing can be said, since no plan was ever made.

    \b
    dr whatif
    dr whatif --lose site:east
    dr whatif --lose host:west-1 --lose link:east/west --json
    """
    if lose and pairs:
        raise BadInput(
            "dr whatif: --pairs goes through all losses, so --lose has no place beside it; nothing was looked at"
        )
    from dr_provider.reconcile.journal import estimate
    from dr_provider.reconcile.losses import every_loss, every_pair, parse_loss
    from dr_provider.reconcile.whatif import whatif as answer
    from dr_provider.reconcile.whatif import whatif_document

    topology = session.topology()
    asked = [tuple(parse_loss(topology, word) for word in dict.fromkeys(lose))] if lose else []
    chosen = asked or list(every_pair(topology) if pairs else every_loss(topology))
    seen = session.world().look()
    cases = [
        answer(topology, seen, lost, estimate=lambda plan, actions: estimate(topology.name, plan, actions))
        for lost in chosen
    ]
    document = whatif_document(topology, seen, cases)
    well = not document["withoutAWayBack"] and not _says_nothing(document)
    if not well:
        document["error"] = _closing(document)
    session.emit(document, lambda paper: _show(paper, document, in_full=bool(lose)))
    return 0 if well else 1


def _show(paper: Paper, document: Mapping[str, Any], *, in_full: bool) -> None:
    if document["silent"]:
        paper.line("Silent already, and so lost in every answer below:", "yellow")
        paper.bullets(document["silent"].values(), "yellow")
    if in_full:
        for case in document["cases"]:
            paper.line(f"Without {', '.join(case['lose'])}:", "bold")
            for plan in case["plans"]:
                _plan(paper, plan)
    else:
        rows = [
            (" + ".join(case["lose"]), plan["plan"], *_row(plan))
            for case in document["cases"]
            for plan in case["plans"]
        ]
        paper.table(("lost", "plan", "VMs", "what happens", "loss", "takes", "needs"), rows)
        _whys(paper, document)
    paper.line()
    paper.line(_closing(document), "bold red" if "error" in document else "green")


def _row(plan: Mapping[str, Any]) -> tuple[str, ...]:
    vms = plan["vms"]
    back = sum(vm["state"] in ("runs", "restarted", "restored") for vm in vms)
    what = {
        "goes on": f"goes on at {plan['site']}",
        "restart": f"restart at {plan['site']}",
        "failover": f"failover to {plan['site']}",
        "lost": "NO WAY BACK",
        "not made": "was never made",
    }[plan["outcome"]]
    moved = plan["outcome"] in ("restart", "failover")
    return (
        f"{back} of {len(vms)}" if vms else "-",
        what,
        _loss(plan) if moved else "-",
        span(plan["estimateSeconds"]) if moved else "-",
        _needs(plan) if moved else "-",
    )


def _loss(plan: Mapping[str, Any]) -> str:
    seconds = plan["loss"]["seconds"]
    return "not known" if seconds is None else "none" if seconds == 0 else span(seconds)


def _time(plan: Mapping[str, Any]) -> str:
    seconds = plan["estimateSeconds"]
    return f"about {span(seconds)}" if seconds is not None else "not known"


def _needs(plan: Mapping[str, Any]) -> str:
    return {"": "nobody", "command": "a command", "wait": "waiting for the guard", "word": "your word"}[plan["needs"]]


def _plan(paper: Paper, plan: Mapping[str, Any]) -> None:
    back, what, *_ = _row(plan)
    lost = [vm for vm in plan["vms"] if vm["state"] == "lost"]
    paper.line(f"{plan['plan']}: {what}, {back} VMs run", "bold red" if lost else "bold green", indent=2)
    if plan["outcome"] in ("restart", "failover"):
        paper.pairs(
            [
                ("loss", plan["loss"]["statement"]),
                ("recovery point", plan["point"] or ""),
                ("time", _time(plan)),
                ("needs", _needs(plan)),
                ("command", plan["command"] if plan["needs"] else ""),
            ],
            indent=4,
        )
    paper.bullets(plan["notes"], "yellow", indent=4)
    shown = [vm for vm in plan["vms"] if vm["state"] != "lost"]
    if shown:
        paper.table(
            ("VM", "", "site", "host"),
            [(vm["vm"], vm["state"], vm["site"] or "-", vm["host"] or "-") for vm in shown],
            indent=4,
        )
    by_why: dict[str, list[str]] = {}
    for vm in lost:
        by_why.setdefault(vm["why"], []).append(vm["vm"])
    paper.bullets((f"no way back for {listed(vms)}: {why}" for why, vms in by_why.items()), "red", indent=4)


def _whys(paper: Paper, document: Mapping[str, Any]) -> None:
    """Why VMs have no way back, each sentence once, with the losses that it is about; and what goes on without a copy."""
    whys: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for case in document["cases"]:
        name = " + ".join(case["lose"])
        for plan in case["plans"]:
            for vm in (vm for vm in plan["vms"] if vm["state"] == "lost"):
                losses, vms = whys.setdefault(vm["why"], ({}, {}))
                losses[name] = vms[vm["vm"]] = None
            for note in plan["notes"] if plan["outcome"] != "not made" else ():
                whys.setdefault(note, ({}, {}))[0][name] = None
    if whys:
        paper.line()
    for number, (why, (losses, vms)) in enumerate(whys.items()):
        if number == _WHYS:
            paper.line(f"and {len(whys) - _WHYS} more (--json lists them all)", indent=4)
            break
        more = f" and {len(losses) - 2} more" if len(losses) > 2 else ""
        what = f"no way back for {listed(vms)}: " if vms else ""
        paper.bullets([f"{', '.join(list(losses)[:2])}{more}: {what}{why}"], "red" if vms else "yellow")


def _says_nothing(document: Mapping[str, Any]) -> bool:
    """Whether no plan was ever made: that nothing is lost then must not pass for a way back."""
    outcomes = {plan["outcome"] for case in document["cases"] for plan in case["plans"]}
    return outcomes == {"not made"}


def _closing(document: Mapping[str, Any]) -> str:
    looked = f"topology {document['topology']}: {counted(len(document['cases']), 'loss', 'losses')} looked at"
    if not document["withoutAWayBack"]:
        fates = [plan for case in document["cases"] for plan in case["plans"]]
        unmade = dict.fromkeys(plan["plan"] for plan in fates if plan["outcome"] == "not made")
        if not unmade:
            return f"{looked}; every VM has a way back."
        never = f"{listed(unmade)} {'was' if len(unmade) == 1 else 'were'} never made"
        if _says_nothing(document):
            return f"{looked}, which says nothing yet: {never} (dr apply, or pulumi up)."
        return f"{looked}; every VM that is made has a way back; {never}."
    count = Counter(each["vm"] for each in document["withoutAWayBack"])
    worst = {" + ".join(each["lose"]) for each in document["withoutAWayBack"]}
    vms = f"{counted(len(count), 'VM')} {'has' if len(count) == 1 else 'have'}"
    return f"{looked}; {vms} no way back from {len(worst)} of them: {', '.join(sorted(count)[:8])}{' ...' if len(count) > 8 else ''}."


def add(app: typer.Typer) -> None:
    command(app, panel="Look")(whatif)
