"""The witness and the plans that lean on it: it stands apart from what it decides about."""

from __future__ import annotations

from dr_provider.model.build import Draft
from dr_provider.model.problems import Report, did_you_mean, listed

__all__ = ["check"]


def check(draft: Draft, report: Report) -> None:
    leaning = [plan for plan in draft.plans.values() if plan is not None and plan.fencing != "operator"]
    witness = draft.witness
    if witness is None:
        for plan in leaning if "witness" not in draft.torn else ():
            if plan.fencing == "witness":
                report.add(
                    ("plans", plan.name, "fencing"),
                    "fencing by witness needs the top-level section witness, and there is none; add one, such as "
                    "witness: {driver: array, array: NAME} with an array at a third site, or say lease or operator",
                )
        return
    if witness.driver == "embedded":
        things = [("array", a) for a in draft.arrays.values()] + [("host", h) for h in draft.hosts.values()]
        for kind, thing in things:
            if thing is not None and thing.driver == "embedded" and thing.options["path"] == witness.options["path"]:
                report.add(
                    ("witness", "path"), f"{kind} {thing.name} has the same file; give the witness a file of its own"
                )
    if witness.driver != "array" or "arrays" in draft.torn:
        return
    name = str(witness.options["array"])
    if name not in draft.arrays:
        report.add(("witness", "array"), f"there is no array {name}{did_you_mean(name, draft.arrays)}")
        return
    array = draft.arrays[name]
    for plan in leaning if array is not None else ():
        assert array is not None
        if array.site not in plan.sites:
            continue
        apart = sorted(n for n, a in draft.arrays.items() if a is not None and a.site not in plan.sites)
        right = (
            f"wanted one at a third site: {listed(apart, 'or')}" if apart else "there is no array at a third site yet"
        )
        report.add(
            ("witness", "array"),
            f"{name} stands at {array.site}, a site of plan {plan.name}, and would be lost with it; {right}",
        )
