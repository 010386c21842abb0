"""Failover for each kind of loss and back again, by a changed line of the stack's config."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dr_provider.reconcile.decision import Want
from dr_provider.reconcile.run import run_plan
from tests.engine.bench import Project

WORD = {"shop": "1: power lost at east, confirmed by phone"}


def test_a_lost_site_needs_the_word_and_comes_back(shop: Project) -> None:
    shop.write()
    marks = {vm: shop.bench.ledger(vm).last for vm in shop.topology.vms}
    shop.bench.lose("site:east")
    shop.configure(activeSites={"shop": "west"})
    refused = shop.preview("--diff")
    assert "refused: " in refused.text
    assert 'dr:force: {shop: "1: <reason>"}' in refused.text
    assert "replace" not in refused.text
    failed = shop.up(ok=False)
    assert "silence proves nothing" in failed.text
    assert "Traceback" not in failed.text
    assert shop.status()["activeSite"] != "west"

    shop.configure(activeSites={"shop": "west"}, force=WORD)
    shop.up()
    found = shop.exports()["shop"]
    assert (found["activeSite"], found["epoch"], found["phase"]) == ("west", 2, "steady")
    assert found["recoveryPoint"].startswith("e1-s1-")
    assert found["lossSeconds"] > 0
    assert found["seconds"] > 0
    assert all(place.startswith("west/") for place in found["vms"].values())
    assert all(mirror["lagSeconds"] is not None for mirror in found["mirrors"].values())
    for vm, before in marks.items():
        ledger = shop.bench.ledger(vm, "west")
        assert ledger.intact
        assert ledger.last <= before
    shop.no_changes()

    shop.bench.heal("site:east")
    shop.up()
    assert shop.exports()["shop"]["protected"]
    shop.no_changes()
    shop.write()
    marks = {vm: report.last + report.buffered for vm in shop.topology.vms if (report := shop.bench.ledger(vm))}
    shop.configure(activeSites={"shop": "east"})
    shop.up()
    found = shop.exports()["shop"]
    assert (found["activeSite"], found["epoch"], found["lossSeconds"], found["protected"]) == ("east", 3, 0, True)
    assert {vm: shop.bench.ledger(vm).last for vm in shop.topology.vms} == marks
    shop.no_changes()


def test_lost_hosts_lose_no_data(shop: Project) -> None:
    shop.write(30)
    written = {vm: shop.bench.ledger(vm).last for vm in shop.topology.vms}
    for host in ("east-1", "east-2"):
        shop.bench.lose(f"host:{host}")
    shop.configure(activeSites={"shop": "west"})
    shop.up()
    found = shop.exports()["shop"]
    assert (found["activeSite"], found["lossSeconds"]) == ("west", 0)
    assert {vm: shop.bench.ledger(vm, "west").last for vm in shop.topology.vms} == written
    shop.no_changes()


@pytest.mark.long
def test_a_lost_array_moves_its_plan(shop: Project) -> None:
    shop.bench.lose("array:east-a")
    shop.configure(activeSites={"shop": "west"}, force=WORD)
    shop.up()
    found = shop.exports()["shop"]
    assert (found["activeSite"], found["epoch"]) == ("west", 2)
    assert set(shop.running()) == {"db", "app", "web"}
    shop.no_changes()


@pytest.mark.long
def test_a_lost_link_loses_only_by_the_word(shop: Project) -> None:
    shop.write()
    shop.bench.lose("link:east/west")
    shop.configure(activeSites={"shop": "west"})
    assert "would be lost" in shop.up(ok=False).text
    shop.configure(activeSites={"shop": "west"}, force=WORD)
    shop.up()
    assert set(shop.running().values()) <= {"west-1", "west-2"}
    shop.no_changes()


def outputs(shop: Project, name: str) -> dict[str, Any]:
    """Of a plan, as the last update has left them."""
    resources = json.loads(shop.run("stack", "export").text)["deployment"]["resources"]
    found = [r["outputs"] for r in resources if r["urn"].endswith(f"::{name}") and "activeSite" in r.get("outputs", {})]
    assert len(found) == 1, [r["urn"] for r in resources]
    return dict(found[0])


def test_what_another_has_moved_is_said_and_not_moved_back(shop: Project) -> None:
    run_plan(shop.world(), "shop", Want(site="west", by="dr (operator)"))
    preview = shop.preview()
    assert "set dr:activeSites.shop to west" in preview.text
    red = shop.up(ok=False)
    assert "set dr:activeSites.shop to west" in red.text
    # In the checkpoint: whether the outputs of the stack itself are written by an update that fails is a race within the engine.
    assert outputs(shop, "shop")["activeSite"] == "west", "the plan's own outputs are true all the same"
    assert shop.status()["activeSite"] == "west"
    shop.configure(activeSites={"shop": "west"})
    shop.up()
    shop.no_changes()
    # A line that is taken out, as a revert does, moves nothing.
    shop.configure()
    shop.up()
    assert shop.status()["activeSite"] == "west"
