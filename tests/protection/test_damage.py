"""What may stand in a damaged record's place, as a table; the rest stays as it was found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dr_provider.model import keys
from dr_provider.model.codec import dump, load
from dr_provider.model.records import Epoch, Lease, Record
from dr_provider.model.state import ArrayState
from dr_provider.protection.damage import set_aside

T, PLAN = "shop-test", "shop"
BAD = "{damaged"


def epoch(number: int, site: str = "east") -> str:
    return dump(Epoch(PLAN, number, "aaaaaaaa", site, "committed", "2026-03-02T08:00:00.000Z", "planned", "dr"))


EPOCH_1, EPOCH_2 = (keys.epoch_key(T, PLAN, number, "aaaaaaaa") for number in (1, 2))
CLAIM, DRILL = keys.claim_key(T, PLAN), keys.drill_key(T, PLAN, "monday")
GOOD = dump(Lease(PLAN, 7, "dr", "b", 1, 0.0, 9, "-", "a move"))


def states(**arrays: dict[str, str]) -> dict[str, ArrayState]:
    return {name: ArrayState(name, 1, 0, 0, records=records) for name, records in arrays.items()}


@pytest.mark.parametrize(
    ("key", "elsewhere", "found", "named"),
    [
        pytest.param(EPOCH_2, {EPOCH_2: epoch(2)}, epoch(2), True, id="an epoch that another array has"),
        pytest.param(EPOCH_1, {EPOCH_2: epoch(2)}, None, True, id="an epoch that a later one has made history"),
        pytest.param(EPOCH_2, {EPOCH_1: epoch(1)}, BAD, False, id="an epoch that may be the newest"),
        pytest.param(EPOCH_2, {EPOCH_2: BAD}, BAD, False, id="one that is damaged everywhere"),
        pytest.param(CLAIM, {CLAIM: epoch(3)}, epoch(3), True, id="a claim that another array has"),
        pytest.param(CLAIM, {}, BAD, False, id="a claim that nobody else has"),
        pytest.param(keys.split_key(T, PLAN), {}, BAD, False, id="a split that nobody else has"),
        pytest.param(keys.owner_key(T, "vm", "db"), {}, BAD, False, id="an owner that nobody else has"),
        pytest.param(keys.lease_key(T, PLAN, 7), {keys.lease_key(T, PLAN, 7): GOOD}, GOOD, True, id="a lease"),
        pytest.param(keys.declared_key(T, "dr/prod", PLAN), {}, None, True, id="a declaration that nobody else has"),
        pytest.param(keys.peers_key(T), {keys.peers_key(T): "{}"}, None, True, id="what an array remembers is its own"),
        pytest.param(DRILL, {DRILL: "{}"}, None, True, id="a drill's record is its array's own"),
        pytest.param(keys.pin_key(T), {keys.pin_key(T): "{}"}, BAD, False, id="a pin is judged with the array's id"),
        pytest.param("other/epoch/x", {"other/epoch/x": "{}"}, BAD, False, id="another topology's"),
    ],
)
def test_what_stands_in_its_place(key: str, elsewhere: dict[str, str], found: str | None, *, named: bool) -> None:
    after = set_aside(T, states(a={key: BAD}, b=elsewhere))
    assert after["a"].records.get(key) == found
    assert (key in after["a"].damaged) is named
    assert after["b"] == states(b=elsewhere)["b"] or elsewhere.get(key) == BAD


def test_a_lease_that_nobody_can_read_is_somebodys() -> None:
    key = keys.lease_key(T, PLAN, 7)
    after = set_aside(T, states(a={key: BAD}))["a"]
    lease = load(Lease, after.records[key], "here")
    assert (lease.n, lease.released, lease.boot) == (7, False, "")


def test_nothing_damaged_is_nothing_done() -> None:
    whole = states(a={EPOCH_1: epoch(1)}, b={EPOCH_2: epoch(2)})
    assert set_aside(T, whole) == whole
    assert isinstance(load(Epoch, whole["a"].records[EPOCH_1], "here"), Record)
    assert replace(whole["a"]).damaged == frozenset()
