"""A topology's name is its identity: what was made under another name is another topology's. Pure."""

from __future__ import annotations

from dr_provider.reconcile.view import PlanView

__all__ = ["others_volumes"]


def others_volumes(view: PlanView) -> tuple[str, ...]:
    """Why the plan is not made: its volumes are there, and belong to another topology (this one was renamed, most likely)."""
    plan, name = view.spec.name, view.topology.name
    said = []
    for array in view.topology.plan_arrays(plan):
        state = view.seen.array(array)
        for volume in view.volume_names:
            found = state.volumes.get(volume) if state else None
            if found is not None and found.owner is not None and found.owner.topology != name:
                said.append((found.owner.topology, f"{volume} on {array}"))
    if not said:
        return ()
    others = ", ".join(sorted({topology for topology, _ in said}))
    return (
        f"plan {plan}: {', '.join(what for _, what in said)} belong to topology {others}, and this one is called {name}; a topology's name "
        f"is its identity, so nothing was made, moved or removed: set `name` back to {others}, or give these volumes other names",
    )
