"""Wrong topologies: each fault alone, with the path at which it is found and parts of its sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model.errors import TopologyInvalid
from dr_provider.model.loader import parse
from dr_provider.model.problems import PlacedProblem
from tests.support.topologies import topology_document

Doc = dict[str, Any]


def problems(doc: Doc) -> list[tuple[str, str]]:
    try:
        parse(json.dumps(doc, indent=1), source="t.yaml", base=Path("/base"))
    except TopologyInvalid as error:
        return [(problem.path, problem.message) for problem in error.problems]
    return []


def put(*path: str | int, to: object) -> Callable[[Doc], None]:
    """A change of one value of the document."""

    def change(doc: Doc) -> None:
        place: Any = doc
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = to

    return change


def drop(*path: str | int) -> Callable[[Doc], None]:
    def change(doc: Doc) -> None:
        place: Any = doc
        for part in path[:-1]:
            place = place[part]
        del place[path[-1]]

    return change


def second_plan(doc: Doc) -> None:
    """web moves to a plan of its own, and stays on db's volume."""
    del doc["plans"]["shop"]["tiers"][2]
    doc["plans"]["web"] = {**doc["plans"]["shop"], "tiers": [{"members": ["web"]}]}


def vm_in_two_plans(doc: Doc) -> None:
    doc["plans"]["web"] = {**doc["plans"]["shop"], "tiers": [{"members": ["web"]}]}


def third_site(doc: Doc) -> None:
    doc["sites"]["south"] = {}
    doc["hosts"]["south-1"] = {**doc["hosts"]["west-1"], "site": "south", "path": "s1.db"}
    doc["arrays"]["south-a"] = {"site": "south", "driver": "embedded", "path": "sa.db"}
    doc["networks"]["prod"]["south"] = "br-prod"


def three_sites(doc: Doc) -> None:
    third_site(doc)
    doc["plans"]["shop"]["sites"].append("south")
    for volume in doc["volumes"].values():
        volume["copies"].append("south-a")


def three_sites_but_one(doc: Doc) -> None:
    three_sites(doc)
    doc["volumes"]["vol-2"]["copies"].remove("south-a")


def in_a_ring(doc: Doc) -> None:
    three_sites(doc)
    copies = [{"array": "west-a", "via": "south-a"}, {"array": "south-a", "via": "west-a"}]
    doc["volumes"]["vol-1"]["copies"] = copies


def two_copies(doc: Doc) -> None:
    third_site(doc)
    doc["volumes"]["vol-1"]["copies"].append("south-a")


def same_site_copy(doc: Doc) -> None:
    doc["arrays"]["east-b"] = {"site": "east", "driver": "embedded", "path": "eb.db"}
    doc["volumes"]["vol-1"]["copies"] = ["west-a", "east-b"]


def elsewhere(doc: Doc) -> None:
    doc["volumes"]["vol-1"].update(home="west-a", copies=["east-a"])


def lone_vm(doc: Doc) -> None:
    doc["vms"]["lone"] = {
        "cpus": 1,
        "memory": "1MiB",
        "disks": {"root": {"volume": "vol-1", "size": "4KiB"}},
    }


def crowd(doc: Doc) -> None:
    """Each VM fits on a host of west, all three do not."""
    for host in ("west-1", "west-2"):
        doc["hosts"][host]["memory"] = "100MiB"


NIC = ("vms", "db", "nics", 0)
SHOP = ("plans", "shop")
KEYS = {"accessKey": "env:A", "secretKey": "env:B"}


def third_place(doc: Doc) -> None:
    doc["sites"]["south"] = {}
    doc["arrays"]["south-a"] = {"site": "south", "driver": "embedded", "path": ".dr/south-a.db"}


def witness(also: Callable[[Doc], None] = lambda doc: None, **keys: Any) -> Callable[[Doc], None]:
    """A witness of these keys, and a plan that asks it."""

    def change(doc: Doc) -> None:
        also(doc)
        doc["witness"] = keys
        doc["plans"]["shop"]["fencing"] = "witness"

    return change


Case = tuple[str, Callable[[Doc], None], str, tuple[str, ...]]

FORM: list[Case] = [
    ("newer", put("version", to=2), "version", ("found the number 2", "wanted 1", "newer")),
    ("no name", drop("name"), "", ("name is missing", "identity")),
    ("bad name", put("name", to="Shop"), "name", ("found Shop", "small letter")),
    ("line end", put("name", to="shop\n"), "name", ("small letter",)),
    ("path in a name", put("sites", "../x", to={}), 'sites["../x"]', ("found ../x", "wanted a name")),
    ("shell in a name", put("sites", "a;reboot", to={}), 'sites["a;reboot"]', ('found "a;reboot"',)),
    ("site drill", put("sites", "drill", to={}), "sites.drill", ("drill or operator",)),
    ("site operator", put("sites", "operator", to={}), "sites.operator", ("drill or operator",)),
    ("site key", put("sites", "west", to={"a": 1}), "sites.west.a", ("no key a", "no keys of its own")),
    ("unknown key", put("vms", "db", "memmory", to="1GiB"), "vms.db.memmory", ("did you mean memory?",)),
    ("unknown top key", put("plan", to={}), "plan", ("did you mean plans?",)),
    ("no path", drop("arrays", "east-a", "path"), "arrays.east-a", ("path is missing",)),
    (
        "ceph",
        put("arrays", "east-a", "driver", to="ceph"),
        "arrays.east-a.driver",
        ("driver ceph is not built yet; built: embedded and zfs",),
    ),
    (
        "hyperv",
        put("hosts", "east-1", "driver", to="hyperv"),
        "hosts.east-1.driver",
        ("driver hyperv is not built yet; built: embedded and libvirt",),
    ),
    ("driver", put("hosts", "east-1", "driver", to="embeded"), "hosts.east-1.driver", ("did you mean embedded?",)),
    ("width", put("arrays", "east-a", "width", to=0), "arrays.east-a.width", ("number 0", "from 1 to 1024")),
    ("latency", put("arrays", "east-a", "latency", to="5"), "arrays.east-a.latency", ("ms, s, m, h or d",)),
    ("cpus", put("hosts", "east-1", "cpus", to=1.5), "hosts.east-1.cpus", ("1.5", "whole number")),
    ("NaN", put("hosts", "east-1", "cpus", to=float("nan")), "hosts.east-1.cpus", ("whole number",)),
    ("cpus in quotes", put("vms", "db", "cpus", to="4"), "vms.db.cpus", ('found "4"', "whole number")),
    ("boolean", put("vms", "db", "cpus", to=True), "vms.db.cpus", ("the boolean true", "whole number")),
    ("half", put("vms", "db", "memory", to="1.5GiB"), "vms.db.memory", ("1.5GiB", "such as 1536MiB")),
    ("GB", put("vms", "db", "memory", to="8GB"), "vms.db.memory", ("8GB", "such as 8GiB")),
    ("negative", put("vms", "db", "memory", to="-1GiB"), "vms.db.memory", ("-1GiB", "wanted a size")),
    ("zero", put("vms", "db", "memory", to="0MiB"), "vms.db.memory", ("greater than zero",)),
    ("overflow", put("vms", "db", "memory", to="9999999999TiB"), "vms.db.memory", ("at most",)),
    ("bare number", put("vms", "db", "memory", to=64), "vms.db.memory", ("the number 64", "such as 64MiB")),
    ("blocks", put("volumes", "vol-1", "size", to="65KiB"), "volumes.vol-1.size", ("multiple of 4KiB", "68KiB")),
    (
        "disk blocks",
        put("vms", "db", "disks", "root", "size", to="5KiB"),
        "vms.db.disks.root.size",
        ("multiple of 4KiB",),
    ),
    ("no disk", put("vms", "db", "disks", to={}), "vms.db.disks", ("is empty",)),
    ("duration", put(*SHOP, "replicate", "every", to="5 minutes"), "plans.shop.replicate.every", ("such as 5m",)),
    ("zero duration", put(*SHOP, "rpo", to="0s"), "plans.shop.rpo", ("greater than zero",)),
    ("long duration", put(*SHOP, "rto", to="99999999d"), "plans.shop.rto", ("at most 3650d",)),
    (
        "copies",
        put("volumes", "vol-1", "copies", to="west-a"),
        "volumes.vol-1.copies",
        ("found west-a", "wanted a list"),
    ),
    ("copy", put("volumes", "vol-1", "copies", to=[5]), "volumes.vol-1.copies[0]", ("text or a mapping",)),
    ("health", put("vms", "db", "health", to={}), "vms.db.health", ("neither tcp nor agent",)),
    ("two healths", put("vms", "db", "health", to={"tcp": 1, "agent": True}), "vms.db.health", ("both tcp and agent",)),
    ("agent", put("vms", "db", "health", to={"agent": False}), "vms.db.health.agent", ("wanted true",)),
    ("port", put("vms", "db", "health", to={"tcp": 70000}), "vms.db.health.tcp", ("from 1 to 65535",)),
    (
        "within",
        put("vms", "db", "health", to={"tcp": 1, "within": "0s"}),
        "vms.db.health.within",
        ("greater than zero",),
    ),
    ("mac", put(*NIC, "mac", to="02:00"), "vms.db.nics[0].mac", ("six bytes",)),
    ("multicast", put(*NIC, "mac", to="01:00:5e:00:00:01"), "vms.db.nics[0].mac", ("multicast",)),
    ("no prefix", put(*NIC, "address", "east", to="10.0.1.5"), "vms.db.nics[0].address.east", ("10.0.1.5/24",)),
    ("no address", put(*NIC, "address", "east", to="10.0.1.500/24"), "vms.db.nics[0].address.east", ("10.0.1.5/24",)),
    (
        "network address",
        put(*NIC, "address", "east", to="10.0.1.0/24"),
        "vms.db.nics[0].address.east",
        ("network itself",),
    ),
    ("gateway", put(*NIC, "gateway", to="10.0.1.1/24"), "vms.db.nics[0].gateway", ("without a prefix",)),
    ("dns", put(*NIC, "dns", to=["one"]), "vms.db.nics[0].dns[0]", ("IP address",)),
    ("dns by site", put(*NIC, "dns", to={"east": 5}), "vms.db.nics[0].dns.east", ("text or a list",)),
    ("bridge", put("networks", "prod", "east", to="br;x"), "networks.prod.east", ("bridge's",)),
    ("no tiers", put(*SHOP, "tiers", to=[]), "plans.shop.tiers", ("is empty",)),
    ("no members", put(*SHOP, "tiers", 0, "members", to=[]), "plans.shop.tiers[0].members", ("is empty",)),
    (
        "onFailure",
        put(*SHOP, "tiers", 0, "onFailure", to="retri"),
        "plans.shop.tiers[0].onFailure",
        ("did you mean retry?",),
    ),
    (
        "consistency",
        put(*SHOP, "backup", "consistency", to="none"),
        "plans.shop.backup.consistency",
        ("application or crash",),
    ),
    ("keep", put(*SHOP, "backup", "keep", to={"last": 0}), "plans.shop.backup.keep.last", ("from 1",)),
    ("hosts", put(*SHOP, "hosts", to={"west": "all"}), "plans.shop.hosts.west", ("wanted any",)),
    ("no hosts", put(*SHOP, "hosts", to={"west": []}), "plans.shop.hosts.west", ("is empty",)),
    (
        "member",
        put(*SHOP, "tiers", 0, "members", to=[True]),
        "plans.shop.tiers[0].members[0]",
        ("boolean true", "in quotes"),
    ),
]

CROSS: list[Case] = [
    ("array's site", put("arrays", "west-a", "site", to="wset"), "arrays.west-a.site", ("no site wset", "mean west?")),
    ("host's site", put("hosts", "west-1", "site", to="wset"), "hosts.west-1.site", ("no site wset", "mean west?")),
    (
        "same file",
        put("arrays", "west-a", "path", to="./.dr/x/../east-a.db"),
        "arrays.west-a.path",
        ("array east-a has the same file",),
    ),
    (
        "host in array's file",
        put("hosts", "west-1", "path", to=".dr/east-a.db"),
        "hosts.west-1.path",
        ("array east-a",),
    ),
    ("home", put("volumes", "vol-1", "home", to="east-b"), "volumes.vol-1.home", ("no array east-b", "mean east-a?")),
    ("home elsewhere", elsewhere, "volumes.vol-1.home", ("west-a stands at west", "wanted an array at east: east-a")),
    (
        "copy's array",
        put("volumes", "vol-1", "copies", to=["west"]),
        "volumes.vol-1.copies[0]",
        ("no array west", "west-a?"),
    ),
    (
        "copy at home",
        put("volumes", "vol-1", "copies", 0, to="east-a"),
        "volumes.vol-1.copies[0]",
        ("is the volume's home",),
    ),
    (
        "copy twice",
        put("volumes", "vol-1", "copies", to=["west-a", "west-a"]),
        "volumes.vol-1.copies[1]",
        ("listed twice",),
    ),
    ("no copy", drop("volumes", "vol-1", "copies"), "volumes.vol-1", ("no copy at west", "VM db", "copies: [west-a]")),
    (
        "copy nowhere",
        two_copies,
        "volumes.vol-1.copies[1]",
        ("none of the sites of plan shop (east, west)", "add south"),
    ),
    (
        "copy at the same site",
        same_site_copy,
        "volumes.vol-1.copies[1]",
        ("stands at east", "a second copy at one site is not built yet"),
    ),
    (
        "via",
        put("volumes", "vol-1", "copies", 0, to={"array": "west-a", "via": "east-a"}),
        "volumes.vol-1.copies[0].via",
        ("east-a is the volume's home", "leave via out"),
    ),
    (
        "via nothing",
        put("volumes", "vol-1", "copies", 0, to={"array": "west-a", "via": "south-a"}),
        "volumes.vol-1.copies[0].via",
        ("south-a holds no copy of this volume", "there is no other copy"),
    ),
    ("via each other", in_a_ring, "volumes.vol-1.copies[0].via", ("west-a via south-a via west-a", "feed each other")),
    ("a volume short", three_sites_but_one, "volumes.vol-2.copies", ("it has no copy at south", "copies: [south-a]")),
    ("one site", put(*SHOP, "sites", to=["east"]), "plans.shop.sites", ("lists east only",)),
    ("site twice", put(*SHOP, "sites", to=["east", "west", "west"]), "plans.shop.sites[2]", ("listed twice",)),
    ("plan's site", put(*SHOP, "sites", 1, to="wst"), "plans.shop.sites[1]", ("no site wst", "mean west?")),
    (
        "fencing",
        put(*SHOP, "fencing", to="witness"),
        "plans.shop.fencing",
        ("needs the top-level section witness", "third site"),
    ),
    (
        "witness's file",
        witness(driver="embedded", path=".dr/east-a.db"),
        "witness.path",
        ("array east-a has the same file",),
    ),
    (
        "witness's array",
        witness(driver="array", array="eastt-a"),
        "witness.array",
        ("no array eastt-a", "mean east-a?"),
    ),
    (
        "witness at a site",
        witness(driver="array", array="west-a"),
        "witness.array",
        ("west-a stands at west, a site of plan shop", "no array at a third site yet"),
    ),
    (
        "witness at a site, another is there",
        witness(third_place, driver="array", array="east-a"),
        "witness.array",
        ("would be lost with it; wanted one at a third site: south-a",),
    ),
    ("state at no site", put("state", to={"backend": "wst"}), "state.backend", ("no site wst", "mean west?")),
    ("state in no place", put("state", to={"backend": []}), "state.backend", ("is empty",)),
    ("state's key", put("state", to={"git": "east"}), "state.git", ("no key git in a state",)),
    ("alerts to nobody", put("alerts", to={"notify": []}), "alerts.notify", ("is empty",)),
    ("alerts without an address", put("alerts", to={}), "alerts", ("notify is missing",)),
    (
        "alerts to an address",
        put("alerts", to={"notify": ["mailtos://me:pl4nted@example.org"]}),
        "alerts.notify[0]",
        ("found what is no reference",),
    ),
    (
        "alerts that remind",
        put("alerts", to={"notify": ["env:A"], "remind": "often"}),
        "alerts.remind",
        ("wanted a duration",),
    ),
    ("witness without a driver", witness(path="w.db"), "witness", ("driver is missing", "what it is")),
    ("witness of no driver", witness(driver="etcd"), "witness.driver", ("found etcd; wanted embedded, array or s3",)),
    ("witness without a file", witness(driver="embedded"), "witness", ("path is missing",)),
    (
        "witness's key",
        witness(driver="embedded", path="w.db", url="x"),
        "witness.url",
        ("no key url in an embedded witness",),
    ),
    (
        "S3 without credentials",
        witness(driver="s3", url="https://s3.example.org"),
        "witness",
        ("credentials is missing",),
    ),
    (
        "S3's secret itself",
        witness(driver="s3", url="https://s3.example.org", credentials={"accessKey": "env:A", "secretKey": "hunter2"}),
        "witness.credentials.secretKey",
        ("found what is no reference",),
    ),
    (
        "S3's secret in the address",
        witness(driver="s3", url="https://me:hunter2@s3.example.org", credentials=KEYS),
        "witness.url",
        ("wanted the address of an object store",),
    ),
    (
        "S3's port",
        witness(driver="s3", url="https://s3.example.org:70000", credentials=KEYS),
        "witness.url",
        ("port 70000 is none",),
    ),
    (
        "S3's bucket",
        witness(driver="s3", url="https://s3.example.org", bucket="No", credentials=KEYS),
        "witness.bucket",
        ("a bucket's name",),
    ),
    ("rpo", put(*SHOP, "rpo", to="1m"), "plans.shop.rpo", ("1m is less than replicate.every, 5m",)),
    (
        "drills in production",
        put("networks", "prod", "drill", to={"bridge": "br-isolated", "more": ["br-prod"]}),
        "networks.prod.drill.more[0]",
        ("br-prod is network prod at east too",),
    ),
    (
        "drills on one wire",
        put("networks", "prod", "drill", to={"bridge": "br-isolated", "more": ["br-2", "br-isolated"]}),
        "networks.prod.drill.more[1]",
        ("br-isolated is listed twice",),
    ),
    (
        "more elsewhere",
        put("networks", "prod", "east", to={"bridge": "br-prod", "more": ["br-2"]}),
        "networks.prod.east.more",
        ("",),
    ),
    (
        "drill's site",
        put(*SHOP, "drill", to={"every": "7d", "site": "wset"}),
        "plans.shop.drill.site",
        ("wset is not a site of this plan", "mean west"),
    ),
    (
        "drill stays",
        put(*SHOP, "drill", to={"every": "7d", "for": "8d"}),
        "plans.shop.drill.for",
        ("8d is not less than every, 7d",),
    ),
    ("drill's point", put(*SHOP, "drill", to={"every": "7d", "point": "best"}), "plans.shop.drill.point", ("newest",)),
    ("drill, how often", put(*SHOP, "drill", to={"site": "west"}), "plans.shop.drill", ("every",)),
    (
        "volume",
        put("vms", "db", "disks", "root", "volume", to="vol-3"),
        "vms.db.disks.root.volume",
        ("no volume vol-3", "mean vol-"),
    ),
    (
        "too small",
        put("vms", "db", "disks", "root", "size", to="64MiB"),
        "volumes.vol-1.size",
        ("68MiB together", "it has 64MiB"),
    ),
    (
        "empty volume",
        put("volumes", "v", to={"size": "4KiB", "home": "east-a"}),
        "volumes.v",
        ("no VM has a disk on it",),
    ),
    ("two plans", second_plan, "volumes.vol-1", ("plans shop (disk root of VM db) and web (disk root of VM web)",)),
    ("VM in two plans", vm_in_two_plans, "plans.web.tiers[0].members[0]", ("web is in plan shop too",)),
    ("VM in no plan", lone_vm, "vms.lone", ("in no plan",)),
    (
        "member",
        put(*SHOP, "tiers", 0, "members", to=["db", "dbx"]),
        "plans.shop.tiers[0].members[1]",
        ("no VM dbx", "mean db?"),
    ),
    (
        "twice in a tier",
        put(*SHOP, "tiers", 0, "members", to=["db", "db"]),
        "plans.shop.tiers[0].members[1]",
        ("already in this tier",),
    ),
    (
        "twice in tiers",
        put(*SHOP, "tiers", 1, "members", to=["app", "db"]),
        "plans.shop.tiers[1].members[1]",
        ("already in tiers[0]",),
    ),
    (
        "after itself",
        put(*SHOP, "tiers", 1, "after", to=["app"]),
        "plans.shop.tiers[1].after[0]",
        ("this same tier", "earlier tiers: db"),
    ),
    (
        "after a later one",
        put(*SHOP, "tiers", 1, "after", to=["web"]),
        "plans.shop.tiers[1].after[0]",
        ("later tier", "wait for each other"),
    ),
    (
        "after nobody",
        put(*SHOP, "tiers", 1, "after", to=["dbb"]),
        "plans.shop.tiers[1].after[0]",
        ("no VM dbb", "mean db?"),
    ),
    (
        "after twice",
        put(*SHOP, "tiers", 1, "after", to=["db", "db"]),
        "plans.shop.tiers[1].after[1]",
        ("listed twice",),
    ),
    ("network", put(*NIC, "network", to="prd"), "vms.db.nics[0].network", ("no network prd", "mean prod?")),
    (
        "no bridge",
        drop("networks", "prod", "west"),
        "networks.prod",
        ("no mapping for west, a recovery site of plan shop",),
    ),
    ("no drill", drop("networks", "prod", "drill"), "networks.prod", ("no mapping for drill",)),
    ("open drill", put("networks", "prod", "drill", to="br-prod"), "networks.prod.drill", ("isolated",)),
    ("bridge's site", put("networks", "prod", "wst", to="br"), "networks.prod.wst", ("no site wst", "mean west?")),
    (
        "families",
        put(*NIC, "address", "west", to="fd00::5/64"),
        "vms.db.nics[0].address",
        ("IPv4 at east and IPv6 at west",),
    ),
    ("address's site", put(*NIC, "address", "wst", to="10.9.0.5/24"), "vms.db.nics[0].address.wst", ("no site wst",)),
    (
        "same address",
        put(*NIC, "address", "east", to="10.1.0.11/16"),
        "vms.db.nics[0].address.east",
        ("VM app, nics[0] too",),
    ),
    (
        "gateway outside",
        put(*NIC, "gateway", to={"east": "10.9.0.1"}),
        "vms.db.nics[0].gateway.east",
        ("outside of 10.1.0.0/16",),
    ),
    ("gateway's family", put(*NIC, "gateway", to={"east": "fd00::1"}), "vms.db.nics[0].gateway.east", ("IPv6", "IPv4")),
    ("own gateway", put(*NIC, "gateway", to={"east": "10.1.0.10"}), "vms.db.nics[0].gateway.east", ("own address",)),
    (
        "one gateway",
        put(*NIC, "gateway", to="10.1.0.1"),
        "vms.db.nics[0].gateway",
        ("outside of 10.2.0.0/16", "by site"),
    ),
    (
        "allowed host",
        put(*SHOP, "hosts", to={"west": ["west-3"]}),
        "plans.shop.hosts.west[0]",
        ("no host west-3", "mean west-"),
    ),
    (
        "host elsewhere",
        put(*SHOP, "hosts", to={"west": ["east-1"]}),
        "plans.shop.hosts.west[0]",
        ("stands at east, not at west",),
    ),
    (
        "host twice",
        put(*SHOP, "hosts", to={"west": ["west-1", "west-1"]}),
        "plans.shop.hosts.west[1]",
        ("listed twice",),
    ),
    (
        "no such site",
        put(*SHOP, "hosts", to={"wst": "any"}),
        "plans.shop.hosts.wst",
        ("not a site of this plan", "mean west?"),
    ),
    ("too large", put("vms", "db", "memory", to="65GiB"), "plans.shop", ("VM db", "fits on none", "64GiB")),
    ("too many", crowd, "plans.shop", ("3 VMs", "do not fit", "hosts of west")),
]


@pytest.mark.parametrize("case", FORM, ids=lambda case: case[0])
def test_form(case: Case) -> None:
    _, change, path, parts = case
    found = problems(topology_document(change=change))
    assert [p for p, _ in found] == [path], found
    assert all(part in found[0][1] for part in parts), found


@pytest.mark.parametrize("case", CROSS, ids=lambda case: case[0])
def test_across(case: Case) -> None:
    _, change, path, parts = case
    found = problems(topology_document(change=change))
    assert [message for p, message in found if p == path and all(part in message for part in parts)], found


def test_malformed_names_are_no_advice() -> None:
    def change(doc: Doc) -> None:
        doc["networks"] = {"pro\ud800": {"east": "br"}}

    found = problems(topology_document(change=change))
    assert ("vms.db.nics[0].network", "there is no network prod; there is none") in found
    for path, message in found:
        (path + message).encode()


def test_same_mac() -> None:
    def change(doc: Doc) -> None:
        doc["vms"]["db"]["nics"][0]["mac"] = "02:00:00:00:00:0A"
        doc["vms"]["web"]["nics"][0]["mac"] = "02-00-00-00-00-0a"

    assert TopologyInvalid.exit_status == 2
    [(path, message)] = problems(topology_document(change=change))
    assert path == "vms.web.nics[0].mac"
    assert "the MAC of VM db, nics[0] too" in message


def test_all_at_once_in_order_and_parts_that_are_well_are_still_checked() -> None:
    def change(doc: Doc) -> None:
        doc["arrays"]["west-a"]["site"] = "wset"
        doc["vms"]["db"]["memory"] = "lots"
        doc["vms"]["app"]["disks"]["root"]["volume"] = "vol-9"
        doc["plans"]["shop"]["rpo"] = "1m"

    paths = [path for path, _ in problems(topology_document(change=change))]
    for path in ("arrays.west-a.site", "vms.db.memory", "vms.app.disks.root.volume", "plans.shop.rpo"):
        assert path in paths
    order = ["arrays", "hosts", "networks", "volumes", "vms", "plans"]
    assert [order.index(path.split(".")[0]) for path in paths] == sorted(order.index(p.split(".")[0]) for p in paths)


def test_lines() -> None:
    text = "version: 1\nname: shop\nname: shop2\nsites:\n  east: {}\n  east: {}\narrays: {a: {site: est}}\nhosts: 5\n"
    with pytest.raises(TopologyInvalid) as caught:
        parse(text, source="t.yaml", base=Path("/base"))
    found = {p.path: (p.line, p.message) for p in caught.value.problems if isinstance(p, PlacedProblem)}
    assert (
        found["name"] == (3, "is given twice, in line 2 and in line 3; leave one of them out") or found["name"][0] == 2
    )
    assert "in line 5 and in line 6" in found["sites.east"][1]
    assert found["arrays.a"][0] == 7
    assert found["hosts"] == (8, "found the number 5; wanted a mapping")
    assert "hosts (line 8): found the number 5; wanted a mapping" in str(caught.value)
