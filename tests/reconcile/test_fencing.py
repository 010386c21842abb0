"""What proves without an operator that a silent source is stopped: the pure part, in tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from dr_provider.model import keys
from dr_provider.model.codec import dump
from dr_provider.model.records import Alive, Grant, Known, WitnessPin
from dr_provider.model.state import Silent, WitnessState
from dr_provider.model.topology import Topology
from dr_provider.reconcile.doctor_fencing import judge_fencing
from dr_provider.reconcile.fencing import MARGIN, TTL, counted, fence_of, witness_vouches
from dr_provider.reconcile.starts import unasked
from dr_provider.reconcile.verdict import judge, something_runs
from dr_provider.reconcile.view import PlanView
from tests.support.situations import (
    ACTIVE,
    NAME,
    P2,
    PLAN,
    RETURNED,
    VMS,
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

WORD = "1: power lost at east"
PLACE = {"driver": "embedded", "path": "witness.db"}


def with_witness(document: dict[str, Any]) -> None:
    document["witness"] = PLACE


LEASE = shop(plan={"fencing": "lease"})
LEASE_AND_WITNESS = shop(with_witness, plan={"fencing": "lease"})
WITNESS = shop(with_witness, plan={"fencing": "witness"})
TOPOLOGIES = {"lease": LEASE, "both": LEASE_AND_WITNESS, "witness": WITNESS}
assert WITNESS.witness is not None
PIN = WitnessPin("w1", WITNESS.witness.place, minute(0))
PINS = {keys.witness_key(NAME): dump(PIN)}


def alive(site: str = "east", **more: Any) -> Alive:
    given: dict[str, Any] = {
        "epoch": 1, "epoch_id": "id-1", "beat": 7, "ttl": TTL, "guard": "g1", "counts": ("west-a",), "time": minute(590),
    }  # fmt: skip
    return Alive(PLAN, site, **{**given, **more})


def beat(record: Alive) -> dict[str, str]:
    return {keys.alive_key(NAME, PLAN, record.site): dump(record)}


def grant(site: str = "south", *, number: int = 2, of: str = "another") -> dict[str, str]:
    return {keys.grant_key(NAME, PLAN, number): dump(Grant(PLAN, number, of, site, "dr (another)", minute(595)))}


def known(number: int = 1, site: str = "east") -> dict[str, str]:
    return {keys.known_key(NAME, PLAN): dump(Known(PLAN, number, f"id-{number}", site, minute(100 * number)))}


def witness(*records: Mapping[str, str], pinned: bool = True) -> WitnessState:
    return WitnessState({**PINS, **{key: text for part in records for key, text in part.items()}}, pinned)


DARK = Silent("the witness gave no answer")


def lost(
    topology: Topology,
    at_west: Mapping[str, str] | None = None,
    asked: WitnessState | Silent | None = None,
    **more: Any,
) -> PlanView:
    """East is silent; what west and the witness have of it."""
    records = {"west-a": {**PINS, **(at_west or {})}, "east-a": PINS}
    return view(topology, **{"silent": ["east"], "records": records, "witness": asked, **more})


# -- what counts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "stores"), [("lease", ("west-a",)), ("both", ("west-a", "witness")), ("witness", ("witness",))]
)
def test_the_stores_that_count(mode: str, stores: tuple[str, ...]) -> None:
    assert counted(view(TOPOLOGIES[mode]), "east") == stores


@pytest.mark.parametrize(
    ("mode", "at_west", "asked", "why"),
    [
        ("lease", beat(alive()), None, ""),
        ("both", beat(alive()), witness(), ""),
        ("both", {}, witness(beat(alive())), ""),
        ("witness", {}, witness(beat(alive())), ""),
        ("lease", {}, None, "no guard of plan shop is known to have run at east in epoch 1 (dr guard --site east)"),
        ("lease", beat(alive(epoch_id="id-of-another")), None, "no guard of plan shop is known"),
        ("lease", beat(alive("west")), None, "no guard of plan shop is known"),
        ("witness", beat(alive()), witness(), "no guard of plan shop is known"),
        ("lease", beat(alive(ended=True)), None, "the guard at east was ended in order"),
        ("both", beat(alive()), witness(beat(alive(ended=True))), "ended in order"),
        ("both", beat(alive()), DARK, "where it cannot be seen (the witness gave no answer)"),
        ("witness", beat(alive()), DARK, "where it cannot be seen (the witness gave no answer)"),
        ("witness", {}, witness(beat(alive()), pinned=False), "the witness is not known to the arrays yet"),
        ("lease", beat(alive(counts=("west-a", "south-a"))), None, "south-a is not in the topology any more"),
        ("lease", beat(alive(counts=("west-a", "witness"))), None, "witness is not in the topology any more"),
    ],
)  # fmt: skip
def test_what_waiting_could_prove(
    mode: str, at_west: dict[str, str], asked: WitnessState | Silent | None, why: str
) -> None:
    seen = lost(TOPOLOGIES[mode], at_west, asked)
    fence = fence_of(seen, "east")
    assert fence.holds is (not why)
    assert why in fence.why
    decision = answer(seen, "west")
    if why:
        assert why in decision.refused[0]
        assert "silence proves nothing" in decision.refused[0]
        assert 'dr:force: {shop: "1: <reason>"}' in decision.refused[-1]
        assert answer(seen, "west", word=WORD).refused == ()
    else:
        assert (decision.refused, decision.kind) == ((), "disaster")
        assert verbs(decision)[:5] == ["reserve", "claim", "wait-fence", "prove", "break"]


def test_a_longer_ttl_of_the_guard_is_waited_for() -> None:
    assert fence_of(lost(LEASE, beat(alive(ttl=90.0))), "east").ttl == 90.0
    assert fence_of(lost(LEASE, beat(alive(ttl=1.0))), "east").ttl == TTL
    assert MARGIN > 0


def test_a_plan_without_fencing_waits_for_nothing() -> None:
    seen = lost(shop(), beat(alive()))
    assert (fence_of(seen, "east").holds, fence_of(seen, "east").why) == (False, "")
    assert "wait-fence" not in verbs(answer(seen, "west", word=WORD))


# -- in a move ----------------------------------------------------------------------------------


def test_the_waiting_stands_between_claim_and_proof() -> None:
    steps = tree(answer(lost(WITNESS, {}, witness(beat(alive()))), "west"))
    assert steps["wait-fence"].after == ("claim",)
    assert "wait-fence" in steps["prove"].after
    assert steps["wait-fence"].needed
    assert steps["wait-fence"].of == {"site": "east", "target": "west"}
    assert "must have stopped the VMs of plan shop (fencing by witness)" in steps["wait-fence"].sentence
    assert "grant" not in steps, "who waits asks for the grant by itself"


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({"claim": claim()}, ["wait-fence", "prove"]),
        ({"claim": claim(proof=VMS, fenced="witness", point=P2.id)}, ["prove"]),
        ({"claim": claim(word=WORD, point=P2.id)}, ["prove", "grant"]),
    ],
)
def test_a_run_that_goes_on_waits_only_for_what_is_not_proved(more: dict[str, Any], wanted: list[str]) -> None:
    records = grant("west", of="id-2") if more["claim"].fenced else {}
    decision = answer(lost(WITNESS, {}, witness(beat(alive()), records), **more), "west")
    assert [verb for verb in verbs(decision) if verb in ("wait-fence", "prove", "grant")] == wanted


def test_the_word_stands_above_a_fence_and_is_not_waited_for() -> None:
    decision = answer(lost(WITNESS, {}, witness(beat(alive()))), "west", word=WORD)
    assert "wait-fence" not in verbs(decision)
    assert decision.notes == ()
    assert tree(decision)["claim"].of["word"] == WORD
    assert not tree(decision)["grant"].needed, "a word is not undone by a grant that another has"


@pytest.mark.parametrize("mode", ["both", "witness"])
def test_every_move_of_a_fenced_plan_asks_for_the_grant_once_the_source_is_proved(mode: str) -> None:
    steps = tree(answer(view(TOPOLOGIES[mode], witness=witness()), "west"))
    assert steps["grant"].after == ("prove",)
    assert steps["grant"].needed
    assert "grant" not in tree(answer(view(TOPOLOGIES[mode], witness=DARK), "west")), (
        "a silent witness holds up no proved source"
    )


def test_a_grant_that_is_anothers_is_named() -> None:
    for silent in (["east"], []):
        seen = lost(WITNESS, {}, witness(beat(alive()), grant()), silent=silent)
        decision = answer(seen, "west")
        assert "the witness has granted epoch 2 to a move to south (by dr (another)" in decision.refused[0]
        assert answer(seen, "west", word=WORD).refused == ()


def test_the_grant_of_a_claim_that_was_called_off_is_void() -> None:
    over = epoch(2, "south", id="another", state="aborted")
    decision = answer(lost(WITNESS, {}, witness(beat(alive()), grant()), epochs=(epoch(), over)), "west")
    assert decision.refused == ()


def test_a_proved_source_needs_no_waiting() -> None:
    hosts = ["east-1", "east-2"]
    decision = answer(lost(LEASE, beat(alive()), silent=hosts, east=replace(ACTIVE, mapped=True)), "west")
    assert "wait-fence" not in verbs(decision)
    assert "fence:east-a" in ids(decision)


# -- the witness is made known --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (view(WITNESS, witness=witness()), ["pin-witness"]),
        (view(WITNESS, witness=witness(), records={"east-a": PINS}), ["pin-witness"]),
        (view(WITNESS, witness=witness(), records={"east-a": PINS, "west-a": PINS}), ["tell-witness"]),
        (view(WITNESS, witness=witness(known()), records={"east-a": PINS, "west-a": PINS}), []),
        (view(WITNESS, witness=DARK), []),
        (view(WITNESS, witness=replace(DARK, missing=True)), ["pin-witness"]),
        (view(WITNESS, witness=replace(DARK, missing=True), silent=["west"]), []),
        (view(shop(with_witness), witness=witness()), []),
    ],
)
def test_the_witness_is_made_known_once(seen: PlanView, wanted: list[str]) -> None:
    assert verbs(answer(seen)) == wanted


def test_a_new_plan_makes_its_witness_last() -> None:
    decision = answer(view(WITNESS, epochs=[], missing=["west-a", "east-a"], witness=replace(DARK, missing=True)))
    assert verbs(decision) == ["create-array", "found", "pin-witness"]
    assert tree(decision)["pin-witness"].after == ("found",)
    assert tree(decision)["pin-witness"].of["arrays"] == "east-a,west-a"


# -- before a start -------------------------------------------------------------------------------

OFF = replace(ACTIVE, vms="off", mapped=False)


@pytest.mark.parametrize(
    ("topology", "asked", "starts", "said"),
    [
        (WITNESS, witness(known()), True, ""),
        (WITNESS, witness(known(), beat(alive())), True, ""),
        (WITNESS, witness(), False, "west-a gave no answer"),
        (WITNESS, witness(known(), pinned=False), False, "west-a gave no answer"),
        (WITNESS, DARK, False, "west-a gave no answer"),
        (WITNESS, witness(known(2, "west")), False, "the witness knows of epoch 2 at west"),
        (WITNESS, witness(known(), grant("west")), False, "the witness has granted epoch 2 to west"),
        (WITNESS, witness(known(), grant("east")), True, ""),
        (LEASE_AND_WITNESS, witness(known()), True, ""),
        (shop(with_witness), witness(known()), False, "west-a gave no answer"),
        (LEASE, None, False, "west-a gave no answer"),
    ],
)
def test_a_start_may_ask_the_witness(
    topology: Topology, asked: WitnessState | Silent | None, starts: bool, said: str
) -> None:
    seen = view(topology, silent=["west"], east=OFF, witness=asked, records={"east-a": PINS})
    decision = answer(seen)
    assert ("start" in verbs(decision)) is starts
    assert said in "; ".join(unasked(seen, epoch()))
    assert witness_vouches(seen, epoch()) is starts
    assert starts or said in decision.degraded[0]


# -- what a guard finds ---------------------------------------------------------------------------

BACK = replace(RETURNED, vms="running")


@pytest.mark.parametrize(
    ("seen", "site", "state", "why"),
    [
        (view(LEASE), "east", "active", "since epoch 1"),
        (view(LEASE), "west", "elsewhere", "active at east"),
        (moved(LEASE), "east", "stale", "it is active at west since epoch 2"),
        (moved(LEASE, east=BACK), "east", "stale", "active at west"),
        (moved(LEASE, silent=["west"], east=BACK), "east", "stale", "active at west"),
        (view(LEASE, silent=["east", "west"]), "east", "unknown", "no array"),
        (view(LEASE, claim=claim()), "east", "active", ""),
        (view(LEASE, claim=claim(fenced="lease")), "east", "granted", "west goes on with epoch 2"),
        (view(LEASE, claim=claim(fenced="lease", aborting=True)), "east", "active", ""),
        (view(LEASE, claim=claim(fenced="lease")), "west", "elsewhere", ""),
        (view(WITNESS, witness=witness(grant("west"))), "east", "granted", "the witness has granted epoch 2 to west"),
        (view(WITNESS, witness=witness(grant("west", of="id-2")), claim=claim()), "east", "active", ""),
        (
            view(WITNESS, witness=witness(grant("west", of="id-2")), claim=claim(fenced="witness")),
            "east",
            "granted",
            "granted",
        ),
        (view(WITNESS, witness=witness(grant("east"))), "east", "active", ""),
        (
            view(WITNESS, witness=witness(known(2, "west")), silent=["west"]),
            "east",
            "granted",
            "the witness knows of epoch 2 at west",
        ),
        (view(WITNESS, witness=DARK), "east", "active", ""),
    ],
)
def test_what_a_guard_finds(seen: PlanView, site: str, state: str, why: str) -> None:
    verdict = judge(seen, site, None)
    assert verdict.state == state
    assert why in verdict.why


def test_a_guard_does_not_forget_an_epoch_that_it_has_seen() -> None:
    later = epoch(2, "west")
    assert judge(view(LEASE), "east", later).state == "stale"
    assert judge(view(LEASE, silent=["east", "west"]), "east", later).state == "unknown"
    assert judge(view(LEASE), "east", later).epoch == later


def test_something_runs_where_a_vm_runs_or_a_lun_is_mapped() -> None:
    assert something_runs(view(LEASE), "east")
    assert not something_runs(view(LEASE), "west")
    assert something_runs(moved(LEASE, east=RETURNED), "east")


# -- what dr doctor says of it -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "level", "says"),
    [
        (witness(), "ok", "is the one that the arrays know"),
        (witness(pinned=False), "warning", "do not know it yet"),
        (Silent("the witness was never made", ready=False, missing=True), "warning", "not made yet"),
        (DARK, "problem", "gives no answer"),
    ],
    ids=["there", "not pinned", "not made", "dark"],
)
def test_the_doctor_looks_at_the_witness(asked: WitnessState | Silent, level: str, says: str) -> None:
    seen = view(WITNESS, records={"east-a": PINS, "west-a": PINS}, witness=asked).seen
    found = {f.subject: f for _, f in judge_fencing(WITNESS, seen)}
    assert (found["witness"].level, says in found["witness"].found) == (level, True), found["witness"]
    assert bool(found["witness"].todo) == (level != "ok")


@pytest.mark.parametrize(
    ("at_west", "more", "level", "says"),
    [
        (beat(alive()), {}, "ok", f"stands surety for epoch 1; it renewed last at {minute(590)}"),
        ({}, {}, "problem", "no guard of plan shop is known to have run at east"),
        (beat(alive(epoch=0, epoch_id="before")), {}, "problem", "no guard of plan shop is known"),
        (beat(alive(ended=True)), {}, "problem", "was ended in order"),
        (beat(alive()), {"silent": ["west"]}, "problem", "cannot be seen everywhere: west-a ("),
    ],
    ids=["a guard", "none", "of an older epoch", "ended", "its store is dark"],
)
def test_the_doctor_looks_for_the_guard_that_a_plan_counts_on(
    at_west: dict[str, str], more: dict[str, Any], level: str, says: str
) -> None:
    seen = view(LEASE, records={"west-a": at_west}, **more).seen
    ((site, found),) = judge_fencing(LEASE, seen)
    assert (site, found.subject, found.check, found.level) == ("east", "plan shop", "fencing", level)
    assert says in found.found, found.found


def test_the_doctor_asks_no_guard_of_a_plan_that_an_operator_vouches_for() -> None:
    assert not list(judge_fencing(shop(), view(shop()).seen))


def test_a_run_lease_that_cannot_be_read_is_a_finding() -> None:
    seen = view(LEASE, records={"west-a": {keys.alive_key(NAME, PLAN, "east"): "{"}}).seen
    ((_, found),) = judge_fencing(LEASE, seen)
    assert (found.level, found.check) == ("problem", "fencing")
