"""The report's own sentences: what was decided and by whom, what is still to do, and the whole in one line. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dr_provider.model.topology import PlanSpec
from dr_provider.model.units import span
from dr_provider.reconcile.reports.facts import WELL, WORDS, Facts
from dr_provider.reconcile.reports.timeline import Step

__all__ = ["decisions", "headline", "todo"]


def decisions(facts: Facts, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """What people decided, and what stood for proof: {"what", "who", "said"}."""
    way = f" from {facts.from_site}" if facts.from_site else ""
    way += f" to {facts.to_site}" if facts.to_site else ""
    found: list[dict[str, Any]] = [
        {"what": "asked for", "who": facts.by, "said": f"{WORDS.get(facts.kind, facts.kind)}{way}"}
    ]
    by = facts.initiator
    if by.get("approver") and by.get("approverFrom") == "said":
        found.append({"what": "approved", "who": by["approver"], "said": by.get("run") or "as the run was told"})
    if by.get("actor"):
        found.append({"what": "started in CI", "who": by["actor"], "said": by.get("run") or by.get("forge") or ""})
    if facts.wish:
        found.append({"what": "point chosen", "who": facts.by, "said": facts.wish})
    if facts.word:
        found.append({"what": "operator's word", "who": facts.by, "said": facts.word})
    found += [{"what": "proof", "who": "dr", "said": said} for said in _proof(facts, steps)]
    found += [
        {"what": s.verb, "who": "dr", "said": f"{s.sentence}: {s.detail}" if s.detail else s.sentence}
        for s in steps
        if s.verb in ("prompt", "answer")
    ]
    return found


def _proof(facts: Facts, steps: Sequence[Step]) -> list[str]:
    said = [part for s in steps if s.verb == "prove" and s.detail for part in s.detail.split("; ")]
    if said or not facts.proof:
        return list(dict.fromkeys(said))
    return [f"proved to be stopped: {', '.join(facts.proof)}"]


def todo(spec: PlanSpec, facts: Facts) -> list[str]:
    """What a person still has to look at or do, the most pressing first."""
    status, claim = facts.status, facts.status.get("claim")
    said: list[str] = []
    if facts.result == "called off":
        said += [f"find out why the move did not come off, before it is tried again: {s}" for s in facts.error[:-1]]
    elif facts.error:
        said.append(facts.error[-1])  # what stands is said last
    said += [s for s in facts.failures if s not in said]
    said += [s for s in status.get("degraded") or () if s not in said and not _said_before(s, said)]
    if facts.kind not in ("drill", "beside", "rehearsal"):
        said += _silence_in_short(spec, status.get("warnings") or ())
        if claim and not facts.error:
            said.append(f"a move to {claim['site']} is still open: finish it by the same command, or call it off")
    if facts.safety:
        copies = "1 safety copy holds" if len(facts.safety) == 1 else f"{len(facts.safety)} safety copies hold"
        said.append(
            f"{copies} what was overwritten: look whether anything in it is needed, then let it go (dr safety list, dr safety drop)"
        )
    return list(dict.fromkeys(said))


def _silence_in_short(spec: PlanSpec, warnings: Sequence[str]) -> list[str]:
    """The warnings of a status, with one line for a dark site instead of one for each of its machines."""
    dark = {site: [s for s in warnings if s.startswith(f"{site}: ")] for site in spec.sites}
    short = {site: mine for site, mine in dark.items() if len(mine) > 1}
    said = [
        f"{site}: {len(mine)} of its arrays and hosts are silent; once they answer, dr protect {spec.name} brings the site back in line"
        for site, mine in short.items()
    ]
    return said + [s for s in warnings if not any(s in mine for mine in short.values())]


def _said_before(sentence: str, said: Sequence[str]) -> bool:
    """Whether a sentence on a VM repeats what is there: "VM db is off on west-1" beside the reason why."""
    head = sentence.partition(" is ")[0]
    return head.startswith("VM ") and any(f"{head} " in other or f"{head}:" in other for other in said)


def headline(document: Mapping[str, Any]) -> str:
    """The whole in one sentence."""
    plan, kind, result = document["plan"], document["kind"], document["result"]
    vms = document["vms"]
    up = sum(vm["outcome"] in WELL for vm in vms)
    ran = f"all {len(vms)} VMs run" if up == len(vms) else f"{up} of {len(vms)} VMs run"
    ran = "its VM runs" if len(vms) == 1 == up else ran
    took = span(document["time"]["seconds"] if document["time"]["seconds"] is not None else document["seconds"])
    match result, kind:
        case "refused", _:
            return f"Plan {plan}: the {document['words']} was refused; nothing was changed."
        case "called off", _:
            return f"Plan {plan}: the move to {document['to']} was called off; {ran} at {document['activeSite'] or document['from']}."
        case "stopped", _:
            return f"Plan {plan}: the {document['words']} was stopped at a safe action after {took}; {ran}."
        case "failed", _:
            return f"Plan {plan}: the {document['words']} failed after {took}; {ran}."
        case _, "drill" | "beside" | "rehearsal":
            name = f" {document['drill']}" if document.get("drill") else ""
            return f"Plan {plan}: {document['words']}{name} at {document['to']}: {ran} after {took}."
        case _, "abort":
            return f"Plan {plan}: the move was called off; {ran} at {document['activeSite']}."
        case _, "planned" | "disaster" | "resolve" | "rollback":
            lost = document["loss"]["seconds"]
            what = (
                "nothing was lost"
                if lost == 0
                else "loss not known"
                if lost is None
                else f"{span(lost)} of writes lost"
            )
            return f"Plan {plan} runs at {document['to']}: {ran} after {took}; {what}."
    return f"Plan {plan}: {document['words']}: {ran} after {took}."
