"""What the steady state needs: stale sides hold still, VMs run, copies are mirrors again, and the way back is protected."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dr_provider.model import keys
from dr_provider.reconcile.decision import Want
from dr_provider.reconcile.repair import decide_repair
from dr_provider.reconcile.view import PlanView
from tests.support.situations import (
    ABSENT,
    ACTIVE,
    EMPTY,
    LEFT,
    NAME,
    P1,
    P2,
    PLAN,
    REPLICA,
    RETURNED,
    Point,
    Side,
    answer,
    claim,
    epoch,
    ids,
    minute,
    moved,
    shop,
    tree,
    verbs,
    view,
)

OURS = Point(1, 2, "west")
KEPT = ["keep", "demote", "keep", "demote", "backup", "send", "settle"]
OFF = replace(ACTIVE, vms="off")
BY_WORD = (epoch(), epoch(2, "west", kind="disaster", word="1: power lost at east"))
AFTER_COMMIT = replace(RETURNED, last_write=minute(230))


LEFT_TO_DO: list[tuple[PlanView, list[str]]] = [
        (view(), []),
        (view(east=OFF), ["attach", "start"]),
        (view(east=replace(ACTIVE, vms={"db": "running", "app": "failed", "web": "running"})), ["attach", "start"]),
        (view(east=replace(OFF, vms="none")), []),
        (view(west=ABSENT), []),
        (view(west=EMPTY), []),
        (view(silent=["west"]), []),
        (view(cut=True), []),
        (view(unpinned=["west-a"]), ["create-array"]),
        (view(missing=["west-a"]), ["create-array"]),
        (moved(), []),
        (moved(points=(P1, P2)), ["backup", "send", "settle"]),
        (moved(points=(P1, P2), cut=True), []),
        (moved(west=replace(OFF, vms="none", points=(P1, P2, OURS))), ["attach", "start"]),
        (moved(west=replace(OFF, vms="none", points=(P1, P2, OURS)), unmade=["db", "app", "web"]), []),
        (moved(epochs_at={"east-a": [epoch()], "west-a": [epoch(), epoch(2, "west")]}), ["record"]),
        (moved(claim_at={"east-a": claim()}), ["record"]),
        (moved(east=RETURNED), ["fence", *KEPT]),
        (moved(east=replace(RETURNED, mapped=False)), KEPT),
        (moved(east=Side(vms="off", points=(P1, P2))), ["demote", "backup", "send", "settle"]),
        (moved(east=Side("foreign", vms="off")), ["keep", "clear", "keep", "clear", "backup", "send", "settle"]),
        (moved(east=ABSENT), ["backup", "send", "settle"]),
        (moved(east=replace(RETURNED, mapped=False, at={"vol-2": "replica"})), ["keep", "demote", "backup", "send", "settle"]),
        (moved(east=AFTER_COMMIT), ["split", "fence"]),
        (moved(east=replace(RETURNED, vms="running")), ["split", "stop", "fence"]),
        (moved(east=replace(RETURNED, vms="running", mapped=False)), ["stop", *KEPT]),
        (moved(east=replace(RETURNED, vms="running", mapped=("db",)), twice=["db"]), ["split", "stop", "fence", "evict"]),
        (moved(east=replace(RETURNED, vms="running"), silent=["east-a"], epochs=BY_WORD), ["split", "stop"]),
        (moved(east=replace(RETURNED, vms="running"), silent=["west-a"]), ["split", "stop", "fence"]),
        (moved(east=replace(RETURNED, mapped=False), cut=True), []),
        (moved(east=RETURNED, west=replace(ACTIVE, at={"vol-1": "absent"})), ["fence"]),
]  # fmt: skip


@pytest.mark.parametrize(("seen", "wanted"), LEFT_TO_DO)
def test_what_is_left_to_do(seen: PlanView, wanted: list[str]) -> None:
    decision = answer(seen)
    assert (decision.refused, verbs(decision)) == ((), wanted)
    assert decision.kind == ("repair" if wanted else "none")


def test_a_stale_side_is_put_on_record_then_stopped_then_fenced() -> None:
    steps = tree(answer(moved(east=replace(RETURNED, vms="running"))))
    evidence = steps["split:east"].of["evidence"].split("\n")
    assert evidence[0] == "VM db was seen running on east-1 at east after epoch 2 had been committed at west"
    assert len(evidence) == 3
    assert steps["stop:db@east"].after == ("split:east",)
    assert not steps["stop:db@east"].needed
    assert set(steps["fence:east-a"].last) == {"stop:db@east", "stop:app@east", "stop:web@east"}


def test_a_write_after_the_commit_is_evidence_with_its_time() -> None:
    evidence = tree(answer(moved(east=AFTER_COMMIT)))["split:east"].of["evidence"]
    assert f"volume vol-1 on east-a was written at {minute(230)}, after epoch 2 had been committed at west" in evidence


def test_a_vm_on_two_hosts_of_a_stale_side_is_stopped_on_both() -> None:
    steps = tree(answer(moved(east=replace(RETURNED, vms="running"), twice=["db"])))
    assert {steps[i].of["host"] for i in ("stop:db@east", "stop:db@east#2")} == {"east-1", "east-2"}


def test_a_vm_that_left_the_topology_meanwhile_is_stopped_there_too() -> None:
    full = moved(east=replace(RETURNED, vms="running"))
    seen = replace(moved(shop(vms=2), east=replace(RETURNED, vms="running")), places=full.places)
    assert "stop:web@east" in ids(answer(seen))


def test_what_the_old_side_alone_holds_is_kept_before_it_is_a_destination_again() -> None:
    steps = tree(answer(moved(east=replace(RETURNED, mapped=False))))
    assert steps["keep:vol-1"].of["name"] == "vol-1.safety.e2"
    assert steps["demote:vol-1"].after == ("keep:vol-1",)
    assert steps["demote:vol-1"].of["snapshot"] == P2.id
    assert set(steps["backup"].after) == {"demote:vol-1", "demote:vol-2"}
    assert steps["send:vol-1"].of == {"volume": "vol-1", "source": "west-a", "target": "east-a"}
    assert not steps["backup"].needed


def test_starts_wait_for_the_stale_side_to_hold_still_and_copies_for_the_starts() -> None:
    seen = moved(east=replace(RETURNED, vms="running", mapped=False), west=replace(OFF, points=(P1, P2, OURS)))
    steps = tree(answer(seen))
    assert set(steps["attach:db"].last) == {"stop:db@east", "stop:app@east", "stop:web@east"}
    assert steps["backup"].last == ("start:db", "start:app", "start:web")


def test_records_come_before_everything() -> None:
    behind = {"east-a": [epoch()], "west-a": [epoch(), epoch(2, "west")]}
    steps = tree(answer(moved(east=RETURNED, epochs_at=behind, claim_at={"east-a": claim()})))
    assert steps["record"].of["arrays"] == "east-a"
    assert steps["fence:east-a"].after == ("record",)


def test_a_cut_link_is_a_warning() -> None:
    decision = answer(moved(east=replace(RETURNED, mapped=False), cut=True))
    assert decision.warnings == (
        "east: the link between the arrays of vol-1, vol-2 is cut, so west is not protected there until it is back",
    )


def test_silence_is_a_warning_that_says_what_it_means() -> None:
    assert answer(view(silent=["west-a"])).warnings == (
        "west: west-a gave no answer (so the plan is not protected there)",
    )
    assert answer(view(silent=["east-1"])).warnings == ("east: east-1 gave no answer (where the plan is active)",)


def test_a_volume_that_is_lost_is_not_made_anew() -> None:
    decision = answer(view(east=replace(ACTIVE, at={"vol-2": "absent"})))
    assert decision.actions == ()
    assert decision.warnings == (
        "volume vol-2: it is lost at east (not on east-a) while west holds a copy; it is not made anew",
    )
    assert answer(view(east=replace(ACTIVE, at={"vol-2": "absent"}), west=replace(REPLICA, points=()))).warnings == ()


NOT_STARTED: list[tuple[PlanView, str]] = [
        (view(east=replace(ACTIVE, vms={"app": "running", "web": "running"}), silent=["east-1"]),
         "VM db: not seen at east, and east-1 is silent; it may run there"),
        (view(east=replace(ACTIVE, vms={"db": "off"}), silent=["east-a", "east-2"]),
         "VM db: it does not run, and array east-a with its disk root is silent"),
        (view(east=replace(ACTIVE, vms={"db": "off"}, at={"vol-1": "absent"})),
         "VM db: it does not run, and volume vol-1 with its disk root is not on east-a"),
        (moved(west=replace(OFF, no_luns=("db.root",), points=(P1, P2, OURS))),
         "VM db: its disk root is not in volume vol-1 at west (added after the recovery point); `up` makes it"),
        (view(shop(memory="2GiB", host_memory="4GiB"), east=OFF, silent=["east-2"]),
         "VM app: not seen at east, and east-2 is silent; it may run there"),
]  # fmt: skip


@pytest.mark.parametrize(("seen", "sentence"), NOT_STARTED)
def test_a_vm_that_cannot_be_started_is_degraded_with_the_reason(seen: PlanView, sentence: str) -> None:
    assert any(said.startswith(sentence) for said in answer(seen).degraded)


def test_only_what_does_not_run_is_started() -> None:
    decision = answer(view(east=replace(ACTIVE, vms={"db": "running", "app": "off", "web": "running"})))
    assert ids(decision) == ["attach:app", "start:app"]
    assert tree(decision)["start:app"].after == ("attach:app",)


# -- starting asks, running does not ----------------------------------------------------------------


ASKED: list[tuple[PlanView, dict[str, Any], bool]] = [
        (view(east=OFF), {}, True),
        (view(east=OFF, silent=["west-1", "west-2"]), {}, True),
        (view(east=OFF, silent=["west-a"]), {}, False),
        (view(east=OFF, missing=["west-a"]), {}, True),
        (view(east=OFF, silent=["west"]), {"word": "1: west is off, by phone"}, True),
        (view(east=OFF, silent=["west"]), {"word": "2: another time"}, False),
        (moved(west=replace(OFF, points=(P1, P2)), silent=["east"]), {}, False),
        (moved(west=replace(OFF, points=(P1, P2)), silent=["east"], epochs=BY_WORD), {}, True),
        (moved(west=replace(OFF, points=(P1, P2, OURS)), silent=["east"], epochs=BY_WORD), {}, False),
        (moved(west=replace(ACTIVE, vms={"db": "running", "web": "off"}, points=(P1, OURS)), silent=["east"], epochs=BY_WORD), {}, True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "want", "started"),
    ASKED,
    ids=["all answer", "the array is enough", "nobody to ask", "never made", "the word", "a past word", "planned, and then dark",
         "a disaster's end", "in service since", "the rest of a disaster"],
)  # fmt: skip
def test_a_vm_is_started_only_where_nobody_else_can_have_taken_over(
    seen: PlanView, want: dict[str, Any], started: bool
) -> None:
    decision = answer(seen, **want)
    assert ("start" in verbs(decision)) is started
    if not started:
        assert "another side might have taken over and cannot be asked" in decision.degraded[0]
        assert "give your word" in decision.degraded[0]
    assert "ignored" not in "".join(decision.notes) or want == {"word": "2: another time"}


def test_what_runs_at_a_side_that_cannot_be_asked_goes_on() -> None:
    """East came back with epoch 1, the hosts at west answer and its array does not: west may well have taken over."""
    decision = answer(view(east=OFF, west=replace(ACTIVE, vms="running"), silent=["west-a"]))
    assert decision.actions == ()
    assert (
        "VM db runs on west-1 at west, which may have taken over and cannot be asked; it is left running"
        in decision.warnings
    )


def test_what_runs_goes_on_running_without_anyone_to_ask() -> None:
    decision = answer(view(silent=["west"]))
    assert (decision.kind, decision.degraded) == ("none", ())


def test_a_point_is_for_a_move_only() -> None:
    decision = decide_repair(view(), Want(site="east", point=P1.id))
    assert decision.notes == ("plan shop: a recovery point applies to a move only, and the plan is at east already",)


def test_a_left_side_with_another_plans_record_is_not_touched() -> None:
    other = {keys.claim_key(NAME, f"{PLAN}-2"): "{"}
    assert answer(moved(east=replace(LEFT, points=(P1, P2, OURS)), records={"east-a": other})).kind == "none"
