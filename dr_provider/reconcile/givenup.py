"""Disks that were added after the recovery point that a disaster move broke at: given up with that move, and made anew, empty. Pure.

Invariant: what the active side has had is lost where it is missing, and is never made anew, since that would hide the loss.
"""

from __future__ import annotations

from dr_provider.model import keys
from dr_provider.model.codec import load
from dr_provider.model.topology import DiskSpec, VmSpec
from dr_provider.model.vm import VmDefinition
from dr_provider.reconcile.standing import arrival, line
from dr_provider.reconcile.view import PlanView

__all__ = ["given_up", "had_lun", "is_lost"]


def had_lun(view: PlanView, vm: str, lun: str, site: str) -> bool:
    """Whether the site had the LUN: all that was ever made was at home in the first epoch, and elsewhere what its recovery points name: of the
    active site those that it stands on."""
    if view.epoch is None or (view.epoch.number == 1 and view.epoch.site == site):
        return True
    for point in line(view, site) if view.active == site and arrival(view, site) else view.points:
        text = point.intent.definitions.get(vm) if point.complete_at(site) else None
        if text and any(disk.lun == lun for disk in load(VmDefinition, text, f"{point.id}, VM {vm}").disks):
            return True
    return False


def is_lost(view: PlanView, vm: VmSpec, disk: DiskSpec, site: str) -> bool:
    """Whether the disk was made at the site and is missing from its volume, which is there. A LUN of its name in another volume is that of a
    VM which had the name before."""
    lun, volume, array = (
        keys.lun_name(vm.name, disk.role),
        view.volume(disk.volume, site),
        view.copy_array(disk.volume, site),
    )
    if volume is None or lun in volume.luns or view.never_made("lun", lun) or not had_lun(view, vm.name, lun, site):
        return False
    there = view.seen.array(array)
    return there is not None and not any(lun in v.luns for v in there.volumes.values() if v.kind == "data")


def given_up(view: PlanView, vm: VmSpec, site: str) -> tuple[DiskSpec, ...]:
    """Disks of the VM that never came to the site, where the plan goes on, or were declared and made nowhere yet; their volumes are here."""
    found = []
    for disk in vm.disks:
        lun, volume = keys.lun_name(vm.name, disk.role), view.volume(disk.volume, site)
        if volume is None or not volume.writable or lun in volume.luns:
            continue
        if not had_lun(view, vm.name, lun, site):
            found.append(disk)
    return tuple(found)
