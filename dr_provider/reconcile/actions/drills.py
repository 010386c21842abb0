"""A drill that gives way to a real move."""

from __future__ import annotations

from dr_provider.model.drills import what_went
from dr_provider.reconcile.context import Run
from dr_provider.reconcile.decision import Action

__all__ = ["end"]


def end(run: Run, action: Action) -> str:
    # Here, since a drill uses the actions of a move in its turn.
    from dr_provider.reconcile.drills.end import end_drill, give_way

    drill, other = action.of["drill"], action.of.get("of")
    why = f"plan {run.plan} needs its room"
    if other is None:
        ended = end_drill(run.world, run.plan, drill, run.guard, why=why)
    else:
        ended = give_way(run.world, other, drill, why=why)
    run.remark(ended.sentence)
    return what_went(ended.removed)
