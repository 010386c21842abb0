"""The rows on tiny sizes: what they count and what they write; nothing here is timed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.failover import failover
from bench.report import Row, store
from bench.topology import SMALL, WHOLE, document, tiers
from bench.transfer import transfers
from dr_provider.model.loader import load

SHAPE = {"name", "title", "measured", "reference", "unit", "ratio", "limit", "kept", "facts", "machine"}


def test_the_topology_is_the_one_that_is_promised(tmp_path: Path) -> None:
    (tmp_path / "topology.yaml").write_text(json.dumps(document(WHOLE, latency=True)))
    topology = load(tmp_path / "topology.yaml")
    assert len(topology.vms) == 200
    assert [len(tier) for tier in tiers(WHOLE)] == [67, 67, 66]
    inside = [[d.volume for vm in topology.vms.values() for d in vm.disks].count(v) for v in topology.volumes]
    assert inside == [20] * 10
    for site in ("east", "west"):
        arrays = [array for array in topology.arrays.values() if array.site == site]
        hosts = [host for host in topology.hosts.values() if host.site == site]
        assert (len(arrays), len(hosts)) == (2, 4)
        assert {(array.options["latency"], array.options["width"]) for array in arrays} == {(0.05, 16)}
        assert {(host.options["latency"], host.options["width"]) for host in hosts} == {(0.05, 8)}


def test_failover_counts_its_calls_and_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DR_STATE_HOME", str(tmp_path / "state"))
    row = failover(tmp_path / "lab", SMALL, repeats=1, more=0)
    kinds = row.facts["callsByKind"]
    assert isinstance(kinds, dict)
    assert (kinds["host start"], kinds["host probe"], kinds["host define"]) == (SMALL.vms, SMALL.vms, SMALL.vms)
    assert sum(kinds.values()) == row.facts["calls"]
    calls, needed = row.facts["calls"], row.facts["callsNeeded"]
    assert isinstance(calls, int)
    assert isinstance(needed, int)
    assert calls >= needed, "no run makes do with less than is needed: else the bound is wrong"
    assert row.measured >= row.reference
    document = json.loads(store(row, tmp_path / "out").read_text())
    assert set(document) == SHAPE
    assert document["limit"] == 1.3


def test_an_increment_moves_what_was_changed(tmp_path: Path) -> None:
    rows = transfers(tmp_path, size=1 << 20)
    assert [row.name for row in rows] == ["transfer-1-percent", "transfer-10-percent", "transfer-100-percent"]
    assert all(row.kept for row in rows)
    assert [row.facts["bytesReceived"] for row in rows] == [row.facts["bytesChanged"] for row in rows]


def test_a_row_is_broken_beyond_its_limit() -> None:
    assert Row("a", "a", 1.3, 1.0, "s", limit=1.3).kept
    assert not Row("a", "a", 1.31, 1.0, "s", limit=1.3).kept
    assert Row("a", "a", 9.0, 1.0, "s").kept, "for information"


def test_the_command_writes_each_row_and_knows_its_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--small", "--folder", str(tmp_path), "transfer"]) == 0
    assert {path.name for path in tmp_path.glob("*.json")} == {
        f"transfer-{share}-percent.json" for share in (1, 10, 100)
    }
    assert not (tmp_path / "work").exists()
    assert main(["swiftness"]) == 2
    assert "there is no row 'swiftness'" in capsys.readouterr().err
