"""What `dr protect` does: repair, back up, replicate, prune; what is due, or all of it.

Invariants:
1. Only the active side is backed up, and only while its past is clear: no split, no open claim, its arrays know the epoch in force.
2. The lease is held for the group and for pruning, never for a transfer; a transfer's calls fail as soon as a claim is open.
3. A copy that is silent or cannot be reached is a warning: the active side goes on being backed up.
4. A copy that is no mirror any more is not overwritten here; repair does that, with its safety copy first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from dr_provider.model import keys, stopping
from dr_provider.model.errors import DrError, LeaseHeld, MoveInProgress, Refused, Stopped, Unreachable
from dr_provider.protection import backup, pins, retention
from dr_provider.reconcile.answering import forget_past_answers
from dr_provider.reconcile.capacity import full_arrays
from dr_provider.reconcile.cycle import Cycle, ProtectOutcome, Stop, Transfer
from dr_provider.reconcile.drills.end import end_due_drills
from dr_provider.reconcile.drills.schedule import is_due, run_scheduled
from dr_provider.reconcile.due import Due, next_due, what_is_due
from dr_provider.reconcile.frozen import thaw_frozen
from dr_provider.reconcile.lease import hold_lease
from dr_provider.reconcile.places import backup_places
from dr_provider.reconcile.terms import how_to_finish, what_is_open
from dr_provider.reconcile.transfers import claim_guard, mirrors_of, open_mirrors, say_unreached, send_all
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.window import left_untouched
from dr_provider.reconcile.world import World

__all__ = [
    "ProtectOutcome",
    "Transfer",
    "backup_all",
    "backup_places",
    "backup_plan",
    "protect_all",
    "protect_plan",
    "refuse",
    "spared_sites",
    "watch",
]

_FRESH = 1.0
"""Seconds for which what was seen when the backup was found due is not looked at again when its lease is taken."""
_LOOK = 0.5
_RETRY = 60.0


def protect_plan(
    world: World, plan: str, *, now: bool = False, stop: Stop = stopping.requested, drills: bool = True
) -> ProtectOutcome:
    """Do what is due for a plan; with `drills`, a scheduled drill too, when all else is done. Raises Refused (stale, split, never made), MoveInProgress, LeaseHeld, Unreachable (nothing of the active
    side answers), Stopped; and what an array of the active side raised while the group was taken."""
    cycle = Cycle(world, plan, stop)
    with stopping.busy():
        view = world.view(plan, refresh=True)
        if view.split is None:
            refuse(view)
        view = _repair(cycle, view)
        due = what_is_due(view, open_mirrors(view), now=now)
        if due.group or due.thaw:
            _take(cycle, view, due)
            view = world.view(plan, refresh=True)
        if due.replicate:
            send_all(cycle, view)
        # Before old points are pruned: what a drill stood on may go with it.
        view = _end_drills(cycle, view)
        if due:
            view = _tidy(cycle)
        if drills and is_due(view):
            _drill(cycle, view)
            view = world.view(plan, refresh=True)
    say_unreached(cycle, view)
    for sentence in full_arrays(view):
        cycle.warn(sentence)
    return cycle.outcome(next_due(view, open_mirrors(view)))


def backup_plan(world: World, plan: str, *, stop: Stop = stopping.requested) -> ProtectOutcome:
    """A recovery point now, where the plan is active; nothing is repaired, sent or pruned. Raises as `protect_plan` does."""
    cycle = Cycle(world, plan, stop)
    with stopping.busy():
        view = world.view(plan, refresh=True)
        refuse(view)
        _refuse_stale(view)
        _take(cycle, view, Due(backup=True))
        view = world.view(plan, refresh=True)
        _say_level(cycle, view)
    return cycle.outcome(next_due(view, open_mirrors(view)))


def protect_all(
    world: World, plans: Iterable[str], *, now: bool = False, stop: Stop = stopping.requested
) -> list[ProtectOutcome]:
    """Protect several plans side by side; one that fails is an outcome with its sentence, and does not stop the others."""
    return _side_by_side(plans, lambda plan: protect_plan(world, plan, now=now, stop=stop))


def backup_all(world: World, plans: Iterable[str], *, stop: Stop = stopping.requested) -> list[ProtectOutcome]:
    """`backup_plan` of several plans side by side, as `protect_all` does."""
    return _side_by_side(plans, lambda plan: backup_plan(world, plan, stop=stop))


def _side_by_side(plans: Iterable[str], work: Callable[[str], ProtectOutcome]) -> list[ProtectOutcome]:
    names = list(plans)

    def attempt(plan: str) -> ProtectOutcome:
        try:
            return work(plan)
        except DrError as error:
            return ProtectOutcome(plan, failures=tuple(str(error).splitlines()))

    with ThreadPoolExecutor(max_workers=max(1, len(names)), thread_name_prefix="protect") as pool:
        return list(pool.map(attempt, names))


# -- whether ------------------------------------------------------------------------------------


def refuse(view: PlanView) -> None:
    """Raise where the plan must not be backed up now, with the sentence that says what to do."""
    plan, active = view.spec.name, view.active
    if view.split is not None:
        sides = " and ".join(view.split.sides)
        raise Refused(
            (
                f"plan {plan} is split: {sides} have both been written, so neither is backed up, sent or pruned; "
                f"say which to keep: dr resolve {plan} --keep SITE",
            )
        )
    if active is None:
        _refuse_unknown(view)
    claim = view.claim
    if claim is not None:
        raise MoveInProgress(
            f"plan {plan}: {what_is_open(claim)} is under way (epoch {claim.number}, by {claim.by}), so nothing is backed up or sent now; "
            f"finish it with {how_to_finish(plan, claim)}, or call it off with dr abort {plan}"
        )
    silent = view.silent_arrays(str(active))
    if silent:
        raise Unreachable(
            f"plan {plan}: where it is active, at {active}, {', '.join(silent)} gives no answer ({'; '.join(silent.values())}); nothing was backed up"
        )


def _refuse_unknown(view: PlanView) -> None:
    plan = view.spec.name
    arrays = view.topology.plan_arrays(plan)
    silent = {n: s for site in view.spec.sites for n, s in view.silent_arrays(site).items()}
    if len(silent) == len(arrays):
        raise Unreachable(f"plan {plan}: none of its arrays answers ({'; '.join(silent.values())}); nothing was done")
    also = f" (silent, and may know it: {', '.join(sorted(silent))})" if silent else ""
    raise Refused(
        (f"plan {plan} was never made as far as its arrays know{also}; make it with pulumi up, or with dr apply",)
    )


def _refuse_stale(view: PlanView) -> None:
    """After repair: an array of the active side that still knows an older epoch only is not the side that the epoch names."""
    active, epoch = str(view.active), view.epoch
    assert epoch is not None
    behind = [a for a in view.site_arrays(active) if view.known_epoch(a) < epoch.number]
    if behind:
        raise Refused(
            (
                f"plan {view.spec.name}: {', '.join(behind)} at {active} does not know epoch {epoch.number} yet, so nothing is backed up there; run dr protect again",
            )
        )


def _repair(cycle: Cycle, view: PlanView) -> PlanView:
    """Let the reconciler do what the steady state needs before a backup; what it says goes into the outcome."""
    # Imported here: the run reports with the status, which is beside this module.
    from dr_provider.reconcile.decide import decide
    from dr_provider.reconcile.decision import Want
    from dr_provider.reconcile.run import repair_plan

    decision = decide(view, Want(by=cycle.world.by))
    for sentence in decision.degraded:
        cycle.warn(sentence)
    if decision.kind == "repair" and decision.actions:
        outcome = repair_plan(cycle.world, cycle.plan)
        done = {line["id"] for line in outcome.steps if line["event"] == "done"}
        cycle.repaired = tuple(action.sentence for action in outcome.decision.actions if action.id in done)
        for sentence in outcome.warnings:
            cycle.warn(sentence)
        cycle.failures += outcome.failures
        view = cycle.world.view(cycle.plan, refresh=True)
    refuse(view)
    _refuse_stale(view)
    return view


# -- the group ----------------------------------------------------------------------------------


def _members(cycle: Cycle, view: PlanView) -> tuple[str, ...]:
    """The plan's volumes that are there. One that is lost here stops the backup: a newer point without it would push out those that have it."""
    active = str(view.active)
    there = tuple(name for name in view.declared_volumes if view.volume(name, active) is not None)
    for name in view.declared_volumes:
        if name in there:
            continue
        holders = [s for s in view.spec.sites if (v := view.volume(name, s)) is not None and v.snapshots]
        if holders:
            raise Refused(
                (
                    f"plan {cycle.plan}: volume {name} is lost at {active} while {', '.join(holders)} holds a copy, so no new recovery point is taken "
                    f"(it would lack that volume); bring it back, or move with dr failover {cycle.plan} --to {holders[0]}",
                )
            )
        if not view.never_made("volume", name):
            raise Refused(
                (
                    f"plan {cycle.plan}: volume {name} was made and is not at {active} any more, and no copy of it answers, so no new recovery point "
                    "is taken (it would lack that volume); bring it back, or take it out of the topology",
                )
            )
        cycle.warn(
            f"volume {name} is not made yet at {active}, so it is not backed up; pulumi up (or dr apply) makes it"
        )
    if not there:
        raise Refused(
            (f"plan {cycle.plan}: none of its volumes is made yet; make them with pulumi up, or with dr apply",)
        )
    return there


def _take(cycle: Cycle, view: PlanView, due: Due) -> None:
    """Thaw what an earlier run left frozen, and take the group; under the lease."""
    world, plan = cycle.world, cycle.plan
    try:
        doing = f"backup of plan {plan}" if due.group else f"thaw of plan {plan}"
        with hold_lease(world, plan, doing, younger=_FRESH) as lease:
            view = world.view(plan)
            refuse(view)
            thaw_frozen(world, plan)
            if not due.group:
                return
            members = _members(cycle, view)
            epoch = view.epoch
            assert epoch is not None
            cycle.point = backup.take_group(
                world.fleet,
                world.topology,
                plan,
                epoch.site,
                epoch=epoch,
                sequence=backup.next_sequence(view.points, epoch.number),
                guard=claim_guard(world, plan, lease.guard),
                view_places=backup_places(view, epoch.site),
                kind="backup" if due.backup else backup.CYCLE_KIND,
                consistency=view.spec.backup.consistency if due.backup else "crash",
                members=members,
                progress=world.progress,
            )
    except LeaseHeld:
        # Frozen under another's lease: that is its backup, and it thaws what it froze.
        if due.group:
            raise


# -- afterwards ---------------------------------------------------------------------------------


def spared_sites(view: PlanView) -> tuple[str, ...]:
    """Sites where nothing is pruned: an array there does not know the epoch in force, or a copy there is no mirror in line."""
    epoch = view.epoch
    found = set()
    for site in view.spec.sites:
        arrays = [a for a in view.site_arrays(site) if view.seen.array(a) is not None]
        if epoch is None or any(view.known_epoch(a) < epoch.number for a in arrays):
            found.add(site)
    found |= {mirror.to_site for mirror in mirrors_of(view) if mirror.state in ("broken", "split")}
    found |= {site for site in (left_untouched(view),) if site is not None}
    return tuple(sorted(found))


def _tidy(cycle: Cycle) -> PlanView:
    """Prune, and let the arrays remember each other as they are now; under the lease again. The view that taking the lease gives."""
    world, plan = cycle.world, cycle.plan
    try:
        with hold_lease(world, plan, f"retention of plan {plan}") as lease:
            view = world.view(plan)
            refuse(view)
            guard = claim_guard(world, plan, lease.guard)
            prunes = retention.plan_pruning(world.topology, plan, view.seen, view.points, spare=spared_sites(view))
            cycle.pruned, said = retention.run_pruning(world.fleet, prunes, guard=guard)
            for sentence in said:
                cycle.warn(sentence)
            pins.write_pins(world.fleet, world.topology, view.seen, guard, arrays=lease.arrays)
            forget_past_answers(world.fleet, view, guard, lease.arrays)
    except (LeaseHeld, MoveInProgress) as error:
        cycle.warn(f"plan {plan}: old recovery points are pruned by a later run ({error})")
    view = world.view(plan)
    _say_level(cycle, view)
    return view


def _say_level(cycle: Cycle, view: PlanView) -> None:
    taken = next((p for p in view.points if p.id == cycle.point), None)
    cycle.level = taken.seal.consistency if taken is not None and taken.seal is not None else None


# -- drills -------------------------------------------------------------------------------------


def _end_drills(cycle: Cycle, view: PlanView) -> PlanView:
    done, said = end_due_drills(cycle.world, cycle.plan)
    cycle.drills += done
    for sentence in said:
        cycle.warn(sentence)
    return cycle.world.view(cycle.plan, refresh=True) if done else view


def _drill(cycle: Cycle, view: PlanView) -> None:
    ran, wrong = run_scheduled(cycle.world, cycle.plan, mirrors_of(view))
    cycle.drills += [ran] if ran else []
    if wrong:
        cycle.warn(wrong)


# -- staying ------------------------------------------------------------------------------------


def watch(
    world: World, plans: Iterable[str], stop: threading.Event, *, clock: Callable[[], datetime] | None = None
) -> None:
    """Protect the plans until `stop` is set or the process is asked to end. Each has a thread of its own: one plan's long transfer or
    failure holds up no other. One line a cycle goes to the world's progress."""
    threads = [
        threading.Thread(target=_follow, args=(world, plan, stop, clock or keys.now), name=f"watch-{plan}", daemon=True)
        for plan in plans
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _follow(world: World, plan: str, stop: threading.Event, clock: Callable[[], datetime]) -> None:
    def asked() -> str | None:
        return "asked to end" if stop.is_set() else stopping.requested()

    drill = threading.Thread()
    while asked() is None:
        # What was silent in the last round is asked again: hours may have passed.
        world.fleet.forget_silence()
        spec = world.topology.plans[plan]
        due = clock() + timedelta(seconds=min(_RETRY, spec.replicate_every, spec.backup.every))
        try:
            outcome = protect_plan(world, plan, stop=asked, drills=False)
            due = outcome.next_due or due
            line = outcome.line()
            if not drill.is_alive() and is_due(world.view(plan)):
                drill = threading.Thread(target=_drill_beside, args=(world, plan), name=f"drill-{plan}")
                drill.start()
        except Stopped:
            break
        except DrError as error:
            line = f"plan {plan}: {'; '.join(str(error).splitlines())}"
        world.progress(f"{line}; next at {keys.stamp(due)}")
        while asked() is None and (left := (due - clock()).total_seconds()) > 0:
            stop.wait(min(_LOOK, left))
    if drill.ident is not None:
        drill.join()


def _drill_beside(world: World, plan: str) -> None:
    """A scheduled drill in a thread of its own: backups and transfers go on meanwhile. It ends itself when the process is asked to end."""
    try:
        ran, wrong = run_scheduled(world, plan, mirrors_of(world.view(plan)))
    except Stopped:
        return
    for line in filter(None, (f"plan {plan}: {ran}" if ran else "", wrong)):
        world.progress(line)
