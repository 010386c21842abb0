"""Which host each VM is restored on. Pure and deterministic.

Invariant: a VM that runs at the site already stays where it is; no host is given more than what neither its running VMs nor others'
reservations take. The host name in a backup plays no part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dr_provider.model.state import HostState
from dr_provider.model.topology import VmSpec
from dr_provider.model.units import counted
from dr_provider.reconcile.view import PlanView

__all__ = ["Placement", "Room", "place", "reservation_tag", "room_of"]


def reservation_tag(topology: str, plan: str) -> str:
    """The tag under which a plan's move keeps capacity on hosts."""
    return f"move.{topology}.{plan}"


@dataclass(frozen=True)
class Placement:
    """`hosts` by VM; `unplaced` by VM with the sentence that says why."""

    hosts: Mapping[str, str] = field(default_factory=dict)
    unplaced: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Room:
    """CPUs and memory (bytes) that a host has left, and the memory that it has in all."""

    cpus: int
    memory: int
    total: int

    def fits(self, vm: VmSpec) -> bool:
        return vm.cpus <= self.cpus and vm.memory <= self.memory

    def take(self, vm: VmSpec) -> None:
        self.cpus -= vm.cpus
        self.memory -= vm.memory


def room_of(host: HostState, tag: str, ended: frozenset[str] = frozenset()) -> Room:
    """What is free beside running VMs (but those of `ended`) and the reservations of others (the plan's own are about to be used)."""
    running = [vm.definition for vm in host.vms.values() if vm.state == "running" and vm.name not in ended]
    kept = [kept for kept in host.reservations if kept.tag != tag and kept.vm not in ended]
    return Room(
        host.cpus - sum(d.cpus for d in running) - sum(k.cpus for k in kept),
        host.memory - sum(d.memory for d in running) - sum(k.memory for k in kept),
        host.memory,
    )


def place(
    view: PlanView,
    site: str,
    vms: tuple[VmSpec, ...],
    *,
    tag: str | None = None,
    anew: bool = False,
    ended: frozenset[str] = frozenset(),
    near: Mapping[str, frozenset[str]] | None = None,
) -> Placement:
    """A host at the site for each VM: where it runs or is defined already, else spread; packed tight only where spreading fails.

    Each takes what it has at the site. `anew`: the VMs come in addition to those that run, with what they have in a drill. `ended`: host's names of VMs that will be gone (drills that give way).
    `near`: hosts that are taken before others, by VM.
    """
    tag = tag or reservation_tag(view.topology.name, view.spec.name)
    vms = tuple(vm.there(site, drill=anew) for vm in vms)
    sized = {vm.name: vm for vm in vms}
    allowed = [h.name for h in view.topology.plan_hosts(view.spec.name, site)]
    answering = {name: state for name in allowed if (state := view.seen.host(name)) is not None}
    fixed: dict[str, str] = {}
    for vm in vms:
        known = None if anew else view.place(vm.name, site)
        if known is not None and view.runs_at(known):
            fixed[vm.name] = known.host
    rest = tuple(vm for vm in vms if vm.name not in fixed)
    homes = {vm.name: at.host for vm in rest if not anew and (at := view.place(vm.name, site)) is not None}
    best: Placement | None = None
    for spread, by_cpus in ((True, False), (False, False), (False, True)):
        rooms = {name: room_of(state, tag, ended) for name, state in answering.items()}
        attempt = _assign(rest, rooms, homes if spread else {}, near=near or {}, spread=spread, by_cpus=by_cpus)
        if best is None or len(attempt.unplaced) < len(best.unplaced):
            best = attempt
        if not attempt.unplaced:
            break
    assert best is not None
    silent = sorted(set(allowed) - set(answering))
    unplaced = {name: _why(sized[name], site, answering, silent) for name in best.unplaced}
    return Placement({**fixed, **best.hosts}, unplaced)


def _assign(
    vms: tuple[VmSpec, ...],
    rooms: dict[str, Room],
    homes: Mapping[str, str],
    *,
    near: Mapping[str, frozenset[str]],
    spread: bool,
    by_cpus: bool,
) -> Placement:
    hosts: dict[str, str] = {}
    unplaced: dict[str, str] = {}
    # Largest first: what is hard to place is placed while there is room.
    sizes = {vm.name: (-vm.cpus, -vm.memory) if by_cpus else (-vm.memory, -vm.cpus) for vm in vms}
    for vm in sorted(vms, key=lambda v: (sizes[v.name], v.name)):
        fitting = [name for name, room in rooms.items() if room.fits(vm)]
        if not fitting:
            unplaced[vm.name] = ""
            continue
        fitting = [name for name in fitting if name in near.get(vm.name, ())] or fitting
        if homes.get(vm.name) in fitting:
            chosen = homes[vm.name]
        elif spread:
            chosen = max(fitting, key=lambda name: rooms[name].memory / max(rooms[name].total, 1))
        else:
            chosen = min(fitting, key=lambda name: rooms[name].memory)
        rooms[chosen].take(vm)
        hosts[vm.name] = chosen
    return Placement(hosts, unplaced)


def _why(vm: VmSpec, site: str, answering: Mapping[str, HostState], silent: list[str]) -> str:
    said = f"; silent: {', '.join(silent)}" if silent else ""
    if not answering:
        return f"VM {vm.name}: no host that the plan allows at {site} answers{said}"
    gib = vm.memory / 2**30
    return f"VM {vm.name}: wanted {counted(vm.cpus, 'CPU')} and {gib:.3g} GiB at {site}, and none of {', '.join(sorted(answering))} has that left{said}"
