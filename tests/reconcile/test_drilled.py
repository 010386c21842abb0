"""What a plan's drills have shown, and what a drill stands for: the plan as it was then."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model import keys
from dr_provider.model.codec import dump
from dr_provider.model.drills import DrillResult
from dr_provider.model.loader import parse
from dr_provider.reconcile.drills.evidence import (
    changed_since,
    drill_due,
    drill_overdue,
    drill_results,
    drill_warnings,
    last_drill,
    plan_digest,
)
from dr_provider.reconcile.view import PlanView
from tests.support.situations import NAME, PLAN, shop, view
from tests.support.topologies import topology_document

Change = Callable[[dict[str, Any]], None]


def digest(change: Change | None = None, base: str = "/base", **options: Any) -> str:
    document = topology_document(health={"tcp": 5432}, change=change, **options)
    return plan_digest(parse(json.dumps(document), source="t", base=Path(base)), "shop")


def put(*path: Any, to: Any) -> Change:
    def change(document: dict[str, Any]) -> None:
        part = document
        for key in path[:-1]:
            part = part.setdefault(key, {}) if isinstance(part, dict) else part[key]
        part[path[-1]] = to

    return change


MATTERS: dict[str, Change] = {
    "a VM's size": put("vms", "db", "memory", to="128MiB"),
    "a VM's disk": put("vms", "db", "disks", "data", to={"volume": "vol-1", "size": "4MiB"}),
    "a VM's health": put("vms", "db", "health", to={"tcp": 5433}),
    "an address": put("vms", "db", "nics", 0, "address", "west", to="10.2.0.99/16"),
    "tiers": put("plans", "shop", "tiers", to=[{"members": ["db", "app", "web"]}]),
    "what a failure means": put("plans", "shop", "tiers", 0, "onFailure", to="continue"),
    "hosts allowed": put("plans", "shop", "hosts", to={"west": ["west-1"]}),
    "a host": put(
        "hosts", "west-3", to={"site": "west", "driver": "embedded", "path": "w3.db", "cpus": 16, "memory": "64GiB"}
    ),
    "a host's room": put("hosts", "west-1", "cpus", to=99),
    "a bridge": put("networks", "prod", "west", to="br-other"),
    "a host's cluster": put("hosts", "west-1", "cluster", to="blue"),
    "fencing": put("plans", "shop", "fencing", to="lease"),
}
NO_MATTER: dict[str, Change] = {
    "nothing": lambda document: None,
    "how often it is backed up": put("plans", "shop", "backup", "every", to="1h"),
    "how often it is replicated": put("plans", "shop", "replicate", "every", to="1m"),
    "what is wanted of it": put("plans", "shop", "rto", to="1h"),
    "how often it is drilled": put("plans", "shop", "drill", to={"every": "7d"}),
    "how fast an array is": put("arrays", "west-a", "latency", to="5ms"),
    "where an array's file is": put("arrays", "west-a", "path", to="elsewhere.db"),
    "another network": put("networks", "spare", to={"east": "b", "west": "b", "drill": "c"}),
    "what is left at its default": put("vms", "db", "startDelay", to="0s"),
}


@pytest.mark.parametrize("what", MATTERS)
def test_what_a_move_depends_on_makes_another_plan(what: str) -> None:
    change = MATTERS[what]
    assert digest(change) != digest()


@pytest.mark.parametrize("what", NO_MATTER)
def test_what_a_move_does_not_depend_on_does_not(what: str) -> None:
    assert digest(NO_MATTER[what]) == digest(base="/another/checkout")


# -- results -----------------------------------------------------------------------------------------


def result(name: str, day: int, *, ok: bool = True, **more: Any) -> DrillResult:
    made = DrillResult(
        PLAN, name, "asked", "west", "e1-s1-aa", "2025-12-30T00:00:00Z", f"2026-01-{day:02}T00:00:00.000Z", 5.0, 1.0,
        ok, () if ok else (f"{name} was not well",), 3, "dr (x)", "", "d",
    )  # fmt: skip
    return replace(made, **more)


def seen(
    *results: DrillResult, every: str | None = "7d", on: tuple[str, ...] = ("east-a", "west-a"), **more: Any
) -> PlanView:
    """Results in the order of their ids; the day is the one of `NOW`."""
    records = {keys.drill_result_key(NAME, PLAN, f"{number:04}"): dump(r) for number, r in enumerate(results)}
    topology = shop(plan={"drill": {"every": every}} if every else {})
    return view(topology, records=dict.fromkeys(on, records), **more)


def test_each_is_known_once_whoever_answers() -> None:
    one, two = result("one", 1), result("two", 2, ok=False)
    for silent in ([], ["east-a"], ["west-a"]):
        assert drill_results(seen(one, two, silent=silent)) == (one, two)
    assert drill_results(seen(one, two, silent=["east-a", "west-a"])) == ()
    assert (last_drill(seen(one, two)), last_drill(seen(one, two), ok=True)) == (two, one)
    assert last_drill(seen()) is None


def test_the_plan_has_changed_since_another_digest() -> None:
    now = seen()
    same = result("one", 1, digest=plan_digest(now.topology, PLAN))
    assert (changed_since(now, same), changed_since(now, result("one", 1))) == (False, True)


def test_when_the_next_is_due() -> None:
    assert drill_due(seen(result("one", 3), result("two", 5, ok=False))) == keys.at("2026-01-12T00:00:00Z")
    assert drill_due(seen(result("one", 3), every=None)) is None
    never = seen()
    assert drill_due(never) == keys.at(never.history[0].time) + timedelta(days=7)
    assert drill_due(seen(epochs=())) is None


@pytest.mark.parametrize(
    ("results", "every", "more", "overdue"),
    [
        ((), None, {}, False),
        ((), "1m", {"epochs": ()}, False),
        ((), "1m", {}, True),
        ((), "3650d", {}, False),
        ((result("one", 1),), "1m", {}, True),
        ((result("one", 1),), "3650d", {}, False),
        ((result("one", 1), result("two", 2, ok=False)), "1m", {}, True),
    ],
    ids=["not asked for", "never made", "never drilled", "never, and not yet", "long ago", "lately", "failed since"],
)
def test_overdue(results: tuple[DrillResult, ...], every: str | None, more: dict[str, Any], overdue: bool) -> None:
    found = seen(*results, every=every, **more)
    assert drill_overdue(found) is overdue
    assert bool([line for line in drill_warnings(found) if "overdue" in line]) is overdue


def test_only_a_scheduled_one_that_failed_is_a_warning() -> None:
    asked, cut = result("one", 2, ok=False), result("two", 3, ok=False, kind="scheduled", failures=())
    assert drill_warnings(seen(asked, every=None)) == ()
    (said,) = drill_warnings(seen(asked, cut, every=None))
    assert "its scheduled drill two failed: it was not finished" in said
