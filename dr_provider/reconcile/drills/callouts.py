"""Callouts in a drill: those that name `drill`, around its start. Nothing stands beside a claim: repeated, a drill runs them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dr_provider.model import stopping
from dr_provider.model.callouts import Move
from dr_provider.model.drills import DrillRecord
from dr_provider.reconcile.callout_places import Moving, weave_into
from dr_provider.reconcile.callout_run import CalloutFailed, carry_out
from dr_provider.reconcile.decision import Action
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.world import World

__all__ = ["perform_callout", "with_callouts"]


def with_callouts(view: PlanView, record: DrillRecord, actions: Sequence[Action]) -> tuple[Action, ...]:
    """The drill's steps with its callouts among them. A VM beside the running one is no drill of the plan, and has none."""
    if record.kind == "beside" or not view.spec.callouts:
        return tuple(actions)
    return weave_into(view.spec, actions, Moving("drill", {}))


def perform_callout(
    world: World, view: PlanView, record: DrillRecord, hosts: Mapping[str, str], action: Action, outputs: dict[str, str]
) -> str:
    """Run one; what it wrote goes to `outputs`, by the action's id. Raises CalloutFailed, BadInput and Stopped."""
    number = view.epoch.number if view.epoch is not None else 0
    move = Move("drill", view.active, record.site, number, record.point, hosts, record.drill, record.network)

    def say(line: str) -> None:
        world.progress(f"plan {view.spec.name}: drill {record.drill}: {line}")

    try:
        how, output = carry_out(
            view.topology, view.spec.name, action.of["name"], move, stop=stopping.requested, say=say
        )
    except CalloutFailed as error:
        outputs[action.id] = error.output
        raise
    outputs[action.id] = output
    return how
