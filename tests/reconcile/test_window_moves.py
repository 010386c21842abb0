"""Whole moves with a commit window on the embedded drivers: back to the untouched source, or committed by itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from dr_provider.model import keys
from dr_provider.model.errors import MoveFailed, Refused
from dr_provider.reconcile.safety import list_safety
from tests.reconcile.conftest import MakeLab
from tests.support.kills import failing, killed_at
from tests.support.lab import Lab

VMS = ("db", "app", "web")
WRITTEN, LATER = 20, 13


class Clock:
    """The time of day of everything that `dr` stamps, ahead of the arrays' own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead, now = timedelta(), keys.now
        monkeypatch.setattr(keys, "now", lambda: now() + self.ahead)

    def forward(self, minutes: float) -> None:
        self.ahead += timedelta(minutes=minutes)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def an_hour(document: dict[str, Any]) -> None:
    document["plans"]["shop"]["commitWindow"] = "1h"


def moved(make: MakeLab, clock: Clock, **options: Any) -> Lab:
    """33 entries at east, moved to west with an hour's window, and 8 entries more written there."""
    lab = make(change=an_hour, **options)
    lab.write(WRITTEN)
    lab.protect()
    lab.write(LATER)
    clock.forward(1)
    assert lab.move("west").failures == ()
    clock.forward(1)
    lab.write(8)
    return lab


def snapshots(lab: Lab, site: str) -> dict[str, tuple[str, ...]]:
    view = lab.view()
    found = {name: view.volume(name, site) for name in view.volume_names}
    assert all(volume is not None and volume.writable and not volume.changed for volume in found.values())
    return {name: tuple(s.name for s in volume.snapshots) for name, volume in found.items() if volume}


def settled(lab: Lab, site: str, epoch: int) -> None:
    """The plan runs at the site, every other side has a point of the epoch, and nothing is left over."""
    view = lab.view()
    assert lab.running() == dict.fromkeys(VMS, site)
    assert view.epoch is not None
    assert (view.epoch.number, view.claims, view.split) == (epoch, {}, None)
    for other in view.others(site):
        assert any(point.epoch == epoch and point.complete_at(other) for point in view.points)
        copies = [volume for name in view.volume_names if (volume := view.volume(name, other)) is not None]
        assert [lun.name for volume in copies for lun in volume.luns.values() if lun.mapped_to] == []
    assert [kept for host in lab.topology.hosts if (state := view.seen.host(host)) for kept in state.reservations] == []
    assert lab.status()["protected"] is True
    assert lab.decide().actions == (), "a second run has nothing to do"


def test_back_to_the_source_as_it_was_left(make: MakeLab, clock: Clock) -> None:
    lab = moved(make, clock)
    before = snapshots(lab, "east")
    lab.write(9)
    assert lab.protect().failures == (), "backups go on where the plan is"
    assert lab.decide().actions == ()
    assert snapshots(lab, "east") == before
    assert lab.status()["window"]["over"] is False

    outcome = lab.move(goal="rollback")

    assert (outcome.failures, outcome.decision.kind) == ((), "rollback")
    assert set(lab.last().values()) == {WRITTEN + LATER}, "as it was stopped"
    assert all(lab.ledger(vm).intact for vm in VMS)
    settled(lab, "east", 3)
    assert {copy["volume"] for copy in list_safety(lab.world())} == {"vol-1", "vol-2"}
    assert {last for each in lab.safety_ledgers().values() for last in each} == {WRITTEN + LATER + 17}
    sent = [step for step in outcome.steps if step["id"] == "protect"]
    assert sent[0]["event"] == "done"
    assert lab.move(goal="rollback").decision.actions == (), "a second one has nothing to do"
    assert lab.move("west").failures == (), "and it can be moved again"


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda lab: lab.move(goal="commit"), id="dr commit"),
        pytest.param(lambda lab: lab.protect(), id="dr protect"),
        pytest.param(lambda lab: lab.move("west", stack="dr/prod"), id="up"),
    ],
)
def test_it_is_committed_by_itself_or_by_the_word(
    make: MakeLab, clock: Clock, request: pytest.FixtureRequest, end: Callable[[Lab], object]
) -> None:
    lab = moved(make, clock)
    if "dr commit" not in request.node.callspec.id:
        clock.forward(61)
    end(lab)
    settled(lab, "west", 2)
    assert lab.status()["window"] is None
    assert list_safety(lab.world()) == [], "the source wrote nothing of its own"
    with pytest.raises(Refused, match="its commit window was ended"):
        lab.move(goal="rollback")


def test_a_clock_that_is_late_opens_no_window_again(make: MakeLab, clock: Clock) -> None:
    lab = moved(make, clock)
    clock.forward(61)
    lab.lose("array:east-a")
    lab.move(goal="commit")
    lab.heal("array:east-a")
    clock.forward(-61)
    with pytest.raises(Refused, match="its commit window was ended"):
        lab.move(goal="rollback")
    assert lab.move().failures == ()
    settled(lab, "west", 2)


def test_a_rollback_after_its_time_is_refused(make: MakeLab, clock: Clock) -> None:
    lab = moved(make, clock)
    clock.forward(61)
    with pytest.raises(Refused, match="dr failover shop --to east moves it there, with what was written at west since"):
        lab.move(goal="rollback")
    assert lab.move("east").failures == ()
    assert set(lab.last().values()) == {WRITTEN + LATER + 8}


def test_the_target_is_lost_within_the_window(make: MakeLab, clock: Clock) -> None:
    lab = moved(make, clock)
    lab.lose("site:west")
    with pytest.raises(Refused, match="silence proves nothing"):
        lab.move(goal="rollback")
    assert lab.move(goal="rollback", word="2: power lost at west").failures == ()
    assert lab.running() == dict.fromkeys(VMS, "east")
    assert set(lab.last().values()) == {WRITTEN + LATER}
    clock.forward(5)
    lab.heal("site:west")
    assert lab.move().failures == ()
    settled(lab, "east", 3)
    assert {copy["volume"] for copy in list_safety(lab.world())} == {"vol-1", "vol-2"}


def test_an_older_point_was_tried(make: MakeLab, clock: Clock) -> None:
    """The source has written after the point: it goes on with all of it."""
    lab = make(change=an_hour)
    lab.write(WRITTEN)
    lab.protect()
    clock.forward(1)
    lab.write(LATER)
    point = lab.status()["recoveryPoint"]["id"]
    clock.forward(1)
    assert lab.move("west", point=point).failures == ()
    assert set(lab.last().values()) == {WRITTEN}
    clock.forward(1)
    assert lab.move(goal="rollback").failures == ()
    assert set(lab.last().values()) == {WRITTEN + LATER}
    settled(lab, "east", 3)


def test_three_sites(make: MakeLab, clock: Clock) -> None:
    """The third copy follows the target while the window is open, and the source again after the rollback, by increments."""
    lab = moved(make, clock, sites=("east", "west", "south"))
    assert lab.protect().failures == ()
    view = lab.view()
    assert any(point.epoch == 2 and point.complete_at("south") for point in view.points)
    assert lab.status()["protected"] is True
    assert lab.move(goal="rollback").failures == ()
    assert set(lab.last().values()) == {WRITTEN + LATER}
    settled(lab, "east", 3)
    assert not any("all of it" in line for line in lab.lines), "nothing was copied in full"


@pytest.mark.parametrize("action", ["reserve", "claim", "stop:app", "fence:west-a", "prove"])
def test_a_rollback_that_cannot_finish_leads_back(make: MakeLab, clock: Clock, action: str) -> None:
    lab = moved(make, clock)
    before = snapshots(lab, "east")
    with failing(action), pytest.raises(MoveFailed):
        lab.move(goal="rollback")
    assert lab.running() == dict.fromkeys(VMS, "west")
    assert snapshots(lab, "east") == before
    assert lab.view().claims == {}
    assert lab.decide().actions == ()
    assert lab.move(goal="rollback").failures == ()
    settled(lab, "east", 3)


@pytest.mark.parametrize("at", range(0, 17, 2))
def test_a_killed_rollback_is_finished_by_the_next_run(make: MakeLab, clock: Clock, at: int) -> None:
    lab = moved(make, clock)
    assert killed_at(lambda: lab.move(goal="rollback"), at, "before" if at % 4 else "after")
    assert lab.move(goal="rollback").failures == ()
    assert set(lab.last().values()) == {WRITTEN + LATER}
    settled(lab, "east", 3)


def test_a_disaster_whose_source_is_back_before_its_end_opens_no_window(make: MakeLab) -> None:
    """What ran at the source meanwhile is not what the move left, so there is nothing untouched to go back to."""
    lab = make(change=an_hour, hosts_per_site=1)
    lab.write(WRITTEN)
    lab.protect()
    lab.lose("site:east", running=True)
    with failing("commit"), pytest.raises(MoveFailed):
        lab.move("west", word="1: it is gone")
    lab.heal("site:east")
    outcome = lab.move("west")
    assert outcome.failures == ()
    epoch = lab.view().epoch
    assert epoch is not None
    assert (epoch.site, epoch.kind, epoch.window_until) == ("west", "disaster", None)
    assert lab.status()["window"] is None
    lab.move()
    assert lab.decide().actions == ()
    view = lab.view()
    for site in view.spec.sites:
        copies = [view.volume(name, site) for name in view.volume_names]
        assert {copy is not None and copy.writable for copy in copies} == {site == "west"}
