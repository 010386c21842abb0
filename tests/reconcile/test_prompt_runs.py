"""Prompts as a move asks them, and who answers: on embedded arrays."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest

from dr_provider.arrays.embedded.array import EmbeddedArray
from dr_provider.model import keys, stopping
from dr_provider.model.callout_records import Answer
from dr_provider.model.codec import dump
from dr_provider.model.errors import ArrayFull, BadInput, DeviceFault, LeaseHeld, MoveFailed, Refused, Stopped
from dr_provider.reconcile.actions import callouts as verbs
from dr_provider.reconcile.answering import Given, answer_prompt
from dr_provider.reconcile.decision import Want
from dr_provider.reconcile.run import run_plan
from dr_provider.reconcile.world import World
from tests.reconcile.conftest import Clock
from tests.reconcile.hooked import Bench, Hooks, step
from tests.support.kills import killed_at
from tests.support.lab import Lab


def ask(where: dict[str, Any] | None = None, **keys: Any) -> Hooks:
    return {"go": {**(where or {"before": "commit"}), "text": "Is {{ to_site }} ready?", **keys}}


Said = Literal["continue", "stop"]


class Answering:
    """A person at another machine: sees in `dr status` that a prompt waits, and says it."""

    def __init__(
        self,
        lab: Lab,
        said: Said,
        note: str = "",
        *,
        world: World | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> None:
        self.lab, self.said, self.note, self.world, self.meanwhile = lab, said, note, world or lab.world(), meanwhile
        self.seen: list[dict[str, Any]] = []
        self.thread = threading.Thread(target=self._answer)

    def _answer(self) -> None:
        while not self.seen:
            self.seen = self.lab.status()["prompts"]
        if self.meanwhile is not None:
            self.meanwhile()
        answer_prompt(self.world, "shop", None, self.said, self.note)

    def __enter__(self) -> Answering:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.join(60)


def answers(lab: Lab) -> list[str]:
    """The arrays that hold an answer."""
    states = {name: lab.view().seen.array(name) for name in lab.topology.arrays}
    return [name for name, state in states.items() if state and any("/answer/" in key for key in state.records)]


def test_it_waits_for_an_answer_from_anywhere(bench: Bench) -> None:
    lab = bench({}, ask())
    with Answering(lab, "continue", "looks well") as person:
        outcome = lab.move("west")
    assert (outcome.failures, set(lab.running().values())) == ((), {"west"})
    (seen,) = person.seen
    assert (seen["prompt"], seen["text"], seen["default"]) == ("go", "Is west ready?", "stop")
    assert seen["answer"] == "dr answer shop go --continue (or --stop)"
    assert step(outcome, "prompt:go")["detail"] == f"continue, said {lab.world().by}: looks well"
    assert lab.status()["prompts"] == []
    assert lab.decide().actions == ()


@pytest.mark.parametrize("later", [lambda lab: lab.protect(), lambda lab: lab.move("east")], ids=["protect", "move"])
def test_a_copy_of_an_answer_that_comes_late_does_nothing_and_is_taken_away(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, later: Callable[[Lab], object]
) -> None:
    """The run has heard the first copy, gone on and ended before the second array has its own."""
    lab, over = bench({}, ask(kinds=["planned"])), threading.Event()
    person = lab.world()
    array = person.fleet.array

    class Slow:
        """The second array, which takes what the person says when all is over."""

        def put_record(self, *words: Any) -> None:
            assert over.wait(60)
            array("west-a").put_record(*words)

        def __getattr__(self, name: str) -> Any:
            return getattr(array("west-a"), name)

    monkeypatch.setattr(person.fleet, "array", lambda name: Slow() if name == "west-a" else array(name))
    with Answering(lab, "continue", world=person):
        assert lab.move("west").failures == ()
        assert answers(lab) == []
        over.set()
    assert answers(lab) == ["west-a"]
    assert lab.status()["prompts"] == []
    assert lab.decide().actions == ()
    later(lab)
    assert answers(lab) == []


def test_stop_before_the_commit_leads_back_and_a_new_move_asks_anew(bench: Bench) -> None:
    lab = bench({}, ask())
    with Answering(lab, "stop", "not today"), pytest.raises(MoveFailed) as raised:
        lab.move("west")
    assert f"prompt go: stop, said {lab.world().by}: not today" in raised.value.reasons[0]
    assert raised.value.reasons[-1] == "the move was called off: plan shop is active at east as before"
    assert lab.status()["prompts"] == []
    with Answering(lab, "continue"):
        assert lab.move("west").failures == ()


def test_stop_after_the_commit_leaves_the_rest_to_a_run_that_asks_again(bench: Bench) -> None:
    lab = bench({}, ask({"after": {"tier": 1}}))
    with Answering(lab, "stop"):
        outcome = lab.move("west")
    assert any("prompt go: stop, said" in line for line in outcome.failures)
    assert lab.running() == {"db": "west"}
    assert any("prompt go: stop, said" in line for line in lab.status()["degraded"])
    with Answering(lab, "continue"):
        assert lab.move().failures == ()
    assert lab.running() == dict.fromkeys(("db", "app", "web"), "west")
    assert lab.decide().actions == ()


@pytest.mark.parametrize("default", ["continue", "stop"])
def test_nobody_answers(bench: Bench, default: str) -> None:
    lab = bench({}, ask(timeout="50ms", default=default))
    if default == "continue":
        outcome = lab.move("west")
        assert step(outcome, "prompt:go")["detail"] == "continue, said nobody within 50ms"
    else:
        with pytest.raises(MoveFailed, match="prompt go: stop, said nobody within 50ms"):
            lab.move("west")


def test_the_answer_to_a_run_that_was_killed_is_heard_by_the_next(bench: Bench) -> None:
    lab = bench({}, ask())
    fork = multiprocessing.get_context("fork")
    run = fork.Process(target=lab.move, args=("west",))
    run.start()
    while not lab.status()["prompts"]:
        assert run.is_alive()
    run.kill()
    run.join()
    assert [(prompt["prompt"], prompt["waits"]) for prompt in lab.status()["prompts"]] == [("go", False)]
    answer_prompt(lab.world(), "shop", "go", "continue", "")
    assert answers(lab) == ["east-a", "west-a"]
    outcome = lab.move("west")
    assert answers(lab) == []
    assert outcome.failures == ()
    assert "continue, said" in step(outcome, "prompt:go")["detail"]


def test_who_was_heard_is_not_asked_again(asked: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is killed between hearing the answer and taking it away."""
    answer_prompt(asked.world(), "shop", "go", "continue", "")
    with monkeypatch.context() as patched:
        patched.setattr(verbs, "_forget", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        assert killed_at(lambda: asked.move("west"), "no such action", "before")
    assert answers(asked) == ["east-a", "west-a"]
    assert asked.status()["prompts"] == []
    assert asked.move("west").failures == ()
    assert answers(asked) == []


def leave(_seconds: float, _stop: object) -> None:
    """In the place of waiting for an answer."""
    raise Stopped("the test goes on without it")


@pytest.fixture
def asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A move that was ended while it waited at its prompt."""
    lab = bench({}, ask())
    with monkeypatch.context() as patched:
        patched.setattr(verbs, "pause", leave)
        with pytest.raises(Stopped):
            lab.move("west")
    return lab


def test_an_array_without_room_keeps_an_answer_from_no_other(asked: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    put = EmbeddedArray.put_record

    def full(self: EmbeddedArray, key: str, *more: Any) -> None:
        if "/answer/" in key and self.name == "east-a":
            raise ArrayFull("array east-a is full")
        put(self, key, *more)

    monkeypatch.setattr(EmbeddedArray, "put_record", full)
    answer_prompt(asked.world(), "shop", "go", "continue", "")
    assert answers(asked) == ["west-a"]
    assert asked.move("west").failures == ()


def test_an_array_that_cannot_be_read_keeps_an_answer_from_nobody(asked: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_prompt(asked.world(), "shop", "go", "continue", "")
    read = EmbeddedArray.read_record

    def broken(self: EmbeddedArray, key: str) -> str | None:
        if "/answer/" in key and self.name == "east-a":
            raise DeviceFault("array east-a could not do the call")
        return read(self, key)

    monkeypatch.setattr(EmbeddedArray, "read_record", broken)
    assert asked.move("west").failures == ()


def test_where_no_run_waits_it_is_said_so_and_who_answered_what(asked: Lab) -> None:
    def say(word: Said, note: str = "") -> Given:
        return answer_prompt(asked.world(), "shop", None, word, note)

    (seen,) = asked.status()["prompts"]
    assert (seen["waits"], seen["answered"]) == (False, None)
    first = say("continue", "looks well")
    assert (first.waits, first.instead) == (False, None)
    assert first.heard == (
        "No run waits for it now: the next one that goes on with the move hears it (dr failover shop --to west)"
    )
    (seen,) = asked.status()["prompts"]
    assert {**seen["answered"], "time": ""} == {
        "answer": "continue",
        "by": asked.world().by,
        "note": "looks well",
        "time": "",
    }
    stop = say("stop", "not today")
    assert stop.instead is not None
    assert stop.instead.sentence().startswith(f"continue, said {asked.world().by}: looks well (at 20")
    with pytest.raises(Refused, match=r"prompt go was answered already: stop, said .*: not today \(at .*; that stands"):
        say("continue")
    with pytest.raises(MoveFailed, match=r"prompt go: stop, said .*: not today"):
        asked.move("west")


def test_who_comes_while_it_waits_is_told_of_the_prompt(bench: Bench) -> None:
    lab = bench({}, ask())
    with Answering(lab, "continue", meanwhile=lambda: refused.append(str(held_up(lab)))) as person:
        refused = list[str]()
        lab.move("west")
    assert person.seen[0]["waits"]
    assert "prompt go waits for an answer (dr answer shop go --continue, or --stop); wait for it to end" in refused[0]


def held_up(lab: Lab) -> LeaseHeld:
    with pytest.raises(LeaseHeld) as raised:
        lab.move("west")
    return raised.value


@pytest.mark.parametrize("default", ["stop", "continue"])
def test_protection_does_not_wait_for_an_answer(
    bench: Bench, clock: Clock, monkeypatch: pytest.MonkeyPatch, default: str
) -> None:
    """After the commit the rest of a move is for the next run: `dr protect` asks, and protects the plan meanwhile."""
    lab = bench({}, ask({"after": {"tier": 1}}, default=default))
    with Answering(lab, "stop"):
        lab.move("west")
    monkeypatch.setattr(verbs, "pause", leave)
    found = lab.protect()
    assert found.point is not None
    assert not any(line.startswith(("ask ", "start ")) for line in found.repaired), "these were not done"
    assert any(
        "prompt go waits for an answer: Is west ready? (dr answer shop go --continue" in line for line in found.failures
    )
    (seen,) = lab.status()["prompts"]
    assert (seen["waits"], seen["default"]) == (False, default)
    assert not any("prompt go" in line for line in lab.status()["degraded"])
    clock.forward(14)
    assert lab.protect().failures
    (again,) = lab.status()["prompts"]
    assert (again["since"], again["until"]) == (seen["since"], seen["until"])
    clock.forward(2)
    if default == "stop":
        assert lab.protect().failures, "nobody has said anything"
        assert "dr protect shop" in answer_prompt(lab.world(), "shop", "go", "continue", "").heard
    assert lab.protect().failures == ()
    assert set(lab.running().values()) == {"west"}


def test_an_answer_to_an_earlier_question_is_not_heard(bench: Bench) -> None:
    """It stands on an array that was silent when it was heard; the same prompt of the same move is asked anew."""
    lab = bench({}, ask({"after": {"tier": 1}}, timeout="50ms"))
    outcome = lab.move("west")
    assert any("stop, said nobody within 50ms" in line for line in outcome.failures)
    epoch = lab.view().epoch
    assert epoch is not None
    stale = Answer("shop", epoch.id, "go", "continue", "me", "then", asked="2026-03-02T08:00:00.000Z")
    lab.world().fleet.array("east-a").put_record(keys.answer_key("shop-test", "shop", epoch.id, "go"), dump(stale))
    again = lab.move()
    assert any("stop, said nobody within 50ms" in line for line in again.failures)


def test_answered_on_the_terminal_where_it_runs(bench: Bench) -> None:
    lab = bench({}, ask())
    asked: list[str] = []

    @contextmanager
    def terminal(what: str) -> Iterator[Callable[[], Any]]:
        asked.append(what)
        lines = [None, "continue"]
        yield lambda: lines.pop(0)

    world = lab.world()
    world.asking = terminal
    outcome = run_plan(world, "shop", Want(site="west"))
    assert asked == ["shop go"]
    assert step(outcome, "prompt:go")["detail"] == f"continue, said {world.by}"


def test_a_request_to_stop_ends_the_waiting(bench: Bench) -> None:
    lab = bench({}, ask())

    def interrupt() -> None:
        while not lab.status()["prompts"]:
            pass
        stopping.request("Ctrl-C")

    person = threading.Thread(target=interrupt)
    person.start()
    try:
        with pytest.raises(Stopped, match=r"stopped at a safe action \(Ctrl-C\)"):
            lab.move("west")
    finally:
        person.join(60)
        stopping.clear()
    with Answering(lab, "continue"):
        assert lab.move("west").resumed is not None


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [(None, "no prompt of plan shop waits for an answer"), ("og", "there is no prompt og")],
)
def test_what_cannot_be_answered(bench: Bench, prompt: str | None, wanted: str) -> None:
    lab = bench({}, ask())
    with pytest.raises((BadInput, Refused), match=wanted):
        answer_prompt(lab.world(), "shop", prompt, "continue", "")
