"""The report of a rehearsal: the run on the twin, and what was found held against what had been promised. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dr_provider.model.topology import PlanSpec, Topology
from dr_provider.reconcile.reports.document import compose
from dr_provider.reconcile.reports.facts import WORDS, Facts, Result
from dr_provider.reconcile.reports.sentences import headline

__all__ = ["rehearsed"]


def rehearsed(
    topology: Topology,
    spec: PlanSpec,
    facts: Facts,
    found: Mapping[str, Any],
    *,
    lost: Sequence[str],
    notes: Sequence[str],
    run: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """`found`: the plan's part of `dr rehearse --json`; `run`: the report of the restart or move on the twin (None: there was none).

    Where the twin is active, and what it still lacks, is left out: it is gone, and says nothing of the real plan.
    """
    base = dict(run) if run is not None else compose(topology, spec, facts)
    wrong = {str(vm["vm"]): str(vm["why"]) for vm in found["vms"] if not vm["well"]}
    up = len(found["vms"]) - len(wrong)
    result: Result = "done" if not wrong else "partial" if up else "failed"
    document = {
        **base,
        "report": facts.id,
        "topology": topology.name,
        "kind": "rehearsal",
        "words": WORDS["rehearsal"],
        "result": result,
        "to": found["site"] or base["to"],
        "activeSite": None,
        "epoch": None,
        "phase": None,
        "protected": None,
        "committed": False,
        "by": {"who": facts.by, "stack": None, **facts.initiator},
        "decisions": [{"what": "asked for", "who": facts.by, "said": f"rehearsal without {', '.join(lost)}"}],
        "word": None,
        "vms": [_held_against(vm, wrong) for vm in base["vms"]],
        "todo": list(wrong.values()),
        "failures": list(wrong.values()),
        "safety": [],
        "degraded": [],
        "warnings": [],
        "notes": list(notes),
        "resumed": None,
        "journal": None,
        "rehearsed": {"lost": list(lost), "outcome": found["outcome"], "vms": [dict(vm) for vm in found["vms"]]},
    }
    document["loss"] = {**base["loss"], "statement": found["loss"]}
    document["headline"] = headline(document)
    return document


def _held_against(vm: Mapping[str, Any], wrong: Mapping[str, str]) -> dict[str, Any]:
    """A VM that runs and is not what was promised is not well."""
    why = wrong.get(vm["vm"])
    return dict(vm) if why is None else {**vm, "outcome": "failed" if vm["outcome"] in ("well", "runs") else vm["outcome"], "sentence": why}  # fmt: skip
