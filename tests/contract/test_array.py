"""What any array driver must do: every sentence of dr_provider/arrays/base.py, run against each driver.

A driver joins by a line in `PAIRS`: a class that makes two arrays which replicate to each other (tests/support/arrays.py, `Pair`).
DR_LAB=NAME (a lab that is up) brings in the zfs driver, on two machines of it.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from dr_provider.arrays.base import Array
from dr_provider.model.codec import dump
from dr_provider.model.errors import (
    ArrayFull,
    BadInput,
    Busy,
    Conflict,
    Diverged,
    LeaseLost,
    MoveInProgress,
    NoCommonSnapshot,
    NotFound,
    NothingToSend,
    Stopped,
    Unreachable,
)
from dr_provider.model.records import Guard, Lease, Owner
from dr_provider.model.state import ArrayState, VolumeState
from tests.support.arrays import OWNER, EmbeddedPair, Pair

PAIRS: dict[str, Callable[[Path], Pair]] = {"embedded": EmbeddedPair}
if "DR_LAB" in os.environ:
    from tests.lab_stack.zfs_pair import ZfsPair

    PAIRS["zfs"] = ZfsPair

BLOCK = 4096
MIB = 1 << 20


@pytest.fixture(params=sorted(PAIRS))
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    made = PAIRS[request.param](tmp_path)
    yield made
    made.heal()
    made.audit()
    made.a.close()
    made.b.close()


def alike(pair: Pair, state: ArrayState) -> ArrayState:
    """What must be the same after a call that changes nothing. What an array counts for itself settles when it likes, unless it is exact."""
    state = replace(state, clock="")
    if pair.exact:
        return state
    volumes = {
        name: replace(
            v,
            used=0,
            changed=bool(v.changed),
            snapshots=tuple(replace(snapshot, referenced=0) for snapshot in v.snapshots),
        )
        for name, v in state.volumes.items()
    }
    return replace(state, capacity=0, used=0, volumes=volumes)


def count(pair: Pair, found: int, exactly: int) -> bool:
    """Whether an array's count of bytes is right: to the byte, or for an array that counts in its own way, whether there are any."""
    return found == exactly if pair.exact else bool(found) == bool(exactly)


def used(pair: Pair, array: Array, exactly: int, below: int | None = None) -> None:
    """The array uses these bytes; one that is not exact comes below a limit, in its own time."""
    if pair.exact:
        assert array.state().used == exactly
    elif below is not None:
        end = time.monotonic() + 30
        while array.state().used >= below:
            assert time.monotonic() < end, f"more than {below} bytes are still used"
            time.sleep(0.2)


def volume(array: Array, name: str = "shop", luns: tuple[str, ...] = ("db",), size: int = MIB) -> None:
    """A volume with LUNs that are mapped to host-1."""
    array.create_volume(name, 64 * MIB, OWNER)
    for lun in luns:
        array.create_lun(name, lun, size)
    array.map_lun(name, luns, "host-1")


def seen(array: Array, name: str = "shop") -> VolumeState:
    return array.state().volumes[name]


def names(array: Array, volume: str = "shop") -> list[str]:
    return [snapshot.name for snapshot in seen(array, volume).snapshots]


def copy(pair: Pair, snapshot: str, base: str | None = None, name: str = "shop") -> int:
    return pair.b.receive(name, pair.a.send(name, base, snapshot), OWNER)


# -- doing again what is already so -------------------------------------------------------------

CHANGES: dict[str, Callable[[Array], object]] = {
    "create": lambda a: a.create(),
    "create_volume": lambda a: a.create_volume("shop", 64 * MIB, OWNER),
    "adopt_volume": lambda a: a.adopt_volume("shop", replace(OWNER, stack="dr/other")),
    "delete_volume": lambda a: a.delete_volume("spare", OWNER),
    "create_lun": lambda a: a.create_lun("shop", "db", MIB),
    "create_lun smaller": lambda a: a.create_lun("shop", "db", BLOCK),
    "new lun": lambda a: a.create_lun("shop", "new", MIB),
    "delete_lun": lambda a: a.delete_lun("shop", "free"),
    "offline": lambda a: a.set_lun_online("shop", ["db"], False),
    "map": lambda a: a.map_lun("shop", ["free"], "host-2"),
    "unmap": lambda a: a.unmap_luns({"shop": ["db", "gone"], "gone": ["db"]}),
    "put_volume_records": lambda a: a.put_volume_records(["shop"], "intent", "text"),
    "snapshot": lambda a: a.snapshot(["shop", "spare"], "s2"),
    "seal": lambda a: a.seal(["shop"], "s1", "sealed"),
    "delete_snapshots": lambda a: a.delete_snapshots({"shop": ["s1", "gone"]}),
    "hold": lambda a: a.hold({"shop": "s1"}, "common"),
    "release": lambda a: (a.hold({"shop": "s1"}, "common"), a.release(["shop", "gone"], "common")),
    "clone": lambda a: a.clone("shop", "s1", "copy", "safety", OWNER),
    "clone of now": lambda a: a.clone("shop", None, "copy", "safety", OWNER),
    "demote": lambda a: (a.unmap_luns({"shop": ["db"]}), a.demote("shop", "s1")),
    "promote": lambda a: (a.unmap_luns({"shop": ["db"]}), a.demote("shop", "s1"), a.promote("shop", "s1")),
    "put_record": lambda a: a.put_record("shop/pin", "me"),
    "create_record": lambda a: a.create_record("shop/pin", "me"),
    "delete_record": lambda a: (a.put_record("shop/pin", "me"), a.delete_record("shop/pin")),
}


@pytest.mark.parametrize("what", sorted(CHANGES))
def test_every_change_can_be_repeated(pair: Pair, what: str) -> None:
    volume(pair.a)
    pair.a.create_volume("spare", MIB, OWNER)
    pair.a.create_lun("shop", "free", MIB)
    pair.write(pair.a, "shop", "db", 0, b"entry")
    pair.a.snapshot(["shop"], "s1")
    CHANGES[what](pair.a)
    once = pair.a.state()
    last = {"promote": lambda: pair.a.promote("shop", "s1"), "demote": lambda: pair.a.demote("shop", "s1")}.get(what)
    if last is not None:
        last()
    elif what in ("release", "delete_record"):
        pair.a.release(["shop"], "common")
        pair.a.delete_record("shop/pin")
    else:
        CHANGES[what](pair.a)
    assert alike(pair, pair.a.state()) == alike(pair, once)


def test_serial_rises_with_each_change_and_the_own_id_stays(pair: Pair) -> None:
    before = pair.a.state()
    assert pair.a.create() == before.own_id
    assert pair.a.create() != pair.b.create()
    volume(pair.a)
    between = pair.a.state()
    assert between.serial > before.serial
    pair.a.snapshot(["shop"], "s1")
    assert pair.a.state().serial > between.serial
    assert pair.a.state().own_id == before.own_id


def test_what_a_safety_copy_holds_can_be_read(pair: Pair) -> None:
    volume(pair.a, luns=("db", "log"))
    pair.write(pair.a, "shop", "db", 3 * BLOCK, b"entry")
    pair.write(pair.a, "shop", "log", 0, b"line")
    pair.a.snapshot(["shop"], "s1")
    pair.a.clone("shop", "s1", "copy", "safety", OWNER)
    pair.a.snapshot(["copy"], "export")
    found = {lun: bytearray(MIB) for lun in ("db", "log")}
    for extent in pair.a.send("copy", None, "export"):
        if extent.data is not None:
            found[extent.lun][extent.offset : extent.offset + extent.length] = extent.data
    assert found["db"].strip(b"\0") == b"entry"
    assert found["db"].index(b"entry") == 3 * BLOCK
    assert found["log"].strip(b"\0") == b"line"


# -- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "Shop", "a b", "../x", "$(id)", "a;b", "a'b", "x" * 121, "-x"])
def test_names_that_could_reach_a_shell_are_refused(pair: Pair, name: str) -> None:
    volume(pair.a)
    pair.a.snapshot(["shop"], "s1")
    for call in (
        lambda: pair.a.create_volume(name, MIB, OWNER),
        lambda: pair.a.create_lun("shop", name, MIB),
        lambda: pair.a.snapshot(["shop"], name),
        lambda: pair.a.clone("shop", "s1", name, "drill", OWNER),
        lambda: pair.a.hold({"shop": "s1"}, name),
        lambda: pair.b.receive(name, pair.a.send("shop", None, "s1"), OWNER),
    ):
        with pytest.raises(BadInput):
            call()
    with pytest.raises(BadInput):
        pair.a.put_record(f"shop/{name} /x", "v")


@pytest.mark.parametrize("name", ["../../etc/x", "a b", "a\nb", "\x1b[2J", "-x"])
def test_names_that_come_with_a_transfer_are_refused(pair: Pair, name: str) -> None:
    volume(pair.a)
    pair.a.snapshot(["shop"], "s1")
    stream = pair.a.send("shop", None, "s1")
    for hostile in (
        replace(stream, snapshot=replace(stream.snapshot, name=name)),
        replace(stream, luns={name: replace(stream.luns["db"], name=name)}),
    ):
        with pytest.raises(BadInput):
            pair.b.receive("shop", hostile, OWNER)
    assert "shop" not in pair.b.state().volumes


# -- records and guards -------------------------------------------------------------------------


def test_records_are_listed_under_a_prefix_without_blobs(pair: Pair) -> None:
    for key in ("shop/pin", "shop/blob/topology", "shop/lease/p/0000000001", "shopping/pin"):
        pair.a.put_record(key, key)
    assert pair.a.state(records="shop/").records == {
        "shop/pin": "shop/pin",
        "shop/lease/p/0000000001": "shop/lease/p/0000000001",
    }
    assert pair.a.read_record("shop/blob/topology") == "shop/blob/topology"
    # Who asks for blobs by their own prefix gets them.
    assert dict(pair.a.state(records="shop/blob/").records) == {"shop/blob/topology": "shop/blob/topology"}
    assert pair.a.read_record("shop/gone") is None


def test_create_if_absent_has_one_winner(pair: Pair) -> None:
    handles = [pair.again("a") for _ in range(8)]
    won: list[int] = []
    ready = threading.Barrier(len(handles))

    def race(number: int, array: Array) -> None:
        ready.wait()
        if array.create_record("shop/lease/p/0000000001", str(number)):
            won.append(number)

    threads = [threading.Thread(target=race, args=pair_) for pair_ in enumerate(handles)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert pair.a.read_record("shop/lease/p/0000000001") == str(won[0])


def _guarded(array: Array, guard: Guard) -> list[Callable[[], object]]:
    return [
        lambda: array.put_record("shop/pin", "x", guard),
        lambda: array.create_record("shop/pin2", "x", guard),
        lambda: array.delete_record("shop/pin", guard),
        lambda: array.create_volume("new", MIB, OWNER, guard=guard),
        lambda: array.adopt_volume("shop", OWNER, guard),
        lambda: array.delete_volume("shop", OWNER, guard),
        lambda: array.create_lun("shop", "new", MIB, guard=guard),
        lambda: array.delete_lun("shop", "db", guard),
        lambda: array.set_lun_online("shop", ["db"], False, guard),
        lambda: array.map_lun("shop", ["db"], "host-1", guard),
        lambda: array.unmap_luns({"shop": ["db"]}, guard),
        lambda: array.put_volume_records(["shop"], "intent", "x", guard),
        lambda: array.snapshot(["shop"], "s2", guard),
        lambda: array.seal(["shop"], "s1", "x", guard),
        lambda: array.delete_snapshots({"shop": ["s1"]}, guard),
        lambda: array.hold({"shop": "s1"}, "tag", guard),
        lambda: array.release(["shop"], "tag", guard),
        lambda: array.clone("shop", "s1", "copy", "safety", OWNER, guard=guard),
        lambda: array.promote("shop", "s1", guard),
        lambda: array.demote("shop", "s1", guard),
        lambda: array.receive("copy", array.send("shop", None, "s1"), OWNER, guard=guard),
    ]


def test_every_change_checks_its_guard_in_the_same_step(pair: Pair) -> None:
    volume(pair.a)
    pair.a.snapshot(["shop"], "s1")
    prefix = "shop/lease/p/"
    holder = Lease("p", 12, "west-console", "boot", 1, 0.0, 3, "2030-01-01T00:00:00Z", "failover to west")
    pair.a.put_record(f"{prefix}0000000009", dump(replace(holder, n=9, holder="old")))
    pair.a.put_record(f"{prefix}0000000012", dump(holder))
    pair.a.put_record("shop/claim/p", "{}")
    before = pair.a.state()
    for call in _guarded(pair.a, Guard(prefix, 9)):
        with pytest.raises(LeaseLost, match=r"number 12 holds now, by west-console \(failover to west"):
            call()
    for call in _guarded(pair.a, Guard(absent=("shop/claim/q", "shop/claim/p"))):
        with pytest.raises(MoveInProgress, match="shop/claim/p"):
            call()
    for call in _guarded(pair.a, Guard("shop/lease/gone/", 1)):
        with pytest.raises(LeaseLost, match="gone"):
            call()
    assert alike(pair, pair.a.state()) == alike(pair, before)
    pair.a.put_volume_records(["shop"], "intent", "x", Guard(prefix, 12, ("shop/claim/q",)))


def test_an_unreadable_lease_record_still_guards(pair: Pair) -> None:
    pair.a.put_record("shop/lease/p/0000000002", "not json")
    with pytest.raises(LeaseLost, match="cannot be read"):
        pair.a.put_record("shop/pin", "x", Guard("shop/lease/p/", 1))


# -- owners -------------------------------------------------------------------------------------


def test_a_volume_is_adopted_by_its_own_and_refused_to_others(pair: Pair) -> None:
    own = Owner("shop", "", "1")
    pair.a.create_volume("shop", MIB, own)
    mine = Owner("shop", "dr/prod", "2")
    pair.a.create_volume("shop", 2 * MIB, mine)
    assert seen(pair.a).owner == mine
    assert seen(pair.a).size == 2 * MIB
    with pytest.raises(Conflict, match="shrink"):
        pair.a.create_volume("shop", MIB, mine)
    for other in (Owner("shop", "dr/else", "3"), Owner("bank", "dr/prod", "3"), Owner("shop", "", "3")):
        with pytest.raises(Conflict, match="belongs to"):
            pair.a.create_volume("shop", 2 * MIB, other)
    pair.a.adopt_volume("shop", Owner("shop", "dr/else", "3"))
    assert pair.a.delete_volume("shop", mine) is False
    assert pair.a.delete_volume("shop", Owner("shop", "dr/else", "3")) is True
    assert pair.a.delete_volume("shop", mine) is False


def test_what_is_in_use_is_not_deleted(pair: Pair) -> None:
    volume(pair.a)
    with pytest.raises(Busy, match="host-1"):
        pair.a.delete_lun("shop", "db")
    with pytest.raises(Busy, match="host-1"):
        pair.a.delete_volume("shop", OWNER)
    pair.a.unmap_luns({"shop": ["db"]})
    pair.a.snapshot(["shop"], "s1")
    pair.a.hold({"shop": "s1"}, "common")
    with pytest.raises(Busy, match="common"):
        pair.a.delete_volume("shop", OWNER)
    pair.a.release(["shop"], "common")
    pair.a.clone("shop", "s1", "drill-shop", "drill", OWNER)
    with pytest.raises(Busy, match="drill-shop"):
        pair.a.delete_volume("shop", OWNER)
    assert pair.a.delete_volume("drill-shop", OWNER)
    assert pair.a.delete_volume("shop", OWNER)
    used(pair, pair.a, 0)
    assert pair.a.state().volumes == {}


# -- LUNs ---------------------------------------------------------------------------------------


def test_a_lun_starts_with_its_image_and_grows_without_a_write(pair: Pair, tmp_path: Path) -> None:
    image = tmp_path / "image"
    content = bytes(range(256)) * 100
    image.write_bytes(content)
    pair.a.create_volume("shop", 64 * MIB, OWNER)
    pair.a.create_lun("shop", "db", MIB, image=str(image))
    lun = seen(pair.a).luns["db"]
    assert (lun.size, lun.image_bytes, lun.online, lun.mapped_to) == (MIB, len(content), True, None)
    assert pair.read(pair.a, "shop", "db", 0, MIB) == content.ljust(MIB, b"\0")
    pair.a.create_lun("shop", "db", 2 * MIB, image=str(image))
    assert pair.read(pair.a, "shop", "db", 0, 2 * MIB) == content.ljust(2 * MIB, b"\0")
    with pytest.raises(BadInput, match="larger disk"):
        pair.a.create_lun("shop", "small", BLOCK, image=str(image))
    with pytest.raises(BadInput, match="cannot be read"):
        pair.a.create_lun("shop", "none", MIB, image=str(tmp_path / "gone"))
    assert set(seen(pair.a).luns) == {"db"}


def test_a_lun_is_mapped_to_one_initiator_and_fenced_when_unmap_returns(pair: Pair) -> None:
    volume(pair.a)
    with pytest.raises(Conflict, match="host-1"):
        pair.a.map_lun("shop", ["db"], "host-2")
    pair.write(pair.a, "shop", "db", 0, b"before")
    pair.a.unmap_luns({"shop": ["db"]})
    with pytest.raises(Conflict):
        pair.write(pair.a, "shop", "db", 0, b"after!")
    assert pair.read(pair.a, "shop", "db", 0, 6) == b"before"
    pair.a.map_lun("shop", ["db"], "host-2")
    pair.a.set_lun_online("shop", ["db"], False)
    with pytest.raises(Conflict, match="offline"):
        pair.write(pair.a, "shop", "db", 0, b"after!")
    with pytest.raises(NotFound):
        pair.a.map_lun("shop", ["gone"], "host-1")
    with pytest.raises(NotFound):
        pair.a.map_lun("gone", ["db"], "host-1")


def test_one_lun_is_set_back_and_the_others_of_its_volume_keep_every_byte(pair: Pair) -> None:
    volume(pair.a, luns=("db", "web"))
    pair.write(pair.a, "shop", "db", 0, b"a" * 3 * BLOCK)
    pair.write(pair.a, "shop", "web", 0, b"w" * BLOCK)
    pair.a.snapshot(["shop"], "s1")
    copy(pair, "s1")
    pair.write(pair.a, "shop", "db", BLOCK, b"b" * BLOCK)
    pair.write(pair.a, "shop", "db", 10 * BLOCK, b"b" * BLOCK)
    pair.write(pair.a, "shop", "web", 0, b"x" * BLOCK)
    pair.a.snapshot(["shop"], "s2")
    pair.a.clone("shop", "s1", "shop.restore.db", "safety", OWNER)

    with pytest.raises(Busy, match="db"):
        pair.a.restore_lun("shop", "db", "shop.restore.db")
    pair.a.unmap_luns({"shop": ["db"]})
    assert count(pair, pair.a.restore_lun("shop", "db", "shop.restore.db"), 2 * BLOCK)
    before = alike(pair, pair.a.state())
    assert pair.a.restore_lun("shop", "db", "shop.restore.db") == 0
    assert alike(pair, pair.a.state()) == before

    assert pair.read(pair.a, "shop", "db", 0, MIB) == (b"a" * 3 * BLOCK).ljust(MIB, b"\0")
    assert pair.read(pair.a, "shop", "web", 0, BLOCK) == b"x" * BLOCK
    assert seen(pair.a).luns["web"].mapped_to == "host-1"
    assert count(pair, seen(pair.a).changed, 2 * BLOCK)
    assert names(pair.a) == ["s1", "s2"]
    for array in (pair.a, pair.b):
        assert "s1" in names(array)
    pair.a.snapshot(["shop"], "s3")
    copy(pair, "s2", "s1")
    copy(pair, "s3", "s2")
    assert pair.read(pair.b, "shop", "db", 0, MIB) == (b"a" * 3 * BLOCK).ljust(MIB, b"\0")
    assert pair.a.delete_volume("shop.restore.db", OWNER)
    assert pair.read(pair.a, "shop", "db", 0, BLOCK) == b"a" * BLOCK


def test_a_lun_that_is_lost_or_was_grown_is_set_back_too(pair: Pair) -> None:
    volume(pair.a, luns=("db", "web"))
    for lun in ("db", "web"):
        pair.write(pair.a, "shop", lun, 0, b"a" * BLOCK)
    pair.a.snapshot(["shop"], "s1")
    pair.a.create_lun("shop", "web", 2 * MIB)
    pair.write(pair.a, "shop", "web", MIB, b"b" * BLOCK)
    pair.a.unmap_luns({"shop": ["db", "web"]})
    pair.a.delete_lun("shop", "db")
    pair.a.clone("shop", "s1", "shop.restore.db", "safety", OWNER)
    for lun in ("db", "web"):
        pair.a.restore_lun("shop", lun, "shop.restore.db")
    assert {name: lun.size for name, lun in seen(pair.a).luns.items()} == {"db": MIB, "web": 2 * MIB}
    assert pair.read(pair.a, "shop", "db", 0, MIB) == (b"a" * BLOCK).ljust(MIB, b"\0")
    assert pair.read(pair.a, "shop", "web", 0, 2 * MIB) == (b"a" * BLOCK).ljust(2 * MIB, b"\0")


def test_a_lun_is_not_set_back_under_anothers_lease_or_on_a_destination(pair: Pair) -> None:
    volume(pair.a)
    pair.a.snapshot(["shop"], "s1")
    pair.a.clone("shop", "s1", "shop.restore.db", "safety", OWNER)
    pair.a.unmap_luns({"shop": ["db"]})
    pair.a.put_record("shop/claim/web", "{}")
    with pytest.raises(MoveInProgress):
        pair.a.restore_lun("shop", "db", "shop.restore.db", Guard(absent=("shop/claim/web",)))
    with pytest.raises(NotFound):
        pair.a.restore_lun("shop", "none", "shop.restore.db")
    pair.a.demote("shop", "s1")
    with pytest.raises(Conflict):
        pair.a.restore_lun("shop", "db", "shop.restore.db")


def test_a_lun_made_anew_is_empty(pair: Pair) -> None:
    volume(pair.a)
    pair.write(pair.a, "shop", "db", 0, b"old")
    pair.a.snapshot(["shop"], "s1")
    pair.a.unmap_luns({"shop": ["db"]})
    assert pair.a.delete_lun("shop", "db")
    assert not pair.a.delete_lun("shop", "db")
    pair.a.create_lun("shop", "db", MIB)
    assert pair.read(pair.a, "shop", "db", 0, 3) == bytes(3)


# -- snapshots ----------------------------------------------------------------------------------


def test_a_group_is_one_point_under_concurrent_writes(pair: Pair) -> None:
    volume(pair.a, "one")
    volume(pair.a, "two")
    pair.write(pair.a, "one", "db", 0, (0).to_bytes(8, "big"))
    pair.write(pair.a, "two", "db", 0, (0).to_bytes(8, "big"))
    stop = threading.Event()
    started = threading.Event()

    def guest() -> None:
        # The first volume is always written first: it is never behind the second, and never ahead by more than one.
        number = 0
        while not stop.is_set():
            number += 1
            pair.write(pair.a, "one", "db", 0, number.to_bytes(8, "big"))
            pair.write(pair.a, "two", "db", 0, number.to_bytes(8, "big"))
            started.set()

    thread = threading.Thread(target=guest)
    thread.start()
    assert started.wait(30)
    for number in range(10):
        pair.a.snapshot(["one", "two"], f"s{number}")
    stop.set()
    thread.join()
    for number in range(10):
        found = []
        for name in ("one", "two"):
            pair.a.clone(name, f"s{number}", f"{name}-{number}", "safety", OWNER)
            found.append(int.from_bytes(pair.read(pair.a, f"{name}-{number}", "db", 0, 8), "big"))
        assert found[0] - found[1] in (0, 1)


def test_a_snapshot_captures_records_and_takes_a_seal_and_holds(pair: Pair) -> None:
    volume(pair.a)
    pair.write(pair.a, "shop", "db", 0, b"x" * BLOCK * 2)
    assert count(pair, seen(pair.a).changed, 2 * BLOCK)
    assert seen(pair.a).last_write is not None
    pair.a.put_volume_records(["shop"], "intent", "first")
    pair.a.snapshot(["shop"], "s1")
    pair.a.put_volume_records(["shop"], "intent", "second")
    pair.a.seal(["shop"], "s1", "sealed")
    pair.a.hold({"shop": "s1"}, "common:b")
    pair.a.hold({"shop": "s1"}, "fork")
    snapshot = seen(pair.a).snapshots[0]
    assert (snapshot.records, snapshot.seal, snapshot.holds) == (
        {"intent": "first"},
        "sealed",
        frozenset({"common:b", "fork"}),
    )
    assert count(pair, snapshot.referenced, 2 * BLOCK)
    assert seen(pair.a).changed == 0
    assert seen(pair.a).records == {"intent": "second"}
    pair.a.snapshot(["shop"], "s2")
    with pytest.raises(Busy, match="common:b"):
        pair.a.delete_snapshots({"shop": ["s2", "s1"]})
    assert names(pair.a) == ["s1", "s2"]
    pair.a.release(["shop"], "common:b")
    pair.a.release(["shop"], "fork")
    pair.a.delete_snapshots({"shop": ["s2", "s1"]})
    assert names(pair.a) == []


def test_a_group_with_some_members_snapshot_already_is_refused(pair: Pair) -> None:
    volume(pair.a, "one")
    volume(pair.a, "two")
    pair.a.snapshot(["one"], "s1")
    with pytest.raises(Conflict, match="one"):
        pair.a.snapshot(["one", "two"], "s1")
    with pytest.raises(NotFound):
        pair.a.snapshot(["one", "gone"], "s2")
    assert names(pair.a, "one") == ["s1"]


def test_deleting_a_snapshot_frees_what_only_it_kept(pair: Pair) -> None:
    piece = 4 * BLOCK if pair.exact else 4 * MIB
    volume(pair.a, size=piece)
    for number in range(3):
        pair.write(pair.a, "shop", "db", 0, bytes([number + 1]) + os.urandom(piece - 1))
        pair.a.snapshot(["shop"], f"s{number}")
    used(pair, pair.a, 3 * piece)
    pair.a.delete_snapshots({"shop": ["s1"]})
    used(pair, pair.a, 2 * piece, below=3 * piece)
    pair.a.delete_snapshots({"shop": ["s0", "s2"]})
    used(pair, pair.a, piece, below=2 * piece)
    assert pair.read(pair.a, "shop", "db", 0, 1) == b"\3"


def test_a_drill_clone_keeps_its_parent_snapshot_and_a_safety_copy_does_not(pair: Pair) -> None:
    volume(pair.a)
    pair.write(pair.a, "shop", "db", 0, b"entry")
    pair.a.snapshot(["shop"], "s1")
    pair.a.clone("shop", "s1", "safe", "safety", OWNER)
    pair.a.clone("shop", "s1", "drill", "drill", OWNER)
    clone = seen(pair.a, "drill")
    assert (clone.kind, clone.writable, clone.origin, clone.luns["db"].mapped_to) == (
        "drill",
        True,
        ("shop", "s1"),
        None,
    )
    with pytest.raises(Busy, match="drill"):
        pair.a.delete_snapshots({"shop": ["s1"]})
    assert pair.a.delete_volume("drill", OWNER)
    pair.a.delete_snapshots({"shop": ["s1"]})
    pair.a.unmap_luns({"shop": ["db"]})
    assert pair.a.delete_volume("shop", OWNER)
    assert pair.read(pair.a, "safe", "db", 0, 5) == b"entry"
    with pytest.raises(Conflict, match="choose another name"):
        pair.a.clone("safe", None, "safe", "safety", OWNER)


# -- replication --------------------------------------------------------------------------------


def resumed(pair: Pair) -> int:
    """The bytes from which the cut transfer to `b` goes on: 0 for a driver that starts over."""
    incoming = seen(pair.b).incoming
    assert (incoming is not None) == pair.resumes
    if incoming is None:
        return 0
    assert incoming.received > 0
    return incoming.received


def test_a_full_copy_then_increments(pair: Pair) -> None:
    volume(pair.a, luns=("db", "log"))
    pair.write(pair.a, "shop", "db", 0, os.urandom(64 * BLOCK))
    pair.a.put_volume_records(["shop"], "intent", "first")
    pair.a.snapshot(["shop"], "s1")
    pair.a.seal(["shop"], "s1", "sealed")
    pair.a.hold({"shop": "s1"}, "common")
    assert count(pair, pair.a.estimate("shop", None, "s1"), 64 * BLOCK)
    assert count(pair, copy(pair, "s1"), 64 * BLOCK)
    assert copy(pair, "s1") == 0
    there, here = seen(pair.b), seen(pair.a)
    assert not there.writable
    assert there.owner == OWNER
    assert there.size == here.size
    assert there.records == {"intent": "first"}
    sent = replace(here.snapshots[0], holds=frozenset())
    if not pair.exact:
        sent = replace(sent, referenced=there.snapshots[0].referenced)
    assert sent == there.snapshots[0]
    pair.write(pair.a, "shop", "db", 10 * BLOCK, os.urandom(3 * BLOCK))
    pair.write(pair.a, "shop", "db", 5 * BLOCK, bytes(BLOCK))
    assert count(pair, pair.a.estimate("shop", "s1", None), 4 * BLOCK)
    pair.a.snapshot(["shop"], "s2")
    assert count(pair, pair.a.estimate("shop", "s1", "s2"), 4 * BLOCK)
    progress: list[int] = []
    taken = pair.b.receive("shop", pair.a.send("shop", "s1", "s2"), OWNER, progress=progress.append)
    assert count(pair, taken, 4 * BLOCK)
    assert progress[-1] == taken
    assert names(pair.b) == ["s1", "s2"]
    assert pair.read(pair.b, "shop", "db", 0, MIB) == pair.read(pair.a, "shop", "db", 0, MIB)
    with pytest.raises(NothingToSend):
        pair.a.send("shop", "s2", "s2")


def test_a_snapshot_is_read_back_as_it_was_on_both_arrays(pair: Pair) -> None:
    volume(pair.a, luns=("db", "log"))
    pair.write(pair.a, "shop", "db", 0, b"a" * BLOCK)
    pair.a.snapshot(["shop"], "s1")
    copy(pair, "s1")
    pair.write(pair.a, "shop", "db", 0, b"b" * BLOCK)
    pair.a.snapshot(["shop"], "s2")
    told: list[int] = []
    contents = {"db": (b"a" * BLOCK).ljust(MIB, b"\0"), "log": bytes(MIB)}
    wanted = {lun: hashlib.sha256(data).hexdigest() for lun, data in contents.items()}
    before = alike(pair, pair.b.state())
    assert pair.a.digests("shop", "s1", progress=told.append) == wanted
    assert pair.b.digests("shop", "s1") == wanted
    assert told == sorted(told)
    assert alike(pair, pair.b.state()).volumes == before.volumes, "nothing of the reading is left"
    assert pair.a.digests("shop", "s2")["log"] == wanted["log"]
    assert pair.a.digests("shop", "s2")["db"] != wanted["db"]
    with pytest.raises(NotFound):
        pair.b.digests("shop", "s2")
    with pytest.raises(Stopped):
        pair.a.digests("shop", "s1", stop=lambda: "asked")


def test_luns_added_grown_made_anew_and_removed_travel(pair: Pair) -> None:
    volume(pair.a, luns=("grown", "anew", "removed"))
    for lun in ("grown", "anew", "removed"):
        pair.write(pair.a, "shop", lun, 0, b"1" * BLOCK * 3)
    pair.a.snapshot(["shop"], "s1")
    copy(pair, "s1")
    pair.b.set_lun_online("shop", ["grown"], False)
    pair.a.unmap_luns({"shop": ["anew", "removed"]})
    pair.a.delete_lun("shop", "anew")
    pair.a.delete_lun("shop", "removed")
    pair.a.create_lun("shop", "anew", MIB)
    pair.a.create_lun("shop", "added", MIB)
    pair.a.create_lun("shop", "grown", 2 * MIB)
    pair.a.map_lun("shop", ["anew", "added"], "host-1")
    pair.write(pair.a, "shop", "anew", BLOCK, b"2" * 10)
    pair.write(pair.a, "shop", "added", 0, b"3" * 10)
    pair.write(pair.a, "shop", "grown", MIB, b"4" * 10)
    pair.a.snapshot(["shop"], "s2")
    assert count(pair, copy(pair, "s2", "s1"), pair.a.estimate("shop", "s1", "s2"))
    luns = seen(pair.b).luns
    assert {name: lun.size for name, lun in luns.items()} == {"grown": 2 * MIB, "anew": MIB, "added": MIB}
    # Where a LUN is mapped and whether it is online is each array's own.
    assert {lun.mapped_to for lun in luns.values()} == {None}
    assert not luns["grown"].online
    for name, found in luns.items():
        assert pair.read(pair.b, "shop", name, 0, found.size) == pair.read(pair.a, "shop", name, 0, found.size)


def test_replication_conflicts_are_typed(pair: Pair) -> None:
    volume(pair.a)
    for number in (1, 2, 3):
        pair.write(pair.a, "shop", "db", 0, bytes([number]) * BLOCK)
        pair.a.snapshot(["shop"], f"s{number}")
    with pytest.raises(NoCommonSnapshot):
        pair.a.send("shop", "s3", "s1")
    with pytest.raises(NoCommonSnapshot):
        pair.a.estimate("shop", "gone", "s1")
    with pytest.raises(NotFound):
        pair.a.send("shop", None, "gone")
    with pytest.raises(NoCommonSnapshot):
        copy(pair, "s2", "s1")
    copy(pair, "s1")
    with pytest.raises(NoCommonSnapshot, match="s2"):
        copy(pair, "s3", "s2")
    copy(pair, "s2", "s1")
    with pytest.raises(Diverged, match="s2"):
        copy(pair, "s3", "s1")
    pair.b.promote("shop", "s2")
    with pytest.raises(Conflict, match="writable"):
        copy(pair, "s3", "s2")
    pair.b.create_volume("bank", MIB, Owner("bank", "", "1"), writable=False)
    with pytest.raises(Conflict, match="topology bank"):
        pair.b.receive("bank", pair.a.send("shop", None, "s1"), OWNER)


def test_an_increment_stands_on_its_base_when_newer_copies_were_deleted(pair: Pair) -> None:
    volume(pair.a)
    for number in (1, 2, 3):
        pair.write(pair.a, "shop", "db", number * BLOCK, bytes([number]) * BLOCK)
        pair.a.snapshot(["shop"], f"s{number}")
    pair.write(pair.a, "shop", "db", 2 * BLOCK, b"x" * BLOCK)
    copy(pair, "s1")
    copy(pair, "s2", "s1")
    pair.b.delete_snapshots({"shop": ["s2"]})
    copy(pair, "s3", "s1")
    pair.a.clone("shop", "s3", "expected", "safety", OWNER)
    assert pair.read(pair.b, "shop", "db", 0, MIB) == pair.read(pair.a, "expected", "db", 0, MIB)


@pytest.mark.parametrize("base", [None, "s0"])
def test_a_cut_transfer_is_hidden_and_resumed(pair: Pair, base: str | None) -> None:
    volume(pair.a, size=8 * MIB)
    if base:
        pair.a.snapshot(["shop"], base)
        copy(pair, base)
    pair.write(pair.a, "shop", "db", 0, os.urandom(6 * MIB))
    pair.a.snapshot(["shop"], "s1")
    before = seen(pair.b) if base else None
    with pytest.raises(Unreachable):
        pair.cut_receive("shop", pair.a.send("shop", base, "s1"), 3)
    cut = seen(pair.b)
    if not pair.resumes:
        assert cut.incoming is None
        assert names(pair.b) == ([base] if base else [])
        copy(pair, "s1", base)
        assert pair.read(pair.b, "shop", "db", 0, 8 * MIB) == pair.read(pair.a, "shop", "db", 0, 8 * MIB)
        return
    assert cut.incoming is not None
    assert (cut.incoming.snapshot, cut.incoming.base, cut.incoming.guid) == (
        "s1",
        base,
        seen(pair.a).snapshots[-1].guid,
    )
    received = cut.incoming.received
    assert 0 < received < 6 * MIB
    assert names(pair.b) == ([base] if base else [])
    if before is not None:
        assert (cut.luns, cut.records, cut.changed) == (before.luns, before.records, before.changed)
        assert pair.read(pair.b, "shop", "db", 0, MIB) == bytes(MIB)
    with pytest.raises(Conflict, match="first"):
        pair.b.receive("shop", pair.a.send("shop", base, "s1", start=received - BLOCK), OWNER)
    progress: list[int] = []
    rest = pair.b.receive("shop", pair.a.send("shop", base, "s1", start=received), OWNER, progress=progress.append)
    assert rest == 6 * MIB - received
    assert progress[-1] == 6 * MIB
    assert seen(pair.b).incoming is None
    assert pair.read(pair.b, "shop", "db", 0, 8 * MIB) == pair.read(pair.a, "shop", "db", 0, 8 * MIB)


def test_another_stream_takes_the_place_of_a_cut_one(pair: Pair) -> None:
    volume(pair.a, size=8 * MIB)
    pair.write(pair.a, "shop", "db", 0, os.urandom(6 * MIB))
    pair.a.snapshot(["shop"], "s1")
    with pytest.raises(Unreachable):
        pair.cut_receive("shop", pair.a.send("shop", None, "s1"), 3)
    pair.write(pair.a, "shop", "db", 0, b"newer")
    pair.a.snapshot(["shop"], "s2")
    assert count(pair, copy(pair, "s2"), 6 * MIB)
    used(pair, pair.b, 6 * MIB, below=8 * MIB)
    assert names(pair.b) == ["s2"]


def test_a_transfer_stops_when_asked_and_keeps_to_its_rate(pair: Pair) -> None:
    volume(pair.a, size=16 * MIB)
    pair.write(pair.a, "shop", "db", 0, os.urandom(12 * MIB))
    pair.a.snapshot(["shop"], "s1")
    asked = iter([None, "Ctrl-C"])
    with pytest.raises(Stopped, match="Ctrl-C"):
        pair.b.receive("shop", pair.a.send("shop", None, "s1"), OWNER, stop=lambda: next(asked), rate=pair.rate)
    start = resumed(pair)
    pair.b.receive("shop", pair.a.send("shop", None, "s1", start=start), OWNER, rate=1 << 40)
    assert names(pair.b) == ["s1"]


def test_a_full_copy_replaces_only_when_complete(pair: Pair) -> None:
    volume(pair.a)
    volume(pair.b)
    pair.write(pair.b, "shop", "db", 0, b"old")
    pair.b.snapshot(["shop"], "old")
    pair.b.unmap_luns({"shop": ["db"]})
    pair.b.demote("shop", "old")
    pair.write(pair.a, "shop", "db", 0, os.urandom(MIB))
    pair.a.snapshot(["shop"], "s1")
    pair.b.hold({"shop": "old"}, "fork")
    with pytest.raises(Busy, match="fork"):
        copy(pair, "s1")
    pair.b.release(["shop"], "fork")
    with pytest.raises(Unreachable):
        pair.cut_receive("shop", pair.a.send("shop", None, "s1"), 0)
    assert names(pair.b) == ["old"]
    assert pair.read(pair.b, "shop", "db", 0, 3) == b"old"
    copy(pair, "s1")
    assert names(pair.b) == ["s1"]
    used(pair, pair.b, MIB)


def test_a_lost_path_is_unreachable_and_known(pair: Pair) -> None:
    volume(pair.a, size=8 * MIB)
    pair.write(pair.a, "shop", "db", 0, os.urandom(6 * MIB))
    pair.a.snapshot(["shop"], "s1")
    assert pair.a.state(peers=["b"]).peers == {"b": True}

    def lose(done: int) -> None:
        pair.cut()

    with pytest.raises(Unreachable):
        pair.b.receive("shop", pair.a.send("shop", None, "s1"), OWNER, progress=lose, rate=pair.rate)
    assert pair.a.state(peers=["b"]).peers == {"b": False}
    assert pair.b.state(peers=["a"]).peers == {"a": False}
    pair.a.snapshot(["shop"], "s2")
    pair.heal()
    pair.b.receive("shop", pair.a.send("shop", None, "s1", start=resumed(pair)), OWNER)
    copy(pair, "s2", "s1")


def test_a_silent_source_cuts_a_transfer_and_silence_is_unreachable(pair: Pair) -> None:
    volume(pair.a, size=8 * MIB)
    pair.write(pair.a, "shop", "db", 0, os.urandom(6 * MIB))
    pair.a.snapshot(["shop"], "s1")
    stream = pair.a.send("shop", None, "s1")
    with pytest.raises(Unreachable):
        pair.b.receive("shop", stream, OWNER, progress=lambda done: pair.silence("a"), rate=pair.rate)
    for call in (pair.a.state, lambda: pair.a.put_record("shop/pin", "x"), lambda: pair.a.unmap_luns({"shop": ["db"]})):
        with pytest.raises(Unreachable):
            call()
    assert (seen(pair.b).incoming is not None) == pair.resumes


# -- break and rejoin ---------------------------------------------------------------------------


def test_promote_breaks_at_the_point_and_clones_keep_what_is_newer(pair: Pair) -> None:
    volume(pair.a)
    for number in (1, 2):
        pair.write(pair.a, "shop", "db", 0, bytes([number]) * 3)
        pair.a.put_volume_records(["shop"], "intent", f"r{number}")
        pair.a.snapshot(["shop"], f"s{number}")
    copy(pair, "s1")
    copy(pair, "s2", "s1")
    pair.b.hold({"shop": "s2"}, "common")
    with pytest.raises(Conflict, match="destination"):
        pair.b.map_lun("shop", ["db"], "host-2")
    pair.b.clone("shop", "s2", "newer", "safety", OWNER)
    pair.b.promote("shop", "s1")
    assert (names(pair.b), seen(pair.b).writable, seen(pair.b).records) == (["s1"], True, {"intent": "r1"})
    assert pair.read(pair.b, "shop", "db", 0, 3) == b"\1\1\1"
    assert pair.read(pair.b, "newer", "db", 0, 3) == b"\2\2\2"
    pair.b.map_lun("shop", ["db"], "host-2")
    pair.write(pair.b, "shop", "db", 0, b"new")
    with pytest.raises(Conflict, match="newer than snapshot s1"):
        pair.b.promote("shop", "s1")
    with pytest.raises(NotFound):
        pair.b.promote("shop", "gone")


def test_demote_keeps_a_clone_of_now_and_takes_increments_again(pair: Pair) -> None:
    volume(pair.a)
    pair.write(pair.a, "shop", "db", 0, b"one")
    pair.a.snapshot(["shop"], "s1")
    copy(pair, "s1")
    pair.b.promote("shop", "s1")
    pair.b.map_lun("shop", ["db"], "host-2")
    pair.write(pair.b, "shop", "db", 0, b"two")
    pair.b.snapshot(["shop"], "s2")
    pair.write(pair.a, "shop", "db", 100, b"lost")
    with pytest.raises(Busy, match="host-1"):
        pair.a.demote("shop", "s1")
    pair.a.unmap_luns({"shop": ["db"]})
    pair.a.clone("shop", None, "safety-shop", "safety", OWNER)
    pair.a.demote("shop", "s1")
    assert (seen(pair.a).writable, seen(pair.a).changed) == (False, 0)
    pair.a.receive("shop", pair.b.send("shop", "s1", "s2"), OWNER)
    assert pair.read(pair.a, "shop", "db", 0, 104) == b"two" + bytes(101)
    assert pair.read(pair.a, "safety-shop", "db", 0, 104) == b"one" + bytes(97) + b"lost"
    assert seen(pair.a, "safety-shop").origin == ("shop", "")


def test_promotion_drops_a_partly_received_step(pair: Pair) -> None:
    volume(pair.a, size=8 * MIB)
    pair.a.snapshot(["shop"], "s1")
    copy(pair, "s1")
    pair.write(pair.a, "shop", "db", 0, os.urandom(6 * MIB))
    pair.a.snapshot(["shop"], "s2")
    with pytest.raises(Unreachable):
        pair.cut_receive("shop", pair.a.send("shop", "s1", "s2"), 3)
    assert pair.b.state().used > 0
    pair.b.promote("shop", "s1")
    assert seen(pair.b).incoming is None
    used(pair, pair.b, 0, below=2 * MIB)
    assert pair.read(pair.b, "shop", "db", 0, 8 * MIB) == bytes(8 * MIB)


# -- capacity -----------------------------------------------------------------------------------


def test_a_full_array_says_so_and_keeps_what_it_has(pair: Pair, tmp_path: Path) -> None:
    full = pair.again("b", capacity=pair.small)
    volume(full, "own", size=4 * pair.small)
    pair.fill(full, "own", pair.small)
    if pair.exact:
        assert full.state().capacity == pair.small
        assert full.state().used == pair.small - BLOCK
    with pytest.raises(ArrayFull):
        pair.write(full, "own", "db", 3 * pair.small, b"x" * BLOCK * 2)
    if pair.exact:  # elsewhere a clone takes no room until it is written to
        with pytest.raises(ArrayFull):
            full.clone("own", None, "copy", "safety", OWNER)
    image = tmp_path / "image"
    image.write_bytes(b"i" * BLOCK * 3)
    with pytest.raises(ArrayFull):
        full.create_lun("own", "image", MIB, image=str(image))
    volume(pair.a)
    pair.write(pair.a, "shop", "db", 0, os.urandom(BLOCK * 2))
    pair.a.snapshot(["shop"], "s1")
    with pytest.raises(ArrayFull):
        full.receive("shop", pair.a.send("shop", None, "s1"), OWNER)
    used(pair, full, pair.small - BLOCK)
    assert set(seen(full, "own").luns) == {"db"}


def test_a_full_array_can_still_be_moved_away_from(pair: Pair) -> None:
    full = pair.again("b", capacity=pair.small)
    volume(full, "own", size=4 * pair.small)
    pair.fill(full, "own", pair.small)
    assert full.create_record("t/lease", "1") is True
    full.put_record("t/claim", "2" * BLOCK)
    full.put_volume_records(["own"], "intent", os.urandom(BLOCK).hex())
    full.snapshot(["own"], "s1")
    full.seal(["own"], "s1", "sealed")
    full.hold({"own": "s1"}, "common.a")
    assert pair.a.receive("own", full.send("own", None, "s1"), OWNER) > 0
    full.set_lun_online("own", ["db"], False)
    full.unmap_luns({"own": ["db"]})
    full.demote("own", "s1")
    found = seen(full, "own")
    assert (found.writable, found.luns["db"].mapped_to, found.luns["db"].online) == (False, None, False)
    assert [(s.name, s.seal, s.holds) for s in found.snapshots] == [("s1", "sealed", frozenset({"common.a"}))]
    assert full.state(records="t/").records == {"t/lease": "1", "t/claim": "2" * BLOCK}
    # Also where an earlier call has used what was kept, and what was let go is kept again.
    full.promote("own", "s1")
    full.release(["own"], "common.a")
    full.snapshot(["own"], "s2")
    full.delete_snapshots({"own": ["s1", "s2"]})
    assert names(full, "own") == []


# -- killed processes ---------------------------------------------------------------------------


def _killed(work: Callable[[Connection], None]) -> None:
    """Run in a process of its own and kill it where it says that it is in the middle."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=work, args=(there,))
    process.start()
    assert here.poll(60)
    assert here.recv() == "middle"
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def _halt(pipe: Connection) -> None:
    pipe.send("middle")
    pipe.recv()


def test_a_process_killed_in_the_middle_of_a_receive_leaves_it_to_be_resumed(pair: Pair) -> None:
    volume(pair.a, size=16 * MIB)
    pair.write(pair.a, "shop", "db", 0, os.urandom(12 * MIB))
    pair.a.snapshot(["shop"], "s1")

    def work(pipe: Connection) -> None:
        source, destination = pair.again("a"), pair.again("b")
        stream = source.send("shop", None, "s1")
        destination.receive("shop", stream, OWNER, progress=lambda done: _halt(pipe), rate=pair.rate)

    _killed(work)
    pair.audit()
    start = resumed(pair)
    assert start < 12 * MIB
    pair.b.receive("shop", pair.a.send("shop", None, "s1", start=start), OWNER)
    assert pair.read(pair.b, "shop", "db", 0, 16 * MIB) == pair.read(pair.a, "shop", "db", 0, 16 * MIB)


def test_a_process_killed_while_it_writes_loses_nothing_that_was_acknowledged(pair: Pair) -> None:
    volume(pair.a)

    def work(pipe: Connection) -> None:
        array = pair.again("a")
        for number in range(20):
            pair.write(array, "shop", "db", number * BLOCK, b"entry")
        pipe.send("middle")
        number = 20
        while True:
            pair.write(array, "shop", "db", number % 256 * BLOCK, b"entry")
            number += 1

    _killed(work)
    pair.audit()
    content = pair.read(pair.a, "shop", "db", 0, 20 * BLOCK)
    assert all(content[at : at + 5] == b"entry" for at in range(0, len(content), BLOCK))
    pair.write(pair.a, "shop", "db", 0, b"after")


# -- what it has ----------------------------------------------------------------------------------


def test_the_inventory_names_every_volume_and_whose_it_is(pair: Pair) -> None:
    volume(pair.a)
    theirs = replace(OWNER, topology="another")
    pair.a.create_volume("theirs", 8 * MIB, theirs)
    before = alike(pair, pair.a.state())
    found = {each.name: each for each in pair.a.inventory() if each.topology}
    assert {name: (each.kind, each.size, each.topology) for name, each in found.items()} == {
        "shop": ("data", 64 * MIB, OWNER.topology),
        "theirs": ("data", 8 * MIB, "another"),
    }
    assert alike(pair, pair.a.state()) == before, "it changes nothing"
