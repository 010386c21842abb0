"""Texts of changes between two topologies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model.changes import describe_changes
from dr_provider.model.loader import parse
from dr_provider.model.topology import Topology
from tests.support.topologies import topology_document

Doc = dict[str, Any]


def topology(change: Callable[[Doc], None] | None = None) -> Topology:
    return parse(json.dumps(topology_document(change=change)), source="t.yaml", base=Path("/base"))


def grow(doc: Doc) -> None:
    doc["vms"]["db"]["memory"] = "128MiB"
    doc["vms"]["db"]["disks"]["root"]["size"] = "8MiB"


def add(doc: Doc) -> None:
    doc["volumes"]["logs"] = {"size": "8MiB", "home": "east-a", "copies": ["west-a"]}
    doc["vms"]["db"]["disks"]["logs"] = {"volume": "logs", "size": "4MiB"}


def retime(doc: Doc) -> None:
    doc["sourceBudget"] = "2s"
    plan = doc["plans"]["shop"]
    plan["replicate"]["every"] = "10m"
    plan["backup"]["keep"] = {"last": 4}
    plan["rpo"] = "1h"
    plan["hosts"] = {"west": ["west-1"]}
    plan["tiers"][1]["after"] = ["db"]
    doc["arrays"]["east-a"]["latency"] = "50ms"


def move(doc: Doc) -> None:
    doc["networks"]["prod"]["drill"] = "br-lab"
    doc["vms"]["web"]["nics"] = []
    doc["plans"]["shop"]["tiers"] = [{"members": ["db", "app"]}, {"members": ["web"]}]
    doc["hosts"].pop("west-2")


def tell(doc: Doc) -> None:
    doc["state"] = {"backend": "west"}
    doc["alerts"] = {"notify": ["env:DR_ALERT_URL"]}


def readdress(doc: Doc) -> None:
    doc["contacts"] = [{"name": "Desk"}]
    doc["plans"]["shop"]["contacts"] = [{"name": "Ana"}]
    doc["networks"]["prod"]["west"] = {"bridge": "br-prod", "gateway": "10.2.0.1"}
    doc["vms"]["db"]["nics"][0]["names"] = "db.example.org"
    doc["vms"]["db"]["at"] = {"west": {"memory": "32MiB", "startDelay": "5s"}}


def call(doc: Doc) -> None:
    calling(doc)
    plan = doc["plans"]["shop"]
    plan["callouts"]["dns"] = {
        "after": {"tier": 1}, "command": ["bash"], "script": {"file": "dns.j2", "text": "two\nlines\n"}, "timeout": "2m", "onError": "continue",
        "environment": {"KEY": "env:OTHER", "ZONE": {"value": "example.org"}},
    }  # fmt: skip
    plan["callouts"]["told"] = plan["callouts"].pop("tell")
    plan["prompts"]["go"]["text"] = "go? " * 100


def calling(doc: Doc) -> None:
    doc["plans"]["shop"] |= {
        "callouts": {
            "dns": {"after": "move", "command": ["sh"], "script": {"file": "dns.j2", "text": "one\n"}, "environment": {"KEY": "env:KEY"}},
            "tell": {"after": "move", "command": ["true"]},
        },
        "prompts": {"go": {"before": "commit", "text": "go?"}},
    }  # fmt: skip


def test_callouts_and_prompts() -> None:
    assert describe_changes(topology(calling), topology(call)) == [
        "plan shop: callouts.dns after the move -> after tier 1 has started",
        "plan shop: callouts.dns.command [sh] -> [bash]",
        "plan shop: callouts.dns.script.text changed",
        "plan shop: callouts.dns.environment.KEY env:KEY -> env:OTHER",
        "plan shop: callouts.dns.environment.ZONE none -> example.org",
        "plan shop: callouts.dns.timeout 1m -> 2m",
        "plan shop: callouts.dns.onError stop -> continue",
        "plan shop: callouts.tell removed",
        "plan shop: callouts.told added",
        "plan shop: prompts.go.text changed",
    ]


CASES: list[tuple[Callable[[Doc], None], list[str]]] = [
    (grow, ["vm db: memory 64MiB -> 128MiB", "vm db: disks.root.size 4MiB -> 8MiB"]),
    (add, ["volume logs: added", "vm db: disks.logs added"]),
    (tell, ["alerts: added", "state: backend none -> [west]"]),
    (
        readdress,
        [
            "topology: contacts[0] added",
            "network prod: gateway.west none -> 10.2.0.1",
            "vm db: nics[0].names none -> [db.example.org]",
            "vm db: at.west none -> {memory 32MiB, startDelay 5s}",
            "plan shop: contacts[0] added",
        ],
    ),
    (
        retime,
        [
            "topology: sourceBudget 1s -> 2s",
            "array east-a: latency 0s -> 50ms",
            "plan shop: tiers[1].after none -> [db]",
            "plan shop: backup.keep.last 8 -> 4",
            "plan shop: replicate.every 5m -> 10m",
            "plan shop: rpo none -> 1h",
            "plan shop: hosts.west none -> [west-1]",
        ],
    ),
    (
        move,
        [
            "host west-2: removed",
            "network prod: drill br-isolated -> br-lab",
            "vm web: nics[0] removed",
            "plan shop: tiers[0].members [db] -> [db, app]",
            "plan shop: tiers[1].members [app] -> [web]",
            "plan shop: tiers[2] removed",
        ],
    ),
]


@pytest.mark.parametrize(("change", "texts"), CASES, ids=[case[0].__name__ for case in CASES])
def test_changes(change: Callable[[Doc], None], texts: list[str]) -> None:
    assert describe_changes(topology(), topology(change)) == texts


def test_none() -> None:
    assert describe_changes(topology(), topology()) == []


def test_back_again_is_the_reverse() -> None:
    assert describe_changes(topology(add), topology()) == ["volume logs: removed", "vm db: disks.logs removed"]
