"""Bits that flip: at rest at the source, on the way, and at rest at the destination before a step is whole. Nothing of it appears."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from dr_provider.arrays.base import Extent, Stream
from dr_provider.arrays.embedded import sending
from dr_provider.arrays.embedded import sim as embedded_sim
from dr_provider.model import faults
from dr_provider.model.errors import CorruptRecord, NotFound, Unreachable
from tests.support.arrays import OWNER, EmbeddedPair

BLOCK = 4096


@dataclass
class Step:
    """A pair with a volume of 24 written blocks, whose first snapshot is on both and whose second is to be sent."""

    pair: EmbeddedPair

    def send(self, *, start: int = 0) -> Stream:
        return self.pair.a.send("v", "s1", "s2", start=start)

    def receive(self, stream: Stream) -> int:
        return self.pair.b.receive("v", stream, OWNER)

    def there(self) -> list[str]:
        return [snapshot.name for snapshot in self.pair.b.state().volumes["v"].snapshots]

    def same(self) -> bool:
        a, b = (embedded_sim.read_lun(self.pair.path(which), "v", "db") for which in "ab")
        return a == b


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Step:
    monkeypatch.setattr(sending, "_READ", 4)
    pair = EmbeddedPair(tmp_path)
    pair.a.create_volume("v", 1 << 20, OWNER)
    pair.a.create_lun("v", "db", 32 * BLOCK)
    pair.a.map_lun("v", ["db"], "host")
    pair.write(pair.a, "v", "db", 0, b"a" * 8 * BLOCK)
    pair.a.snapshot(["v"], "s1")
    pair.b.receive("v", pair.a.send("v", None, "s1"), OWNER)
    pair.write(pair.a, "v", "db", 4 * BLOCK, b"b" * 20 * BLOCK)
    pair.a.snapshot(["v"], "s2")
    return Step(pair)


def changed(extents: list[Extent], how: Callable[[Extent], Extent | None]) -> list[Extent]:
    """Extents with the second one changed, or left out (None)."""
    second = how(extents[1])
    return [extents[0], *([second] if second else []), *extents[2:]]


WAYS: dict[str, Callable[[list[Extent]], list[Extent]]] = {
    "a bit": lambda found: changed(found, lambda e: replace(e, data=b"c" + (e.data or b"")[1:])),
    "data that became zeros": lambda found: changed(found, lambda e: replace(e, data=bytes(e.length))),
    "data that is short": lambda found: changed(found, lambda e: replace(e, data=(e.data or b"")[:-1])),
    "data that is lost": lambda found: changed(found, lambda e: replace(e, data=None)),
    "an extent in another's place": lambda found: changed(found, lambda e: replace(e, offset=found[2].offset)),
    "an extent that came twice, and one never": lambda found: changed(found, lambda _: found[0]),
    "a hole in the place of data": lambda found: changed(found, lambda e: Extent(e.lun, e.offset, e.length, None)),
    "an extent that was left out": lambda found: changed(found, lambda _: None),
}


def go_on(step: Step) -> None:
    part = step.pair.b.state().volumes["v"].incoming
    step.receive(step.send(start=part.received if part else 0))


@pytest.mark.parametrize("way", WAYS)
def test_what_arrives_otherwise_than_it_was_sent_does_not_appear(step: Step, way: str) -> None:
    stream = step.send()
    stream.extents = WAYS[way](list(stream))
    with pytest.raises(CorruptRecord, match="array a"):
        step.receive(stream)
    assert step.there() == ["s1"]
    step.pair.audit()

    if (
        way == "an extent that was left out"
    ):  # what goes on behind a gap is found by the checksum of the whole step, and thrown away
        with pytest.raises(CorruptRecord, match="whole step differs"):
            go_on(step)
        assert step.there() == ["s1"]
    go_on(step)
    assert step.there() == ["s1", "s2"]
    assert step.same()
    step.pair.audit()


def test_a_step_that_was_cut_is_checked_as_a_whole_when_it_goes_on(step: Step) -> None:
    with pytest.raises(Unreachable):
        step.pair.cut_receive("v", step.send(), 3)
    part = step.pair.b.state().volumes["v"].incoming
    assert part is not None
    assert part.received == 12 * BLOCK
    # What has arrived rots before the rest comes; the array's own checksum of the block is written to match.
    with closing(sqlite3.connect(step.pair.path("b"))) as db, db:
        db.execute("UPDATE block SET sum = sum + 1 WHERE no = 5 AND gen = (SELECT max(gen) FROM block)")
    with pytest.raises(CorruptRecord, match=r"checksum of the whole step differs.*sends s2 anew"):
        step.receive(step.send(start=part.received))
    assert step.there() == ["s1"]
    assert step.pair.b.state().volumes["v"].incoming is None
    step.receive(step.send())
    assert step.same()
    step.pair.audit()


def test_rot_at_the_source_is_not_sent(step: Step) -> None:
    offset = embedded_sim.damage_block(step.pair.path("a"), "v", "db")
    assert offset == 0
    step.receive(step.send())  # the damaged block is older than the base
    with pytest.raises(CorruptRecord, match="block 0 fails its checksum"):
        list(step.pair.a.send("v", None, "s2"))


def test_the_garbled_extent_is_the_one_that_was_said(step: Step) -> None:
    """What `dr sim garble` sets: one extent, once; it is counted apart from calls that fail, and healed with them."""
    path = step.pair.path("a")
    faults.put(path, faults.Fault("array:a", "garble", value=3, counter=str(path)))
    faults.put(path, faults.Fault("array:a", "fail", value=50, counter=str(path)))
    with pytest.raises(CorruptRecord, match="were changed on their way"):
        step.receive(step.send())
    step.receive(step.send())
    assert step.same()
    faults.put(path, faults.Fault("array:a", "garble", value=1, counter=str(path)))
    faults.heal(path, "array:a")
    assert len(list(step.send())) == 5


def test_a_block_that_was_damaged_unnoticed_is_read_as_if_it_were_well(step: Step) -> None:
    path = step.pair.path("b")
    before = embedded_sim.read_lun(path, "v", "db")
    embedded_sim.damage_block(path, "v", "db", "s1", unnoticed=True)
    after = embedded_sim.read_lun(path, "v", "db")
    assert [at for at in range(len(before)) if before[at] != after[at]] == [0]
    step.pair.a.create_lun("v", "empty", BLOCK)
    with pytest.raises(NotFound, match="holds no data"):
        embedded_sim.damage_block(step.pair.path("a"), "v", "empty")
