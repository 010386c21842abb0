"""The runbook as data and as Markdown, word for word for two topologies; and that what is typed by hand is what the drivers would do.

A wanted change of the Markdown is written anew with DR_GOLDEN=write and read in the difference before it is committed.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dr_provider.cli.runbook import render
from dr_provider.model.loader import parse
from dr_provider.model.topology import Topology
from dr_provider.reconcile.decision import Decision
from dr_provider.reconcile.runbooks.document import runbook
from dr_provider.reconcile.runbooks.moves import Known
from tests.support.situations import answer, shop, view
from tests.support.topologies import topology_document

GOLDEN = Path(__file__).parent / "golden"
MADE = "2026-03-02T18:00:00.000Z"
KNOWN = Known(
    active="east",
    epoch=3,
    since="2026-03-01T07:30:00.000Z",
    phase="steady",
    protected=True,
    points={"east": ("e3-s8-0b1c2d3e", "2026-03-02T17:45:00.000Z"), "west": ("e3-s7-0a1b2c3d", "2026-03-02T17:30:00.000Z")},
    hosts={"db": "west-2", "app": "west-1"},
)  # fmt: skip

REAL: dict[str, Any] = {
    "version": 1,
    "name": "shop-prod",
    "contacts": [{"name": "Operations desk", "phone": "+1 555 0100", "role": "on call day and night"}],
    "sites": {"east": {}, "west": {}},
    "arrays": {
        f"{site}-a": {
            "site": site,
            "driver": "zfs",
            "endpoints": [f"ssh://root@10.0.{n}.10:2222"],
            "pool": "tank",
            "ssh": {"identity": "/keys/dr"},
            "luns": {"portal": f"10.0.{n}.10", "chap": {"user": "dr", "password": "env:DR_CHAP"}},
        }
        for n, site in enumerate(("east", "west"), 1)
    },
    "hosts": {
        f"{site}-{k}": {"site": site, "driver": "libvirt", "uri": f"qemu+ssh://root@10.0.{n}.{10 + k}/system", "memory": "64GiB", "ssh": {"identity": "/keys/dr", "knownHosts": "/keys/hosts"}}
        for n, site in enumerate(("east", "west"), 1)
        for k in (1, 2)
    },
    "networks": {
        "prod": {
            "east": {"bridge": "br-prod", "gateway": "10.0.1.1", "dns": "10.0.1.53"},
            "west": {"bridge": "br-dmz", "gateway": "10.0.2.1", "dns": ["10.0.2.53", "10.0.1.53"]},
            "drill": "br-drill",
        }
    },
    "volumes": {name: {"size": "100GiB", "home": "east-a", "copies": ["west-a"]} for name in ("files", "shop")},
    "vms": {
        "db": {
            "cpus": 8,
            "memory": "16GiB",
            "at": {"west": {"cpus": 4, "memory": "8GiB", "startDelay": "30s"}},
            "disks": {"root": {"volume": "shop", "size": "20GiB"}, "data": {"volume": "files", "size": "60GiB"}},
            "nics": [{"network": "prod", "address": {"east": "10.0.1.50/24", "west": "10.0.2.50/24"}, "names": "db.shop.example.org"}],
            "health": {"tcp": 5432, "within": "3m"},
        },
        "app": {
            "cpus": 2,
            "memory": "4GiB",
            "disks": {"root": {"volume": "shop", "size": "10GiB"}},
            "nics": [{"network": "prod"}],
            "health": {"agent": True},
        },
    },
    "plans": {
        "shop": {
            "sites": ["east", "west"],
            "tiers": [{"members": ["db"], "onFailure": "retry"}, {"members": ["app"], "after": ["db"]}],
            "backup": {"every": "15m"},
            "replicate": {"every": "5m"},
            "rpo": "15m",
            "callouts": {
                "dns": {
                    "after": "start",
                    "command": ["sh", "-eu"],
                    "script": {"file": "callouts/dns.sh.j2", "text": "echo {{ vms.db.ip }} is db now\n"},
                    "environment": {"DNS_KEY": "file:/etc/dr/dns.key"},
                },
                "tell": {"before": "move", "command": ["echo", "{{ plan }} goes to {{ to_site }}, it's {{ kind }}"], "onError": "continue"},
            },
            "prompts": {"go": {"before": "commit", "text": "Start {{ plan }} at {{ to_site }}?", "kinds": ["disaster"]}},
            "contacts": [{"name": "Ana | Miller", "role": "gives the word", "mail": "ana@example.org"}],
        }
    },
}  # fmt: skip


def real(change: Callable[[dict[str, Any]], None] = lambda doc: None) -> Topology:
    document = copy.deepcopy(REAL)
    change(document)
    return parse(json.dumps(document), source="real", base=Path("/lab"))


def embedded() -> Topology:
    document = topology_document(name="shop-test", health={"tcp": 80, "within": "1m"})
    return parse(json.dumps(document), source="embedded", base=Path("/lab"))


def book(topology: Topology, known: Known = KNOWN, to: str | None = None) -> dict[str, Any]:
    return runbook(topology, "shop", to, known, MADE).document()


@pytest.mark.parametrize(
    ("name", "topology", "known"),
    [("runbook-embedded.md", embedded, KNOWN), ("runbook-zfs.md", real, KNOWN), ("runbook-dark.md", embedded, Known(silent={"west-a": "array west-a at west gives no answer within 1 s"}))],
)  # fmt: skip
def test_word_for_word(name: str, topology: Callable[[], Topology], known: Known) -> None:
    text = render(book(topology(), known), "md")
    if os.environ.get("DR_GOLDEN") == "write":
        (GOLDEN / name).write_text(text, encoding="utf-8")
    assert text == (GOLDEN / name).read_text(encoding="utf-8")


def test_the_page_says_the_same_and_loads_nothing() -> None:
    document = book(real(lambda doc: doc["contacts"].append({"name": "<script>alert(1)</script>"})))
    page = render(document, "html")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search(r"(src|href)=\"(?!#)|url\(|@import", page)
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    wanted = [
        document["topology"],
        "Ana | Miller",
        "10.0.2.50/24",
        "db.shop.example.org",
        "env:DR_CHAP",
        "e3-s7-0a1b2c3d",
    ]
    wanted += [step["title"] for move in document["moves"] for step in move["steps"]]
    for text in wanted:
        assert text in shown, text
    keys = {key for move in document["moves"] for step in move["steps"] for key in step["byHand"]}
    assert keys | {"H8", "B6"} == {step["key"] for part in ("steps", "back") for step in document["byHand"][part]}
    assert all(f'id="{key}"' in page for key in keys), "each reference leads somewhere"


def test_no_secret_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DR_CHAP", "hunter2hunter2")
    for shape in ("md", "html"):
        text = render(book(real()), shape)
        assert "hunter2" not in text
        assert "env:DR_CHAP" in text


def test_where_nobody_answers_what_is_not_known_is_said() -> None:
    now = book(real(), Known(silent={"east-a": "gives no answer within 1 s"}))["now"]
    assert now["activeSite"] is None
    assert [said.partition(":")[0] for said in now["notKnown"]] == [
        "where the plan is active",
        "the number that the operator's word begins with",
        "the newest recovery point at east",
        "the newest recovery point at west",
        "east-a",
    ]
    assert book(real())["now"]["notKnown"] == []


@pytest.mark.parametrize(
    ("active", "to", "way", "back"),
    [
        ("east", None, ("east", "west"), "dr failback shop"),
        (None, None, ("east", "west"), "dr failback shop"),
        ("west", None, ("west", "east"), "dr failover shop --to west"),
        ("east", "east", ("west", "east"), "dr failover shop --to west"),
        ("west", "west", ("east", "west"), "dr failback shop"),
    ],
)
def test_it_leads_from_where_the_plan_is(active: str | None, to: str | None, way: tuple[str, str], back: str) -> None:
    document = book(real(), Known(active=active, epoch=1 if active else None), to)
    assert (document["from"], document["to"]) == way
    assert [(move["kind"], move["from"], move["to"]) for move in document["moves"]] == [
        ("planned", *way),
        ("disaster", *way),
        ("failback", *reversed(way)),
    ]
    assert document["moves"][2]["commands"]["dr"][-1] == back


# -- the steps are those of a decision ----------------------------------------------------------------


def decided() -> Iterator[tuple[str, Decision]]:
    yield "planned", answer(view(), "west")
    yield "disaster", answer(view(silent=("east",)), "west", word="1: power lost")
    yield "disaster", answer(view(silent=("east-1", "east-2")), "west")


@pytest.mark.parametrize(("kind", "decision"), list(decided()), ids=["planned", "site lost", "hosts lost"])
def test_every_action_of_a_decision_is_a_step_in_the_same_order(kind: str, decision: Decision) -> None:
    assert (decision.kind, decision.refused) == (kind, ())
    made = runbook(shop(), "shop", "west", KNOWN, MADE)
    steps = next(section for section in made.sections if section.kind == kind).steps
    at = {verb: number for number, step in enumerate(steps) for verb in step.verbs}
    order = [at[action.verb] for action in decision.actions]
    assert order == sorted(order)
