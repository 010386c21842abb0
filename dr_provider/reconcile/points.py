"""Which recovery points a site can be moved to: those that are whole there, and those whose missing parts another copy has. Pure.

Invariant: a part is fetched only onto a copy that it can be added to as it stands: one that is absent, or whose newest snapshot the
sender has too. What would need something of the target to be given up first is not fetched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import takewhile

from dr_provider.model.codec import load
from dr_provider.model.topology import DiskSpec, VmSpec
from dr_provider.model.vm import VmDefinition
from dr_provider.protection.catalogue import RecoveryPoint, choose_point
from dr_provider.reconcile.view import PlanView

__all__ = ["best_point", "disks_since", "fetches", "full_copies", "lacking_at", "named_point", "parts_at"]


def lacking_at(point: RecoveryPoint, target: str) -> tuple[str, ...]:
    """The volumes whose part of the point the target lacks."""
    at = point.sites.get(target)
    return tuple(
        name for name in point.members if at is None or name not in at.arrays or name in (*at.missing, *at.unsealed)
    )


def disks_since(point: RecoveryPoint, vm: VmSpec) -> tuple[DiskSpec, ...]:
    """Disks of the VM that the point does not hold: all of them where it knows nothing of the VM. Raises CorruptRecord."""
    text = point.intent.definitions.get(vm.name)
    known = load(VmDefinition, text, f"recovery point {point.id}, VM {vm.name}").disks if text else ()
    roles = {disk.role for disk in known}
    return tuple(disk for disk in vm.disks if disk.role not in roles)


def fetches(view: PlanView, point: RecoveryPoint, target: str) -> Mapping[str, str] | None:
    """The volumes whose part of the point the target lacks, each with the site that it is fetched from; None: some part is not to be had."""
    found: dict[str, str] = {}
    for name in lacking_at(point, target):
        sources = [
            site
            for site in view.others(target)
            if _has(point, name, site) and _takes(view, name, site, target, point.id)
        ]
        if not sources:
            return None
        found[name] = sources[0]
    return found


def _has(point: RecoveryPoint, volume: str, site: str) -> bool:
    at = point.sites.get(site)
    return at is not None and volume in at.arrays and volume not in (*at.missing, *at.unsealed, *at.corrupt)


def _takes(view: PlanView, volume: str, site: str, target: str, point: str) -> bool:
    """Whether the target's copy can be brought up to the point from the one at the site without losing anything of its own."""
    if volume not in view.topology.volumes or len(view.way(volume, site, target) or ()) != 2:
        return False
    there, source = view.volume(volume, target), view.volume(volume, site)
    if there is None or not there.snapshots:
        return there is None or not there.writable
    before = [s.guid for s in takewhile(lambda s: s.name != point, source.snapshots)] if source else []
    return not there.writable and not there.changed and there.snapshots[-1].guid in before


def _whole(view: PlanView, volume: str, target: str) -> bool:
    """Whether a full copy is needed."""
    there = view.volume(volume, target)
    return there is None or not there.snapshots


def full_copies(view: PlanView, wanted: Mapping[str, str], target: str) -> tuple[str, ...]:
    """Sentences on volumes that only a full copy can bring."""
    return tuple(
        f"volume {name}: {target} has nothing of it to build upon, so all of it is copied from {site} first, which can take long"
        for name, site in sorted(wanted.items())
        if _whole(view, name, target)
    )


def _to_be_had(view: PlanView, target: str) -> tuple[RecoveryPoint, ...]:
    """Those that were found corrupt at the target are not among them: only who names one gets it."""
    return tuple(
        p
        for p in view.points
        if p.complete_at(target) or (not p.corrupt_at(target) and fetches(view, p, target) is not None)
    )


def best_point(view: PlanView, target: str) -> RecoveryPoint | None:
    """The newest point that is whole at the target, or can be made so."""
    return max(_to_be_had(view, target), key=lambda point: point.order, default=None)


def named_point(view: PlanView, target: str, wish: str) -> RecoveryPoint:
    """The point that an id or an RFC 3339 time names, among those that are to be had at the target. Raises BadInput."""
    return choose_point(view.points, target, wish, whole=_to_be_had(view, target))


def parts_at(points: Iterable[RecoveryPoint], target: str, beyond: RecoveryPoint) -> tuple[str, ...]:
    """Sentences on newer groups of which the target has parts only, or that were found corrupt there: they are kept beside, and are not used; and
    on the point itself where it was found corrupt, and was named all the same."""
    said = []
    for point in points:
        at = point.sites.get(target)
        if at is not None and point.id == beyond.id and at.corrupt:
            said.append(
                f"recovery point {point.id} was found corrupt at {target} ({', '.join(at.corrupt)}): what it restores may be damaged"
            )
        if at is None or point.order <= beyond.order or at.complete:
            continue
        if at.corrupt:
            said.append(
                f"recovery point {point.id} is newer, and was found corrupt at {target} ({', '.join(at.corrupt)}), so it is passed over; "
                f"what {target} has of it is kept as safety copies"
            )
            continue
        said.append(
            f"recovery point {point.id} is newer, and {target} has it of {', '.join(sorted(at.arrays))} only, and the rest is not to be had; "
            f"those parts are kept as safety copies"
        )
    return tuple(said)
