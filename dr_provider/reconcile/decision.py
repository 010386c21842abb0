"""What a decision is: the actions with their dependencies, or the reasons why not; the shape that reports, `--dry-run` and previews share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

__all__ = ["Action", "Decision", "Kind", "Loss", "Want"]

Kind = Literal["none", "create", "planned", "disaster", "repair", "abort", "resolve", "rollback", "drill"]


@dataclass(frozen=True)
class Want:
    """What is asked for. `site` None: where it is now.

    `word`: the operator's word as written ("3: reason"). `point`: a point's id or an RFC 3339 time. `by`: who asks, for the records.
    `stack`: "project/stack" whose declaration this is; None: a command, which always may move. `goal`: `abort` and `resolve` are
    their own; `site` of a resolve is the one to keep. `restart`: the steady state, and VMs of lost hosts are restarted on others of the site.
    `restore`: the steady state, and nothing of a move. `commit`: the steady state, and an open commit window is ended; `rollback`: back to the
    side that it leaves untouched.
    """

    site: str | None = None
    word: str | None = None
    point: str | None = None
    by: str = "dr"
    stack: str | None = None
    goal: Literal["move", "abort", "resolve", "restart", "restore", "commit", "rollback"] = "move"
    uncommitted: bool = False
    """For an abort: the asker knows that the commit was never begun (it is the run that has just failed before it)."""
    adopt: bool = False
    """What belongs to another topology may be taken over (`dr:adopt` names the plan)."""
    unattended: bool = False
    """A prompt is asked and not waited at: the plan is to be protected meanwhile. A later run hears the answer."""


@dataclass(frozen=True)
class Action:
    """One step. `id` is unique in its decision; `after` lists ids that must have been done, `last` ids that must have ended, well or not; `sentence` is what people read; `of` holds what the verb needs.

    `group` puts actions on one line of a report ("stop", "storage", "commit", "start", "reverse"). `needed`: whether its failure stops
    what comes after it (else it is best effort, and its failure is a line in the report).
    """

    id: str
    verb: str
    sentence: str
    after: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    of: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    needed: bool = True


@dataclass(frozen=True)
class Loss:
    """What the move gives up: seconds between the chosen point and the disaster as far as known (0: nothing, None: not known)."""

    seconds: float | None
    statement: str


@dataclass(frozen=True)
class Decision:
    """`actions` is deterministic: no lag, bytes or time in it. `notes` are info lines, `warnings` stay until mended, `refused` says why not.

    `degraded`: what is not as it should be and this decision does not mend. `point`: the id of the recovery point that is broken at (None
    until a final snapshot is taken, or where nothing is broken). `authority`: the side whose data counts.
    """

    plan: str
    kind: Kind
    from_site: str | None = None
    to_site: str | None = None
    authority: str | None = None
    point: str | None = None
    loss: Loss = Loss(0.0, "nothing is lost")
    estimate: float | None = None
    actions: tuple[Action, ...] = ()
    refused: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()
    exit_bad: bool = False
    """The declared and the active site differ and nothing will be done about it: an `up` must not end green."""

    def with_refusal(self, *sentences: str) -> Decision:
        """The same, refused: no actions."""
        return replace(self, actions=(), refused=(*self.refused, *sentences))

    def document(self) -> dict[str, object]:
        """The shape of SPEC.md for reports, `--dry-run` and previews."""
        return {
            "plan": self.plan,
            "kind": self.kind,
            "from": self.from_site,
            "to": self.to_site,
            "authority": self.authority,
            "point": self.point,
            "loss": {"seconds": self.loss.seconds, "statement": self.loss.statement},
            "estimateSeconds": self.estimate,
            "actions": [
                {"id": a.id, "verb": a.verb, "sentence": a.sentence, "after": list(a.after)} for a in self.actions
            ],
            "refused": list(self.refused),
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "degraded": list(self.degraded),
        }
