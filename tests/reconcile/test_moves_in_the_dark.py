"""Whole moves on the embedded drivers where those who answer do not know all: what is left alone, and what still gets through."""

from __future__ import annotations

from pathlib import Path

import pytest

from dr_provider.reconcile.safety import list_safety
from tests.support.kills import killed_at
from tests.support.lab import Lab

WORD = "1: power lost at east"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """Three VMs at east, 20 entries protected at west and 13 written since."""
    made = Lab(tmp_path, source_budget="300ms")
    made.write(20)
    made.protect()
    made.write(13)
    return made


def test_a_source_that_is_lost_after_the_claim_is_left_by_the_word(lab: Lab) -> None:
    assert killed_at(lambda: lab.move("west"), 2, "before")
    claim = lab.view().claim
    assert claim is not None
    assert claim.point is None, "it was to be the final snapshot"
    lab.lose("site:east")
    outcome = lab.move("west", word=WORD)
    assert outcome.failures == ()
    assert set(lab.running().values()) == {"west"}
    assert set(lab.last().values()) == {20}


def test_a_side_that_comes_back_alone_starts_nothing_before_it_can_ask(lab: Lab) -> None:
    lab.lose("site:east")
    lab.move("west", word=WORD)
    lab.lose("site:west", running=True)
    lab.heal("site:east")
    outcome = lab.move()
    assert "another side might have taken over and cannot be asked" in outcome.failures[0]
    lab.protect()
    lab.heal("site:west")
    assert set(lab.running().values()) == {"west"}
    assert lab.move().failures == ()
    assert lab.status()["phase"] == "steady"


def test_hosts_whose_array_is_silent_are_not_taken_for_a_stale_side(lab: Lab) -> None:
    """East knows of epoch 1 only; the hosts at west answer, and the array that knows of epoch 2 does not."""
    lab.lose("site:east")
    lab.move("west", word=WORD)
    lab.lose("array:west-a")
    lab.heal("site:east")
    outcome = lab.move("east")
    assert any("is left running" in line for line in outcome.warnings)
    assert set(lab.running().values()) == {"west"}
    assert lab.view().split is None


def test_a_returned_side_is_broken_at_its_point_when_the_active_array_is_lost(lab: Lab) -> None:
    """East came back with 13 entries that west never got, and nobody can be asked what it has in common: they are kept, and it moves."""
    lab.lose("site:east")
    lab.move("west", word=WORD)
    lab.write(5)
    lab.heal("site:east")
    lab.lose("link:east/west")
    assert "link between the arrays" in lab.move().warnings[0], "east learns of epoch 2, and cannot be brought in line"
    lab.lose("array:west-a")
    outcome = lab.move("east", word="2: the array at west is lost")
    assert outcome.failures == ()
    assert set(lab.running().values()) == {"east"}
    assert set(lab.last().values()) == {20}, "as of the point that is stated"
    assert {copy["volume"] for copy in list_safety(lab.world())} == {"vol-1", "vol-2"}
