"""Which site a plan goes to when none is named; pure situations of three sites."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dr_provider.model.errors import Refused
from dr_provider.protection.lines import declared_feeder, feeders, line_of
from dr_provider.reconcile.targets import choose_target
from dr_provider.reconcile.view import PlanView
from tests.support.situations import (
    ACTIVE,
    P1,
    P2,
    REPLICA,
    Side,
    answer,
    claim,
    epoch,
    ids,
    reserved,
    shop,
    split,
    verbs,
    view,
)

THREE = shop(sites=["east", "west", "south"])
CASCADE = shop(sites=["east", "west", "south"], via={"south-a": "west-a"})
BEHIND = replace(REPLICA, points=(P1,))
FULL = {"west-1": [reserved(16, 1 << 20)], "west-2": [reserved(16, 1 << 20)]}


def three(**situation: Any) -> PlanView:
    return view(THREE, **situation)


@pytest.mark.parametrize(
    ("seen", "site", "why"),
    [
        (three(), "west", "the last state of east can be brought there"),
        (three(silent=["east"]), "west", "recovery point e1-s2-0102"),
        (three(silent=["east"], west=BEHIND), "west", "recovery point e1-s2-0102"),
        (three(silent=["east"], west=BEHIND, cut=["west-a/south-a"]), "south", "west would lose more"),
        (three(silent=["east", "west"]), "south", "recovery point e1-s2-0102"),
        (three(silent=["east", "west-1", "west-2"]), "south", ""),
        (three(silent=["east"], reservations=FULL), "south", "with room for all its VMs"),
        (three(silent=["east"], south=BEHIND, reservations=FULL), "south", "with room"),
        (
            three(silent=["east"], south=BEHIND, reservations=FULL, cut=["west-a/south-a"]),
            "west",
            "without room for 3 of its VMs",
        ),
        (three(cut=["east-a/west-a", "west-a/south-a"]), "south", "the last state of east"),
        (three(claim=claim("west")), "west", "under way goes on"),
        (view(), "west", ""),
        (three(epochs=[epoch(), epoch(2, "south")], east=REPLICA, south=ACTIVE), "east", ""),
    ],
)
def test_the_freshest_then_the_one_with_room_then_the_first(seen: PlanView, site: str, why: str) -> None:
    target = choose_target(seen)
    assert target.site == site
    assert why in target.why


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (three(silent=["east", "west", "south"]), "nobody says where it is active"),
        (three(silent=["east", "west-a", "south-a"], epochs_at={"east-a": [epoch()]}), "nobody says where it is active"),
        (three(silent=["west", "south-a"]), "its array south-a is silent"),
        (three(silent=["east"], west=replace(REPLICA, points=()), south=replace(REPLICA, points=())), "no recovery point is whole there"),
    ],
)  # fmt: skip
def test_no_site_to_go_to(seen: PlanView, said: str) -> None:
    with pytest.raises(Refused) as refused:
        choose_target(seen)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("topology", "situation", "fed"),
    [
        (THREE, {}, {"west-a": "east-a", "south-a": "east-a"}),
        (CASCADE, {}, {"west-a": "east-a", "south-a": "west-a"}),
        (CASCADE, {"silent": ["west-a"]}, {"south-a": "east-a"}),
        (CASCADE, {"cut": ["east-a/west-a"]}, {"south-a": "east-a", "west-a": "south-a"}),
        (THREE, {"cut": ["east-a/south-a"]}, {"west-a": "east-a", "south-a": "west-a"}),
        (THREE, {"cut": ["east-a/south-a"], "west": Side()}, {"west-a": "east-a"}),
        (THREE, {"cut": True}, {}),
        (THREE, {"silent": ["east-a"]}, {}),
        (CASCADE, {"west": replace(REPLICA, points=(P1,)), "south": replace(REPLICA, points=(P1,))}, {"west-a": "east-a", "south-a": "west-a"}),
        (CASCADE, {"west": replace(REPLICA, points=(P1,))}, {"west-a": "east-a", "south-a": "east-a"}),
        (CASCADE, {"west": Side("absent"), "south": Side("absent")}, {"west-a": "east-a", "south-a": "west-a"}),
    ],
)  # fmt: skip
def test_from_where_each_copy_is_fed(topology: Any, situation: dict[str, Any], fed: dict[str, str]) -> None:
    seen = view(topology, **situation)
    assert dict(feeders(topology.volumes["vol-1"], "east-a", seen.seen)) == fed


def test_the_line_holds_what_copies_in_line_remember() -> None:
    """What the active side has pruned is in line where another copy in line has it still."""
    seen = three(
        east=replace(ACTIVE, points=(P2,)), west=replace(REPLICA, points=(P1, P2)), south=replace(REPLICA, points=(P1,))
    )
    line = line_of(THREE.volumes["vol-1"], "east-a", seen.seen)
    assert line.arrays == ("east-a", "west-a", "south-a")
    assert dict(feeders(THREE.volumes["vol-1"], "east-a", seen.seen)) == {"west-a": "east-a", "south-a": "west-a"}
    assert answer(seen).actions == ()


def test_the_declared_way_leads_to_wherever_the_plan_is() -> None:
    spec = CASCADE.volumes["vol-1"]
    ways = {
        (root, target): declared_feeder(spec, root, target)
        for root in spec.arrays
        for target in spec.arrays
        if root != target
    }
    assert ways == {
        ("east-a", "west-a"): "east-a",
        ("east-a", "south-a"): "west-a",
        ("west-a", "east-a"): "west-a",
        ("west-a", "south-a"): "west-a",
        ("south-a", "west-a"): "south-a",
        ("south-a", "east-a"): "west-a",
    }


FORCED = {"west": replace(ACTIVE, points=(P1, P2)), "south": replace(ACTIVE, points=(P1, P2))}
TWINS = {"west-a": [epoch(2, "west", id="b")], "south-a": [epoch(2, "south", id="c")], "east-a": [epoch()]}


def test_under_a_split_one_side_goes_on_and_the_others_hold_still() -> None:
    decision = answer(three(epochs_at=TWINS, **FORCED))
    assert verbs(decision) == ["split", "stop", "fence", "stop", "fence"]
    assert {a.of["host"][:4] for a in decision.actions if a.verb == "stop"} == {"east", "sout"}
    assert (decision.refused, decision.exit_bad) == ((), True)
    assert "dr resolve shop --keep SITE" in decision.degraded[0]
    assert decision.actions[0].of["sites"] == "south,west,east"


def test_a_split_that_is_on_record_and_holds_still_is_refused() -> None:
    still = {"west": replace(ACTIVE, points=(P1, P2)), "south": Side(vms="off"), "east": Side(vms="off")}
    decision = answer(three(epochs_at=TWINS, split=split("west", "south", "east"), **still))
    assert decision.actions == ()
    assert "west and south and east have all written" in decision.refused[0]


@pytest.mark.parametrize("keep", ["west", "south"])
def test_a_resolve_proves_every_side_that_lost(keep: str) -> None:
    other = "south" if keep == "west" else "west"
    decision = answer(three(epochs_at=TWINS, split=split("west", "south", "east"), **FORCED), keep, goal="resolve")
    assert [i for i in ids(decision) if i.startswith("prove")] == sorted([f"prove:{other}", "prove:east"])
    assert f"what {other} and east wrote stays readable" in decision.loss.statement
    turned = {a.of["array"] for a in decision.actions if a.verb in ("demote", "clear")}
    assert turned == {"east-a", f"{other}-a"}


def test_a_peer_that_can_be_asked_is_enough_to_start() -> None:
    off = replace(ACTIVE, vms="off")
    assert "start" in verbs(answer(three(east=off, silent=["west"])))
    waits = answer(three(east=off, silent=["west", "south"]))
    assert waits.actions == ()
    assert "another side might have taken over and cannot be asked" in waits.degraded[0]
