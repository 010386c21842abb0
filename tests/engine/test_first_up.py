"""A first `up`, what it exports, a second one that has nothing to do, and input that is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.engine.bench import Project
from tests.support.topologies import write_topology


def test_first_up_makes_everything_and_a_second_one_has_nothing_to_do(project: Callable[..., Project]) -> None:
    shop = project()
    shop.make_stack()
    preview = shop.preview()
    assert not list(shop.folder.rglob("*.db")), "a preview makes nothing"
    assert "7 pending actions" in preview.text
    up = shop.up()
    assert "plan shop [7/7] commit epoch 1: plan shop is active at east: done" in up.text
    found = shop.exports()["shop"]
    assert (found["activeSite"], found["epoch"], found["phase"], found["degraded"]) == ("east", 1, "steady", [])
    assert set(found["vms"]) == {"db", "app", "web"}
    assert all(place.startswith("east/") for place in found["vms"].values())
    assert {mirror["state"] for mirror in found["mirrors"].values()} == {"synced"}
    assert set(shop.running()) == {"db", "app", "web"}
    shop.no_changes()
    # Protection goes on beside the stack: new points and lags are no difference.
    shop.write()
    shop.protect()
    shop.no_changes()


def test_wrong_topologies_and_configs_are_one_error_each_and_change_nothing(project: Callable[..., Project]) -> None:
    shop = project()
    shop.make_stack(activeSites={"shop": "mars", "shoe": "west"}, force={"shop": 1})
    wrong = shop.preview(ok=False)
    assert "dr:activeSites.shop: 'mars' is not one of the plan's sites: east, west" in wrong.text
    assert (
        "dr:activeSites.shoe: there is no plan 'shoe' in topology shop-test (did you mean shop?); its plans: shop"
        in wrong.text
    )
    assert "dr:force.shop: wanted text, found 1" in wrong.text
    assert "Traceback" not in wrong.text

    def two_faults(document: dict[str, Any]) -> None:
        document["volumes"]["vol-1"]["home"] = "nowhere"
        document["vms"]["db"]["memory"] = "lots"

    file = write_topology(shop.folder / "stacks", change=two_faults)
    shop.configure(topology=file.name)
    wrong = shop.up(ok=False)
    assert "2 errors" in wrong.text
    assert "nowhere" in wrong.text
    assert "lots" in wrong.text
    assert "Traceback" not in wrong.text
    assert not list(shop.folder.rglob("*.db"))


def test_a_word_and_a_point_that_are_wrong_are_errors_of_the_preview(shop: Project) -> None:
    shop.configure(activeSites={"shop": "west"}, force={"shop": "because"}, recoveryPoints={"shop": "e1-s9-abcd"})
    wrong = shop.preview(ok=False)
    assert "wanted 'EPOCH: REASON'" in wrong.text
    shop.configure(activeSites={"shop": "west"}, recoveryPoints={"shop": "e1-s9-abcd"})
    wrong = shop.preview(ok=False)
    assert "there is none of that name" in wrong.text
    assert "Traceback" not in wrong.text
    assert shop.status()["activeSite"] == "east"


def test_the_preview_of_a_move_in_json_lists_the_actions_in_order(shop: Project) -> None:
    shop.configure(activeSites={"shop": "west"})
    ran = shop.preview("--json")
    document = json.loads(ran.text[ran.text.index("{") :])
    plan = next(step for step in document["steps"] if "DrPlan" in step["urn"])
    actions = plan["newState"]["inputs"]["pendingActions"]
    order = [
        actions.index(next(a for a in actions if a.startswith(start)))
        for start in ("claim", "stop VM web", "stop VM db", "take the final", "break", "scan", "commit", "start VM db")
    ]
    assert order == sorted(order)
    said = " ".join(d.get("message", "") for d in document["diagnostics"])
    assert "nothing is lost" in said
    assert "expected time" in said
    again = json.loads(shop.preview("--json").text)
    plan = next(step for step in again["steps"] if "DrPlan" in step["urn"])
    assert plan["newState"]["inputs"]["pendingActions"] == actions
