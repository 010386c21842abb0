"""Good topologies: what the loader makes of them; the schema itself; and that no text whatever breaks the loader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from dr_provider.model.errors import BadInput
from dr_provider.model.loader import load, parse
from dr_provider.model.schema import PARSERS, schema
from dr_provider.model.topology import CopySpec, DrillSpec, HealthSpec, Keep, TierSpec
from dr_provider.model.units import delay, duration, format_duration, format_size, size
from tests.support.topologies import topology_document, write_topology

BASE = Path("/base")
SHOP = """\
version: 1
name: shop-prod
sites: {no: , west: {}}                      # a name, not a boolean
arrays:
  east-a: {site: no, driver: embedded, path: .dr/east-a.db, capacity: 1TiB, latency: 5ms, width: 4}
  west-a: {site: west, driver: embedded, path: /srv/west-a.db}
hosts:
  east-1: &host {site: no, driver: embedded, cluster: blue, path: .dr/east-1.db, cpus: 16, memory: 64GiB}
  west-1: {<<: *host, site: west, path: .dr/west-1.db}
networks:
  prod: {no: br-prod, west: br-prod, drill: br-isolated}
volumes:
  shop: {size: 20GiB, home: east-a, copies: [{array: west-a}], deleteData: true}
vms:
  db:
    cpus: 4
    memory: 8GiB
    disks: {root: {volume: shop, size: 8GiB, image: db.img}, data: {volume: shop, size: 4KiB}}
    nics:
      - {network: prod, address: {no: 10.0.1.5/24, west: 10.0.2.5/24}, gateway: {no: 10.0.1.1}, dns: 10.0.0.2}
      - {network: prod, mac: "02:00:00:00:00:AA", gateway: 10.0.9.1, dns: {west: [10.0.0.2, 10.0.0.3]}}
    health: {tcp: 5432}
    startDelay: 500ms
  app: {cpus: 1, memory: 512MiB, disks: {root: {volume: shop, size: 1GiB}}, health: {agent: true, within: 30s}}
plans:
  shop:
    sites: [no, west]
    tiers: [{members: [db], onFailure: retry}, {members: [app], after: [db]}]
    backup: {every: 15m, consistency: application, keep: {last: 4, daily: 7}}
    replicate: {every: 5m}
    rpo: 10m
    rto: 1h
    hosts: {west: [west-1], no: any}
    lastTransfer: 1d
    drill: {every: 7d, site: west, for: 30m, point: oldest}
"""


def test_all_keys() -> None:
    topology = parse(SHOP, source="shop.yaml", base=BASE)
    assert topology.sites == ("no", "west")
    assert topology.source_budget == 10
    assert topology.arrays["east-a"].options == {
        "path": "/base/.dr/east-a.db",
        "capacity": 1 << 40,
        "latency": 0.005,
        "width": 4,
        "nodes": 1,
    }
    assert topology.arrays["west-a"].options["path"] == "/srv/west-a.db"
    west = topology.hosts["west-1"]
    assert (west.site, west.cluster) == ("west", "blue")
    assert west.options == {"path": "/base/.dr/west-1.db", "cpus": 16, "memory": 64 << 30, "latency": 0.0, "width": 8}
    assert topology.networks["prod"].drill == "br-isolated"
    volume = topology.volumes["shop"]
    assert (volume.size, volume.copies, volume.delete_data) == (20 << 30, (CopySpec("west-a"),), True)
    db = topology.vms["db"]
    assert [(disk.role, disk.size, disk.image) for disk in db.disks] == [
        ("data", 4096, None),
        ("root", 8 << 30, "/base/db.img"),
    ]
    assert db.health == HealthSpec(5432, False, 120)
    assert db.start_delay == 0.5
    first, second = db.nics
    assert first.mac.startswith("02:")
    assert (first.gateway, first.dns) == ({"no": "10.0.1.1"}, {"": ("10.0.0.2",)})
    assert (second.mac, second.gateway, second.dns) == (
        "02:00:00:00:00:aa",
        {"": "10.0.9.1"},
        {"west": ("10.0.0.2", "10.0.0.3")},
    )
    assert topology.vms["app"].health == HealthSpec(None, True, 30)
    plan = topology.plans["shop"]
    assert plan.tiers == (TierSpec(("db",), None, "retry"), TierSpec(("app",), ("db",), "wait"))
    assert plan.backup.keep == Keep(last=4, daily=7)
    assert (plan.replicate_every, plan.rpo, plan.rto, plan.last_transfer) == (300, 600, 3600, 86400)
    assert plan.hosts == {"west": ("west-1",)}
    assert (plan.fencing, plan.restart, plan.commit_window) == ("operator", "none", None)
    assert plan.drill == DrillSpec(7 * 86400.0, "west", 1800.0, "oldest")


def test_text_gives_an_equal_topology_from_anywhere() -> None:
    topology = parse(SHOP, source="shop.yaml", base=BASE)
    assert parse(topology.text, source="stored", base=Path("/elsewhere")) == topology
    assert json.dumps(json.loads(topology.text), sort_keys=True, separators=(",", ":")) == topology.text


def test_derived_macs_stay() -> None:
    assert parse(SHOP, source="shop.yaml", base=BASE).vms["db"].nics[0].mac == "02:f0:ce:3f:3c:48"


def test_file(tmp_path: Path) -> None:
    topology = load(write_topology(tmp_path))
    assert topology.arrays["east-a"].options["path"] == str(tmp_path / ".dr" / "east-a.db")
    assert topology.plan_arrays("shop") == ("east-a", "west-a")
    assert topology.source_budget == 1


@pytest.mark.parametrize("vms", [1, 2, 3, 4, 6, 200])
def test_factory(vms: int) -> None:
    text = json.dumps(topology_document(vms=vms, volumes=3, volume_size="1GiB", latency="50ms", width=16, host_width=8))
    topology = parse(text, source="t", base=BASE)
    assert len(topology.plans["shop"].members) == len(topology.vms) == vms


def test_relative_base(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_topology(tmp_path / "stacks")
    monkeypatch.chdir(tmp_path)
    assert load(Path("stacks/topology.yaml")).arrays["east-a"].options["path"] == str(tmp_path / "stacks/.dr/east-a.db")


# -- the schema ---------------------------------------------------------------------------------


def test_schema_is_valid() -> None:
    Draft202012Validator.check_schema(schema())


def test_every_key_has_a_description() -> None:
    for path, key in _keys(schema(), "schema"):
        assert key.get("description"), path


def test_plain_validators_accept_what_we_accept() -> None:
    """Editors know neither our parsers nor our pattern: the schema by itself accepts the same good documents."""
    validator = Draft202012Validator(schema())
    validator.validate(topology_document())
    assert not validator.is_valid(topology_document(change=lambda doc: doc["vms"]["db"].update(memory="1.5GiB")))


def test_parsers_are_used() -> None:
    titles = {definition.get("title") for definition in schema()["$defs"].values()}
    assert set(PARSERS) <= titles


def _keys(part: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(part, dict):
        for name, value in part.items():
            if name == "properties" and isinstance(value, dict):
                for key, inner in value.items():
                    if path.endswith("if"):
                        continue
                    yield f"{path}.{key}", inner
            yield from _keys(value, f"{path}.{name}")
    elif isinstance(part, list):
        for item in part:
            yield from _keys(item, path)


# -- units --------------------------------------------------------------------------------------


@given(st.integers(1, 1 << 30))
def test_sizes_round_trip(kib: int) -> None:
    assert size(format_size(kib * 1024)) == kib * 1024


@given(st.integers(1, 10**9))
def test_durations_round_trip(thousandths: int) -> None:
    seconds = thousandths / 1000
    assert duration(format_duration(seconds)) == pytest.approx(seconds)
    assert delay("0s") == 0


# -- anything at all ----------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["east", "db", "64MiB", "5m"]),
)
JUNK = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


def attempt(text: str) -> None:
    try:
        topology = parse(text, source="t", base=BASE)
    except BadInput as error:
        str(error).encode()
    else:
        assert parse(topology.text, source="t", base=BASE) == topology


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.text(alphabet=st.characters(codec="utf-8"), max_size=60)
    | st.text(alphabet="ab:-[]{}&*!<>|?#%'\"\n\t ,1.", max_size=60)
)
def test_any_text(text: str) -> None:
    attempt(text)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_any_value_in_any_place(data: st.DataObject) -> None:
    document = topology_document()
    places = list(_places(document))
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(places))
        value = data.draw(JUNK)
        if isinstance(holder, list):
            if key < len(holder):
                holder[key] = value
        elif data.draw(st.booleans()):
            holder[key] = value
        else:
            holder[data.draw(st.text(max_size=6))] = value
    attempt(json.dumps(document))


def _places(part: Any) -> Iterator[tuple[Any, Any]]:
    items = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for key, value in items:
        yield part, key
        yield from _places(value)


def test_the_example_of_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "topology.md").read_text(encoding="utf-8")
    example = text.split("## A whole example")[1].split("```yaml\n")[1].split("```")[0]
    assert parse(example, source="docs/topology.md", base=BASE).plans["shop"].members == ("db", "app")


def test_the_documentation_names_every_key() -> None:
    text = (Path(__file__).parents[2] / "docs" / "topology.md").read_text(encoding="utf-8")
    keys = {path.rsplit(".", 1)[1] for path, _ in _keys(schema(), "schema")}
    assert {key for key in keys if key not in text} == set()


@pytest.mark.parametrize(
    ("keys", "options", "place"),
    [
        ({"driver": "embedded", "path": "w.db"}, {"path": "/base/w.db"}, "embedded /base/w.db"),
        ({"driver": "array", "array": "south-a"}, {"array": "south-a"}, "array south-a"),
        (
            {"driver": "s3", "url": "https://s3.example.org:9000/", "credentials": {"accessKey": "env:A", "secretKey": "file:/k"}},
            {"bucket": "dr-witness", "region": "us-east-1", "url": "https://s3.example.org:9000/",
             "credentials": {"accessKey": "env:A", "secretKey": "file:/k"}},
            "s3 https://s3.example.org:9000/ dr-witness",
        ),
    ],
)  # fmt: skip
def test_a_witness(keys: dict[str, Any], options: dict[str, Any], place: str) -> None:
    def change(doc: dict[str, Any]) -> None:
        doc["sites"]["south"] = {}
        doc["arrays"]["south-a"] = {"site": "south", "driver": "embedded", "path": ".dr/south-a.db"}
        doc["witness"] = keys

    text = json.dumps(topology_document(plan={"fencing": "witness"}, change=change))
    topology = parse(text, source="t.yaml", base=BASE)
    assert topology.witness is not None
    assert (topology.witness.driver, topology.witness.options, topology.witness.place) == (
        keys["driver"],
        options,
        place,
    )
    assert parse(topology.text, source="stored", base=Path("/elsewhere")) == topology
    assert parse(json.dumps(topology_document()), source="t.yaml", base=BASE).witness is None
