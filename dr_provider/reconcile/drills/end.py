"""The end of a drill: nothing of it stays, and nothing is asked of a side that is lost.

Invariants: what cannot be removed now is put on record on every array that answers, before it is left, and whoever holds the plan's lease
next removes it when it can; the drill's own record goes last.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from dr_provider.model import keys, stopping
from dr_provider.model.codec import dump
from dr_provider.model.drills import DrillEnd, DrillRecord, what_went
from dr_provider.model.errors import (
    Conflict,
    DeviceFault,
    DrError,
    LeaseHeld,
    LeaseLost,
    MoveInProgress,
    NotReady,
    Unreachable,
)
from dr_provider.model.records import Guard
from dr_provider.reconcile.drills.evidence import drill_results
from dr_provider.reconcile.drills.outcome import DrillOutcome, keep_result
from dr_provider.reconcile.drills.parts import Parts, drills_to_end, parts_of
from dr_provider.reconcile.lease import HeldLease, hold_lease, wait_for_lease
from dr_provider.reconcile.ownership import claim_guard
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.world import World

__all__ = ["Ended", "end_drill", "end_due_drills", "give_way"]

_SHORT = 2.0
"""Seconds that a move waits for another plan's lease."""
_AWAY = (Unreachable, NotReady, DeviceFault, Conflict)


@dataclass
class Ended:
    """`removed`: how many VMs, cloned volumes and holds went. `left`: sentences on what stays until somebody is back."""

    plan: str
    drill: str
    why: str = ""
    removed: dict[str, int] = field(default_factory=lambda: {"vms": 0, "volumes": 0, "holds": 0})
    left: list[str] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        why, went = f", since {self.why}" if self.why else "", what_went(self.removed)
        if self.left:
            return f"drill {self.drill} is not ended whole{why} ({went} removed; left until it can be: {'; '.join(self.left)})"
        return f"drill {self.drill} was ended{why} ({went} removed)"

    def document(self) -> dict[str, Any]:
        return {
            "plan": self.plan,
            "drill": self.drill,
            "why": self.why or None,
            "removed": dict(self.removed),
            "left": list(self.left),
        }


def end_drill(
    world: World, plan: str, drill: str, guard: Guard | None = None, *, why: str = "", patience: float = 60.0
) -> Ended:
    """Remove every clone, map, hold, reservation and VM of a drill that can be removed. Raises Unreachable where no array of the plan answers,
    LeaseHeld and LeaseLost.

    With a guard (of a move that needs the drill's room) its lease is used; else one is taken.
    """
    with stopping.busy():
        if guard is not None:
            return _remove(world, world.view(plan, refresh=True), drill, guard, why)
        with wait_for_lease(world, plan, f"end of drill {drill}", patience=patience) as lease:
            return _under(world, lease, plan, drill, why)


def _under(world: World, lease: HeldLease, plan: str, drill: str, why: str) -> Ended:
    view = world.view(plan)
    _say_unfinished(world, view, lease, drill, why)
    return _remove(world, view, drill, lease.guard, why)


def give_way(world: World, plan: str, drill: str, *, why: str) -> Ended:
    """End a drill of another plan, whose room a move needs now: its VMs are stopped at once, which takes no lease; the rest is removed if that
    plan's lease is free, else by whoever ends the drill. Raises what a host raises that does not stop its VM."""
    view = world.view(plan)
    parts, tag = parts_of(view, drill), keys.drill_tag(view.topology.name, plan, drill)
    for host, state in parts.vms:
        world.fleet.host(host).stop(state.name, graceful=0)
    for host in parts.hosts:
        world.fleet.host(host).release(tag)
    try:
        return end_drill(world, plan, drill, why=why, patience=_SHORT)
    except (LeaseHeld, MoveInProgress, Unreachable) as error:
        return Ended(plan, drill, why, left=[f"its clones; dr drill end {plan} {drill} removes them ({error})"])


def end_due_drills(world: World, plan: str, held: HeldLease | None = None) -> tuple[list[str], list[str]]:
    """End the plan's drills that have expired, and what was left of others; under the caller's lease, else under one of its own where there
    is anything to do. Sentences on what was ended, and on what could not be: that holds up nobody, and the next run tries again.
    Raises LeaseLost."""
    done: list[str] = []
    try:
        if not drills_to_end(world.view(plan)):
            return done, []
        with ExitStack() as stack, stopping.busy():
            lease = held or stack.enter_context(hold_lease(world, plan, f"end of drills of plan {plan}"))
            for drill, why in drills_to_end(world.view(plan)).items():
                done.append(_under(world, lease, plan, drill, why).sentence)
                world.look(refresh=True)
    except LeaseLost:
        raise
    except DrError as error:
        return done, [f"plan {plan}: drills that are over are ended by a later run ({error})"]
    return done, []


def _remove(world: World, view: PlanView, drill: str, guard: Guard, why: str) -> Ended:
    plan, fleet, parts = view.spec.name, world.fleet, parts_of(view, drill)
    ended = Ended(plan, drill, why)
    record = view.drills.get(drill)
    waits = parts.silent
    if not parts and not parts.asked:
        # Nothing that answers knows of it. Its record was written before anything was made, so only a silent array may.
        waits = {name: why for name, why in waits.items() if name in view.topology.arrays}
    if waits:
        # Before anything goes: whoever is killed here leaves behind what is to be done.
        _ask_later(world, view, drill, record, guard)
    for host, state in parts.vms:
        try:
            fleet.host(host).stop(state.name, graceful=0)
            ended.removed["vms"] += fleet.host(host).undefine(state.name, state.definition.owner)
        except _AWAY as error:
            ended.left.append(f"VM {state.name} on {host} ({error})")
    for host in parts.hosts:
        try:
            fleet.host(host).release(keys.drill_tag(view.topology.name, plan, drill))
        except _AWAY as error:
            ended.left.append(f"what {host} keeps for it ({error})")
    for array in sorted({*parts.clones, *parts.held}):
        try:
            _remove_at(world, view, array, drill, parts, _guard(view, array, guard), ended)
        except _AWAY as error:
            ended.left.append(f"its clones on {array} ({error})")
    ended.left += [_unseen(view, record, drill, name, reason) for name, reason in waits.items()]
    if ended.left:
        _ask_later(world, view, drill, record, guard)
        return ended
    for array in {*parts.records, *parts.asked}:
        own = _guard(view, array, guard)
        fleet.array(array).delete_record(keys.drill_key(view.topology.name, plan, drill), own)
        fleet.array(array).delete_record(keys.drill_end_key(view.topology.name, plan, drill), own)
    return ended


def _unseen(view: PlanView, record: DrillRecord | None, drill: str, name: str, reason: str) -> str:
    """What a silent machine has of the drill, as far as its record says."""
    vms = [keys.drill_vm(vm, drill) for vm, host in sorted(record.vms.items()) if host == name] if record else []
    what = f"VM {', '.join(vms)} on {name}" if vms else f"what {name} has of it"
    return f"{what} ({reason})"


def _guard(view: PlanView, array: str, guard: Guard) -> Guard:
    """An array that is none of the plan's any more holds no lease of it."""
    plan = view.spec.name
    return guard if array in view.topology.plan_arrays(plan) else claim_guard(view.topology.name, plan)


def _remove_at(world: World, view: PlanView, array: str, drill: str, parts: Parts, guard: Guard, ended: Ended) -> None:
    state, driver = view.seen.array(array), world.fleet.array(array)
    for name in parts.clones.get(array, ()):
        assert state is not None
        volume = state.volumes[name]
        driver.unmap_luns({name: sorted(volume.luns)}, guard)
        assert volume.owner is not None
        ended.removed["volumes"] += driver.delete_volume(name, volume.owner, guard)
    if held := parts.held.get(array):
        driver.release(list(held), keys.drill_hold(drill), guard)
        ended.removed["holds"] += len(held)


def _ask_later(world: World, view: PlanView, drill: str, record: DrillRecord | None, guard: Guard) -> None:
    """Put on record, wherever somebody answers, that the drill is to be ended."""
    plan = view.spec.name
    end = DrillEnd(plan, drill, record.site if record else "", world.by, keys.stamp(keys.now()))
    key = keys.drill_end_key(view.topology.name, plan, drill)
    for array in view.topology.plan_arrays(plan):
        state = view.seen.array(array)
        if state is not None and key not in state.records:
            try:
                world.fleet.array(array).put_record(key, dump(end), guard)
            except (Unreachable, NotReady, DeviceFault):
                continue


def _say_unfinished(world: World, view: PlanView, lease: HeldLease, drill: str, why: str) -> None:
    """A scheduled drill that was cut before it showed anything counts as one that failed: else it would be tried again and again."""
    record = view.drills.get(drill)
    if record is None or record.kind != "scheduled" or any(r.drill == drill for r in drill_results(view)):
        return
    taken = next((point.time for point in view.points if point.id == record.point), record.time)
    age = (keys.at(record.time) - keys.at(taken)).total_seconds()
    said = f"drill {drill} did not get to its end: whoever ran it ({record.by}) was cut off"
    outcome = DrillOutcome(
        drill, record.plan, record.site, record.point, taken, age, 0.0, {},
        failures=(said,), kind=record.kind, by=record.by, stack=record.stack, started=record.time, ended=why,
    )  # fmt: skip
    keep_result(world, view, lease, outcome, finished=False)
