"""What is added, grown or removed while the other side is away, and what becomes of it when that side is back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dr_provider.model import keys
from dr_provider.model.codec import load
from dr_provider.model.records import Owner
from dr_provider.model.state import VolumeState
from dr_provider.model.vm import VmDefinition
from tests.resources.local_engine import LocalStack

Document = dict[str, Any]
MIB = 1 << 20


def add_vm(document: Document) -> None:
    document["vms"]["log"] = {"cpus": 1, "memory": "64MiB", "disks": {"root": {"volume": "vol-2", "size": "4MiB"}}}
    document["plans"]["shop"]["tiers"][2]["members"].append("log")


def add_disk(document: Document) -> None:
    document["vms"]["web"]["disks"]["data"] = {"volume": "vol-2", "size": "4MiB"}


def add_volume_and_vm(document: Document) -> None:
    document["volumes"]["logs"] = {"size": "64MiB", "home": "east-a", "copies": ["west-a"]}
    document["vms"]["log"] = {"cpus": 1, "memory": "64MiB", "disks": {"root": {"volume": "logs", "size": "4MiB"}}}
    document["plans"]["shop"]["tiers"][2]["members"].append("log")


def grow_disk(document: Document) -> None:
    document["vms"]["web"]["disks"]["root"]["size"] = "8MiB"


def grow_volume(document: Document) -> None:
    document["volumes"]["vol-1"]["size"] = "96MiB"


def fail_over(shop: LocalStack, lost: str = "site:east") -> None:
    """West takes over while the other side is dark."""
    shop.bench.lose(lost)
    shop.config = {"active_sites": {"shop": "west"}, "force": {"shop": "1: power lost"}}
    shop.up()


def come_back(shop: LocalStack, lost: str = "site:east") -> None:
    """The dark side answers again; one `up` mends, and a second one finds nothing to do."""
    shop.bench.heal(lost)
    shop.up()
    shop.up()
    assert shop.preview() == {}
    assert not shop.pending()


def fail_back(shop: LocalStack) -> None:
    shop.protect()
    shop.config = {"active_sites": {"shop": "east"}}
    shop.up()
    assert shop.preview() == {}


def sizes(shop: LocalStack, array: str) -> dict[str, int]:
    """Sizes of the array's volumes and LUNs."""
    found = {}
    for name, what in shop.production().items():
        where, _, volume = name.partition("/")
        if where == array and "safety" not in volume:
            found[volume] = what[0]
            found |= {lun: size for lun, (size, _) in what[2].items()}
    return found


@pytest.mark.parametrize("added", [add_vm, add_disk, add_volume_and_vm, grow_disk, grow_volume])
def test_what_is_added_or_grown_while_failed_over_is_restored_at_home(
    shop: LocalStack, added: Callable[[Document], None]
) -> None:
    fail_over(shop)
    shop.rewrite(added)
    shop.up()
    for vm in shop.topology.vms:
        stop(shop, vm)
    shop.up()
    vms = sorted(shop.topology.vms)
    for vm in vms:
        shop.bench.write(vm, 5)
    come_back(shop)
    before = {vm: shop.bench.ledger(vm).last for vm in vms}
    fail_back(shop)
    assert {vm: shop.bench.ledger(vm).site for vm in vms} == dict.fromkeys(vms, "east")
    assert {vm: shop.bench.ledger(vm).last >= before[vm] for vm in vms} == dict.fromkeys(vms, True)
    assert sizes(shop, "east-a") == sizes(shop, "west-a")
    assert all(shop.outputs("vm", vm)["state"] == "running" for vm in vms)


@pytest.mark.parametrize("late", [add_vm, add_disk, add_volume_and_vm])
def test_what_was_added_after_the_point_of_a_disaster_is_made_anew(
    stack: Callable[..., LocalStack], late: Callable[[Document], None]
) -> None:
    """Its data is lost with the home that alone had it: said, and made anew, empty; and home's copy of it is kept when home is back."""
    shop = stack()
    shop.up()
    shop.protect()
    shop.rewrite(late)
    shop.up()
    shop.bench.write("app", 9)  # its disk is on the same volume
    fail_over(shop)
    shop.up()
    assert shop.preview() == {}
    states = {name: what[0] for name, what in shop.production().items() if name.startswith("west-") and len(what) == 2}
    assert set(states.values()) == {"running"}
    assert {name.partition("/")[2] for name in states} == set(shop.topology.vms)
    come_back(shop)
    assert any(name.startswith("east-a/vol-2.safety") for name in shop.production())
    fail_back(shop)
    assert sizes(shop, "east-a") == sizes(shop, "west-a")


@pytest.mark.parametrize("late", [add_vm, add_disk, add_volume_and_vm])
def test_what_a_move_back_goes_back_behind_is_made_anew(
    stack: Callable[..., LocalStack], late: Callable[[Document], None]
) -> None:
    """West has had it, in an earlier stay, and knows its VM still: neither makes it lost there, nor a part of the points that are taken now."""
    shop = stack()
    shop.up()
    shop.protect()
    (older,) = (point.id for point in shop.world().view("shop").points)
    shop.config = {"active_sites": {"shop": "west"}}
    shop.up()
    shop.rewrite(late)
    shop.up()
    shop.protect()
    shop.config = {"active_sites": {"shop": "east"}}
    shop.up()
    shop.config = {"active_sites": {"shop": "west"}, "recovery_points": {"shop": older}, "force": {"shop": "3: ransom"}}
    shop.up()
    newest = shop.world().view("shop").points[-1]
    luns = {
        lun for name in ("vol-1", "vol-2", "logs") if (v := shop.production().get(f"west-a/{name}")) for lun in v[2]
    }
    for vm, text in newest.intent.definitions.items():
        assert {disk.lun for disk in load(VmDefinition, text, vm).disks} <= luns
    shop.up()
    assert shop.preview() == {}
    running = {name.partition("/")[2] for name, what in shop.production().items() if what[0] == "running"}
    assert running == set(shop.topology.vms)


# -- removed ----------------------------------------------------------------------------------------


def with_data_disk(document: Document) -> None:
    document["vms"]["web"]["disks"]["data"] = {"volume": "vol-2", "size": "4MiB"}


def destroying(document: Document) -> None:
    for volume in document["volumes"].values():
        volume["deleteData"] = True


def no_web(document: Document) -> None:
    del document["vms"]["web"]
    document["plans"]["shop"]["tiers"].pop()


def no_disk(document: Document) -> None:
    del document["vms"]["web"]["disks"]["data"]


def no_volume(document: Document) -> None:
    """VM app goes, and its volume with it."""
    del document["vms"]["app"], document["volumes"]["vol-2"]
    document["plans"]["shop"]["tiers"].pop(1)


def both(*changes: Callable[[Document], None]) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        for each in changes:
            each(document)

    return change


def made(stack: Callable[..., LocalStack], base: Callable[[Document], None]) -> LocalStack:
    shop = stack(change=base)
    shop.config = {"active_sites": {"shop": "east"}}
    shop.up()
    for vm in shop.topology.vms:
        shop.bench.write(vm, 8)
    shop.protect()
    return shop


def stop(shop: LocalStack, vm: str) -> None:
    """Stop it where it runs, so that its next start takes a changed definition."""
    host = next(name.partition("/")[0] for name in defined(shop, vm) if shop.production()[name][0] == "running")
    shop.world().fleet.host(host).stop(vm)


def defined(shop: LocalStack, vm: str) -> list[str]:
    return [name for name in shop.production() if name.endswith(f"/{vm}")]


def tombstones(shop: LocalStack) -> set[str]:
    seen = shop.world().look()
    every = {key for name in seen.arrays if (state := seen.array(name)) is not None for key in state.records}
    return {key for key in every if "/tombstone/" in key}


def owned(shop: LocalStack, kind: str, name: str) -> set[str]:
    """The stacks that own it, as answering arrays have it on record."""
    seen, key = shop.world().look(), keys.owner_key("shop-test", kind, name)
    states = [state for array in seen.arrays if (state := seen.array(array)) is not None]
    return {load(Owner, state.records[key], key).stack for state in states if key in state.records}


REMOVALS = {"vm": (no_web, "web"), "disk": (no_disk, None), "volume": (no_volume, "app")}


@pytest.mark.parametrize("lost", ["site:east", "array:east-a"])
@pytest.mark.parametrize("data", ["kept", "deleteData"])
@pytest.mark.parametrize("removed", REMOVALS)
def test_what_is_removed_while_failed_over_stays_removed(
    stack: Callable[..., LocalStack], removed: str, data: str, lost: str
) -> None:
    change, vm = REMOVALS[removed]
    base = both(*([with_data_disk] if removed == "disk" else []), *([destroying] if data == "deleteData" else []))
    shop = made(stack, base)
    before = shop.production()
    fail_over(shop, "site:east")
    if lost != "site:east":
        shop.bench.heal("site:east")
        shop.bench.lose(lost)
    shop.rewrite(both(base, change))
    if removed == "disk":
        # A VM that runs keeps its disks, and a LUN that is mapped is never destroyed.
        stop(shop, "web")
    shop.up()
    assert tombstones(shop)
    assert not {"delete", "replace"} & set(shop.preview().values())
    come_back(shop, lost)
    assert not tombstones(shop)
    fail_back(shop)
    after = shop.production()
    for name in ("db", "app", "web"):
        assert bool(defined(shop, name)) == (name != vm), "nothing comes back that was removed"
    for array in ("east-a", "west-a"):
        if data == "kept":
            names = {name for name in before if name.startswith(array)}
            assert names <= set(after), "data is released, not destroyed"
            assert {lun for name in names for lun in before[name][2]} == {
                lun for name in names for lun in after[name][2]
            }
        elif removed == "volume":
            assert f"{array}/vol-2" not in after
            assert {"db.root", "web.root"} <= set(after[f"{array}/vol-1"][2])
        else:
            assert set(after[f"{array}/vol-1"][2]) == {"db.root"} | ({"web.root"} if removed == "disk" else set())
            assert set(after[f"{array}/vol-2"][2]) == {"app.root"}
    if removed == "volume":
        assert owned(shop, "volume", "vol-2") <= {""}
        found = volumes_named(shop, "vol-2")
        assert {volume.owner.stack for volume in found if volume.owner} <= {""}
        assert {lun.mapped_to for volume in found for lun in volume.luns.values()} <= {None}


def volumes_named(shop: LocalStack, name: str) -> list[VolumeState]:
    seen = shop.world().look()
    states = [state for array in seen.arrays if (state := seen.array(array)) is not None]
    return [state.volumes[name] for state in states if name in state.volumes]


def test_a_volume_whose_side_went_dark_where_the_plan_stays(stack: Callable[..., LocalStack]) -> None:
    """The copy goes away, not the source; its destination is released, or destroyed, when it is back."""
    shop = made(stack, destroying)
    shop.bench.lose("site:west")
    shop.rewrite(both(destroying, no_volume))
    shop.up()
    assert "east-a/vol-2" not in shop.production()
    come_back(shop, "site:west")
    assert "west-a/vol-2" not in shop.production()
    assert not tombstones(shop)


def test_removed_and_declared_again_while_away_is_kept(shop: LocalStack) -> None:
    fail_over(shop)
    shop.rewrite(no_volume)
    shop.up()
    assert tombstones(shop)
    shop.rewrite()
    shop.up()
    assert not tombstones(shop)
    come_back(shop)
    shop.bench.write("app", 3)
    fail_back(shop)
    assert sorted(name.partition("-")[0] for name in defined(shop, "app")) == ["east", "west"]
    assert shop.bench.ledger("app").site == "east"
    assert shop.bench.ledger("app").intact


def test_declared_again_by_whoever_does_not_see_the_tombstone(shop: LocalStack) -> None:
    """It stands on an array that is silent when the thing is declared again: void all the same."""
    fail_over(shop)
    shop.rewrite(no_web)
    shop.up()
    stone = keys.tombstone_key("shop-test", "vm", "web")
    text = shop.world().fleet.array("west-a").read_record(stone)
    assert text is not None
    shop.rewrite()
    shop.up()
    shop.world().fleet.array("west-a").put_record(stone, text)
    come_back(shop)
    assert defined(shop, "web")
    assert shop.outputs("vm", "web")["state"] == "running"
    assert not tombstones(shop)


def test_a_removed_vm_that_runs_on_at_a_dark_host_is_stopped_when_that_host_is_back(shop: LocalStack) -> None:
    host = shop.outputs("vm", "web")["host"]
    shop.bench.lose(f"host:{host}", running=True)
    shop.rewrite(no_web)
    with pytest.raises(RuntimeError, match="may run there"):  # said of app, which is on that host too
        shop.up()
    assert tombstones(shop)
    shop.bench.heal(f"host:{host}")
    assert defined(shop, "web") == [f"{host}/web"]
    assert shop.production()[f"{host}/web"][0] == "running"
    come_back(shop, f"host:{host}")
    assert not defined(shop, "web")
    luns = shop.production()["east-a/vol-1"][2]
    assert luns["web.root"][1] is None, "and its LUN is taken from the host"
    assert luns["db.root"][1] is not None
