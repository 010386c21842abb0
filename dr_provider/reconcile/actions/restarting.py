"""Restart in the site: disks taken from hosts that are silent, and VMs that come back without them stopped."""

from __future__ import annotations

from dr_provider.model import keys
from dr_provider.model.errors import DrError
from dr_provider.model.state import ArrayState
from dr_provider.reconcile.context import Run, listed
from dr_provider.reconcile.decision import Action

__all__ = ["evict", "isolate"]


def isolate(run: Run, action: Action) -> str:
    """Unmap the VMs' LUNs from whoever does not answer, and read back that none of those can write. LUNs of hosts that answer stay."""
    name = action.of["array"]
    array = run.array(name)
    site = run.view.topology.arrays[name].site
    vms = listed(action.of["vms"])
    luns = _out_of_sight(run, site, vms, array.state())
    if luns:
        array.unmap_luns(luns, run.guard)
        left = _out_of_sight(run, site, vms, array.state())
        if left:
            still = ", ".join(lun for names in left.values() for lun in names)
            raise DrError(
                f"array {name}: {still} still mapped after they were unmapped; the fence does not hold, so nothing is started elsewhere"
            )
    return "read back"


def _out_of_sight(run: Run, site: str, vms: list[str], state: ArrayState) -> dict[str, list[str]]:
    topology = run.view.topology
    seen = {s.initiator for h in topology.hosts_at(site) if (s := run.view.seen.host(h.name)) is not None}
    found: dict[str, list[str]] = {}
    for vm in vms:
        for disk in topology.vms[vm].disks:
            volume, name = state.volumes.get(disk.volume), keys.lun_name(vm, disk.role)
            lun = volume.luns.get(name) if volume else None
            if lun is not None and lun.mapped_to is not None and lun.mapped_to not in seen:
                found.setdefault(disk.volume, []).append(name)
    return found


def evict(run: Run, action: Action) -> str:
    """Stop and forget a VM on a host that has lost its disks to another."""
    vm, name = action.of["vm"], action.of["host"]
    host = run.world.fleet.host(name)
    there = host.state().vms.get(vm)
    if there is None:
        return "gone already"
    # Nothing that it holds in memory can reach its disks: it is not asked.
    host.stop(vm, graceful=0)
    host.undefine(vm, there.definition.owner)
    if there.state == "running":
        run.remark(
            f"VM {vm} was still running on {name}, without its disks; it has been stopped there and could write nothing"
        )
    return ""
