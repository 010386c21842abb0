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
