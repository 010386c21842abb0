"""VMs: placed, mapped, defined and started where their plan is active; stopped and forgotten when they are removed.

Invariants:
* A VM is started only at the site of the epoch in force, never while a move is under way or two sides have both written, and never
  where it may be running elsewhere: starting asks, running does not.
* A VM that runs is left as it is. What needs it off takes effect at its next start, and the result says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from dr_provider.model import keys, stopping
from dr_provider.model.errors import (
    BadInput,
    Conflict,
    DrError,
    HostFull,
    MoveInProgress,
    NotFound,
    NotReady,
    Unreachable,
)
from dr_provider.model.records import Guard, Owner
from dr_provider.model.state import Silent, VmState
from dr_provider.model.topology import VmSpec
from dr_provider.model.vm import VmDefinition
from dr_provider.reconcile import ownership
from dr_provider.reconcile.definitions import vm_definition
from dr_provider.reconcile.health import pause, wait_until_well
from dr_provider.reconcile.placement import place
from dr_provider.reconcile.provision import Released, ground, in_move, not_mine
from dr_provider.reconcile.restoring import open_restores
from dr_provider.reconcile.view import PlanView, VmPlace
from dr_provider.reconcile.world import World

__all__ = ["Placed", "VmResult", "ensure_vm", "release_vm", "remove_from"]


@dataclass(frozen=True)
class VmResult:
    """Where the VM is. `pending`: a sentence where what was asked for is not done yet."""

    name: str
    plan: str
    site: str | None
    host: str | None
    state: str
    pending: str | None = None


@dataclass
class Placed:
    """Hosts chosen for a plan's VMs, all at once, so that many resources at a time share out the room and do not race for it."""

    hosts: dict[str, dict[str, str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def choose(self, view: PlanView, site: str, vm: VmSpec) -> str:
        """The VM's host at the site. Raises HostFull with the reason."""
        with self.lock:
            key = f"{view.spec.name}@{site}"
            known = self.hosts.setdefault(key, {})
            if vm.name not in known:
                found = place(view, site, view.vms)
                known.update({name: host for name, host in found.hosts.items() if name not in known})
                if vm.name not in known:
                    raise HostFull(found.unplaced[vm.name])
            return known[vm.name]

    def forget(self, view: PlanView, site: str, vm: str) -> None:
        """Choose anew next time: the host turned out to have no room."""
        with self.lock:
            self.hosts.get(f"{view.spec.name}@{site}", {}).pop(vm, None)


def ensure_vm(
    world: World,
    vm: str,
    owner: Owner,
    *,
    adopt: bool = False,
    placed: Placed | None = None,
) -> VmResult:
    """Define and start the VM where its plan is active, and wait for its health.

    Raises Conflict (another stack's), HostFull, DrError (started and not well).
    """
    topology = world.topology
    spec = topology.vms[vm]
    plan = topology.plan_of_vm(vm)
    if plan is None:
        raise BadInput(f"vm {vm}: no plan of topology {topology.name} names it; add it to a tier of one")
    view = world.view(plan.name)
    arrays = tuple(dict.fromkeys(array for name in spec.volumes() for array in topology.volumes[name].arrays))
    recorded = ownership.owner_of(view.seen, topology.name, "vm", vm, arrays)
    for known in (recorded, *(p.state.definition.owner for p in view.places if p.vm == vm)):
        ownership.check_taking("VM", vm, known, owner, adopt=adopt)
    at = ground(view)
    here = view.place(vm, at.site) if at.site else None
    result = VmResult(vm, plan.name, at.site, here.host if here else None, here.state.state if here else "absent")
    if at.pending or at.site is None:
        return replace(result, pending=at.pending)
    wanted = vm_definition(world.fleet, topology, vm, at.site, owner, seen=view.seen)
    try:
        ownership.take(world, "vm", vm, plan.name, arrays, owner)
        if here is not None and view.runs_at(here):
            return replace(result, pending=_leave_running(world, here, wanted))
        waits = _must_wait(view, vm, at.site)
        if waits:
            return replace(result, pending=waits)
        pause(spec.there(at.site).start_delay, stopping.requested)
        host = _start(world, view, spec, at.site, wanted, placed or Placed())
    except MoveInProgress:
        return replace(result, pending=in_move(plan.name))
    except (Unreachable, NotReady) as error:
        return replace(result, pending=f"unreachable: {error}")
    wait_until_well(world.fleet, host, vm, spec, stopping.requested)
    return VmResult(vm, plan.name, at.site, host, "running")


def _leave_running(world: World, here: VmPlace, wanted: VmDefinition) -> str | None:
    """Take it over as it runs; the pending sentence where it runs with another definition."""
    runs = here.state.definition
    if runs.owner != wanted.owner:
        world.fleet.host(here.host).define(replace(runs, owner=wanted.owner))
    changes = _differences(runs, wanted)
    if not changes:
        return None
    return f"VM {here.vm} runs on {here.host} with its old definition ({', '.join(changes)}); the change takes effect at its next start"


def _differences(runs: VmDefinition, wanted: VmDefinition) -> list[str]:
    said = []
    if runs.cpus != wanted.cpus:
        said.append(f"cpus {runs.cpus} -> {wanted.cpus}")
    if runs.memory != wanted.memory:
        said.append(f"memory {runs.memory >> 20}MiB -> {wanted.memory >> 20}MiB")
    # A LUN may have been made from an image that this machine does not have: its length says nothing about a change.
    if [replace(d, image_bytes=0) for d in runs.disks] != [replace(d, image_bytes=0) for d in wanted.disks]:
        said.append("disks")
    if runs.nics != wanted.nics:
        said.append("network cards")
    return said


def _must_wait(view: PlanView, vm: str, site: str) -> str | None:
    """Why the VM may not be started now; None: it may."""
    restore = open_restores(view).get(vm)
    if restore is not None:
        # Its disks may be set back in part, and whatever it wrote would be overwritten without a safety copy when they are set back again.
        return f"VM {vm}: its restore to {restore.point} has not ended; dr protect {view.spec.name} finishes it and starts the VM"
    elsewhere = next((p for p in view.places if p.vm == vm and p.site != site and p.running), None)
    if elsewhere is not None:
        return f"VM {vm} runs on {elsewhere.host} at {elsewhere.site}, and plan {view.spec.name} is active at {site}"
    peers = [array for other in view.spec.sites if other != site for array in view.site_arrays(other)]
    asked = any(_answers(view, array) for array in peers) or bool(view.running_at(site))
    if peers and not asked:
        return (
            f"VM {vm} is not started: nobody at another site can be asked whether plan {view.spec.name} has moved; "
            f'start it with dr start {view.spec.name} --force "{view.epoch.number if view.epoch else 1}: <reason>"'
        )
    silent = view.silent_hosts(site)
    mapped = _mapped_elsewhere(view, vm, site)
    if silent and mapped:
        return (
            f"unreachable: VM {vm} may run on {', '.join(sorted(silent))}, which is silent (its LUNs are mapped there)"
        )
    return None


def _answers(view: PlanView, array: str) -> bool:
    """An array that is only to be made has nothing to say, and nothing to be asked for either."""
    state = view.seen.arrays[array]
    return state.missing if isinstance(state, Silent) else True


def _mapped_elsewhere(view: PlanView, vm: str, site: str) -> bool:
    """Whether a LUN of the VM is mapped to an initiator that no answering host of the site has."""
    known = {state.initiator for h in view.topology.hosts_at(site) if (state := view.seen.host(h.name)) is not None}
    for disk in view.topology.vms[vm].disks:
        volume = view.volume(disk.volume, site)
        lun = volume.luns.get(keys.lun_name(vm, disk.role)) if volume else None
        if lun is not None and lun.mapped_to is not None and lun.mapped_to not in known:
            return True
    return False


def _start(world: World, view: PlanView, spec: VmSpec, site: str, wanted: VmDefinition, placed: Placed) -> str:
    """Map, define and start; the host. Another process may take the room in between: then the next host is tried."""
    tried: set[str] = set()
    while True:
        host = placed.choose(view, site, spec)
        try:
            _start_on(world, view, host, site, wanted)
        except HostFull:
            if host in tried:
                raise
            tried.add(host)
            world.fleet.host(host).undefine(wanted.name, wanted.owner)
            placed.forget(view, site, spec.name)
            view = world.view(view.spec.name, refresh=True)
            continue
        return host


def _start_on(world: World, view: PlanView, host: str, site: str, wanted: VmDefinition) -> None:
    fleet = world.fleet
    guard = ownership.claim_guard(world.topology.name, wanted.plan)
    state = view.seen.host(host)
    initiator = state.initiator if state else fleet.host(host).state().initiator
    for other in view.places:
        if other.vm == wanted.vm and other.site == site and other.host != host:
            fleet.host(other.host).undefine(wanted.name, other.state.definition.owner)
    for volume, dropped in view.dropped_luns(wanted.vm, site).items():
        fleet.array(view.copy_array(volume, site)).unmap_luns({volume: dropped}, guard)
    luns: dict[str, list[str]] = {}
    for disk in wanted.disks:
        luns.setdefault(disk.volume, []).append(disk.lun)
    for volume, names in luns.items():
        array = view.copy_array(volume, site)
        known = view.volume(volume, site)
        stale = [n for n in names if known and n in known.luns and known.luns[n].mapped_to not in (None, initiator)]
        if stale:
            # Whoever it was mapped to answers and does not run the VM: `_must_wait` made sure of it.
            fleet.array(array).unmap_luns({volume: stale}, guard)
        try:
            fleet.array(array).map_lun(volume, names, initiator, guard)
        except NotFound as error:
            raise DrError(
                f"VM {wanted.vm}: a disk of it is not made yet ({error}); run again when its volume is there"
            ) from error
    fleet.host(host).define(wanted)
    fleet.host(host).rescan()
    fleet.host(host).start(wanted.name)
    world.progress(f"VM {wanted.vm}: started on {host}")


# -- removed --------------------------------------------------------------------------------------


def release_vm(world: World, plan: str, vm: str, arrays: tuple[str, ...], owner: Owner) -> Released:
    """Stop the VM, take its LUNs from its host and forget it, wherever it is defined. Its disks are not touched. Raises MoveInProgress.

    One that carries another incarnation is another resource's by now, and is left running.
    """
    notes = not_mine(world, "vm", vm, arrays, owner)
    if notes is not None:
        return notes
    topology, seen = world.topology, world.look()
    said: list[str] = []
    mine: list[tuple[str, VmState]] = []
    for host in sorted(topology.hosts):
        state = seen.host(host)
        found = state.vms.get(vm) if state else None
        if found is None or found.definition.owner.topology != topology.name or found.definition.plan != plan:
            continue
        there = found.definition.owner
        if (there.stack, there.incarnation) != (owner.stack, owner.incarnation):
            whose = f"stack {there.stack}" if there.stack != owner.stack else "a newer resource of this stack"
            said.append(f"VM {vm} on {host}: it belongs to {whose or 'no stack'} now; nothing was done")
        else:
            mine.append((host, found))
    if said and not mine:
        return Released(tuple(said))
    # Also where it is on no host that answers: the move may be about to start it.
    ownership.refuse_in_move(world, plan, arrays, f"VM {vm}")
    for host, found in mine:
        said.append(remove_from(world, host, found, arrays, lambda _array: ownership.claim_guard(topology.name, plan)))
    ownership.forget(world, "vm", vm, arrays)
    silent = sorted(name for name in topology.hosts if seen.host(name) is None)
    if silent and not said:
        said.append(f"VM {vm}: {', '.join(silent)} does not answer; if it is defined there, it stays")
    if silent or ownership.silent_among(seen, arrays):
        ownership.bury(world, "vm", vm, plan, arrays, owner)
    return Released(tuple(said))


def remove_from(world: World, host: str, found: VmState, arrays: Iterable[str], guard: Callable[[str], Guard]) -> str:
    """Stop the VM on the host, take its LUNs from it and forget it; a line that says so. `guard`: what each array is to check. Raises Conflict."""
    driver, seen = world.fleet.host(host), world.look()
    # Read again on the host itself: what is about to be stopped must not have been taken over since the sweep.
    now = driver.state().vms.get(found.name)
    if now is None or now.definition.owner != found.definition.owner:
        return f"VM {found.name} on {host}: it was taken over or removed meanwhile; nothing was done"
    definition = now.definition
    driver.stop(definition.name)
    state = seen.host(host)
    initiator = state.initiator if state else None
    site = world.topology.hosts[host].site
    for array in arrays:
        at = seen.array(array)
        if at is None or array not in world.topology.arrays or world.topology.arrays[array].site != site:
            continue
        luns: dict[str, list[str]] = {}
        for disk in definition.disks:
            volume = at.volumes.get(disk.volume)
            lun = volume.luns.get(disk.lun) if volume else None
            if lun is not None and lun.mapped_to in (None, initiator):
                luns.setdefault(disk.volume, []).append(disk.lun)
        if luns:
            world.fleet.array(array).unmap_luns(luns, guard(array))
    if not driver.undefine(definition.name, definition.owner):
        raise Conflict(
            f"VM {found.name} on {host}: it was taken over while it was being removed; nothing more was done"
        )
    return f"VM {found.name}: stopped and removed from {host}; its disks stay as they are"
