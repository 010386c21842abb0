"""Callouts and prompts as a move runs them: on embedded arrays, with real child processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from dr_provider.arrays.embedded.array import EmbeddedArray
from dr_provider.model import keys, stopping
from dr_provider.model.callout_records import Answer
from dr_provider.model.codec import dump
from dr_provider.model.errors import ArrayFull, BadInput, DeviceFault, LeaseHeld, MoveFailed, Refused, Stopped
from dr_provider.model.records import Owner
from dr_provider.reconcile.actions import callouts as verbs
from dr_provider.reconcile.answering import Given, answer_prompt
from dr_provider.reconcile.context import Run
from dr_provider.reconcile.decision import Want
from dr_provider.reconcile.drills.begin import start_drill
from dr_provider.reconcile.drills.end import end_drill
from dr_provider.reconcile.drills.parts import vm_states
from dr_provider.reconcile.journal import estimate
from dr_provider.reconcile.outcome import Outcome
from dr_provider.reconcile.run import run_plan
from dr_provider.reconcile.world import World
from tests.reconcile.conftest import Clock
from tests.support.kills import failing, killed_at, watched
from tests.support.lab import Lab

Hooks = dict[str, dict[str, Any]]
Bench = Callable[..., Lab]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A lab whose plan has these callouts and prompts; `{log}` in a command is the file that `said` reads."""
    monkeypatch.setenv("DR_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(verbs, "POLL", 0.01)

    def make(callouts: Hooks, prompts: Hooks | None = None, **topology: Any) -> Lab:
        def change(document: dict[str, Any]) -> None:
            document["plans"]["shop"] |= {"callouts": callouts, "prompts": prompts or {}}

        lab = Lab(tmp_path / "project", source_budget="300ms", change=change, **topology)
        lab.write(5)
        lab.protect()
        return lab

    return make


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def sh(script: str, **keys: Any) -> dict[str, Any]:
    return {"command": ["sh", "-c", script], **keys}


def tell(log: Path, **keys: Any) -> dict[str, Any]:
    """A callout that writes its name, and what it knows, into the file."""
    return sh(f"echo $DR_CALLOUT $DR_KIND $DR_FROM $DR_TO $DR_EPOCH $DR_POINT >> {log}", **keys)


def said(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8").splitlines() if log.exists() else []


def step(outcome: Outcome, name: str) -> dict[str, Any]:
    (found,) = [line for line in outcome.steps if line["id"] == name]
    return dict(found)


# -- the way of a move ------------------------------------------------------------------------------


def test_they_run_at_their_places_and_once(bench: Bench, log: Path) -> None:
    names: dict[str, dict[str, Any]] = {
        "a": {"before": "move"},
        "b": {"after": "transfer"},
        "c": {"before": "commit"},
        "d": {"after": {"tier": 1}},
        "e": {"after": "move"},
    }
    lab = bench({name: tell(log, **place) for name, place in names.items()})
    with watched() as order:
        outcome = lab.move("west")
    assert outcome.failures == ()
    begun = [i for i in order if not i.startswith("/")]
    wanted = [
        "claim",
        "callout:a",
        "stop:web",
        "choose",
        "callout:b",
        "scan",
        "callout:c",
        "commit",
        "start:db",
        "callout:d",
        "start:app",
        "callout:e",
    ]
    assert [i for i in begun if i in wanted] == wanted
    point = outcome.point
    assert said(log) == [
        "a planned east west 2", f"b planned east west 2 {point}", f"c planned east west 2 {point}", f"d planned east west 2 {point}",
        f"e planned east west 2 {point}",
    ]  # fmt: skip
    assert lab.decide("west").actions == ()
    assert lab.move("east").failures == ()
    assert [line.split()[:4] for line in said(log)[5:]] == [[name, "failback", "west", "east"] for name in "abcde"]
    assert lab.decide().actions == ()


def test_none_runs_for_a_move_that_is_refused(bench: Bench, log: Path) -> None:
    lab = bench({"a": tell(log, before="move"), "b": tell(log, after="move")})
    lab.lose("site:east")
    with pytest.raises(Refused):
        lab.move("west")
    assert said(log) == []
    assert lab.move("west", word="1: power lost").failures == ()
    assert [line.split()[:2] for line in said(log)] == [["a", "disaster"], ["b", "disaster"]]


def test_a_script_is_rendered_to_a_file_for_its_interpreter(bench: Bench, log: Path, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "dns.sh.j2").write_text(
        "{% for vm in vms.values() %}\necho {{ vm.name }} {{ vm.ip }} {{ vm.host }} >> " + str(log) + "\n{% endfor %}\nbasename $PWD\n"
    )  # fmt: skip
    lab = bench({"dns": {"after": "move", "command": ["sh", "-eu"], "script": "dns.sh.j2"}})
    outcome = lab.move("west")
    places = {place.vm: place.host for place in lab.view().running_at("west")}
    assert said(log) == [f"{vm} 10.2.0.{10 + n} {places[vm]}" for n, vm in enumerate(("db", "app", "web"))]
    folder = step(outcome, "callout:dns")["output"]
    assert folder.startswith("dr-callout-")
    assert not (Path(os.environ.get("TMPDIR", "/tmp")) / folder).exists()


# -- what goes wrong --------------------------------------------------------------------------------


def test_where_it_may_stop_the_move_before_the_commit_the_move_is_led_back(bench: Bench, log: Path) -> None:
    lab = bench(
        {
            "bad": sh("echo no zone; exit 3", before="commit", retries=1, retryDelay="0s"),
            "undo": tell(log, after="move", kinds=["abort"]),
        }
    )
    with pytest.raises(MoveFailed) as raised:
        lab.move("west")
    said_first, said_last = raised.value.reasons[0], raised.value.reasons[-1]
    assert said_first.endswith("callout bad: it ended with exit status 3; it said: no zone (tried 2 times)")
    assert said_last == "the move was called off: plan shop is active at east as before"
    assert set(lab.running().values()) == {"east"}
    assert said(log) == ["undo abort west east 1"]
    assert any("trying again (1 of 1)" in line for line in lab.lines)
    assert lab.decide().actions == ()


def test_one_that_may_fail_is_a_warning_and_is_over(bench: Bench) -> None:
    lab = bench({"bad": sh("exit 3", before="commit", onError="continue")})
    outcome = lab.move("west")
    assert outcome.failures == ()
    assert any("callout bad: it ended with exit status 3" in line for line in outcome.warnings)
    assert lab.decide().actions == ()


def test_after_the_commit_the_rest_waits_for_the_next_run(bench: Bench, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    lab = bench({"ready": sh(f"test -e {flag}", after={"tier": 1}), "told": sh("true", after="move")})
    outcome = lab.move("west")
    assert any("callout ready: it ended with exit status 1" in line for line in outcome.failures)
    assert lab.running() == {"db": "west"}
    status = lab.status()
    assert status["activeSite"] == "west"
    assert any("callout ready" in line for line in status["degraded"])
    assert "callout:ready" in [action.id for action in lab.decide().actions]
    flag.touch()
    again = lab.move()
    assert again.failures == ()
    assert [line["id"] for line in again.steps if line["verb"] == "callout"] == ["callout:ready", "callout:told"]
    assert set(lab.running().values()) == {"west"}
    assert lab.status()["degraded"] == []
    assert lab.decide().actions == ()


def test_one_that_hangs_is_ended_at_its_time_out(bench: Bench) -> None:
    lab = bench({"hang": sh("echo begun; sleep 600", before="move", timeout="300ms", onError="continue")})
    outcome = lab.move("west")
    (line,) = outcome.warnings
    assert line.endswith(
        "callout hang: it had not ended after 300ms, and was ended with all that it had started; it said: begun"
    )


def test_what_is_known_to_be_missing_is_said_before_anything_is_claimed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_TOKEN", raising=False)
    lab = bench(
        {
            "a": {"after": "move", "command": ["no-such-program"]},
            "b": sh("true", after="move", environment={"TOKEN": "env:NO_SUCH_TOKEN"}),
            "c": {"after": "move", "command": ["no-such-program"], "onError": "continue"},
        }
    )
    before = lab.decide("west")
    with pytest.raises(Refused) as raised:
        lab.move("west")
    assert raised.value.reasons == (
        "plan shop: callout a: there is no program no-such-program on this machine; mend that, or give the callout onError: continue",
        "plan shop: callout b, environment.TOKEN: environment variable NO_SUCH_TOKEN is not set; set it, or correct the reference; mend that, "
        "or give the callout onError: continue",
        "nothing was claimed",
    )
    assert (before.warnings, before.refused) == (raised.value.reasons[:-1], ()), "who only looks is told as well"
    assert lab.decide().warnings == (), "where nothing moves, nobody needs them"
    assert lab.view().claim is None
    assert len(lab.view().history) == 1


def test_a_vm_that_did_not_start_is_not_told_of(bench: Bench, log: Path) -> None:
    lab = bench({"a": tell(log, after={"vm": "db"}, onError="continue")}, on_failure="continue")
    with failing("start:db"):
        outcome = lab.move("west")
    assert said(log) == []
    assert any("callout a was not run: start:db: a fault of the test" in line for line in outcome.warnings)


# -- secrets ----------------------------------------------------------------------------------------


def test_no_secret_is_seen_anywhere(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNS_TOKEN", "hunter2hunter2")
    (tmp_path / "secret").write_text("s3cret-of-a-file\n", encoding="utf-8")
    given = {"A": "env:DNS_TOKEN", "B": f"file:{tmp_path / 'secret'}", "C": {"value": "{{ to_site }}"}}
    lab = bench(
        {
            "a": sh("echo $A $B $C; exit 1", before="commit", environment=given, onError="continue", retries=1, retryDelay="0s"),
            "b": sh("echo $A $B $C", after="commit", environment=given),
            "c": sh("echo $A >&2; exit 1", after="move", environment=given),
        }
    )  # fmt: skip
    outcome = lab.move("west")
    assert step(outcome, "callout:b")["output"] == "*** *** west"
    journal = Path(str(outcome.journal)).read_text(encoding="utf-8")
    assert "*** *** west" in journal
    stored = [text for state in lab.view().seen.arrays.values() for text in getattr(state, "records", {}).values()]
    everything = json.dumps([outcome.document(), lab.status(), lab.lines, journal, stored, str(lab.decide())])
    assert "***" in everything
    assert not re.search("hunter2|s3cret", everything)


# -- killed, resumed, stopped -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "when", "wanted"),
    [
        ("callout:b", "before", ["a", "b", "c"]),
        ("callout:b", "after", ["a", "b", "c"]),
        ("commit", "after", ["a", "b", "c"]),
        ("start:web", "after", ["a", "b", "c"]),
    ],
)
def test_what_succeeded_is_not_run_again_by_the_next_run(
    bench: Bench, log: Path, at: str, when: Any, wanted: list[str]
) -> None:
    lab = bench({"a": tell(log, before="move"), "b": tell(log, before="commit"), "c": tell(log, after="move")})
    assert killed_at(lambda: lab.move("west"), at, when)
    outcome = lab.move("west")
    assert outcome.failures == ()
    assert [line.split()[0] for line in said(log)] == wanted
    assert lab.decide().actions == ()


def test_one_that_was_under_way_is_run_again(bench: Bench, log: Path) -> None:
    """It ends the run that runs it, as by a loss of power."""
    parent = "ps -o ppid= -p $PPID | tr -d ' '"  # the supervisor is the command's parent, and dr the supervisor's
    lab = bench({"a": sh(f"echo a >> {log}; test $(wc -l < {log}) -gt 1 || kill -9 $({parent})", before="commit")})
    assert killed_at(lambda: lab.move("west"), "no such action", "before")
    assert lab.move("west").failures == ()
    assert said(log) == ["a", "a"]


def test_a_request_to_stop_lets_it_end_and_tries_no_more(bench: Bench, tmp_path: Path) -> None:
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    os.mkfifo(begun)
    os.mkfifo(gate)
    lab = bench(
        {
            "a": sh(
                f"echo > {begun}; read gate < {gate}; exit 1", before="stop", retries=5, retryDelay="10m", timeout="1m"
            )
        }
    )
    failed: list[BaseException] = []

    def move() -> None:
        try:
            lab.move("west")
        except Stopped as error:
            failed.append(error)

    runner = threading.Thread(target=move)
    runner.start()
    begun.read_text(encoding="utf-8")
    stopping.request("Ctrl-C")
    gate.write_text("go on\n", encoding="utf-8")
    try:
        runner.join(60)
    finally:
        stopping.clear()
    assert "stopped at a safe action (Ctrl-C; callout a: it ended with exit status 1)" in str(failed[0])
    assert "run again to finish it, or dr abort shop" in str(failed[0])


def test_estimates_know_each_callout_by_itself(bench: Bench) -> None:
    lab = bench({"a": sh("true", before="move"), "b": sh("sleep 0.4", before="move")})
    lab.move("west")
    actions = [action for action in lab.decide("east").actions if action.verb == "callout"]
    quick, slow = (estimate("shop-test", "shop", [action]) or 0.0 for action in actions)
    assert slow >= 0.4 > 0.0
    assert slow > quick


# -- prompts ----------------------------------------------------------------------------------------


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


def test_an_array_that_cannot_write_down_how_far_they_are_ends_no_move(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = bench({"a": sh("true", before="move")})
    write_all = Run.write_all

    def faulty(run: Run, key: str, text: str | None, **where: Any) -> None:
        write_all(run, key, text, **where)
        if "/callouts/" in key:
            raise DeviceFault("array east-a: a fault of the test")

    monkeypatch.setattr(Run, "write_all", faulty)
    outcome = lab.move("west")
    assert outcome.failures == ()
    assert "how far callouts and prompts are is on record nowhere: array east-a: a fault of the test" in outcome.remarks


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


# -- drills -----------------------------------------------------------------------------------------

OWNER = Owner("shop-test", "", "i1")


def test_a_drill_runs_those_that_name_it(bench: Bench, log: Path) -> None:
    lab = bench(
        {
            "move": tell(log, after="move"),
            "drill": tell(log, after={"tier": 1}, kinds=["planned", "drill"]),
            "where": sh("echo {{ drill }} {{ to_site }} {{ vm.nics[0].bridge }}", before={"vm": "db"}, kinds=["drill"]),
        }
    )
    outcome = start_drill(lab.world(), "shop", "west", "d1", OWNER)
    assert outcome.failures == ()
    assert [line.split()[:4] for line in said(log)] == [["drill", "drill", "east", "west"]]
    (where,) = [step for step in outcome.steps if "run callout where" in str(step["sentence"])]
    assert where["output"] == "d1 west br-isolated"
    end_drill(lab.world(), "shop", "d1")
    assert lab.decide().actions == ()


@pytest.mark.parametrize(("on_error", "failures", "up"), [("continue", 0, 3), ("stop", 3, 1)])
def test_a_callout_that_fails_in_a_drill(bench: Bench, on_error: str, failures: int, up: int) -> None:
    lab = bench({"bad": sh("echo why; exit 1", after={"tier": 1}, kinds=["drill"], onError=on_error)})
    outcome = start_drill(lab.world(), "shop", "west", "d1", OWNER)
    assert len(outcome.failures) == failures
    assert any(step["event"] == "failed" and step.get("output") == "why" for step in outcome.steps)
    running = [state for state in vm_states(lab.world().view("shop"), "d1").values() if state["state"] == "running"]
    assert len(running) == up


def test_a_vm_beside_the_running_one_is_no_drill(bench: Bench, log: Path) -> None:
    lab = bench({"a": tell(log, after="start", kinds=["drill"])})
    start_drill(lab.world(), "shop", "west", "d1", OWNER, only="db")
    assert said(log) == []
