"""What each side of a split has written since the fork, for the operator who must choose."""

from __future__ import annotations

from dr_provider.model.errors import DrError
from dr_provider.protection.replication import common_snapshot
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.world import World

__all__ = ["changes_since_fork"]


def changes_since_fork(world: World, view: PlanView) -> tuple[str, ...]:
    """A sentence a site: how much of each volume differs from the fork, and when a guest last wrote there."""
    said = []
    for site in view.split.sides if view.split else ():
        parts = [_of_volume(world, view, name, site) for name in view.volume_names]
        said.append(f"{site} since the fork: {'; '.join(parts)}")
    return tuple(said)


def _of_volume(world: World, view: PlanView, name: str, site: str) -> str:
    volume = view.volume(name, site)
    if volume is None:
        known = view.array_state(name, site) is not None
        return f"{name} {'is not there' if known else 'is not known (its array is silent)'}"
    others = [v for s in view.others(site) if (v := view.volume(name, s)) is not None]
    fork = next((found for other in others if (found := common_snapshot(volume, other)) is not None), None)
    if fork is None:
        return f"{name} has no snapshot in common with another side that answers"
    try:
        changed = world.fleet.array(view.copy_array(name, site)).estimate(name, fork.name, None)
    except DrError as error:
        return f"{name}: {error}"
    when = f", last at {volume.last_write}" if volume.last_write else ""
    return f"{name} {changed} bytes changed{when}"
