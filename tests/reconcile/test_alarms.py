"""Alarms: what of a status is one, and when each is told."""

from __future__ import annotations

from typing import Any

import pytest

from dr_provider.model.topology import AlertSpec, Topology
from dr_provider.reconcile.alarms import Alarm, Known, advance, alarms_of, due, message_for, settle, unknown_of
from tests.support.situations import minute, shop

# -- what is wrong ----------------------------------------------------------------------------------------

WELL: dict[str, Any] = {"phase": "steady", "activeSite": "east", "degraded": [], "claim": None, "readiness": []}


def item(check: str, level: str = "problem", subject: str = "", found: str = "It is so.") -> dict[str, str]:
    return {"check": check, "level": level, "subject": subject, "found": found, "todo": "Do something."}


def document(silent: dict[str, str] | None = None, **plans: dict[str, Any]) -> dict[str, Any]:
    return {
        "plans": {plan: {**WELL, **status} for plan, status in plans.items()},
        "silent": silent or {},
        "time": minute(60),
    }


@pytest.fixture(scope="module")
def topology() -> Topology:
    return shop()


STANDING = item("standing")
CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "well": ({}, []),
    "lag": ({"readiness": [item("lag", subject="west")]}, ["shop/lag/west problem"]),
    "warnings are no alarms": ({"readiness": [item("spare", "warning", "west")]}, []),
    "but a pool that fills is": ({"readiness": [item("room", "warning", "west-a")]}, ["room/west-a warning"]),
    "a full one": ({"readiness": [item("room", subject="west-a")]}, ["room/west-a problem"]),
    "silence is not known": ({"readiness": [item("lag", "unknown", "west")]}, []),
    "fencing": ({"readiness": [item("fencing")]}, ["shop/fencing problem"]),
    "split": ({"phase": "split", "readiness": [STANDING], "degraded": ["x"]}, ["shop/split problem"]),
    "a move just begun": ({"phase": "moving", "claim": {"since": minute(50)}, "readiness": [STANDING], "degraded": ["x"]}, []),
    "a move that does not end": (
        {"phase": "moving", "claim": {"since": minute(40)}, "readiness": [STANDING]}, ["shop/move problem"],
    ),
    "a question that waits": (
        {"prompts": [{"prompt": "go", "text": "Go?", "until": "t", "default": "stop", "answer": "dr answer shop go", "waits": True}]},
        ["shop/prompt/go problem"],
    ),
    "degraded": ({"phase": "degraded", "degraded": ["VM db is off"]}, ["shop/degraded problem"]),
    "never made": ({"activeSite": None, "degraded": ["never made"], "readiness": [item("made")]}, ["shop/made problem"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_an_alarm(name: str, topology: Topology) -> None:
    status, expected = CASES[name]
    assert [f"{a.key} {a.level}" for a in alarms_of(topology, document(shop=status))] == expected


def test_what_is_of_a_machine_is_one_alarm_for_all_plans(topology: Topology) -> None:
    full = {"readiness": [item("room", subject="west-a")]}
    (alarm,) = alarms_of(topology, document(shop=full, web=full))
    assert alarm.plans == ("shop", "web")


def test_a_dark_site_is_one_alarm(topology: Topology) -> None:
    silent = {"west-1": "host west-1 gives no answer", "west-a": "array west-a gives no answer", "witness": "no"}
    (alarm,) = alarms_of(topology, document(silent, shop={}))
    assert (alarm.key, alarm.level, alarm.plans) == ("silent/west", "warning", ("shop",))
    assert alarm.found == "west: no answer from west-1 and west-a (host west-1 gives no answer)."


@pytest.mark.parametrize(
    ("waits", "found"),
    [
        (True, "It waits for an answer: Go? If nobody has given one by t: stop."),
        (False, "It waits for an answer: Go? No run waits for it now: the next one hears the answer, or asks again."),
    ],
)
def test_a_question_says_whether_a_run_waits(topology: Topology, waits: bool, found: str) -> None:
    (asked,) = CASES["a question that waits"][0]["prompts"]
    (alarm,) = alarms_of(topology, document(shop={"prompts": [{**asked, "waits": waits}]}))
    assert alarm.found == found


def test_many_sentences_are_cut_short(topology: Topology) -> None:
    (alarm,) = alarms_of(topology, document(shop={"degraded": [f"VM {n} is off" for n in range(7)]}))
    assert alarm.found.endswith("VM 3 is off, and 3 more.")


# -- when it is told --------------------------------------------------------------------------------------

SPEC = AlertSpec(("env:A", "env:B"), remind=3600, calm=600)
LAG = Alarm("shop/lag/west", "lag", "problem", ("shop",), "west: it is 20 min behind.", "Run dr protect shop.")
ROOM = Alarm("room/west-a", "room", "warning", ("shop",), "array west-a: 15 GiB are free.")
FULL = Alarm("room/west-a", "room", "problem", ("shop",), "array west-a: 5 GiB are free.")
DARK = frozenset({"shop/lag/west"})

Look = tuple[float, tuple[Alarm, ...], frozenset[str], str]
NONE: frozenset[str] = frozenset()
STORIES: dict[str, list[Look]] = {
    "begins and ends": [
        (0, (LAG,), NONE, "new shop/lag/west"),
        (5, (LAG,), NONE, ""),
        (6, (), NONE, ""),
        (14, (), NONE, ""),
        (15, (), NONE, "over shop/lag/west"),
        (16, (), NONE, ""),
        (30, (LAG,), NONE, "new shop/lag/west"),
    ],
    "comes and goes": [
        (n, (LAG,) if n % 2 == 0 else (), NONE, "new shop/lag/west" if n == 0 else "") for n in range(20)
    ],
    "is told again while it lasts": [
        (0, (LAG,), NONE, "new shop/lag/west"),
        (59, (LAG,), NONE, ""),
        (60, (LAG,), NONE, "still shop/lag/west"),
        (119, (LAG,), NONE, ""),
        (120, (LAG,), NONE, "still shop/lag/west"),
    ],
    "gets worse, and better": [
        (0, (ROOM,), NONE, "new room/west-a"),
        (1, (FULL,), NONE, "new room/west-a"),
        (2, (ROOM,), NONE, ""),
        (3, (FULL,), NONE, ""),
        (20, (ROOM,), NONE, ""),
        (21, (FULL,), NONE, "new room/west-a"),
    ],
    "is not known for a while": [
        (0, (LAG,), NONE, "new shop/lag/west"),
        (5, (), DARK, ""),
        (50, (), DARK, ""),
        (55, (), frozenset({"shop/"}), ""),
        (58, (), NONE, ""),
        (66, (), NONE, "over shop/lag/west"),
    ],
    "what is not known is not new": [(0, (), DARK, ""), (20, (), DARK, "")],
    "two at once, the worse first": [(0, (ROOM, LAG), NONE, "new shop/lag/west, new room/west-a")],
}


@pytest.mark.parametrize("name", STORIES)
def test_when_it_is_told(name: str) -> None:
    known: dict[str, Known] = {}
    for at, alarms, unknown, expected in STORIES[name]:
        now = minute(at)
        known = advance(known, alarms, unknown, now, SPEC)
        told = ", ".join(f"{turn} {each.alarm.key}" for turn, each in due(known, "env:A", now, SPEC))
        assert told == expected, at
        for to in SPEC.notify:
            known = settle(known, to, now, SPEC)
        assert due(known, "env:A", now, SPEC) == [], "told once"


def test_who_could_not_be_reached_is_told_later_and_the_other_not_twice() -> None:
    known = settle(advance({}, (LAG,), NONE, minute(0), SPEC), "env:A", minute(0), SPEC)
    known = advance(known, (LAG,), NONE, minute(5), SPEC)
    assert due(known, "env:A", minute(5), SPEC) == []
    assert [turn for turn, _ in due(known, "env:B", minute(5), SPEC)] == ["new"]
    # It ended before B was reached: B never hears of it, and A does.
    known = advance(advance(known, (), NONE, minute(6), SPEC), (), NONE, minute(20), SPEC)
    assert due(known, "env:B", minute(20), SPEC) == []
    assert [turn for turn, _ in due(known, "env:A", minute(20), SPEC)] == ["over"]
    assert settle(known, "env:A", minute(20), SPEC) == {}
    # It came back before A was told that it was over.
    again = advance(known, (LAG,), NONE, minute(21), SPEC)
    assert [turn for turn, _ in due(again, "env:A", minute(21), SPEC)] == ["new"]


def test_nobody_to_tell_is_remembered_all_the_same() -> None:
    nobody = AlertSpec((), remind=3600, calm=600)
    known = advance(advance({}, (LAG,), NONE, minute(0), nobody), (LAG,), NONE, minute(9), nobody)
    assert known["shop/lag/west"].since == minute(0)
    assert advance(known, (), NONE, minute(30), nobody) == {}


def test_unknown_items(topology: Topology) -> None:
    status = {"readiness": [item("lag", "unknown", "west"), item("room", "unknown", "west-a"), item("clock", "ok")]}
    made = {"readiness": [item("made", "unknown")]}
    assert unknown_of(document(shop=status, web=made)) == {"shop/lag/west", "room/west-a", "web/"}


# -- the message ------------------------------------------------------------------------------------------


def test_the_message_says_what_where_since_when_and_what_to_do() -> None:
    known = settle(advance({}, (LAG,), NONE, minute(0), SPEC), "env:A", minute(0), SPEC)
    known = advance(known, (LAG, ROOM), NONE, minute(75), SPEC)
    message = message_for("shop-test", known, "env:A", minute(75), SPEC)
    assert message is not None
    assert message[0] == "dr, topology shop-test: 1 new, 1 still so"
    assert message[1].split("\n") == [
        "WARNING: Plan shop: array west-a: 15 GiB are free.",
        f"  Since {minute(75)}.",
        "",
        "STILL PROBLEM: Plan shop: west: it is 20 min behind.",
        f"  Since {minute(0)}, 1 h 15 min by now.",
        "  What to do: Run dr protect shop.",
    ]
    assert message_for("shop-test", settle(known, "env:A", minute(75), SPEC), "env:A", minute(75), SPEC) is None


def test_the_message_that_it_is_over() -> None:
    known = settle(advance({}, (LAG,), NONE, minute(0), SPEC), "env:A", minute(0), SPEC)
    known = advance(advance(known, (LAG,), NONE, minute(8), SPEC), (), NONE, minute(20), SPEC)
    message = message_for("shop-test", known, "env:A", minute(20), SPEC)
    assert message == (
        "dr, topology shop-test: 1 over",
        f"OVER: Plan shop: west: it is 20 min behind.\n  It was so for 8 min, until {minute(8)}.",
    )
