"""Records that were found damaged: what is said of them, and the step that writes them anew where they are known. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from dr_provider.reconcile.steps import Steps
from dr_provider.reconcile.view import PlanView

__all__ = ["damage_warnings", "mend_records"]

# Of what is not known elsewhere, these are made anew by themselves or mattered to nothing but history.
_DROPPED = frozenset({"answer", "callouts", "declared", "drill-end", "drill-result", "epoch", "peers"})
_OF_A_PLAN = frozenset(
    {
        "alive",
        "answer",
        "callouts",
        "claim",
        "corrupt",
        "declared",
        "drill",
        "drill-end",
        "drill-result",
        "epoch",
        "lease",
        "split",
    }
)


def damage_warnings(view: PlanView) -> tuple[str, ...]:
    """A sentence for each damaged record of the plan, and of the topology, on the plan's arrays."""
    said = []
    for array, key in _damaged(view):
        state = view.seen.array(array)
        known = state is not None and key in state.records
        kind, name = _kind(view, key), key.rpartition("/")[2]
        if known:
            todo = f"what else is known of it stands in its place, and dr protect {view.spec.name} writes it anew"
        elif kind == "drill":
            todo = (
                f"nobody else has it: take down the VMs and volumes that end in .drill.{name} by hand, if there are any"
            )
        else:
            todo = "nobody else has it, and it is passed over"
        said.append(f"array {array}: record {key} was damaged (its checksum differs); {todo}")
    return tuple(said)


def mend_records(view: PlanView, steps: Steps, *, after: Iterable[str]) -> None:
    """One step an array that has damaged records which can be written anew, or dropped."""
    arrays: dict[str, list[str]] = {}
    for array, key in _damaged(view):
        state, kind = view.seen.array(array), _kind(view, key)
        # A lease is written anew by its holder, and ends with it.
        if kind != "lease" and (kind in _DROPPED or (state is not None and key in state.records)):
            arrays.setdefault(array, []).append(key)
    for array, keys in arrays.items():
        said = f"mend the damaged records of {array}: {', '.join(keys)}"
        steps.add("mend", array, said, after=after, group="records", needed=False, array=array, records=",".join(keys))


def _kind(view: PlanView, key: str) -> str:
    return key.removeprefix(f"{view.topology.name}/").partition("/")[0]


def _damaged(view: PlanView) -> list[tuple[str, str]]:
    """(array, key), those of other plans left out."""
    others = [plan for plan in view.topology.plans if plan != view.spec.name]
    return [
        (array, key)
        for array in view.topology.plan_arrays(view.spec.name)
        if (state := view.seen.array(array)) is not None
        for key in sorted(state.damaged)
        if not _is_of(key.split("/")[1:], others)
    ]


def _is_of(parts: list[str], plans: list[str]) -> bool:
    """Whether a key's parts, its topology left out, name one of the plans as theirs."""
    place = -1 if parts[0] == "declared" else 1
    return parts[0] in _OF_A_PLAN and parts[place] in plans
