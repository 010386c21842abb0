"""The callouts and prompts of a plan among the actions of a decision: which are for it, and what of them is over. Pure.

Invariants:
1. A plan without them, and a decision that does nothing, stay as they were.
2. Before the commit every one of them comes after the claim, so that none runs for a move that was refused.
3. One that has ended in this claim is not run again; one that is due after the commit stays due until it has ended, whoever runs the rest
   of the move. What the topology gained since is no part of that move.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from dr_provider.model import keys
from dr_provider.model.callout_records import Answer, Asked, Callouts
from dr_provider.model.callouts import hooks_of, is_for
from dr_provider.model.codec import load
from dr_provider.model.errors import CorruptRecord
from dr_provider.model.records import Epoch
from dr_provider.model.topology import PlanSpec
from dr_provider.reconcile.callout_places import Moving, key_of, weave_into
from dr_provider.reconcile.decision import Decision, Want
from dr_provider.reconcile.starts import unasked
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.word import parse_word

__all__ = [
    "answered",
    "due_at_end",
    "kind_of",
    "left_open",
    "log_of",
    "past_answers",
    "waiting",
    "weave",
    "what_counts",
]


def log_of(view: PlanView, claim: str) -> Callouts | None:
    """How far the callouts of a move are, as all arrays that answer know it together; None: nothing is on record."""
    known = [log for log in view.callouts if log.claim == claim]
    if not known:
        return None
    ended = {key: how for log in known for key, how in log.ended.items()}
    return replace(
        known[0],
        ended=ended,
        due=tuple(sorted({key for log in known for key in log.due})),
        failed={key: why for log in known for key, why in log.failed.items() if key not in ended},
        asked={
            key: asked
            for log in sorted(known, key=lambda log: max((a.since for a in log.asked.values()), default=""))
            for key, asked in log.asked.items()
            if key not in ended
        },
    )


def waiting(view: PlanView) -> tuple[tuple[str, str, Asked], ...]:
    """The prompts that wait for an answer: (id of the claim, name, what was asked). One that has left the topology asks nobody."""
    current = view.claim or view.epoch
    log = log_of(view, current.id) if current is not None else None
    if log is None:
        return ()
    return tuple((log.claim, name, log.asked[name]) for name in sorted(log.asked.keys() & view.spec.prompts.keys()))


def what_counts(answers: Iterable[Answer], since: str) -> Answer | None:
    """Of what arrays hold, the answer to the question asked since then; where there are different ones, stop."""
    meant = [answer for answer in answers if answer.asked == since]
    return max(meant, key=lambda answer: answer.answer == "stop", default=None)


def answered(view: PlanView, claim: str, name: str, asked: Asked) -> Answer | None:
    """What was said to a prompt that waits, and not heard yet."""
    found = (answer for _, _, at, answer in _answers(view) if answer is not None and at == (claim, name))
    return what_counts(found, asked.since)


def past_answers(view: PlanView) -> dict[str, list[str]]:
    """By array, the keys of answers that nothing waits for: copies that came when the question was over, or that stood on an array that was
    silent then. One to a move that nobody who answers knows stays where it is."""
    known = {epoch.id for epoch in view.history} | ({view.claim.id} if view.claim is not None else set())
    since = {(claim, name): asked.since for claim, name, asked in waiting(view)}
    found: dict[str, list[str]] = {}
    for array, key, at, answer in _answers(view):
        waits = at in since and (answer is None or answer.asked == since[at])
        if at[0] in known and not waits:
            found.setdefault(array, []).append(key)
    return found


def _answers(view: PlanView) -> Iterator[tuple[str, str, tuple[str, str], Answer | None]]:
    """(array, key, (claim, prompt), answer) of each on the arrays that answer; None: it cannot be read."""
    prefix = keys.answer_prefix(view.topology.name, view.spec.name)
    for array in view.topology.plan_arrays(view.spec.name):
        state = view.seen.array(array)
        for key, text in sorted(state.records.items()) if state is not None else ():
            if key.startswith(prefix):
                claim, _, name = key.removeprefix(prefix).partition("/")
                try:
                    answer = load(Answer, text, f"array {array}, {key}")
                except CorruptRecord:
                    answer = None
                yield array, key, (claim, name), answer


def left_open(view: PlanView) -> tuple[str, ...]:
    """A sentence for each callout or prompt that has kept the rest of a committed move from being done, and is still in the topology."""
    epoch = view.epoch
    log = log_of(view, epoch.id) if epoch is not None and view.claim is None else None
    if log is None or epoch is None:
        return ()
    return tuple(
        f"{why} (epoch {epoch.number}); the next run of plan {view.spec.name} runs it again, and what waits for it"
        for key, why in sorted(log.failed.items())
        if key in log.due and key in {hook.name for hook in hooks_of(view.spec)}
    )


def due_at_end(spec: PlanSpec, kind: str) -> tuple[str, ...]:
    """The keys of what comes after the end of a claim: of the commit, or (kind abort) of its withdrawal."""
    return tuple(
        key_of(kind, hook)
        for hook in hooks_of(spec)
        if is_for(hook, kind)
        and (
            hook.place.phase == "start"
            or (hook.place.when, hook.place.phase) in (("after", "move"), ("after", "commit"))
        )
    )


def kind_of(spec: PlanSpec, kind: str, target: str | None) -> str:
    """The kind of a move as the topology names it: a planned one home is a failback."""
    return "failback" if kind == "planned" and target == spec.home else kind


def weave(view: PlanView, want: Want, decision: Decision) -> Decision:
    """The decision with the plan's callouts and prompts among its actions."""
    if not hooks_of(view.spec) or decision.refused or decision.exit_bad:
        return decision
    if view.epoch is None or decision.kind == "create":
        return decision
    if decision.kind not in ("repair", "none"):
        return replace(decision, actions=weave_into(view.spec, decision.actions, _move_of(view, view.epoch, decision)))
    # What is due of the move may have nowhere to stand now; VMs that are started all the same have theirs.
    for move in (_rest_of(view, want), _restart(view, decision)):
        actions = weave_into(view.spec, decision.actions, move) if move is not None else ()
        if len(actions) > len(decision.actions):
            return replace(decision, kind="repair", actions=actions)
    return decision


def _move_of(view: PlanView, epoch: Epoch, decision: Decision) -> Moving:
    claim, kind = view.claim, decision.kind
    name = kind_of(view.spec, kind, decision.to_site)
    log = log_of(view, claim.id) if claim is not None else None
    running = frozenset(place.vm for place in view.running_at(str(decision.from_site)))
    of = _of(name, decision.from_site, decision.to_site, epoch.number + (kind != "abort"))
    return Moving(
        name,
        of if claim is None else {**of, "claim": claim.id},
        frozenset(log.ended) if log is not None else frozenset(),
        stopped=frozenset(claim.stopped) - running if claim is not None else frozenset(),
    )


def _rest_of(view: PlanView, want: Want) -> Moving | None:
    """What is left of the move that made the epoch in force, or of one that was called off in it; None: nothing, or it is not known whether
    the plan is still active here."""
    epoch = view.epoch
    assert epoch is not None
    word = parse_word(view.spec.name, want.word)
    if not (word is not None and word.epoch == epoch.number) and unasked(view, epoch):
        return None
    for ended in (epoch, *(e for e in view.history if e.state == "aborted" and e.number > epoch.number)):
        log = log_of(view, ended.id)
        if log is None or not (due := frozenset(log.due) - frozenset(log.ended)):
            continue
        aborted = ended.state == "aborted"
        kind, origin = ("abort", ended.site) if aborted else (log.kind, ended.from_site)
        return Moving(
            kind,
            {**_of(kind, origin, epoch.site, epoch.number), "claim": log.claim},
            due=due,
            running=frozenset(place.vm for place in view.running_at(epoch.site)),
        )
    return None


def _restart(view: PlanView, decision: Decision) -> Moving | None:
    """VMs are started where the plan is. There is no claim to keep a record beside: what has started is not started again, and its callouts
    with it."""
    epoch = view.epoch
    if epoch is None or not any(action.verb == "start" for action in decision.actions):
        return None
    return Moving("restart", _of("restart", epoch.site, epoch.site, epoch.number))


def _of(kind: str, origin: str | None, target: str | None, epoch: int) -> dict[str, str]:
    return {"kind": kind, "from": origin or "", "to": target or "", "epoch": str(epoch)}
