"""Recovery points read back on a whole small world: rot at one site, at both, of the only copy; marks, moves and silence."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dr_provider.model.errors import BadInput, NotFound, Refused, Stopped
from dr_provider.protection.catalogue import newest
from dr_provider.reconcile.verify import Verdict, verify_plan
from tests.support.lab import Lab


def verify(lab: Lab, **how: Any) -> Verdict:
    return verify_plan(lab.world(), "shop", **how)


def rot(lab: Lab, site: str, *, unnoticed: bool, point: str | None = None) -> str:
    """A bit of VM db's root flips in the newest point of the site; the point's id."""
    if point is None:
        found = newest(lab.view().points, site)
        assert found is not None
        point = found.id
    lab.bench.corrupt("db", "root", site, point, unnoticed=unnoticed)
    return point


@pytest.fixture
def taken(lab: Lab) -> Lab:
    """Two points at both sites, of which the second has blocks of its own."""
    for _ in range(2):
        lab.write()
        lab.protect()
    return lab


def test_what_is_well_is_said_to_be(taken: Lab) -> None:
    verdict = verify(taken)
    assert verdict.well
    assert not verdict.findings
    assert not verdict.unknown
    (verified,) = verdict.points
    assert verified.well_at() == ("east", "west")
    assert len({str(reading.luns) for reading in verified.readings if reading.volume == "vol-1"}) == 1
    assert all(reading.bytes for reading in verified.readings)
    assert any(re.search(r"MiB read in \d+\.\d s \(\d+(\.\d)? [KMG]iB/s\)", line) for line in taken.lines), taken.lines
    assert verify(taken, every=True).well
    assert not [key for key in taken.world().look().arrays["east-a"].records if "/corrupt/" in key]  # type: ignore[union-attr]


@pytest.mark.parametrize("unnoticed", [False, True], ids=["the array notices", "only the comparison does"])
def test_rot_at_one_site_is_found_marked_and_passed_over_by_a_move(taken: Lab, *, unnoticed: bool) -> None:
    assert verify(taken).well  # what the point is stands on record
    point = rot(taken, "west", unnoticed=unnoticed)
    verdict = verify(taken)
    assert not verdict.well
    said = "\n".join(verdict.findings)
    assert f"{point} at west: " in said
    assert "restore from east, which has this point too" in said
    assert "at east" not in said.replace("than at east", "")

    best = newest(taken.view().points, "west")
    assert best is None or best.id != point
    east = newest(taken.view().points, "east")
    assert east is not None
    assert east.id == point
    assert not verify(taken).well, "it stays a fault until a newer one is there"

    taken.lose("site:east")
    decision = taken.decide("west", word="1: lost")
    assert decision.point != point
    assert any(f"recovery point {point} is newer, and was found corrupt at west" in line for line in decision.warnings)
    named = taken.decide("west", word="1: lost", point=point)
    assert named.point == point, "whoever names it gets it"
    assert any(f"recovery point {point} was found corrupt at west" in line for line in named.warnings)


def test_without_a_record_a_difference_marks_both(taken: Lab) -> None:
    point = rot(taken, "west", unnoticed=True)
    verdict = verify(taken)
    assert {finding.site for finding in verdict.points[0].findings} == {"east", "west"}
    assert "nothing on record says which one is right" in verdict.findings[0]
    points = {found.id: found for found in taken.view().points}
    assert not any(points[point].complete_at(site) for site in ("east", "west"))


def test_rot_of_the_only_copy_is_found_by_what_it_was(taken: Lab) -> None:
    assert verify(taken).well
    taken.lose("site:west")
    point = rot(taken, "east", unnoticed=True)
    verdict = verify(taken)
    assert [f.site for f in verdict.points[0].findings] == ["east"]
    assert f"{point} at east" in verdict.findings[0]
    assert "than when it was read before" in verdict.findings[0]
    assert any(said.startswith("west: ") for said in verdict.unknown), "a silent site is not known, not wrong"


def test_a_silent_site_is_not_wrong_and_nothing_verified_is_not_well(taken: Lab) -> None:
    taken.lose("site:west")
    assert verify(taken).well
    verdict = verify(taken, site="west")
    assert not verdict.well
    assert not verdict.findings
    assert verdict.unknown


def test_a_mark_goes_with_what_it_was_about(taken: Lab) -> None:
    assert verify(taken).well
    point = rot(taken, "west", unnoticed=True)
    assert not verify(taken).well
    taken.bench.corrupt("db", "root", "west", point, unnoticed=True)  # the bit flips back
    assert verify(taken, wish=point).well
    best = newest(taken.view().points, "west")
    assert best is not None
    assert best.id == point


def test_points_are_chosen_by_id_and_by_time(taken: Lab) -> None:
    first, second = taken.view().points[-2:]
    assert [v.point.id for v in verify(taken, wish=first.id).points] == [first.id]
    assert [v.point.id for v in verify(taken, wish=second.time).points] == [second.id]
    assert [v.point.id for v in verify(taken, every=True).points][-2:] == [first.id, second.id]
    with pytest.raises(BadInput, match="there is none of that name"):
        verify(taken, wish="e9-s9-ffffffff")


def test_part_of_a_point_that_was_asked_for_is_wrong(taken: Lab) -> None:
    point = taken.view().points[-1].id
    array = taken.world().fleet.array("west-a")
    volume = taken.view().volume("vol-1", "west")
    assert volume is not None
    for tag in {tag for snapshot in volume.snapshots for tag in snapshot.holds}:
        array.release(["vol-1"], tag)
    array.delete_snapshots({"vol-1": [point]})
    assert "volume vol-1 is not there" in "\n".join(verify(taken, wish=point).findings)
    assert verify(taken).well, "each site's newest is another one"


def test_nothing_to_read_back_is_refused(lab: Lab) -> None:
    with pytest.raises(Refused, match="no whole recovery point"):
        verify(lab)


def test_a_volume_that_goes_away_meanwhile_is_not_known(taken: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    world = taken.world()
    driver = world.fleet._drivers if world.look() else {}

    def gone(*_: object, **__: object) -> None:
        raise NotFound("snapshot was deleted while it was being sent")

    monkeypatch.setattr(driver["array west-a"], "digests", gone)
    verdict = verify_plan(world, "shop")
    assert verdict.well
    assert "went away while it was looked at" in verdict.unknown[0]


def test_it_can_be_stopped(taken: Lab) -> None:
    with pytest.raises(Stopped, match="Ctrl-C"):
        verify(taken, stop=lambda: "Ctrl-C")
