"""The lines of a run's journal as steps on a common clock, by phase and by VM. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["PHASES", "Step", "bars", "phase_of", "phases", "steps_of"]

PHASES: Mapping[str, str] = {
    "prepare": "claim and prepare",
    "stop": "stop the VMs",
    "fence": "fence the source",
    "transfer": "last transfer",
    "break": "break and scan",
    "commit": "commit",
    "restore": "set disks back",
    "attach": "attach disks",
    "start": "start",
    "health": "health check",
    "reverse": "protect again",
    "callout": "callouts and prompts",
    "other": "all else",
}
"""In the order in which a move comes to them, with the words for people."""

_VERBS: Mapping[str, tuple[str, ...]] = {
    "prepare": ("create-array", "create-host", "found", "reserve", "unreserve", "claim", "grant", "pin-witness", "tell-witness"),
    "stop": ("stop", "evict"),
    "fence": ("fence", "isolate", "wait-fence", "prove"),
    "transfer": ("final", "bring", "fetch", "choose", "bring-late"),
    "break": ("keep", "break", "online", "rescan", "scan", "take-over", "make-late"),
    "commit": ("commit", "end-window", "withdraw", "aborting"),
    "restore": ("detach", "copy", "set-aside", "set-back", "end-restore"),
    "attach": ("attach", "export"),
    "start": ("start",),
    "health": ("check",),
    "reverse": ("reverse", "protect", "demote", "clear", "backup", "send", "settle", "unhold", "remirror", "record", "mend"),
    "callout": ("callout", "prompt", "answer"),
}  # fmt: skip
_PHASE_OF = {verb: phase for phase, verbs in _VERBS.items() for verb in verbs}


@dataclass(frozen=True)
class Step:
    """One action as it went. `begin` and `end`: seconds since the run began (None: it never began, or was never seen to end); `up`: when the
    host had started the VM, and its health was looked at from then on. `outcome`: done, failed, skipped, or open. `output`: what a callout wrote."""

    id: str
    verb: str
    sentence: str
    phase: str
    vm: str | None = None
    host: str | None = None
    begin: float | None = None
    end: float | None = None
    up: float | None = None
    outcome: str = "open"
    detail: str = ""
    output: str = ""

    @property
    def seconds(self) -> float | None:
        return None if self.begin is None or self.end is None else round(self.end - self.begin, 3)

    def document(self) -> dict[str, Any]:
        return {
            "id": self.id, "verb": self.verb, "phase": self.phase, "vm": self.vm, "host": self.host, "begin": self.begin,
            "seconds": self.seconds, "outcome": self.outcome, "sentence": self.sentence, "detail": self.detail,
        }  # fmt: skip


def phase_of(verb: str, group: str = "") -> str:
    """The phase of an action; one that is not known yet goes by its group, else among all else."""
    return _PHASE_OF.get(verb) or _PHASE_OF.get(group) or (group if group in PHASES else "other")


def steps_of(lines: Iterable[Mapping[str, Any]]) -> tuple[Step, ...]:
    """The steps in the order in which they began. An id that comes again, as where a move is led back, is another step."""
    found: list[Step] = []
    going: dict[str, int] = {}
    for line in lines:
        what, at = str(line.get("event")), float(line.get("at") or 0.0)
        if what in ("start", "skipped"):
            step = _step(line)
            if what == "start":
                going[step.id] = len(found)
                found.append(replace(step, begin=at))
            else:
                found.append(replace(step, outcome="skipped", detail=str(line.get("detail", ""))))
        elif what == "up" and (index := going.get(str(line.get("id")))) is not None:
            found[index] = replace(found[index], up=at)
        elif what in ("done", "failed") and (index := going.pop(str(line.get("id")), None)) is not None:
            ended = replace(found[index], end=at, outcome=what, detail=str(line.get("detail", "")))
            found[index] = replace(ended, output=str(line.get("output", "")))
    return tuple(found)


def _step(line: Mapping[str, Any]) -> Step:
    verb = str(line.get("verb", ""))
    return Step(
        str(line.get("id", "")), verb, str(line.get("sentence") or line.get("id", "")),
        phase_of(verb, str(line.get("group", ""))), line.get("vm"), line.get("host"),
    )  # fmt: skip


def bars(step: Step) -> list[dict[str, Any]]:
    """What is drawn of a step: {"phase", "begin", "seconds", "outcome"}; a start is two bars where its health was looked at."""
    if step.begin is None:
        return []
    end = step.begin if step.end is None else step.end
    parts = [(step.phase, step.begin, end)]
    if step.up is not None and step.begin <= step.up <= end:
        parts = [(step.phase, step.begin, step.up), ("health", step.up, end)]
    return [
        {
            "phase": phase,
            "begin": round(begin, 3),
            "seconds": round(until - begin, 3),
            # What came before the part that failed was well.
            "outcome": step.outcome if number == len(parts) else "done",
        }
        for number, (phase, begin, until) in enumerate(parts, 1)
    ]


def phases(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Each phase that there was: from its first begin to its last end, how many steps, and how many of them failed or were skipped."""
    found = []
    for name in PHASES:
        mine = [step for step in steps if step.phase == name]
        begun = [step for step in mine if step.begin is not None]
        if not mine:
            continue
        first = min((step.begin for step in begun if step.begin is not None), default=None)
        last = max((step.end for step in begun if step.end is not None), default=first)
        found.append(
            {
                "phase": name,
                "begin": first,
                "seconds": None if first is None or last is None else round(last - first, 3),
                "steps": len(mine),
                "failed": sum(step.outcome == "failed" for step in mine),
                "skipped": sum(step.outcome == "skipped" for step in mine),
            }
        )
    return found
