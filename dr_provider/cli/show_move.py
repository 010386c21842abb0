"""A decision before it is run, and what stands after it, for people. All of it from the documents that `--json` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dr_provider.cli.paper import Paper, span
from dr_provider.cli.show_status import show_vms

__all__ = ["KINDS", "decision", "outcome", "stands", "way"]

KINDS = {
    "none": "nothing to do",
    "create": "making the plan",
    "planned": "a planned move",
    "disaster": "a move after a disaster",
    "repair": "a repair",
    "abort": "calling the move off",
    "resolve": "keeping one side of a split",
    "rollback": "going back to the side as it was left",
    "drill": "a drill",
}
_ON_ONE_SCREEN = 40


def decision(paper: Paper, document: Mapping[str, Any], *, whole: bool) -> None:
    """What is about to happen. `whole`: every action, however many there are."""
    refused, actions = document["refused"], document["actions"]
    where = way(document["from"], document.get("to"))
    kind = "refused" if refused else KINDS.get(document["kind"], document["kind"])
    if refused and document["kind"] != "none":
        kind = f"{KINDS.get(document['kind'], document['kind'])}, refused"
    paper.line(f"Plan {document['plan']}: {kind}{where}", "bold red" if refused else "bold")
    if actions and document["kind"] in ("planned", "disaster", "resolve", "rollback"):
        paper.pairs(
            [
                ("recovery point", document["point"] or _no_point(document)),
                ("expected loss", document["loss"]["statement"]),
                ("estimated time", _estimate(document.get("estimateSeconds"))),
            ]
        )
    for number, action in enumerate(actions, 1):
        if number > _ON_ONE_SCREEN and not whole:
            more = len(actions) - _ON_ONE_SCREEN
            paper.line(f"and {more} more actions (--dry-run lists them all)", indent=6)
            break
        paper.line(action["sentence"], indent=2, lead=f"{number:>3}. ")
    addresses(paper, document, whole=whole)
    if refused:
        paper.line("Refused, nothing was done:", "bold red")
        for sentence in refused:
            paper.refusal(sentence)
    elif not actions:
        paper.line("Nothing to do.")
    # A refusal has given its reasons; a warning that repeats one of them only pushes the line to add off the screen.
    reasons = " ".join(refused)
    remarks(
        paper,
        {
            **document,
            "warnings": [w for w in document["warnings"] if w.partition(": ")[2] not in reasons or not refused],
        },
    )


def way(origin: str | None, target: str | None) -> str:
    """The end of a title: from where to where, or just where, if nothing is left."""
    if target is None:
        return ""
    return f", at {target}" if origin in (None, target) else f", {origin} -> {target}"


def addresses(paper: Paper, document: Mapping[str, Any], *, whole: bool) -> None:
    """What changes for those who talk to the VMs: cards as they will be, and where DNS names have to point."""
    cards = [card for card in document.get("addresses", ()) if card["changed"]]
    if cards:
        paper.line("Addresses after it:", "bold")
        shown = cards if whole else cards[:_ON_ONE_SCREEN]
        paper.table(
            ["VM", "network", "before", "after"],
            [[card["vm"], card["network"], _card(card["before"]), _card(card["after"])] for card in shown],
        )
        _more(paper, len(cards) - len(shown), "cards")
    names = [name for name in document.get("names", ()) if name["before"] != name["after"] or name["byDhcp"]]
    if names:
        paper.line("DNS names to point elsewhere:", "bold")
        shown = names if whole else names[:_ON_ONE_SCREEN]
        after = {True: "what DHCP gives it"}
        paper.table(
            ["name", "VM", "before", "after"],
            [[n["name"], n["vm"], n["before"] or "-", after.get(n["byDhcp"], n["after"] or "none")] for n in shown],
        )
        _more(paper, len(names) - len(shown), "names")


def _card(card: Mapping[str, Any] | None) -> str:
    if card is None:
        return "-"
    parts = [card["address"] or "DHCP", f"via {card['gateway']}" if card["gateway"] else ""]
    parts += [f"DNS {' '.join(card['dns'])}" if card["dns"] else ""]
    return " ".join(part for part in parts if part)


def _more(paper: Paper, count: int, what: str) -> None:
    if count > 0:
        paper.line(f"and {count} more {what} (--dry-run lists them all)", indent=2)


def _no_point(document: Mapping[str, Any]) -> str:
    return (
        "a final one, taken in this move" if document["kind"] == "planned" or document["loss"]["seconds"] == 0 else ""
    )


def _estimate(seconds: float | None) -> str:
    return "not known yet (no earlier run to go by)" if seconds is None else f"about {span(seconds)}"


def remarks(paper: Paper, document: Mapping[str, Any]) -> None:
    for key, title in (("warnings", "Warnings:"), ("degraded", "Degraded:"), ("notes", "Notes:")):
        if document.get(key):
            paper.line(title, "yellow" if key != "notes" else "")
            paper.bullets(document[key])


def outcome(paper: Paper, document: Mapping[str, Any]) -> None:
    """How a run ended and what stands now. The document is an Outcome's, or one with `error` or `stopped` in their place."""
    plan, status = document["plan"], document.get("status")
    if document.get("refused"):
        paper.line(f"Plan {plan}: refused:", "bold red")
        for sentence in document["refused"]:
            paper.refusal(sentence)
    elif document.get("reasons"):
        paper.line(f"Plan {plan}:", "bold red")
        paper.bullets(document["reasons"], "red")
    elif document.get("error"):
        paper.line(f"Plan {plan}: {str(document['error']).removeprefix(f'plan {plan}: ')}", "bold red")
    failures = document.get("failures") or []
    if failures:
        paper.line(f"Plan {plan}: not all of it succeeded:", "bold red")
        paper.bullets(failures, "red")
    if isinstance(status, Mapping):
        stands(paper, plan, status)
    facts = []
    if not document.get("error") and document.get("kind") in (
        "planned",
        "disaster",
        "resolve",
        "rollback",
        "abort",
        "create",
    ):
        facts = [
            ("recovery point", document.get("point") or ""),
            ("loss", document["loss"]["statement"] if document["kind"] in ("planned", "disaster", "rollback") else ""),
        ]
    if document.get("seconds") is not None:
        facts.append(("time taken", span(document["seconds"])))
    if document.get("report"):
        facts.append(("report", document["report"]))
    paper.pairs(facts)
    if document.get("safety"):
        paper.line("Safety copies, kept until dr safety drop:", indent=2)
        paper.bullets(document["safety"], indent=4)
    said = {*failures, *(status.get("degraded", ()) if isinstance(status, Mapping) else ())}
    rest = {key: [s for s in document.get(key) or () if s not in said] for key in ("warnings", "degraded")}
    remarks(paper, {**rest, "notes": [*(document.get("notes") or ()), *(document.get("remarks") or ())]})


def stands(paper: Paper, plan: str, status: Mapping[str, Any]) -> None:
    """Where a plan is now, out of its part of the status document."""
    site = status.get("activeSite")
    where = f"is active at {site}, epoch {status['epoch']}" if site else "is not made yet"
    protected = "protected" if status.get("protected") else "not protected"
    paper.line(f"Plan {plan} {where} ({status['phase']}, {protected}).", "bold")
    show_vms(paper, status.get("vms", {}))
    if status.get("degraded"):
        paper.line("Degraded:", "yellow", indent=2)
        paper.bullets(status["degraded"], indent=4)
