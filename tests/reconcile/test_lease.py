"""One reconciler at a time: who is expired, who wins a race, and what an overtaken holder can still do (nothing)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import psutil
import pytest

from dr_provider.model import keys
from dr_provider.model.codec import dump, load
from dr_provider.model.errors import DeviceFault, LeaseHeld, LeaseLost, Unreachable
from dr_provider.model.records import Lease
from dr_provider.model.state import Observation
from dr_provider.reconcile import lease as leases
from dr_provider.reconcile.lease import FRESH, TTL, HeldLease, Machine, hold_lease, this_machine
from dr_provider.reconcile.world import World
from tests.support.lab import Lab
from tests.support.situations import lease as record

NEVER = 3600.0
TAKE = vars(leases)["_take"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lease"), vms=1, volumes=1, hosts_per_site=1, source_budget="300ms")


@pytest.fixture(autouse=True)
def clean(lab: Lab) -> Iterator[None]:
    clear(lab)
    yield
    for target in ("array:east-a", "array:west-a"):
        lab.heal(target)


def clear(lab: Lab) -> None:
    world = lab.world()
    for name in ("east-a", "west-a"):
        for key in on(world, name):
            world.fleet.array(name).delete_record(key)


def on(world: World, array: str) -> dict[str, Lease]:
    state = world.look(refresh=True).array(array)
    assert state is not None
    prefix = keys.lease_prefix("shop-test", "shop")
    return {key: load(Lease, text, key) for key, text in state.records.items() if key.startswith(prefix)}


def put(lab: Lab, found: Lease, *arrays: str) -> None:
    world = lab.world()
    for name in arrays or ("east-a", "west-a"):
        world.fleet.array(name).put_record(keys.lease_key("shop-test", "shop", found.n), dump(found))


@dataclass
class Clock:
    """Sleeping moves it; `each` is done once a sleep."""

    now: float = 1000.0
    slept: float = 0.0
    each: Callable[[], None] = field(default=lambda: None)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds
        self.each()


def machine(boot: str = "b1", clock: Clock | None = None, **more: Any) -> Machine:
    clock = clock or Clock()
    me = this_machine()
    return Machine(
        **{"boot": boot, "pid": me.pid, "start": me.start, "monotonic": lambda: clock.now, "sleep": clock.sleep, **more}
    )


@contextmanager
def held(lab: Lab, me: Machine | None = None, every: float = NEVER) -> Iterator[tuple[World, HeldLease]]:
    world = lab.world()
    with hold_lease(world, "shop", "a test", machine=me or machine(), beat_every=every) as it:
        yield world, it


def test_it_stands_on_every_array_and_is_released_at_the_end(lab: Lab) -> None:
    with held(lab) as (world, it):
        assert it.arrays == ("east-a", "west-a")
        for name in it.arrays:
            (found,) = on(world, name).values()
            assert (found.n, found.released, found.doing, found.pid) == (1, False, "a test", os.getpid())
    assert [found.released for found in on(lab.world(), "west-a").values()] == [True]


def test_it_is_released_after_a_failure_too_and_the_next_number_follows(lab: Lab) -> None:
    with pytest.raises(ZeroDivisionError), held(lab):
        raise ZeroDivisionError
    with held(lab) as (world, it):
        assert it.record.n == 2
        it_beats(it, world)
        assert [found.n for found in on(world, "east-a").values()] == [2], "numbers that are past are cleared"


def it_beats(it: HeldLease, world: World) -> None:
    """Wait until the past was cleared, which the heartbeat's thread does at its start."""
    waited = threading.Event()
    for _ in range(100):
        if len(on(world, "east-a")) == 1:
            return
        waited.wait(0.02)


def test_this_process_and_a_living_one_of_this_machine_hold_it(lab: Lab) -> None:
    with held(lab), pytest.raises(LeaseHeld, match=r"held by dr .*doing: a test"), held(lab):
        pass
    me = this_machine()
    put(lab, record(7, boot="b1", pid=os.getppid(), start=parent_start()))
    with pytest.raises(LeaseHeld, match="end that process and run again"), held(lab, machine(pid=me.pid)):
        pass


def parent_start() -> float:
    return float(psutil.Process(os.getppid()).create_time())


@pytest.mark.parametrize(
    "dead",
    [{"pid": 2**22 + 1, "start": 1.0}, {"pid": os.getppid(), "start": 1.0}],
    ids=["gone", "its pid is another's"],
)
def test_a_dead_process_of_this_machine_is_expired_at_once(lab: Lab, dead: dict[str, Any]) -> None:
    clock = Clock()
    put(lab, record(4, boot="b1", **dead))
    with held(lab, machine(clock=clock)) as (_, it):
        assert it.record.n == 5
    assert clock.slept == 0


def test_a_heartbeat_that_stands_still_for_the_ttl_is_expired(lab: Lab) -> None:
    clock = Clock()
    put(lab, record(4, boot="elsewhere"))
    with held(lab, machine(clock=clock)) as (_, it):
        assert it.record.n == 5
    assert TTL <= clock.slept < TTL + 3
    assert any("watching its heartbeat" in line for line in lab.lines)


def test_a_heartbeat_that_goes_on_holds(lab: Lab) -> None:
    beats = iter(range(1, 100))
    clock = Clock(each=lambda: put(lab, record(4, boot="elsewhere", beat=next(beats) // 3)))
    put(lab, record(4, boot="elsewhere"))
    with pytest.raises(LeaseHeld, match="its heartbeat goes on"), held(lab, machine(clock=clock)):
        pass
    assert clock.slept < TTL


def test_a_holder_that_ends_while_it_is_watched_is_not_waited_for(lab: Lab) -> None:
    clock = Clock(each=lambda: put(lab, record(4, boot="elsewhere", released=True)))
    put(lab, record(4, boot="elsewhere"))
    with held(lab, machine(clock=clock)) as (_, it):
        assert it.record.n == 5
    assert clock.slept < TTL


def test_a_third_one_that_takes_it_meanwhile_is_watched_in_its_turn(lab: Lab) -> None:
    clock = Clock(each=lambda: put(lab, record(5, boot="third")))
    put(lab, record(4, boot="elsewhere"))
    with held(lab, machine(clock=clock)) as (_, it):
        assert it.record.n == 6
    assert clock.slept >= TTL


def test_a_lease_that_vanishes_while_it_is_watched_is_past(lab: Lab) -> None:
    def vanish() -> None:
        world = lab.world()
        for name in ("east-a", "west-a"):
            world.fleet.array(name).delete_record(keys.lease_key("shop-test", "shop", 4))

    put(lab, record(4, boot="elsewhere"))
    with held(lab, machine(clock=Clock(each=vanish))) as (_, it):
        assert it.record.n == 5


def test_of_two_at_the_same_moment_one_holds_it_and_the_other_leaves_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(held: HeldLease, states: Any, plan: str) -> None:
        put(lab, record(1, holder="dr (the faster one)"), "west-a")  # after we looked, and before we write there
        TAKE(held, states, plan)

    monkeypatch.setattr(leases, "_take", late)
    with pytest.raises(LeaseHeld, match=r"at the same moment.*the faster one"), held(lab):
        pass
    world = lab.world()
    assert on(world, "east-a") == {}
    assert [found.holder for found in on(world, "west-a").values()] == ["dr (the faster one)"]


def test_who_looked_a_moment_ago_does_not_get_past_what_another_did_since(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    early, asked = lab.world(), []
    early.look()
    with held(lab):
        pass
    look = early.fleet.observe

    def counted() -> Observation:
        asked.append(1)
        return look()

    monkeypatch.setattr(early.fleet, "observe", counted)
    with pytest.raises(LeaseHeld, match="at the same moment"), hold_lease(early, "shop", "late", younger=NEVER):
        pass
    assert not asked, "it did not look anew"
    with hold_lease(early, "shop", "later", younger=0.0) as lease:
        assert (asked, lease.record.n) == ([1], 2)


def test_threads_that_race_never_hold_it_together(lab: Lab) -> None:
    inside, most, won, lock = 0, 0, 0, threading.Lock()
    begin = threading.Barrier(4)

    def attempt() -> None:
        nonlocal inside, most, won
        begin.wait(10)
        try:
            with held(lab):
                with lock:
                    inside, won = inside + 1, won + 1
                    most = max(most, inside)
                threading.Event().wait(0.1)
                with lock:
                    inside -= 1
        except LeaseHeld:
            return

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most <= 1
    assert won <= 4


def test_an_overtaken_holder_changes_nothing_any_more(lab: Lab) -> None:
    with held(lab, machine("slept")) as (world, it):
        put(lab, record(it.record.n + 1, holder="dr (the next)"))
        array = world.fleet.array("west-a")
        for change in (
            lambda: array.put_record("shop-test/x", "1", it.guard),
            lambda: array.create_record("shop-test/x", "1", it.guard),
            lambda: array.snapshot(["vol-1"], "e1-s9-aa", it.guard),
            lambda: array.unmap_luns({"vol-1": ["db.root"]}, it.guard),
        ):
            with pytest.raises(LeaseLost):
                change()
        assert it.lost is None, "it has not looked since"
        it.put(replace(it.record, beat=1))
        with pytest.raises(LeaseLost):
            it.check()
    assert all(found.n == 2 or not found.released for found in on(lab.world(), "west-a").values())


def test_a_lease_that_was_just_seen_to_hold_is_not_asked_for_again(lab: Lab) -> None:
    clock = Clock()
    with held(lab, machine(clock=clock)) as (_, it):
        it.verify()
        put(lab, record(it.record.n + 1, holder="dr (the next)"))
        it.verify()
        clock.now += FRESH
        with pytest.raises(LeaseLost, match=r"dr \(the next\)"):
            it.verify()


def test_heartbeats_rise_and_a_lost_lease_is_noticed_by_them(lab: Lab) -> None:
    with held(lab, every=0.02) as (world, it):
        wait = threading.Event()
        for _ in range(200):
            if min(found.beat for found in on(world, "west-a").values()) >= 2:
                break
            wait.wait(0.02)
        assert it.record.beat >= 2
        it.check()
        put(lab, record(it.record.n + 1), "east-a")
        for _ in range(200):
            if it.lost is not None:
                break
            wait.wait(0.02)
        with pytest.raises(LeaseLost):
            it.check()


@pytest.mark.parametrize("error", [Unreachable, DeviceFault])
def test_a_heartbeat_that_one_array_does_not_take_ends_nothing(
    lab: Lab, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    with held(lab) as (world, it):

        class Faulty:
            def put_record(self, *args: Any) -> None:
                raise error("east-a: a fault of the test")

        array = world.fleet.array
        monkeypatch.setattr(world.fleet, "array", lambda name: Faulty() if name == "east-a" else array(name))
        it.put(replace(it.record, beat=5))
        it.check()
    assert [found.released for found in on(lab.world(), "west-a").values()] == [True]
    assert [found.released for found in on(lab.world(), "east-a").values()] == [False]


def test_it_is_taken_on_those_that_answer_and_on_none_it_is_not(lab: Lab) -> None:
    lab.lose("array:west-a")
    with held(lab) as (_, it):
        assert it.arrays == ("east-a",)
    lab.lose("array:east-a")
    with pytest.raises(Unreachable, match=r"none of its arrays answers .*nothing was done"), held(lab):
        pass


def test_all_falling_silent_while_it_is_taken_is_no_lease(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def dark(held: HeldLease, states: Any, plan: str) -> None:
        lab.lose("array:east-a")
        lab.lose("array:west-a")
        TAKE(held, states, plan)

    monkeypatch.setattr(leases, "_take", dark)
    with pytest.raises(Unreachable, match="fell silent while the lease was taken"), held(lab):
        pass


def test_the_highest_counts_wherever_it_stands(lab: Lab) -> None:
    put(lab, record(3, boot="elsewhere", released=True), "east-a")
    put(lab, record(8, boot="elsewhere", released=True), "west-a")
    with held(lab) as (_, it):
        assert it.record.n == 9


def test_this_machine_names_this_process() -> None:
    me = this_machine()
    assert (me.pid, me.boot) == (os.getpid(), this_machine().boot)
    assert me.alive(me.pid, me.start)
    assert not me.alive(me.pid, me.start - 100)
