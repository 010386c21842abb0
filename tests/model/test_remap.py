"""Networks, addresses, gateways and names at each site and in drills; sizes and start delays there; contacts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model.addresses import dns_name
from dr_provider.model.advice import advice
from dr_provider.model.errors import TopologyInvalid
from dr_provider.model.loader import parse
from dr_provider.model.remap import CardAt, addresses_after, names_after
from dr_provider.model.topology import Contact, Topology
from tests.support.topologies import topology_document

Doc = dict[str, Any]
BASE = Path("/base")


def topology(change: Callable[[Doc], None]) -> Topology:
    return parse(json.dumps(topology_document(vms=2, change=change)), source="t.yaml", base=BASE)


def with_nic(network: Doc, **nic: Any) -> Callable[[Doc], None]:
    def change(doc: Doc) -> None:
        doc["networks"]["prod"] = network
        doc["vms"]["db"]["nics"] = [{"network": "prod", **nic}]
        doc["vms"]["app"]["nics"] = []

    return change


BRIDGES = {"east": "br-e", "west": "br-w", "drill": "br-d"}
SERVED = {
    "east": {"bridge": "br-e", "gateway": "10.1.0.1", "dns": "10.1.0.53"},
    "west": {"bridge": "br-w", "gateway": "10.2.0.1", "dns": ["10.2.0.53", "10.1.0.53"]},
    "drill": "br-d",
}
BOTH = {"east": "10.1.0.5/16", "west": "10.2.0.5/16"}


@pytest.mark.parametrize(
    ("network", "nic", "east", "west", "drill"),
    [
        pytest.param(
            BRIDGES, {},
            CardAt("east", "br-e"), CardAt("west", "br-w"), CardAt("west", "br-d", drill=True), id="dhcp",
        ),
        pytest.param(
            SERVED, {},
            CardAt("east", "br-e"), CardAt("west", "br-w"), CardAt("west", "br-d", drill=True), id="dhcp brings its own",
        ),
        pytest.param(
            SERVED, {"address": BOTH},
            CardAt("east", "br-e", "10.1.0.5/16", "10.1.0.1", ("10.1.0.53",)),
            CardAt("west", "br-w", "10.2.0.5/16", "10.2.0.1", ("10.2.0.53", "10.1.0.53")),
            CardAt("west", "br-d", "10.2.0.5/16", "10.2.0.1", ("10.2.0.53", "10.1.0.53"), drill=True),
            id="from the network, the site's in a drill",
        ),
        pytest.param(
            SERVED, {"address": BOTH, "gateway": {"west": "10.2.0.2"}, "dns": "10.9.0.53"},
            CardAt("east", "br-e", "10.1.0.5/16", "10.1.0.1", ("10.9.0.53",)),
            CardAt("west", "br-w", "10.2.0.5/16", "10.2.0.2", ("10.9.0.53",)),
            CardAt("west", "br-d", "10.2.0.5/16", "10.2.0.2", ("10.9.0.53",), drill=True),
            id="the card's own first",
        ),
        pytest.param(
            SERVED, {"address": {**BOTH, "drill": "192.168.9.5/24"}, "gateway": {"west": "10.2.0.2"}},
            CardAt("east", "br-e", "10.1.0.5/16", "10.1.0.1", ("10.1.0.53",)),
            CardAt("west", "br-w", "10.2.0.5/16", "10.2.0.2", ("10.2.0.53", "10.1.0.53")),
            CardAt("west", "br-d", "192.168.9.5/24", None, ("10.2.0.53", "10.1.0.53"), drill=True),
            id="a drill's address has no use for the site's gateway",
        ),
        pytest.param(
            {**SERVED, "drill": {"bridge": "br-d", "gateway": "192.168.9.1", "dns": "192.168.9.53"}},
            {"address": {**BOTH, "drill": "192.168.9.5/24"}},
            CardAt("east", "br-e", "10.1.0.5/16", "10.1.0.1", ("10.1.0.53",)),
            CardAt("west", "br-w", "10.2.0.5/16", "10.2.0.1", ("10.2.0.53", "10.1.0.53")),
            CardAt("west", "br-d", "192.168.9.5/24", "192.168.9.1", ("192.168.9.53",), drill=True),
            id="what the drill network has",
        ),
        pytest.param(
            BRIDGES, {"address": BOTH, "names": {"west": ["Db-West.example.org", "db.example.org"], "drill": "db.lab"}},
            CardAt("east", "br-e", "10.1.0.5/16"),
            CardAt("west", "br-w", "10.2.0.5/16", names=("db-west.example.org", "db.example.org")),
            CardAt("west", "br-d", "10.2.0.5/16", names=("db.lab",), drill=True),
            id="names by site",
        ),
        pytest.param(
            BRIDGES, {"address": BOTH, "names": "db.example.org"},
            CardAt("east", "br-e", "10.1.0.5/16", names=("db.example.org",)),
            CardAt("west", "br-w", "10.2.0.5/16", names=("db.example.org",)),
            CardAt("west", "br-d", "10.2.0.5/16", drill=True),
            id="a production name does not follow into a drill",
        ),
    ],
)  # fmt: skip
def test_cards(network: Doc, nic: Doc, east: CardAt, west: CardAt, drill: CardAt) -> None:
    made = topology(with_nic(network, **nic))
    [move] = addresses_after(made, "shop", "west", "east")
    assert (move.vm, move.index, move.network, move.mac) == ("db", 0, "prod", made.vms["db"].nics[0].mac)
    assert (move.before, move.after) == (east, west)
    [back] = addresses_after(made, "shop", "east", "west")
    assert (back.before, back.after) == (west, east)
    [drilled] = addresses_after(made, "shop", "west", "east", drill=True)
    assert (drilled.before, drilled.after) == (None, drill)
    assert parse(made.text, source="stored", base=Path("/elsewhere")) == made


def test_a_move_in_words_and_as_data() -> None:
    made = topology(with_nic(SERVED, address=BOTH, names="db.example.org"))
    [move] = addresses_after(made, "shop", "west", "east")
    assert move.sentence() == (
        "db, nics[0] on prod: br-e, 10.1.0.5/16, gateway 10.1.0.1, DNS 10.1.0.53 -> "
        "br-w, 10.2.0.5/16, gateway 10.2.0.1, DNS 10.2.0.53 10.1.0.53"
    )
    assert move.document() == {
        "vm": "db",
        "nic": 0,
        "network": "prod",
        "mac": move.mac,
        "changed": True,
        "before": {
            "site": "east",
            "bridge": "br-e",
            "address": "10.1.0.5/16",
            "gateway": "10.1.0.1",
            "dns": ["10.1.0.53"],
            "names": ["db.example.org"],
        },
        "after": {
            "site": "west",
            "bridge": "br-w",
            "address": "10.2.0.5/16",
            "gateway": "10.2.0.1",
            "dns": ["10.2.0.53", "10.1.0.53"],
            "names": ["db.example.org"],
        },
    }
    [name] = names_after([move])
    assert name.sentence() == "db.example.org -> 10.2.0.5 (db, 10.1.0.5 before)"
    assert name.document() == {
        "name": "db.example.org",
        "vm": "db",
        "before": "10.1.0.5",
        "after": "10.2.0.5",
        "byDhcp": False,
    }


@pytest.mark.parametrize(
    ("nic", "sentences"),
    [
        ({"address": BOTH, "names": {"east": "db-e", "west": "db-w"}}, [
            "db-e -> nothing any more (db, 10.1.0.5 before)", "db-w -> 10.2.0.5 (db)",
        ]),
        ({"address": {"east": "10.1.0.5/16"}, "names": "db"}, ["db -> the address that DHCP gives it (db, 10.1.0.5 before)"]),
        ({"names": ["b", "a"]}, ["a -> the address that DHCP gives it (db)", "b -> the address that DHCP gives it (db)"]),
        ({"address": {"east": "10.7.0.5/16", "west": "10.7.0.5/16"}, "names": "db"}, ["db -> 10.7.0.5 (db)"]),
        ({"address": BOTH}, []),
    ],
    ids=["another name there", "static to DHCP", "DHCP", "stretched", "no name"],
)  # fmt: skip
def test_where_names_point_after_a_move(nic: Doc, sentences: list[str]) -> None:
    moves = addresses_after(topology(with_nic(BRIDGES, **nic)), "shop", "west", "east")
    assert [name.sentence() for name in names_after(moves)] == sentences


def test_a_card_that_stays_as_it_is_says_so() -> None:
    same = {"east": "br-p", "west": "br-p", "drill": "br-d"}
    [move] = addresses_after(topology(with_nic(same)), "shop", "west", "east")
    assert (move.changed, move.sentence()) == (False, "db, nics[0] on prod: stays br-p, address by DHCP")


def problems(change: Callable[[Doc], None]) -> list[tuple[str, str]]:
    try:
        topology(change)
    except TopologyInvalid as error:
        return [(problem.path, problem.message) for problem in error.problems]
    return []


def put(section: str, name: str, key: str, value: object) -> Callable[[Doc], None]:
    return lambda doc: doc[section][name].__setitem__(key, value)


def two_networks(doc: Doc) -> None:
    """Two networks that share a bridge in drills, with one address at west on each."""
    doc["networks"] = {name: {"east": f"e-{name}", "west": f"w-{name}", "drill": "br-d"} for name in ("one", "two")}
    doc["vms"]["db"]["nics"] = [{"network": "one", "address": {"west": "10.2.0.5/16"}}]
    doc["vms"]["app"]["nics"] = [{"network": "two", "address": {"west": "10.2.0.5/16"}}]


def one_bridge(doc: Doc) -> None:
    two_networks(doc)
    doc["networks"]["two"]["west"] = "w-one"


def at_another_site(doc: Doc) -> None:
    doc["sites"]["south"] = {}
    doc["vms"]["db"]["at"] = {"south": {"cpus": 1}}


WRONG: list[tuple[str, Callable[[Doc], None], str, tuple[str, ...]]] = [
    ("no bridge", with_nic({**SERVED, "west": {"gateway": "10.2.0.1"}}), "networks.prod.west", ("bridge is missing",)),
    ("bridge in an object", with_nic({**SERVED, "west": {"bridge": "b;x"}}), "networks.prod.west.bridge", ("bridge's",)),
    ("key", with_nic({**SERVED, "west": {"bridge": "b", "gatway": "1"}}), "networks.prod.west.gatway", ("mean gateway?",)),
    ("network's gateway", with_nic({**SERVED, "west": {"bridge": "b", "gateway": "10.2"}}), "networks.prod.west.gateway", ("IP address",)),
    ("network's dns", with_nic({**SERVED, "west": {"bridge": "b", "dns": ["x"]}}), "networks.prod.west.dns[0]", ("IP address",)),
    ("number", with_nic({**SERVED, "west": 5}), "networks.prod.west", ("text or a mapping",)),
    (
        "outside its network's gateway", with_nic(SERVED, address={"east": "10.1.0.5/16", "west": "10.3.0.5/16"}),
        "vms.db.nics[0].address.west", ("10.2.0.1", "network prod has at west", "outside of 10.3.0.0/16", "own gateway"),
    ),
    (
        "outside the drill's gateway",
        with_nic({**SERVED, "drill": {"bridge": "br-d", "gateway": "192.168.9.1"}}, address={**BOTH, "drill": "192.168.8.5/24"}),
        "vms.db.nics[0].address.drill", ("192.168.9.1", "in drills", "outside of 192.168.8.0/24"),
    ),
    ("the gateway itself", with_nic(SERVED, address={"east": "10.1.0.1/16"}), "vms.db.nics[0].address.east", ("10.1.0.1 is the gateway", "of the card's own")),
    ("the gateway's family", with_nic(SERVED, address={"east": "fd00::5/64"}), "vms.db.nics[0].address.east", ("IPv6 address", "IPv4 one")),
    ("drill's own gateway", with_nic(BRIDGES, address={**BOTH, "drill": "192.168.9.5/24"}, gateway={"drill": "192.168.8.1"}), "vms.db.nics[0].gateway.drill", ("outside of 192.168.9.0/24",)),
    ("same address on one bridge", one_bridge, "vms.db.nics[0].address.west", ("10.2.0.5", "VM app, nics[0] too", "at west")),
    ("same address in drills", two_networks, "vms.app.nics[0].address.west", ("VM db, nics[0] too in drills at west", "br-d")),
    ("name", with_nic(BRIDGES, names="db example"), "vms.db.nics[0].names", ("host's name in DNS",)),
    ("names", with_nic(BRIDGES, names=["db", "db."]), "vms.db.nics[0].names[1]", ("without a dot at the end",)),
    ("an address as name", with_nic(BRIDGES, names={"west": "10.2.0.5"}), "vms.db.nics[0].names.west", ("is an address",)),
    ("name's site", with_nic(BRIDGES, names={"wst": "db"}), "vms.db.nics[0].names.wst", ("no site wst", "mean west?")),
    ("cpus there", put("vms", "db", "at", {"west": {"cpus": 0}}), "vms.db.at.west.cpus", ("from 1 to 4096",)),
    ("memory there", put("vms", "db", "at", {"west": {"memory": "4GB"}}), "vms.db.at.west.memory", ("such as 4GiB",)),
    ("key there", put("vms", "db", "at", {"west": {"cpu": 1}}), "vms.db.at.west.cpu", ("mean cpus?",)),
    ("nothing there", put("vms", "db", "at", {"west": {}}), "vms.db.at.west", ("is empty",)),
    ("site there", put("vms", "db", "at", {"wst": {"cpus": 1}}), "vms.db.at.wst", ("no site wst", "mean west?")),
    ("not a site of the plan", at_another_site, "vms.db.at.south", ("not a site of plan shop",)),
    ("too large there", put("vms", "db", "at", {"west": {"memory": "65GiB"}}), "plans.shop", ("VM db", "fits on none", "65GiB", "give it less under vms.db.at.west")),
    ("too large in drills", put("vms", "db", "at", {"drill": {"memory": "65GiB"}}), "plans.shop", ("VM db", "in a drill", "65GiB")),
    ("no name of a contact", put("plans", "shop", "contacts", [{"phone": "1"}]), "plans.shop.contacts[0]", ("name is missing",)),
    ("empty name", put("plans", "shop", "contacts", [{"name": " "}]), "plans.shop.contacts[0].name", ("with something in it",)),
    ("phone", put("plans", "shop", "contacts", [{"name": "A", "phone": "ask Bob"}]), "plans.shop.contacts[0].phone", ("+1 555 0100",)),
    ("mail", lambda doc: doc.update(contacts=[{"name": "A", "mail": "a at b"}]), "contacts[0].mail", ("oncall@example.org",)),
    ("long", lambda doc: doc.update(contacts=[{"name": "A" * 201}]), "contacts[0].name", ("201 characters", "one line")),
]  # fmt: skip


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case[0])
def test_what_is_wrong_is_said_with_what_would_be_right(case: Any) -> None:
    _, change, path, parts = case
    found = problems(change)
    assert {p for p, _ in found} == {path}, found
    assert all(part in found[0][1] for part in parts), found


@pytest.mark.parametrize(
    ("nic", "said"),
    [
        ({"address": BOTH}, []),
        ({}, []),
        ({"address": {"east": "10.1.0.5/16"}}, [("vms.db.nics[0].address", "static address at east, and none at west")]),
        ({"names": {"drill": "db.lab", "west": "db"}}, []),
        ({"names": {"drill": "db", "west": "db"}}, [("vms.db.nics[0].names.drill", "db is its name in production too")]),
        ({"names": {"drill": "db", "east": ["db"]}}, [("vms.db.nics[0].names.drill", "point it into a drill")]),
    ],
)  # fmt: skip
def test_what_is_seldom_meant_is_a_warning(nic: Doc, said: list[tuple[str, str]]) -> None:
    found = advice(topology(with_nic(BRIDGES, **nic)))
    assert [(p.path, part in p.message) for p, (_, part) in zip(found, said, strict=True)] == [
        (p, True) for p, _ in said
    ]


def test_sizes_and_delays_at_a_site_and_in_drills() -> None:
    def change(doc: Doc) -> None:
        doc["vms"]["db"].update(
            cpus=4, memory="8GiB", startDelay="1s",
            at={"west": {"cpus": 2, "startDelay": "0s"}, "drill": {"memory": "1GiB", "startDelay": "30s"}},
        )  # fmt: skip

    db = topology(change).vms["db"]
    seen = {
        (site, drill): ((at := db.there(site, drill=drill)).cpus, at.memory >> 30, at.start_delay)
        for site in ("east", "west")
        for drill in (False, True)
    }
    assert seen == {
        ("east", False): (4, 8, 1.0),
        ("west", False): (2, 8, 0.0),
        ("east", True): (4, 1, 30.0),
        ("west", True): (2, 1, 30.0),
    }
    assert db.there("west").there("west") == db.there("west")


def test_contacts() -> None:
    def change(doc: Doc) -> None:
        doc["contacts"] = [{"name": "Operations desk", "phone": "+1 555 0100 x12"}]
        doc["plans"]["shop"]["contacts"] = [{"name": "Zoë", "role": "gives the word", "mail": "zoe@example.org"}]

    made = topology(change)
    assert made.contacts == (Contact("Operations desk", phone="+1 555 0100 x12"),)
    assert made.plans["shop"].contacts == (Contact("Zoë", "gives the word", None, "zoe@example.org"),)


@pytest.mark.parametrize("name", ["a", "db.example.org", "DB-1.example.org", "1.example.org", "x" * 63])
def test_good_dns_names(name: str) -> None:
    assert dns_name(name) == name.lower()


@pytest.mark.parametrize(
    "name", ["", ".", "a..b", "-a", "a-", "a_b", "a b", "x" * 64, "a." * 127 + "a", "ä.org", "1.2.3.4"]
)
def test_bad_dns_names(name: str) -> None:
    with pytest.raises(ValueError, match="host's name in DNS"):
        dns_name(name)
