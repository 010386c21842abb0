"""A host of the active site is lost and its array lives: its VMs are started on other hosts of the site, without a move. Pure.

Invariants:
1. A VM that may still run on a silent host is started elsewhere only after every array of its disks has said that no silent host has
   them any more (unmapped, and read back). So there are never two writers, whether the host is off or only cut off.
2. A VM is fenced only when another host has room for it: one that fits nowhere may go on where it is.
3. Nothing is concluded from an array that is silent, or that does not know the epoch in force.
4. A VM that is found running without its disks, which another host has by now, is stopped there; it cannot write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dr_provider.model import keys
from dr_provider.model.topology import VmSpec
from dr_provider.reconcile.steps import Steps
from dr_provider.reconcile.view import PlanView

__all__ = ["evict", "isolate", "may_run_unseen", "same_cluster", "unseen"]


def may_run_unseen(view: PlanView, vm: VmSpec, site: str) -> bool:
    """Whether a silent host of the site may run the VM: no answering one does, and none of them was told of it, or a LUN of it is mapped to nobody that answers."""
    if not view.silent_hosts(site):
        return False
    known = view.place(vm.name, site)
    if known is None:
        return True
    return not view.runs_at(known) and bool(_out_of_sight(view, vm, site))


def unseen(view: PlanView, vm: VmSpec, site: str, *, allowed: bool) -> str:
    """Why a VM that a silent host may run is not restarted elsewhere; empty: it may be."""
    plan, silent = view.spec.name, ", ".join(sorted(view.silent_hosts(site)))
    said = f"VM {vm.name}: not seen at {site}, and {silent} is silent; it may run there"
    if view.never_made("vm", vm.name):
        return said
    if not allowed:
        return (
            f"{said}. Where that host is lost: dr restart {plan} takes its disks from it and starts it on another host of {site} "
            "(restart: in-site in the plan does so by itself)"
        )
    epoch = view.epoch
    for array in sorted({view.copy_array(volume, site) for volume in vm.volumes()}):
        if view.seen.array(array) is None:
            return f"{said}, and is not restarted elsewhere: array {array} is silent, so its disks cannot be taken from there"
        if epoch is None or view.known_epoch(array) < epoch.number:
            return (
                f"{said}, and is not restarted elsewhere: array {array} does not know the epoch in force yet; run again"
            )
    return ""


def same_cluster(view: PlanView, site: str, vms: Iterable[VmSpec]) -> dict[str, frozenset[str]]:
    """By VM, the hosts in the cluster of the host that its newest backup record at the site names."""
    hosts = view.topology.hosts
    found = {}
    for vm in vms:
        recorded = next(
            (p.intent.hosts[vm.name] for p in reversed(view.points) if p.intent.site == site and vm.name in p.intent.hosts),
            "",
        )  # fmt: skip
        cluster = hosts[recorded].cluster if recorded in hosts else None
        if cluster is not None:
            found[vm.name] = frozenset(h.name for h in view.topology.hosts_at(site) if h.cluster == cluster)
    return found


def isolate(
    view: PlanView, site: str, hosts: Mapping[str, str], vms: Iterable[VmSpec], steps: Steps, *, after: Iterable[str]
) -> dict[str, list[str]]:
    """Keep room for the VMs and take their disks from the silent hosts, an array at a time; by VM, the ids to wait for."""
    moving = [vm for vm in vms if vm.name in hosts]
    if not moving:
        return {}
    used = sorted({hosts[vm.name] for vm in moving})
    room = "; ".join(f"{h}: {', '.join(sorted(vm.name for vm in moving if hosts[vm.name] == h))}" for h in used)
    kept = steps.add(
        "reserve", "", f"keep CPUs and memory at {site} ({room})", after=after,
        hosts=";".join(f"{vm.name}={hosts[vm.name]}" for vm in sorted(moving, key=lambda vm: vm.name)),
    )  # fmt: skip
    mapped: dict[str, list[str]] = {}
    for vm in moving:
        for volume in _out_of_sight(view, vm, site):
            names = mapped.setdefault(view.copy_array(volume, site), [])
            names += [vm.name] if vm.name not in names else []
    silent = ", ".join(sorted(view.silent_hosts(site)))
    fences = {
        array: steps.add(
            "isolate", array, f"unmap the LUNs of {', '.join(names)} on {array}, so that {silent} cannot write to them, and read that back",
            after=[kept], group="fence", array=array, vms=",".join(names),
        )
        for array, names in sorted(mapped.items())
    }  # fmt: skip
    return {vm.name: [kept, *(i for a, i in fences.items() if vm.name in mapped[a])] for vm in moving}


def evict(view: PlanView, site: str, steps: Steps, *, after: Iterable[str]) -> list[str]:
    """Stop and forget VMs on hosts that they were taken from while those were silent. Ids."""
    ids = []
    for at in view.places:
        if at.site != site or at.vm not in view.spec.members:
            continue
        real = view.place(at.vm, site)
        elsewhere = real is not None and real.host != at.host and view.runs_at(real)
        if at.running and view.taken_to(at) is not None:
            said = (
                f"stop VM {at.vm} on {at.host}, where it runs without its disks: they are mapped to {view.taken_to(at)}"
            )
        elif elsewhere and real is not None and not at.running:
            said = f"forget VM {at.vm} on {at.host}: it runs on {real.host}"
        else:
            continue
        ids.append(
            steps.add(
                "evict", f"{at.vm}@{at.host}", said, after=after, group="stop", needed=False, vm=at.vm, host=at.host
            )
        )
    return ids


def _out_of_sight(view: PlanView, vm: VmSpec, site: str) -> list[str]:
    """Volumes with a LUN of the VM that is mapped to an initiator which no answering host of the site has."""
    seen = {state.initiator for h in view.topology.hosts_at(site) if (state := view.seen.host(h.name)) is not None}
    found = []
    for disk in vm.disks:
        volume = view.volume(disk.volume, site)
        lun = volume.luns.get(keys.lun_name(vm.name, disk.role)) if volume else None
        if lun is not None and lun.mapped_to is not None and lun.mapped_to not in seen and disk.volume not in found:
            found.append(disk.volume)
    return found
