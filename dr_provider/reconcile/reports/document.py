"""The report of one run as a document (JSON, docs/cli.md): what was done, what was lost, how long it took, and what is still to do. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dr_provider.model import keys
from dr_provider.model.remap import card_at
from dr_provider.model.topology import PlanSpec, Topology
from dr_provider.model.units import span
from dr_provider.reconcile.reports.facts import MOVES, WELL, WORDS, Facts
from dr_provider.reconcile.reports.sentences import decisions, headline, todo
from dr_provider.reconcile.reports.timeline import Step, bars, phases, steps_of
from dr_provider.reconcile.steps import tier_of

__all__ = ["VERSION", "compose", "summary"]

VERSION = 1


def compose(topology: Topology, spec: PlanSpec, facts: Facts) -> dict[str, Any]:
    """The document. Times are RFC 3339 in UTC; `begin` and all that is drawn count seconds from `started`."""
    steps = steps_of(facts.lines)
    status = facts.status
    vms = _vms(topology, spec, facts, steps)
    time = _time(spec, facts, vms)
    loss = _loss(spec, facts)
    document: dict[str, Any] = {
        "version": VERSION,
        "report": facts.id,
        "topology": topology.name,
        "plan": spec.name,
        "kind": facts.kind,
        "words": WORDS.get(facts.kind, facts.kind),
        "result": facts.result,
        "headline": "",
        "from": facts.from_site,
        "to": facts.to_site,
        "activeSite": status.get("activeSite"),
        "epoch": status.get("epoch"),
        "phase": status.get("phase"),
        "protected": status.get("protected"),
        "started": facts.started,
        "ended": facts.ended,
        "seconds": round(facts.seconds, 3),
        "estimateSeconds": facts.estimate,
        "by": {"who": facts.by, "stack": facts.stack or None, **facts.initiator},
        "committed": facts.moved,
        "word": facts.word,
        "decisions": decisions(facts, steps),
        "point": _point(facts),
        "loss": loss,
        "time": time,
        "tiers": [
            {"tier": number, "members": list(tier.members), "after": None if tier.after is None else list(tier.after), "onFailure": tier.on_failure}
            for number, tier in enumerate(spec.tiers, 1)
        ],
        "vms": vms,
        "phases": phases(steps),
        "commit": next((s.begin for s in steps if s.verb == "commit" and s.outcome == "done"), None),
        "steps": [step.document() for step in steps],
        "callouts": [{**step.document(), "output": step.output} for step in steps if step.phase == "callout"],
        "todo": todo(spec, facts),
        "failures": list(dict.fromkeys((*facts.error, *facts.failures))),
        "safety": list(facts.safety),
        "degraded": list(status.get("degraded") or ()),
        "warnings": list(dict.fromkeys((*facts.warnings, *(status.get("warnings") or ())))),
        "remarks": list(facts.remarks),
        "notes": list(facts.notes),
        "resumed": {"since": facts.since, "by": facts.resumed_by} if facts.since else None,
        "journal": facts.journal,
        **facts.extra,
    }  # fmt: skip
    document["headline"] = headline(document)
    return document


def summary(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a list and the history show of a report: one that is small, and stays when the report itself has made room for newer ones."""
    names = (
        "report",
        "topology",
        "plan",
        "kind",
        "words",
        "result",
        "headline",
        "from",
        "to",
        "epoch",
        "started",
        "ended",
        "seconds",
        "committed",
    )
    found = {name: document.get(name) for name in names}
    for part in ("loss", "time"):
        value = document.get(part) or {}
        found[part] = {name: value.get(name) for name in ("seconds", "target", "verdict")}
    vms = document.get("vms") or []
    found["vms"] = {"all": len(vms), "well": sum(vm.get("outcome") in WELL for vm in vms)}
    found["drill"] = document.get("drill")
    found["by"] = (document.get("by") or {}).get("who")
    return found


# -- the parts ----------------------------------------------------------------------------------------


def _vms(topology: Topology, spec: PlanSpec, facts: Facts, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """A row each, in tier order. `outcome`: well (started by this run, or looked at, and well), runs (this run had nothing to do for it), failed,
    waits (what it waits for failed), off, unknown."""
    at = facts.vms if facts.vms is not None else facts.status.get("vms") or {}
    rows = []
    for vm in spec.members:
        mine = [step for step in steps if step.vm == vm]
        if facts.vms is not None and vm not in at and not mine:
            continue
        known = at.get(vm) or {}
        outcome, sentence = _outcome(vm, known, mine)
        health = topology.vms[vm].health
        rows.append(
            {
                "vm": vm,
                "tier": tier_of(spec, vm) + 1,
                "site": known.get("site"),
                "host": known.get("host"),
                "addresses": _addresses(topology, vm, known.get("site"), drill=facts.kind in ("drill", "beside")),
                "state": known.get("state") or "unknown",
                "outcome": outcome,
                "sentence": sentence,
                "health": None if health is None else f"TCP port {health.tcp}" if health.tcp else "guest agent",
                "stopSeconds": _spent(mine, "stop"),
                "attachSeconds": _spent(mine, "attach"),
                "startSeconds": _spent(mine, "start"),
                "healthSeconds": _spent(mine, "health"),
                "downSeconds": _down(mine),
                "upAt": max((s.end for s in mine if s.verb in ("start", "check") and s.outcome == "done" and s.end is not None), default=None),
                "bars": [bar for step in mine for bar in bars(step)],
            }
        )  # fmt: skip
    return rows


def _addresses(topology: Topology, vm: str, site: str | None, *, drill: bool) -> list[str]:
    """Where the VM's cards are to be found at the site, in their order."""
    cards = [
        card_at(topology.networks[nic.network], nic, site, drill=drill)
        for nic in topology.vms[vm].nics
        if site is not None
    ]
    return [card.ip or "by DHCP" for card in cards if card is not None]


def _outcome(vm: str, known: Mapping[str, Any], mine: Sequence[Step]) -> tuple[str, str]:
    where = f" on {known['host']}" if known.get("host") else ""
    last = next((s for s in reversed(mine) if s.verb in ("start", "check", "attach")), None)
    running = known.get("state") == "running"
    if last is not None and last.outcome == "failed":
        return "failed", last.detail or f"{last.sentence}: failed"
    if last is not None and last.outcome == "skipped":
        return "waits", f"it waits: {last.detail}"
    if known.get("why"):
        return "failed", str(known["why"])
    if last is not None and last.outcome == "done" and last.verb in ("start", "check"):
        said = f": {last.detail}" if last.detail else ""
        return "well", f"runs{where}{said}"
    if running:
        return "runs", f"runs{where}, and was left running"
    state = str(known.get("state") or "unknown")
    return ("unknown" if state == "unknown" else "off"), f"is {state}{where}"


def _spent(mine: Sequence[Step], phase: str) -> float | None:
    parts = [bar["seconds"] for step in mine for bar in bars(step) if bar["phase"] == phase]
    return round(sum(parts), 3) if parts else None


def _down(mine: Sequence[Step]) -> float | None:
    """From the order to stop to the end of the start: what a user of the VM was without."""
    stop = next((s.begin for s in mine if s.verb == "stop"), None)
    up = next((s.end for s in reversed(mine) if s.verb == "start" and s.outcome == "done"), None)
    return None if stop is None or up is None or up < stop else round(up - stop, 3)


def _time(spec: PlanSpec, facts: Facts, vms: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Until the last VM was well, against the RTO. It counts from when the move was first asked for, also where an earlier run began it."""
    begun, early = facts.started, 0.0
    if facts.since is not None and facts.kind not in ("drill", "beside"):
        begun = facts.since
        early = max(0.0, (keys.at(facts.started) - keys.at(facts.since)).total_seconds())
    up = [vm["upAt"] for vm in vms if vm["upAt"] is not None]
    seconds = round(early + (max(up) if up else facts.seconds), 3)
    missing = [vm["vm"] for vm in vms if vm["outcome"] not in WELL]
    target = spec.rto
    verdict: str
    if facts.result in ("called off", "refused") or facts.kind == "abort":
        # The VMs are where they were: there is no recovery to be measured.
        verdict, seconds_said = "none", None
        back = f", after {span(seconds)}" if up else ""
        statement = f"{_count(missing)} not up" if missing else f"the VMs run where they were{back}"
    elif facts.kind in MOVES and not facts.moved:
        verdict, seconds_said = "open", None
        statement = f"the plan was not moved; the run took {span(facts.seconds)}"
    elif missing:
        verdict = "missed" if target is not None and early + facts.seconds > target else "open"
        seconds_said = None
        statement = f"{_count(missing)} not up at the end of the run, after {span(early + facts.seconds)}"
    else:
        verdict = "none" if target is None else "met" if seconds <= target else "missed"
        seconds_said, statement = seconds, f"all VMs were up after {span(seconds)}"
    counted = f", counted from {facts.since}, when an earlier run began it" if early else ""
    return {
        "seconds": seconds_said,
        "since": begun,
        "before": round(early, 3),
        "target": target,
        "verdict": verdict,
        "statement": statement + counted,
        "notUp": missing,
    }


def _count(vms: Sequence[str]) -> str:
    return f"1 VM ({vms[0]}) is" if len(vms) == 1 else f"{len(vms)} VMs are"


def _loss(spec: PlanSpec, facts: Facts) -> dict[str, Any]:
    """What was given up, against the RPO. Nothing is lost of a move that did not commit: the source is what counts still."""
    seconds, statement = facts.loss_seconds, facts.loss_statement
    if facts.result in ("called off", "refused") or facts.kind == "abort":
        seconds, statement = 0.0, "nothing was given up: the source goes on as it was"
    elif facts.kind in MOVES and not facts.moved:
        seconds, statement = None, "nothing was given up yet: the move is not committed"
    if facts.kind in (*MOVES, "abort") and not facts.moved:
        verdict = "none" if seconds is not None else "open"
    elif seconds is None:
        verdict = "not known"
    else:
        verdict = "none" if spec.rpo is None else "met" if seconds <= spec.rpo else "missed"
    return {
        "seconds": None if seconds is None else round(seconds, 3),
        "statement": statement,
        "target": spec.rpo,
        "verdict": verdict,
    }


def _point(facts: Facts) -> dict[str, Any] | None:
    if facts.point is None:
        return None
    age = None
    if facts.point_time is not None:
        # A final snapshot is taken in the move itself: it has no age.
        age = round(max(0.0, (keys.at(facts.started) - keys.at(facts.point_time)).total_seconds()), 3)
    return {"id": facts.point, "time": facts.point_time, "ageSeconds": age, "asked": facts.wish}
