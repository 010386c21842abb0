"""An embedded pair against plain bytes: whatever is written, snapshot, cloned, rolled back, sent or deleted, in any order."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dr_provider.model.errors import CorruptRecord, NothingToSend
from tests.support.arrays import OWNER, EmbeddedPair

BLOCK = 4096
Bytes = dict[str, bytes]

# It waits for the disk thousands of times. A timeout in the middle of a run reads as a flaky example of hypothesis (an ExceptionGroup), so on a
# busy machine it must not come before the end.
pytestmark = pytest.mark.timeout(1800)

lun_names = st.sampled_from(["one", "two"])


class Volumes(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.pair = EmbeddedPair(self.folder)
        self.now: Bytes = {}
        self.points: dict[str, Bytes] = {}
        self.copies: dict[str, Bytes] = {}
        self.clones: dict[str, Bytes] = {}
        self.count = 0

    def teardown(self) -> None:
        self.pair.a.close()
        self.pair.b.close()
        shutil.rmtree(self.folder)

    def _name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    @initialize()
    def begin(self) -> None:
        self.pair.a.create_volume("v", 1 << 20, OWNER)
        self.make_lun("one", 6)

    @rule(lun=lun_names, blocks=st.integers(1, 8))
    def make_lun(self, lun: str, blocks: int) -> None:
        self.pair.a.create_lun("v", lun, blocks * BLOCK)
        self.pair.a.map_lun("v", [lun], "host")
        self.now[lun] = self.now.get(lun, b"").ljust(blocks * BLOCK, b"\0")

    @precondition(lambda self: self.now)
    @rule(data=st.data())
    def delete_lun(self, data: st.DataObject) -> None:
        lun = data.draw(st.sampled_from(sorted(self.now)))
        self.pair.a.unmap_luns({"v": [lun]})
        assert self.pair.a.delete_lun("v", lun)
        del self.now[lun]

    @precondition(lambda self: self.now)
    @rule(data=st.data(), fill=st.sampled_from([b"\0", b"a", b"b"]))
    def write(self, data: st.DataObject, fill: bytes) -> None:
        lun = data.draw(st.sampled_from(sorted(self.now)))
        size = len(self.now[lun])
        offset = data.draw(st.integers(0, size - 1))
        length = data.draw(st.sampled_from([1, 100, BLOCK, 2 * BLOCK, 3 * BLOCK]))
        content = (fill * length)[: size - offset]
        self.pair.write(self.pair.a, "v", lun, offset, content)
        self.now[lun] = self.now[lun][:offset] + content + self.now[lun][offset + len(content) :]

    @rule()
    def snapshot(self) -> None:
        name = self._name("s")
        self.pair.a.snapshot(["v"], name)
        self.points[name] = dict(self.now)

    @precondition(lambda self: self.points)
    @rule(data=st.data())
    def delete_snapshot(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.points)))
        self.pair.a.delete_snapshots({"v": [name]})
        del self.points[name]

    @precondition(lambda self: self.copies)
    @rule(data=st.data())
    def delete_copied_snapshot(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.copies)))
        self.pair.b.delete_snapshots({"v": [name]})
        del self.copies[name]

    @rule(data=st.data())
    def clone(self, data: st.DataObject) -> None:
        snapshot = data.draw(st.sampled_from([None, *sorted(self.points)]))
        name = self._name("c")
        self.pair.a.clone("v", snapshot, name, "safety", OWNER)
        self.clones[name] = dict(self.now if snapshot is None else self.points[snapshot])

    @precondition(lambda self: any(self.clones.values()))
    @rule(data=st.data())
    def write_clone(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(n for n, luns in self.clones.items() if luns)))
        lun = data.draw(st.sampled_from(sorted(self.clones[name])))
        self.pair.a.map_lun(name, [lun], "host")
        self.pair.write(self.pair.a, name, lun, 10, b"clone")
        self.clones[name][lun] = self.clones[name][lun][:10] + b"clone" + self.clones[name][lun][15:]

    @precondition(lambda self: self.clones)
    @rule(data=st.data())
    def delete_clone(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.clones)))
        self.pair.a.unmap_luns({name: list(self.clones[name])})
        assert self.pair.a.delete_volume(name, OWNER)
        del self.clones[name]

    @precondition(lambda self: self.points)
    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        order = list(self.points)
        name = data.draw(st.sampled_from(order))
        self.pair.a.unmap_luns({"v": list(self.now)})
        self.pair.a.demote("v", name)
        self.pair.a.promote("v", name)
        self.points = {n: self.points[n] for n in order[: order.index(name) + 1]}
        self.now = dict(self.points[name])
        self.pair.a.map_lun("v", list(self.now), "host")

    @precondition(lambda self: self.points)
    @rule(data=st.data(), cut=st.booleans())
    def replicate(self, data: st.DataObject, cut: bool) -> None:
        order = list(self.points)
        there = self.pair.b.state().volumes.get("v")
        guids = [s.guid for s in there.snapshots] if there else []
        here = {s.guid: s.name for s in self.pair.a.state().volumes["v"].snapshots}
        base = here.get(guids[-1]) if guids else None
        wanted = data.draw(st.sampled_from(order[order.index(base) :] if base else order))
        try:
            stream = self.pair.a.send("v", base, wanted)
        except NothingToSend:
            return
        if stream.snapshot.guid in guids:
            # The newest copy is of what was rolled back since: a full copy of a snapshot that is there already is passed over.
            assert self.pair.b.receive("v", stream, OWNER) == 0
            assert [s.guid for s in self.pair.b.state().volumes["v"].snapshots] == guids
            return
        if cut and stream.total:
            # One extent arrives, the rest is sent by another step.
            first = next(iter(stream))
            self.pair.a.send("v", base, wanted)
            stream.extents = iter([first])
            if first.length < stream.total:
                with pytest.raises(CorruptRecord, match="in all"):
                    self.pair.b.receive("v", stream, OWNER)
                state = self.pair.b.state().volumes["v"].incoming
                assert state is not None
                assert state.received == first.length
                stream = self.pair.a.send("v", base, wanted, start=state.received)
            else:
                stream = self.pair.a.send("v", base, wanted)
        self.pair.b.receive("v", stream, OWNER)
        if base is None:
            self.copies = {}
        self.copies[wanted] = dict(self.points[wanted])
        self._matches(self.pair.b, "v", self.points[wanted])

    def _matches(self, array: object, volume: str, luns: Bytes) -> None:
        which = self.pair.a if array is self.pair.a else self.pair.b
        assert set(which.state().volumes[volume].luns) == set(luns)
        for lun, content in luns.items():
            assert self.pair.read(which, volume, lun, 0, len(content)) == content

    @invariant()
    def same(self) -> None:
        self._matches(self.pair.a, "v", self.now)
        for name, luns in self.clones.items():
            self._matches(self.pair.a, name, luns)

    @invariant()
    def estimates(self) -> None:
        state = self.pair.a.state().volumes["v"]
        if state.snapshots:
            assert self.pair.a.estimate("v", state.snapshots[-1].name, None) >= state.changed
        whole = sum(
            len(content[at : at + BLOCK].strip(b"\0")) > 0
            for content in self.now.values()
            for at in range(0, len(content), BLOCK)
        )
        assert self.pair.a.estimate("v", None, None) == whole * BLOCK

    @invariant()
    def sound(self) -> None:
        self.pair.audit()


Volumes.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, derandomize=True, database=None
)
TestVolumes = Volumes.TestCase
