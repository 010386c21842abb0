"""Whether the VMs of plans find hosts at their recovery sites, and arrays have room. Pure.

Plans that are active at one site are lost together with it, so they are placed together: in the topology's order, each with the room
that those before it leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dr_provider.model.findings import Item, Level
from dr_provider.model.problems import listed
from dr_provider.model.state import ArrayState, HostState, Observation, Reservation, Silent
from dr_provider.model.topology import VmSpec
from dr_provider.model.units import about, counted
from dr_provider.reconcile.doctor_judge import FREE_PROBLEM, FREE_WARNING
from dr_provider.reconcile.drills.giving_way import without_drills
from dr_provider.reconcile.losses import Lost, without
from dr_provider.reconcile.placement import place, reservation_tag, room_of
from dr_provider.reconcile.view import PlanView

__all__ = ["array_room", "full_arrays", "site_capacity"]

_FULL = 0.01, 64 << 20
"""Share of an array, and bytes: with less free than either it counts as full, for what is written next may find no room. (Of a pool that others
use too, only what is free counts: the array's own part may be a small one.)"""

_Unplaced = Mapping[str, Sequence[str]]
"""By plan: its VMs that find no host."""


@dataclass
class _Site:
    """What becomes of the plans that come to a site together. `without`: by host that is lost there."""

    whole: _Unplaced
    without: dict[str, _Unplaced] = field(default_factory=dict)


def site_capacity(views: Iterable[PlanView]) -> dict[tuple[str, str], tuple[Item, ...]]:
    """The items on capacity of each (plan, recovery site)."""
    together: dict[tuple[str, str], list[PlanView]] = {}
    for view in views:
        for site in view.others(view.active) if view.active is not None else ():
            together.setdefault((str(view.active), site), []).append(view)
    found = {}
    for (active, site), plans in together.items():
        outcome = _outcome(plans, site)
        for view in plans:
            found[view.spec.name, site] = _items(view, active, site, outcome)
    return found


def _moved_into(view: PlanView) -> Observation:
    """What is seen, as a move would find it: the drills have given way to it."""
    hosts = {
        name: without_drills(view.topology.name, state) if isinstance(state, HostState) else state
        for name, state in view.seen.hosts.items()
    }
    return replace(view.seen, hosts=hosts)


def _outcome(plans: Sequence[PlanView], site: str) -> _Site:
    topology, seen = plans[0].topology, _moved_into(plans[0])
    answering = [host.name for host in topology.hosts_at(site) if seen.host(host.name) is not None]
    whole = _fit(plans, site, seen)
    outcome = _Site(whole.unplaced)
    for name in answering:
        if any(whole.unplaced.values()) or not _spared(plans, site, whole, name):
            outcome.without[name] = _fit(plans, site, without(topology, seen, [Lost("host", (name,))])).unplaced
    return outcome


@dataclass(frozen=True)
class _Fit:
    """`hosts`: as they are with all plans there; `placed`: the VMs by host, with their plan."""

    unplaced: _Unplaced
    hosts: Mapping[str, HostState | Silent]
    placed: Mapping[str, Sequence[tuple[str, VmSpec]]]


def _fit(plans: Sequence[PlanView], site: str, seen: Observation) -> _Fit:
    unplaced: dict[str, Sequence[str]] = {}
    placed: dict[str, list[tuple[str, VmSpec]]] = {}
    hosts = dict(seen.hosts)
    for view in plans:
        # What runs on a host that is left out runs nowhere.
        places = tuple(p for p in view.places if isinstance(hosts.get(p.host), HostState))
        left = replace(view, seen=replace(seen, hosts=hosts), places=places)
        placement = place(left, site, view.vms)
        unplaced[view.spec.name] = tuple(placement.unplaced)
        tag = reservation_tag(view.topology.name, view.spec.name)
        hosts = dict(hosts)
        for vm, host in placement.hosts.items():
            state, spec = hosts[host], view.topology.vms[vm].there(site)
            placed.setdefault(host, []).append((view.spec.name, spec))
            at = left.place(vm, site)
            if isinstance(state, HostState) and not (at is not None and left.runs_at(at)):
                kept = (*state.reservations, Reservation(tag, vm, spec.cpus, spec.memory))
                hosts[host] = replace(state, reservations=kept)
    return _Fit(unplaced, hosts, placed)


def _spared(plans: Sequence[PlanView], site: str, whole: _Fit, lost: str) -> bool:
    """Whether what was placed on one host fits beside what was placed on the others. It may be that all would fit in another order."""
    topology = plans[0].topology
    rooms = {
        name: room_of(state, "") for name, state in whole.hosts.items() if isinstance(state, HostState) and name != lost
    }
    for plan, vm in sorted(whole.placed.get(lost, ()), key=lambda pair: -pair[1].memory):
        fitting = [h.name for h in topology.plan_hosts(plan, site) if h.name in rooms and rooms[h.name].fits(vm)]
        if not fitting:
            return False
        rooms[max(fitting, key=lambda name: rooms[name].memory)].take(vm)
    return True


def _items(view: PlanView, active: str, site: str, outcome: _Site) -> tuple[Item, ...]:
    plan, count = view.spec.name, len(view.spec.members)
    allowed = [host.name for host in view.topology.plan_hosts(plan, site)]
    silent = [name for name in allowed if view.seen.host(name) is None]
    lacking = outcome.whole[plan]
    if len(silent) == len(allowed):
        return (Item("capacity", "unknown", f"{site}: its room is not known; silent: {listed(silent)}."),)
    if lacking:
        return (_lacking(view, active, site, lacking, silent),)
    fits = Item("capacity", "ok", f"{site}: {counted(count, 'VM')} would find room there.")
    worse = {host: vms for host, of in outcome.without.items() if host in allowed and (vms := of[plan])}
    if not worse:
        return (fits, Item("spare", "ok", f"{site}: and with any one host there lost."))
    host, vms = max(worse.items(), key=lambda item: len(item[1]))
    found = f"{site}: without {host}, {counted(len(vms), 'VM')} of {count} would find no room: {listed(vms)}."
    if silent:
        return fits, Item("spare", "unknown", found, f"Silent, and may have room: {listed(silent)}.")
    return fits, Item("spare", "warning", found, f"Give {site} another host, or more memory or CPUs.")


def _lacking(view: PlanView, active: str, site: str, lacking: Sequence[str], silent: Sequence[str]) -> Item:
    count = len(view.spec.members)
    found = f"{site}: {counted(len(lacking), 'VM')} of {count} would find no room: {listed(lacking)}"
    if silent:
        return Item(
            "capacity", "unknown", f"{found}; silent: {listed(silent)}.", f"Bring {listed(silent)} back, or see why."
        )
    todo = f"Give {site} another host, or more memory or CPUs."
    alone = place(replace(view, seen=_moved_into(view)), site, view.vms).unplaced
    if not alone:
        # A second choice need not hold what the first one takes.
        level: Level = "problem" if view.others(active)[0] == site else "warning"
        return Item("capacity", level, f"{found}, if all plans of {active} come there.", todo)
    return Item("capacity", "problem", f"{found}.", todo)


def array_room(name: str, state: ArrayState | Silent) -> Item:
    """How full an array is, and how much of that retention cannot free."""
    if isinstance(state, Silent):
        return Item("room", "unknown", f"array {name}: it is silent, so nobody can say how full it is.")
    share = 1 - state.used / state.capacity if state.capacity else 0.0
    found = (
        f"array {name}: {about(max(0, state.capacity - state.used))} of {about(state.capacity)} are free ({share:.0%})"
    )
    if share >= FREE_WARNING:
        return Item("room", "ok", f"{found}.")
    safety = sum(v.used for v in state.volumes.values() if v.kind == "safety")
    drills = sum(1 for v in state.volumes.values() if v.kind == "drill")
    held = sum(1 for v in state.volumes.values() for s in v.snapshots if s.holds)
    kept = [counted(held, "held snapshot")] if held else []
    kept += [f"safety copies of {about(safety)}"] if safety else []
    kept += [counted(drills, "clone of a drill", "clones of drills")] if drills else []
    todo = "Make it larger, let fewer recovery points be kept (backup.keep)"
    todo += ", or end what holds them: dr safety list, dr status (drills)." if kept else "."
    found += f", and no retention frees {listed(kept)}." if kept else "."
    return Item("room", "problem" if share < FREE_PROBLEM else "warning", found, todo)


def full_arrays(view: PlanView) -> tuple[str, ...]:
    """A sentence for each of the plan's arrays that answers and is full."""
    share, least = _FULL
    said = []
    for name in view.topology.plan_arrays(view.spec.name):
        state = view.seen.array(name)
        free = max(0, state.capacity - state.used) if state is not None else least
        if state is not None and state.capacity and free < max(least, share * state.capacity):
            said.append(
                f"array {name} is full ({about(free)} are free): what VMs or transfers write there may fail; "
                "delete snapshots or safety copies, or enlarge it"
            )
    return tuple(said)
