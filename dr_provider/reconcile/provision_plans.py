"""Whose a plan is. Its data, epochs and points belong to nobody in particular: releasing a plan stops and removes nothing."""

from __future__ import annotations

from dr_provider.model import keys
from dr_provider.model.errors import NotReady, Unreachable
from dr_provider.model.records import Owner
from dr_provider.reconcile import ownership
from dr_provider.reconcile.provision import Released, not_mine
from dr_provider.reconcile.world import World

__all__ = ["check_plan", "release_plan", "take_plan"]


def check_plan(world: World, plan: str, owner: Owner, *, adopt: bool) -> None:
    """Raise Conflict, before anything is done, where the plan is another stack's."""
    arrays = world.topology.plan_arrays(plan)
    there = ownership.owner_of(world.look(), world.topology.name, "plan", plan, arrays)
    ownership.check_taking("plan", plan, there, owner, adopt=adopt)


def take_plan(world: World, plan: str, owner: Owner) -> None:
    """Write the owner on what answers."""
    ownership.take(world, "plan", plan, plan, world.topology.plan_arrays(plan), owner)


def release_plan(world: World, plan: str, owner: Owner) -> Released:
    """Give the plan back: another stack, or this one again, may take it. Raises MoveInProgress, Unreachable (no array answers)."""
    arrays = world.topology.plan_arrays(plan)
    notes = not_mine(world, "plan", plan, arrays, owner)
    if notes is not None:
        return notes
    ownership.refuse_in_move(world, plan, arrays, f"plan {plan}")
    silent = ownership.silent_among(world.look(), arrays)
    if len(silent) == len(arrays):
        raise Unreachable(f"plan {plan}: none of its arrays answers ({'; '.join(silent.values())}); nothing was done")
    ownership.give_back(world, "plan", plan, plan, arrays, owner)
    # A stack that comes back later declares the plan for the first time again.
    key = keys.declared_key(world.topology.name, owner.stack, plan)
    for array in arrays:
        if array not in silent:
            try:
                world.fleet.array(array).delete_record(key)
            except (Unreachable, NotReady):
                continue
    return Released((f"plan {plan}: released; its data, recovery points and epochs stay on its arrays",))
