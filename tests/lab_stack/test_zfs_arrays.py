"""What a zfs array does that the contract suite cannot ask of every driver: calls cut at each of their commands, restarts, clones in use."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dr_provider.arrays.zfs.calls import owner_words
from dr_provider.model import keys
from dr_provider.model.errors import NotReady
from dr_provider.model.state import ArrayState, VolumeState
from tests.lab_stack.zfs_pair import ZfsPair
from tests.support.arrays import OWNER

MIB = 1 << 20


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[ZfsPair]:
    made = ZfsPair(tmp_path)
    yield made
    made.heal()
    made.audit()
    made.a.close()
    made.b.close()


def history(pair: ZfsPair, *, clones: bool = True) -> None:
    """Volume shop with snapshots s1 to s3 and newer data, a safety copy of s2 and one of now."""
    pair.a.create_volume("shop", 64 * MIB, OWNER)
    pair.a.create_lun("shop", "db", MIB)
    pair.a.map_lun("shop", ["db"], "host-1")
    for number in (1, 2, 3):
        pair.write(pair.a, "shop", "db", 0, bytes([number]) * 4096)
        pair.a.put_volume_records(["shop"], "intent", f"r{number}")
        pair.a.snapshot(["shop"], f"s{number}")
    pair.write(pair.a, "shop", "db", 0, bytes([4]) * 4096)
    pair.a.unmap_luns({"shop": ["db"]})
    if clones:
        pair.a.clone("shop", "s2", "safe", "safety", OWNER)
        pair.a.clone("shop", None, "latest", "safety", OWNER)


def what_counts(state: ArrayState) -> dict[str, Any]:
    """Of each volume: what must be as before a call, or as after it."""

    def told(v: VolumeState) -> tuple[Any, ...]:
        return (v.writable, bool(v.changed), [s.name for s in v.snapshots], dict(v.records), sorted(v.luns), v.origin)

    return {name: told(volume) for name, volume in state.volumes.items()}


OWNED = owner_words(OWNER)
CUT: dict[str, tuple[str, dict[str, Any]]] = {
    "create_volume": ("create_volume", {"volume": "new", "size": MIB, "owner": OWNED, "group": "plan"}),
    "group": ("snapshot", {"volumes": ["shop", "other"], "snapshot": "s9"}),
    "clone of now": ("clone", {"volume": "shop", "snapshot": None, "name": "third", "kind": "safety", "owner": OWNED}),
    "demote": ("demote", {"volume": "shop", "snapshot": "s1"}),
    "delete_snapshots": ("delete_snapshots", {"volume": "shop", "snapshots": ["s1", "s2", "s3"]}),
    "delete_volume": ("delete_volume", {"volume": "shop", "owner": OWNED}),
    "delete_clone": ("delete_volume", {"volume": "latest", "owner": OWNED}),
}


@pytest.mark.parametrize("what", sorted(CUT))
def test_a_call_cut_at_any_command_is_completed_by_its_repetition(tmp_path: Path, what: str) -> None:
    op, args = CUT[what]
    die = 0
    after: dict[str, Any] | None = None
    while True:
        pair = ZfsPair(tmp_path)
        history(pair)
        pair.a.create_volume("other", MIB, OWNER)
        before = what_counts(pair.a.state())
        status, said = pair.inside(pair.a, {"op": op, "args": args, **({} if after is None else {"die": die})})
        if after is None:
            after, commands = what_counts(pair.a.state()), int(said)
            assert commands
            assert after != before
        elif status == 0 and die:
            # The first call had to ask for an unmount again, which zfs-fuse does in its own time: this one took fewer commands.
            assert what_counts(pair.a.state()) == after
            die = commands
        else:
            assert status == 9
            seen = what_counts(pair.a.state())
            if op not in ("delete_snapshots", "demote"):  # those lose snapshots one by one
                assert seen in (before, after)
            assert pair.inside(pair.a, {"op": op, "args": args})[0] == 0
            assert what_counts(pair.a.state()) == after
            for name, number in (("safe", 2), ("latest", 4)):
                if name in after:
                    assert pair.read(pair.a, name, "db", 0, 1) == bytes([number])
            die += 1
        pair.a.delete_snapshots("shop", ["gone"])
        pair.audit()
        pair.a.close()
        pair.b.close()
        if die == commands:
            return


def test_a_drill_in_use_does_not_stand_in_the_way_and_keeps_its_data(pair: ZfsPair) -> None:
    history(pair, clones=False)
    pair.a.clone("shop", "s2", "drill", "drill", OWNER)
    pair.a.map_lun("drill", ["db"], "host-1")
    pair.write(pair.a, "drill", "db", 4096, b"drilled")
    pair.a.demote("shop", "s1")
    assert pair.a.state().volumes["drill"].luns["db"].mapped_to == "host-1"
    pair.write(pair.a, "drill", "db", 8192, b"goes on")
    assert pair.read(pair.a, "drill", "db", 0, 1) == b"\2"
    assert pair.read(pair.a, "drill", "db", 4096, 7) == b"drilled"
    pair.a.promote("shop", "s1")
    assert pair.read(pair.a, "shop", "db", 0, 1) == b"\1"
    pair.a.unmap_luns({"drill": ["db"]})
    assert pair.a.delete_volume("drill", OWNER)


def test_an_array_that_was_switched_off_offers_nothing_and_is_whole(pair: ZfsPair) -> None:
    history(pair)
    pair.a.map_lun("shop", ["db"], "host-1")
    before = pair.a.state()
    machine = pair.machine("a")
    machine.kill()
    machine.start()
    after = pair.a.state()
    assert after.volumes["shop"].luns["db"].mapped_to is None
    assert what_counts(after) == what_counts(before)
    assert (after.own_id, after.serial) == (before.own_id, before.serial)
    pair.a.map_lun("shop", ["db"], "host-1")
    pair.write(pair.a, "shop", "db", 0, b"again")
    assert pair.read(pair.a, "shop", "db", 0, 5) == b"again"


def test_records_that_were_acknowledged_outlive_a_power_failure(pair: ZfsPair) -> None:
    """zfs-fuse's fsync of a folder does nothing: without more, the last of them was gone."""
    machine = pair.machine("a")
    for round_ in range(3):
        written = {f"shop/lease/p/{round_:05d}{number:05d}": f"beat {number}" for number in range(4)}
        for key, value in written.items():
            assert pair.a.create_record(key, value)
        last = [*written][-1]
        pair.a.put_record(last, "released")
        machine.kill()
        machine.start()
        found = pair.a.state(records="shop/lease/").records
        assert {key: found.get(key) for key in written} == {**written, last: "released"}


def test_what_is_in_the_log_at_a_power_failure_is_dated_before_it(pair: ZfsPair) -> None:
    history(pair, clones=False)
    pair.a.map_lun("shop", ["db"], "host-1")
    pair.write(pair.a, "shop", "db", 0, b"acknowledged")
    machine = pair.machine("a")
    machine.kill()
    lost = int(time.time())
    while int(time.time()) <= lost:  # the array's clock tells whole seconds apart
        time.sleep(0.05)
    machine.start()
    returned = pair.a.state().volumes["shop"]
    assert returned.changed
    assert returned.last_write is not None
    assert keys.at(returned.last_write).timestamp() <= lost
    assert pair.read(pair.a, "shop", "db", 0, 12) == b"acknowledged"
    # What is written from now on is of now.
    pair.a.map_lun("shop", ["db"], "host-1")
    pair.write(pair.a, "shop", "db", 0, b"later")
    written = pair.a.state().volumes["shop"].last_write
    assert written is not None
    assert keys.at(written).timestamp() > lost


def _exported(pair: ZfsPair) -> Callable[[], object]:
    pair.machine("a").exec(["zpool", "export", "tank"])
    return lambda: pair.machine("a").exec(
        ["zpool", "import", "-d", str(pair.machine("a").folder / "disk"), "tank"], timeout=30
    )


def _dead(pair: ZfsPair) -> Callable[[], object]:
    pair.machine("a").stop_service("zfs-fuse")
    return lambda: pair.machine("a").start_service("zfs-fuse")


@pytest.mark.parametrize(("harm", "sentence"), [(_exported, "pool tank is not imported"), (_dead, "zfs-fuse")])
def test_an_array_without_its_pool_is_not_ready_and_never_missing(
    pair: ZfsPair, harm: Callable[[ZfsPair], Callable[[], object]], sentence: str
) -> None:
    history(pair, clones=False)
    mend = harm(pair)
    try:
        for call in (pair.a.state, pair.a.create, lambda: pair.a.put_record("shop/pin", "x")):
            with pytest.raises(NotReady, match=sentence) as refused:
                call()
            assert not refused.value.missing
    finally:
        mend()
    assert pair.a.state().volumes["shop"].snapshots


def test_a_plan_of_eight_volumes_is_one_point_of_one_command(pair: ZfsPair) -> None:
    names = [f"v{number}" for number in range(8)]
    array = pair.again("a", groups=dict.fromkeys(names, "plan"))
    for name in names:
        array.create_volume(name, MIB, OWNER)
        array.create_lun(name, "db", MIB)
    array.put_volume_records(names, "intent", os.urandom(20_000).hex())
    code, said = pair.inside(array, {"op": "snapshot", "args": {"volumes": names, "snapshot": "s1"}})
    # The snapshot, and its parent's part of it taken away again.
    assert (code, int(said)) == (0, 2)
    volumes = array.state().volumes
    assert {tuple(s.name for s in volumes[name].snapshots) for name in names} == {("s1",)}
    assert volumes["v0"].snapshots[0].records == volumes["v7"].records
