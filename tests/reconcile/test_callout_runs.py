"""Callouts as a move runs them: on embedded arrays, with real child processes."""

from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model import stopping
from dr_provider.model.errors import DeviceFault, MoveFailed, Refused, Stopped
from dr_provider.model.records import Owner
from dr_provider.reconcile.context import Run
from dr_provider.reconcile.drills.begin import start_drill
from dr_provider.reconcile.drills.end import end_drill
from dr_provider.reconcile.drills.parts import vm_states
from dr_provider.reconcile.journal import estimate
from tests.reconcile.hooked import Bench, sh, step
from tests.support.kills import failing, killed_at, watched


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def tell(log: Path, **keys: Any) -> dict[str, Any]:
    """A callout that writes its name, and what it knows, into the file."""
    return sh(f"echo $DR_CALLOUT $DR_KIND $DR_FROM $DR_TO $DR_EPOCH $DR_POINT >> {log}", **keys)


def said(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8").splitlines() if log.exists() else []


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
