"""What `dr doctor` says of fencing: whether the witness is there, and whether a guard stands surety for each plan that counts on one. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from dr_provider.model.errors import DrError
from dr_provider.model.findings import Finding, ok, problem, warning
from dr_provider.model.state import Observation, Silent, WitnessState
from dr_provider.model.topology import Topology
from dr_provider.reconcile.fencing import alive_at, fence_of, silence_of
from dr_provider.reconcile.view import PlanView, plan_view

__all__ = ["judge_fencing", "judge_guard"]


def judge_fencing(topology: Topology, seen: Observation) -> Iterator[tuple[str, Finding]]:
    """Site ("": none) and finding, one for the witness and one for each plan that is fenced by lease or witness."""
    if topology.witness is not None:
        yield "", _witness(topology.witness.place, seen.witness)
    for plan in topology.plans.values():
        if plan.fencing == "operator":
            continue
        try:
            view = plan_view(topology, plan.name, seen)
            yield (view.epoch.site if view.epoch is not None else ""), judge_guard(view)
        except DrError as error:
            yield "", problem(f"plan {plan.name}", "fencing", str(error), "Mend that record, then run dr doctor again.")


def _witness(place: str, state: WitnessState | Silent | None) -> Finding:
    if isinstance(state, WitnessState):
        if state.pinned:
            return ok("witness", "reach", f"It answers ({place}), and is the one that the arrays know.")
        return warning(
            "witness",
            "reach",
            f"It answers ({place}), and the arrays do not know it yet.",
            "Run dr apply or pulumi up.",
        )
    if state is None or state.missing:
        return warning("witness", "reach", f"It is not made yet ({place}).", "Run dr apply or pulumi up.")
    return problem(
        "witness",
        "reach",
        f"It gives no answer ({place}): {state.reason.rstrip('. ')}.",
        "Bring it back: without it a fenced move needs your word, and a guard that counts on it alone stops its VMs.",
    )


def judge_guard(view: PlanView) -> Finding:
    """Whether a guard stands surety for a plan that is fenced by lease or witness."""
    subject, mode, epoch = f"plan {view.spec.name}", view.spec.fencing, view.epoch
    if epoch is None:
        return ok(subject, "fencing", f"It is to be fenced by {mode}, and was never made as far as is known.")
    fence, site = fence_of(view, epoch.site), epoch.site
    silent = [f"{name} ({reason.rstrip('. ')})" for name in fence.stores if (reason := silence_of(view, name, site))]
    if silent:
        return problem(
            subject,
            "fencing",
            f"Where its guard at {site} renews its run lease cannot be seen everywhere: {', '.join(silent)}.",
            "Until all of these answer, a move away from a silent site needs your word.",
        )
    if fence.why:
        return problem(
            subject,
            "fencing",
            f"It counts on a guard at {site} (fencing: {mode}), and {fence.why}.",
            f"Run dr guard --site {site} there as a service (docs/fencing.md); until then a move needs your word.",
        )
    times = [alive.time for name in fence.stores if (alive := alive_at(view, name, site)) is not None]
    return ok(
        subject,
        "fencing",
        f"A guard at {site} stands surety for epoch {epoch.number}; it renewed last at {max(times)}.",
    )
