"""What is asked of a zfs array once for many calls, and done at once for many volumes: the program's commands are counted, by transcript."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dr_provider.arrays.zfs.remote import datasets, landings, listing, meta, points, properties, snapshots, volumes
from dr_provider.arrays.zfs.remote.core import Context, Done, Fault
from lab.run import wait_for
from tests.arrays.zfs.test_remote import OpenZfs


class Counted(OpenZfs):
    """Counts its listings; `fuse`: answers as zfs-fuse does. What is set is so."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, fuse: bool = False) -> None:
        super().__init__(folder, monkeypatch)
        self.fuse = fuse
        self.listings = 0
        self.together = Done(0, "", "")
        """What zfs says when it is to destroy a group at once."""

    def call(self) -> Context:
        """As one more call of the same process sees the array."""
        return Context(
            deadline=self.ctx.deadline,
            config=self.ctx.config,
            memory=self.ctx.memory,
            execute=lambda words, seconds: self.answer(words),
        )

    def answer(self, words: Sequence[str]) -> Done:
        if words[:2] == ["zfs", "version"] and self.fuse:
            return Done(2, "", "unrecognized command 'version'")
        self.listings += words[:2] == ["zfs", "list"]
        if words[:2] == ["zfs", "set"]:
            pairs = {key: text for key, _, text in (word.partition("=") for word in words[2:] if "=" in word)}
            for name in words[2 + len(pairs) :]:
                self.rows[name].update(pairs)
        done = super().answer(words)
        return self.together if words[:3] == ["zfs", "destroy", "-r"] else done

    def point(self, volume: str, name: str, guid: str, *, seen: bool = True) -> str:
        full = f"tank/dr/vols/plan/{volume}@{name}"
        self.rows[full] = {"guid": guid, "referenced": "0", "used": "0"}
        if seen:
            text = {"time": "t", "members": {volume: {"size": 1, "records": 0, "luns": {}}}, "records": [{}]}
            self.rows[full].update(properties.assignments(points.POINT, text))
        return full


@pytest.fixture
def array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counted:
    made = Counted(tmp_path, monkeypatch)
    for name in ("one", "two"):
        made.volume(name)
    return made


# -- the listing ------------------------------------------------------------------------------------------


def look(ctx: Context) -> None:
    with meta.reading(ctx):
        datasets.catalog(ctx)


def test_calls_that_came_before_it_was_asked_for_share_a_listing(array: Counted) -> None:
    calls = [array.call() for _ in range(3)]
    for ctx in calls:
        look(ctx)
    assert array.listings == 1


def test_a_call_that_came_later_asks_for_itself(array: Counted) -> None:
    """What was done by hand between two calls is seen by the second."""
    look(array.call())
    array.volume("by-hand")
    with meta.reading(ctx := array.call()):
        assert "by-hand" in datasets.catalog(ctx).volumes
    assert array.listings == 2


def other_program(array: Counted) -> None:
    serial = array.folder / "tank/dr/meta/serial"
    before = int(serial.read_text()) if serial.exists() else 0
    serial.write_text(f"{before + 1:020d}\n")


def this_program(array: Counted) -> None:
    volumes.put_volume_records(array.call(), volumes=["one"], key="intent", value="a")


@pytest.mark.parametrize("change", [other_program, this_program])
def test_a_listing_serves_no_longer_once_something_was_changed(
    array: Counted, change: Callable[[Counted], None]
) -> None:
    waiting = array.call()
    look(array.call())
    change(array)
    before = array.listings
    look(waiting)
    assert array.listings == before + 1


def test_a_call_that_has_changed_nothing_in_the_end_leaves_the_listing_to_the_others(array: Counted) -> None:
    calls = [array.call() for _ in range(3)]
    for ctx in calls:
        with meta.changing(ctx) as change:
            datasets.catalog(ctx)
            change.touch()
    assert array.listings == 1


# -- many at once -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize(
    ("doomed", "wanted"),
    [
        ({"one": ["s1"], "two": ["s1"]}, {False: ["one@s1", "two@s1"], True: ["snapshot plan@s1", "-r plan@s1"]}),
        ({"one": ["s1", "s2"]}, {False: ["one@s1,s2"], True: ["one@s1", "one@s2"]}),
        ({"one": ["s1"], "two": ["s2"]}, {False: ["one@s1", "two@s2"], True: ["one@s1", "two@s2"]}),
    ],
    ids=["the group", "one volume's", "each its own"],
)
def test_snapshots_of_several_volumes_go_by_few_commands(
    array: Counted, fuse: bool, doomed: dict[str, list[str]], wanted: dict[bool, list[str]]
) -> None:
    array.fuse = fuse
    for volume, names in doomed.items():
        for name in names:
            array.point(volume, name, f"{volume} {name}")
    snapshots.delete_snapshots(array.ctx, snapshots=doomed)
    assert _said(array) == wanted[fuse]


def test_of_a_group_with_others_beside_it_each_snapshot_goes_by_itself(array: Counted) -> None:
    array.fuse = True
    array.volume("three")
    for volume in ("one", "two", "three"):
        array.point(volume, "s1", f"{volume} s1")
    snapshots.delete_snapshots(array.ctx, snapshots={"one": ["s1"], "two": ["s1"]})
    assert _said(array) == ["one@s1", "two@s1"]


def test_a_group_of_which_one_is_held_by_hand_goes_one_by_one_after_all(array: Counted) -> None:
    array.fuse = True
    for volume in ("one", "two"):
        array.point(volume, "s1", f"{volume} s1")
    array.together = Done(1, "", "cannot destroy 'tank/dr/vols/plan/one@s1': dataset is busy")
    snapshots.delete_snapshots(array.ctx, snapshots={"one": ["s1"], "two": ["s1"]})
    assert _said(array) == ["snapshot plan@s1", "-r plan@s1", "plan@s1", "one@s1", "two@s1"]


def _said(array: Counted) -> list[str]:
    words = [[each for each in words[1:] if each != "destroy"] for words in array.changes]
    return [" ".join(each).replace("tank/dr/vols/plan/", "").replace("tank/dr/vols/", "") for each in words]


def test_none_is_deleted_where_one_is_held(array: Counted) -> None:
    array.point("one", "s1", "1")
    array.rows[array.point("two", "s1", "2")][points.HOLDS] = "reason"
    with pytest.raises(Fault, match=r"volume two .* is held: reason; none was deleted") as fault:
        snapshots.delete_snapshots(array.ctx, snapshots={"one": ["s1"], "two": ["s1"]})
    assert fault.value.kind == "Busy"
    assert not array.changes


# -- arrivals ---------------------------------------------------------------------------------------------


def stream(guid: str) -> dict[str, Any]:
    snapshot = {"name": "s2", "guid": guid, "time": "t2", "records": {"intent": "r"}, "seal": "sealed", "luns": {}}
    return {"snapshot": snapshot, "base": {"name": "s1", "guid": "1"}, "size": 1 << 20}


@pytest.fixture
def destination(array: Counted) -> Counted:
    for number, name in enumerate(("one", "two")):
        dataset = f"tank/dr/vols/plan/{name}"
        volume = datasets.Volume(dataset, name, 1, "data", False, 1 << 20, ["t", "", "1"], {})
        array.rows[dataset].update(properties.assignments(listing.VOLUME, volume.text()))
        array.point(name, "s1", str(number))
        array.point(name, "s2", f"2{number}", seen=False)
    return array


def together(calls: Sequence[Callable[[], None]]) -> list[Fault | None]:
    """Arrivals that all wait while something else has its turn; what each ended with."""
    ended: list[Fault | None] = [None] * len(calls)

    def run(at: int) -> None:
        try:
            calls[at]()
        except Fault as fault:
            ended[at] = fault

    threads = [threading.Thread(target=run, args=(at,)) for at in range(len(calls))]
    with landings._waiting.turn:
        for thread in threads:
            thread.start()
        wait_for(
            lambda: len(landings._waiting.arrivals) == len(calls) or None,
            within=20,
            otherwise=lambda: "an arrival did not come to wait for its turn",
            poll=0.001,
        )
    for thread in threads:
        thread.join()
    return ended


def test_arrivals_that_wait_together_are_taken_up_by_one_reading_and_one_command_each(destination: Counted) -> None:
    ctx = destination.ctx
    calls = [
        lambda: landings.finish(ctx, "one", stream("20"), "plan", None),
        lambda: landings.finish(ctx, "two", stream("21"), "plan", None),
    ]
    assert together(calls) == [None, None]
    sets = [words[2].partition("=")[0] for words in destination.changes]
    assert sets == [listing.RECORDS, points.SEAL], "the point is set last, by the command that sets the seal"
    assert [words[3].partition("=")[0] for words in destination.changes][1] == points.POINT
    assert destination.listings == 1
    with meta.reading(ctx := destination.call()):
        found = datasets.catalog(ctx)
        for name, known in ((v.name, points.points(ctx, [v])[v.dataset]) for v in found.volumes.values()):
            assert (known.newest and (known.newest.name, known.newest.seal)) == ("s2", "sealed"), name
            assert found.volumes[name].records == {"intent": "r"}


def test_one_that_has_not_arrived_does_not_keep_the_other_from_being_taken_up(destination: Counted) -> None:
    ctx = destination.ctx
    calls = [
        lambda: landings.finish(ctx, "one", stream("of another"), "plan", None),
        lambda: landings.finish(ctx, "two", stream("21"), "plan", None),
    ]
    first, second = together(calls)
    assert first is not None
    assert first.kind == "CorruptRecord"
    assert second is None
    assert points.POINT in destination.rows["tank/dr/vols/plan/two@s2"]
    assert points.POINT not in destination.rows["tank/dr/vols/plan/one@s2"]


def test_a_guard_that_fails_is_told_to_each_by_its_own_call(destination: Counted) -> None:
    ctx = destination.ctx
    guard = {"lease_prefix": "lease/shop/", "lease": 1}
    ended = together(
        [
            lambda: landings.finish(ctx, "one", stream("20"), "plan", guard),
            lambda: landings.finish(ctx, "two", stream("21"), "plan", guard),
        ]
    )
    assert [fault and fault.kind for fault in ended] == ["LeaseLost", "LeaseLost"]
    assert not destination.changes
