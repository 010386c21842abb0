"""Damaged records written anew."""

from __future__ import annotations

from dr_provider.model.units import counted
from dr_provider.reconcile.context import Run, listed
from dr_provider.reconcile.decision import Action

__all__ = ["mend"]


def mend(run: Run, action: Action) -> str:
    """Put what is known in the place of each damaged record, and drop those of which nothing is known."""
    array = action.of["array"]
    state = run.fresh().seen.array(array)
    mended = 0
    for key in listed(action.of["records"]):
        if state is None or key not in state.damaged:
            continue  # a run that was ended has done it, or the array is away again
        if key in state.records:
            run.array(array).put_record(key, state.records[key], run.guard)
        else:
            run.array(array).delete_record(key, run.guard)
        mended += 1
    return counted(mended, "record")
