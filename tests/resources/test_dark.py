"""Dark sites: nothing is deleted, replaced or waited for; what could not be made is pending and finished later."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from dr_provider.model import keys
from tests.resources.local_engine import LocalStack

WORD = {"shop": "1: power lost"}


@pytest.mark.parametrize("lost", ["site:east", "site:west", "array:east-a", "host:east-1", "link:east/west"])
def test_a_refresh_loses_nothing(shop: LocalStack, lost: str) -> None:
    before = {key: held.id for key, held in shop.held.items()}
    shop.bench.lose(lost)
    assert shop.refresh() == []
    assert {key: held.id for key, held in shop.held.items()} == before
    steps = shop.preview()
    assert "replace" not in steps.values()
    assert "delete" not in steps.values()
    assert set(steps) <= {("plan", "shop")}
    shop.bench.heal(lost)
    shop.refresh()
    assert all(held.outputs.get("reachable", True) for held in shop.held.values())


def test_a_dark_copy_is_no_difference(shop: LocalStack) -> None:
    shop.bench.lose("site:west")
    assert shop.preview() == {}
    assert shop.up() == {}


def test_everything_dark_changes_nothing_and_raises_nothing(shop: LocalStack) -> None:
    shop.bench.lose("site:west")
    shop.bench.lose("site:east")
    assert shop.preview() == {}
    assert shop.refresh() == []


def test_silence_is_paid_for_once_a_process(stack: Callable[..., LocalStack]) -> None:
    shop = stack(source_budget="1s")
    shop.config = {"active_sites": {"shop": "east"}}
    shop.up()
    shop.protect()
    shop.bench.lose("site:east")
    shop.config = {"active_sites": {"shop": "west"}, "force": WORD}
    began = time.monotonic()
    shop.up()
    assert time.monotonic() - began < 2.5
    assert shop.outputs("plan")["activeSite"] == "west"


def test_a_failover_with_its_source_dark(shop: LocalStack, capfd: pytest.CaptureFixture[str]) -> None:
    shop.bench.lose("site:east")
    shop.config = {"active_sites": {"shop": "west"}}
    refused = shop.pending_actions()
    assert refused[0].startswith("refused: plan shop: nothing proves")
    assert 'dr:force: {shop: "1: <reason>"}' in refused[-1]
    assert shop.preview() == {("plan", "shop"): "update"}
    with pytest.raises(RuntimeError, match="silence proves nothing"):
        shop.up()
    shop.config["force"] = WORD
    capfd.readouterr()
    actions = shop.pending_actions()
    assert actions == shop.pending_actions(), "the list is the same each time"
    said = capfd.readouterr().err
    assert "recovery point e1-s1-" in said
    assert "is lost" in said
    assert "expected time" in said
    assert shop.up() == {("plan", "shop"): "update"}
    found = shop.outputs("plan")
    assert (found["activeSite"], found["epoch"], found["phase"], found["degraded"]) == ("west", 2, "steady", [])
    assert shop.preview() == {}
    assert shop.refresh() == []
    assert shop.preview() == {}
    # The word is past: it is ignored, and said so.
    shop.pending_actions()
    assert "ignored" in capfd.readouterr().err


def test_what_is_dark_at_first_is_made_later(shop: LocalStack) -> None:
    def more(document: dict[str, Any]) -> None:
        document["volumes"]["logs"] = {"size": "64MiB", "home": "east-a", "copies": ["west-a"]}
        document["vms"]["log"] = {"cpus": 1, "memory": "64MiB", "disks": {"root": {"volume": "logs", "size": "4MiB"}}}
        document["plans"]["shop"]["tiers"][2]["members"].append("log")

    shop.rewrite(more)
    shop.bench.lose("site:west")
    shop.up()
    assert list(shop.pending()) == ["logs.west-a"]
    assert "unreachable" in shop.pending()["logs.west-a"]
    assert shop.outputs("vm", "log")["state"] == "running"
    shop.bench.heal("site:west")
    assert shop.preview()["mirror", "logs.west-a"] == "update"
    shop.up()
    assert not shop.pending()
    assert "west-a/logs" in shop.production()
    shop.up()
    assert shop.preview() == {}


def test_a_vm_removed_while_the_other_side_is_dark_leaves_a_tombstone(shop: LocalStack) -> None:
    def fewer(document: dict[str, Any]) -> None:
        del document["vms"]["web"]
        document["plans"]["shop"]["tiers"].pop()

    shop.bench.lose("site:west")
    shop.rewrite(fewer)
    assert shop.up()["vm", "web"] == "delete"
    records = shop.world().fleet.array("east-a").state().records
    assert keys.tombstone_key("shop-test", "vm", "web") in records
    # Made again, it is no longer buried.
    shop.bench.heal("site:west")
    shop.rewrite()
    shop.up()
    records = shop.world().fleet.array("east-a").state().records
    assert keys.tombstone_key("shop-test", "vm", "web") not in records


def test_a_vm_is_not_started_where_nobody_can_be_asked(shop: LocalStack) -> None:
    for vm in ("web", "app", "db"):
        host = shop.outputs("vm", vm)["host"]
        shop.world().fleet.host(host).stop(vm)
    shop.bench.lose("site:west")
    shop.rewrite(lambda document: document["vms"]["db"].update(memory="96MiB"))
    shop.up(only="vm")
    # The plan's own update has not stored the new topology, and the old one has nothing to start it by.
    assert "nobody at another site can be asked" in shop.pending()["db"]


def test_a_delete_with_everything_dark_fails_and_keeps_the_state(shop: LocalStack) -> None:
    shop.bench.lose("site:west")
    shop.bench.lose("site:east")
    with pytest.raises(RuntimeError, match="none of its arrays"):
        shop.destroy()
    assert ("volume", "vol-1") in shop.held
