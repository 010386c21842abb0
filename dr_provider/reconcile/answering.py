"""What a person says to a prompt that a move waits at: a record on the plan's arrays, which the move reads wherever it runs.

Invariant: an answer counts for the question that it names and for no other, so a copy that is late, or is left on an array that was silent,
does nothing; the next run that holds the plan's lease takes it away.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from dr_provider.model import keys
from dr_provider.model.callout_records import Answer, Asked
from dr_provider.model.codec import dump
from dr_provider.model.errors import ArrayFull, BadInput, DeviceFault, NotReady, Refused, Unreachable
from dr_provider.model.problems import did_you_mean
from dr_provider.model.records import Guard, Lease
from dr_provider.protection.fleet import Fleet
from dr_provider.reconcile.abreast import abreast
from dr_provider.reconcile.callouts import answered, past_answers, waiting
from dr_provider.reconcile.lease import held_now, this_machine
from dr_provider.reconcile.terms import how_to_finish
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.world import World

__all__ = ["Given", "answer_prompt", "forget_past_answers"]

_LONGEST = 500
"""Characters of a note, as of the operator's word."""


@dataclass(frozen=True)
class Given:
    """An answer that was taken. `instead`: the one whose place it takes; `heard`: a sentence on who hears it; `waits`: whether a run does now."""

    prompt: str
    asked: Asked
    instead: Answer | None
    waits: bool
    heard: str


def answer_prompt(world: World, plan: str, prompt: str | None, answer: Literal["continue", "stop"], note: str) -> Given:
    """Leave the answer on every array of the plan that answers.

    `prompt` None: the only one that waits. Raises BadInput for one that there is not and for a note that is not a line, and Refused where it
    does not wait, where it was answered with stop already, where several do, or where no array takes the answer.
    """
    if not note.isprintable() or len(note) > _LONGEST:
        # It is read in journals, reports and on the screen of whoever waits.
        raise BadInput(
            f"plan {plan}: the note {note[:80]!r}: wanted one line of at most {_LONGEST} characters; nothing was done"
        )
    view = world.view(plan, refresh=True)
    claim, name, asked = _question(view, prompt)
    before = answered(view, claim, name, asked)
    if before is not None and (before.answer, answer) == ("stop", "continue"):
        # Whoever said stop knows something; and where arrays hold both, stop counts.
        raise Refused((f"plan {plan}: prompt {name} was answered already: {before.sentence()}; that stands",))
    record = Answer(plan, claim, name, answer, world.by, keys.stamp(keys.now()), note, asked.since)
    key = keys.answer_key(view.topology.name, plan, claim, name)

    def put(array: str) -> str:
        try:
            # Without a lease: the move that waits holds it, and reads this.
            world.fleet.array(array).put_record(key, dump(record))
        except (Unreachable, NotReady, DeviceFault, ArrayFull) as error:
            return str(error)
        return ""

    arrays = [array for array in view.topology.plan_arrays(plan) if view.seen.array(array) is not None]
    said = abreast(arrays, put)
    if all(said):
        raise Refused((f"plan {plan}: the answer was not taken by any array: {'; '.join(said)}",))
    holder = held_now(chain.from_iterable(view.leases.values()))
    return Given(name, asked, before, holder is not None, _heard(view, holder))


def _question(view: PlanView, prompt: str | None) -> tuple[str, str, Asked]:
    """The prompt that is meant, with the claim of its move."""
    plan, known = view.spec.name, view.spec.prompts
    if prompt is not None and prompt not in known:
        raise BadInput(f"plan {plan}: there is no prompt {prompt}{did_you_mean(prompt, known)}; nothing was done")
    open_ones = {name: (claim, asked) for claim, name, asked in waiting(view)}
    if prompt is None and len(open_ones) > 1:
        raise BadInput(f"plan {plan}: several prompts wait: {', '.join(open_ones)}; say which; nothing was done")
    name = prompt if prompt is not None else next(iter(open_ones), None)
    if name is None or name not in open_ones:
        others = f" (waiting: {', '.join(open_ones)})" if open_ones else ""
        what = f"no prompt of plan {plan} waits" if name is None else f"plan {plan}: prompt {name} does not wait"
        raise Refused((f"{what} for an answer{others}; dr status shows those that do",))
    claim, asked = open_ones[name]
    return claim, name, asked


def _heard(view: PlanView, holder: Lease | None) -> str:
    plan, claim = view.spec.name, view.claim
    if holder is None:
        go_on = how_to_finish(plan, claim) if claim is not None else f"dr protect {plan}"
        return f"No run waits for it now: the next one that goes on with the move hears it ({go_on})"
    if holder.boot == this_machine().boot:
        return f"The run that waits, by {holder.holder} (process {holder.pid}), hears it within seconds"
    return f"The run that waits, by {holder.holder} on another machine, hears it within seconds; if it has died, the next one does"


def forget_past_answers(fleet: Fleet, view: PlanView, guard: Guard, arrays: Iterable[str]) -> None:
    """Take away the answers that nothing waits for any more, from those of the arrays (where the plan's lease stands) that answer."""
    past = past_answers(view)
    for array in past.keys() & set(arrays):
        for key in past[array]:
            with suppress(Unreachable, NotReady, DeviceFault):  # a later run does it
                fleet.array(array).delete_record(key, guard)
