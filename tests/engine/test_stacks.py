"""What else may be done to stacks: drills, replaces, changed parents, a second stack, lost state; production stays as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from dr_provider.model import keys
from dr_provider.model.codec import dump
from tests.engine.bench import Project
from tests.support.topologies import write_topology


def test_a_drill_leaves_nothing_behind(shop: Project) -> None:
    before = shop.production()
    shop.make_stack("drill", mode="drill", drillSites={"shop": "west"})
    assert "a drill at west from recovery point" in shop.preview(stack="drill").text
    shop.up(stack="drill")
    found = shop.exports("drill")["shop"]
    assert (found["site"], found["failures"]) == ("west", [])
    assert found["rtoSeconds"] > 0
    assert found["rpoSeconds"] > 0
    drilled = [name for name in shop.running() if ".drill." in name]
    assert len(drilled) == 3
    shop.no_changes("drill")
    # Protection and the plan's own stack go on beside it.
    shop.write()
    shop.protect()
    shop.no_changes()
    shop.run("destroy", "--yes", "--skip-preview", stack="drill")
    seen = shop.seen()
    for name in seen.arrays:
        state = seen.array(name)
        assert state is not None
        assert all(volume.kind == "data" for volume in state.volumes.values())
        assert not any("/drill/" in key for key in state.records)
        holds = {tag for volume in state.volumes.values() for snapshot in volume.snapshots for tag in snapshot.holds}
        assert not any(tag.startswith("drill") for tag in holds)
    for name in seen.hosts:
        host = seen.host(name)
        assert host is not None
        assert not host.reservations
        assert not any(".drill." in vm for vm in host.vms)
    after = shop.production()
    assert after["arrays"] == before["arrays"]
    assert after["running"] == before["running"]


def past(shop: Project) -> None:
    """The drill's expiry is a minute ago, as if the clock had gone on."""
    view, world = shop.world().view("shop"), shop.world()
    (record,) = view.drills.values()
    gone = replace(record, expires=keys.stamp(keys.now() - timedelta(minutes=1)))
    world.fleet.array("west-a").put_record(keys.drill_key(shop.topology.name, "shop", record.drill), dump(gone))


@pytest.mark.long
def test_a_drill_that_has_expired_is_shown_and_made_anew(shop: Project) -> None:
    shop.make_stack("drill", mode="drill", drillSites={"shop": "west"}, drillExpires={"shop": "forever"})
    assert "dr:drillExpires.shop: wanted a duration" in shop.preview(stack="drill", ok=False).text
    shop.configure("drill", mode="drill", drillSites={"shop": "west"}, drillExpires={"shop": "4h"})
    shop.up(stack="drill")
    first = shop.exports("drill")["shop"]
    past(shop)
    assert [line for line in shop.protect().drills if "since it expired" in line]
    # The plan's own stack has no part in it.
    shop.no_changes()
    seen = shop.preview(stack="drill").text
    assert "1 to update" in seen
    assert f"drill {first['drill']} was ended" in seen
    assert "up makes it anew" in seen
    shop.up(stack="drill")
    assert shop.exports("drill")["shop"]["expiresAt"] > first["expiresAt"]
    assert len([name for name in shop.running() if ".drill." in name]) == 3
    past(shop)
    shop.protect()
    gone = shop.run("destroy", "--yes", "--skip-preview", stack="drill").text
    assert "nothing was left of it" in gone
    assert not [name for name in shop.running() if ".drill." in name]


@pytest.mark.long
def test_replaces_and_a_changed_parent_touch_nothing(project: Callable[..., Project]) -> None:
    # With deleteData a naive delete of the replaced resources would destroy everything.
    def deleting(document: dict[str, Any]) -> None:
        for volume in document["volumes"].values():
            volume["deleteData"] = True

    shop = project(change=deleting)
    shop.make_stack(activeSites={"shop": "east"})
    shop.up()
    shop.write()
    shop.protect()
    before = shop.production()
    replaced = shop.up("--replace", "**Volume**", "--replace", "**Lun**", "--replace", "**Mirror**", "--replace", "**VirtualMachine**", "--replace", "**DrPlan**")  # fmt: skip
    assert "11 replaced" in replaced.text
    assert "it belongs to a newer resource of this stack now; nothing was done" in replaced.text
    assert shop.production() == before
    program = shop.folder / "stacks" / "__main__.py"
    program.write_text(
        "import pulumi\nfrom pathlib import Path\nfrom dr_provider.resources.component import declare\n"
        "class Wrapper(pulumi.ComponentResource):\n    pass\n"
        "wrapper = Wrapper('dr:index:Wrapper', 'wrapper')\n"
        "declare(Path(__file__).parent, pulumi.ResourceOptions(parent=wrapper))\n"
    )
    moved = shop.up()
    assert "dr:index:Wrapper$dr:index:ProtectedPlan" in shop.run("stack", "export").text
    assert "created" in moved.text
    assert shop.production() == before
    shop.no_changes()
    # And in the end it is its own incarnation that a destroy removes, with the data, as the topology says.
    shop.run("destroy", "--yes", "--skip-preview")
    assert shop.running() == {}
    seen = shop.seen()
    assert not any(state.volumes for name in seen.arrays if (state := seen.array(name)) is not None)


def test_a_second_stack_owns_nothing_until_it_adopts(shop: Project) -> None:
    before = shop.production()
    shop.make_stack("other")
    refused = shop.up(stack="other", ok=False)
    assert "plan shop belongs to stack dr/prod" in refused.text
    assert "dr:adopt" in refused.text
    shop.run("destroy", "--yes", "--skip-preview", stack="other")
    assert shop.production() == before
    shop.no_changes()
    # The state of the first is lost: the second takes over what is there, and moves nothing.
    shop.configure("other", adopt=["shop"], activeSites={"shop": "west"})
    red = shop.up(stack="other", ok=None)
    assert "for the first time, which moves nothing without the operator's word" in red.text
    assert shop.production() == before
    shop.configure("other", adopt=["shop"], activeSites={"shop": "east"})
    shop.up(stack="other")
    assert shop.production() == before
    shop.no_changes("other")
    # What the first stack's forgotten state would delete is not its own any more.
    destroyed = shop.run("destroy", "--yes", "--skip-preview")
    assert "it belongs to stack dr/other now; nothing was done" in destroyed.text
    assert shop.production() == before


@pytest.mark.long
def test_destroy_keeps_the_data_and_a_new_stack_takes_it_back(shop: Project) -> None:
    ledgers = shop.production()["ledgers"]
    shop.run("destroy", "--yes", "--skip-preview")
    assert shop.running() == {}
    shop.up()
    assert set(shop.running()) == {"db", "app", "web"}
    assert {vm: shop.bench.ledger(vm).last for vm in shop.topology.vms} == ledgers
    shop.no_changes()


def test_a_changed_topology_is_applied(shop: Project) -> None:
    def larger(document: dict[str, Any]) -> None:
        document["vms"]["db"]["memory"] = "96MiB"
        document["volumes"]["vol-1"]["size"] = "96MiB"

    def more(document: dict[str, Any]) -> None:
        larger(document)
        document["vms"]["extra"] = {
            "cpus": 1,
            "memory": "64MiB",
            "disks": {"root": {"volume": "vol-2", "size": "4MiB"}},
        }
        document["plans"]["shop"]["tiers"][2]["members"].append("extra")

    write_topology(shop.folder / "stacks", change=more)
    preview = shop.preview("--diff")
    assert "vm db: memory 64MiB -> 96MiB" in preview.text
    up = shop.up()
    assert "takes effect at its next start" in up.text
    assert set(shop.running()) == {"db", "app", "web", "extra"}
    array = shop.seen().array("east-a")
    assert array is not None
    assert array.volumes["vol-1"].size == 96 << 20
    # The VM with the change that waits is listed until it is restarted; nothing else is.
    preview = shop.preview("--json")
    changed = [s["urn"] for s in json.loads(preview.text)["steps"] if s["op"] != "same"]
    assert [urn.rpartition("::")[2] for urn in changed] == ["db"]
    # Taken out again: the VM goes, its disk stays.
    write_topology(shop.folder / "stacks", change=larger)
    shop.up()
    assert "extra" not in shop.running()
    array = shop.seen().array("east-a")
    assert array is not None
    assert "extra.root" in array.volumes["vol-2"].luns
