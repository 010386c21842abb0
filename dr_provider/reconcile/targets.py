"""Where a plan goes when the operator names no site: by freshness, then by capacity, then by the plan's own order. Pure.

A move under way goes on to where it was going. A site that could not be moved to is passed over with its reason.
"""

from __future__ import annotations

from dataclasses import dataclass

from dr_provider.model.errors import Refused
from dr_provider.reconcile.drills.giving_way import make_room
from dr_provider.reconcile.points import best_point
from dr_provider.reconcile.source import look_at_source
from dr_provider.reconcile.terms import target_faults
from dr_provider.reconcile.view import PlanView

__all__ = ["Target", "choose_target"]


@dataclass(frozen=True)
class Target:
    """`why`: a sentence on the choice; empty where there was none."""

    site: str
    why: str = ""


def choose_target(view: PlanView) -> Target:
    """The best site to move to. Raises Refused, with a sentence a site, where there is none."""
    plan, active = view.spec.name, view.active
    if active is None:
        raise Refused(
            (f"plan {plan}: nobody says where it is active, so no site can be chosen for it; name one: --to SITE",)
        )
    if view.claim is not None:
        return Target(view.claim.site, f"plan {plan}: the move to {view.claim.site} that is under way goes on")
    found: list[tuple[tuple[bool, tuple[int, int, str]], int, str, str]] = []
    against: list[str] = []
    for site in view.others(active):
        faults = target_faults(view, site)
        point = best_point(view, site)
        final = look_at_source(view, active, site, None).final
        if not faults and not final and point is None:
            faults = [f"plan {plan} cannot move to {site}: no recovery point is whole there, or can be made so"]
        if faults:
            against += faults
            continue
        fresh = (final, (0, 0, "") if final or point is None else point.order)
        said = (
            f"the last state of {active} can be brought there"
            if final
            else f"recovery point {point.id if point else ''} is to be had there"
        )
        found.append((fresh, len(make_room(view, site, view.vms)[0].unplaced), site, said))
    if not found:
        raise Refused((*against, f"plan {plan}: there is no site that it can move to now"))
    if len(view.spec.sites) == 2:
        return Target(found[0][2])
    # `found` is in the plan's order, which max and min keep among equals.
    freshest = max(fresh for fresh, *_ in found)
    equal = [each for each in found if each[0] == freshest]
    _, unplaced, site, said = min(equal, key=lambda each: each[1])
    room = "with room for all its VMs" if not unplaced else f"without room for {unplaced} of its VMs"
    behind = [each[2] for each in found if each[0] != freshest]
    others = f"; {' and '.join(behind)} would lose more" if behind else ""
    return Target(site, f"plan {plan}: {site} is chosen: {said}, {room}{others}")
