"""More than two copies: fan-out, cascade, tertiary copies after a failover, points fetched from a third site, splits of three."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dr_provider.arrays.embedded.array import EmbeddedArray
from dr_provider.model.errors import BadInput, DeviceFault, MoveFailed, Refused
from dr_provider.protection.catalogue import newest
from tests.support.lab import Lab
from tests.support.situations import P1, P2, REPLICA, answer, claim, ids, shop, view

SITES = ("east", "west", "south")
FAN_OUT: dict[str, str] = {}
CASCADE = {"south-a": "west-a"}
WORD = "{}: power lost, confirmed by phone"


def make(folder: Path, via: dict[str, str] | None = None, **options: object) -> Lab:
    given = {"sites": SITES, "via": via, "source_budget": "300ms", "hosts_per_site": 1, **options}
    lab = Lab(folder / "project", **given)  # type: ignore[arg-type]
    lab.write(20)
    lab.protect()
    return lab


def states(lab: Lab) -> dict[tuple[str, str, str], str]:
    return {(m["volume"], m["from"], m["to"]): m["state"] for m in lab.status()["mirrors"]}


def full_copies(lab: Lab) -> list[str]:
    return [line for line in lab.lines if "full copy" in line or "all of it" in line]


def settled(lab: Lab, site: str) -> None:
    """The plan runs at the site and nowhere else, and nothing is left to do."""
    assert lab.running() == dict.fromkeys(("db", "app", "web"), site)
    assert lab.decide().actions == ()
    assert lab.status()["phase"] == "steady"


@pytest.mark.parametrize(("via", "feeder"), [(FAN_OUT, "east-a"), (CASCADE, "west-a")], ids=["fan-out", "cascade"])
def test_every_copy_is_kept_up(tmp_path: Path, via: dict[str, str], feeder: str) -> None:
    lab = make(tmp_path, via)
    wanted = {(v, "east-a", "west-a"): "synced" for v in ("vol-1", "vol-2")}
    wanted |= {(v, feeder, "south-a"): "synced" for v in ("vol-1", "vol-2")}
    assert states(lab) == wanted
    view = lab.view()
    assert {site: newest(view.points, site) for site in SITES} == dict.fromkeys(SITES, view.points[-1])
    settled(lab, "east")


@pytest.mark.parametrize("via", [FAN_OUT, CASCADE], ids=["fan-out", "cascade"])
@pytest.mark.parametrize("target", ["west", "south"])
def test_a_planned_move_leaves_all_copies_in_line(tmp_path: Path, via: dict[str, str], target: str) -> None:
    lab = make(tmp_path, via)
    lab.write(5)
    outcome = lab.move(target)
    assert outcome.failures == ()
    assert set(lab.last().values()) == {25}
    settled(lab, target)
    view = lab.view()
    assert all(any(p.epoch == 2 and p.complete_at(site) for p in view.points) for site in SITES)
    assert set(states(lab).values()) == {"synced"}
    # And home again.
    lab.write(5)
    assert lab.move("east").failures == ()
    assert set(lab.last().values()) == {30}
    settled(lab, "east")


@pytest.mark.parametrize("via", [FAN_OUT, CASCADE], ids=["fan-out", "cascade"])
@pytest.mark.parametrize(("target", "third"), [("west", "south"), ("south", "west")])
def test_after_a_disaster_the_third_copy_is_fed_by_increments(
    tmp_path: Path, via: dict[str, str], target: str, third: str
) -> None:
    lab = make(tmp_path, via)
    lab.lose("site:east")
    outcome = lab.move(target, word=WORD.format(1))
    assert outcome.failures == ()
    settled(lab, target)
    assert any(p.epoch == 2 and p.complete_at(third) for p in lab.view().points)
    assert lab.status()["protected"]
    lab.write(7)
    lab.protect()
    lab.heal("site:east")
    lab.protect()
    assert set(states(lab).values()) == {"synced"}
    assert set(lab.last().values()) == {27}
    settled(lab, target)
    assert full_copies(lab) == []


def test_the_survivor_of_two_losses(tmp_path: Path) -> None:
    lab = make(tmp_path, CASCADE)
    lab.lose("site:east")
    lab.lose("site:west")
    assert lab.move("south", word=WORD.format(1)).failures == ()
    assert set(lab.last().values()) == {20}
    assert not lab.status()["protected"]
    lab.heal("site:west")
    lab.protect()
    assert lab.status()["protected"]
    lab.heal("site:east")
    lab.protect()
    assert set(states(lab).values()) == {"synced"}
    settled(lab, "south")


def test_a_copy_on_the_way_is_lost_and_the_next_is_fed_by_the_source(tmp_path: Path) -> None:
    lab = make(tmp_path, CASCADE)
    lab.lose("array:west-a")
    lab.write(5)
    lab.protect()
    assert states(lab)["vol-1", "east-a", "south-a"] == "synced"
    lab.heal("array:west-a")
    lab.protect()
    assert states(lab)["vol-1", "west-a", "south-a"] == "synced"
    assert set(states(lab).values()) == {"synced"}


def test_a_link_is_lost_and_the_copy_is_fed_by_way_of_the_third(tmp_path: Path) -> None:
    lab = make(tmp_path, FAN_OUT)
    lab.lose("link:east-a/south-a")
    lab.write(5)
    lab.protect()
    assert states(lab)["vol-1", "west-a", "south-a"] == "synced"
    # A planned move goes the same way, and nothing is lost.
    lab.write(5)
    outcome = lab.move("south")
    assert outcome.decision.kind == "planned"
    assert outcome.failures == ()
    assert set(lab.last().values()) == {30}


@contextmanager
def receives_fail(array: str, *volumes: str) -> Iterator[None]:
    """Transfers of the volumes to the array are cut as long as this lasts."""
    receive = EmbeddedArray.receive

    def cut(self: EmbeddedArray, volume: str, *args: Any, **more: Any) -> int:
        if self.name == array and volume in volumes:
            raise DeviceFault(f"array {array}: cut by the test")
        return receive(self, volume, *args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmbeddedArray, "receive", cut)
        yield


# -- a point across sites -------------------------------------------------------------------------


VOLUMES = 5
VMS = [f"vm-{n}" for n in range(VOLUMES)]


def partly_sent(folder: Path) -> tuple[Lab, str, str]:
    """The newest point has arrived whole at south, and of three of five volumes at west; then east is lost. The lab, that point, the one before."""
    given = {"sites": SITES, "source_budget": "300ms", "hosts_per_site": 1, "volumes": VOLUMES, "vms": VMS}
    lab = Lab(folder / "project", **given)  # type: ignore[arg-type]
    lab.write(10)
    lab.protect()
    before = lab.view().points[-1].id
    lab.write(10)
    with receives_fail("west-a", "vol-4", "vol-5"):
        lab.protect()
    newest_point = lab.view().points[-1]
    assert newest_point.id != before
    assert newest_point.complete_at("south")
    assert sorted(newest_point.sites["west"].arrays) == ["vol-1", "vol-2", "vol-3"]
    lab.lose("site:east")
    return lab, newest_point.id, before


def test_a_point_is_restored_whole_by_way_of_another_site(tmp_path: Path) -> None:
    lab, point, _ = partly_sent(tmp_path)
    decision = lab.decide("west", word=WORD.format(1))
    assert [a.id for a in decision.actions if a.verb == "fetch"] == ["fetch:vol-4", "fetch:vol-5"]
    outcome = lab.move("west", word=WORD.format(1))
    assert (outcome.point, outcome.failures) == (point, ())
    assert set(lab.last().values()) == {20}
    assert lab.running() == dict.fromkeys(VMS, "west")


def test_with_the_third_site_dark_the_point_before_is_restored_and_the_parts_are_kept(tmp_path: Path) -> None:
    lab, point, before = partly_sent(tmp_path)
    lab.lose("site:south")
    outcome = lab.move("west", word=WORD.format(1))
    assert (outcome.point, outcome.failures) == (before, ())
    assert set(lab.last().values()) == {10}
    assert len(outcome.safety) == 3
    assert any(point in warning and "vol-1, vol-2, vol-3" in warning for warning in outcome.warnings)


def test_the_third_site_falls_silent_in_the_middle(tmp_path: Path) -> None:
    """The claim names a point whose parts are not to be had any more; nothing was broken, so the next run goes on with the one before."""
    lab, point, before = partly_sent(tmp_path)
    with receives_fail("west-a", "vol-4", "vol-5"), pytest.raises(MoveFailed):
        lab.move("west", word=WORD.format(1))
    claim = lab.view().claim
    assert claim is not None
    assert claim.point == point
    lab.lose("site:south")
    outcome = lab.move("west")
    assert (outcome.point, outcome.failures) == (before, ())
    assert set(lab.last().values()) == {10}


def test_a_part_that_is_gone_when_others_are_broken_refuses_with_what_to_do() -> None:
    """Vol-1 was broken at the newest point; what came of vol-2 is gone again, and so is the site that it was fetched from."""
    half = replace(REPLICA, points=(P1, replace(P2, lacking=("vol-2",))), at={"vol-1": "writable"})
    seen: dict[str, Any] = {"silent": ["east", "south"], "west": half, "claim": claim(point=P2.id, word=WORD.format(1))}
    three = shop(sites=list(SITES))
    (refusal,) = answer(view(three, **seen)).refused
    assert "west lacks that point of vol-2, which cannot be fetched from any site that answers" in refusal
    assert "dr abort shop" in refusal
    back = answer(view(three, **{**seen, "silent": ["east"]}))
    assert (back.refused, back.point) == ((), P2.id)
    assert {"fetch:vol-2", "break:vol-2"} <= set(ids(back))
    off = answer(view(three, **seen), goal="abort")
    assert [action.id for action in off.actions if action.verb in ("remirror", "withdraw")] == [
        "remirror:vol-1",
        "withdraw",
    ]


def test_a_point_is_named_that_only_the_third_site_has_whole(tmp_path: Path) -> None:
    lab, point, before = partly_sent(tmp_path)
    assert lab.decide("west", word=WORD.format(1), point=point).point == point
    assert lab.decide("west", word=WORD.format(1), point=before).point == before
    lab.lose("site:south")
    with pytest.raises(BadInput, match="it is not whole there at west"):
        lab.decide("west", word=WORD.format(1), point=point)


# -- three histories ------------------------------------------------------------------------------


def three_histories(folder: Path) -> Lab:
    """All links cut, operator's included by turns; west and south both forced while east runs on."""
    lab = make(folder)
    for site in SITES:
        for other in SITES:
            if site < other:
                lab.lose(f"link:{site}/{other}")
    for target, away in (("west", "south"), ("south", "west")):
        for site in ("east", away):
            lab.lose(f"link:operator/{site}")
        assert lab.move(target, word=WORD.format(1)).failures == ()
        for site in ("east", away):
            lab.heal(f"link:operator/{site}")
    return lab


def test_three_histories_are_all_kept(tmp_path: Path) -> None:
    lab = three_histories(tmp_path)
    lab.write_at("east", 3)
    lab.write_at("west", 5)
    lab.write_at("south", 7)
    for site in SITES:
        for other in SITES:
            if site < other:
                lab.heal(f"link:{site}/{other}")

    with pytest.raises(Refused, match="split"):
        lab.protect()

    assert len(set(lab.running().values())) == 1, "no VM runs twice after the first run"
    split = lab.view().split
    assert split is not None
    assert set(split.sides) == set(SITES)
    with pytest.raises(Refused, match="dr resolve shop --keep SITE"):
        lab.move("west")

    outcome = lab.move("south", goal="resolve")
    assert outcome.failures == ()
    assert set(lab.last().values()) == {27}
    settled(lab, "south")
    assert lab.safety_ledgers() == {"east-a": {23}, "west-a": {25}}
