"""How the copy of a volume at another site stands to the line of the copy where the plan is active. Pure.

Invariant: a copy that holds anything its new source does not have (a block written since, a snapshot of its own) is `diverged`, and
is never overwritten before that is kept; what is silent is `unknown`, never `absent`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dr_provider.model.records import Epoch
from dr_provider.protection.lines import line_of, newest_on
from dr_provider.reconcile.clocks import came_after
from dr_provider.reconcile.view import PlanView

__all__ = ["CopyStanding", "lost_here", "standing", "wrote_after"]

Standing = Literal["unknown", "absent", "mirrored", "clean", "diverged", "foreign", "alone"]


@dataclass(frozen=True)
class CopyStanding:
    """`mirrored`: a destination in line. `clean`: writable, nothing of its own. `diverged`: has data of its own since `common`.
    `foreign`: no snapshot in common. `alone`: the active site, which answers, lacks the volume. `newer`: names of its own snapshots since the common one; `changed`: bytes written since its newest."""

    volume: str
    array: str
    standing: Standing
    common: str | None = None
    newer: tuple[str, ...] = ()
    changed: int = 0
    last_write: str | None = None
    mapped: tuple[str, ...] = ()
    """Its LUNs that are mapped to a host."""


def standing(view: PlanView, volume: str, active: str, other: str) -> CopyStanding:
    """How the copy at `other` stands to the line of the one at `active`."""
    array = view.copy_array(volume, other)
    source, target = view.volume(volume, active), view.volume(volume, other)
    if view.array_state(volume, other) is None:
        return CopyStanding(volume, array, "unknown")
    mapped = tuple(sorted(lun.name for lun in target.luns.values() if lun.mapped_to is not None)) if target else ()
    if view.array_state(volume, active) is None:
        return CopyStanding(volume, array, "unknown", mapped=mapped)
    if target is None or (not target.snapshots and not target.writable):
        # A volume that a first full copy is still coming into is none yet.
        return CopyStanding(volume, array, "absent")
    if source is None:
        written = target.last_write if target.writable else None
        return CopyStanding(volume, array, "alone", changed=target.changed, last_write=written, mapped=mapped)
    spec = view.topology.volumes[volume]
    common = newest_on(line_of(spec, view.copy_array(volume, active), view.seen), target)
    names = [snapshot.name for snapshot in target.snapshots]
    newer = tuple(names[names.index(common.name) + 1 :]) if common else tuple(names)
    how: Standing
    if common is None:
        how = "foreign"
    elif newer or target.changed:
        how = "diverged"
    else:
        how = "clean" if target.writable else "mirrored"
    return CopyStanding(
        volume, array, how, common.name if common else None, newer, target.changed, target.last_write, mapped
    )


def wrote_after(view: PlanView, copy: CopyStanding, epoch: Epoch) -> bool:
    """Whether a guest wrote to the copy after the other side's commit: evidence for caution, never an order."""
    if copy.standing not in ("diverged", "foreign", "alone") or copy.last_write is None:
        return False
    return came_after(view.seen, copy.array, copy.last_write, epoch.clocks, epoch.time)


def lost_here(view: PlanView, active: str) -> list[tuple[str, str]]:
    """Volumes that are missing where the plan is active while another answering copy holds data."""
    found = []
    for name in view.volume_names:
        if view.array_state(name, active) is None or view.volume(name, active) is not None:
            continue
        holders = [s for s in view.spec.sites if s != active and (v := view.volume(name, s)) is not None and v.used]
        if holders:
            array = view.copy_array(name, active)
            found.append(
                (
                    name,
                    f"it is lost at {active} (not on {array}) while {', '.join(holders)} holds a copy; it is not made anew",
                )
            )
    return found
