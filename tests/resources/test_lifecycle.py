"""Resources through the engine's operations: made, left alone, changed, replaced, taken over, released."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dr_provider.model import keys
from dr_provider.model.codec import dump
from dr_provider.model.records import Claim
from dr_provider.resources.virtual_machine import VirtualMachineProps
from tests.resources.local_engine import PROVIDERS, LocalStack

MIB = 1 << 20


def deleting(document: dict[str, Any]) -> None:
    for volume in document["volumes"].values():
        volume["deleteData"] = True


def test_everything_is_made_once(stack: Callable[..., LocalStack]) -> None:
    shop = stack()
    assert set(shop.preview().values()) == {"create"}
    assert not list(shop.folder.rglob("*.db")), "a preview makes nothing"
    assert set(shop.up().values()) == {"create"}
    assert not shop.pending()
    assert shop.outputs("vm", "db")["state"] == "running"
    assert shop.outputs("mirror", "vol-1.west-a")["state"] == "synced"
    before = shop.production()
    assert shop.preview() == {}
    assert shop.up() == {}
    assert shop.refresh() == []
    assert shop.preview() == {}
    assert shop.production() == before


def sized(document: dict[str, Any], **west: Any) -> None:
    document["vms"]["db"]["at"] = {"west": {"cpus": 2, "memory": "32MiB", **west}, "drill": {"cpus": 1}}
    document["vms"]["db"]["nics"][0]["names"] = "db.example.org"


def test_another_size_at_another_site_is_no_difference(stack: Callable[..., LocalStack]) -> None:
    shop = stack(change=sized)
    shop.config = {"active_sites": {"shop": "east"}}
    shop.up()
    shop.protect()
    shop.config = {"active_sites": {"shop": "west"}}
    shop.up()
    running = {
        p.vm: (p.site, p.state.definition.cpus, p.state.definition.memory)
        for p in shop.world().view("shop").places
        if p.running
    }
    assert running["db"] == ("west", 2, 32 * MIB)
    assert running["app"] == ("west", 1, 64 * MIB)
    assert shop.preview() == {}
    assert shop.refresh() == []
    assert shop.preview() == {}, "nor does a refresh find one"

    shop.rewrite(lambda document: sized(document, startDelay="5s"))
    assert shop.preview() == {("plan", "shop"): "update"}, "a delay is no property of a VM"
    shop.rewrite(lambda document: sized(document, cpus=3))
    assert shop.preview() == {("plan", "shop"): "update", ("vm", "db"): "update"}
    shop.up()
    assert shop.outputs("vm", "db")["pending"] == (
        "VM db runs on west-1 with its old definition (cpus 2 -> 3); the change takes effect at its next start"
    )
    assert ("vm", "db") in shop.preview(), "it stays pending until then"
    shop.config = {"active_sites": {"shop": "east"}}
    shop.up()
    assert shop.preview() == {}
    shop.rewrite(lambda document: sized(document, cpus=4))
    shop.up()
    assert "pending" not in shop.outputs("vm", "db"), "a change for a site where it is not is done at once"


@pytest.mark.parametrize(
    ("at", "found", "cpus", "memory", "back"),
    [
        (None, "east", 2, 5, (2, 5, None)),
        ('{"west":{"cpus":1}}', "west", 1, 8, (4, 8, '{"west":{"cpus":1}}')),
        ('{"west":{"cpus":1}}', "west", 4, 8, (4, 8, '{"west":{"cpus":4}}')),
        ('{"west":{"cpus":1}}', "west", 1, 5, (4, 5, '{"west":{"cpus":1}}')),
        ('{"west":{"cpus":1}}', "east", 1, 8, (1, 8, '{"west":{"cpus":1}}')),
        ('{"drill":{"memory":1},"west":{"memory":2}}', "west", 4, 3, (4, 8, '{"drill":{"memory":1},"west":{"memory":3}}')),
    ],
    ids=["same everywhere", "as it should be", "drifted there", "drifted in what is the same everywhere", "drifted at home", "memory"],
)  # fmt: skip
def test_a_refresh_finds_drift_where_it_is_said(at: str | None, found: str, cpus: int, memory: int, back: Any) -> None:
    background = {
        "topology": "t",
        "stack": "dr/prod",
        "plan": "shop",
        "reach": "{}",
        "disks": "{}",
        "nics": "[]",
        "arrays": (),
    }
    props = VirtualMachineProps(**background, name="db", cpus=4, memory=8, at=at)  # type: ignore[arg-type]
    real = props.as_found(found, cpus, memory)
    assert (real.cpus, real.memory, real.at) == back


def test_what_stands_beside_the_stack_is_no_difference(shop: LocalStack) -> None:
    shop.protect()
    assert shop.preview() == {}


def test_a_replace_creates_first_and_its_delete_does_nothing(stack: Callable[..., LocalStack]) -> None:
    shop = stack(change=deleting)
    shop.up()
    shop.protect()
    before = shop.production()
    assert set(shop.up(replace_all=True).values()) == {"replace"}
    assert shop.production() == before
    assert shop.preview() == {}
    shop.destroy()
    after = shop.production()
    assert not any("vol-" in name for name in after), "its own incarnation destroys, as deleteData says"
    assert not any("db" in name for name in after)


def test_a_changed_parent_is_new_urns_for_the_same_things(stack: Callable[..., LocalStack]) -> None:
    shop = stack(change=deleting)
    shop.up()
    before = shop.production()
    old, shop.held = shop.held, {}
    shop.up()
    for kind, name in reversed(old):
        if kind != "readiness":
            shop.held[kind, f"old-{name}"] = old[kind, name]
    shop.up()
    assert shop.production() == before


def test_destroy_releases_and_another_stack_may_take_it(shop: LocalStack) -> None:
    before = shop.production()
    shop.destroy()
    assert {owner.stack for owner in shop.owners()} == {""}
    volumes = {name: what for name, what in shop.production().items() if "vol-" in name}
    assert set(volumes) == {name for name in before if "vol-" in name}
    assert not any(name.endswith("/db") for name in shop.production())
    other = shop.other("dr/next", active_sites={"shop": "east"})
    other.up()
    assert {owner.stack for owner in other.owners()} == {"dr/next"}
    assert other.preview() == {}
    assert {name for name in other.production() if "vol-" in name} == set(volumes)


def test_another_stacks_things_are_left_alone_unless_adopted(shop: LocalStack) -> None:
    before = shop.production()
    other = shop.other("dr/other", active_sites={"shop": "east"})
    with pytest.raises(RuntimeError, match=r"plan shop belongs to stack dr/prod.*dr:adopt"):
        other.up()
    for kind in ("volume", "lun", "vm", "mirror"):
        with pytest.raises(RuntimeError, match="belongs to stack dr/prod"):
            other.up(only=kind)
    assert not other.held
    assert shop.production() == before
    other.config["adopt"] = ("shop",)
    other.up()
    assert shop.production() == before
    assert other.preview() == {}
    shop.destroy()  # by a state that does not know that it has lost them
    assert shop.production() == before


def test_a_volume_grows_and_never_shrinks(shop: LocalStack) -> None:
    shop.rewrite(lambda document: document["volumes"]["vol-1"].update(size="96MiB"))
    assert shop.preview() == {("plan", "shop"): "update", ("volume", "vol-1"): "update"}
    shop.up()
    assert shop.production()["east-a/vol-1"][0] == 96 * MIB
    assert shop.preview() == {}
    shop.rewrite()
    with pytest.raises(RuntimeError, match=r"vol-1 on east-a: it has 96MiB and the topology wants 64MiB"):
        shop.up()


def test_a_lun_grows(shop: LocalStack) -> None:
    shop.rewrite(lambda document: document["vms"]["db"]["disks"]["root"].update(size="8MiB"))
    shop.up()
    assert shop.production()["east-a/vol-1"][2]["db.root"][0] == 8 * MIB


def test_a_running_vm_keeps_its_definition_until_its_next_start(shop: LocalStack) -> None:
    shop.rewrite(lambda document: document["vms"]["db"].update(memory="96MiB"))
    shop.up()
    assert "memory 64MiB -> 96MiB" in shop.pending()["db"]
    assert shop.preview() == {("vm", "db"): "update"}
    host = shop.outputs("vm", "db")["host"]
    shop.world().fleet.host(host).stop("db")
    shop.up()
    assert not shop.pending()
    state = shop.world().fleet.host(host).state().vms["db"]
    assert (state.state, state.definition.memory) == ("running", 96 * MIB)
    assert shop.preview() == {}


def test_what_is_added_while_failed_over_is_made_where_the_plan_is(shop: LocalStack) -> None:
    shop.config = {"active_sites": {"shop": "west"}}
    shop.up()

    def more(document: dict[str, Any]) -> None:
        document["volumes"]["logs"] = {"size": "64MiB", "home": "east-a", "copies": ["west-a"]}
        document["vms"]["log"] = {"cpus": 1, "memory": "64MiB", "disks": {"root": {"volume": "logs", "size": "4MiB"}}}
        document["plans"]["shop"]["tiers"][2]["members"].append("log")

    shop.rewrite(more)
    shop.up()
    assert shop.outputs("volume", "logs")["array"] == "west-a"
    assert shop.outputs("vm", "log")["site"] == "west"
    assert (shop.outputs("mirror", "logs.west-a")["source"], shop.outputs("mirror", "logs.west-a")["target"]) == (
        "west-a",
        "east-a",
    )
    assert shop.preview() == {}
    # And taken out again: the VM goes, the data stays.
    shop.rewrite()
    steps = shop.up()
    assert steps["vm", "log"] == "delete"
    found = shop.production()
    assert not any(name.endswith("/log") for name in found)
    assert "log.root" in found["west-a/logs"][2]


def test_a_move_under_way_holds_up_everything_else(shop: LocalStack) -> None:
    world = shop.world()
    claim = Claim("shop", 2, "c1", "west", "east", "planned", keys.stamp(keys.now()), "somebody", "e1")
    for array in ("east-a", "west-a"):
        world.fleet.array(array).put_record(keys.claim_key("shop-test", "shop"), dump(claim))
    before = shop.production()
    shop.rewrite(lambda document: document["volumes"]["vol-1"].update(size="96MiB"))
    shop.up(only="volume")
    assert "move in progress" in shop.pending()["vol-1"]
    with pytest.raises(RuntimeError, match=r"a move to west is under way for plan shop \(by somebody"):
        shop.destroy()
    assert shop.production() == before


def test_a_lost_volume_is_not_made_anew(shop: LocalStack) -> None:
    world = shop.world()
    array = world.fleet.array("east-a")
    state = array.state().volumes["vol-2"]
    array.unmap_luns({"vol-2": sorted(state.luns)})
    for tag in {tag for snapshot in state.snapshots for tag in snapshot.holds}:
        array.release(["vol-2"], tag)
    assert state.owner is not None
    assert array.delete_volume("vol-2", state.owner)
    gone = shop.refresh()
    assert ("volume", "vol-2") in gone
    with pytest.raises(
        RuntimeError, match=r"volume vol-2 is lost on east-a.*a copy is on west-a.*dr failover shop --to west"
    ):
        shop.up(only="volume")
    assert "east-a/vol-2" not in shop.production()


def test_the_image_is_written_once(stack: Callable[..., LocalStack]) -> None:
    shop = stack()
    image = shop.folder / "db.img"
    image.write_bytes(b"first" * 1000)
    shop.options["images"] = {"db": str(image)}
    shop.rewrite()
    shop.up()
    disk = shop.folder / "disk"
    shop.bench.export("db", "root", disk)
    assert disk.read_bytes().startswith(b"first")
    image.write_bytes(b"other" * 1000)
    shop.up(replace_all=True)
    shop.bench.export("db", "root", disk)
    assert disk.read_bytes().startswith(b"first")


def test_a_target_that_goes_before_its_plan_says_so(shop: LocalStack) -> None:
    def more(document: dict[str, Any]) -> None:
        document["vms"]["extra"] = {
            "cpus": 1,
            "memory": "64MiB",
            "disks": {"root": {"volume": "vol-2", "size": "4MiB"}},
        }
        document["plans"]["shop"]["tiers"][2]["members"].append("extra")

    shop.rewrite(more)
    with pytest.raises(RuntimeError, match="run `pulumi up` without --target"):
        shop.up(only="lun")
    assert ("lun", "extra.root") not in shop.held


def test_a_renamed_topology_is_refused_by_every_resource(shop: LocalStack) -> None:
    before, held = shop.production(), dict(shop.held)
    shop.options["name"] = "shop-tset"
    shop.rewrite()
    for (kind, name), inputs in shop.wanted().items():
        result = PROVIDERS[kind].check(dict(held[kind, name].inputs), dict(inputs))
        said = [failure.reason for failure in result.failures]
        assert len(said) == 1
        assert "was shop-test and is called shop-tset now" in said[0]
    del shop.options["name"]
    shop.rewrite()
    assert shop.preview() == {}
    assert shop.production() == before
