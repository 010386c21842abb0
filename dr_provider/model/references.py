"""Every credential reference of a topology, with the path at which it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from dr_provider.model.problems import Path
from dr_provider.model.topology import ArraySpec, HostSpec, PlanSpec, WitnessSpec

__all__ = ["callout_references", "machine_references"]


class Holder(Protocol):
    """A topology, or the draft of one."""

    @property
    def arrays(self) -> Mapping[str, ArraySpec] | Mapping[str, ArraySpec | None]: ...
    @property
    def hosts(self) -> Mapping[str, HostSpec] | Mapping[str, HostSpec | None]: ...
    @property
    def witness(self) -> WitnessSpec | None: ...


def machine_references(holder: Holder) -> Iterator[tuple[Path, str]]:
    """Those without which an array, a host or the witness cannot be used."""
    for key, section in (("arrays", holder.arrays), ("hosts", holder.hosts)):
        for name, thing in section.items():
            if thing is None:
                continue
            reference = thing.options.get("credentials")
            if isinstance(reference, str):
                yield (key, name, "credentials"), reference
            luns = thing.options.get("luns")
            chap = luns.get("chap") if isinstance(luns, Mapping) else None
            if isinstance(chap, Mapping):
                yield (key, name, "luns", "chap", "password"), str(chap["password"])
    keys = holder.witness.options.get("credentials") if holder.witness is not None else None
    for name, reference in keys.items() if isinstance(keys, Mapping) else ():
        yield ("witness", "credentials", name), str(reference)


def callout_references(plan: PlanSpec) -> Iterator[tuple[Path, str]]:
    """Those that a plan's callouts are given; whoever runs a move of it needs them."""
    for name, callout in plan.callouts.items():
        for variable, reference in callout.environment.items():
            yield ("plans", plan.name, "callouts", name, "environment", variable), reference
