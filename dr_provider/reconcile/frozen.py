"""Guests that a run left frozen, thawed by the next one, whether it has anything else to do or not."""

from __future__ import annotations

from dr_provider.model.errors import LeaseHeld, Unreachable
from dr_provider.protection import backup
from dr_provider.reconcile.lease import hold_lease
from dr_provider.reconcile.world import World

__all__ = ["thaw_frozen", "thaw_left_frozen"]


def thaw_left_frozen(world: World, plan: str) -> None:
    """Thaw guests that are frozen under nobody's lease: whoever froze them was overtaken. Under a lease that is its holder's backup; one of
    another machine that has died is not waited for, since its guests thaw by themselves as soon."""
    view = world.view(plan)
    last = max(
        (lease for leases in view.leases.values() for lease in leases), key=lambda at: (at.n, at.released), default=None
    )
    if not any(place.state.frozen for place in view.places) or (last is not None and not last.released):
        return
    try:
        with hold_lease(world, plan, f"thaw of plan {plan}"):
            thaw_frozen(world, plan)
    except (LeaseHeld, Unreachable):
        return


def thaw_frozen(world: World, plan: str) -> None:
    """The same under the plan's lease, which the caller holds: whoever froze them is past."""
    thawed = backup.thaw_all(world.fleet, world.topology, plan, world.view(plan).seen)
    if thawed:
        world.progress(f"plan {plan}: thawed {', '.join(thawed)}, which a run had left frozen")
