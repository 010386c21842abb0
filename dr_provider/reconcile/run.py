"""Observe, decide, run: the one way in for commands and resources.

Level-triggered: a run that is killed anywhere leaves a state from which the next run observes, decides what is left, and finishes. A
planned move that fails before its commit is led back to the source at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import chain

from dr_provider.model import keys, stopping
from dr_provider.model.codec import dump
from dr_provider.model.errors import (
    ArrayFull,
    BadInput,
    DeviceFault,
    DrError,
    LeaseLost,
    MoveFailed,
    NotReady,
    Refused,
    Stopped,
    Unreachable,
)
from dr_provider.model.records import Declared
from dr_provider.protection import backup
from dr_provider.protection.pins import write_pins
from dr_provider.reconcile.actions import perform
from dr_provider.reconcile.actions.callouts import check as check_callouts
from dr_provider.reconcile.actions.callouts import lacks as callouts_lack
from dr_provider.reconcile.actions.claims import choose_anew, declare, give_back
from dr_provider.reconcile.answering import forget_past_answers
from dr_provider.reconcile.context import Run
from dr_provider.reconcile.decide import decide
from dr_provider.reconcile.decision import Decision, Want
from dr_provider.reconcile.drills.end import end_due_drills
from dr_provider.reconcile.fencing import witness_vouches
from dr_provider.reconcile.forks import changes_since_fork
from dr_provider.reconcile.frozen import thaw_frozen, thaw_left_frozen
from dr_provider.reconcile.graph import Event, GraphResult, run_graph
from dr_provider.reconcile.journal import Journal, estimate
from dr_provider.reconcile.lease import HeldLease, hold_lease, left_behind
from dr_provider.reconcile.outcome import Outcome, failures_of, outcome_of, warnings_of
from dr_provider.reconcile.reports.account import Account
from dr_provider.reconcile.resumed import found_unfinished
from dr_provider.reconcile.stored import store_topology
from dr_provider.reconcile.terms import what_is_open
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.word import ask_for_word, parse_word
from dr_provider.reconcile.world import World

__all__ = ["decide_plan", "repair_plan", "run_plan", "start_plan"]


def decide_plan(world: World, plan: str, want: Want, *, refresh: bool = False) -> Decision:
    """What would be done, over the shared observation. Raises BadInput for a plan, site, word or point that is wrong."""
    view = world.view(plan, refresh=refresh)
    if want.site is not None and want.site not in view.spec.sites:
        raise BadInput(
            f"plan {plan}: {want.site!r} is not one of its sites ({', '.join(view.spec.sites)}); nothing was done"
        )
    decision = decide(view, want)
    if view.split is not None:
        decision = replace(decision, warnings=(*decision.warnings, *changes_since_fork(world, view)))
    # The run refuses for it; who only looks may do so on a machine that is not the one that runs it.
    decision = replace(decision, warnings=(*decision.warnings, *callouts_lack(view, decision)))
    return replace(decision, estimate=estimate(world.topology.name, plan, decision.actions))


def run_plan(world: World, plan: str, want: Want, *, decided: Callable[[Decision], None] | None = None) -> Outcome:
    """Do what is wanted, or raise: Refused (sentences why), LeaseHeld, MoveFailed (a move did not get to its commit), Stopped.

    `decided` is told the decision that is about to be run.
    """
    account = Account(world, plan, want)
    started = account.began
    first = decide_plan(world, plan, want)
    if first.refused:
        raise Refused(first.refused)
    if not first.actions and first.exit_bad:
        return outcome_of(world, plan, first, started, failures=first.warnings[:1])
    if not first.actions and not _bookkeeping_due(world, plan, want):
        thaw_left_frozen(world, plan)
        return outcome_of(world, plan, first, started, failures=first.degraded)
    _make_arrays(world, first)
    with stopping.busy(), account, hold_lease(world, plan, _doing(first)) as lease:
        thaw_frozen(world, plan)
        # The estimate is of the same move, and reading journals for it anew would only cost time under the lease.
        decision = account.decision = replace(decide(world.view(plan), want), estimate=first.estimate)
        if decision.refused:
            raise Refused(decision.refused)
        _refuse_what_nobody_saw(world.view(plan), first, decision)
        check_callouts(world.view(plan), decision)
        if decided is not None:
            decided(decision)
        outcome = _carry_out(world, plan, want, decision, lease, account)
        drills = chain(*end_due_drills(world, plan, lease))
        outcome = account.outcome = replace(outcome, remarks=(*outcome.remarks, *drills))
    return replace(outcome, report=account.path)


def _refuse_what_nobody_saw(view: PlanView, first: Decision, decision: Decision) -> None:
    """Raise Refused where a move that was to lose nothing would lose something, since its source has fallen silent after it was decided."""
    if first.kind == "planned" and decision.kind == "disaster":
        silent = "; ".join(view.silent_arrays(str(decision.from_site)).values())
        raise Refused(
            (
                f"plan {decision.plan}: when this move was decided, {decision.from_site} answered and nothing would have been lost; by now it does not "
                f"({silent}), and {decision.loss.statement}. Nothing was changed: run it again to decide on that",
            )
        )


def _doing(decision: Decision) -> str:
    """What others who want the lease are told that this run does."""
    what = {"planned": "planned move", "disaster": "move after a disaster", "create": "making", "none": "bookkeeping"}
    return f"{what.get(decision.kind, decision.kind)} of plan {decision.plan}"


def _make_arrays(world: World, decision: Decision) -> None:
    """Arrays that may be made anew are made before the lease, which needs them; making is atomic, and two who race find the same array."""
    for action in decision.actions:
        if action.verb == "create-array":
            world.fleet.forget_silence(f"array {action.of['array']}")
            world.fleet.array(action.of["array"]).create()


def _bookkeeping_due(world: World, plan: str, want: Want) -> bool:
    """Whether a declaration or a new topology is still to be written, or the lease of a run that was killed to be ended."""
    view = world.view(plan)
    if left_behind(lease for leases in view.leases.values() for lease in leases) is not None:
        return True
    if want.stack is not None and want.site is not None and want.site == view.active:
        last = view.declared.get(want.stack)
        if last is None or last.site != want.site:
            return True
    return view.epoch is not None and world.topology_changed(plan)


def _carry_out(world: World, plan: str, want: Want, decision: Decision, lease: HeldLease, account: Account) -> Outcome:
    view, started = world.view(plan), account.began
    journal = Journal(
        decision, world.topology.name, want.by, lambda line: world.progress(f"plan {plan}: {line}"), started
    )
    run = Run(world, view, decision, want, lease, view.claim, stopping.requested, lines=journal)
    resumed = found_unfinished(view, lease)
    account.run, account.journal, account.resumed = run, journal, resumed
    if resumed is not None:
        run.remark(resumed.sentence)
    if run.claim is not None and decision.point is not None and run.claim.point != decision.point:
        # It was claimed for a final snapshot, or for a point with parts elsewhere, that is not to be had any more; nothing was broken yet.
        choose_anew(run, decision.point)
    if any(place.state.frozen for place in view.places):
        backup.thaw_all(world.fleet, world.topology, plan, view.seen)
    result = _execute(run, decision, journal)
    if result.fatal is not None:
        _close(run, journal, view.active or view.spec.home)
        raise _fatal(run, result.fatal)
    moving = decision.kind in ("planned", "disaster", "resolve", "rollback")
    if moving and run.committed is None and result.failed and _wants_commit(decision):
        _lead_back(run, decision, result, journal)
    run.fresh()
    _bookkeeping(run)
    _close(run, journal, run.epoch().site if run.committed or run.view.epoch else view.spec.home)
    failures = failures_of(decision, result)
    if run.view.split is not None:
        failures = (*failures, *decide(run.view, want).refused)
    outcome = outcome_of(
        world,
        plan,
        decision,
        started,
        failures=(*failures, *(s for s in decision.degraded if s not in failures)),
        warnings=warnings_of(decision, result),
        run=run,
        journal=journal,
        resumed=resumed,
    )
    if decision.kind == "create" and result.failed:
        raise MoveFailed(outcome.warnings or outcome.failures)
    return outcome


def _wants_commit(decision: Decision) -> bool:
    return any(action.verb == "commit" for action in decision.actions)


def _execute(run: Run, decision: Decision, journal: Journal) -> GraphResult:
    lock = threading.Lock()
    total = len(decision.actions)
    count = 0

    def tell(event: Event) -> None:
        nonlocal count
        journal.event(event, run.outputs.get(event.action.id, ""))
        if event.what == "failed":
            run.failed[event.action.id] = event.detail
        if event.what == "start":
            run.world.step(decision, event, "")
            return
        with lock:
            count += 1
            at = count
        if event.what == "skipped" and (run.committed is None or event.action.verb != "start"):
            run.world.step(decision, event, "")
            return  # what failed has been said; the journal has the rest
        remark = f" ({event.detail})" if event.detail and event.what == "done" else ""
        said = {"done": f"done in {event.seconds:.2f} s", "failed": "FAILED", "skipped": "skipped"}[event.what]
        why = f": {event.detail}" if event.what != "done" else ""
        line = f"plan {run.plan} [{at}/{total}] {event.action.sentence}: {said}{remark}{why}"
        run.world.step(decision, event, line)

    try:
        return run_graph(
            decision.actions, lambda action: perform(run, action), width=_width(run), stop=run.stop, tell=tell
        )
    finally:
        run.settle()


def _width(run: Run) -> int:
    """As wide as all arrays and hosts that answer together; each bounds its own calls."""
    topology, seen = run.world.topology, run.view.seen
    options = [spec.options for name, spec in topology.arrays.items() if seen.array(name) is not None]
    options += [spec.options for name, spec in topology.hosts.items() if seen.host(name) is not None]
    widths = [width if isinstance(width := option.get("width"), int) else 8 for option in options]
    return max(8, min(128, sum(widths)))


def _lead_back(run: Run, decision: Decision, result: GraphResult, journal: Journal) -> None:
    """A move that did not get to its commit: a planned one goes back to its source, which is well; of others the claim stays for the next run."""
    failures = tuple(f"{a.sentence}: {result.failed[a.id]}" for a in decision.actions if a.id in result.failed)
    plan = run.plan
    run.fresh()
    claimed, run.claim = run.claim, run.view.claim
    now = run.view.epoch
    if run.claim is None and claimed is not None and now is not None and now.id == claimed.id:
        _close(run, journal, now.site)
        raise MoveFailed(
            (
                *failures,
                f"epoch {now.number} is committed at {now.site} all the same; run again to start what does not run there",
            )
        )
    unsure = run.view.silent_arrays(str(decision.to_site)) if "commit" in result.failed else {}
    # A fence that does not hold is found before anything is broken: nothing stands in the way of going back either.
    back_at_once = decision.kind in ("planned", "rollback") or "wait-fence" in result.failed
    if not back_at_once or run.claim is None or unsure:
        stands = f"plan {plan} stands at: claimed for {decision.to_site}, not committed; run again to finish it, or call it off with dr abort {plan}"
        if run.claim is None:
            give_back(run, str(decision.to_site))
            stands = f"plan {plan} is where it was; nothing was claimed"
        _close(run, journal, str(decision.to_site))
        raise MoveFailed((*failures, stands))
    run.world.progress(
        f"plan {plan}: the move to {decision.to_site} cannot be finished; leading back to {decision.from_site}"
    )
    claim = run.claim
    back = decide(run.view, Want(goal="abort", by=run.want.by, uncommitted="commit" not in result.failed))
    run.decision = back
    undone = _execute(run, back, journal)
    # The same declaration may try again: this was no operator's wish.
    if run.want.stack is not None:
        record = Declared(plan, claim.from_site, keys.stamp(keys.now()), claim.number)
        run.write_all(keys.declared_key(run.topology, run.want.stack, plan), dump(record), must=())
    _close(run, journal, claim.from_site)
    if undone.failed or undone.fatal:
        more = tuple(str(error) for error in undone.failed.values())
        stands = f"and leading back to {claim.from_site} did not end either: run again, or dr abort {plan}"
        raise MoveFailed((*failures, *more, stands))
    raise MoveFailed((*failures, f"the move was called off: plan {plan} is active at {claim.from_site} as before"))


def _fatal(run: Run, error: DrError) -> DrError:
    """A run that ended early says what stands."""
    if isinstance(error, Stopped):
        made = run.claim
        if made is not None:
            stands = (
                f"{what_is_open(made)} is claimed and not committed: run again to finish it, or dr abort {run.plan}"
            )
        elif run.committed is not None:
            stands = f"plan {run.plan} is active at {run.committed.site} (epoch {run.committed.number}); run again to start the rest"
        else:
            stands = "run again to go on"
        return Stopped(f"plan {run.plan}: stopped at a safe action ({error}); {stands}")
    return error


def _bookkeeping(run: Run) -> None:
    """What every run leaves on the arrays: how far each has come, the topology, and what the stack declares; no answers to what is over."""
    site = run.want.site
    if run.want.stack is not None and site is not None and site == run.view.active:
        last = run.view.declared.get(run.want.stack)
        if last is None or last.site != site:
            declare(run, site)
    if run.view.epoch is not None:
        # An array that comes back as it was before this run is found out by the others.
        write_pins(run.world.fleet, run.world.topology, run.view.seen, run.guard, arrays=run.lease.arrays)
        store_topology(run.world.topology, run.world.fleet, run.view.seen, run.guard, run.lease.arrays)
    forget_past_answers(run.world.fleet, run.view, run.guard, run.lease.arrays)


def _close(run: Run, journal: Journal, site: str) -> None:
    """The journal goes to the recovery array; capacity that is kept no longer is given back. Who was overtaken leaves both alone."""
    journal.write({"event": "end", "remarks": run.remarks})
    key = f"{run.topology}/blob/journal/{run.plan}/{run.lease.record.n % 20}"
    overtaken = run.lease.lost is not None
    for name in run.view.site_arrays(site):
        try:
            run.world.fleet.array(name).put_record(key, journal.text(), run.guard)
        except LeaseLost:
            overtaken = True  # hosts check no lease: what is kept there may be the other run's by now
        except (Unreachable, NotReady, DeviceFault, ArrayFull):
            continue
    if run.claim is None and not overtaken:
        for at in run.view.spec.sites:
            give_back(run, at)
    journal.close()


# -- less than a move --------------------------------------------------------------------------------


def repair_plan(world: World, plan: str, by: str | None = None) -> Outcome:
    """What the steady state needs, and nothing else; a move under way is finished by no one but its own command, and no prompt is waited at."""
    return run_plan(world, plan, Want(by=by or world.by, unattended=True))


def start_plan(world: World, plan: str, word: str | None, by: str | None = None) -> Outcome:
    """Start a plan's VMs where it is active, without a move; where the other side cannot be asked, only by the operator's word."""
    view = world.view(plan)
    epoch = view.epoch
    if epoch is None:
        raise Refused(
            (f"plan {plan}: no epoch is known to the arrays that answer; make the plan first (pulumi up, or dr apply)",)
        )
    given = parse_word(plan, word)
    silent = [r for s in view.spec.sites if s != epoch.site for r in view.silent_arrays(s).values()]
    if silent and not witness_vouches(view, epoch) and not (given and given.epoch == epoch.number):
        raise Refused(
            (
                f"plan {plan}: another side might have taken over and cannot be asked ({'; '.join(silent)}); {ask_for_word(plan, epoch.number)}",
            )
        )
    return run_plan(world, plan, Want(word=word, by=by or world.by))
