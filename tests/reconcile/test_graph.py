"""Actions as a graph: what waits, what is skipped, when it ends, and in which order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dr_provider.model.errors import DrError, LeaseLost, MoveInProgress, Stopped
from dr_provider.reconcile.decision import Action
from dr_provider.reconcile.graph import Event, GraphResult, critical_path, run_graph


def act(name: str, *after: str, last: tuple[str, ...] = (), needed: bool = True) -> Action:
    return Action(name, name, f"do {name}", after, last, needed=needed)


class Ran:
    """A run whose actions named in `failing` fail, with what was told of it."""

    def __init__(
        self,
        *actions: Action,
        failing: tuple[str, ...] = (),
        error: type[DrError] = DrError,
        width: int = 4,
        stop: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.events: list[Event] = []
        self.begun: list[str] = []

        def perform(action: Action) -> str:
            self.begun.append(action.id)
            if action.id in failing:
                raise error(f"{action.id} does not work")
            return f"{action.id} is well"

        self.result: GraphResult = run_graph(actions, perform, width=width, stop=stop, tell=self.events.append)

    def told(self, what: str) -> list[str]:
        return [event.action.id for event in self.events if event.what == what]


def test_everything_is_done_and_each_end_is_told_with_its_remark() -> None:
    ran = Ran(act("a"), act("b", "a"))
    assert ran.result.done == ran.told("done") == ran.told("start") == ["a", "b"]
    assert [event.detail for event in ran.events if event.what == "done"] == ["a is well", "b is well"]
    assert (ran.result.failed, ran.result.skipped, ran.result.fatal) == ({}, {}, None)


def test_nothing_to_do_is_done_at_once() -> None:
    assert Ran().result == GraphResult()


def test_what_waits_for_a_failed_needed_action_is_skipped_down_the_chain_with_the_first_reason() -> None:
    ran = Ran(act("a"), act("b", "a"), act("c", "b"), act("d"), failing=("a",))
    assert ran.result.skipped == {"b": "do a: failed", "c": "do a: failed"}
    assert str(ran.result.failed["a"]) == "a does not work"
    assert ran.result.done == ["d"]
    assert ran.told("skipped") == ["b", "c"]


def test_an_action_that_waits_for_several_is_skipped_once() -> None:
    ran = Ran(act("a"), act("b"), act("c", "a", "b"), failing=("a", "b"), width=1)
    assert ran.told("skipped") == ["c"]


def test_best_effort_that_fails_holds_nobody_up() -> None:
    ran = Ran(act("a", needed=False), act("b", "a"), failing=("a",))
    assert (ran.result.done, ran.result.skipped) == (["b"], {})


def test_best_effort_that_is_skipped_does_not_pass_it_on() -> None:
    ran = Ran(act("a"), act("b", "a", needed=False), act("c", "b"), failing=("a",))
    assert (ran.result.done, set(ran.result.skipped)) == (["c"], {"b"})


def test_last_waits_for_the_end_well_or_not() -> None:
    ran = Ran(act("a"), act("b", "a"), act("c", last=("a", "b")), failing=("a",))
    assert ran.result.done == ["c"]
    assert ran.begun == ["a", "c"]


@pytest.mark.parametrize("error", [LeaseLost, MoveInProgress, Stopped])
def test_a_lost_lease_starts_nothing_more(error: type[DrError]) -> None:
    ran = Ran(act("a"), act("b"), failing=("a",), error=error, width=1)
    assert ran.begun == ["a"]
    assert isinstance(ran.result.fatal, error)
    assert (ran.result.done, ran.result.skipped) == ([], {})


def test_a_request_to_stop_lets_what_runs_end() -> None:
    asked: list[str] = []
    actions = [act("a"), act("b"), act("c", "a")]

    def perform(action: Action) -> str:
        asked.append("Ctrl-C")
        time.sleep(0.05)
        return ""

    result = run_graph(actions, perform, width=2, stop=lambda: asked[0] if asked else None, tell=lambda event: None)
    assert sorted(result.done) == ["a", "b"]
    assert str(result.fatal) == "Ctrl-C"


def test_a_request_to_stop_before_the_first_starts_nothing() -> None:
    ran = Ran(act("a"), stop=lambda: "the engine is gone")
    assert (ran.begun, str(ran.result.fatal)) == ([], "the engine is gone")


def test_a_fault_of_the_program_is_no_failure_of_an_action() -> None:
    def perform(action: Action) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_graph([act("a")], perform, width=1, stop=lambda: None, tell=lambda event: None)


@pytest.mark.parametrize(("width", "most"), [(0, 1), (1, 1), (3, 3), (64, 8)])
def test_no_wider_than_it_may_be(width: int, most: int) -> None:
    lock, running, peak = threading.Lock(), 0, 0
    full = threading.Barrier(most)

    def perform(action: Action) -> str:
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
        if int(action.id) < most:
            full.wait(10)  # they do run side by side
        with lock:
            running -= 1
        return ""

    result = run_graph(
        [act(str(n)) for n in range(8)], perform, width=width, stop=lambda: None, tell=lambda event: None
    )
    assert (len(result.done), peak) == (8, most)


def test_the_longest_chain_goes_first_then_what_is_furthest_then_as_decided() -> None:
    actions = [act("x"), act("y"), act("a"), act("b", "a"), act("c", "b")]
    assert Ran(*actions, width=1).begun == ["a", "b", "c", "x", "y"]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Action], frozenset[str]]:
    actions: list[Action] = []
    for n in range(draw(st.integers(1, 12))):
        before = st.lists(st.sampled_from([a.id for a in actions]), unique=True, max_size=3) if actions else st.just([])
        actions.append(act(f"n{n}", *draw(before), last=tuple(draw(before)), needed=draw(st.booleans())))
    return actions, frozenset(a.id for a in actions if draw(st.integers(0, 3)) == 0)


@given(graphs(), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_every_action_ends_once_and_never_before_what_it_waits_for(
    graph: tuple[list[Action], frozenset[str]], width: int
) -> None:
    actions, bad = graph
    ran = Ran(*actions, failing=tuple(bad), width=width)
    over = [event for event in ran.events if event.what != "start"]
    assert sorted(event.action.id for event in over) == sorted(action.id for action in actions)
    place = {(event.what == "start", event.action.id): n for n, event in enumerate(ran.events)}
    by_id = {action.id: action for action in actions}
    for action in actions:
        if action.id in ran.begun:
            assert all(place[False, other] < place[True, action.id] for other in (*action.after, *action.last))
            assert not any(i in ran.result.failed and by_id[i].needed for i in action.after)
        else:
            assert action.id in ran.result.skipped
    if width == 1:
        assert Ran(*actions, failing=tuple(bad), width=1).begun == ran.begun


def test_the_critical_path_is_the_longest_chain() -> None:
    actions = [act("a"), act("b", "a"), act("c"), act("d", "c", last=("b",))]
    assert critical_path(actions, lambda action: {"c": 5.0}.get(action.id, 1.0)) == 6.0
    assert critical_path([], lambda action: 1.0) == 0.0
