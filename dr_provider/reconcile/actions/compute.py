"""Hosts: capacity kept, VMs stopped, attached and started."""

from __future__ import annotations

from dr_provider.model import keys
from dr_provider.model.errors import DrError, Stopped
from dr_provider.model.state import Reservation
from dr_provider.reconcile.abreast import abreast
from dr_provider.reconcile.context import Run, listed, pairs
from dr_provider.reconcile.decision import Action
from dr_provider.reconcile.definitions import vm_definition
from dr_provider.reconcile.givenup import given_up
from dr_provider.reconcile.health import pause, wait_until_well
from dr_provider.reconcile.mapping import begin_mapping
from dr_provider.reconcile.placement import reservation_tag
from dr_provider.reconcile.steps import tier_of

__all__ = ["attach", "check", "export", "rescan", "reserve", "start", "stop", "unreserve"]

GRACEFUL = 60.0
"""Seconds that a guest is given to shut down."""
GRACEFUL_WITHOUT_DISKS = 5.0
"""The same where its array is silent: it cannot write anything any more."""
RETRIES = 2
"""Further starts of a VM that does not come up, where its tier says `onFailure: retry`."""


def reserve(run: Run, action: Action) -> str:
    """Keep CPUs and memory on each host, atomically, so that plans moving at once never share it."""
    tag = reservation_tag(run.topology, run.plan)
    by_host: dict[str, list[Reservation]] = {}
    for vm, host in pairs(action.of["hosts"]).items():
        site = run.view.topology.hosts[host].site
        spec = run.view.topology.vms[vm].there(site)
        place = run.view.place(vm, site)
        if place is None or not run.view.runs_at(place):
            by_host.setdefault(host, []).append(Reservation(tag, vm, spec.cpus, spec.memory))
    abreast(sorted(by_host), lambda host: run.world.fleet.host(host).reserve(tag, by_host[host]))
    return ""


def unreserve(run: Run, action: Action) -> str:
    """Give back capacity that no move needs any more: its host was silent when the move ended."""
    tag = reservation_tag(run.topology, run.plan)
    abreast(listed(action.of["hosts"]), lambda host: run.world.fleet.host(host).release(tag))
    return ""


def stop(run: Run, action: Action) -> str:
    """Stop a VM: asked first, then hard. What the guest says of its last entry goes into the seal of the final snapshot."""
    vm, host = action.of["vm"], action.of["host"]
    site = run.view.topology.hosts[host].site
    report = run.world.fleet.host(host).stop(vm, graceful=_patience(run, vm, host, site))
    if report.how == "graceful":
        run.graceful.add(vm)
    if report.mark is not None:
        run.marks[vm] = report.mark
    return report.how


def _patience(run: Run, vm: str, host: str, site: str) -> float:
    """How long a guest is asked before it is stopped hard: one that has lost its disks has nothing to write out, and may wait for them for ever."""
    spec = run.view.topology.vms.get(vm)
    if spec is None:
        return GRACEFUL  # taken out of the topology while its side was away
    if any(run.view.array_state(name, site) is None for name in spec.volumes()):
        return GRACEFUL_WITHOUT_DISKS
    there = [(volume, keys.lun_name(vm, d.role)) for d in spec.disks if (volume := run.view.volume(d.volume, site))]
    if any(p.vm == vm and p.host == host and run.view.taken_to(p) is not None for p in run.view.places):
        return GRACEFUL_WITHOUT_DISKS
    taken = there and all(lun in v.luns and v.luns[lun].mapped_to is None for v, lun in there)
    return GRACEFUL_WITHOUT_DISKS if taken else GRACEFUL


def rescan(run: Run, action: Action) -> str:
    run.world.fleet.host(action.of["host"]).rescan()
    return ""


def attach(run: Run, action: Action) -> str:
    """Map the VM's LUNs to its host, whatever host its backup names, and define it there, without autostart."""
    vm, host = action.of["vm"], action.of["host"]
    site = run.view.topology.hosts[host].site
    seen = run.view.seen.host(host)
    if seen is None:
        raise DrError(f"VM {vm}: host {host} fell silent; run again to place the VM anew")
    _leave_others(run, vm, host, site)
    # The VM is off: what it was mapped and is no disk of it any more would only stay in the way of who removes it.
    for volume, luns in run.view.dropped_luns(vm, site).items():
        run.array(run.view.copy_array(volume, site)).unmap_luns({volume: luns}, run.guard)
    _make_given_up(run, vm, site)
    mapping = begin_mapping(run, vm, host, site, seen.initiator)
    owner = run.owner_of(vm)
    run.world.fleet.host(host).define(
        vm_definition(run.world.fleet, run.view.topology, vm, site, owner, seen=run.view.seen)
    )
    mapping.done()
    return ""


def export(run: Run, action: Action) -> str:
    """Map the LUNs of a VM that runs to its host again; the host finds them by itself."""
    vm, host = action.of["vm"], action.of["host"]
    seen = run.view.seen.host(host)
    if seen is None:
        raise DrError(f"VM {vm}: host {host} fell silent; its LUNs are mapped again by a later run")
    begin_mapping(run, vm, host, run.view.topology.hosts[host].site, seen.initiator).done()
    return ""


def _make_given_up(run: Run, vm: str, site: str) -> None:
    """Make the disks anew that the move gave up, since no recovery point held them. The array knows best whether one is there."""
    view = run.view
    for disk in given_up(view, view.topology.vms[vm], site):
        lun, name = keys.lun_name(vm, disk.role), view.copy_array(disk.volume, site)
        run.array(name).create_lun(disk.volume, lun, disk.size, image=disk.image, guard=run.guard)
        run.remark(
            f"VM {vm}: its disk {disk.role} was added after the recovery point of the move, and is made anew on {name}"
        )


def _leave_others(run: Run, vm: str, host: str, site: str) -> None:
    """Take the VM off other hosts of the site that still define it, off, from an earlier stay there."""
    for place in run.view.places:
        if place.vm == vm and place.site == site and place.host != host and not place.running:
            run.world.fleet.host(place.host).undefine(vm, place.state.definition.owner)


def check(run: Run, action: Action) -> str:
    """See that a VM which runs is well, before those are started that wait for it. It is left running."""
    vm = action.of["vm"]
    return wait_until_well(run.world.fleet, action.of["host"], vm, run.view.topology.vms[vm], run.stop)


def start(run: Run, action: Action) -> str:
    """Start the VM and wait until it is well; again where its tier says so."""
    vm, host = action.of["vm"], action.of["host"]
    spec = run.view.topology.vms[vm].there(run.view.topology.hosts[host].site)
    retry = run.view.spec.tiers[tier_of(run.view.spec, vm)].on_failure == "retry"
    pause(spec.start_delay, run.stop)
    for attempt in range(RETRIES + 1 if retry else 1):
        try:
            run.world.fleet.host(host).start(vm)
            if spec.health is not None:
                run.lines.up(action)
            return wait_until_well(run.world.fleet, host, vm, spec, run.stop)
        except Stopped:
            raise
        except DrError as error:
            if attempt == (RETRIES if retry else 0):
                if retry:
                    raise DrError(f"{error} (tried {RETRIES + 1} times, as its tier's onFailure says)") from error
                raise
            run.remark(f"VM {vm}: {error}; trying again")
            run.world.fleet.host(host).stop(vm, graceful=0)
    return ""
