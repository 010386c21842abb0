"""A bit that flips on its way between two sites: the point does not appear there, the run says so, and the next one brings it."""

from __future__ import annotations

import pytest

from dr_provider.model.errors import MoveFailed
from dr_provider.protection.catalogue import newest
from tests.support.lab import Lab


def test_a_garbled_transfer_is_a_failure_and_the_next_run_brings_the_point(lab: Lab) -> None:
    lab.write()
    lab.protect()
    lab.write()
    assert lab.bench.garble("array:east-a", 1) == 1
    outcome = lab.protect()
    assert "were changed on their way (the checksum differs)" in "\n".join(outcome.failures)
    at_west, at_east = (newest(lab.view().points, site) for site in ("west", "east"))
    assert at_west is not None
    assert at_east is not None
    assert at_west.order < at_east.order

    assert not lab.protect().failures
    arrived = newest(lab.view().points, "west")
    assert arrived is not None
    assert arrived.order > at_east.order


def test_a_move_whose_last_transfer_is_garbled_is_called_off_and_can_be_made_again(lab: Lab) -> None:
    lab.write()
    lab.protect()
    lab.write()
    before = lab.last()
    lab.bench.garble("array:east-a", 1)
    with pytest.raises(MoveFailed, match=r"were changed on their way"):
        lab.move("west")
    assert set(lab.running().values()) == {"east"}
    assert not lab.move("west").failures
    assert set(lab.running().values()) == {"west"}
    assert all(lab.last()[vm] >= before[vm] and lab.ledger(vm).intact for vm in before)
