"""Where a plan's VMs are at a site, for the record that goes with a group snapshot."""

from __future__ import annotations

from collections.abc import Iterable

from dr_provider.model.codec import load
from dr_provider.model.errors import CorruptRecord
from dr_provider.model.vm import VmDefinition
from dr_provider.protection import backup
from dr_provider.protection.catalogue import RecoveryPoint
from dr_provider.reconcile.givenup import had_lun
from dr_provider.reconcile.view import PlanView

__all__ = ["backup_places"]


def backup_places(view: PlanView, site: str) -> backup.Places:
    """Where each VM is at a site, for a group's record. Of a VM that no answering host shows, the newest record tells definition and host:
    without that, a point taken while its host is lost could not restore it. Of one that is known from an earlier stay alone there is no
    definition: a point that named it would promise disks that are not in it."""
    silent = view.silent_hosts(site)
    found: dict[str, tuple[str, VmDefinition | None, bool | None]] = {}
    for vm in view.spec.members:
        place = view.place(vm, site)
        if place is not None:
            found[vm] = (place.host, _of_now(view, place.state.definition, site), place.running)
            continue
        recorded = _recorded(view.points, vm, site)
        if recorded is not None:
            host, definition = recorded
            found[vm] = (host, _of_now(view, definition, site), None if silent else False)
    return found


def _of_now(view: PlanView, definition: VmDefinition, site: str) -> VmDefinition | None:
    """The definition, unless every disk that it names was given up with the move to the site."""
    gone = [
        disk
        for disk in definition.disks
        if (volume := view.volume(disk.volume, site)) is not None
        and disk.lun not in volume.luns
        and not had_lun(view, definition.name, disk.lun, site)
    ]
    return None if gone and len(gone) == len(definition.disks) else definition


def _recorded(points: Iterable[RecoveryPoint], vm: str, site: str) -> tuple[str, VmDefinition] | None:
    # Of this site before another, then the newest.
    for point in sorted(points, key=lambda p: (p.intent.site == site, p.order), reverse=True):
        text = point.intent.definitions.get(vm)
        if text is not None:
            try:
                return point.intent.hosts.get(vm, ""), load(VmDefinition, text, f"recovery point {point.id}, VM {vm}")
            except CorruptRecord:
                continue
    return None
