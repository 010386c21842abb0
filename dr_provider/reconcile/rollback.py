"""`dr rollback` and `dr commit`: back to the side that a move has left untouched, or the end of the window in which that is possible. Pure.

A rollback is a move under a new epoch. Its order: room, the claim, what runs is stopped in reverse tier order and fenced, the proof, the
commit, starts in tier order, and then the way back: what was written meanwhile is kept as safety copies, and mirrors are turned. Nothing
is broken, sent or restored before the commit, for the side that it goes back to is as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dr_provider.model import keys
from dr_provider.model.records import Epoch
from dr_provider.reconcile.copies import standing
from dr_provider.reconcile.decision import Decision, Loss, Want
from dr_provider.reconcile.drills.giving_way import end_drills, make_room
from dr_provider.reconcile.fencing import grant_steps, wait_steps
from dr_provider.reconcile.repair import decide_repair, fence_mapped, stop_stale
from dr_provider.reconcile.restoring import unfinished
from dr_provider.reconcile.source import Source, look_at_source
from dr_provider.reconcile.starts import add_room, add_starts, add_stops
from dr_provider.reconcile.steps import Steps
from dr_provider.reconcile.terms import needs_word, target_faults, word_notes
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.wayback import way_back
from dr_provider.reconcile.window import window_of
from dr_provider.reconcile.word import ask_for_word, parse_word

__all__ = ["decide_commit", "decide_rollback"]


def decide_commit(view: PlanView, want: Want, epoch: Epoch) -> Decision:
    """End the window by the operator's word: the way back is made now. Nothing to do where none is open."""
    decision = decide_repair(view, want)
    if window_of(view) is not None:
        return decision
    plan = view.spec.name
    return replace(decision, notes=(*decision.notes, f"plan {plan}: no commit window is open in epoch {epoch.number}"))


def decide_rollback(view: PlanView, want: Want, epoch: Epoch) -> Decision:
    """Back to the untouched side. One that was claimed is finished whatever the time; one that was committed has only the steady state left."""
    plan, claim = view.spec.name, view.claim
    if claim is None and epoch.kind == "rollback":
        decision = decide_repair(view, want)
        done = f"plan {plan} is at {epoch.site} since epoch {epoch.number}, which was a rollback; a later move back is dr failover {plan} --to SITE"
        return replace(decision, notes=(*decision.notes, done))
    target = claim.site if claim is not None else epoch.from_site
    origin = epoch.site
    if target is None or target not in view.spec.sites:
        return Decision(plan, "rollback", origin, authority=origin).with_refusal(
            f"plan {plan}: epoch {epoch.number} left no side that it could go back to"
        )
    source = look_at_source(view, origin, target, None)
    decision = Decision(
        plan, "rollback", origin, target, target, loss=_loss(view, epoch, origin, target), warnings=source.warnings
    )
    steps = Steps()
    refused = [] if claim is not None else _not_open(view, epoch, target)
    if claim is None:
        if source.kind == "planned":
            refused = refused or unfinished(view)
        else:
            decision = replace(decision, warnings=(*decision.warnings, *unfinished(view)))
    refused = refused or target_faults(view, target) or _touched(view, target)
    if refused:
        return decision.with_refusal(*refused)
    if claim is None and (evidence := stop_stale(view, epoch, [target], steps, [])[target].evidence):
        return replace(decision, warnings=(*decision.warnings, *evidence)).with_refusal(
            f"plan {plan}: {target} may have been written after {origin} took over, so it is not as it was left; "
            f"run dr protect {plan} to put that on record, then dr resolve {plan} --keep SITE"
        )
    word = parse_word(plan, want.word)
    given = word is not None and word.epoch == epoch.number
    # Nothing is brought over: the word can only stand for a side that is silent.
    needs = needs_word(view, source, claim, True, target, given=given)
    if needs and not given and not (claim is not None and claim.word):
        refused = [*needs, ask_for_word(plan, epoch.number)]
    placement, ways = make_room(view, target, view.vms)
    refused += placement.unplaced.values()
    decision = replace(decision, notes=word_notes(plan, word, epoch, used=bool(needs)))
    if refused:
        return decision.with_refusal(*refused)
    spoken = str(word) if needs and given else ""
    end_drills(ways, plan, target, steps)
    _actions(view, steps, source, target, placement.hosts, spoken)
    return replace(decision, actions=steps.done())


def _actions(view: PlanView, steps: Steps, source: Source, target: str, hosts: Mapping[str, str], word: str) -> None:
    plan, origin, claim = view.spec.name, source.site, view.claim
    assert view.epoch is not None
    number = view.epoch.number + 1
    gate = [add_room(target, hosts, steps, after=steps.ids("stop", "fence", "end-drill"))]
    if claim is None:
        gate = [
            steps.add("claim", "", f"claim epoch {number} for {target}", after=gate, site=target, origin=origin,
                      point="", kind="rollback", word=word)
        ]  # fmt: skip
    answers = source.kind == "planned"
    stopped = [*gate, *add_stops(view, origin, steps, after=gate, needed=answers)]
    copies = [standing(view, name, target, origin) for name in view.volume_names]
    fenced = fence_mapped(copies, steps, after=stopped, needed=answers)
    sentence = f"prove that no VM of plan {plan} can write at {origin}"
    waited = wait_steps(view, source, claim, steps, after=gate, target=target, word=word)
    proved = [steps.add("prove", "", sentence, after=[*stopped, *fenced, *waited], group="fence", site=origin)]
    proved += grant_steps(view, claim, steps, after=proved, target=target, waited=bool(waited), word=word)
    sentence = f"commit epoch {number}: plan {plan} is active at {target} again, as it was left"
    commit = steps.add("commit", "", sentence, after=proved, site=target)
    add_starts(view, hosts, steps, after=[commit])
    way_back(view, steps, target, commit)


def _not_open(view: PlanView, epoch: Epoch, target: str) -> list[str]:
    """Why nobody goes back now; empty: he may."""
    window, plan = window_of(view), view.spec.name
    if window is not None and not window.over:
        return []
    if window is not None:
        why = f"its commit window was over at {window.until}"
    elif epoch.window_until is not None:
        why = "its commit window was ended, and what is there was changed since"
    elif epoch.kind == "disaster":
        why = f"it was a move after a disaster, and what {target} was like when it was left is not known"
    else:
        why = "it was committed without a commit window"
    return [
        f"plan {plan}: there is no way back from epoch {epoch.number} to {target} as it was: {why}; "
        f"dr failover {plan} --to {target} moves it there, with what was written at {epoch.site} since"
    ]


def _touched(view: PlanView, target: str) -> list[str]:
    """Volumes that the untouched side does not have as it should: they came to the plan after the move, or somebody changed them."""
    return [
        f"plan {view.spec.name}: volume {name} is not at {target} as one that can be written, so the plan cannot go back to how it was there; "
        f"dr failover {view.spec.name} --to {target} moves it with all it has"
        for name in view.volume_names
        if (volume := view.volume(name, target)) is None or not volume.writable
    ]


def _loss(view: PlanView, epoch: Epoch, origin: str, target: str) -> Loss:
    seconds = (keys.at(view.seen.time) - keys.at(epoch.time)).total_seconds()
    return Loss(
        seconds if seconds >= 0 else None,  # by a clock that is ahead of this one: zero would read as nothing
        f"{target} goes on as it was left; what was written at {origin} since {epoch.time} does not go along, and stays readable as safety copies",
    )
