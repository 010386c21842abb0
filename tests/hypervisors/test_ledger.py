"""The ledger: whatever is done to a guest, and after whichever block write the power goes, its disks hold what was acknowledged."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dr_provider.hypervisors.embedded import EmbeddedHost, ledger
from dr_provider.hypervisors.embedded.lab import Lab, read_ledger
from dr_provider.hypervisors.embedded.ledger import BLOCK, ENTRY, Ledger, Region, RegionFull
from dr_provider.model.errors import Conflict, Unreachable
from dr_provider.model.records import Owner
from dr_provider.model.topology import HealthSpec, HostSpec
from dr_provider.model.vm import DiskAttachment, VmDefinition
from tests.hypervisors.fakes import FakeArray, FakeClock, PowerCut

SIZE = 64 * BLOCK
EMPTY_1 = Ledger(0, 0, (0,), (0,))
EMPTY_2 = Ledger(0, 0, (0, 0), (0, 0))


class MemoryDisk:
    """A disk whose power may go before any block write."""

    def __init__(self, name: str, size: int = SIZE) -> None:
        self.name = name
        self.data = bytearray(size)
        self.power: list[int] | None = None
        self.writes = 0

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self.data[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        for at in range(0, len(data), BLOCK):
            if self.power is not None:
                if not self.power[0]:
                    raise PowerCut
                self.power[0] -= 1
            self.writes += 1
            self.data[offset + at : offset + at + BLOCK] = data[at : at + BLOCK]


def disks_of(count: int, size: int = SIZE) -> tuple[list[MemoryDisk], list[Region]]:
    disks = [MemoryDisk(f"d{n}", size) for n in range(count)]
    return disks, [Region(disk, 0, size) for disk in disks]


@settings(max_examples=300, deadline=None)
@given(
    count=st.integers(1, 3),
    steps=st.lists(st.tuples(st.integers(1, 200), st.none() | st.integers(0, 12)), min_size=1, max_size=12),
)
def test_a_crash_at_any_block_write_leaves_an_intact_ledger(count: int, steps: list[tuple[int, int | None]]) -> None:
    """Each step appends a batch; with a number, the power goes after that many block writes and the guest boots anew."""
    disks, regions = disks_of(count)
    stands, session = ledger.read(regions, "db"), 1
    for amount, power in steps:
        upto = min(stands.last + amount, ledger.capacity(regions))
        budget = None if power is None else [power]
        for disk in disks:
            disk.power = budget
        before = stands.last
        try:
            stands = ledger.append(regions, "db", stands, upto, session)
        except PowerCut:
            session += 1
            found = ledger.read(regions, "db")
            assert found.problem == ""
            assert before <= found.last <= upto
            stands = found
        else:
            assert ledger.read(regions, "db") == stands
            assert stands.last == upto


@settings(max_examples=150, deadline=None)
@given(
    first=st.integers(0, 130),
    amount=st.integers(1, 130),
    more=st.integers(0, 130),
    power=st.integers(0, 9),
    silent=st.integers(0, 9),
)
def test_a_write_out_that_failed_is_done_again_with_more(
    first: int, amount: int, more: int, power: int, silent: int
) -> None:
    """The array is silent in the middle of a batch; the same guest tries again with more entries, and is cut in that too."""
    disks, regions = disks_of(2)
    stands = ledger.append(regions, "db", EMPTY_2, first, 1)
    for budget, upto in (([power], first + amount), ([silent], first + amount + more)):
        for disk in disks:
            disk.power = budget
        with contextlib.suppress(PowerCut):
            ledger.append(regions, "db", stands, upto, 1)
        found = ledger.read(regions, "db")
        assert found.problem == ""
        assert found.last >= first


@settings(max_examples=200, deadline=None)
@given(
    first=st.integers(1, 200),
    amount=st.integers(1, 130),
    power=st.integers(0, 14),
    stale=st.integers(0, 150),
    before=st.booleans(),
)
def test_a_disk_that_was_added_is_taken_into_the_ledger(
    first: int, amount: int, power: int, stale: int, before: bool
) -> None:
    """Blank, or with what it held when it was taken out; by role before or after the disk that is there; cut at any block write."""
    disks, regions = disks_of(2)
    here, added = (1, 0) if before else (0, 1)
    if stale:  # it was a disk of the VM once
        ledger.append(regions, "db", EMPTY_2, min(stale, first), 1)
    alone = ledger.read([regions[here]], "db")
    alone = ledger.append([regions[here]], "db", alone, first + stale + 1, 2)
    stands = ledger.read(regions, "db")
    assert (stands.last, stands.problem) == (alone.last, "")
    assert stands.ends[added] == -1
    for disk in disks:
        disk.power = [power]
    with contextlib.suppress(PowerCut):
        ledger.append(regions, "db", stands, stands.last + amount, 3)
    for disk in disks:
        disk.power = None
    found = ledger.read(regions, "db")
    assert found.problem == ""
    assert found.last >= alone.last
    whole = ledger.append(regions, "db", found, found.last + amount, 4)
    assert ledger.read(regions, "db") == whole
    assert whole.ends == (whole.last, whole.last)
    disks[added].data[:] = bytes(SIZE)
    assert ledger.read(regions, "db").problem, "a disk of the ledger that is lost is missed"


def build(last: int, count: int = 2) -> tuple[list[MemoryDisk], list[Region]]:
    disks, regions = disks_of(count)
    stands = Ledger(0, 0, (0,) * count, (0,) * count)
    while stands.last < last:
        stands = ledger.append(regions, "db", stands, min(last, stands.last + 8), 7)
    return disks, regions


def entry(number: int) -> int:
    return BLOCK + (number - 1) * ENTRY


def _flip(disks: list[MemoryDisk]) -> None:
    disks[0].data[entry(70) + 30] ^= 1


def _hole(disks: list[MemoryDisk]) -> None:
    disks[0].data[2 * BLOCK : 3 * BLOCK] = bytes(BLOCK)


def _lost_end(disks: list[MemoryDisk]) -> None:
    for disk in disks:
        disk.data[3 * BLOCK : 4 * BLOCK] = bytes(BLOCK)


def _behind(disks: list[MemoryDisk]) -> None:
    other, _ = build(100)
    disks[1].data[:] = other[1].data


def _ahead(disks: list[MemoryDisk]) -> None:
    other, _ = build(150)
    disks[1].data[:] = other[1].data


def _mixed(disks: list[MemoryDisk]) -> None:
    other, regions = disks_of(2)
    ledger.append(regions, "db", EMPTY_2, 128, 99)
    for disk, theirs in zip(disks, other, strict=True):
        disk.data[2 * BLOCK : 3 * BLOCK] = theirs.data[2 * BLOCK : 3 * BLOCK]


def _another(disks: list[MemoryDisk]) -> None:
    other, regions = disks_of(2)
    ledger.append(regions, "app", EMPTY_2, 128, 7)
    for disk, theirs in zip(disks, other, strict=True):
        disk.data[:] = theirs.data


def _header(disks: list[MemoryDisk]) -> None:
    disks[0].data[15] ^= 1


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_flip, "disk d0: entry 70 is torn or damaged"),
        (_hole, "disk d0: entry 65 is missing and later ones are there"),
        (_lost_end, "disk d0: 140 entries were written and only 128 are there"),
        (_behind, "more than one write-out apart"),
        (_ahead, "which is written first, only 140"),
        (_mixed, "entry 65 is torn or damaged"),
        (_another, "is another VM's (app)"),
        (_header, "header is damaged"),
    ],
)
def test_damage_is_seen_and_said(damage: object, sentence: str) -> None:
    disks, regions = build(140)
    assert ledger.read(regions, "db").intact
    assert callable(damage)
    damage(disks)
    found = ledger.read(regions, "db")
    assert not found.intact
    assert sentence in found.problem


def test_an_append_touches_only_the_blocks_that_it_must() -> None:
    disks, regions = build(16)
    for disk in disks:
        disk.writes = 0
    ledger.append(regions, "db", ledger.read(regions, "db"), 24, 7)
    assert [disk.writes for disk in disks] == [2, 2]


def test_a_full_region_is_refused_before_anything_is_written() -> None:
    disks, regions = disks_of(1, 2 * BLOCK)
    full = ledger.append(regions, "db", EMPTY_1, 64, 1)
    assert ledger.read(regions, "db") == full
    with pytest.raises(RegionFull, match="room for 64 entries"):
        ledger.append(regions, "db", full, 65, 1)
    assert ledger.capacity([Region(disks[0], 2 * BLOCK, 2 * BLOCK)]) == 0
    assert ledger.read([Region(disks[0], 2 * BLOCK, 2 * BLOCK)], "db") == EMPTY_1


def test_a_hundred_thousand_entries_are_read_fast() -> None:
    _, regions = disks_of(1, 2000 * BLOCK)
    stands = EMPTY_1
    while stands.last < 100_000:
        stands = ledger.append(regions, "db", stands, stands.last + 4000, 1)
    start = time.process_time()
    assert ledger.read(regions, "db") == stands
    assert time.process_time() - start < 2.0


# -- the whole guest -------------------------------------------------------------------------------

OWNER = Owner("t", "", "")


class Guests(RuleBasedStateMachine):
    """A VM with two disks under writes, freezes, stops, silence and power cuts: what was acknowledged is there, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        spec = HostSpec("h1", "east", "embedded", options={"path": f"{self.folder.name}/h1.db"})
        self.array, self.clock = FakeArray(), FakeClock()
        self.host = EmbeddedHost(spec, connect=self.array.connect, timeout=0.05, clock=self.clock)
        self.lab = Lab(spec, clock=self.clock)
        self.host.create()
        initiator = self.host.state().initiator
        for lun in ("a", "b"):
            self.array.add("v", lun, 1 << 20, initiator)
        disks = tuple(DiskAttachment(role, "v", role, 1 << 20, "t") for role in ("b", "a"))
        self.vm = VmDefinition("db", "db", "shop", "u", 1, 1, disks, (), OWNER)
        self.host.define(self.vm)
        self.acknowledged = self.taken = 0
        self.running = False

    def teardown(self) -> None:
        self.host.close()
        self.lab.close()
        self.folder.cleanup()

    def _read(self) -> Ledger:
        return read_ledger(
            self.vm, lambda disk, at, length: bytes(self.array.luns["v", disk.lun].data[at : at + length])
        )

    def _ended(self) -> None:
        """The guest is gone: what is on its disks now is all there is."""
        self.running = False
        found = self._read()
        assert self.acknowledged <= found.last <= self.taken
        self.acknowledged = self.taken = found.last

    @precondition(lambda self: not self.running and not self.array.silent)
    @rule()
    def start(self) -> None:
        before = {key: bytes(lun.data) for key, lun in self.array.luns.items()}
        self.host.start("db")
        assert before == {key: bytes(lun.data) for key, lun in self.array.luns.items()}
        self.running = True

    @precondition(lambda self: self.running)
    @rule(count=st.integers(1, 150))
    def write(self, count: int) -> None:
        written = self.lab.write("db", count, self.array.connect)
        self.taken += count
        assert written.last + written.buffered == self.taken
        assert bool(written.stuck) <= self.array.silent
        if not written.stuck and not self.host.state().vms["db"].frozen:
            assert written.buffered < ledger.BATCH
        self.acknowledged = written.last

    @precondition(lambda self: self.running)
    @rule(seconds=st.integers(1, 20))
    def freeze(self, seconds: int) -> None:
        was = self.host.state().vms["db"].frozen
        report = self.host.freeze("db", thaw_after=seconds)
        if report.level == "application" and not was:
            assert report.mark == self.taken
            self.acknowledged = self.taken
        assert report.level == ("application" if was or not self.array.silent else "crash")

    @rule()
    def thaw(self) -> None:
        frozen = self.host.state().vms["db"].frozen
        assert self.host.thaw("db") is frozen

    @rule(seconds=st.integers(1, 20))
    def time_passes(self, seconds: int) -> None:
        self.clock.time += seconds

    @rule(silent=st.booleans())
    def silence(self, silent: bool) -> None:
        self.array.silent = silent

    @precondition(lambda self: self.running)
    @rule(graceful=st.booleans())
    def stop(self, graceful: bool) -> None:
        report = self.host.stop("db", graceful=60 if graceful else 0)
        if graceful and not self.array.silent:
            assert (report.how, report.mark) == ("graceful", self.taken)
            self.acknowledged = self.taken
        else:
            assert (report.how, report.mark) == ("hard", None)
        self._ended()

    @precondition(lambda self: self.running and not self.array.silent)
    @rule(count=st.integers(1, 150), writes=st.integers(0, 10))
    def power_goes_while_writing(self, count: int, writes: int) -> None:
        self.array.writes_left = writes
        self.taken += count
        with contextlib.suppress(PowerCut):
            self.acknowledged = self.lab.write("db", count, self.array.connect).last
        self.array.writes_left = None
        self.lab.cut_power()
        self._ended()

    @precondition(lambda self: self.running and not self.array.silent)
    @rule(count=st.integers(1, 150), writes=st.integers(0, 10))
    def writer_is_killed(self, count: int, writes: int) -> None:
        """The process that plays the guest dies in a write-out; the guest itself runs on."""
        self.array.writes_left = writes
        self.taken += count
        with contextlib.suppress(PowerCut):
            self.acknowledged = self.lab.write("db", count, self.array.connect).last
        self.array.writes_left = None

    @invariant()
    def the_ledger_is_intact(self) -> None:
        found = self._read()
        assert found.problem == ""
        assert self.acknowledged <= found.last <= self.taken


Guests.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestGuests = Guests.TestCase


def test_a_damaged_ledger_keeps_the_application_down_and_the_disk_as_it_is(tmp_path: Path) -> None:
    spec = HostSpec("h1", "east", "embedded", options={"path": str(tmp_path / "h1.db")})
    array = FakeArray()
    host, lab = EmbeddedHost(spec, connect=array.connect, timeout=0.1), Lab(spec)
    host.create()
    lun = array.add("v", "a", 1 << 20, host.state().initiator)
    host.define(
        VmDefinition("db", "db", "shop", "u", 1, 1, (DiskAttachment("root", "v", "a", 1 << 20, "t"),), (), OWNER)
    )
    host.start("db")
    lab.write("db", 20, array.connect)
    host.stop("db")
    lun.data[entry(3) + 20] ^= 1
    before = bytes(lun.data)
    host.start("db")
    assert "entry 3 is torn" in host.probe("db", HealthSpec(None, True, 1)).detail
    assert "entry 3 is torn" in host.state().vms["db"].detail
    assert host.freeze("db", thaw_after=1).level == "crash"
    with pytest.raises(Conflict, match="not up"):
        lab.write("db", 8, array.connect)
    assert host.stop("db").how == "hard"
    assert bytes(lun.data) == before


def test_a_silent_array_stops_a_start(tmp_path: Path) -> None:
    spec = HostSpec("h1", "east", "embedded", options={"path": str(tmp_path / "h1.db")})
    array = FakeArray(silent=True)
    host = EmbeddedHost(spec, connect=array.connect, timeout=0.1)
    host.create()
    host.define(
        VmDefinition("db", "db", "shop", "u", 1, 1, (DiskAttachment("root", "v", "a", 1 << 20, "t"),), (), OWNER)
    )
    with pytest.raises(Unreachable, match="VM db on host h1: LUN v/a"):
        host.start("db")


def test_disks_with_images_keep_their_image_and_the_ledger_goes_behind_the_first(tmp_path: Path) -> None:
    spec = HostSpec("h1", "east", "embedded", options={"path": str(tmp_path / "h1.db")})
    array, image = FakeArray(), b"image" * 1000
    host, lab = EmbeddedHost(spec, connect=array.connect, timeout=0.1), Lab(spec)
    host.create()
    luns = [array.add("v", name, 1 << 20, host.state().initiator, image) for name in ("a", "b")]
    disks = tuple(DiskAttachment(name, "v", name, 1 << 20, "t", len(image)) for name in ("a", "b"))
    host.define(VmDefinition("db", "db", "shop", "u", 1, 1, disks, (), OWNER))
    host.start("db")
    assert lab.write("db", 16, array.connect).last == 16
    assert all(lun.data.startswith(image) for lun in luns)
    assert luns[0].data[2 * BLOCK :].startswith(b"LEDGHEAD")
    assert not any(luns[1].data[len(image) :])
