"""Drills: the plan's VMs on clones of a recovery point, in an isolated network; mirrors go on, and the end leaves no trace.

Invariants: a drill never maps, changes or stops anything of production; its record is written before anything is made, so that its end
finds all of it; the lease is held to hold and clone only, and for what it has shown.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from dr_provider.model import keys, stopping
from dr_provider.model.codec import dump
from dr_provider.model.drills import DrillKind, DrillRecord
from dr_provider.model.errors import BadInput, DrError, MoveInProgress, Refused, Stopped
from dr_provider.model.records import Guard, Owner, Seal
from dr_provider.model.state import Reservation
from dr_provider.model.topology import VmSpec
from dr_provider.protection.catalogue import RecoveryPoint
from dr_provider.reconcile.decision import Action, Decision
from dr_provider.reconcile.definitions import vm_definition
from dr_provider.reconcile.drills.callouts import perform_callout, with_callouts
from dr_provider.reconcile.drills.decide import DrillPlace, decide_drill, lacking
from dr_provider.reconcile.drills.end import Ended, end_drill
from dr_provider.reconcile.drills.outcome import DrillCheck, DrillOutcome, DrillVm, keep_result, missed
from dr_provider.reconcile.drills.parts import drill_vms
from dr_provider.reconcile.graph import Event, run_graph
from dr_provider.reconcile.health import pause, wait_until_well
from dr_provider.reconcile.journal import Lines
from dr_provider.reconcile.lease import wait_for_lease
from dr_provider.reconcile.placement import Placement
from dr_provider.reconcile.reports.account import leave_drill
from dr_provider.reconcile.steps import Steps, started_before, tier_of
from dr_provider.reconcile.terms import what_is_open
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.world import World

__all__ = ["DrillOutcome", "Ended", "decide_drill", "drill_state", "end_drill", "let_stay", "run_drill", "start_drill"]

_AT_MOST = 86400.0
"""Seconds after which a drill that is ended by who runs it has expired: whoever ran it is gone."""


@dataclass
class _Drill:
    world: World
    view: PlanView
    drill: str
    owner: Owner
    record: DrillRecord
    hosts: Mapping[str, str]
    seal: Seal | None
    started: float
    checks: dict[str, list[DrillCheck]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    """VMs that did not come up, with the reason."""
    astray: dict[str, str] = field(default_factory=dict)
    """VMs that run, and do not hold what they should."""
    lines: Lines = field(default_factory=Lines)

    @property
    def tag(self) -> str:
        return keys.drill_tag(self.view.topology.name, self.view.spec.name, self.drill)

    def size(self, vm: str) -> VmSpec:
        """The VM as it is in a drill at this one's site."""
        return self.view.topology.vms[vm].there(self.record.site, drill=True)


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
            held = _Drill(
                world, view, drill, owner, record, placement.hosts, chosen.seal, started, lines=Lines(started)
            )
            try:
                _make(held, chosen, lease.guard, members)
            except DrError as error:
                _give_back(held)
                said = (f"drill {drill} was not made: {error}",)
                if kind != "beside":
                    keep_result(world, view, lease, _outcome(held, chosen, placement, said, ()))
                raise
        try:
            steps, failures = _bring_up(held)
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


def _keep(held: _Drill, outcome: DrillOutcome) -> None:
    """Evidence of a drill that cannot be put on record is no reason to call the drill a failure; it is said."""
    if held.record.kind == "beside":
        return
    plan = held.view.spec.name
    try:
        with wait_for_lease(held.world, plan, f"what drill {held.drill} showed") as lease:
            keep_result(held.world, held.world.view(plan), lease, outcome)
    except DrError as error:
        held.world.progress(f"plan {plan}: what drill {held.drill} showed did not come onto record ({error})")


def _make(held: _Drill, point: RecoveryPoint, guard: Guard, members: Sequence[str]) -> None:
    """Write the record, then keep room on the hosts, hold the point and clone these volumes of it."""
    view, drill, fleet, site = held.view, held.drill, held.world.fleet, held.record.site
    _put_record(held.world, view, held.record, guard)
    for host in sorted(set(held.hosts.values())):
        fleet.host(host).reserve(held.tag, _demands(held, host))
    for member in members:
        array = view.copy_array(member, site)
        fleet.array(array).hold({member: point.id}, keys.drill_hold(drill), guard)
        fleet.array(array).clone(member, point.id, keys.drill_volume(member, drill), "drill", held.owner, guard=guard)


def _bring_up(held: _Drill) -> tuple[tuple[Mapping[str, object], ...], tuple[str, ...]]:
    """Attach all VMs at once and start them in tier order, as a move does."""
    drill, spec = held.drill, held.view.spec
    steps = Steps()
    members = [vm for vm in spec.members if vm in held.hosts]
    for vm in members:
        said = f"drill {drill}: map the clones of VM {vm} to {held.hosts[vm]} and define it there"
        steps.add("attach", vm, said, vm=vm, host=held.hosts[vm])
    for vm in members:
        before = [f"start:{other}" for other in started_before(spec, vm) if other in held.hosts]
        tier = tier_of(spec, vm)
        needed = spec.tiers[tier].on_failure != "continue"
        said = f"drill {drill}, tier {tier + 1} of {len(spec.tiers)}: start VM {vm} on {held.hosts[vm]}"
        steps.add("start", vm, said, after=[f"attach:{vm}", *before], needed=needed, vm=vm, host=held.hosts[vm])
    site = held.record.site
    actions = with_callouts(held.view, held.record, steps.done())
    decision = Decision(spec.name, "drill", site, site, site, held.record.point, actions=actions)
    told: list[Mapping[str, object]] = []
    outputs: dict[str, str] = {}

    def tell(event: Event) -> None:
        held.lines.event(event, outputs.get(event.action.id, ""))
        line = ""
        if event.what != "start":
            seconds = round(event.seconds, 3)
            step = {"event": event.what, "sentence": event.action.sentence, "seconds": seconds, "detail": event.detail}
            told.append({**step, "output": outputs[event.action.id]} if event.action.id in outputs else step)
        if event.what == "failed" or (event.what != "start" and event.action.verb == "start"):
            said = {"done": f"well after {event.seconds:.2f} s", "failed": "FAILED", "skipped": "skipped"}[event.what]
            line = f"plan {spec.name}: {event.action.sentence}: {said}{f' ({event.detail})' if event.detail else ''}"
        held.world.step(decision, event, line)

    try:
        result = run_graph(actions, lambda a: _perform(held, a, outputs), width=64, stop=stopping.requested, tell=tell)
    finally:
        _give_back(held)
    if result.fatal is not None:
        raise result.fatal
    missed = [a for a in actions if a.id in result.failed and (a.needed or a.verb != "callout")]
    failures = [f"{a.sentence}: {result.failed[a.id]}" for a in missed]
    waits = {i: f"it waits ({why})" for i, why in result.skipped.items()}
    for action in (a for a in actions if "vm" in a.of and a.id in {*waits, *result.failed}):
        why = waits.get(action.id)
        if why is not None and action.verb == "start":
            failures.append(f"drill {drill}: VM {action.of['vm']} was not started: {why}")
        held.wrong.setdefault(action.of["vm"], why or str(result.failed[action.id]))
    failures += [f"drill {drill}: VM {vm}: {why}" for vm, why in held.astray.items()]
    return tuple(told), tuple(failures)


def _demands(held: _Drill, host: str) -> list[Reservation]:
    there = drill_vms(held.view, held.drill)
    running = {vm for vm, (_, state) in there.items() if state.state == "running"}
    return [
        Reservation(held.tag, keys.drill_vm(vm, held.drill), (size := held.size(vm)).cpus, size.memory)
        for vm, at in sorted(held.hosts.items())
        if at == host and vm not in running
    ]


def _give_back(held: _Drill) -> None:
    for host in sorted(set(held.hosts.values())):
        try:
            held.world.fleet.host(host).release(held.tag)
        except DrError as error:
            said = f"what {host} keeps for drill {held.drill} goes with its end ({error})"
            held.world.progress(f"plan {held.view.spec.name}: {said}")


def _perform(held: _Drill, action: Action, outputs: dict[str, str]) -> str:
    if action.verb == "callout":
        return perform_callout(held.world, held.view, held.record, held.hosts, action, outputs)
    vm, view = action.of["vm"], held.view
    if action.verb == "start":
        return _start(held, action)
    host_name, spec = held.hosts[vm], view.topology.vms[vm]
    state = view.seen.host(host_name)
    if state is None:
        raise DrError(f"VM {vm}: host {host_name} fell silent; run the drill again to place it anew")
    for volume in spec.volumes():
        array = held.world.fleet.array(view.copy_array(volume, held.record.site))
        luns = [keys.lun_name(vm, disk.role) for disk in spec.disks if disk.volume == volume]
        array.map_lun(keys.drill_volume(volume, held.drill), luns, state.initiator)
    fleet, record = held.world.fleet, held.record
    fleet.host(host_name).define(
        vm_definition(
            fleet, view.topology, vm, record.site, held.owner, held.drill,
            own_cards=record.own_cards, network=record.network, seen=view.seen,
        )
    )  # fmt: skip
    return ""


def _start(held: _Drill, action: Action) -> str:
    """Start the VM, wait until it is well, and look at its data."""
    vm = action.of["vm"]
    host_name, name, spec = held.hosts[vm], keys.drill_vm(vm, held.drill), held.size(vm)
    host = held.world.fleet.host(host_name)
    there = drill_vms(held.view, held.drill).get(vm)
    if held.record.kind != "beside" and (there is None or there[1].state != "running"):
        # As a move would: what is measured is the time that one takes.
        pause(spec.start_delay, stopping.requested)
    begun = time.monotonic()
    what = "running" if spec.health is None else f"tcp {spec.health.tcp}" if spec.health.tcp else "agent"
    looked = held.checks.setdefault(vm, [])
    try:
        host.start(name)
        held.lines.up(action)
        said = wait_until_well(held.world.fleet, host_name, name, spec, stopping.requested)
    except Stopped:
        raise
    except DrError as error:
        looked.append(DrillCheck(what, False, time.monotonic() - begun, str(error)))
        raise
    looked.append(DrillCheck(what, True, time.monotonic() - begun, said))
    data = _look_at_data(held, vm, host_name, begun)
    if data is not None:
        looked.append(data)
        said = "; ".join(part for part in (said, data.detail) if part)
    held.seconds[vm] = time.monotonic() - held.started
    return said


def _look_at_data(held: _Drill, vm: str, host: str, begun: float) -> DrillCheck | None:
    """What the guest makes of its data, against what the seal of the point says; None: it has no way to say. What is wrong with it holds up
    nobody: a drill is to show all that is wrong."""
    report = held.world.fleet.host(host).read_data(keys.drill_vm(vm, held.drill))
    if report is None:
        return None
    level = held.seal.levels.get(vm) if held.seal is not None else None
    mark = level.mark if level is not None else None
    whole = report.last is None or mark is None or report.last >= mark
    found = "" if report.last is None else f"{report.last} entries"
    promised = "" if mark is None else f", {mark} in the recovery point"
    said = f"data intact: {found}{promised}" if report.intact else f"data NOT intact: {report.detail}"
    if report.intact and not whole:
        said = f"data NOT whole: {found}{promised}"
    if not report.intact or not whole:
        held.astray[vm] = said
    return DrillCheck("data", report.intact and whole, time.monotonic() - begun, said)


def _outcome(
    held: _Drill,
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
        expires=record.expires, notes=missed(spec, rpo, rto), wanted={"rpo": spec.rpo, "rto": spec.rto},
    )  # fmt: skip


def drill_state(world: World, plan: str, drill: str, *, refresh: bool = False) -> dict[str, dict[str, str]]:
    """The drill's VMs as their hosts show them: {VM: {"host", "name", "state"}}."""
    found = drill_vms(world.view(plan, refresh=refresh), drill)
    return {vm: {"host": host, "name": state.name, "state": state.state} for vm, (host, state) in sorted(found.items())}
