"""What a scenario claims: steps with their seconds, and facts that were measured and are true or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Account", "Fact", "Step", "same"]


@dataclass(frozen=True)
class Fact:
    """A sentence about what was measured. `found`: what was found instead, where it is not true."""

    sentence: str
    true: bool
    found: str = ""

    def __str__(self) -> str:
        return self.sentence if self.true else f"NOT TRUE: {self.sentence}; found: {self.found or 'something else'}"


@dataclass
class Step:
    """One part of a scenario. `command` is what a person would type; `says` is what it said that is worth showing."""

    title: str
    command: str = ""
    seconds: float | None = None
    facts: list[Fact] = field(default_factory=list)
    says: list[str] = field(default_factory=list)

    def check(self, sentence: str, true: bool, found: object = "") -> bool:
        """State a fact; the scenario goes on whatever it is, and ends badly if it is not true."""
        self.facts.append(Fact(sentence, bool(true), "" if true else str(found)))
        return bool(true)

    @property
    def well(self) -> bool:
        return all(fact.true for fact in self.facts)


@dataclass
class Account:
    """A scenario as it was played. `numbers` are those that people ask for first, by name, in the order in which they are shown."""

    started: str
    steps: list[Step] = field(default_factory=list)
    numbers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    title: str = ""
    about: str = ""
    """What the stage is made of."""
    way: str = ""
    """By which commands: `pulumi` or `dr`."""
    broken: str = ""
    """Why it could not go on to its end, if so."""

    @property
    def false(self) -> list[tuple[Step, Fact]]:
        return [(step, fact) for step in self.steps for fact in step.facts if not fact.true]

    @property
    def facts(self) -> int:
        return sum(len(step.facts) for step in self.steps)

    @property
    def well(self) -> bool:
        """Whether every fact is true, and there were any."""
        return self.facts > 0 and not self.false and not self.broken

    def verdict(self) -> str:
        if self.broken:
            return f"The scenario did not get to its end: {self.broken}"
        if self.false:
            return f"{len(self.false)} of {self.facts} facts are NOT true."
        return f"All {self.facts} facts are true."

    def document(self) -> dict[str, Any]:
        """For report.json."""
        return {**asdict(self), "seconds": round(self.seconds, 1), "well": self.well, "verdict": self.verdict()}


def same(step: Step, sentence: str, wanted: Mapping[str, object], found: Mapping[str, object]) -> bool:
    """State that two measurements by name agree; what differs is named."""
    keys = sorted({*wanted, *found})
    wrong = [f"{k}: {found.get(k)} instead of {wanted.get(k)}" for k in keys if wanted.get(k) != found.get(k)]
    return step.check(sentence, bool(wanted) and not wrong, "; ".join(wrong) or "nothing to compare")
