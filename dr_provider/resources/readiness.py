"""Readiness: ends an `up` red, one sentence an item, when something that this stack could have done is not done.

Invariant: no output lies. The plan reports what became of its VMs and succeeds; the failure is raised here, after everything else. It
is always created, and it learns from the plan: it looks at nothing itself. A copy that is silent is a warning, not a failure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from dr_provider.resources import props as bag
from dr_provider.resources import session

__all__ = ["Readiness", "ReadinessProvider"]


@dataclass(frozen=True)
class _Props:
    plan: str
    phase: str | None = None
    protected: bool = False
    failures: tuple[str, ...] = ()


class ReadinessProvider(ResourceProvider):
    serialize_as_secret_always = False

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        return CheckResult(bag.plain(news), [])

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        # While the plan has something to do its outputs are not known yet, and neither is what will become of this.
        if not isinstance(news.get("failures") or [], list) or not isinstance(news.get("phase") or "", str):
            return DiffResult(changes=True)
        # What else the plan says (that it is protected, say) is no difference here: it is the plan's.
        faults = _faults(bag.read(_Props, news))
        return DiffResult(changes=bool(faults) or olds.get("ready") is not True)

    def create(self, props: dict[str, Any]) -> CreateResult:
        found = bag.read(_Props, props)
        for fault in _faults(found):
            session.say(f"plan {found.plan} is not ready: {fault}")
        return CreateResult(f"{found.plan}-readiness", _outputs(found))

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        found = bag.read(_Props, news)
        faults = _faults(found)
        if faults:
            raise RuntimeError(f"plan {found.plan} is not ready: " + "\n".join(faults)) from None
        if not found.protected:
            session.say(f"plan {found.plan}: warning: it is not protected now (no copy has its newest recovery point)")
        return UpdateResult(_outputs(found))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        return ReadResult(id_, bag.plain(props), bag.write(bag.read(_Props, props)))


def _faults(found: _Props) -> list[str]:
    said = list(found.failures)
    if found.phase == "split" and not said:
        said.append(f"both sides have written: run dr resolve {found.plan} --keep SITE")
    return said


def _outputs(found: _Props) -> dict[str, Any]:
    return {**bag.write(found), "ready": not _faults(found)}


class Readiness(Resource, module="dr", name="Readiness"):
    """`ready`: nothing of the plan is left undone."""

    ready: pulumi.Output[bool | None]

    def __init__(
        self,
        name: str,
        *,
        phase: pulumi.Input[str | None],
        protected: pulumi.Input[bool | None],
        failures: pulumi.Input[list[str] | None],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        inputs = {"plan": name, "phase": phase, "protected": protected, "failures": failures, "ready": None}
        super().__init__(ReadinessProvider(), name, inputs, opts)
