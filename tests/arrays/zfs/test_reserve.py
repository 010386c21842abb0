"""Room that is kept for what a full array must still do: asked of a pool that is a few numbers."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import pytest

from dr_provider.arrays.zfs.bootstrap import sources_of_remote
from dr_provider.arrays.zfs.remote import reserve
from dr_provider.arrays.zfs.remote.core import OPS, Context, Done, Fault, Memory
from dr_provider.arrays.zfs.remote.reserve import _SPARE, ROOM, carry_out, keep
from tests.arrays.zfs.test_remote import CONFIG

META = "tank/dr/meta"
MIB = 1 << 20


class Pool:
    """`free`: bytes that nobody has; a reservation takes from them. `used`: of the dataset that has it. `allowed`: whether this account may set one."""

    used = MIB // 2

    def __init__(self, free: int, kept: int = 0, *, allowed: bool = True) -> None:
        self.free, self.kept, self.allowed = free, kept, allowed

    @property
    def ctx(self) -> Context:
        run = lambda words, _seconds: self.answer(words)  # noqa: E731
        return Context(deadline=time.monotonic() + 60, config=CONFIG, memory=Memory(), execute=run)

    @property
    def unspent(self) -> int:
        return max(0, self.kept - self.used)

    def answer(self, words: Sequence[str]) -> Done:
        assert words[-1] == META
        if words[1] == "get":
            return Done(0, f"{self.kept}\n{self.used}\n{self.free + self.unspent}\n", "")
        assert words[:2] == ["zfs", "set"]
        key, _, text = words[2].partition("=")
        assert key == "reservation"
        before, total = self.kept, self.free + self.unspent
        self.kept = 0 if text == "none" else int(text)
        if not self.allowed or self.unspent > total:
            self.kept = before
            return Done(1, "", f"cannot set property for '{META}': size is greater than available space")
        self.free = total - self.unspent
        return Done(0, "", "")

    def take(self, _ctx: Context, *, size: int) -> str:
        """An operation that needs so much."""
        if size > self.free:
            raise Fault("ArrayFull", "out of space")
        self.free -= size
        return "done"


@pytest.mark.parametrize(
    ("free", "before", "after"),
    [
        (1 << 40, 0, ROOM),
        (1 << 40, 5 * MIB, ROOM),  # lent by a process that was killed, or there was little room
        (1 << 40, 64 * MIB, 64 * MIB),  # more, by hand, stays
        (0, ROOM, ROOM),
        (9 * MIB, 0, 9 * MIB + Pool.used - _SPARE),
        (3 * MIB, 20 * MIB, 23 * MIB - _SPARE),
        (0, 0, Pool.used - _SPARE),
    ],
)
def test_as_much_is_kept_as_there_is_room_for(free: int, before: int, after: int) -> None:
    pool = Pool(free, before)
    keep(pool.ctx)
    assert pool.kept == after


def test_without_the_right_to_it_an_array_goes_without() -> None:
    pool = Pool(1 << 40, allowed=False)
    keep(pool.ctx)
    assert pool.kept == 0


def test_an_array_that_cannot_be_asked_goes_without() -> None:
    pool = Pool(1 << 40)
    for said in (Done(1, "", "permission denied"), Done(0, "none\n-\n-\n", "")):
        pool.answer = lambda _words, said=said: said  # type: ignore[method-assign,misc]
        keep(pool.ctx)
    assert pool.kept == 0


@pytest.mark.parametrize("size", [MIB, 7 * MIB, 20 * MIB])
def test_a_call_that_must_be_done_gets_of_what_is_kept_and_the_rest_is_kept_again(size: int) -> None:
    pool = Pool(0, ROOM)
    assert carry_out(pool.ctx, "unmap_luns", pool.take, {"size": size}) == "done"
    assert pool.kept == ROOM - size - _SPARE
    # The next one, too.
    assert carry_out(pool.ctx, "put_record", pool.take, {"size": MIB}) == "done"
    assert pool.kept == ROOM - size - MIB - _SPARE


def test_no_more_is_let_go_than_a_call_needs() -> None:
    pool, free = Pool(0, ROOM), list[int]()

    def take(ctx: Context) -> str:
        free.append(pool.free)
        return pool.take(ctx, size=6 * MIB)

    assert carry_out(pool.ctx, "snapshot", take, {}) == "done"
    assert free[0] == 0
    assert [at // MIB for at in free[1:]] == [2, 8]


def test_it_is_kept_again_where_the_call_fails_all_the_same() -> None:
    pool = Pool(0, ROOM)
    with pytest.raises(Fault, match="out of space"):
        carry_out(pool.ctx, "snapshot", pool.take, {"size": 2 * ROOM})
    assert pool.kept == ROOM - _SPARE


@pytest.mark.parametrize("name", ["create_lun", "write_image", "restore_lun", "transfer.begin", "create_volume"])
def test_what_brings_data_gets_none_of_it(name: str) -> None:
    pool = Pool(0, ROOM)
    with pytest.raises(Fault, match="out of space"):
        carry_out(pool.ctx, name, pool.take, {"size": 1})
    assert pool.kept == ROOM


@pytest.mark.parametrize("kind", ["Busy", "NotReady", "NotFound"])
def test_another_fault_is_not_tried_twice(kind: str) -> None:
    pool, tried = Pool(0, ROOM), list[str]()

    def fails(_ctx: Context) -> None:
        tried.append(kind)
        raise Fault(kind, "said so")

    with pytest.raises(Fault, match="said so"):
        carry_out(pool.ctx, "snapshot", fails, {})
    assert (tried, pool.kept) == ([kind], ROOM)


def test_calls_side_by_side_take_turns_with_it() -> None:
    """Else one would take back what another was just lent."""
    pool, lent = Pool(0, ROOM), list[int]()
    all_failed = threading.Barrier(8)

    def once_without(ctx: Context, *, call: int) -> int:
        if call not in tried:
            tried.add(call)
            all_failed.wait(20)
            raise Fault("ArrayFull", "out of space")
        assert lent == []
        lent.append(call)
        pool.take(ctx, size=MIB)
        assert lent == [call]
        lent.clear()
        return call

    tried = set[int]()
    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(lambda n: carry_out(pool.ctx, "put_record", once_without, {"call": n}), range(8)))
    assert done == list(range(8))
    assert pool.unspent + pool.free == ROOM - Pool.used - 8 * MIB


def test_every_operation_that_may_use_it_exists() -> None:
    for name in sources_of_remote():
        import_module(f"dr_provider.arrays.zfs.remote{name.removeprefix(name.partition('.')[0])}")
    assert set(OPS) >= reserve._MUST
