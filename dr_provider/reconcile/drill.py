"""Drills: the plan's VMs on clones of a recovery point, in an isolated network; mirrors go on, and the end leaves no trace.

Invariants: a drill never maps, changes or stops anything of production; its record is written before anything is made, so that its end
finds all of it; the lease is held to hold and clone only.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dr_provider.model import keys, stopping
from dr_provider.model.codec import dump
from dr_provider.model.errors import BadInput, DrError, MoveInProgress, Refused, Unreachable
from dr_provider.model.records import DrillRecord, Guard, Owner
from dr_provider.model.state import Reservation
from dr_provider.model.topology import VmSpec
from dr_provider.protection.catalogue import RecoveryPoint, choose_point, newest
from dr_provider.reconcile.decision import Action
from dr_provider.reconcile.definitions import vm_definition
from dr_provider.reconcile.graph import Event, run_graph
from dr_provider.reconcile.health import pause, wait_until_well
from dr_provider.reconcile.lease import hold_lease
from dr_provider.reconcile.placement import Placement, place
from dr_provider.reconcile.steps import Steps, started_before, tier_of
from dr_provider.reconcile.terms import what_is_open
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.world import World

__all__ = ["DrillOutcome", "decide_drill", "drill_state", "end_drill", "start_drill"]

_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


@dataclass(frozen=True)
class DrillOutcome:
    """What a drill showed. RTO: seconds from the order to the last health check; RPO: age of the point when the drill began."""

    drill: str
    plan: str
    site: str
    point: str
    point_time: str
    rpo_seconds: float
    rto_seconds: float
    vms: Mapping[str, Mapping[str, str]]
    failures: tuple[str, ...] = ()
    steps: tuple[Mapping[str, object], ...] = ()

    def document(self) -> dict[str, object]:
        return {
            "drill": self.drill,
            "plan": self.plan,
            "site": self.site,
            "point": self.point,
            "pointTime": self.point_time,
            "rpoSeconds": round(self.rpo_seconds, 3),
            "rtoSeconds": round(self.rto_seconds, 3),
            "vms": {vm: dict(at) for vm, at in self.vms.items()},
            "failures": list(self.failures),
            "steps": [dict(step) for step in self.steps],
        }


@dataclass
class _Drill:
    world: World
    view: PlanView
    drill: str
    owner: Owner
    record: DrillRecord
    hosts: Mapping[str, str]
    only: bool = False
    """One VM beside the running one: its network cards are its own."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def size(self, vm: str) -> VmSpec:
        """The VM as it is in a drill at this one's site."""
        return self.view.topology.vms[vm].there(self.record.site, drill=True)


def drill_site(view: PlanView, site: str | None) -> str:
    """The site that is asked for, else the first recovery site. Raises BadInput for one that is not the plan's."""
    if site is not None:
        if site not in view.spec.sites:
            raise BadInput(
                f"plan {view.spec.name}: {site!r} is not one of its sites ({', '.join(view.spec.sites)}); nothing was done"
            )
        return site
    return next((name for name in view.spec.sites if name != view.active), view.spec.home)


def decide_drill(
    world: World,
    plan: str,
    site: str | None,
    drill: str,
    wish: str | None,
    *,
    only: str | None = None,
    host: str | None = None,
) -> tuple[str, RecoveryPoint, Placement]:
    """Where, from which point and on which hosts a drill would run; `only`: of this VM, on `host` where it fits. Raises Refused or BadInput with the reason."""
    if not _ID.fullmatch(drill):
        raise BadInput(f"drill {drill!r}: wanted lower-case letters, digits and -, at most 32; nothing was done")
    view = world.view(plan)
    at = drill_site(view, site)
    if view.epoch is None:
        raise Refused((f"plan {plan} was never made; make it first (pulumi up of its stack, or dr apply)",))
    if view.split is not None:
        raise Refused(
            (f"plan {plan} is split; a drill would rehearse on data in doubt: dr resolve {plan} --keep SITE first",)
        )
    silent = view.silent_arrays(at)
    if silent:
        raise Unreachable(f"plan {plan}: no drill at {at} while {'; '.join(silent.values())}")
    known = view.drills.get(drill)
    if known is not None and known.site != at:
        raise Refused(
            (
                f"plan {plan}: drill {drill} is at {known.site}, and its VMs carry its name; end it first, or give the one at {at} another name",
            )
        )
    if known is not None:
        point = next((p for p in view.points if p.id == known.point), None)
    else:
        point = choose_point(view.points, at, wish) if wish else newest(view.points, at)
    if point is None:
        raise Refused(
            (
                f"plan {plan}: no recovery point is whole at {at}, so there is nothing to drill with; run dr protect {plan} first",
            )
        )
    members = tuple(vm for vm in view.vms if vm.name in point.intent.definitions and only in (None, vm.name))
    done = {vm: host for vm, host in _existing(view, drill).items() if vm in {m.name for m in members}}
    rest = tuple(vm for vm in members if vm.name not in done)
    placed = place(
        view, at, rest, tag=f"drill.{drill}", anew=True, near={only: frozenset({host})} if only and host else None
    )
    # A run that was killed has mapped clones to the hosts that its record names, before it defined the VMs there.
    begun = {vm: on for vm, on in (known.vms if known else {}).items() if vm in placed.hosts and view.seen.host(on)}
    return at, point, Placement({**placed.hosts, **begun, **done}, placed.unplaced)


def _existing(view: PlanView, drill: str) -> dict[str, str]:
    """The drill's VMs that are there already, by VM, with their hosts."""
    return {
        state.definition.vm: host
        for host in sorted(view.topology.hosts)
        if (known := view.seen.host(host)) is not None
        for state in known.vms.values()
        if state.definition.owner.topology == view.topology.name
        and state.definition.plan == view.spec.name
        and state.name == keys.drill_vm(state.definition.vm, drill)
    }


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
) -> DrillOutcome:
    """Run a drill (`only`: of this one VM, which then has network cards of its own); repeated, it goes on with what is left of the same one."""
    started = time.monotonic()
    with stopping.busy():
        world.view(plan, refresh=True)
        at, chosen, placement = decide_drill(world, plan, site, drill, point, only=only, host=host)
        age = (keys.now() - keys.at(chosen.time)).total_seconds()
        with hold_lease(world, plan, f"drill {drill}") as lease:
            view = world.view(plan)
            if view.claim is not None:
                raise MoveInProgress(
                    f"plan {plan}: {what_is_open(view.claim)} is under way; no drill is started before its end"
                )
            members = view.topology.vms[only].volumes() if only else chosen.members
            held = _hold_and_clone(world, view, at, chosen, drill, owner, placement, lease.guard, members)
            held.only = only is not None
        steps, failures = _bring_up(held)
        failures = (*failures, *placement.unplaced.values())
        state = drill_state(world, plan, drill, refresh=True)
        return DrillOutcome(
            drill, plan, at, chosen.id, chosen.time, age, time.monotonic() - started, state, failures, steps
        )


def _hold_and_clone(
    world: World,
    view: PlanView,
    site: str,
    point: RecoveryPoint,
    drill: str,
    owner: Owner,
    placement: Placement,
    guard: Guard,
    members: Sequence[str],
) -> _Drill:
    """Write the record, then hold the point and clone these volumes of it."""
    plan = view.spec.name
    volumes = tuple(keys.drill_volume(member, drill) for member in members)
    for array in view.site_arrays(site):
        record = DrillRecord(
            plan, drill, site, owner.stack, point.id, array, volumes, dict(placement.hosts), keys.stamp(keys.now())
        )
        world.fleet.array(array).put_record(keys.drill_key(view.topology.name, plan, drill), dump(record), guard)
    for member in members:
        array = view.copy_array(member, site)
        world.fleet.array(array).hold({member: point.id}, f"drill.{drill}", guard)
        world.fleet.array(array).clone(member, point.id, keys.drill_volume(member, drill), "drill", owner, guard=guard)
    return _Drill(world, view, drill, owner, record, placement.hosts)


def _bring_up(held: _Drill) -> tuple[tuple[Mapping[str, object], ...], tuple[str, ...]]:
    """Attach all VMs at once and start them in tier order, as a move does."""
    view, drill = held.view, held.drill
    steps = Steps()
    members = [vm for vm in view.spec.members if vm in held.hosts]
    for vm in members:
        steps.add(
            "attach", vm, f"drill {drill}: map the clones of VM {vm} to {held.hosts[vm]} and define it there", vm=vm
        )
    for vm in members:
        before = [f"start:{other}" for other in started_before(view.spec, vm) if other in held.hosts]
        soft = view.spec.tiers[tier_of(view.spec, vm)].on_failure == "continue"
        said = f"drill {drill}: start VM {vm} on {held.hosts[vm]}"
        steps.add("start", vm, said, after=[f"attach:{vm}", *before], needed=not soft, vm=vm)
    for host in sorted(set(held.hosts.values())):
        demands = [
            Reservation(f"drill.{drill}", keys.drill_vm(vm, drill), (size := held.size(vm)).cpus, size.memory)
            for vm, at in sorted(held.hosts.items())
            if at == host and vm not in _running(view, drill)
        ]  # fmt: skip
        held.world.fleet.host(host).reserve(f"drill.{drill}", demands)
    told: list[Mapping[str, object]] = []

    def tell(event: Event) -> None:
        if event.what == "start":
            return
        told.append(
            {
                "event": event.what,
                "sentence": event.action.sentence,
                "seconds": round(event.seconds, 3),
                "detail": event.detail,
            }
        )
        held.world.progress(f"plan {view.spec.name}: {event.action.sentence}: {event.what} {event.detail}".rstrip())

    result = run_graph(steps.done(), lambda a: _perform(held, a), width=64, stop=stopping.requested, tell=tell)
    for host in sorted(set(held.hosts.values())):
        held.world.fleet.host(host).release(f"drill.{drill}")
    if result.fatal is not None:
        raise result.fatal
    failures = [f"{a.sentence}: {result.failed[a.id]}" for a in steps.actions if a.id in result.failed]
    failures += [f"drill {drill}: VM {a.of['vm']} was not started: it waits ({result.skipped[a.id]})" for a in steps.actions if a.id in result.skipped and a.verb == "start"]  # fmt: skip
    return tuple(told), tuple(failures)


def _running(view: PlanView, drill: str) -> set[str]:
    return {
        vm
        for vm, host in _existing(view, drill).items()
        if (known := view.seen.host(host)) is not None and known.vms[keys.drill_vm(vm, drill)].state == "running"
    }


def _perform(held: _Drill, action: Action) -> str:
    vm, view = action.of["vm"], held.view
    host_name, spec = held.hosts[vm], held.size(vm)
    host = held.world.fleet.host(host_name)
    name = keys.drill_vm(vm, held.drill)
    if action.verb == "start":
        if not held.only and vm not in _running(view, held.drill):
            # As a move would: what is measured is the time that one takes.
            pause(spec.start_delay, stopping.requested)
        host.start(name)
        return wait_until_well(held.world.fleet, host_name, name, spec, stopping.requested)
    state = view.seen.host(host_name)
    if state is None:
        raise DrError(f"VM {vm}: host {host_name} fell silent; run the drill again to place it anew")
    for volume in spec.volumes():
        array = held.world.fleet.array(view.copy_array(volume, held.record.site))
        luns = [keys.lun_name(vm, disk.role) for disk in spec.disks if disk.volume == volume]
        array.map_lun(keys.drill_volume(volume, held.drill), luns, state.initiator)
    host.define(
        vm_definition(
            held.world.fleet,
            view.topology,
            vm,
            held.record.site,
            held.owner,
            held.drill,
            own_cards=held.only,
            seen=view.seen,
        )
    )
    return ""


def drill_state(world: World, plan: str, drill: str, *, refresh: bool = False) -> dict[str, dict[str, str]]:
    """The drill's VMs as their hosts show them: {VM: {"host", "name", "state"}}."""
    view = world.view(plan, refresh=refresh)
    found: dict[str, dict[str, str]] = {}
    for vm, host in sorted(_existing(view, drill).items()):
        known = view.seen.host(host)
        name = keys.drill_vm(vm, drill)
        found[vm] = {"host": host, "name": name, "state": known.vms[name].state if known else "unknown"}
    return found


def end_drill(world: World, plan: str, drill: str, guard: Guard | None = None) -> dict[str, int]:
    """Remove every clone, map, hold, reservation and VM of a drill; how many of each there were. Raises Unreachable while its site is silent.

    With a guard (of a move that needs the drill's room) its lease is used; else one is taken.
    """
    with stopping.busy():
        if guard is not None:
            return _remove(world, world.view(plan, refresh=True), drill, guard)
        with hold_lease(world, plan, f"end of drill {drill}") as lease:
            return _remove(world, world.view(plan), drill, lease.guard)


def _remove(world: World, view: PlanView, drill: str, guard: Guard) -> dict[str, int]:
    # Where a side was away when a drill of the same name was made at another, there are two.
    key = keys.drill_key(view.topology.name, view.spec.name, drill)
    sites = [site for site in view.spec.sites if _on_record(view, site, key)]
    record, sites = bool(sites), sites or list(view.spec.sites)
    silent = [r for site in sites for r in (*view.silent_arrays(site).values(), *view.silent_hosts(site).values())]
    if record and silent:
        raise Unreachable(
            f"drill {drill} of plan {view.spec.name}: what is left of it cannot be removed while {'; '.join(silent)}"
        )
    gone = {"vms": 0, "volumes": 0, "holds": 0}
    for vm, host in _existing(view, drill).items():
        name, driver = keys.drill_vm(vm, drill), world.fleet.host(host)
        state = view.seen.host(host)
        assert state is not None
        driver.stop(name, graceful=0)
        gone["vms"] += driver.undefine(name, state.vms[name].definition.owner)
    for site in sites:
        for host_spec in view.topology.hosts_at(site):
            if view.seen.host(host_spec.name) is not None:
                world.fleet.host(host_spec.name).release(f"drill.{drill}")
        for array in view.site_arrays(site):
            _remove_clones(world, view, array, drill, guard, gone)
    return gone


def _on_record(view: PlanView, site: str, key: str) -> bool:
    return any(
        (state := view.seen.array(array)) is not None and key in state.records for array in view.site_arrays(site)
    )


def _remove_clones(world: World, view: PlanView, array: str, drill: str, guard: Guard, gone: dict[str, int]) -> None:
    state = view.seen.array(array)
    if state is None:
        return
    driver = world.fleet.array(array)
    members = {keys.drill_volume(name, drill): name for name in view.volume_names}
    for name, volume in state.volumes.items():
        if volume.kind != "drill" or name not in members or volume.owner is None:
            continue
        driver.unmap_luns({name: sorted(volume.luns)}, guard)
        gone["volumes"] += driver.delete_volume(name, volume.owner, guard)
    tag = f"drill.{drill}"
    held = [
        v for v in members.values() if v in state.volumes and any(tag in s.holds for s in state.volumes[v].snapshots)
    ]
    if held:
        driver.release(held, tag, guard)
        gone["holds"] += len(held)
    driver.delete_record(keys.drill_key(view.topology.name, view.spec.name, drill), guard)
