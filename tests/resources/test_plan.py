"""The plan and its readiness: what is declared, what is observed, and what ends an `up` red."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dr_provider.reconcile.decision import Want
from dr_provider.reconcile.run import run_plan
from dr_provider.resources.dr_plan import DrPlanProvider
from dr_provider.resources.readiness import ReadinessProvider
from tests.resources.local_engine import LocalStack


def test_a_planned_move_and_back(shop: LocalStack) -> None:
    shop.config = {"active_sites": {"shop": "west"}}
    assert shop.preview() == {("plan", "shop"): "update"}
    assert shop.up() == {("plan", "shop"): "update"}
    found = shop.outputs("plan")
    assert (found["activeSite"], found["epoch"], found["lossSeconds"], found["protected"]) == ("west", 2.0, 0.0, True)
    assert found["seconds"] > 0
    assert found["recoveryPoint"].startswith("e1-")
    assert shop.preview() == {}
    # Taking the line out moves nothing.
    shop.config = {}
    shop.up()
    assert shop.outputs("plan")["activeSite"] == "west"
    assert shop.preview() == {}
    shop.config = {"active_sites": {"shop": "east"}}
    shop.up()
    assert shop.outputs("plan")["activeSite"] == "east"
    assert shop.preview() == {}


def test_a_move_leaves_its_report_and_no_difference(
    shop: LocalStack, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DR_STATE_HOME", str(tmp_path / "state"))
    shop.config = {"active_sites": {"shop": "west"}}
    shop.up()
    (page,) = (tmp_path / "state").rglob("reports/*.html")
    assert f"plan shop: report: {page}" in capsys.readouterr().err
    document = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert (document["kind"], document["by"]["stack"], document["result"]) == ("planned", shop.stack, "done")
    assert "report" not in shop.outputs("plan")
    assert shop.preview() == {}


def test_a_move_by_somebody_else_is_told_and_left(shop: LocalStack) -> None:
    run_plan(shop.world(), "shop", Want(site="west", by="dr (operator)"))
    assert shop.preview() == {("plan", "shop"): "update"}
    with pytest.raises(RuntimeError, match=r"is not ready: .*set dr:activeSites.shop to west"):
        shop.up()
    found = shop.outputs("plan")
    assert (found["activeSite"], found["epoch"]) == ("west", 2.0), "outputs are true although the up is red"
    with pytest.raises(RuntimeError, match="is not ready"):
        shop.up()
    shop.config = {"active_sites": {"shop": "west"}}
    shop.up()
    assert shop.preview() == {}


def test_a_vm_that_cannot_be_placed_is_listed_and_ends_the_up_red(stack: Callable[..., LocalStack]) -> None:
    shop = stack(on_failure="continue", host_cpus=2)
    shop.config = {"active_sites": {"shop": "east"}}
    shop.up()
    shop.protect()
    shop.bench.lose("site:east")
    shop.bench.lose("host:west-2")
    shop.config = {"active_sites": {"shop": "west"}, "force": {"shop": "1: lost"}}
    with pytest.raises(RuntimeError, match="is not ready"):
        shop.up()
    found = shop.outputs("plan")
    assert found["activeSite"] == "west"
    assert found["phase"] != "steady"
    assert found["degraded"]
    assert found["failures"]
    shop.bench.heal("host:west-2")
    shop.up()
    assert shop.outputs("plan")["phase"] == "steady"
    assert shop.outputs("readiness")["ready"]
    assert shop.preview() == {}


def test_the_topology_is_stored_and_its_changes_are_told(shop: LocalStack) -> None:
    shop.rewrite(lambda document: document["plans"]["shop"].update(rpo="1h"))
    shop.preview()
    shop.up()
    assert any("rpo" in text for text in shop.held["plan", "shop"].inputs["changes"])
    assert '"rpo":"1h"' in str(shop.world().fleet.array("west-a").read_record("shop-test/blob/topology")).replace(
        "\\", ""
    )


def test_an_unknown_point_or_word_is_a_failure_of_the_check(shop: LocalStack) -> None:
    wanted = shop.wanted()["plan", "shop"]
    for change, said in (
        ({"declaredSite": "west", "point": "e1-s9-abcd"}, "there is none of that name"),
        ({"force": "just do it"}, "wanted 'EPOCH: REASON'"),
        ({"declaredSite": "mars"}, "'mars' is not one of its sites"),
    ):
        result = DrPlanProvider().check({}, {**wanted, **change})
        assert [said in failure.reason for failure in result.failures] == [True]


def test_an_array_that_the_state_remembers_is_not_made_anew(shop: LocalStack) -> None:
    for file in shop.folder.rglob("*-a.db*"):
        file.unlink()
    assert shop.preview() == {}
    before = set(shop.folder.rglob("*.db"))
    shop.config = {"active_sites": {"shop": "west"}}
    with pytest.raises(RuntimeError, match=r"no new one is made|not ready|was in use before"):
        shop.up()
    assert set(shop.folder.rglob("*.db")) == before


@pytest.mark.parametrize(
    ("olds", "news", "changes"),
    [
        ({"ready": True}, {"failures": [], "phase": "steady", "protected": True}, False),
        ({"ready": True}, {"failures": [], "phase": "steady", "protected": False}, False),
        ({"ready": True}, {"failures": ["VM db does not run"], "phase": "degraded", "protected": False}, True),
        ({"ready": True}, {"failures": [], "phase": "split", "protected": False}, True),
        ({"ready": False}, {"failures": [], "phase": "steady", "protected": True}, True),
        ({"ready": True}, {"phase": "steady"}, False),
    ],
)
def test_readiness_differs_by_what_is_not_ready_alone(
    olds: dict[str, Any], news: dict[str, Any], changes: bool
) -> None:
    assert ReadinessProvider().diff("shop", olds, {"plan": "shop", **news}).changes is changes


def test_readiness_is_always_created_and_raises_in_an_update() -> None:
    news = {"plan": "shop", "failures": ["VM db: no host has room", "VM app waits"], "phase": "degraded"}
    made = ReadinessProvider().create(news)
    assert made.outs is not None
    assert made.outs["ready"] is False
    with pytest.raises(RuntimeError, match="VM db: no host has room\nVM app waits"):
        ReadinessProvider().update(made.id, made.outs, news)


def test_a_refused_delete_in_mid_move_and_a_plain_one(shop: LocalStack, tmp_path: Path) -> None:
    before = shop.production()
    provider, held = DrPlanProvider(), shop.held["plan", "shop"]
    provider.delete("shop@000000000000000", dict(held.outputs))
    assert shop.preview() == {}, "an old incarnation's delete does nothing"
    provider.delete(held.id, dict(held.outputs))
    assert shop.production() == before, "a plan's delete stops and removes nothing"


def test_what_would_keep_it_from_being_moved_again_is_said_and_is_no_difference(
    stack: Callable[..., LocalStack], capfd: pytest.CaptureFixture[str]
) -> None:
    """Readiness beyond what this stack could mend: a line of the up that moved it, green, and nothing in the next preview."""
    shop = stack(change=lambda document: document.update(state={"backend": "west"}))
    shop.config = {"active_sites": {"shop": "east"}}
    shop.up()
    shop.protect()
    assert "not ready to be moved" not in capfd.readouterr().err
    shop.config = {"active_sites": {"shop": "west"}}
    shop.up()
    assert (
        "plan shop: warning: not ready to be moved: The state backend is only at west, and is lost with it."
        in capfd.readouterr().err
    )
    assert shop.preview() == {}
