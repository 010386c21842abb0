"""Callouts and prompts of a run: carried out, and put on record beside the claim, so that a later run knows which have ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from dr_provider.model import keys
from dr_provider.model.callout_records import Answer, Asked, Callouts
from dr_provider.model.callout_specs import PromptSpec
from dr_provider.model.callouts import Move, render_prompt
from dr_provider.model.codec import dump, load
from dr_provider.model.errors import (
    ArrayFull,
    CorruptRecord,
    DeviceFault,
    DrError,
    LeaseLost,
    NotReady,
    Refused,
    Stopped,
    Unreachable,
)
from dr_provider.model.units import format_duration
from dr_provider.reconcile.callout_run import CalloutFailed, carry_out, lacking
from dr_provider.reconcile.callouts import due_at_end, kind_of, log_of, what_counts
from dr_provider.reconcile.context import Run
from dr_provider.reconcile.decision import Action, Decision
from dr_provider.reconcile.health import pause
from dr_provider.reconcile.view import PlanView

__all__ = ["answers_to", "at_end", "callout", "check", "lacks", "prompt"]

POLL = 1.0
"""Seconds between two looks for an answer."""


def callout(run: Run, action: Action) -> str:
    """Run it, and put on record what became of it."""
    spec = run.view.spec.callouts[action.of["name"]]
    _unless_not_started(run, action)
    try:
        how, output = carry_out(
            run.view.topology, run.plan, spec.name, _move(run, action), stop=run.stop, say=run.remark
        )
    except DrError as error:
        run.outputs[action.id] = error.output if isinstance(error, CalloutFailed) else ""
        if isinstance(error, LeaseLost | Stopped):
            raise
        if action.needed:
            failed = {action.of["key"]: str(error)}
            _keep(run, action, lambda log: replace(log, failed={**log.failed, **failed}))
        else:
            _end(run, action, "failed")
        raise
    run.outputs[action.id] = output
    _end(run, action, "done")
    return how


def lacks(view: PlanView, decision: Decision) -> tuple[str, ...]:
    """What would stop the decision's move at a callout, as far as it can be known on this machine without running one: a sentence each."""
    if not any(action.verb == "claim" for action in decision.actions):
        return ()
    due = [action for action in decision.actions if action.verb == "callout" and action.needed]
    said = (lacking(view.topology, view.spec.name, a.of["name"], _told(view, decision, a)) for a in due)
    return tuple(
        f"plan {view.spec.name}: {why}; mend that, or give the callout onError: continue" for why in said if why
    )


def check(view: PlanView, decision: Decision) -> None:
    """Before anything is claimed: what would stop the move, and can be known now. Raises Refused."""
    if said := lacks(view, decision):
        raise Refused((*said, "nothing was claimed"))


def _move(run: Run, action: Action) -> Move:
    made = run.claim or run.committed or run.view.epoch
    move = _told(run.view, run.decision, action)
    return replace(move, point=made.point if made is not None else None)


def _told(view: PlanView, decision: Decision, action: Action) -> Move:
    """What the decision says of the move; VMs that run where it goes to are where they are."""
    of = action.of
    hosts = {place.vm: place.host for place in view.running_at(of["to"])}
    hosts |= {a.of["vm"]: a.of["host"] for a in decision.actions if a.verb == "attach"}
    return Move(of["kind"], of["from"] or None, of["to"], int(of["epoch"]), decision.point, hosts)


def _unless_not_started(run: Run, action: Action) -> None:
    """A VM whose failure its tier lets pass holds up nothing; but what is to be done after its start is not done then."""
    place = run.view.spec.callouts[action.of["name"]].place
    if place.phase == "start" and place.when == "after" and (place.vm is not None or place.tier is not None):
        failed = [run.failed[i] for i in action.after if i in run.failed and i.startswith("start:")]
        if failed:
            raise DrError(f"callout {action.of['name']} was not run: {failed[0]}")


# -- on record --------------------------------------------------------------------------------------


def _claim_id(run: Run, action: Action) -> str | None:
    """Of the move that the action belongs to; None: it belongs to none (VMs are started without a move)."""
    if action.of["kind"] == "restart":
        return None
    if "claim" in action.of:
        return action.of["claim"]
    made = run.committed or run.claim
    assert made is not None, "callouts come after the claim"
    return made.id


def _log(run: Run, claim: str, kind: str) -> Callouts:
    known = run.callouts
    if known is not None and known.claim == claim:
        return known
    return log_of(run.view, claim) or Callouts(run.plan, claim, kind)


def _write(run: Run, claim: str, kind: str, change: Callable[[Callouts], Callouts]) -> None:
    with run.callouts_lock:
        log = change(_log(run, claim, kind))
        run.callouts = log
        try:
            run.write_all(keys.callouts_key(run.topology, run.plan), dump(log), must=())
        except (ArrayFull, DeviceFault) as error:
            # Without it one that has ended would be run again, which it must bear: no array is so much needed that a move ends for this.
            run.remark(f"how far callouts and prompts are is on record nowhere: {error}")


def _keep(run: Run, action: Action, change: Callable[[Callouts], Callouts]) -> None:
    claim = _claim_id(run, action)
    if claim is not None:
        _write(run, claim, action.of["kind"], change)


def _end(run: Run, action: Action, how: str) -> None:
    key = action.of["key"]

    def change(log: Callouts) -> Callouts:
        failed = {k: why for k, why in log.failed.items() if k != key}
        asked = {k: each for k, each in log.asked.items() if k != key}
        return replace(log, ended={**log.ended, key: how}, failed=failed, asked=asked)

    _keep(run, action, change)


def at_end(run: Run, claim: str, *, aborted: bool) -> None:
    """Just before a claim ends: put on record what is due after it, so that whoever goes on from there knows."""
    decision, spec = run.decision, run.view.spec
    kind = "abort" if aborted else kind_of(spec, decision.kind, decision.to_site)
    due = due_at_end(spec, kind)
    if due:
        _write(run, claim, kind, lambda log: replace(log, kind=kind, due=due))


# -- prompts ----------------------------------------------------------------------------------------


def prompt(run: Run, action: Action) -> str:
    """Ask, and wait for the answer: a record that `dr answer` leaves on the arrays, or a line on the terminal where the move runs. A run that
    nobody attends does not wait: it goes by what has been said by now."""
    spec, key, claim = run.view.spec.prompts[action.of["name"]], action.of["key"], _claim_id(run, action)
    assert claim is not None, "there are no prompts without a move"
    text = render_prompt(run.view.topology, run.plan, spec.name, _move(run, action))
    # A question that a run before this one has asked, and to which nobody was heard, is still the same.
    before = _log(run, claim, action.of["kind"]).asked.get(key)
    since = before.since if before is not None else keys.stamp(keys.now())
    until = keys.stamp(keys.now() + timedelta(seconds=spec.timeout))
    if before is not None and run.want.unattended:
        until = before.until
    asked = Asked(text, since, until, spec.default)

    def open_again(log: Callouts) -> Callouts:
        failed = {k: why for k, why in log.failed.items() if k != key}
        return replace(log, asked={**log.asked, key: asked}, failed=failed)

    _keep(run, action, open_again)
    answer = _said_by_now(run, spec, claim, asked) if run.want.unattended else _wait(run, spec, claim, asked)
    if answer.answer == "continue":
        _end(run, action, "continue")
        _forget(run, claim, spec.name)
        return f"continue, said {answer.said}"
    why = f"prompt {spec.name}: stop, said {answer.said}"

    def stopped(log: Callouts) -> Callouts:
        left = {k: each for k, each in log.asked.items() if k != key}
        return replace(log, asked=left, failed={**log.failed, key: why})

    _keep(run, action, stopped)
    _forget(run, claim, spec.name)
    raise DrError(why)


def _said_by_now(run: Run, spec: PromptSpec, claim: str, asked: Asked) -> Answer:
    found = answers_to(run, claim, spec.name, asked.since)
    if found is not None:
        return found
    if spec.default == "continue" and keys.now() >= keys.at(asked.until):
        return _nobody(run, spec, claim)
    # To stop is what not waiting comes to: the question stays open for whoever answers it.
    raise DrError(
        f"prompt {spec.name} waits for an answer: {asked.text} (dr answer {run.plan} {spec.name} --continue, or --stop); "
        f"the next run of plan {run.plan} hears it"
    )


def _nobody(run: Run, spec: PromptSpec, claim: str) -> Answer:
    by = f"nobody within {format_duration(spec.timeout)}"
    return Answer(run.plan, claim, spec.name, spec.default, by, keys.stamp(keys.now()))


def _wait(run: Run, spec: PromptSpec, claim: str, asked: Asked) -> Answer:
    until = run.world.monotonic() + spec.timeout
    run.world.progress(
        f"plan {run.plan}: prompt {spec.name} waits for an answer: {asked.text} (dr answer {run.plan} {spec.name} --continue, or --stop; "
        f"after {format_duration(spec.timeout)} it counts as {spec.default})"
    )
    with run.world.asking(f"{run.plan} {spec.name}") as typed:
        while True:
            found = answers_to(run, claim, spec.name, asked.since)
            if found is not None:
                return found
            said = typed()
            if said is not None:
                return Answer(run.plan, claim, spec.name, said, run.world.by, keys.stamp(keys.now()))
            if run.world.monotonic() >= until:
                return _nobody(run, spec, claim)
            pause(POLL, run.stop)


def answers_to(run: Run, claim: str, name: str, since: str) -> Answer | None:
    """The answer that counts of those that the plan's arrays hold for the prompt, asked since then."""
    key, found = keys.answer_key(run.topology, run.plan, claim, name), list[Answer]()
    for array in run.answering():
        try:
            text = run.array(array).read_record(key)
            if text is not None:
                found.append(load(Answer, text, f"array {array}, {key}"))
        except (Unreachable, NotReady, DeviceFault):
            continue
        except CorruptRecord as error:
            run.remark(str(error))
    return what_counts(found, since)


def _forget(run: Run, claim: str, name: str) -> None:
    """What was heard goes once it is on record. A copy that comes later stands for nothing, and a later run takes it away."""
    run.write_all(keys.answer_key(run.topology, run.plan, claim, name), None, must=())
