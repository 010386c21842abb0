"""Drills on a schedule: whether one is due and may begin, and its run.

Invariants: protection comes first: a drill begins only where the plan is steady and protected, no other scheduled one is open, and there is
room; and backups go on while it is up. Whatever it has shown, the next is due an interval later, so that one that fails is not tried in a loop.
"""

from __future__ import annotations

from dr_provider.model import keys
from dr_provider.model.errors import DrError, LeaseHeld, MoveInProgress, Refused, Stopped, Unreachable
from dr_provider.model.records import Owner
from dr_provider.model.topology import DrillSpec
from dr_provider.protection.mirrors import MirrorState
from dr_provider.reconcile.drills.begin import run_drill, start_drill
from dr_provider.reconcile.drills.decide import decide_drill, drill_site, lacking
from dr_provider.reconcile.drills.evidence import drill_due
from dr_provider.reconcile.status import is_protected, phase_of
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.world import World

__all__ = ["held_back", "is_due", "run_scheduled"]


def is_due(view: PlanView) -> bool:
    """Whether the plan's drill is due, and none of its schedule is open. Pure."""
    due = drill_due(view)
    if due is None or due > keys.at(view.seen.time):
        return False
    return not any(record.kind == "scheduled" for record in view.drills.values())


def held_back(view: PlanView, mirrors: tuple[MirrorState, ...]) -> str | None:
    """Why a drill that is due does not begin now. Pure."""
    phase = phase_of(view)
    if phase != "steady":
        return f"the plan is {phase}"
    return None if is_protected(view, mirrors) else "the plan is not protected"


def run_scheduled(world: World, plan: str, mirrors: tuple[MirrorState, ...]) -> tuple[str, str]:
    """Run the drill that is due: what came of it, and what is to be looked at (each may be empty). Raises Stopped."""
    view = world.view(plan)
    spec = view.spec.drill
    assert spec is not None
    name = keys.new_id()
    why = held_back(view, mirrors)
    try:
        if why is None:
            point = _point(view, spec)
            place = decide_drill(world, plan, spec.site, name, point)
            if place.placement.unplaced:
                raise lacking(view, place.site, place.placement)
            owner = Owner(world.topology.name, "", keys.new_incarnation())
            world.progress(f"plan {plan}: its drill is due; drill {name} at {place.site}")
            if spec.stay:
                outcome = start_drill(
                    world, plan, spec.site, name, owner, point, stay=spec.stay, kind="scheduled", whole=True
                )
            else:
                outcome = run_drill(world, plan, spec.site, name, owner, point, kind="scheduled")
            return outcome.sentence, "; ".join(outcome.failures)
    except (Refused, Unreachable, MoveInProgress, LeaseHeld) as error:
        why = str(error).replace("\n", "; ")
    except Stopped:
        raise
    except DrError as error:
        return "", f"plan {plan}: its scheduled drill {name} failed: {error}"
    return "", f"plan {plan}: its drill is due and waits: {why}"


def _point(view: PlanView, spec: DrillSpec) -> str | None:
    """None: the newest."""
    at = drill_site(view, spec.site)
    whole = [point.id for point in view.points if point.complete_at(at)]
    return whole[0] if spec.point == "oldest" and whole else None
