"""What happens on failover, in the order in which it happens. Pure: (plan, what is wanted, one observation) -> actions, or why not.

Invariants:
1. Nothing moves while the past is not clear: a split, another's open claim, or a stack that has not declared anything new.
2. The claim comes first, before anything is stopped or unmapped; the commit comes after all breaks and scans have succeeded, and just
   before the first VM starts. In between the move can be called off.
3. Nothing is broken before the source is proved to be stopped (its hypervisors say that the VMs are off, or its arrays have the LUNs
   unmapped) or an operator has given the word. Silence proves nothing.
4. All volumes of a plan are broken at one recovery point; what a destination holds beyond it is kept first.
5. The list of actions depends on states only, never on times, lags or bytes: asked twice, it answers the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dr_provider.model import keys
from dr_provider.model.records import Claim, Epoch
from dr_provider.protection.catalogue import RecoveryPoint, choose_point, newest
from dr_provider.reconcile.aside import decide_abort, decide_create, decide_resolve
from dr_provider.reconcile.copies import standing
from dr_provider.reconcile.decision import Decision, Loss, Want
from dr_provider.reconcile.placement import place
from dr_provider.reconcile.repair import add_starts, decide_repair, fence_mapped, restore_copies, stop_stale
from dr_provider.reconcile.source import Source, look_at_source
from dr_provider.reconcile.steps import Steps, started_before
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.word import Word, ask_for_word, parse_word

__all__ = ["decide"]


def decide(view: PlanView, want: Want) -> Decision:
    """The one entry. Raises BadInput where the operator's word or the chosen point is wrong."""
    plan, epoch, claim = view.spec.name, view.epoch, view.claim
    word = parse_word(plan, want.word)
    if want.goal == "abort":
        return decide_abort(view, want)
    if want.goal == "resolve":
        return decide_resolve(view, want)
    if view.split is not None:
        return _split(view)
    if epoch is None:
        return decide_create(view, want)
    if claim is not None:
        return _under_way(view, want, claim, epoch, word)
    notes = _word_notes(plan, word, epoch, moving=want.site not in (None, epoch.site))
    if want.site is None or want.site == epoch.site:
        decision = decide_repair(view, want)
    elif (reason := _not_meant(view, want, epoch, word)) is not None:
        base = decide_repair(view, replace(want, site=None))
        decision = replace(base, kind="none", actions=(), warnings=(reason, *base.warnings), exit_bad=True)
    else:
        decision = _move(view, want, epoch, word)
    return replace(decision, notes=(*notes, *decision.notes))


# -- what stands in the way ---------------------------------------------------------------------


def _split(view: PlanView) -> Decision:
    assert view.split is not None
    plan, sides = view.spec.name, " and ".join(view.split.sides)
    refusal = (
        f"plan {plan} is split: {sides} have both written since {view.split.fork or 'their fork'}; nothing is moved or resynced. "
        f"Say which side to keep: dr resolve {plan} --keep SITE (the other's data stays readable as a safety copy)"
    )
    return Decision(plan, "none", authority=None, refused=(refusal,), warnings=view.split.evidence)


def _under_way(view: PlanView, want: Want, claim: Claim, epoch: Epoch, word: Word | None) -> Decision:
    """A claim is open: the move is finished, or called off, before anything else."""
    plan = view.spec.name
    if claim.aborting:
        return decide_abort(view, want)
    if claim.kind == "resolve":
        return decide_resolve(view, replace(want, goal="resolve", site=claim.site))
    if want.site in (None, claim.site):
        return _move(view, replace(want, site=claim.site), epoch, word, claim)
    return Decision(plan, "none", claim.from_site, claim.site, claim.from_site).with_refusal(
        f"plan {plan}: a move to {claim.site} is under way (epoch {claim.number}, claimed {claim.time} by {claim.by}); "
        f"finish it with dr failover {plan} --to {claim.site}, or call it off with dr abort {plan}"
    )


def _not_meant(view: PlanView, want: Want, epoch: Epoch, word: Word | None) -> str | None:
    """Intent: a stack moves a plan only when its declared site differs from what that same stack last declared."""
    if want.stack is None:
        return None
    last = view.declared.get(want.stack)
    plan = view.spec.name
    if last is not None and last.site != want.site:
        return None
    if last is None and word is not None and word.epoch == epoch.number:
        return None
    said = f"plan {plan} is active at {epoch.site} since epoch {epoch.number} by {epoch.by}, and this stack declares {want.site}"
    if last is None:
        return f"{said} for the first time, which moves nothing without the operator's word; {ask_for_word(plan, epoch.number)}, or set dr:activeSites.{plan} to {epoch.site}"
    return f"{said} as before, which moves nothing; set dr:activeSites.{plan} to {epoch.site}"


def _word_notes(plan: str, word: Word | None, epoch: Epoch, *, moving: bool) -> tuple[str, ...]:
    if word is None or (moving and word.epoch == epoch.number):
        return ()
    why = (
        "not needed"
        if word.epoch == epoch.number
        else f"for epoch {word.epoch}, and the plan is at epoch {epoch.number}"
    )
    return (f"plan {plan}: the operator's word is {why}, and is ignored",)


# -- the move -----------------------------------------------------------------------------------


def _move(view: PlanView, want: Want, epoch: Epoch, word: Word | None, claim: Claim | None = None) -> Decision:
    plan, target, origin = view.spec.name, str(want.site), epoch.site
    source = look_at_source(view, origin, target, claim)
    decision = Decision(plan, source.kind, origin, target, origin)
    refused, warnings = list(_target_faults(view, target)), list(source.warnings)
    if refused:
        return replace(decision, warnings=tuple(warnings)).with_refusal(*refused)
    steps = Steps()

    # Copies that an earlier move left out of line come back first: a destination must be one before it can be broken.
    prelude: list[str] = []
    if claim is None:
        before = stop_stale(view, epoch, target, steps, [])
        if before.evidence:
            return _split_found(decision, target, before.evidence)
        warnings += restore_copies(view, origin, target, steps, after=steps.ids("stop", "fence"))
        prelude = [action.id for action in steps.actions]

    point, final, sentence = _choose(view, want, claim, source, target, brought_back=bool(prelude))
    if sentence:
        refused.append(sentence)
    needs = _needs_word(view, source, claim, final, target)
    given = word is not None and word.epoch == epoch.number
    if needs and not given and not (claim and claim.word):
        refused += [*needs, ask_for_word(plan, epoch.number)]
    members = tuple(vm for vm in view.vms if _restorable(view, vm.name, point, final, warnings))
    placement = place(view, target, members)
    giving_way = _drills_in_the_way(view, target) if placement.unplaced else {}
    if giving_way:
        placement = place(view, target, members, ended=frozenset(vm for vms in giving_way.values() for vm in vms))
        for drill in giving_way:
            said = f"end drill {drill} at {target}, whose room the move needs"
            prelude.append(steps.add("end-drill", drill, said, group="claim", needed=False, drill=drill))
    if placement.unplaced and source.kind == "planned":
        refused += placement.unplaced.values()
    degraded = () if source.kind == "planned" else tuple(placement.unplaced.values())
    loss = _loss(view, source, point, final)
    decision = replace(
        decision, point=point.id if point else None, loss=loss, warnings=tuple(warnings), degraded=degraded
    )
    if refused:
        return decision.with_refusal(*refused)
    _actions(view, steps, prelude, claim, epoch, source, target, placement.hosts, point, final=final)
    return replace(decision, actions=steps.done())


def _drills_in_the_way(view: PlanView, target: str) -> dict[str, list[str]]:
    """The plan's drills at the target, with the names of their VMs there."""
    here = {name: drill for name, drill in view.drills.items() if drill.site == target}
    return {name: [keys.drill_vm(vm, name) for vm in sorted(drill.vms)] for name, drill in sorted(here.items())}


def _target_faults(view: PlanView, target: str) -> list[str]:
    faults = []
    for array, reason in view.silent_arrays(target).items():
        faults.append(f"plan {view.spec.name} cannot move to {target}: its array {array} is silent ({reason})")
    hosts = view.topology.plan_hosts(view.spec.name, target)
    if not any(view.seen.host(host.name) for host in hosts):
        names = ", ".join(host.name for host in hosts) or "none"
        faults.append(f"plan {view.spec.name} cannot move to {target}: no host that it allows there answers ({names})")
    return faults


def _split_found(decision: Decision, target: str, evidence: list[str]) -> Decision:
    return replace(decision, warnings=tuple(evidence)).with_refusal(
        f"plan {decision.plan}: {target} may have been written after {decision.from_site} took over, so moving there could lose either side's data; "
        f"run dr protect {decision.plan} to put that on record, then dr resolve {decision.plan} --keep SITE"
    )


def _choose(
    view: PlanView, want: Want, claim: Claim | None, source: Source, target: str, *, brought_back: bool
) -> tuple[RecoveryPoint | None, bool, str]:
    """The point to break at, whether a final snapshot comes (then the point is known only after it), or the sentence why neither is to be had."""
    if claim is not None and claim.point is not None:
        fixed = next((p for p in view.points if p.id == claim.point), None)
        return fixed, False, ""
    if want.point is not None:
        return choose_point(view.points, target, want.point), False, ""
    if source.final:
        return None, True, ""
    best = newest(view.points, target)
    if best is None:
        late = " (its copies are being brought back in line)" if brought_back else ""
        return (
            None,
            False,
            f"plan {view.spec.name}: no recovery point is whole at {target}{late}, and {view.active} cannot send one now",
        )
    return best, False, ""


def _needs_word(view: PlanView, source: Source, claim: Claim | None, final: bool, target: str) -> list[str]:
    """Why this move cannot go on without the operator's word."""
    plan, origin = view.spec.name, source.site
    said = []
    if source.unproved and not (claim and set(source.unproved) <= set(claim.proof)):
        names = ", ".join(source.unproved)
        said.append(
            f"plan {plan}: nothing proves that {names} no longer run at {origin} ({'; '.join(source.silence)}); silence proves nothing"
        )
    fixed = claim is not None and claim.point is not None
    if not final and not fixed and source.cut:
        said.append(
            f"plan {plan}: {origin} is well but {', '.join(source.cut)} cannot be sent to {target} (the link between the arrays is cut), so what has not been sent would be lost"
        )
    if not final and not fixed and claim is not None and claim.proof and not said:
        said.append(
            f"plan {plan}: the last transfer from {origin} did not end and {origin} is silent now, so what it had not sent would be lost"
        )
    return said


def _restorable(view: PlanView, vm: str, point: RecoveryPoint | None, final: bool, warnings: list[str]) -> bool:
    """What is in both record and topology is restored; anything in only one of them is listed."""
    if final or point is None or vm in point.intent.definitions:
        return True
    warnings.append(f"VM {vm} is in the topology but not in recovery point {point.id}; it is not restored by this move")
    return False


def _loss(view: PlanView, source: Source, point: RecoveryPoint | None, final: bool) -> Loss:
    if final:
        return Loss(0.0, f"nothing is lost: the last state of {source.site} is sent before the break")
    if point is None:
        return Loss(None, "not known")
    if point.intent.kind.startswith("final."):
        return Loss(0.0, f"nothing is lost: {point.id} is the last state of {source.site}")
    seconds = max(0.0, (keys.at(view.seen.time) - keys.at(point.time)).total_seconds())
    return Loss(
        seconds,
        f"what was written at {source.site} after {point.id} ({point.time}, {seconds:.0f} s before now) is lost",
    )


def _actions(
    view: PlanView,
    steps: Steps,
    prelude: list[str],
    claim: Claim | None,
    epoch: Epoch,
    source: Source,
    target: str,
    hosts: Mapping[str, str],
    point: RecoveryPoint | None,
    *,
    final: bool,
) -> None:
    """The steps of a move, in order; what an earlier run has done already is left out."""
    plan, origin, number = view.spec.name, source.site, epoch.number + 1
    chosen = "" if final or point is None else point.id
    planned = source.kind == "planned"

    # 1. capacity, then the claim: before anything is stopped or unmapped
    used = sorted(set(hosts.values()))
    said = "; ".join(f"{h}: {', '.join(sorted(vm for vm, at in hosts.items() if at == h))}" for h in used)
    reserve = steps.add(
        "reserve", "", f"keep CPUs and memory at {target} ({said})", after=prelude, group="claim",
        hosts=";".join(f"{vm}={host}" for vm, host in sorted(hosts.items())),
    )  # fmt: skip
    gate = [reserve]
    if claim is None:
        sentence = f"claim epoch {number} for {target}"
        gate = [
            steps.add(
                "claim", "", sentence, after=[reserve], site=target, origin=origin, point=chosen, kind=source.kind
            )
        ]

    # 2. the source holds still: stopped in reverse tier order, its LUNs unmapped, and that is proved
    running = {place_.vm: place_ for place_ in view.running_at(origin)}
    for vm in reversed(view.spec.members):
        if vm in running:
            later = [f"stop:{w}" for w in view.spec.members if vm in started_before(view.spec, w) and w in running]
            host = running[vm].host
            steps.add("stop", vm, f"stop VM {vm} on {host}", after=[*gate, *later], needed=planned, vm=vm, host=host)
    stopped = [*gate, *(i for i in steps.ids("stop") if i not in prelude)]
    copies = [standing(view, name, target, origin) for name in view.volume_names]
    fenced = fence_mapped(copies, steps, after=stopped, needed=planned)
    broken = [name for name in view.volume_names if _is_broken(view, claim, name, target)]
    proved = [*stopped, *fenced]
    if not broken:
        sentence = f"prove that no VM of plan {plan} can write at {origin}"
        proved = [steps.add("prove", "", sentence, after=proved, group="fence", site=origin)]

    # 3. what can still be brought over
    ready = proved
    if final:
        taken = source.final_point
        if taken is None:
            sentence = f"take the final snapshot of plan {plan} at {origin}"
            ready = [steps.add("final", "", sentence, after=proved, group="transfer", site=origin)]
        sent = []
        for name in view.volume_names:
            there = view.volume(name, target)
            if taken is None or there is None or there.snapshot(taken.id) is None:
                a, b = view.copy_array(name, origin), view.copy_array(name, target)
                sent.append(
                    steps.add("bring", name, f"send the final snapshot of volume {name} from {a} to {b}", after=ready,
                              group="transfer", volume=name, source=a, target=b)
                )  # fmt: skip
        ready = [
            steps.add(
                "choose",
                "",
                "choose the final snapshot as the recovery point",
                after=[*ready, *sent],
                group="transfer",
                site=target,
            )
        ]

    # 4. break every volume at the one point, and look at what is there
    scanned = []
    for name in view.volume_names:
        array, wait = view.copy_array(name, target), ready
        if name not in broken:
            newer = _beyond(view, name, target, point)
            if newer:
                label = keys.safety_volume(name, f"e{number}.{target}")
                wait = [
                    steps.add("keep", f"{name}@{target}", f"keep what {name} on {array} holds beyond {chosen} as safety copy {label}", after=wait,
                              volume=name, array=array, name=label)
                ]  # fmt: skip
            at = chosen or "the final snapshot"
            wait = [
                steps.add(
                    "break",
                    name,
                    f"break the mirror of volume {name} on {array} at {at}",
                    after=wait,
                    volume=name,
                    array=array,
                )
            ]
        scanned.append(steps.add("online", name, f"take the LUNs of {name} on {array} offline and online", after=wait,
                                 group="scan", volume=name, array=array))  # fmt: skip
    for host in used:
        scanned.append(
            steps.add(
                "rescan",
                host,
                f"rescan storage on {host}",
                after=scanned[: len(view.volume_names)],
                group="scan",
                host=host,
            )
        )
    scan = steps.add(
        "scan", "", f"scan the volumes at {target} for the backups of plan {plan}", after=scanned, site=target
    )

    # 5. the commit, then the VMs, then the way back
    commit = steps.add(
        "commit", "", f"commit epoch {number}: plan {plan} is active at {target}", after=[scan], site=target
    )
    add_starts(view, hosts, steps, after=[commit])
    if all(
        view.array_state(name, origin) is not None and view.linked(name, origin, target) for name in view.volume_names
    ):
        for name in view.volume_names:
            steps.add("reverse", name, f"reverse the mirror of volume {name}: {target} to {origin}", after=[commit],
                      last=steps.ids("start"), group="reverse", needed=False, volume=name, array=view.copy_array(name, origin), site=origin)  # fmt: skip
        steps.add("protect", "", f"take a recovery point at {target} and send it to {origin}", after=[commit], last=[*steps.ids("start"), *steps.ids("reverse")],
                  group="reverse", needed=False, site=target, other=origin)  # fmt: skip


def _is_broken(view: PlanView, claim: Claim | None, volume: str, target: str) -> bool:
    """Under a claim a writable copy at its target is one that the move has broken: it was made only when all were destinations."""
    there = view.volume(volume, target)
    return claim is not None and there is not None and there.writable


def _beyond(view: PlanView, volume: str, target: str, point: RecoveryPoint | None) -> bool:
    """Whether the destination holds snapshots newer than the point."""
    there = view.volume(volume, target)
    if there is None or point is None:
        return False
    names = [snapshot.name for snapshot in there.snapshots]
    return point.id in names and names[-1] != point.id
