"""The commit window: what is left untouched while it is open, the way back, and its end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dr_provider.reconcile.status import plan_status
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.window import left_untouched
from tests.support.situations import (
    ACTIVE,
    LEFT,
    P1,
    P2,
    VMS,
    Point,
    Side,
    answer,
    claim,
    epoch,
    ids,
    minute,
    moved,
    own_tag,
    reserved,
    shop,
    tree,
    verbs,
    view,
    vm_state,
)

GIB = 1 << 30
FINAL = Point(3, kind="final.id-2")
POINTS = (P1, P2, FINAL)
WINDOW = shop(plan={"commitWindow": "1h"})
THREE = shop(sites=("east", "west", "south"), plan={"commitWindow": "1h"})
OPEN = epoch(2, "west", from_site="east", point=FINAL.id, window_until=minute(700))
OVER = replace(OPEN, window_until=minute(599))
CLOSED = replace(OPEN, window_closed=True)
BARE = replace(OPEN, window_until=None)
UNTOUCHED = Side(vms="off", points=POINTS)
RUNS = replace(ACTIVE, points=(*POINTS, Point(1, 2, "west")), changed=4096)
BEFORE = ["reserve", "claim", "stop", "fence", "prove", "commit"]
STARTS = ["attach", "start"]
BACK = ["reverse", "protect"]
TURNED = ["end-window", "demote", "backup", "send", "settle"]
ROLLBACK = claim("east", 3, kind="rollback", id="id-3")


def left(now: Any = OPEN, **situation: Any) -> PlanView:
    """West is active by a planned move; east is as it was left."""
    ours = {"east": UNTOUCHED, "west": RUNS, "epochs": (epoch(), now)}
    return moved(situation.pop("topology", WINDOW), **{**ours, **situation})


DONE: list[tuple[PlanView, dict[str, Any], str, list[str]]] = [
        # while it is open nothing is done to the side that was left
        (left(), {}, "none", []),
        (left(), {"site": "west"}, "none", []),
        (left(west=replace(RUNS, vms={"db": "off", "app": "running", "web": "running"})), {}, "repair", ["attach", "start"]),
        (left(silent=["east"]), {}, "none", []),
        (left(east=replace(UNTOUCHED, mapped=True)), {}, "repair", ["fence"]),
        # it is over: by its time, by the word, or because the plan moves there
        (left(OVER), {}, "repair", TURNED),
        (left(CLOSED), {}, "repair", TURNED[1:]),
        (left(BARE), {}, "repair", TURNED[1:]),
        (left(), {"goal": "commit"}, "repair", TURNED),
        (left(OVER), {"goal": "commit"}, "repair", TURNED),
        (left(OVER, silent=["east"]), {}, "none", []),
        (left(silent=["east"]), {"goal": "commit"}, "repair", ["end-window"]),
        (left(CLOSED, east=replace(LEFT, points=RUNS.points)), {"goal": "commit"}, "none", []),
        (left(BARE, east=replace(LEFT, points=RUNS.points)), {"goal": "commit"}, "none", []),
        (left(epochs=(epoch(),), epochs_at={"west-a": (epoch(), CLOSED), "east-a": (epoch(), OPEN)}), {}, "repair",
         ["record", *TURNED[1:]]),
        # back to it
        (left(), {"goal": "rollback"}, "rollback", [*BEFORE, *STARTS, *BACK]),
        (left(west=replace(RUNS, vms="off")), {"goal": "rollback"}, "rollback", ["reserve", "claim", "prove", "commit", *STARTS, *BACK]),
        (left(east=replace(UNTOUCHED, changed=512)), {"goal": "rollback"}, "rollback", [*BEFORE, *STARTS, *BACK]),
        (left(silent=["west"]), {"goal": "rollback", "word": "2: west is gone"}, "rollback",
         ["reserve", "claim", "prove", "commit", *STARTS]),
        (left(silent=["west-1", "west-2"]), {"goal": "rollback"}, "rollback", ["reserve", "claim", "fence", "prove", "commit", *STARTS, *BACK]),
        (left(silent=["west-a"]), {"goal": "rollback"}, "rollback", ["reserve", "claim", "stop", "prove", "commit", *STARTS]),
        # claimed already: it is finished, whatever the time, or called off
        (left(OVER, claim=ROLLBACK), {"goal": "rollback"}, "rollback", ["reserve", "stop", "fence", "prove", "commit", *STARTS, *BACK]),
        (left(claim=ROLLBACK), {}, "rollback", ["reserve", "stop", "fence", "prove", "commit", *STARTS, *BACK]),
        (left(claim=ROLLBACK, west=replace(RUNS, vms="off")), {"goal": "abort"}, "abort", ["aborting", "withdraw", *STARTS]),
        # committed already: what is left of it
        (view(WINDOW, east=replace(ACTIVE, points=POINTS), west=replace(RUNS, vms="off"),
              epochs=(epoch(), OPEN, epoch(3, kind="rollback", from_site="west"))), {"goal": "rollback"}, "repair",
         ["keep", "demote", "keep", "demote", "backup", "send", "settle"]),
]  # fmt: skip


@pytest.mark.parametrize(("seen", "want", "kind", "wanted"), DONE)
def test_what_is_done(seen: PlanView, want: dict[str, Any], kind: str, wanted: list[str]) -> None:
    decision = answer(seen, **want)
    assert (decision.refused, decision.kind, verbs(decision)) == ((), kind, wanted)


NO_WAY_BACK: list[tuple[PlanView, str]] = [
        (left(OVER), f"its commit window was over at {OVER.window_until}"),
        (left(CLOSED), "its commit window was ended, and what is there was changed since"),
        (left(BARE), "it was committed without a commit window"),
        (left(replace(BARE, kind="disaster")), "it was a move after a disaster"),
        (view(WINDOW), "epoch 1 left no side that it could go back to"),
        (left(silent=["east-a"]), "its array east-a is silent"),
        (left(silent=["east-1", "east-2"]), "no host that it allows there answers"),
        (left(silent=["west"]), "nothing proves that db, app, web no longer run at west"),
        (left(east=replace(UNTOUCHED, at={"vol-1": "absent"})), "volume vol-1 is not at east as one that can be written"),
        (left(east=replace(UNTOUCHED, at={"vol-1": "replica"})), "volume vol-1 is not at east as one that can be written"),
        (left(east=replace(UNTOUCHED, vms="running")), "east may have been written after west took over"),
        (left(hosts={host: [vm_state("other", 1, 64 * GIB)] for host in ("east-1", "east-2")}), "VM db: wanted 1 CPU"),
        (left(claim=claim("east", 3, id="id-3")), "finish it with dr failover shop --to east, or call it off with dr abort shop"),
]  # fmt: skip


@pytest.mark.parametrize(("seen", "said"), NO_WAY_BACK)
def test_why_there_is_no_way_back(seen: PlanView, said: str) -> None:
    decision = answer(seen, goal="rollback")
    assert decision.actions == ()
    assert said in " ".join(decision.refused)


def test_what_others_are_told_while_a_rollback_is_open() -> None:
    seen = left(claim=ROLLBACK)
    assert "a rollback to east is under way" in answer(seen, "west").refused[0]
    assert "finish it with dr rollback shop" in answer(seen, "west").refused[0]
    assert "so no commit window is ended" in answer(seen, goal="commit").refused[0]


@pytest.mark.parametrize("topology", [WINDOW, THREE], ids=["two sites", "three sites"])
def test_a_planned_move_leaves_its_source_alone_and_turns_all_others(topology: Any) -> None:
    decision = answer(view(topology), "west")
    done = tree(decision)
    assert done["commit"].of["window"] == "3600.0"
    assert done["commit"].sentence == "commit epoch 2: plan shop is active at west; east is left as it is for 1h"
    turned = {action.of["site"] for action in decision.actions if action.verb == "reverse"}
    assert turned == ({"south"} if topology is THREE else set())
    assert ("protect" in done) == (topology is THREE)


@pytest.mark.parametrize("silent", [["east"], ["east-a"], ["east-1", "east-2"]])
def test_a_move_after_a_disaster_opens_none(silent: list[str]) -> None:
    decision = answer(view(WINDOW, silent=silent), "west", word="1: power lost at east")
    assert decision.kind == "disaster"
    assert "window" not in tree(decision)["commit"].of


@pytest.mark.parametrize("now", [OPEN, OVER])
def test_a_move_to_that_side_ends_the_window_before_anything_of_it_is_changed(now: Any) -> None:
    decision = answer(left(now), "east")
    done = tree(decision)
    assert decision.refused == ()
    assert done["demote:vol-1"].after == ("end-window",)
    assert ids(decision).index("end-window") < ids(decision).index("claim")
    assert answer(left(CLOSED), "east").actions[0].verb == "demote"


def test_the_other_copies_are_kept_up_meanwhile() -> None:
    """South was away at the move: it is brought in line, and the side that was left is not."""
    behind = Side("replica", points=(P1, P2))
    decision = answer(left(topology=THREE, west=replace(RUNS, points=(*POINTS, Point(1, 2, "west"))), south=behind))
    assert decision.kind == "repair"
    assert {action.of.get("target") for action in decision.actions if action.verb == "send"} == {"south-a"}
    assert [action.of["other"] for action in decision.actions if action.verb == "settle"] == ["south"]


def test_the_order_of_a_rollback() -> None:
    done = tree(answer(left(), goal="rollback"))
    assert done["stop:app"].after[-1] == "stop:web"
    assert done["stop:db"].after[-1] == "stop:app"
    assert "fence:west-a" in done["prove"].after
    assert done["commit"].after == ("prove",)
    assert "window" not in done["commit"].of, "a rollback opens no window of its own"
    assert done["start:app"].after[-1] == "start:db"
    assert done["reverse:vol-1"].last[-1] == "start:web"
    assert done["claim"].of["word"] == ""


def test_the_list_of_actions_changes_only_when_the_window_is_over() -> None:
    nearly, just = replace(OPEN, window_until=minute(600.02)), replace(OPEN, window_until=minute(600))
    assert (left_untouched(left(nearly)), left_untouched(left(just))) == ("east", None)
    assert ids(answer(left(nearly))) == ids(answer(left()))
    assert ids(answer(left(just))) == ids(answer(left(OVER)))


def test_what_the_status_says() -> None:
    status = plan_status(left())
    assert status["window"] == {"until": minute(700), "site": "east", "over": False}
    assert (status["phase"], status["protected"]) == ("steady", False)
    assert any(
        "dr rollback shop goes back to it, dr commit shop ends the window" in line for line in status["warnings"]
    )
    assert not any("dr protect shop brings it back in line" in line for line in status["warnings"])
    assert plan_status(left(OVER))["window"] == {"until": OVER.window_until, "site": "east", "over": True}
    assert any("dr protect shop brings it back in line" in line for line in plan_status(left(OVER))["warnings"])
    assert plan_status(left(CLOSED))["window"] is None


def test_room_that_this_plan_keeps_does_not_stand_in_its_own_way() -> None:
    kept = {"east-1": [reserved(16, 64 * GIB, tag=own_tag(), vm=vm) for vm in VMS[:1]]}
    assert answer(left(reservations=kept), goal="rollback").refused == ()
