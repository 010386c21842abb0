"""Whether a plan's VMs fit on the hosts that it may use at each of its sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dr_provider.model.build import Draft
from dr_provider.model.problems import Path, Report, did_you_mean, listed
from dr_provider.model.topology import HostSpec, PlanSpec, VmSpec
from dr_provider.model.units import counted, format_size

__all__ = ["check"]


@dataclass
class _Room:
    cpus: int
    memory: int

    def fits(self, vm: VmSpec) -> bool:
        return vm.cpus <= self.cpus and vm.memory <= self.memory


def check(draft: Draft, report: Report) -> None:
    for plan in draft.plans.values():
        if plan is not None:
            _lists(draft, plan, report)
            for site in dict.fromkeys(plan.sites):
                _fit(draft, plan, site, report)


def _lists(draft: Draft, plan: PlanSpec, report: Report) -> None:
    """The hosts that the plan names exist, and stand at the site under which they are named."""
    for site in draft.host_sites.get(plan.name, ()):
        names = plan.hosts.get(site, ())
        path: Path = ("plans", plan.name, "hosts", site)
        if site not in plan.sites:
            report.add(path, f"{site} is not a site of this plan{did_you_mean(site, plan.sites)}")
            continue
        here = [h.name for h in draft.hosts.values() if h is not None and h.site == site]
        for index, name in enumerate(names):
            host = draft.hosts.get(name)
            if "hosts" not in draft.torn and name not in draft.hosts:
                report.add((*path, index), f"there is no host {name}{did_you_mean(name, here)}")
            elif host is not None and host.site != site:
                right = f"wanted hosts at {site}: {listed(here)}" if here else f"there is no host at {site}"
                report.add((*path, index), f"host {name} stands at {host.site}, not at {site}; {right}")
            elif name in names[:index]:
                report.add((*path, index), f"{name} is listed twice; leave one of them out")


def _fit(draft: Draft, plan: PlanSpec, site: str, report: Report) -> None:
    if "sites" in draft.torn or "hosts" in draft.torn or site not in draft.sites:
        return
    named = plan.hosts.get(site)
    path: Path = ("plans", plan.name, "hosts", site) if named is not None else ("plans", plan.name)
    allowed = [draft.hosts.get(n) for n in (named if named is not None else sorted(draft.hosts))]
    if None in allowed or (named is not None and any(h is None or h.site != site for h in allowed)):
        return  # what is wrong with it has been said
    hosts = [host for host in allowed if host is not None and host.site == site]
    members = [vm for name in dict.fromkeys(plan.members) if (vm := draft.vms.get(name)) is not None]
    vms = [vm.there(site) for vm in members]
    if not hosts:
        report.add(path, f"there is no host at {site}, so its VMs could not run there; add one under hosts")
        return
    rooms = [_room(host) for host in hosts]
    which = f"hosts of {site}" if named is None else f"hosts that it may use at {site}"
    too_large = [vm for vm in vms if not any(room.fits(vm) for room in rooms)]
    for vm in too_large:
        best = max(rooms, key=lambda room: (room.memory, room.cpus))
        report.add(
            path,
            f"VM {vm.name} ({_need(vm.cpus, vm.memory)}) fits on none of the {which}, {listed(h.name for h in hosts)}; "
            f"the largest has {_need(best.cpus, best.memory)}{_override(vm, site)}",
        )
    for vm in (vm.there(site, drill=True) for vm in members if "drill" in vm.at):
        if not any(room.fits(vm) for room in rooms):
            report.add(
                path,
                f"VM {vm.name} has {_need(vm.cpus, vm.memory)} in a drill, and fits on none of the {which}, {listed(h.name for h in hosts)}; "
                "give it less under at.drill",
            )
    if not too_large and not _placed(vms, hosts):
        need = _need(sum(vm.cpus for vm in vms), sum(vm.memory for vm in vms))
        have = _need(sum(room.cpus for room in rooms), sum(room.memory for room in rooms))
        report.add(
            path,
            f"its {len(vms)} VMs ({need} together) do not fit on the {which}, {listed(h.name for h in hosts)} "
            f"({have} together); allow more hosts or larger ones",
        )


def _room(host: HostSpec) -> _Room:
    """What the document says that the host has; what only the host itself can say is no limit here."""
    cpus, memory = host.options.get("cpus"), host.options.get("memory")
    return _Room(cpus if isinstance(cpus, int) else 1 << 20, memory if isinstance(memory, int) else 1 << 60)


def _placed(vms: Sequence[VmSpec], hosts: Sequence[HostSpec]) -> bool:
    """First fit, largest first: by memory or by CPUs, whichever finds a place for all."""
    by_memory = sorted(vms, key=lambda vm: (-vm.memory, -vm.cpus, vm.name))
    by_cpus = sorted(vms, key=lambda vm: (-vm.cpus, -vm.memory, vm.name))
    return any(_first_fit(order, [_room(host) for host in hosts]) for order in (by_memory, by_cpus))


def _first_fit(vms: Sequence[VmSpec], rooms: Sequence[_Room]) -> bool:
    for vm in vms:
        room = next((room for room in rooms if room.fits(vm)), None)
        if room is None:
            return False
        room.cpus -= vm.cpus
        room.memory -= vm.memory
    return True


def _override(vm: VmSpec, site: str) -> str:
    """Where the size comes from, if it is one for this site alone."""
    said = vm.at.get(site)
    return f"; give it less under vms.{vm.name}.at.{site}" if said is not None and (said.cpus or said.memory) else ""


def _need(cpus: int, memory: int) -> str:
    return f"{counted(cpus, 'CPU')}, {format_size(memory)}"
