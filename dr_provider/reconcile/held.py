"""VMs that cannot be started now hold up those that wait for them, and nobody else. Pure.

A VM is waited for by those whose `after` names it, or by the next tier; where its own tier says `onFailure: continue` nobody waits.
"""

from __future__ import annotations

from collections.abc import Mapping

from dr_provider.reconcile.steps import Steps, started_before, tier_of
from dr_provider.reconcile.view import PlanView

__all__ = ["check_running", "hold_up"]


def hold_up(view: PlanView, hosts: Mapping[str, str], unable: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Of the VMs that have a host, those that wait for none of `unable` (VMs that cannot be started, with a sentence why), and a sentence for
    each of the others: what it waits for."""
    spec = view.spec
    going, said = dict(hosts), []
    holding = {vm for vm in unable if _counts(view, vm)}
    for vm in spec.members:
        waits = [other for other in started_before(spec, vm) if other in holding]
        if vm not in going or not waits:
            continue
        del going[vm]
        said.append(f"VM {vm} is not started: it waits for {', '.join(waits)}")
        if _counts(view, vm):
            holding.add(vm)
    return going, said


def _counts(view: PlanView, vm: str) -> bool:
    """Whether others wait for the VM: it is its own tier that says."""
    return view.spec.tiers[tier_of(view.spec, vm)].on_failure != "continue"


def check_running(view: PlanView, vm: str, hosts: Mapping[str, str], steps: Steps, wait: list[str]) -> list[str]:
    """See that those are well that run already and that the VM waits for: an earlier run may have started them and found that they are not.
    Ids, of steps that are there already too."""
    site = view.topology.hosts[hosts[vm]].site
    ids = []
    for other in started_before(view.spec, vm):
        at = view.place(other, site)
        if other in hosts or at is None or not view.runs_at(at) or not _counts(view, other):
            continue
        if view.topology.vms[other].health is None:
            continue
        known = [action.id for action in steps.actions if action.verb == "check" and action.of["vm"] == other]
        sentence = f"see that VM {other} on {at.host} is well, which others wait for"
        ids += known or [steps.add("check", other, sentence, after=wait, group="start", vm=other, host=at.host)]
    return ids
