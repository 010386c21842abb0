"""What is known, and what is wanted -> the kind, the actions in order, or the sentence why not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dr_provider.model.errors import BadInput
from dr_provider.reconcile.view import PlanView
from tests.support.situations import (
    ABSENT,
    ACTIVE,
    EMPTY,
    LEFT,
    P1,
    P2,
    REPLICA,
    RETURNED,
    VMS,
    Point,
    Side,
    answer,
    claim,
    declared,
    drill,
    epoch,
    ids,
    minute,
    moved,
    shop,
    split,
    tree,
    verbs,
    view,
)

WORD = "1: power lost at east"
OFF = replace(ACTIVE, vms="off", mapped=True)
NONE_RUN = replace(ACTIVE, vms="off")
FINAL = Point(3, kind="final.id-2")
HOSTS = ["east-1", "east-2"]
STARTS = ["commit", "attach", "start"]
SCAN = ["online", "rescan", "scan"]
BACK = ["reverse", "protect"]
BRING = ["final", "bring", "choose", "break"]


# fmt: off
DONE: list[tuple[PlanView, dict[str, Any], str, list[str]]] = [
        (view(), {}, "none", []),
        (view(), {"site": "east"}, "none", []),
        (view(east=replace(ACTIVE, mapped=("app",))), {}, "repair", ["export"]),
        (view(east=replace(ACTIVE, mapped=False), silent=["west"]), {}, "none", []),
        (view(), {"site": "west"}, "planned",
         ["reserve", "claim", "stop", "fence", "prove", *BRING, *SCAN, *STARTS, *BACK]),
        (view(east=NONE_RUN), {"site": "west"}, "planned", ["reserve", "claim", "prove", *BRING, *SCAN, *STARTS, *BACK]),
        (view(east=OFF), {"site": "west"}, "planned", ["reserve", "claim", "fence", "prove", *BRING, *SCAN, *STARTS, *BACK]),
        (view(silent=["east"]), {"site": "west", "word": WORD}, "disaster",
         ["reserve", "claim", "prove", "break", *SCAN, *STARTS]),
        (view(east=OFF, silent=HOSTS), {"site": "west"}, "disaster",
         ["reserve", "claim", "fence", "prove", *BRING, *SCAN, *STARTS, *BACK]),
        (view(silent=["east-a"]), {"site": "west"}, "disaster",
         ["reserve", "claim", "stop", "prove", "break", *SCAN, *STARTS]),
        (view(cut=True), {"site": "west", "word": WORD}, "disaster",
         ["reserve", "claim", "stop", "fence", "prove", "break", *SCAN, *STARTS]),
        (view(), {"site": "west", "point": P1.id}, "planned",
         ["reserve", "claim", "stop", "fence", "prove", "keep", "break", "keep", "break", *SCAN, *STARTS, *BACK]),
        (moved(), {"site": "east"}, "planned",
         ["reserve", "claim", "stop", "fence", "prove", *BRING, *SCAN, *STARTS, *BACK]),
        (moved(east=replace(RETURNED, mapped=False)), {"site": "east"}, "planned",
         ["keep", "demote", "keep", "demote", "backup", "send", "settle", "reserve", "claim", "stop", "fence", "prove", *BRING, *SCAN,
          *STARTS, *BACK]),
        (moved(east=RETURNED, silent=["west-a"]), {"site": "east"}, "disaster",
         ["fence", "keep", "demote", "keep", "demote", "reserve", "claim", "stop", "prove", "break", *SCAN, *STARTS]),
        (moved(east=Side(vms="off"), cut=True), {"site": "east", "word": "2: link down"}, "disaster",
         ["demote", "reserve", "claim", "stop", "fence", "prove", "break", *SCAN, *STARTS]),
        (view(epochs=[], west=EMPTY), {}, "create", ["create-array", "found"]),
        (view(epochs=[], missing=["west"]), {"site": "east"}, "create", ["create-array", "create-host", "found"]),
        # a claim is open: what is left of the move
        (view(claim=claim()), {}, "planned", ["reserve", "stop", "fence", "prove", *BRING, *SCAN, *STARTS, *BACK]),
        (view(claim=claim(), east=replace(NONE_RUN, points=(P1, P2, FINAL))), {}, "planned",
         ["reserve", "prove", "bring", "choose", "break", *SCAN, *STARTS, *BACK]),
        (view(claim=claim(), east=replace(NONE_RUN, points=(P1, P2, FINAL)), west=replace(REPLICA, points=(P1, P2, FINAL))), {},
         "planned", ["reserve", "prove", "choose", "break", *SCAN, *STARTS, *BACK]),
        (view(claim=claim(), silent=["east"], west=replace(REPLICA, points=(P1, P2, FINAL))), {"word": WORD}, "disaster",
         ["reserve", "prove", "choose", "break", *SCAN, *STARTS]),
        (view(claim=claim(), silent=["east"]), {"word": WORD}, "disaster", ["reserve", "prove", "break", *SCAN, *STARTS]),
        (view(claim=claim(point=P2.id, word=WORD), silent=["east"]), {"site": "west"}, "disaster",
         ["reserve", "prove", "break", *SCAN, *STARTS]),
        (view(claim=claim(point=P2.id, proof=VMS), silent=["east"], west=replace(REPLICA, at={"vol-1": "writable"})), {}, "disaster",
         ["reserve", "break", *SCAN, *STARTS]),
        (view(claim=claim(point=P2.id, proof=VMS), silent=["east"], west=Side()), {}, "disaster", ["reserve", *SCAN, *STARTS]),
        (view(claim=claim(), silent=["east"], west=Side()), {"word": WORD}, "disaster", ["reserve", "prove", "break", *SCAN, *STARTS]),
        (view(claim=claim(aborting=True, point=P2.id), east=NONE_RUN, west=Side()), {"site": "west"}, "abort",
         ["remirror", "withdraw", "attach", "start"]),
        # beside the move
        (view(claim=claim(), east=NONE_RUN), {"goal": "abort"}, "abort", ["aborting", "withdraw", "attach", "start"]),
        (moved(split=split(), east=replace(RETURNED, vms="running")), {"goal": "resolve", "site": "east"}, "resolve",
         ["claim", "stop", "fence", "prove", "commit", "keep", "demote", "keep", "demote", "backup", "send", "settle"]),
        (moved(claim=claim("west", 3, kind="resolve"), east=replace(RETURNED, mapped=False)), {"site": "west"}, "resolve",
         ["prove", "commit", "keep", "demote", "keep", "demote", "backup", "send", "settle"]),
]
# fmt: on


@pytest.mark.parametrize(("seen", "want", "kind", "wanted"), DONE)
def test_what_is_done(seen: PlanView, want: dict[str, Any], kind: str, wanted: list[str]) -> None:
    decision = answer(seen, **want)
    assert (decision.refused, decision.kind, verbs(decision)) == ((), kind, wanted)


# fmt: off
WHY_NOT: list[tuple[PlanView, dict[str, Any], list[str]]] = [
        (view(silent=["east"]), {"site": "west"},
         ["nothing proves that db, app, web no longer run at east", "east-a gave no answer", "silence proves nothing",
          'dr:force: {shop: "1: <reason>"}', '--force "1: <reason>"']),
        (view(silent=["east"]), {"site": "west", "word": "7: of another time"}, ["silence proves nothing"]),
        (view(cut=True), {"site": "west"},
         ["east is well but vol-1, vol-2 cannot be sent to west (the link between the arrays is cut)", "give your word"]),
        (view(silent=["west-a"]), {"site": "west"}, ["cannot move to west: its array west-a is silent (west-a gave no answer)"]),
        (view(silent=["west-1", "west-2"]), {"site": "west"}, ["no host that it allows there answers (west-1, west-2)"]),
        (view(silent=["east-a"], west=replace(REPLICA, points=())), {"site": "west"},
         ["no recovery point is whole at west, and east cannot send one now"]),
        (view(silent=["east-a"], west=replace(REPLICA, points=(replace(P1, unsealed=("vol-1",)), replace(P2, lacking=("vol-2",))))),
         {"site": "west"}, ["no recovery point is whole at west"]),
        (moved(silent=["west-2"], cut=False, west=replace(ACTIVE, at={"vol-1": "absent"}), east=Side(points=())), {"site": "east"},
         ["no recovery point is whole at east"]),
        (view(split=split("west", "east")), {"site": "west"},
         ["plan shop is split: west and east have both written since e1-s2-0102", "dr resolve shop --keep SITE"]),
        (view(split=split(fork=None)), {}, ["since their fork"]),
        (view(epochs_at={"east-a": [epoch(2, "east", id="a")], "west-a": [epoch(2, "west", id="b")]}), {}, ["plan shop is split: east and west"]),
        (moved(east=replace(RETURNED, vms="running")), {"site": "east"},
         ["east may have been written after west took over", "run dr protect shop to put that on record", "dr resolve shop --keep SITE"]),
        (moved(east=replace(RETURNED, last_write=minute(230))), {"site": "east"}, ["east may have been written after west took over"]),
        (view(claim=claim()), {"site": "east"},
         ["a move to west is under way (epoch 2", "dr failover shop --to west", "dr abort shop"]),
        (view(claim=claim(proof=VMS), silent=["east"]), {},
         ["the last transfer from east did not end and east is silent now", "give your word"]),
        (view(claim=claim(point=P2.id), silent=["east"]), {}, ["silence proves nothing"]),
        (view(epochs=[]), {"site": "west"}, ["plan shop is not made yet, and is made at its home east first: run dr apply", "set dr:activeSites.shop to east"]),
        (view(epochs=[], silent=["west-a"]), {}, ["it is not made while one of its arrays is silent (it may know better): west-a"]),
        (view(silent=["east", "west"]), {}, ["none of its arrays answers, so nothing is known of it: east-a gave no answer; west-a"]),
        (view(), {"goal": "abort"}, ["no move is under way", "it is active at east since epoch 1"]),
        (view(epochs=[]), {"goal": "abort"}, ["there is nothing to call off (it was never made)"]),
        (view(), {"goal": "resolve", "site": "east"}, ["plan shop is not split"]),
        (view(epochs=[]), {"goal": "resolve", "site": "east"}, ["plan shop is not split"]),
        (moved(split=split(), claim=claim("east", 3)), {"goal": "resolve", "site": "west"},
         ["a move to east is under way (epoch 3, by dr (operator))", "dr abort shop"]),
        (moved(split=split(), silent=["west-a"]), {"goal": "resolve", "site": "west"}, ["plan shop: west-a gave no answer"]),
        (moved(split=split()), {"goal": "resolve", "site": "east"}, ["volume vol-1 is not at east as one that can be written"]),
        (moved(split=split(), silent=["east"]), {"goal": "resolve", "site": "west"},
         ["nothing proves that db, app, web does not run at east", '--force "2: <reason>"']),
]
# fmt: on


@pytest.mark.parametrize(("seen", "want", "said"), WHY_NOT)
def test_why_not(seen: PlanView, want: dict[str, Any], said: list[str]) -> None:
    decision = answer(seen, **want)
    assert decision.actions == ()
    for part in said:
        assert part in "\n".join(decision.refused)


@pytest.mark.parametrize(
    ("want", "message"),
    [
        ({"word": "because"}, "wanted 'EPOCH: REASON'"),
        ({"site": "west", "point": "nonsense"}, "recovery point 'nonsense': there is none of that name at west"),
        ({"site": "west", "point": minute(50)}, "no whole point at west is that old"),
        ({"goal": "resolve", "site": "north"}, r"wanted one of its sites to keep \(east, west\), found 'north'"),
        ({"goal": "resolve"}, "found None"),
    ],
)
def test_what_is_the_users_fault(want: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        answer(view(split=split() if want.get("goal") else None), **want)


# -- the order of a move ------------------------------------------------------------------------


def test_a_planned_move_in_full() -> None:
    decision = answer(view(), "west")
    steps = tree(decision)
    assert ids(decision) == [
        "reserve", "claim", "stop:web", "stop:app", "stop:db", "fence:east-a", "prove", "final", "bring:vol-1", "bring:vol-2",
        "choose", "break:vol-1", "break:vol-2", "online:vol-1", "online:vol-2", "rescan:west-1", "rescan:west-2", "scan", "commit",
        "attach:db", "attach:app", "attach:web", "start:db", "start:app", "start:web", "reverse:vol-1", "reverse:vol-2", "protect",
    ]  # fmt: skip
    assert steps["stop:db"].after == ("claim", "stop:app"), "stopped in reverse tier order"
    assert steps["start:web"].after == ("attach:web", "start:app")
    assert steps["reverse:vol-1"].last == ("start:db", "start:app", "start:web"), (
        "the way back waits for the VMs, well or not"
    )
    assert [a.id for a in decision.actions if not a.needed] == ["reverse:vol-1", "reverse:vol-2", "protect"]
    assert steps["reserve"].of["hosts"] == "app=west-1;db=west-2;web=west-1"
    assert (decision.from_site, decision.to_site, decision.authority, decision.point) == ("east", "west", "east", None)
    assert decision.loss.seconds == 0.0


def test_tiers_that_name_what_they_wait_for() -> None:
    def change(document: dict[str, Any]) -> None:
        document["plans"]["shop"]["tiers"][2]["after"] = ["db"]

    steps = tree(answer(view(shop(change)), "west"))
    assert steps["start:web"].after == ("attach:web", "start:db")
    assert steps["stop:db"].after == ("claim", "stop:app", "stop:web")
    assert steps["stop:app"].after == ("claim",)


def test_a_tier_that_may_fail_holds_nobody_up() -> None:
    steps = tree(answer(view(shop(on_failure="continue")), "west"))
    assert not steps["start:db"].needed
    assert tree(answer(view(), "west"))["start:db"].needed


def test_in_a_disaster_what_answers_of_the_source_is_best_effort() -> None:
    steps = tree(answer(view(silent=["east-a"]), "west"))
    assert not steps["stop:db"].needed
    assert steps["prove"].needed


def test_the_point_and_the_loss_are_stated() -> None:
    decision = answer(view(silent=["east"]), "west", word=WORD)
    assert decision.point == P2.id
    assert decision.loss.seconds == (600 - 102) * 60
    assert f"what was written at east after {P2.id}" in decision.loss.statement
    assert decision.warnings == (
        "east: east-a gave no answer",
        "east: east-1 gave no answer",
        "east: east-2 gave no answer",
    )


@pytest.mark.parametrize(
    ("seen", "zero"),
    [
        (view(claim=claim(point=FINAL.id), silent=["east"], west=replace(REPLICA, points=(P1, FINAL))), True),
        (view(silent=["east"], west=replace(REPLICA, points=(P1, FINAL))), False),
        (view(claim=claim(id="id-9"), silent=["east"], west=replace(REPLICA, points=(P1, FINAL))), False),
    ],
    ids=["this move's", "of a move that was called off", "under another's claim"],
)
def test_only_this_moves_own_final_snapshot_loses_nothing(seen: PlanView, zero: bool) -> None:
    decision = answer(seen, "west", word=WORD)
    assert decision.point == FINAL.id
    assert (decision.loss.seconds == 0.0) is zero


def test_a_claimed_point_that_is_gone_is_not_replaced() -> None:
    decision = answer(view(claim=claim(point="e1-s9-aa", word=WORD), silent=["east"]), "west")
    assert (decision.point, decision.loss.seconds) == (None, None)
    assert verbs(decision)[:3] == ["reserve", "prove", "break"]


def test_what_is_beyond_an_older_point_is_kept_under_a_name_of_its_own() -> None:
    steps = tree(answer(view(), "west", point=P1.id))
    keep = steps["keep:vol-1@west"]
    assert keep.of["name"] == "vol-1.safety.e2.west"
    assert f"beyond {P1.id}" in keep.sentence
    assert steps["break:vol-1"].after == ("keep:vol-1@west",)


def test_a_copy_that_nobody_can_be_asked_about_is_kept_and_levelled_before_the_claim() -> None:
    """The active array is dead, and the side to go to came back with data of its own: it is a destination again before it is broken."""
    steps = tree(answer(moved(east=replace(RETURNED, points=(P1, P2)), silent=["west-a"]), "east", point=P1.id))
    assert steps["keep:vol-1"].of["name"] == "vol-1.safety.e2.east"
    assert steps["keep:vol-1"].after == ("fence:east-a",)
    assert steps["demote:vol-1"].of["snapshot"] == P1.id
    assert set(steps["reserve"].after) >= {"demote:vol-1", "demote:vol-2"}
    assert "keep:vol-1@east" not in steps


def test_vms_that_are_not_in_the_point_are_listed_and_left_out() -> None:
    older = replace(P2, definitions=("db", "app"))
    decision = answer(view(silent=["east"], west=replace(REPLICA, points=(older,))), "west", word=WORD)
    assert any("VM web is in the topology but not in recovery point" in line for line in decision.warnings)
    assert "start:web" not in ids(decision)


def test_no_room_refuses_a_planned_move_and_degrades_a_disaster() -> None:
    tight = shop(memory="2GiB", host_memory="4GiB")
    full = {"silent": ["west-2"]}
    refused = answer(view(tight, **full), "west").refused
    assert refused == ("VM web: wanted 1 CPU and 2 GiB at west, and none of west-1 has that left; silent: west-2",)
    lost = answer(view(tight, silent=["west-2", "east"]), "west", word=WORD)
    assert lost.degraded == refused
    assert [i for i in ids(lost) if i.startswith("start")] == ["start:db", "start:app"]


def test_a_drill_gives_way_only_where_its_room_is_needed() -> None:
    tight = shop(memory="2GiB", host_memory="4GiB")
    drills = {"d1": drill("d1", "db", "app")}
    steps = tree(answer(view(tight, drills=drills), "west"))
    assert steps["reserve"].after == ("end-drill:d1",)
    assert not steps["end-drill:d1"].needed
    assert "end-drill:d1" not in ids(answer(view(drills=drills), "west"))
    assert "end-drill:d1" not in ids(answer(view(tight, drills={"d1": drill("d1", "db", site="east")}), "west"))


# -- intent and word ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declarations", "want", "kind", "said"),
    [
        ({"dr/prod": declared("east")}, {}, "planned", ""),
        (
            {"dr/prod": declared("west")},
            {},
            "none",
            "declares west as before, which moves nothing; set dr:activeSites.shop to east",
        ),
        (
            {"dr/other": declared("east")},
            {},
            "none",
            "for the first time, which moves nothing without the operator's word",
        ),
        ({}, {"word": WORD}, "planned", ""),
        ({}, {"word": "9: of another time"}, "none", "for the first time"),
    ],
)
def test_a_stack_moves_only_what_it_declares_anew(
    declarations: dict[str, Any], want: dict[str, Any], kind: str, said: str
) -> None:
    decision = answer(view(declared=declarations), "west", stack="dr/prod", **want)
    assert (decision.kind, decision.exit_bad, decision.refused) == (kind, bool(said), ())
    if said:
        assert decision.actions == ()
        assert said in decision.warnings[0]
        assert "active at east since epoch 1 by dr (operator)" in decision.warnings[0]


def test_a_declaration_that_is_true_already_needs_nothing() -> None:
    decision = answer(view(), "east", stack="dr/prod")
    assert (decision.kind, decision.exit_bad) == ("none", False)


@pytest.mark.parametrize(
    ("want", "note"),
    [
        ({"word": WORD}, "not needed, and is ignored"),
        ({"word": "3: later"}, "for epoch 3, and the plan is at epoch 1, and is ignored"),
        ({"word": "3: later", "site": "west"}, "for epoch 3"),
        ({"point": P1.id, "site": "east"}, "a recovery point applies to a move only, and the plan is at east already"),
    ],
)
def test_words_that_do_nothing_are_said_to(want: dict[str, Any], note: str) -> None:
    assert note in answer(view(), **want).notes[0]


# -- beside the move ----------------------------------------------------------------------------


def test_a_new_plan_names_what_it_makes() -> None:
    decision = answer(view(epochs=[], missing=["west-a", "west-2"]))
    steps = tree(decision)
    assert steps["create-array:west-a"].sentence == "make array west-a"
    assert steps["create-array:east-a"].sentence == "pin array east-a"
    assert not steps["create-host:west-2"].needed
    assert steps["found"].after == ("create-array:east-a", "create-array:west-a", "create-host:west-2")
    assert (decision.to_site, decision.loss.statement) == ("east", "nothing is lost: the plan is new")


def test_calling_off_leads_back_to_the_source() -> None:
    decision = answer(
        view(claim=claim(point=P2.id), east=NONE_RUN, west=replace(REPLICA, at={"vol-2": "writable"})), goal="abort"
    )
    steps = tree(decision)
    assert ids(decision)[:3] == ["aborting", "remirror:vol-2", "withdraw"]
    assert steps["remirror:vol-2"].of["snapshot"] == P2.id
    assert steps["withdraw"].after == ("aborting", "remirror:vol-2")
    assert steps["attach:db"].after == ("withdraw",)
    assert (decision.to_site, decision.loss.seconds) == ("east", 0.0)


def test_calling_off_with_a_silent_target_says_what_is_left() -> None:
    seen = view(claim=claim(point=P2.id), east=NONE_RUN, silent=["west"])
    refused = answer(seen, goal="abort")
    assert "might have been committed there" in refused.refused[0]
    assert refused.actions == ()
    assert answer(seen, goal="abort", uncommitted=True).refused == (), "the run that failed before its commit knows"
    decision = answer(seen, goal="abort", word="1: west is off, by phone")
    assert "array west-a is silent; vol-1 there is made a destination again when it answers" in decision.warnings
    assert "withdraw" in ids(decision)


def test_calling_off_a_resolve_touches_no_copy() -> None:
    decision = answer(moved(split=split(), claim=claim("east", 3, kind="resolve"), east=RETURNED), goal="abort")
    assert ids(decision) == ["aborting", "withdraw"]


def test_a_split_record_of_before_a_resolve_is_void() -> None:
    ended = replace(split(), epoch=2)
    seen = view(split=ended, epochs=(epoch(), epoch(2, "west"), epoch(3, "east", kind="resolve")))
    assert seen.split is None
    assert view(split=ended, epochs=(epoch(), epoch(2, "west"))).split == ended


def test_another_site_is_refused_while_a_resolve_is_under_way() -> None:
    decision = answer(moved(claim=claim("east", 3, kind="resolve"), east=RETURNED), "west")
    assert "a resolve to east is under way" in decision.refused[0]
    assert "dr resolve shop --keep east" in decision.refused[0]


def test_a_split_that_was_resolved_is_repaired() -> None:
    seen = moved(epochs=(epoch(), epoch(2, "west", kind="resolve")), east=replace(RETURNED, mapped=False))
    decision = answer(seen, "west", goal="resolve")
    assert decision.kind == "repair"
    assert "demote:vol-1" in ids(decision)


def test_the_kept_side_goes_on_and_the_other_is_kept_as_a_copy() -> None:
    decision = answer(moved(split=split(), silent=["east"]), "west", goal="resolve", word="2: east is off, by phone")
    assert (decision.refused, ids(decision)) == ((), ["claim", "prove", "commit"])
    assert "what east wrote stays readable as safety copies" in decision.loss.statement
    assert tree(decision)["commit"].of["site"] == "west"
    assert "the split is ended" in tree(decision)["commit"].sentence


def test_the_document_of_a_decision_has_its_shape() -> None:
    document = answer(view(silent=["east"]), "west").document()
    assert document["kind"] == "disaster"
    assert document["actions"] == []
    assert list(document)[:4] == ["plan", "kind", "from", "to"]


@pytest.mark.parametrize("left", [ABSENT, LEFT])
def test_after_a_move_there_is_nothing_to_do_or_the_way_back_is_made(left: Side) -> None:
    points = (P1, P2, Point(1, 2, "west"))
    decision = answer(moved(east=replace(left, points=points)))
    assert decision.kind == ("none" if left is LEFT else "repair")
