"""Beside the move: making a plan, calling a move off, and ending a split. Pure.

Invariants: a plan is made only where every array of it answers or may be made anew; a move is called off only before its commit; a split
ends only by the operator's choice, under a new epoch, with the other side's data kept.
"""

from __future__ import annotations

from dataclasses import replace

from dr_provider.model.errors import BadInput
from dr_provider.model.problems import listed
from dr_provider.model.records import Claim, Split
from dr_provider.model.state import Silent
from dr_provider.reconcile.copies import standing
from dr_provider.reconcile.decision import Action, Decision, Loss, Want
from dr_provider.reconcile.fencing import pin_steps
from dr_provider.reconcile.identity import others_volumes
from dr_provider.reconcile.late import add_late, as_if_there, late_volumes
from dr_provider.reconcile.repair import decide_repair, fence_mapped, hold_still, look_at_stale
from dr_provider.reconcile.restart import evict
from dr_provider.reconcile.restoring import plan_restores
from dr_provider.reconcile.resync import at_site, restore_copies
from dr_provider.reconcile.source import look_at_source
from dr_provider.reconcile.starts import add_starts, start_vms
from dr_provider.reconcile.steps import Steps
from dr_provider.reconcile.terms import how_to_finish, split_refusal, what_is_open
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.word import ask_for_word, parse_word

__all__ = ["decide_abort", "decide_create", "decide_resolve", "decide_split"]


def decide_create(view: PlanView, want: Want) -> Decision:
    """Make the plan: pin its arrays, store the topology, commit epoch 1 at its home."""
    plan, home = view.spec.name, view.spec.home
    decision = Decision(plan, "create", None, home, home)
    arrays = {name: view.seen.arrays[name] for name in view.topology.plan_arrays(plan)}
    silent = {n: s for n, s in arrays.items() if isinstance(s, Silent) and not s.missing}
    if len(silent) == len(arrays):
        reasons = "; ".join(state.reason for state in silent.values())
        return decision.with_refusal(f"plan {plan}: none of its arrays answers, so nothing is known of it: {reasons}")
    if silent:
        reasons = "; ".join(state.reason for state in silent.values())
        return decision.with_refusal(
            f"plan {plan} is not known to the arrays that answer, and it is not made while one of its arrays is silent "
            f"(it may know better): {reasons}"
        )
    if want.site is not None and want.site != home:
        return decision.with_refusal(
            f"plan {plan} is not made yet, and is made at its home {home} first: run dr apply, or set dr:activeSites.{plan} to {home} "
            f"(or leave the line out) and run pulumi up; then move it"
        )
    if not want.adopt and (others := others_volumes(view)):
        return decision.with_refusal(*others)
    steps = Steps()
    for name, state in sorted(arrays.items()):
        verb = "make array" if isinstance(state, Silent) else "pin array"
        steps.add("create-array", name, f"{verb} {name}", group="create", array=name)
    for name in view.new_hosts:
        steps.add("create-host", name, f"make host {name}", group="create", needed=False, host=name)
    first = steps.ids("create-array", "create-host")
    found = f"commit epoch 1: plan {plan} is active at {home}"
    pin_steps(view, steps, after=[steps.add("found", "", found, after=first, group="create", site=home)])
    return replace(decision, actions=steps.done(), loss=Loss(0.0, "nothing is lost: the plan is new"))


def decide_abort(view: PlanView, want: Want) -> Decision:
    """Call the open move off: mirrors as before, claim withdrawn, what was stopped started in tier order."""
    plan, claim, epoch = view.spec.name, view.claim, view.epoch
    if claim is None or epoch is None:
        left = decide_repair(view, want) if epoch and _called_off(view, epoch.number) else None
        if left is not None and left.actions:
            return replace(
                left, notes=(f"plan {plan}: the move was called off already; this is left of it", *left.notes)
            )
        where = f"it is active at {epoch.site} since epoch {epoch.number}" if epoch else "it was never made"
        if silent := view.may_know:
            where = f"nothing that answers knows the plan; silent: {listed(silent)}"
        return Decision(plan, "abort", authority=view.active).with_refusal(
            f"plan {plan}: no move is under way, so there is nothing to call off ({where}); after a commit the way is forward, or a new move back"
        )
    origin, target = claim.from_site, claim.site
    word = parse_word(plan, want.word)
    unsure = view.silent_arrays(target)
    if unsure and not want.uncommitted and not (word is not None and word.epoch == epoch.number):
        return Decision(plan, "abort", target, origin, origin).with_refusal(
            f"plan {plan}: the move to {target} might have been committed there, and {target} cannot be asked ({'; '.join(unsure.values())}); "
            f"starting {origin} again could make two writers; {ask_for_word(plan, epoch.number)}"
        )
    steps = Steps()
    marked = (
        []
        if claim.aborting
        else [steps.add("aborting", "", f"mark the move to {target} (epoch {claim.number}) as called off")]
    )
    warnings = []
    # A resolve and a rollback break nothing before their commit.
    for name in view.volume_names if claim.kind not in ("resolve", "rollback") else ():
        array, copy = view.copy_array(name, target), view.volume(name, target)
        if copy is not None and copy.writable:
            steps.add("remirror", name, f"make {name} on {array} a destination again, at {claim.point}", after=marked,
                      group="reverse", volume=name, array=array, snapshot=str(claim.point))  # fmt: skip
        elif view.array_state(name, target) is None:
            warnings.append(f"array {array} is silent; {name} there is made a destination again when it answers")
    back = [*marked, *steps.ids("remirror")]
    sentence = f"withdraw the claim of epoch {claim.number}"
    withdrawn = steps.add("withdraw", "", sentence, after=back, group="claim", site=target)
    _, said = start_vms(view, origin, steps, after=[withdrawn]) if claim.kind != "resolve" else ([], [])
    return Decision(
        plan,
        "abort",
        target,
        origin,
        origin,
        loss=Loss(0.0, "nothing is lost: the source was not changed"),
        actions=steps.done(),
        warnings=tuple(warnings),
        degraded=tuple(said),
    )


def _called_off(view: PlanView, number: int) -> bool:
    """Whether a move was called off in this epoch."""
    return view.split is None and any(e.state == "aborted" and e.number > number for e in view.history)


def decide_resolve(view: PlanView, want: Want) -> Decision:
    """End a split: the kept side goes on under a new epoch, the other becomes its copy; what the other wrote is kept."""
    plan, keep, claim, epoch = view.spec.name, want.site, view.claim, view.epoch
    if keep is None or keep not in view.spec.sites:
        raise BadInput(
            f"plan {plan}: wanted one of its sites to keep ({', '.join(view.spec.sites)}), found {keep!r}; nothing was done"
        )
    sides = tuple(side for side in (view.split.sides if view.split else ()) if side != keep)
    losing = sides or ((claim.from_site,) if claim and claim.from_site != keep else view.others(keep)[:1])
    decision = Decision(plan, "resolve", losing[0], keep, keep, loss=_kept(" and ".join(losing), keep))
    if epoch is not None and view.split is None and claim is None and (epoch.kind, epoch.site) == ("resolve", keep):
        return decide_repair(view, want)  # resolved already: what is left of it
    if epoch is None or (view.split is None and (claim is None or claim.kind != "resolve")):
        return decision.with_refusal(f"plan {plan} is not split; there is nothing to resolve")
    if claim is not None and (claim.kind != "resolve" or claim.site != keep):
        return decision.with_refusal(_claimed(plan, claim))
    refused = [f"plan {plan}: {reason}" for reason in view.silent_arrays(keep).values()]
    came = {late.volume for late in late_volumes(view, keep)}
    refused += [
        f"plan {plan}: volume {name} is not at {keep} as one that can be written" for name in view.volume_names
        if view.array_state(name, keep) is not None and name not in came and not ((v := view.volume(name, keep)) and v.writable)
    ]  # fmt: skip
    word = parse_word(plan, want.word)
    warnings: list[str] = []
    for side in losing:
        source = look_at_source(view, side, keep, None)
        warnings += source.warnings
        if source.unproved and not (word is not None and word.epoch == epoch.number):
            refused.append(
                f"plan {plan}: nothing proves that {', '.join(source.unproved)} does not run at {side} ({'; '.join(source.silence)}); {ask_for_word(plan, epoch.number)}"
            )
    if refused:
        return decision.with_refusal(*refused)
    actions = _resolve_steps(view, claim, keep, losing, epoch.number + 1)
    return replace(decision, actions=actions, warnings=tuple(warnings))


def decide_split(view: PlanView) -> Decision:
    """Under a split nothing moves and nothing is resynced; what must not wait for the operator's choice is that no VM runs twice.

    One side goes on: the one of the epoch in force, and where several were committed the plan's first that runs something. The others hold still.
    """
    refusal, found = split_refusal(view), view.split
    assert found is not None
    runner = _runner(view, found.sides)
    steps = Steps()
    for other in view.others(runner):
        why = f"the plan is split, and goes on at {runner} until dr resolve {view.spec.name} --keep SITE"
        copies = [standing(view, name, runner, other) for name in view.volume_names]
        hold_still(view, other, steps, why, copies, after=() if view.splits else _RECORD)
    if not steps.actions:
        return refusal
    actions = steps.done() if view.splits else (_on_record(view, found), *steps.done())
    return replace(refusal, kind="repair", refused=(), actions=actions, degraded=refusal.refused, exit_bad=True)


_RECORD = ("split",)


def _on_record(view: PlanView, found: Split) -> Action:
    """What the epochs show is put on record, with what else was written, before anything of the evidence changes."""
    evidence, sides = list(found.evidence), list(found.sides)
    for other in view.spec.sites:
        more = look_at_stale(view, view.committed[0], other).evidence if other not in sides else []
        sides += [other] if more else []
        evidence += more
    steps = Steps()
    sentence = f"put on record that {' and '.join(sides)} have each been written (split)"
    steps.add("split", "", sentence, sites=",".join(sides), fork=found.fork or "", evidence="\n".join(evidence))
    return steps.actions[0]


def _runner(view: PlanView, sides: tuple[str, ...]) -> str:
    if len(view.committed) == 1:
        return view.committed[0].site
    ordered = [site for site in view.spec.sites if site in sides]
    return next((site for site in ordered if view.running_at(site)), ordered[0])


def _kept(other: str, keep: str) -> Loss:
    return Loss(0.0, f"the plan goes on with the data of {keep}; what {other} wrote stays readable as safety copies")


def _claimed(plan: str, claim: Claim) -> str:
    return f"plan {plan}: {what_is_open(claim)} is under way (epoch {claim.number}, by {claim.by}); finish it with {how_to_finish(plan, claim)}, or call it off with dr abort {plan}"


def _resolve_steps(
    view: PlanView, claim: Claim | None, keep: str, losing: tuple[str, ...], number: int
) -> tuple[Action, ...]:
    steps, plan = Steps(), view.spec.name
    gate: list[str] = []
    if claim is None:
        gate = [
            steps.add(
                "claim", "", f"claim epoch {number} for {keep}", site=keep, origin=losing[0], point="", kind="resolve"
            )
        ]
    proved = []
    for other in view.others(keep):
        stops = []
        for place_ in view.running_at(other):
            sentence = f"stop VM {place_.vm} on {place_.host}"
            stops.append(
                steps.add("stop", at_site(view, place_.vm, other), sentence, after=gate, needed=False, vm=place_.vm,
                          host=place_.host)
            )  # fmt: skip
        copies = [standing(view, name, keep, other) for name in view.volume_names]
        fenced = fence_mapped(copies, steps, after=[*gate, *stops], needed=False)
        if other in losing:
            sentence = f"prove that no VM of plan {plan} can write at {other}"
            subject = "" if len(view.spec.sites) == 2 else other
            proved.append(
                steps.add("prove", subject, sentence, after=[*gate, *stops, *fenced], group="fence", site=other)
            )
    sentence = f"commit epoch {number}: plan {plan} goes on at {keep}, and the split is ended"
    commit = steps.add("commit", "", sentence, after=proved, site=keep)
    came = late_volumes(view, keep)
    late = add_late(view, came, keep, steps, after=[commit], last=steps.ids("stop", "fence"))
    view = as_if_there(view, came, keep)
    evicted = evict(view, keep, steps, after=[commit])
    start_vms(view, keep, steps, after=[commit], last=evicted, late=late)
    hosts, first, _ = plan_restores(view, keep, steps, after=[commit])
    starts = add_starts(view, hosts, steps, after=[commit], first=first)
    restore_copies(view, keep, view.others(keep), steps, after=[commit], last=[*starts, *late.values()], anew=True)
    return steps.done()
