"""What changes while a side is away, at the reconciler's level: what is restored, what is cleared, and when nothing is touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dr_provider.model.errors import DrError, Refused
from tests.support.lab import Lab

MakeLab = Callable[..., Lab]
WORD = "1: power lost at east"


def without_app(document: dict[str, Any]) -> None:
    """VM app goes, and volume vol-2 with it."""
    del document["vms"]["app"]
    del document["volumes"]["vol-2"]
    document["plans"]["shop"]["tiers"].pop(1)


def rewrite(lab: Lab, change: Callable[[dict[str, Any]], None]) -> None:
    from tests.support.topologies import write_topology

    write_topology(lab.path.parent, source_budget="300ms", change=change)


def test_points_from_before_a_volume_was_removed_are_whole_for_the_others(lab: Lab) -> None:
    lab.write(9)
    point = lab.protect().point
    rewrite(lab, without_app)
    lab.lose("site:east")
    moved = lab.move("west", word=WORD)
    assert (moved.point, moved.failures) == (point, ())
    assert lab.running() == {"db": "west", "web": "west"}
    assert lab.last() == {"db": 9, "web": 9}


def test_a_renamed_topology_makes_and_touches_nothing(lab: Lab) -> None:
    lab.write(9)
    lab.protect()
    before, running = lab.last(), lab.running()
    rewrite(lab, lambda document: document.update(name="shop-tset"))
    with pytest.raises(Refused, match=r"vol-1 on east-a.* belong to topology shop-test.*set `name` back to shop-test"):
        lab.apply()
    rewrite(lab, lambda document: None)
    assert (lab.last(), lab.running()) == (before, running)
    assert not [one for one in lab.apply() if isinstance(one, DrError) or one.pending]
    lab.write(1, "db")
    assert lab.move("west").failures == ()
