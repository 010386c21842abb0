"""Drills: the plan's VMs on clones of a recovery point, in an isolated network; mirrors go on, and the end leaves no trace.

Invariants: a drill never maps, changes or stops anything of production; its record is written before anything is made, so that its end
finds all of it; the lease is held to hold and clone only, and for what it has shown.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from dr_provider.model import keys, stopping
from dr_provider.model.codec import dump
from dr_provider.model.drills import DrillKind, DrillRecord
from dr_provider.model.errors import BadInput, DrError, MoveInProgress, Refused, Stopped
from dr_provider.model.records import Guard, Owner
from dr_provider.protection.catalogue import RecoveryPoint
from dr_provider.reconcile.drills.decide import DrillPlace, decide_drill, lacking
from dr_provider.reconcile.drills.end import end_drill
from dr_provider.reconcile.drills.outcome import DrillOutcome, DrillVm, keep_result, missed
from dr_provider.reconcile.drills.parts import drill_vms
from dr_provider.reconcile.drills.vms import Drilling, bring_up, give_back, keep_room
from dr_provider.reconcile.journal import Lines
from dr_provider.reconcile.lease import wait_for_lease
from dr_provider.reconcile.placement import Placement
from dr_provider.reconcile.reports.account import leave_drill
from dr_provider.reconcile.steps import tier_of
from dr_provider.reconcile.terms import what_is_open
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.world import World

__all__ = ["let_stay", "run_drill", "start_drill"]

_AT_MOST = 86400.0
"""Seconds after which a drill that is ended by who runs it has expired: whoever ran it is gone."""


def start_drill(
    world: World,
    plan: str,
    site: str | None,
    drill: str,
    owner: Owner,
    point: str | None = None,
    *,
    only: str | None = None,
    host: str | None = None,
    stay: float | None = None,
    kind: DrillKind = "asked",
    whole: bool = False,
) -> DrillOutcome:
    """Run a drill (`only`: of this one VM, which then has network cards of its own); repeated, it goes on with what is left of the same one.

    `stay`: seconds until it expires (None: it stays until somebody ends it). `whole`: refused where not all of its VMs find room. What it
    has shown goes on record. Raises Refused, BadInput, Unreachable, MoveInProgress, LeaseHeld: nothing was made; any other DrError: it was
    begun, and stands as it is.
    """
    started, now = time.monotonic(), keys.now()
    kind = "beside" if only else kind

    def decided() -> DrillPlace:
        place = decide_drill(world, plan, site, drill, point, only=only, host=host, stack=owner.stack)
        if whole and place.placement.unplaced:
            raise lacking(world.view(plan), place.site, place.placement)
        return place

    with stopping.busy():
        world.view(plan, refresh=True)
        decided()
        with wait_for_lease(world, plan, f"drill {drill}") as lease:
            view = world.view(plan)
            if view.claim is not None:
                raise MoveInProgress(
                    f"plan {plan}: {what_is_open(view.claim)} is under way; no drill is started before its end"
                )
            # Others may have taken room since.
            place = decided()
            chosen, placement = place.point, place.placement
            known = view.drills.get(drill)
            begun = keys.at(known.time) if known is not None else now
            members = view.topology.vms[only].volumes() if only else chosen.members
            record = DrillRecord(
                plan=plan, drill=drill, site=place.site, stack=owner.stack, point=chosen.id, array="",
                volumes=tuple(keys.drill_volume(member, drill) for member in members), vms=dict(placement.hosts),
                time=keys.stamp(begun), by=world.by, kind=kind, own_cards=place.own_cards, network=place.network,
                expires=keys.stamp(begun + timedelta(seconds=stay)) if stay is not None else None,
            )  # fmt: skip
            held = Drilling(
                world, view, drill, owner, record, placement.hosts, chosen.seal, started, lines=Lines(started)
            )
            try:
                _make(held, chosen, lease.guard, members)
            except DrError as error:
                give_back(held)
                said = (f"drill {drill} was not made: {error}",)
                if kind != "beside":
                    keep_result(world, view, lease, _outcome(held, chosen, placement, said, ()))
                raise
        try:
            steps, failures = bring_up(held)
        except Stopped:
            raise
        except DrError as error:
            outcome = _outcome(held, chosen, placement, (str(error),), ())
            _keep(held, outcome)
            leave_drill(world, outcome, held.lines.lines)
            raise
        outcome = _outcome(held, chosen, placement, (*failures, *placement.unplaced.values()), steps)
        _keep(held, outcome)
        return replace(outcome, report=leave_drill(world, outcome, held.lines.lines))


def run_drill(
    world: World,
    plan: str,
    site: str | None,
    drill: str,
    owner: Owner,
    point: str | None = None,
    *,
    kind: DrillKind = "asked",
) -> DrillOutcome:
    """Run a drill and end it, however it went: also where it is stopped, or fails in the middle. Raises as `start_drill`."""
    try:
        outcome = start_drill(world, plan, site, drill, owner, point, stay=_AT_MOST, kind=kind, whole=True)
    except (BadInput, Refused, MoveInProgress):
        raise
    except DrError as error:
        _end_after(world, plan, drill, error)
        raise
    try:
        ended = end_drill(world, plan, drill, why="its checks are done")
    except DrError as error:
        said = f"it could not be ended: {error}; dr drill end {plan} {drill} does it"
        return replace(outcome, failures=(*outcome.failures, said))
    return replace(outcome, ended=ended.why, left=tuple(ended.left))


def let_stay(world: World, plan: str, drill: str, stay: float | None) -> str | None:
    """Let a drill that is up stay for `stay` seconds from its beginning (None: until somebody ends it); when it expires. Raises Refused where
    nothing that answers knows it."""
    with stopping.busy(), wait_for_lease(world, plan, f"expiry of drill {drill}") as lease:
        view = world.view(plan)
        record = view.drills.get(drill)
        if record is None:
            raise Refused((f"plan {plan}: drill {drill} is not there any more",))
        expires = keys.stamp(keys.at(record.time) + timedelta(seconds=stay)) if stay is not None else None
        _put_record(world, view, replace(record, expires=expires), lease.guard)
        return expires


def _put_record(world: World, view: PlanView, record: DrillRecord, guard: Guard) -> None:
    key = keys.drill_key(view.topology.name, record.plan, record.drill)
    for array in view.site_arrays(record.site):
        world.fleet.array(array).put_record(key, dump(replace(record, array=array)), guard)


def _end_after(world: World, plan: str, drill: str, error: DrError) -> None:
    """What was begun is ended; that it could not be is said, and does not hide why."""
    if drill not in world.view(plan, refresh=True).drills:
        return
    try:
        world.progress(f"plan {plan}: {end_drill(world, plan, drill, why='it was cut short').sentence}")
    except DrError as second:
        world.progress(f"plan {plan}: drill {drill} is not ended ({second}); dr drill end {plan} {drill} does it")


def _keep(held: Drilling, outcome: DrillOutcome) -> None:
    """Evidence of a drill that cannot be put on record is no reason to call the drill a failure; it is said."""
    if held.record.kind == "beside":
        return
    plan = held.view.spec.name
    try:
        with wait_for_lease(held.world, plan, f"what drill {held.drill} showed") as lease:
            keep_result(held.world, held.world.view(plan), lease, outcome)
    except DrError as error:
        held.world.progress(f"plan {plan}: what drill {held.drill} showed did not come onto record ({error})")


def _make(held: Drilling, point: RecoveryPoint, guard: Guard, members: Sequence[str]) -> None:
    """Write the record, then keep room on the hosts, hold the point and clone these volumes of it."""
    view, drill, fleet, site = held.view, held.drill, held.world.fleet, held.record.site
    _put_record(held.world, view, held.record, guard)
    keep_room(held)
    for member in members:
        array = view.copy_array(member, site)
        fleet.array(array).hold({member: point.id}, keys.drill_hold(drill), guard)
        fleet.array(array).clone(member, point.id, keys.drill_volume(member, drill), "drill", held.owner, guard=guard)


def _outcome(
    held: Drilling,
    point: RecoveryPoint,
    placement: Placement,
    failures: tuple[str, ...],
    steps: tuple[Mapping[str, object], ...],
) -> DrillOutcome:
    record, spec, took = held.record, held.view.spec, time.monotonic() - held.started
    begun = len(failures) == 0
    there = drill_vms(held.world.view(spec.name, refresh=True), held.drill)
    names = [vm for vm in spec.members if vm in placement.hosts or vm in placement.unplaced]
    vms = {}
    for vm in names:
        _, state = there.get(vm, ("", None))
        why = held.wrong.get(vm) or held.astray.get(vm) or placement.unplaced.get(vm, "")
        vms[vm] = DrillVm(
            vm, tier_of(spec, vm) + 1, placement.hosts.get(vm, ""), keys.drill_vm(vm, held.drill),
            state.state if state is not None else "unknown", held.seconds.get(vm), tuple(held.checks.get(vm, ())), why,
        )  # fmt: skip
    rto = max(held.seconds.values(), default=took) if begun else took
    rpo = (keys.at(record.time) - keys.at(point.time)).total_seconds()
    return DrillOutcome(
        drill=held.drill, plan=spec.name, site=record.site, point=point.id, point_time=point.time, rpo_seconds=max(0.0, rpo), rto_seconds=rto,
        vms=vms, failures=failures, steps=steps, kind=record.kind, by=record.by, stack=record.stack, started=record.time,
        expires=record.expires, notes=(*sorted(held.notes), *missed(spec, rpo, rto)), wanted={"rpo": spec.rpo, "rto": spec.rto},
    )  # fmt: skip
