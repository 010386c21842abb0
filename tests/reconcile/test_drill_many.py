"""Several drills at once on hosts that have room for so many: each is run, or refused for lack of room with nothing else under way."""

from __future__ import annotations

import threading
from typing import cast

import pytest

from dr_provider.reconcile.drills.decide import NoRoom
from dr_provider.reconcile.drills.many import run_abreast
from dr_provider.reconcile.drills.outcome import DrillOutcome


class _Hosts:
    """Hosts with room for so many drills. Each drill that gets room stays until as many are up as there is room for, or nobody else may come."""

    def __init__(self, room: int, drills: int) -> None:
        self.room, self.left = room, drills
        self.change = threading.Condition()
        self.up = 0
        self.most = 0

    def run(self, drill: str, point: str) -> DrillOutcome:
        with self.change:
            if self.up == self.room:
                raise NoRoom((f"{drill}: no room",))
            self.up += 1
            self.most = max(self.most, self.up)
            self.change.notify_all()
            assert self.change.wait_for(lambda: self.up == min(self.room, self.left) or not self.left, timeout=30)
        with self.change:
            self.up -= 1
            self.left -= 1
            self.change.notify_all()
        return cast("DrillOutcome", f"{drill} from {point}")


@pytest.mark.parametrize(("room", "drills"), [(0, 3), (1, 1), (1, 4), (2, 2), (3, 3)])
def test_as_many_as_there_is_room_for(room: int, drills: int) -> None:
    hosts = _Hosts(room, drills)
    points = {f"d{n}": f"p{n}" for n in range(drills)}
    came: dict[str, object] = {**run_abreast(points, hosts.run)}
    if room:
        assert came == {f"d{n}": f"d{n} from p{n}" for n in range(drills)}
    else:
        assert all(isinstance(each, NoRoom) for each in came.values())
    assert hosts.most == min(room, drills)


def test_those_that_stay_up_have_the_room_in_the_order_asked_for() -> None:
    left = ["room for one"]

    def run(drill: str, _point: str) -> DrillOutcome:
        if not left:
            raise NoRoom((f"{drill}: no room",))
        left.pop()
        return cast("DrillOutcome", "up")

    came: dict[str, object] = {**run_abreast({"newest": "p3", "older": "p2", "oldest": "p1"}, run, staying=True)}
    assert (came["newest"], [type(each) for each in came.values()][1:]) == ("up", [NoRoom, NoRoom])


def test_room_that_came_free_between_the_refusal_and_the_wait_is_taken() -> None:
    """The other ends after this one was refused and before it begins to wait: nobody would wake it."""
    up, refused, over = (threading.Event() for _ in range(3))
    tries: list[str] = []

    def run(drill: str, _point: str) -> DrillOutcome:
        tries.append(drill)
        if drill == "first":
            up.set()
            assert refused.wait(30)
            over.set()
        elif not refused.is_set():
            assert up.wait(30)
            refused.set()
            assert over.wait(30)
            raise NoRoom(("no room",))
        return cast("DrillOutcome", "ran")

    came: dict[str, object] = {**run_abreast({"first": "p1", "second": "p2"}, run)}
    assert came == {"first": "ran", "second": "ran"}
    assert tries.count("second") == 2
