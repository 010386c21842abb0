"""In whose line a site stands: which recovery points tell what it has had."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dr_provider.model.records import Epoch
from dr_provider.reconcile.standing import line, taken_since
from tests.support.situations import ACTIVE, REPLICA, Point, epoch, view

E1, E2, E3 = Point(1), Point(2), Point(3)
"""Taken at east, in the first epoch."""
W1, W2 = Point(1, 2, "west"), Point(2, 2, "west")
B1 = Point(1, 3)
"""Taken at east again."""
N1 = Point(1, 4, "west")

TO_WEST = epoch(2, "west", point=E3.id)
BACK = epoch(3, point=W2.id)
AGAIN = epoch(4, "west", point=E1.id)
"""Back to west, at a point from before it was there first."""


@pytest.mark.parametrize(
    ("epochs", "points", "site", "since", "stands"),
    [
        ((epoch(),), (E1, E2), "east", (E1, E2), (E1, E2)),
        ((epoch(), TO_WEST), (E1, E2, E3, W1), "west", (W1,), (E1, E2, E3, W1)),
        # What is written at east after the point of a move away is not in the line of the other side.
        ((epoch(), epoch(2, "west", point=E1.id)), (E1, E2, W1), "west", (W1,), (E1, W1)),
        ((epoch(), TO_WEST, BACK), (E1, E2, E3, W1, W2, B1), "east", (B1,), (E1, E2, E3, W1, W2, B1)),
        ((epoch(), TO_WEST, epoch(3, point=W1.id)), (E1, E3, W1, W2, B1), "east", (B1,), (E1, E3, W1, B1)),
        ((epoch(), TO_WEST, BACK, AGAIN), (E1, E2, E3, W1, W2, B1, N1), "west", (N1,), (E1, N1)),
        # The point of a move is not known any more: what is older than the move counts.
        ((epoch(), TO_WEST, BACK, AGAIN), (E2, W1, B1, N1), "west", (N1,), (E2, W1, B1, N1)),
        # Neither a resolve nor a rollback is a move: east goes on with its own.
        ((epoch(), TO_WEST, epoch(3, kind="resolve")), (E1, E3, W1, B1), "east", (E1, E3, B1), (E1, E3, B1)),
        # Nor is a move that was called off.
        ((epoch(), TO_WEST, epoch(3, point=W1.id, state="aborted")), (E1, W1), "east", (E1,), (E1,)),
    ],
    ids=["home", "moved", "moved at an older point", "back", "back at an older point", "behind its own stay", "forgotten",
         "resolved", "called off"],
)  # fmt: skip
def test_the_points_that_a_site_stands_on(
    epochs: tuple[Epoch, ...], points: tuple[Point, ...], site: str, since: tuple[Point, ...], stands: tuple[Point, ...]
) -> None:
    sides: dict[str, Any] = {
        name: replace(ACTIVE if name == site else REPLICA, points=points) for name in ("east", "west")
    }
    seen = view(**sides, epochs=epochs)
    assert {point.id for point in taken_since(seen, site)} == {point.id for point in since}
    found = [point.id for point in line(seen, site)]
    assert len(found) == len(set(found))
    assert set(found) == {point.id for point in stands}
