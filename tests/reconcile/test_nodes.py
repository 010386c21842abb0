"""A clustered array: any node answers for it, and one that is silent is not a silent array."""

from __future__ import annotations

from typing import Any

import pytest

from dr_provider.model.errors import BadInput, Refused
from tests.reconcile.conftest import MakeLab
from tests.support.lab import Lab


@pytest.fixture
def lab(make: MakeLab) -> Lab:
    def clustered(document: dict[str, Any]) -> None:
        document["arrays"]["east-a"]["nodes"] = 2

    return make(change=clustered)


def test_one_node_lost_changes_nothing_and_all_of_them_are_a_silent_array(lab: Lab) -> None:
    lab.write(20)
    lab.protect()
    lab.lose("array:east-a/1")
    lab.write(5)
    outcome = lab.protect()
    assert (outcome.failures, outcome.warnings, len(outcome.sent)) == ((), (), 2)
    assert (lab.status()["phase"], lab.status()["protected"]) == ("steady", True)
    assert lab.decide("west").kind == "planned"

    lab.lose("array:east-a/2")
    assert lab.view().silent_arrays("east").keys() == {"east-a"}
    assert lab.decide("west").kind == "disaster"
    lab.heal("array:east-a/1")
    moved = lab.move("west")
    assert (moved.failures, moved.decision.kind, moved.loss.seconds) == ((), "planned", 0.0)
    assert set(lab.running().values()) == {"west"}
    assert set(lab.last().values()) == {25}


def test_healing_the_array_heals_its_nodes(lab: Lab) -> None:
    for node in (1, 2):
        lab.lose(f"array:east-a/{node}")
    assert {(line.target, line.kind) for line in lab.bench.in_force() if line.device == "array east-a"} == {
        ("array:east-a/1", "node"), ("array:east-a/2", "node"), ("array:east-a", "silent"),
    }  # fmt: skip
    lab.heal("array:east-a")
    assert lab.bench.in_force() == []
    assert lab.view().silent_arrays("east") == {}


def test_all_nodes_lost_with_the_hosts_alive_is_no_proof(lab: Lab) -> None:
    lab.write(20)
    lab.protect()
    for node in (1, 2):
        lab.lose(f"array:east-a/{node}")
    lab.lose("host:east-1", running=True)
    with pytest.raises(Refused, match="silence proves nothing"):
        lab.move("west")


@pytest.mark.parametrize(
    "target", ["array:east-a/0", "array:east-a/3", "array:east-a/x", "array:west-a/2", "array:none/1"]
)
def test_a_node_that_is_not_there_is_named_with_those_that_are(lab: Lab, target: str) -> None:
    with pytest.raises(BadInput, match="there is no such node; wanted"):
        lab.lose(target)
    with pytest.raises(BadInput, match="there is no such node; wanted"):
        lab.heal(target)
    assert lab.bench.in_force() == []
