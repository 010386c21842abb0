"""Topologies of real components: their keys, and what must belong together."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model.codec import canonical
from dr_provider.model.errors import TopologyInvalid
from dr_provider.model.loader import parse

REAL: dict[str, Any] = {
    "version": 1,
    "name": "shop",
    "sites": {"east": {}, "west": {}},
    "arrays": {
        name: {
            "site": site,
            "driver": "zfs",
            "endpoints": [f"ssh://root@10.0.{n}.10", f"ssh://10.0.{n}.11:2222"],
            "pool": "tank",
            "ssh": {"identity": "keys/id", "knownHosts": "/etc/known"},
            "luns": {"portal": f"10.0.{n}.10", "chap": {"user": "dr", "password": "env:DR_CHAP"}},
            "rate": "50MiB",
            "recordSize": "16KiB",
        }
        for n, (name, site) in enumerate((("east-a", "east"), ("west-a", "west")), 1)
    },
    "hosts": {
        name: {"site": site, "driver": "libvirt", "uri": f"qemu+ssh://root@{name}/system"}
        for name, site in (("east-1", "east"), ("west-1", "west"))
    },
    "networks": {"prod": {"east": "br-prod", "west": "br-prod", "drill": "br-drill"}},
    "volumes": {"shop": {"size": "1GiB", "home": "east-a", "copies": ["west-a"]}},
    "vms": {"db": {"cpus": 1, "memory": "1GiB", "disks": {"root": {"volume": "shop", "size": "1GiB"}}}},
    "plans": {
        "shop": {
            "sites": ["east", "west"],
            "tiers": [{"members": ["db"]}],
            "backup": {"every": "15m"},
            "replicate": {"every": "5m"},
        }
    },
}


def _put(*path: str, to: object) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        at = document
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = to

    return change


def _drop(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        at = document
        for key in path[:-1]:
            at = at[key]
        del at[path[-1]]

    return change


EMBEDDED_HOST = {"site": "west", "driver": "embedded", "path": "west-1.db", "cpus": 4, "memory": "8GiB"}
EMBEDDED_ARRAY = {"site": "west", "driver": "embedded", "path": "west-a.db"}


def test_a_topology_of_zfs_and_libvirt_is_read_and_read_again_from_its_stored_text() -> None:
    topology = parse(canonical(REAL), source="test", base=Path("/etc/dr"))
    array = topology.arrays["east-a"].options
    assert array["ssh"] == {"identity": "/etc/dr/keys/id", "knownHosts": "/etc/known"}
    assert (array["rate"], array["recordSize"], array["dataset"], array["transfer"]) == (50 << 20, 16384, "dr", "auto")
    assert topology.hosts["east-1"].options["machine"] == "q35"
    assert parse(topology.text, source="stored", base=Path("/elsewhere")) == topology


WRONG: dict[str, tuple[Callable[[dict[str, Any]], None], str, str]] = {
    "endpoint": (
        _put("arrays", "east-a", "endpoints", to=["root@10.0.1.10"]),
        "arrays.east-a.endpoints[0]",
        "ssh://root@10.0.2.10",
    ),
    "endpoint with a space": (
        _put("arrays", "east-a", "endpoints", to=["ssh://-oProxyCommand=x"]),
        "arrays.east-a.endpoints[0]",
        "SSH address",
    ),
    "port": (_put("arrays", "east-a", "endpoints", to=["ssh://a:70000"]), "arrays.east-a.endpoints[0]", "1 to 65535"),
    "no endpoints": (_put("arrays", "east-a", "endpoints", to=[]), "arrays.east-a.endpoints", "at least one"),
    "pool": (_put("arrays", "east-a", "pool", to="tank; reboot"), "arrays.east-a.pool", "ZFS pool"),
    "no portal": (_drop("arrays", "east-a", "luns", "portal"), "arrays.east-a.luns", "portal is missing"),
    "portal": (
        _put("arrays", "east-a", "luns", "portal", to="10.0.1.10:x"),
        "arrays.east-a.luns.portal",
        "iSCSI portal",
    ),
    "service": (_put("arrays", "east-a", "luns", "service", to="scst"), "arrays.east-a.luns.service", "tgt or lio"),
    "a password instead of a reference": (
        _put("arrays", "east-a", "luns", "chap", "password", to="hunter2hunter2"),
        "arrays.east-a.luns.chap.password",
        "never the secret itself",
    ),
    "record size": (_put("arrays", "east-a", "recordSize", to="5KiB"), "arrays.east-a.recordSize", "wanted 4KiB"),
    "unknown key": (_put("arrays", "east-a", "path", to="x"), "arrays.east-a.path", "zfs array"),
    "uri": (_put("hosts", "east-1", "uri", to="east-1"), "hosts.east-1.uri", "libvirt URI"),
    "initiator": (_put("hosts", "east-1", "initiator", to="east-1"), "hosts.east-1.initiator", "iSCSI name"),
    "one pool under two names": (
        _put("arrays", "west-a", "endpoints", to=["ssh://other@10.0.1.10:22"]),
        "arrays.west-a.endpoints",
        "array east-a has the same dataset",
    ),
    "one daemon under two names": (
        _put("hosts", "west-1", "uri", to="qemu+ssh://root@east-1/system"),
        "hosts.west-1.uri",
        "host east-1 has the same libvirt daemon",
    ),
    "unlike arrays": (_put("arrays", "west-a", to=EMBEDDED_ARRAY), "volumes.shop.copies[0]", "name a zfs array"),
    "unlike host": (_put("hosts", "west-1", to=EMBEDDED_HOST), "hosts.west-1.driver", "libvirt with zfs"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_at_its_place(name: str) -> None:
    change, path, sentence = WRONG[name]
    document = copy.deepcopy(REAL)
    change(document)
    with pytest.raises(TopologyInvalid) as found:
        parse(canonical(document), source="test", base=Path("/etc/dr"))
    said = {problem.path: problem.message for problem in found.value.problems}
    assert path in said
    assert sentence in said[path]
    assert "hunter2" not in str(found.value)
