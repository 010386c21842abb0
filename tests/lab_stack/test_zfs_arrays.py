"""What a zfs array does that the contract suite cannot ask of every driver: calls cut at each of their commands, restarts, clones in use."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dr_provider.arrays.zfs import ZfsArray
from dr_provider.arrays.zfs.calls import owner_words
from dr_provider.model import keys
from dr_provider.model.errors import Busy, Conflict, NoCommonSnapshot, NotFound, NotReady
from dr_provider.model.state import ArrayState, VolumeState
from lab.run import wait_for
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


@pytest.fixture
def copied(pair: ZfsPair) -> ZfsPair:
    """Volume shop, with snapshots s1 to s3 on both."""
    history(pair, clones=False)
    for base, snapshot in ((None, "s1"), ("s1", "s2"), ("s2", "s3")):
        pair.b.receive("shop", pair.a.send("shop", base, snapshot), OWNER)
    return pair


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
    "promote": ("promote", {"volume": "shop", "snapshot": "s2"}),
    "promote to before a clone": ("promote", {"volume": "shop", "snapshot": "s1"}),
    "delete_snapshots": ("delete_snapshots", {"snapshots": {"shop": ["s1", "s2", "s3"]}}),
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
        if op == "promote":
            pair.a.demote("shop", "s3")
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
            if op not in ("delete_snapshots", "demote", "promote"):  # those lose snapshots one by one
                assert seen in (before, after)
            assert pair.inside(pair.a, {"op": op, "args": args})[0] == 0
            assert what_counts(pair.a.state()) == after
            for name, number in (("safe", 2), ("latest", 4)):
                if name in after:
                    assert pair.read(pair.a, name, "db", 0, 1) == bytes([number])
            if op in ("demote", "promote"):
                assert pair.read(pair.a, "shop", "db", 0, 1) == bytes([int(args["snapshot"][1:])])
            die += 1
        pair.a.delete_snapshots({"shop": ["gone"]})
        pair.audit()
        pair.a.close()
        pair.b.close()
        if die == commands:
            return


def arrived(pair: ZfsPair, base: str | None) -> dict[str, Any]:
    """Two volumes of which snapshot s2 has come to the other array, with another LUN and other records than s1, and was not taken up; the steps."""
    names = ("shop", "other")
    for number in (1, 2):
        for name in names:
            if number == 1:
                pair.a.create_volume(name, MIB, OWNER)
            lun = f"lun{number}"
            pair.a.create_lun(name, lun, MIB)
            pair.a.map_lun(name, [lun], "host-1")
            pair.write(pair.a, name, lun, 0, bytes([number]) * 4096)
        pair.a.put_volume_records(names, "intent", f"r{number}")
        pair.a.snapshot(names, f"s{number}")
        pair.a.seal(names, f"s{number}", f"seal {number}")
        if number == 1:
            for name in names:
                pair.b.receive(name, pair.a.send(name, None, "s1"), OWNER)
    assert isinstance(pair.a, ZfsArray)
    steps = {name: pair.a._ask("transfer.describe", volume=name, base=base, snapshot="s2") for name in names}
    for name, step in steps.items():
        into = step["dataset"] if base else f"tank/dr/incoming/{name}"
        send = f"zfs send {f'-i @{base}' if base else ''} {step['dataset']}@s2"
        pair.machine("a").exec(["bash", "-c", f"set -o pipefail; {send} | ssh west-a zfs receive {into}@s2"])
    return steps


@pytest.mark.parametrize(
    ("names", "base"),
    [(["shop"], "s1"), (["shop", "other"], "s1"), (["shop"], None)],
    ids=["increment", "increments together", "full copy"],
)
def test_the_end_of_a_transfer_cut_at_any_command_is_completed_by_its_repetition(
    tmp_path: Path, names: list[str], base: str | None
) -> None:
    older, newer = ({f"s{number}": (f"seal {number}", {"intent": f"r{number}"})} for number in (1, 2))
    arrived_whole = {**older, **newer} if base else newer
    die, commands = 0, 1
    after: dict[str, Any] | None = None
    while die < commands:
        pair = ZfsPair(tmp_path)
        steps = arrived(pair, base)
        cut = {} if after is None else {"die": die}
        status, said = pair.inside(pair.b, {"land": {name: steps[name] for name in names}, **cut})
        seen = {name: pair.b.state().volumes[name] for name in names}
        told = [{s.name: (s.seal, dict(s.records)) for s in volume.snapshots} for volume in seen.values()]
        if after is None:
            assert status == 0
            after, commands = what_counts(pair.b.state()), int(said)
            assert told == [arrived_whole] * len(names)
            assert all(
                volume.records == {"intent": "r2"} and [*volume.luns] == ["lun1", "lun2"] for volume in seen.values()
            )
        else:
            assert status == 9
            assert all(each in (older, arrived_whole) for each in told), "a snapshot is seen whole or not at all"
            for name in names:
                pair.b.receive(name, pair.a.send(name, base, "s2"), OWNER)
            assert what_counts(pair.b.state()) == after
            die += 1
        for name in steps:
            pair.b.promote(name, "s2" if name in names else "s1")
        for name in names:
            assert pair.read(pair.b, name, "lun2", 0, 1) == b""
        pair.audit()
        pair.a.close()
        pair.b.close()


def held(pair: ZfsPair) -> dict[str, tuple[bool, bool]]:
    """Of each snapshot of volume shop: whether a tag stands on it, and whether zfs's own hold does."""
    dataset = pair._dataset(pair.machine("a"), "shop")[0]
    said = pair.machine("a").exec(["zfs", "get", "-rHp", "-o", "name,property,value", "dr:holds,userrefs", dataset]).out
    told: dict[str, dict[str, str]] = {}
    for line in said.splitlines():
        full, key, value = line.split("\t")
        told.setdefault(full, {})[key] = value
    return {
        full.partition("@")[2]: (row["dr:holds"] != "-", row["userrefs"] != "0")
        for full, row in told.items()
        if "@" in full
    }


@pytest.mark.parametrize("die", [0, 1])
def test_a_tag_stands_on_a_hold_of_zfs_wherever_its_call_is_cut(pair: ZfsPair, die: int) -> None:
    history(pair, clones=False)
    hold: dict[str, object] = {"op": "hold", "args": {"snapshots": {"shop": "s2"}, "tag": "kept"}}
    release: dict[str, object] = {"op": "release", "args": {"volumes": ["shop"], "tag": "kept"}}
    assert pair.inside(pair.a, {**hold, "die": die})[0] == 9
    assert held(pair)["s2"] == (False, die > 0)
    assert pair.inside(pair.a, hold) == (0, "2\n")
    assert held(pair) == {"s1": (False, False), "s2": (True, True), "s3": (False, False)}
    assert pair.inside(pair.a, {**release, "die": die})[0] == 9
    assert held(pair)["s2"] == (True, die == 0)
    assert pair.inside(pair.a, release) == (0, "2\n")
    assert set(held(pair).values()) == {(False, False)}


def test_a_connection_between_arrays_stands_for_as_long_as_the_session_and_no_longer(copied: ZfsPair) -> None:
    def commands(which: str) -> list[str]:
        return copied.machine(which).exec(["ps", "-eww", "-o", "args"]).out.splitlines()

    def standing() -> list[str]:
        masters = [words for words in commands("a") if "ControlMaster=yes" in words]
        return [*masters, *(words for words in commands("b") if words == "cat")]

    wait_for(
        lambda: len(standing()) == 2,
        within=20,
        otherwise=lambda: f"wanted a master and what holds it, found {standing()}",
    )
    copied.a.close()
    wait_for(lambda: not standing(), within=30, otherwise=lambda: f"still there: {standing()}")


def by_hand(pair: ZfsPair, *words: str) -> None:
    """What an administrator does on the second array, right after a call of ours and through none."""
    pair.b.put_volume_records(["shop"], "noted", words[0])
    pair.machine("b").exec(["zfs", *words])


def shop(pair: ZfsPair) -> str:
    return pair._dataset(pair.machine("b"), "shop")[0]


def test_a_snapshot_made_by_hand_does_not_stand_in_the_way_of_the_next_call(copied: ZfsPair) -> None:
    copied.b.promote("shop", "s3")
    by_hand(copied, "snapshot", f"{shop(copied)}@s4")
    copied.b.snapshot(["shop"], "s4")
    assert [s.name for s in copied.b.state().volumes["shop"].snapshots] == ["s1", "s2", "s3", "s4"]


def test_a_hold_set_by_hand_is_seen_by_the_next_call(copied: ZfsPair) -> None:
    by_hand(copied, "set", "dr:holds=audit", f"{shop(copied)}@s1")
    with pytest.raises(Busy, match="audit"):
        copied.b.delete_snapshots({"shop": ["s1"]})
    copied.machine("b").exec(["zfs", "inherit", "dr:holds", f"{shop(copied)}@s1"])


def test_a_clone_made_by_hand_keeps_its_data_when_the_volume_is_set_back(copied: ZfsPair) -> None:
    copied.b.promote("shop", "s3")
    by_hand(copied, "clone", "-o", "mountpoint=none", f"{shop(copied)}@s3", "tank/dr/copies/mine")
    copied.b.demote("shop", "s2")
    origin = copied.machine("b").exec(["zfs", "get", "-H", "-o", "value", "origin", "tank/dr/copies/mine"]).out.strip()
    assert origin.endswith("@s3")
    assert [s.name for s in copied.b.state().volumes["shop"].snapshots] == ["s1", "s2"]
    copied.machine("b").exec(["zfs", "destroy", "tank/dr/copies/mine"])
    copied.b.promote("shop", "s2")


def test_a_rollback_by_hand_is_seen_by_the_next_call(copied: ZfsPair) -> None:
    by_hand(copied, "rollback", "-r", f"{shop(copied)}@s1")
    with pytest.raises(NotFound, match="s3"):
        copied.b.promote("shop", "s3")
    step = copied.a.send("shop", "s2", "s3")
    with pytest.raises(NoCommonSnapshot, match="newest is s1"):
        copied.b.receive("shop", step, OWNER)
    copied.b.promote("shop", "s1")
    assert copied.read(copied.b, "shop", "db", 0, 1) == b""


def test_a_rollback_by_hand_of_a_volume_in_use_counts_as_a_write(copied: ZfsPair) -> None:
    copied.b.promote("shop", "s3")
    by_hand(copied, "rollback", "-r", f"{shop(copied)}@s2")
    with pytest.raises(NotFound, match="s3"):
        copied.b.promote("shop", "s3")
    assert not copied.b.state().volumes["shop"].changed, "it stands at s2, its newest"


def test_a_volume_that_another_program_made_writable_is_not_written_to(copied: ZfsPair) -> None:
    step = copied.a.send("shop", "s2", "s3")
    copied.b.demote("shop", "s2")
    other = copied.again("b")
    other.promote("shop", "s2")
    other.close()
    with pytest.raises(Conflict, match="writable"):
        copied.b.receive("shop", step, OWNER)


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
