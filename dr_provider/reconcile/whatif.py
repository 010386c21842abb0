"""What would become of each VM if something were lost: the decisions of a failover, taken over an observation from which it is left out. Pure.

Invariants:
1. Nothing is decided here: each answer is what `decide` says of a restart in the site or of a move, as it would on that day.
2. Plans share what is left: those that come later get the room that those before them leave.
3. A VM counts as brought back only where a step of a decision starts it; everything else is a VM without a way back, with the sentence why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dr_provider.model.errors import DrError, Refused
from dr_provider.model.problems import listed
from dr_provider.model.state import HostState, Observation, Reservation, Silent
from dr_provider.model.topology import Topology
from dr_provider.reconcile.decide import decide
from dr_provider.reconcile.decision import Action, Decision, Loss, Want
from dr_provider.reconcile.losses import Lost, without
from dr_provider.reconcile.placement import reservation_tag
from dr_provider.reconcile.targets import choose_target
from dr_provider.reconcile.view import PlanView, plan_view

__all__ = ["Case", "PlanFate", "VmFate", "whatif", "whatif_document"]

Estimate = Callable[[str, Sequence[Action]], float | None]
"""Seconds that the actions of a plan have taken so far, None where nobody knows."""


_NOTHING = Loss(0.0, "nothing is lost")


@dataclass(frozen=True)
class VmFate:
    """`state`: "runs" (not touched by the loss), "restarted" (on another host of its site), "restored" (at another site), "lost" (no way back),
    or "down" (it does not run now either, and the loss does not touch it). `why`: of the last two; `hit`: what the loss takes from it."""

    vm: str
    state: str
    site: str | None = None
    host: str | None = None
    why: str = ""
    hit: str = ""


@dataclass(frozen=True)
class PlanFate:
    """`outcome`: "goes on", "restart", "failover", "lost" or "not made". `needs`: "" (nobody: the next run does it), "command", "wait" (for a
    guard) or "word". `command`: what an operator would type. `seconds`: how long it takes, None where nothing of the kind was measured."""

    plan: str
    outcome: str
    site: str | None
    vms: tuple[VmFate, ...]
    point: str | None = None
    loss: Loss = _NOTHING
    needs: str = ""
    command: str = ""
    seconds: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def lost(self) -> tuple[VmFate, ...]:
        return tuple(vm for vm in self.vms if vm.state == "lost")


@dataclass(frozen=True)
class Case:
    """One answer: what is lost, and what becomes of each plan."""

    lost: tuple[Lost, ...]
    plans: tuple[PlanFate, ...] = field(default=())

    @property
    def name(self) -> str:
        return " ".join(str(each) for each in self.lost)


def whatif(
    topology: Topology, seen: Observation, lost: Sequence[Lost], *, estimate: Estimate = lambda _plan, _actions: None
) -> Case:
    """What becomes of every plan of the topology. Never raises for what a plan cannot do: that is its answer."""
    after = without(topology, seen, lost)
    fates = []
    for plan in topology.plans:
        try:
            fate = _fate(plan_view(topology, plan, seen), plan_view(topology, plan, after), estimate)
        except DrError as error:
            whole = tuple(VmFate(vm, "lost", why=_flat(error)) for vm in topology.plans[plan].members)
            fate = PlanFate(plan, "lost", None, whole)
        fates.append(fate)
        after = _kept(topology, after, fate)
    return Case(tuple(lost), tuple(fates))


def _flat(error: Exception) -> str:
    return "; ".join(str(error).splitlines())


def _kept(topology: Topology, seen: Observation, fate: PlanFate) -> Observation:
    """The observation with the room taken that the plan's VMs need where they are brought back."""
    hosts = dict(seen.hosts)
    for vm in fate.vms:
        state = hosts.get(vm.host) if vm.host is not None else None
        if vm.host is None or vm.state not in ("restarted", "restored") or not isinstance(state, HostState):
            continue
        spec = topology.vms[vm.vm].there(topology.hosts[vm.host].site)
        kept = Reservation(reservation_tag(topology.name, fate.plan), vm.vm, spec.cpus, spec.memory)
        hosts[vm.host] = replace(state, reservations=(*state.reservations, kept))
    return replace(seen, hosts=hosts)


# -- a plan ---------------------------------------------------------------------------------------


def _fate(before: PlanView, after: PlanView, estimate: Estimate) -> PlanFate:
    plan = before.spec.name
    if before.epoch is None and not before.may_know:
        said = f"plan {plan} was never made, so nothing of it can be lost"
        return PlanFate(plan, "not made", None, (), notes=(said,))
    site = before.active or ""
    hit = _hit(before, after, site)
    if not hit and before.epoch is not None:
        return PlanFate(plan, "goes on", site, _untouched(before, after, site, ()), notes=_unprotected(after, site))
    ways = [
        way
        for way in (_restarted(before, after, site, hit, estimate), _moved(before, after, site, hit, estimate))
        if way
    ]
    # The first of the best: a restart before a move, which takes everything along.
    return min(ways, key=lambda fate: len(fate.lost))


def _hit(before: PlanView, after: PlanView, site: str) -> dict[str, str]:
    """VMs that the loss takes their host or their disks from, with what it was."""
    found = {}
    for vm in before.vms:
        at = before.place(vm.name, site) if site else None
        arrays = {a for v in vm.volumes() if (a := before.topology.copy_at(v, site)) is not None} if site else set()
        gone = sorted(a for a in arrays if before.seen.array(a) is not None and after.seen.array(a) is None)
        if gone:
            found[vm.name] = f"its disks are on {listed(gone)}"
        elif at is not None and at.running and after.seen.host(at.host) is None:
            found[vm.name] = f"it runs on {at.host}"
        elif at is None and _unseen(before, site):
            found[vm.name] = f"nothing of {site or 'its site'} is seen now either"
    return found


def _unseen(view: PlanView, site: str) -> bool:
    """Whether the plan's own site is dark already, so that every VM of it waits for a way back."""
    return (
        not site
        or bool(view.silent_arrays(site))
        or all(view.seen.host(h.name) is None for h in view.topology.plan_hosts(view.spec.name, site))
    )


def _untouched(before: PlanView, after: PlanView, site: str, brought: Iterable[str]) -> tuple[VmFate, ...]:
    """VMs but those that are brought back, as they are and stay."""
    known = set(brought)
    fates = []
    for vm in before.spec.members:
        if vm in known:
            continue
        at = after.place(vm, site)
        if at is not None and after.runs_at(at):
            fates.append(VmFate(vm, "runs", site, at.host))
        else:
            state = f"it is {at.state.state} on {at.host}" if at is not None else f"no answering host of {site} has it"
            fates.append(
                VmFate(vm, "down", site, at.host if at else None, f"VM {vm}: it does not run now either ({state})")
            )
    return tuple(fates)


def _unprotected(after: PlanView, site: str) -> tuple[str, ...]:
    """Sentences on volumes that nothing is sent of any more."""
    reached = {other: [v for v in after.volume_names if after.way(v, site, other)] for other in after.others(site)}
    without_any = [v for v in after.volume_names if not any(v in names for names in reached.values())]
    if not without_any:
        return ()
    what = (
        "none of its volumes"
        if len(without_any) == len(after.volume_names)
        else f"not its volumes {listed(without_any)}"
    )
    return (
        f"plan {after.spec.name} goes on at {site}, and {what} reaches another site: what is written from then on has no copy",
    )


def _restarted(
    before: PlanView, after: PlanView, site: str, hit: Mapping[str, str], estimate: Estimate
) -> PlanFate | None:
    """A restart in the site; None where it is no way, since the arrays there are lost."""
    plan = before.spec.name
    if not site or after.silent_arrays(site) or before.epoch is None:
        return None
    want = Want(goal="restart")
    needs, command = ("" if after.spec.restart == "in-site" else "command"), f"dr restart {plan}"
    decision = decide(after, want)
    spoken = decide(after, replace(want, word=_word(before)))
    if _starts(spoken).keys() > _starts(decision).keys():
        decision, needs, command = spoken, "word", _forced(command, before)
    return _answer(
        before, after, decision, hit, estimate, outcome="restart", state="restarted", site=site, needs=needs, command=command,
    )  # fmt: skip


def _word(view: PlanView) -> str:
    return f"{view.epoch.number if view.epoch else 0}: what if"


def _forced(command: str, view: PlanView) -> str:
    return f'{command} --force "{view.epoch.number if view.epoch else 0}: REASON"'


def _starts(decision: Decision) -> dict[str, str]:
    """Host by VM that a decision starts."""
    return {action.of["vm"]: action.of["host"] for action in decision.actions if action.verb == "start"}


def _moved(before: PlanView, after: PlanView, site: str, hit: Mapping[str, str], estimate: Estimate) -> PlanFate:
    """A move to the best site that is left."""
    plan = before.spec.name
    if all(after.seen.array(array) is None for array in after.topology.plan_arrays(plan)):
        arrays = listed(after.topology.plan_arrays(plan))
        return _no_way(before, after, site, hit, (f"no copy of plan {plan}'s volumes is left: {arrays} are silent",))
    try:
        target = choose_target(after).site
    except Refused as refused:
        return _no_way(before, after, site, hit, refused.reasons)
    needs, command = "command", f"dr failover {plan} --to {target}"
    decision = decide(after, Want(site=target))
    if decision.refused:
        spoken = decide(after, Want(site=target, word=_word(after)))
        if spoken.refused:
            return _no_way(before, after, site, hit, spoken.refused)
        decision, needs, command = spoken, "word", _forced(command, after)
    if any(action.verb == "wait-fence" for action in decision.actions):
        needs = "wait"
    everything = dict.fromkeys(before.spec.members, "") | dict(hit)
    return _answer(
        before, after, decision, everything, estimate, outcome="failover", state="restored", site=target, needs=needs, command=command,
    )  # fmt: skip


def _no_way(before: PlanView, after: PlanView, site: str, hit: Mapping[str, str], reasons: Iterable[str]) -> PlanFate:
    said = "; ".join(reasons)
    lost = tuple(VmFate(vm, "lost", why=said, hit=what) for vm, what in hit.items())
    return PlanFate(before.spec.name, "lost", None, (*lost, *_untouched(before, after, site, hit)))


def _answer(
    before: PlanView,
    after: PlanView,
    decision: Decision,
    concerned: Mapping[str, str],
    estimate: Estimate,
    *,
    outcome: str,
    state: str,
    site: str,
    needs: str,
    command: str,
) -> PlanFate:
    """What a decision does for the VMs that it concerns."""
    started = _starts(decision)
    said = (*decision.refused, *decision.degraded, *decision.warnings)
    fates = []
    for vm in concerned:
        there = after.place(vm, site)
        if vm in started:
            fates.append(VmFate(vm, state, site, started[vm], hit=concerned[vm]))
        elif there is not None and after.runs_at(there):
            fates.append(VmFate(vm, "runs", site, there.host))
        else:
            fates.append(VmFate(vm, "lost", why=_why(vm, said), hit=concerned[vm]))
    rest = _untouched(before, after, site, concerned) if state == "restarted" else ()
    lost = outcome == "restart" and all(fate.state == "lost" for fate in fates)
    return PlanFate(
        before.spec.name, "lost" if lost else outcome, None if lost else site, _in_order(before, (*fates, *rest)), decision.point,
        decision.loss if outcome == "failover" else Loss(0.0, "nothing that reached a disk is lost"),
        needs, command, _seconds(before, after, decision, estimate), decision.notes,
    )  # fmt: skip


def _seconds(before: PlanView, after: PlanView, decision: Decision, estimate: Estimate) -> float | None:
    """With the budget for finding out that something is silent, which comes once."""
    seconds = estimate(before.spec.name, decision.actions)
    budget = after.topology.source_budget if after.seen != before.seen else 0.0
    return None if seconds is None else seconds + budget


def _in_order(view: PlanView, fates: Iterable[VmFate]) -> tuple[VmFate, ...]:
    by_vm = {fate.vm: fate for fate in fates}
    return tuple(by_vm[vm] for vm in view.spec.members if vm in by_vm)


def _why(vm: str, said: Sequence[str]) -> str:
    """The sentence that names the VM, else what stands in the way of all."""
    named = re.compile(rf"(?<![\w.-]){re.escape(vm)}(?![\w.-])")
    own = next((sentence for sentence in said if named.search(sentence)), None)
    return own or next(iter(said), f"VM {vm}: no step of the decision starts it")


# -- for machines ---------------------------------------------------------------------------------


def whatif_document(topology: Topology, seen: Observation, cases: Sequence[Case]) -> dict[str, Any]:
    """The shape of `dr whatif --json`."""
    silent = {
        f"{kind} {name}": state.reason
        for kind, states in (("array", seen.arrays), ("host", seen.hosts))
        for name, state in states.items()
        if isinstance(state, Silent)
    }
    return {
        "topology": topology.name,
        "time": seen.time,
        "silent": silent,
        "cases": [
            {"lose": [str(each) for each in case.lost], "plans": [_plan(fate) for fate in case.plans]} for case in cases
        ],
        "withoutAWayBack": [
            {"lose": [str(each) for each in case.lost], "plan": fate.plan, "vm": vm.vm, "why": vm.why}
            for case in cases
            for fate in case.plans
            for vm in fate.lost
        ],
    }


def _plan(fate: PlanFate) -> dict[str, Any]:
    return {
        "plan": fate.plan,
        "outcome": fate.outcome,
        "site": fate.site,
        "point": fate.point,
        "loss": {"seconds": fate.loss.seconds, "statement": fate.loss.statement},
        "estimateSeconds": fate.seconds,
        "needs": fate.needs,
        "command": fate.command,
        "notes": list(fate.notes),
        "vms": [
            {"vm": vm.vm, "state": vm.state, "site": vm.site, "host": vm.host, "hit": vm.hit, "why": vm.why}
            for vm in fate.vms
        ],
    }
