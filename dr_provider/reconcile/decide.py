"""What happens on failover, in the order in which it happens. Pure: (plan, what is wanted, one observation) -> actions, or why not.

Invariants:
1. Nothing moves while the past is not clear: a split, another's open claim, or a stack that has not declared anything new.
2. The claim comes first, before anything is stopped or unmapped; the commit comes after all breaks and scans have succeeded, and just
   before the first VM starts. In between the move can be called off.
3. Nothing is broken before the source is proved to be stopped (its hypervisors say that the VMs are off, or its arrays have the LUNs
   unmapped), or by the fencing that the plan names (fencing.py), or an operator has given the word. Silence proves nothing.
4. All volumes of a plan are broken at one recovery point; what a destination holds beyond it is kept first. A volume that came to the plan
   after that point goes on once the move is committed (late.py).
5. The list of actions depends on states only, never on times, lags or bytes: asked twice, it answers the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from dr_provider.model import keys
from dr_provider.model.records import Claim, Epoch
from dr_provider.protection.catalogue import RecoveryPoint
from dr_provider.protection.lines import copy_of
from dr_provider.reconcile.aside import decide_abort, decide_create, decide_resolve, decide_split
from dr_provider.reconcile.callouts import weave
from dr_provider.reconcile.copies import standing
from dr_provider.reconcile.decision import Decision, Want
from dr_provider.reconcile.drills.giving_way import end_drills, make_room
from dr_provider.reconcile.fencing import grant_steps, wait_steps
from dr_provider.reconcile.held import hold_up
from dr_provider.reconcile.late import LATE, add_late, as_if_there, late_after, late_volumes
from dr_provider.reconcile.mending import damage_warnings
from dr_provider.reconcile.points import fetches, full_copies, parts_at
from dr_provider.reconcile.repair import decide_repair, fence_mapped, split_off, stop_stale, stop_third
from dr_provider.reconcile.restoring import end_void, unfinished
from dr_provider.reconcile.resync import level_copies, restore_copies
from dr_provider.reconcile.rollback import decide_commit, decide_rollback
from dr_provider.reconcile.source import Source, look_at_source
from dr_provider.reconcile.starts import add_room, add_starts, add_stops, unasked
from dr_provider.reconcile.steps import Steps
from dr_provider.reconcile.terms import (
    choose,
    how_to_finish,
    is_beyond,
    is_broken,
    loss_of,
    needs_word,
    not_meant,
    restorable,
    target_faults,
    what_is_open,
    word_notes,
)
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.wayback import way_back
from dr_provider.reconcile.window import add_end, opens, said_at_commit, window_of
from dr_provider.reconcile.word import Word, ask_for_word, parse_word

__all__ = ["decide"]


def decide(view: PlanView, want: Want) -> Decision:
    """The one entry. Raises BadInput where the operator's word or the chosen point is wrong."""
    return weave(view, want, _decide(view, want))


def _decide(view: PlanView, want: Want) -> Decision:
    plan, epoch, claim = view.spec.name, view.epoch, view.claim
    word = parse_word(plan, want.word)
    if want.goal == "abort":
        return decide_abort(view, want)
    if want.goal == "resolve":
        return decide_resolve(view, want)
    if view.split is not None:
        return decide_split(view)
    if epoch is None:
        return decide_create(view, want)
    if claim is not None:
        return _under_way(view, want, claim, epoch, word)
    if want.goal == "rollback":
        return decide_rollback(view, want, epoch)
    moving = want.site not in (None, epoch.site)
    # A move says itself whether it needed the word.
    notes = () if moving else word_notes(plan, word, epoch, used=bool(unasked(view, epoch)))
    if want.goal == "commit":
        decision = decide_commit(view, want, epoch)
    elif want.site is None or want.site == epoch.site:
        decision = decide_repair(view, want)
    elif (reason := not_meant(view, want, epoch, word)) is not None:
        base = decide_repair(view, want)
        decision = replace(base, kind="none", actions=(), warnings=(reason, *base.warnings), exit_bad=True)
    else:
        decision = _move(view, want, epoch, word)
    return replace(decision, notes=(*notes, *decision.notes), warnings=(*decision.warnings, *damage_warnings(view)))


def _under_way(view: PlanView, want: Want, claim: Claim, epoch: Epoch, word: Word | None) -> Decision:
    """A claim is open: the move is finished, or called off, before anything else."""
    plan = view.spec.name
    if want.goal in ("restart", "restore", "commit"):
        what = {"restart": "no VM is restarted", "restore": "no VM is restored"}.get(
            want.goal, "no commit window is ended"
        )
        return Decision(plan, "none", authority=epoch.site).with_refusal(
            f"plan {plan}: {what_is_open(claim)} is under way (epoch {claim.number}), so {what} at {epoch.site}; "
            f"finish it with {how_to_finish(plan, claim)}, or call it off with dr abort {plan}"
        )
    if claim.aborting:
        return decide_abort(view, want)
    if want.site in (None, claim.site) and (claim.kind == "rollback" or want.goal != "rollback"):
        there = replace(want, site=claim.site)
        if claim.kind == "resolve":
            return decide_resolve(view, there)
        if claim.kind == "rollback":
            return decide_rollback(view, there, epoch)
        return _move(view, there, epoch, word, claim)
    return Decision(plan, "none", claim.from_site, claim.site, claim.from_site).with_refusal(
        f"plan {plan}: {what_is_open(claim)} is under way (epoch {claim.number}, claimed {claim.time} by {claim.by}); "
        f"finish it with {how_to_finish(plan, claim)}, or call it off with dr abort {plan}"
    )


# -- the move -----------------------------------------------------------------------------------


def _move(view: PlanView, want: Want, epoch: Epoch, word: Word | None, claim: Claim | None = None) -> Decision:
    plan, target, origin = view.spec.name, str(want.site), epoch.site
    source = look_at_source(view, origin, target, claim)
    decision = Decision(plan, source.kind, origin, target, origin)
    refused, warnings = list(target_faults(view, target)), list(source.warnings)
    if claim is None:
        (refused if source.kind == "planned" else warnings).extend(unfinished(view))
    if refused:
        return replace(decision, warnings=tuple(warnings)).with_refusal(*refused)
    steps = Steps()

    # Copies that an earlier move left out of line come back first: a destination must be one before it can be broken.
    prelude: list[str] = []
    if claim is not None:
        written = stop_third(view, epoch, [side for side in view.others(origin) if side != target], steps)
    else:
        written = {}
        # A third side that has been written, too: the move would resync it.
        for side, before in stop_stale(view, epoch, view.others(origin), steps, []).items():
            if before.evidence:
                return _split_found(decision, side, before.evidence)
        if (left := window_of(view)) is not None and left.site == target:
            add_end(view, steps, after=steps.ids("stop", "fence"))
        if came := late_volumes(view, origin):
            add_late(view, came, origin, steps, after=steps.ids("stop", "fence"))
            view = as_if_there(view, came, origin)
            source = look_at_source(view, origin, target, None)
        held_still = steps.ids("stop", "fence", "end-window", *LATE)
        warnings += restore_copies(view, origin, [target], steps, after=held_still)
        prelude = [action.id for action in steps.actions]

    point, final, sentence = choose(view, want, claim, source, target)
    if sentence:
        refused.append(sentence)
    if claim is None and point is not None:
        prelude += level_copies(view, target, point.id, steps, after=steps.ids("stop", "fence"))
    given = word is not None and word.epoch == epoch.number
    needs = needs_word(view, source, claim, final, target, given=given)
    if needs and not given and not (claim and claim.word):
        refused += [*needs, ask_for_word(plan, epoch.number)]
    members = tuple(vm for vm in view.vms if restorable(view, vm.name, point, warnings))
    placement, ways = make_room(view, target, members)
    prelude += end_drills(ways, plan, target, steps)
    if placement.unplaced and source.kind == "planned":
        refused += placement.unplaced.values()
    hosts, held = hold_up(view, placement.hosts, placement.unplaced)
    degraded = () if source.kind == "planned" else (*placement.unplaced.values(), *held)
    wanted = fetches(view, point, target) if point is not None else None
    if wanted:
        warnings += full_copies(view, wanted, target)
    if point is not None:
        warnings += parts_at(view.points, target, point)
    loss = loss_of(view, source, claim, point, final)
    notes = word_notes(plan, word, epoch, used=bool(needs))
    decision = replace(
        decision, point=point.id if point else None, loss=loss, warnings=tuple(warnings), notes=notes, degraded=degraded
    )
    if refused:
        return decision.with_refusal(*refused)
    spoken = str(word) if needs and given else ""
    move = _Move(epoch, source, target, point, claim, final=final, fetched=wanted or {}, written=written)
    _actions(view, steps, prelude, move, hosts, spoken)
    return replace(decision, actions=steps.done())


def _split_found(decision: Decision, side: str, evidence: list[str]) -> Decision:
    return replace(decision, warnings=tuple(evidence)).with_refusal(
        f"plan {decision.plan}: {side} may have been written after {decision.from_site} took over, so moving now could lose either side's data; "
        f"run dr protect {decision.plan} to put that on record, then dr resolve {decision.plan} --keep SITE"
    )


@dataclass(frozen=True)
class _Move:
    """What a move goes by. `fetched`: volumes whose part of the point comes from another site first. `written`: third sides that were
    written while they were past, with the evidence."""

    epoch: Epoch
    source: Source
    target: str
    point: RecoveryPoint | None
    claim: Claim | None
    final: bool
    fetched: Mapping[str, str]
    written: Mapping[str, list[str]]


def _actions(
    view: PlanView, steps: Steps, prelude: list[str], move: _Move, hosts: Mapping[str, str], word: str
) -> None:
    """The steps of a move, in order; what an earlier run has done already is left out."""
    source, target, point, claim, final = move.source, move.target, move.point, move.claim, move.final
    plan, origin, number = view.spec.name, source.site, move.epoch.number + 1
    chosen = point.id if point is not None else ""
    planned = source.kind == "planned"
    # A volume that came after the point is no part of what is restored.
    names = tuple(name for name in view.volume_names if point is None or name in point.intent.members)

    # 1. capacity, then the claim: before anything is stopped or unmapped
    reserve = add_room(target, hosts, steps, after=prelude)
    gate = [reserve]
    if claim is None:
        sentence = f"claim epoch {number} for {target}"
        gate = [
            steps.add(
                "claim",
                "",
                sentence,
                after=[reserve],
                site=target,
                origin=origin,
                point=chosen,
                kind=source.kind,
                word=word,
            )
        ]

    # 2. the source holds still: stopped in reverse tier order, its LUNs unmapped, and that is proved
    stopped = [*gate, *add_stops(view, origin, steps, after=gate, needed=planned)]
    copies = [standing(view, name, target, origin) for name in view.volume_names]
    fenced = fence_mapped(copies, steps, after=stopped, needed=planned)
    broken = [name for name in names if is_broken(view, claim, name, target)]
    proved = [*stopped, *fenced]
    if not broken:
        fence = wait_steps(view, source, claim, steps, after=gate, target=target, word=word)
        proved += fence
        sentence = f"prove that no VM of plan {plan} can write at {origin}"
        proved = [steps.add("prove", "", sentence, after=proved, group="fence", site=origin)]
        proved += grant_steps(view, claim, steps, after=proved, target=target, waited=bool(fence), word=word)

    # 3. what can still be brought over
    ready = proved
    if final:
        ready = _bring_final(view, steps, move, proved)
    for name, site in sorted(move.fetched.items()):
        a, b = view.copy_array(name, site), view.copy_array(name, target)
        sentence = f"fetch {chosen} of volume {name} from {a} to {b}"
        ready = [*ready, steps.add("fetch", name, sentence, after=proved, group="transfer", volume=name, source=a, target=b)]  # fmt: skip

    # 4. break every volume at the one point, and look at what is there
    onlined = []
    for name in names:
        array, wait = view.copy_array(name, target), ready
        if name not in broken:
            if f"demote:{name}" not in prelude and is_beyond(view, name, target, point):
                copy = keys.safety_volume(name, f"e{number}.{target}")
                sentence = f"keep what {name} on {array} holds beyond {chosen} as safety copy {copy}"
                wait = [
                    steps.add("keep", f"{name}@{target}", sentence, after=wait, volume=name, array=array, name=copy)
                ]
            sentence = f"break the mirror of volume {name} on {array} at {chosen or 'the final snapshot'}"
            wait = [steps.add("break", name, sentence, after=wait, volume=name, array=array)]
        onlined.append((name, array, wait))
    scanned = []
    for name, array, wait in onlined:
        sentence = f"take the LUNs of {name} on {array} offline and online"
        scanned.append(steps.add("online", name, sentence, after=wait, group="scan", volume=name, array=array))
    online = tuple(scanned)
    for host in sorted(set(hosts.values())):
        scanned.append(steps.add("rescan", host, f"rescan storage on {host}", after=online, group="scan", host=host))
    sentence = f"scan the volumes at {target} for the backups of plan {plan}"
    scan = steps.add("scan", "", sentence, after=scanned, site=target)

    # 5. the commit, then the VMs, then the way back
    window = opens(view, source, claim)
    sentence = f"commit epoch {number}: plan {plan} is active at {target}{said_at_commit(origin, window)}"
    if window is None:
        commit = steps.add("commit", "", sentence, after=[scan], site=target)
    else:
        commit = steps.add("commit", "", sentence, after=[scan], site=target, window=str(window))
    split_off(view, target, move.written, chosen, steps, after=[commit])
    thirds = [step for step in steps.ids("stop", "fence") if step not in (*prelude, *stopped, *fenced)]
    add_starts(view, hosts, steps, after=[commit], last=thirds)
    untouched = origin if window is not None else None
    if point is not None:
        came = late_after(view, target, point, spared={untouched, *move.written})
        add_late(view, came, target, steps, after=[commit])
    end_void(view, steps, after=[commit])
    if not move.written:
        way_back(view, steps, target, commit, untouched=untouched)


def _bring_final(view: PlanView, steps: Steps, move: _Move, proved: list[str]) -> list[str]:
    """The source's last state, taken, sent and chosen; the id of the last step."""
    origin, target, taken = move.source.site, move.target, move.source.final_point
    ready = proved
    if taken is None:
        sentence = f"take the final snapshot of plan {view.spec.name} at {origin}"
        ready = [steps.add("final", "", sentence, after=proved, group="transfer", site=origin)]
    sent: list[str] = []
    for name in view.volume_names:
        way = view.way(name, origin, target) or (view.copy_array(name, origin), view.copy_array(name, target))
        hop = ready
        for a, b in pairwise(way):
            copy = copy_of(view.seen, b, name)
            if taken is not None and copy is not None and copy.snapshot(taken.id) is not None:
                continue
            subject = name if b == way[-1] else f"{name}@{view.topology.arrays[b].site}"
            sentence = f"send the final snapshot of volume {name} from {a} to {b}"
            hop = [steps.add("bring", subject, sentence, after=hop, group="transfer", volume=name, source=a, target=b)]
        if hop is not ready:
            sent += hop
    sentence = "choose the final snapshot as the recovery point"
    return [steps.add("choose", "", sentence, after=[*ready, *sent], group="transfer", site=target)]
