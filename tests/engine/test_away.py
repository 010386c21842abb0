"""A side that is dark, and a stack that goes on without it: what the engine counts, and that no data goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dr_provider.reconcile.decision import Want
from dr_provider.reconcile.run import run_plan
from tests.engine.bench import Project
from tests.support.kills import killed_at
from tests.support.topologies import write_topology

WORD = {"shop": "1: power lost at east"}


def spare(document: dict[str, Any]) -> None:
    """A second plan, so that the first can go."""
    document["volumes"]["spare"] = {"size": "64MiB", "home": "east-a", "copies": ["west-a"]}
    document["vms"]["idle"] = {"cpus": 1, "memory": "64MiB", "disks": {"root": {"volume": "spare", "size": "4MiB"}}}
    document["plans"]["spare"] = {
        **document["plans"]["shop"],
        "tiers": [{"members": ["idle"]}],
    }


def only_spare(document: dict[str, Any]) -> None:
    spare(document)
    del document["plans"]["shop"]
    document["vms"] = {"idle": document["vms"]["idle"]}
    document["volumes"] = {"spare": document["volumes"]["spare"]}


def rewrite(shop: Project, change: Callable[[dict[str, Any]], None], **options: Any) -> None:
    write_topology(shop.topology_file.parent, **{**shop.options, **options, "change": change})


def counts(shop: Project) -> dict[str, int]:
    """What a preview would do, as the engine counts it."""
    text = shop.preview("--json").text
    found: dict[str, int] = json.loads(text[text.index("{") :])["changeSummary"]
    return found


def volumes(shop: Project) -> dict[str, set[str]]:
    """Volumes and the LUNs in them, by array/volume."""
    seen = shop.seen()
    states = {name: state for name in seen.arrays if (state := seen.array(name)) is not None}
    return {f"{name}/{v.name}": set(v.luns) for name, state in states.items() for v in state.volumes.values()}


@pytest.mark.parametrize("lost", ["site:east", pytest.param("site:west", marks=pytest.mark.long)])
def test_with_a_dark_site_nothing_is_deleted_or_replaced(shop: Project, lost: str) -> None:
    shop.bench.lose(lost)
    dark = shop.run("refresh", "--yes", "--skip-preview")
    assert "14 unchanged" in dark.text
    assert set(counts(shop)) <= {"same", "update"}
    said = shop.up(ok=lost != "site:east" or None).text
    for word in ("deleted", "replaced", "created"):
        assert f" {word}" not in said.partition("Resources:")[2]
    shop.bench.heal(lost)
    shop.up()
    shop.no_changes()


@pytest.mark.long
@pytest.mark.parametrize("lost", ["site:east", "site:west"])
def test_destroy_with_a_dark_side_keeps_the_data_and_nothing_comes_back(shop: Project, lost: str) -> None:
    before = volumes(shop)
    if lost == "site:east":
        shop.bench.lose(lost)
        shop.configure(activeSites={"shop": "west"}, force=WORD)
        shop.up()
    else:
        shop.bench.lose(lost)
    ledgers = {vm: shop.bench.ledger(vm).last for vm in shop.topology.vms}
    gone = shop.run("destroy", "--yes", "--skip-preview")
    assert "a tombstone says so" in gone.text
    assert not shop.running()
    shop.bench.heal(lost)
    assert volumes(shop) == before
    assert not shop.running()
    # A stack that is made again goes on where the plan was, with its data; what is in the topology is buried no more.
    shop.configure()
    shop.up()
    shop.up()
    assert {vm: shop.bench.ledger(vm).last for vm in shop.topology.vms} == ledgers
    assert shop.status()["activeSite"] == ("west" if lost == "site:east" else "east")
    seen = shop.seen()
    records = {key for name in seen.arrays if (state := seen.array(name)) is not None for key in state.records}
    assert not [key for key in records if "/tombstone/" in key]
    shop.no_changes()


@pytest.mark.long
def test_a_plan_removed_in_the_middle_of_its_move_waits_for_it(project: Callable[..., Project]) -> None:
    shop = project(change=spare)
    shop.make_stack(activeSites={"shop": "east"})
    shop.up()
    shop.write()
    shop.protect()
    before = volumes(shop)
    move = Want(site="west", by="dr (a test)")
    assert killed_at(lambda: run_plan(shop.world(), "shop", move), "commit", "before")
    rewrite(shop, only_spare)
    shop.configure()
    refused = shop.up(ok=False)
    assert "a move to west is under way for plan shop" in refused.text
    assert "nothing was removed: run again after it" in refused.text
    assert volumes(shop) == before
    rewrite(shop, spare)
    run_plan(shop.world(), "shop", move)
    assert shop.status()["activeSite"] == "west"
    rewrite(shop, only_spare)
    shop.up()
    shop.no_changes()
    assert set(shop.running()) == {"idle"}
    assert volumes(shop) == before, "a plan that goes leaves its data"


@pytest.mark.long
def test_a_renamed_topology_is_refused_and_set_back(shop: Project) -> None:
    before = shop.production()
    rewrite(shop, lambda document: None, name="shop-tset")
    refused = shop.up(ok=False)
    assert "set `name` back to shop-test" in refused.text
    assert "Traceback" not in refused.text
    for word in ("deleted", "replaced", "created"):
        assert f" {word}" not in refused.text.partition("Resources:")[2]
    rewrite(shop, lambda document: None)
    shop.no_changes()
    assert shop.production() == before
