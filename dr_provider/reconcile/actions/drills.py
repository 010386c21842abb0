"""A drill that gives way to a real move."""

from __future__ import annotations

from dr_provider.reconcile.context import Run
from dr_provider.reconcile.decision import Action

__all__ = ["end"]


def end(run: Run, action: Action) -> str:
    # Here, since a drill uses the actions of a move in its turn.
    from dr_provider.reconcile.drill import end_drill

    ended = end_drill(run.world, run.plan, action.of["drill"], run.guard, why="the move needs its room")
    run.remark(ended.sentence)
    return f"{ended.removed['vms']} VMs, {ended.removed['volumes']} clones"
