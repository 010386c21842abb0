"""What `pulumi preview --json` found, as `dr` speaks of it: each plan's decision in the shared shape, what else changes, what becomes of data.

The engine's document is a digest of its events (`steps`, `diagnostics`); what a saved plan holds a run to is in it, and nothing is asked of
any machine. Raises BadInput where the text is not such a document.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dr_provider.model.errors import BadInput

if TYPE_CHECKING:
    from dr_provider.reconcile.decision import Kind

__all__ = ["Change", "Preview", "read_preview"]

_DATA = ("Volume", "Lun")
_NOTHING = ("same", "read", "refresh")
_AFTERWARDS = ("address: ", "name: ")
_REPLACES = ("replace", "create-replacement", "delete-replaced")


@dataclass(frozen=True)
class Change:
    """One resource that changes. `op`: create, update, delete or replace. `kind`: Volume, VirtualMachine, ...; `destroys`: `deleteData` is set."""

    op: str
    kind: str
    name: str
    destroys: bool = False

    @property
    def takes_data(self) -> bool:
        """Whether what holds data is deleted or replaced; a mirror's end takes its copy only where the data goes with it."""
        if self.kind == "Mirror":
            return self.op == "delete" and self.destroys
        return self.kind in _DATA and self.op in ("delete", "replace")

    @property
    def sentence(self) -> str:
        """What becomes of the data."""
        if self.kind == "Mirror":
            volume, _, array = self.name.partition(".")
            return (
                f"Mirror {self.name}: delete; volume {volume} has deleteData: true, so its copy on {array} is DESTROYED"
            )
        what = f"{'LUN' if self.kind == 'Lun' else self.kind} {self.name}: {self.op}"
        if self.op == "delete" and self.destroys:
            return f"{what}; it has deleteData: true, so its data is DESTROYED on every array that has it"
        if self.op == "delete":
            return f"{what}; its data stays on the arrays, released, and nothing of this stack looks after it any more"
        return f"{what}; the new one takes over the data of the old one; look at why it is replaced before you agree"


@dataclass(frozen=True)
class Preview:
    """`plans`: decisions in the shape that `--dry-run` prints, by plan. `errors`: why the preview itself failed. `remarks`: lines about no plan."""

    plans: Mapping[str, dict[str, Any]]
    changes: tuple[Change, ...]
    errors: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def data(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.takes_data)

    @property
    def refused(self) -> tuple[str, ...]:
        return tuple(reason for plan in self.plans.values() for reason in plan["refused"])

    @property
    def red(self) -> tuple[str, ...]:
        """Plans of which `up` would end red though nothing is refused: what is declared and what is active go on differing."""
        from dr_provider.reconcile.announce import ENDS_RED

        return tuple(name for name, plan in self.plans.items() if ENDS_RED in plan["warnings"])

    @property
    def well(self) -> bool:
        """Whether `up` would end green, as far as can be seen."""
        return not (self.errors or self.refused or self.red)

    @property
    def approval(self) -> tuple[str, ...]:
        """Why somebody has to say yes to it, beside whoever merged it; nothing: nobody has to."""
        moves = [
            f"plan {name} moves {'from ' + plan['from'] + ' ' if plan['from'] else ''}to {plan['to']}"
            for name, plan in self.plans.items()
            if plan["kind"] in ("planned", "disaster")
        ]
        stops = [
            f"{change.kind} {change.name} is deleted, and what runs with it stops"
            for change in self.changes
            if change.op == "delete" and change.kind in ("DrPlan", "VirtualMachine")
        ]
        return (*moves, *(change.sentence for change in self.data), *stops)

    def document(self) -> dict[str, Any]:
        """The shape of `dr plan --json`."""
        return {
            "plans": dict(self.plans),
            "changes": [
                {"op": each.op, "kind": each.kind, "name": each.name, "destroysData": each.destroys}
                for each in self.changes
            ],
            "data": [change.sentence for change in self.data],
            "approval": list(self.approval),
            "errors": list(self.errors),
            "remarks": list(self.remarks),
        }


def read_preview(text: str, source: str) -> Preview:
    """`text`: what `pulumi preview --json` printed; `source` names it in errors."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadInput(
            f"{source}: it is no JSON ({error}); wanted what `pulumi preview --json` prints; nothing was done"
        ) from None
    if not isinstance(found, dict) or not isinstance(found.get("steps", []), list):
        raise BadInput(f"{source}: wanted what `pulumi preview --json` prints, found something else; nothing was done")
    if "steps" not in found and "diagnostics" not in found:
        raise BadInput(
            f"{source}: it has neither steps nor diagnostics; wanted what `pulumi preview --json` prints; nothing was done"
        )
    lines, errors = _lines(found.get("diagnostics") or [])
    plans: dict[str, dict[str, Any]] = {}
    ops: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for number, step in enumerate(found.get("steps") or [], 1):
        if not isinstance(step, dict) or not (step.get("urn") and step.get("op")):
            # What is passed over here might be the loss of data.
            raise BadInput(
                f"{source}: step {number} has no urn or no op, so it is not whole; wanted what `pulumi preview --json` prints; nothing was done"
            )
        urn, op = str(step["urn"]), str(step["op"])
        state = step.get("newState") or step.get("oldState") or {}
        if not state.get("custom") or _kind(urn).startswith("pulumi:"):
            continue
        old = (step.get("oldState") or state).get("inputs") or {}
        if _kind(urn) == "DrPlan" and op not in ("delete", *_NOTHING):
            plans[_name(urn)] = _decision(_name(urn), op, state.get("inputs") or {}, lines)
        if op not in _NOTHING:
            before = ops.get(urn, ("", {}))[0]
            ops[urn] = ("replace" if op in _REPLACES or before == "replace" else op, old)
    changes = tuple(Change(op, _kind(urn), _name(urn), _destroys(old)) for urn, (op, old) in ops.items())
    said = {line for plan in plans for line in lines.get(plan, ())}
    remarks = tuple(line for each in lines.values() for line in each if line not in said)
    return Preview(plans, changes, errors, remarks)


def _lines(diagnostics: list[Any]) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """What was said, by the plan that it is about ("": about none), and what failed."""
    said: dict[str, list[str]] = {}
    errors: list[str] = []
    for each in diagnostics:
        severity, message = str(each.get("severity", "")), str(each.get("message", ""))
        if severity == "error":
            errors.append(message.strip())
            continue
        for line in filter(None, (part.strip() for part in message.splitlines())):
            plan = line.removeprefix("plan ").partition(" ")[0].rstrip(":") if line.startswith("plan ") else ""
            said.setdefault(plan, []).append(line)
    return said, tuple(errors)


def _decision(plan: str, op: str, inputs: Mapping[str, Any], lines: Mapping[str, list[str]]) -> dict[str, Any]:
    """The shared shape of a decision, from the resource's inputs and what `check` said about it."""
    from dr_provider.reconcile.announce import announced, pending
    from dr_provider.reconcile.decision import Decision

    due = [str(action) for action in inputs.get("pendingActions") or []]
    refused = tuple(line.removeprefix("refused: ") for line in due if line.startswith("refused: "))
    actions = [line for line in due if not line.startswith("refused: ")]
    own = [line.removeprefix(f"plan {plan}: ") for line in lines.get(plan, ())]
    move = next(filter(None, map(announced, own)), None)
    afterwards = [line for line in own if line.startswith(_AFTERWARDS)]
    rest = tuple(
        line
        for line in own
        if announced(line) is None and line != pending(len(actions)) and line not in refused and line not in afterwards
    )
    kind: Kind = "create" if op == "create" else "repair" if actions else "none"
    to = str(inputs["declaredSite"]) if refused and inputs.get("declaredSite") else None
    decision = Decision(plan, kind, to_site=to, refused=refused, warnings=rest)
    document = decision.document()
    document["actions"] = list(_numbered(actions))
    document["afterwards"] = afterwards
    if move is not None:
        document |= {
            "kind": move.kind,
            "from": move.from_site,
            "to": move.to_site,
            "point": move.point,
            "loss": {"seconds": move.loss.seconds, "statement": move.loss.statement},
            "estimateSeconds": move.estimate,
        }
    if inputs.get("changes"):
        document["changes"] = [str(change) for change in inputs["changes"]]
    return document


def _destroys(inputs: Mapping[str, Any]) -> bool:
    """Whether data goes with the resource: `deleteData`, which stands among what is in the background (resources/props.py)."""
    try:
        return {**inputs, **json.loads(inputs.get("context") or "{}")}.get("deleteData") is True
    except (ValueError, TypeError):
        return False


def _numbered(actions: list[str]) -> Iterator[dict[str, Any]]:
    for number, sentence in enumerate(actions, 1):
        yield {"id": str(number), "verb": sentence.partition(" ")[0], "sentence": sentence, "after": []}


def _kind(urn: str) -> str:
    """`Volume` of urn:pulumi:STACK::PROJECT::PARENTS$pulumi-python:dynamic/dr:Volume::NAME; what is not ours keeps its whole type."""
    parts = urn.split("::")
    own = parts[2].rpartition("$")[2] if len(parts) > 3 else ""
    return own.rpartition("/dr:")[2] if "/dr:" in own else own


def _name(urn: str) -> str:
    return urn.split("::", 3)[-1]
