"""Records of callouts and prompts, beside a move's claim; model.records lists their keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from dr_provider.model.records import Record

__all__ = ["Answer", "Asked", "Callouts"]


@dataclass(frozen=True)
class Asked:
    """A prompt that waits for an answer: what it asks, since when and until when (by the clock of the run that asks), and what counts then."""

    text: str
    since: str
    until: str
    default: str


@dataclass(frozen=True)
class Callouts(Record):
    """How far the callouts and prompts of a move are. `claim`: the id of its claim, which is its epoch's too.

    Keys are their names; with `abort.` before it where the move was led back. `ended`: done, failed (of those that may), or continue.
    `due`: those that come after the end of the claim, fixed by then: what is added to the topology later is no part of the move.
    `failed`: what went wrong with those that the next run runs again. `asked`: prompts that wait.
    """

    plan: str
    claim: str
    kind: str
    ended: Mapping[str, str] = field(default_factory=dict)
    due: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    asked: Mapping[str, Asked] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer(Record):
    """What a person said to a prompt. `asked`: since when it had been asked, which tells an answer from one to an earlier question."""

    plan: str
    claim: str
    prompt: str
    answer: Literal["continue", "stop"]
    by: str
    time: str
    note: str = ""
    asked: str = ""

    @property
    def said(self) -> str:
        """Who said it, and why: `ann@ops: looks well`."""
        return f"{self.by}: {self.note}" if self.note else self.by

    def document(self) -> dict[str, str]:
        return {"answer": self.answer, "by": self.by, "time": self.time, "note": self.note}

    def sentence(self) -> str:
        return f"{self.answer}, said {self.said} (at {self.time})"
