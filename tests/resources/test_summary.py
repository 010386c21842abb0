"""What a stack exports of a plan: every mirror of it, also where a volume has several copies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dr_provider.resources.component import summary


def found(mirrors: list[tuple[str, str, str, str]], **states: str) -> dict[str, Any]:
    lags = [{"volume": v, "from": a, "to": b, "state": state, "lagSeconds": None} for v, a, b, state in mirrors]
    named = {name.replace("__", ".").replace("_", "-"): state for name, state in states.items()}
    given = {"seen": None, "lags": json.dumps(lags), "hosts": {"db": "west-1"}, "states": named, "phase": "steady"}
    return summary(given, {"west-1": "west"})


def test_what_the_plan_has_not_seen_yet_its_resources_say() -> None:
    made = found([("shop", "east-a", "west-a", "none")], shop__west_a="synced")
    assert made["vms"] == {"db": "west/west-1"}
    assert made["mirrors"] == {"shop": {"from": "east-a", "to": "west-a", "state": "synced", "lagSeconds": None}}
    assert made["phase"] == "steady"


@pytest.mark.parametrize(("state", "shown"), [("none", "synced"), ("lagging", "lagging")])
def test_a_volume_with_two_copies_has_two_mirrors(state: str, shown: str) -> None:
    two = [
        ("shop", "east-a", "west-a", "none"),
        ("shop", "east-a", "south-a", state),
        ("crm", "east-a", "west-a", "split"),
    ]
    made = found(two, shop__west_a="pending", shop__south_a="synced", crm__west_a="synced")
    assert {name: (mirror["to"], mirror["state"]) for name, mirror in made["mirrors"].items()} == {
        "shop.west-a": ("west-a", "pending"),
        "shop.south-a": ("south-a", shown),
        "crm": ("west-a", "split"),
    }
