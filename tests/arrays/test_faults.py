"""The faults of embedded devices: from the words of `dr sim` to what a call, a transfer and a guest meet."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dr_provider.arrays.embedded import EmbeddedArray, connect
from dr_provider.model import faults
from dr_provider.model.errors import BadInput, DeviceFault, Unreachable
from dr_provider.model.topology import ArraySpec, HostSpec, Topology
from tests.support.arrays import OWNER

BLOCK = 4096


class Clock:
    """Time that passes only in sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.on_sleep: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_sleep()

    def __call__(self) -> float:
        return self.now


class Lab:
    """Two sites with two arrays at east, one at west; files of hosts are not made."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        sites = {"east-a": "east", "east-b": "east", "west-a": "west"}
        self.topology = Topology(
            name="shop",
            sites=("east", "west"),
            arrays={n: ArraySpec(n, s, "embedded", {"path": str(folder / f"{n}.db")}) for n, s in sites.items()},
            hosts={"east-1": HostSpec("east-1", "east", "embedded", options={"path": str(folder / "east-1.db")})},
            networks={},
            volumes={},
            vms={},
            plans={},
        )
        self.arrays = {n: self.open(n) for n in sites}
        for array in self.arrays.values():
            array.create()
        self.east, self.west = self.arrays["east-a"], self.arrays["west-a"]
        self.east.create_volume("v", 1 << 20, OWNER)
        self.east.create_lun("v", "db", 1 << 20)
        self.east.map_lun("v", ["db"], "east-1")
        self.east.snapshot(["v"], "s1")

    def open(self, name: str, *, latency: float = 0.0, width: int | None = None) -> EmbeddedArray:
        spec = self.topology.arrays[name]
        return EmbeddedArray(
            name,
            spec.site,
            Path(str(spec.options["path"])),
            timeout=10,
            latency=latency,
            width=width,
            sleep=self.clock.sleep,
            clock=self.clock,
        )

    def lose(self, target: str, *, running: bool = False) -> None:
        assert faults.put_all(faults.loss(self.topology, target, running=running))

    def heal(self, target: str) -> None:
        faults.clear(self.topology, target)

    def guest_writes(self, site: str) -> None:
        connect(self.east.lun_target("v", "db"), site).write("v", "db", "east-1", 0, b"entry")

    def transfers(self) -> None:
        self.west.receive("v", self.east.send("v", None, "s1"), OWNER)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def works(call: Callable[[], object]) -> bool:
    try:
        call()
    except Unreachable:
        return False
    return True


# target, running, then: driver call to east, guest of east, guest of west, transfer, driver call to west
WHAT_STILL_WORKS = [
    ("site:east", False, (False, False, False, False, True)),
    ("site:east", True, (False, True, False, False, True)),
    ("site:west", False, (True, True, True, False, False)),
    ("array:east-a", False, (False, False, False, False, True)),
    ("array:east-b", False, (True, True, True, True, True)),
    ("link:east/west", False, (True, True, False, False, True)),
    ("link:east-a/west-a", False, (True, True, True, False, True)),
    ("link:operator/east", False, (False, True, True, False, True)),
]


@pytest.mark.parametrize(("target", "running", "expected"), WHAT_STILL_WORKS)
def test_what_still_works(lab: Lab, target: str, running: bool, expected: tuple[bool, ...]) -> None:
    lab.lose(target, running=running)
    calls = (
        lab.east.state,
        lambda: lab.guest_writes("east"),
        lambda: lab.guest_writes("west"),
        lab.transfers,
        lab.west.state,
    )
    assert tuple(works(call) for call in calls) == expected
    lab.heal(target)
    assert all(works(call) for call in calls)


def test_a_link_is_healed_from_either_end(lab: Lab) -> None:
    lab.lose("link:east/west")
    lab.heal("link:west/east")
    lab.transfers()


def test_peers_of_a_lost_site_are_not_reached(lab: Lab) -> None:
    lab.lose("site:west")
    assert lab.east.state(peers=["west-a", "east-b"]).peers == {"west-a": False, "east-b": True}


def test_the_operator_lost_leaves_a_transfer_under_way(lab: Lab) -> None:
    stream = lab.east.send("v", None, "s1")
    lab.lose("link:operator/east")
    lab.west.receive("v", stream, OWNER)
    assert lab.west.state().volumes["v"].snapshots


def test_silence_lasts_for_the_timeout_and_names_array_and_site(lab: Lab) -> None:
    lab.lose("site:east")
    before = lab.clock.now
    with pytest.raises(Unreachable, match="array east-a at site east gives no answer within 10 s"):
        lab.east.state()
    assert lab.clock.now - before == pytest.approx(10)


def test_a_heal_ends_the_wait(lab: Lab) -> None:
    lab.lose("site:east")
    before = lab.clock.now
    lab.clock.on_sleep = lambda: lab.heal("site:east")
    lab.east.state()
    assert lab.clock.now - before < 1


def test_a_guest_does_not_wait(lab: Lab) -> None:
    lab.lose("array:east-a")
    before = lab.clock.now
    with pytest.raises(Unreachable):
        lab.guest_writes("east")
    assert lab.clock.now == before


def test_slow_and_latency_add_up_and_too_slow_is_silence(lab: Lab) -> None:
    array = lab.open("east-a", latency=1)
    before = lab.clock.now
    array.state()
    assert lab.clock.now - before == 1
    faults.put_all(faults.slowness(lab.topology, "array:east-a", 2))
    array.state()
    assert lab.clock.now - before == 1 + 3
    faults.put_all(faults.slowness(lab.topology, "array:east-a", 60))
    with pytest.raises(Unreachable, match="61 s a call"):
        array.state()


def test_the_nth_call_fails_once(lab: Lab) -> None:
    faults.put_all(faults.failure(lab.topology, "array:east-a", 3))
    lab.east.state()
    lab.east.put_record("a", "1")
    with pytest.raises(DeviceFault, match="run it again"):
        lab.east.put_record("a", "2")
    assert lab.east.read_record("a") == "1"
    lab.east.put_record("a", "2")


def test_calls_to_a_site_are_counted_together(lab: Lab) -> None:
    faults.put_all(faults.failure(lab.topology, "site:east", 3))
    lab.arrays["east-b"].state()
    lab.arrays["east-a"].state()
    with pytest.raises(DeviceFault):
        lab.arrays["east-b"].state()
    lab.arrays["east-a"].state()


def test_width_is_how_many_calls_are_under_way(lab: Lab) -> None:
    array = lab.open("east-a", latency=1, width=2)
    most = under_way = 0
    lock = threading.Lock()
    together = threading.Barrier(2)

    def sleep(seconds: float) -> None:
        nonlocal most, under_way
        with lock:
            under_way += 1
            most = max(most, under_way)
        together.wait(30)
        with lock:
            under_way -= 1

    array._gate._sleep = sleep
    threads = [threading.Thread(target=array.state) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2


@pytest.mark.parametrize(
    "target",
    [
        "",
        "east",
        "site:north",
        "array:x",
        "link:east",
        "link:east/east",
        "link:east/north",
        "link:operator/north",
        "host:x",
    ],
)
def test_targets_that_are_not_there_are_refused(lab: Lab, target: str) -> None:
    with pytest.raises(BadInput, match="nothing was done"):
        faults.loss(lab.topology, target)


def test_a_call_number_below_one_is_refused(lab: Lab) -> None:
    with pytest.raises(BadInput, match="at least 1"):
        faults.failure(lab.topology, "site:east", 0)


def test_devices_of_other_drivers_are_no_targets(lab: Lab) -> None:
    other = replace(lab.topology, arrays={"west-a": ArraySpec("west-a", "west", "zfs")})
    with pytest.raises(BadInput, match="embedded"):
        faults.loss(other, "array:west-a")
