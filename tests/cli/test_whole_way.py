"""The whole way over embedded drivers, by nothing but `dr`, each command a process's worth of its own."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
import pexpect
import pytest

from tests.cli.conftest import Dr
from tests.cli.fakes import LINE
from tests.support.topologies import write_topology

ROOT = Path(__file__).parents[2]
NULLABLE = {"type": ["string", "null"]}
STATUS = {
    "type": "object",
    "required": ["plans"],
    "properties": {
        "plans": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": [
                    "activeSite",
                    "epoch",
                    "phase",
                    "protected",
                    "degraded",
                    "recoveryPoint",
                    "vms",
                    "mirrors",
                ],
                "properties": {
                    "activeSite": NULLABLE,
                    "epoch": {"type": "integer"},
                    "phase": {"enum": ["steady", "claimed", "moving", "committed", "degraded", "split"]},
                    "protected": {"type": "boolean"},
                    "degraded": {"type": "array", "items": {"type": "string"}},
                    "recoveryPoint": {
                        "type": ["object", "null"],
                        "required": ["id", "time"],
                        "properties": {"id": {"type": "string"}, "time": {"type": "string"}},
                    },
                    "vms": {
                        "type": "object",
                        "additionalProperties": {
                            "type": "object",
                            "required": ["site", "host", "state"],
                            "properties": {
                                "site": NULLABLE,
                                "host": NULLABLE,
                                "state": {"enum": ["running", "off", "failed", "unknown"]},
                            },
                        },
                    },
                    "mirrors": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["volume", "from", "to", "state", "lagSeconds"],
                            "properties": {
                                "volume": {"type": "string"},
                                "from": NULLABLE,
                                "to": NULLABLE,
                                "state": {
                                    "enum": ["synced", "lagging", "syncing", "broken", "split", "unreachable", "none"]
                                },
                                "lagSeconds": {"type": ["number", "null"]},
                            },
                        },
                    },
                },
            },
        }
    },
}
DECISION = {
    "type": "object",
    "required": ["plan", "kind", "from", "to", "point", "loss", "actions", "refused"],
    "properties": {
        "loss": {
            "type": "object",
            "required": ["seconds", "statement"],
            "properties": {"seconds": {"type": ["number", "null"]}, "statement": {"type": "string"}},
        },
        "actions": {"type": "array", "items": {"type": "object", "required": ["id", "sentence"]}},
        "refused": {"type": "array", "items": {"type": "string"}},
    },
}


class Way:
    def __init__(self, dr: Dr, file: Path) -> None:
        self.dr, self.file = dr, file

    def well(self, *words: str) -> Any:
        said = self.dr(*words, "--json", "--topology", str(self.file))
        assert said.status == 0, (words, said)
        return said.json

    def status(self) -> Any:
        document = self.well("status")
        jsonschema.validate(document, STATUS)
        return document["plans"]["shop"]


@pytest.fixture
def way(dr: Dr, topology: Path) -> Way:
    return Way(dr, topology)


def test_from_nothing_to_failback(way: Way, tmp_path: Path) -> None:
    assert way.status()["activeSite"] is None
    made = way.well("apply")
    assert made["failures"] == []
    assert way.well("apply") == made
    status = way.status()
    assert (status["activeSite"], status["epoch"], status["phase"], status["protected"]) == ("east", 1, "steady", False)

    way.well("sim", "write", "db", "--count", "20")
    protected = way.well("protect", "--now")["plans"]["shop"]
    assert protected["level"] == "application"
    assert way.status()["protected"] is True
    assert way.well("points", "shop")["newest"] == {"east": protected["point"], "west": protected["point"]}
    sealed = way.well("sim", "ledger", "db")["last"]
    way.well("sim", "write", "db", "--count", "16")

    way.well("sim", "lose", "site:east")
    assert {vm["state"] for vm in way.status()["vms"].values()} == {"unknown"}
    move = ("failover", "shop", "--to", "west", "--yes")
    refused = way.dr(*move, "--json", "--topology", str(way.file))
    assert refused.status == 1
    jsonschema.validate(refused.json, DECISION)
    assert LINE in refused.json["refused"][-1]
    assert way.status()["epoch"] == 1

    word = LINE.partition(" ")[2].strip('"').replace("<reason>", "power lost at east")
    moved = way.well(*move, "--force", word)
    jsonschema.validate(moved, DECISION)
    jsonschema.validate({"plans": {"shop": moved["status"]}}, STATUS)
    assert (moved["kind"], moved["point"], moved["failures"]) == ("disaster", protected["point"], [])
    assert moved["loss"]["seconds"] > 0
    status = way.status()
    assert (status["activeSite"], status["epoch"], status["phase"]) == ("west", 2, "steady")
    assert {vm["state"] for vm in status["vms"].values()} == {"running"}
    assert way.well("sim", "ledger", "db")["last"] == sealed
    assert way.well(*move)["actions"] == []

    way.well("sim", "heal", "site:east")
    way.well("protect")
    assert way.status()["protected"] is True
    copies = way.well("safety", "list")["copies"]
    assert copies
    copy = next(c for c in copies if "db.root" in c["luns"])
    exported = tmp_path / "lost.img"
    assert way.well("safety", "export", copy["name"], "db.root", str(exported))["bytes"] == exported.stat().st_size
    again = way.dr("safety", "export", copy["name"], "db.root", str(exported), "--topology", str(way.file))
    assert again.status == 2
    way.well("safety", "drop", copy["name"], "--yes")
    assert copy["name"] not in [c["name"] for c in way.well("safety", "list")["copies"]]

    way.well("sim", "write", "db", "--count", "3")
    back = way.well("failback", "shop", "--yes")
    assert (back["kind"], back["loss"]["seconds"]) == ("planned", 0.0)
    status = way.status()
    assert (status["activeSite"], status["epoch"], status["protected"]) == ("east", 3, True)
    assert way.well("sim", "ledger", "db")["last"] == sealed + 3
    assert way.dr("abort", "shop", "--topology", str(way.file)).status == 1


def test_from_one_surviving_array(way: Way) -> None:
    way.well("apply")
    way.well("protect", "--now")
    way.well("sim", "lose", "site:east")
    way.file.rename(way.file.with_suffix(".gone"))
    address = f"embedded:{way.file.parent / '.dr' / 'west-a.db'}"
    said = way.dr("failover", "shop", "--to", "west", "--yes", "--force", "1: fire", "--from", address, "--json")
    assert said.status == 0, said
    assert said.json["status"]["activeSite"] == "west"
    assert way.dr("status", "--from", address).out.startswith("shop: active at west since epoch 2")


def test_from_an_array_that_was_moved(way: Way, tmp_path: Path) -> None:
    way.well("apply")
    way.well("protect", "--now")
    way.well("sim", "lose", "site:east")
    way.file.rename(way.file.with_suffix(".gone"))
    # Its own address counts, not the path that was stored when it was still in its place.
    moved = tmp_path / "elsewhere" / "copy.db"
    moved.parent.mkdir()
    for suffix in ("", "-wal", "-shm"):
        part = way.file.parent / ".dr" / f"west-a.db{suffix}"
        if part.exists():
            part.rename(moved.with_name(moved.name + suffix))
    address = f"embedded:{moved}"
    said = way.dr("failover", "shop", "--to", "west", "--yes", "--force", "1: fire", "--from", address, "--json")
    assert said.status == 0, said
    assert {vm["state"] for vm in said.json["status"]["vms"].values()} == {"running"}
    assert way.dr("status", "--from", address).out.startswith("shop: active at west since epoch 2")
    assert not (way.file.parent / ".dr" / "west-a.db").exists()


def test_plans_that_share_no_array(dr: Dr, tmp_path: Path) -> None:
    def apart(document: dict[str, Any]) -> None:
        for site in ("east", "west"):
            document["arrays"][f"{site}-b"] = {"site": site, "driver": "embedded", "path": f".dr/{site}-b.db"}
        document["volumes"]["files"] = {"size": "16MiB", "home": "east-b", "copies": ["west-b"]}
        document["vms"]["nas"] = {
            "cpus": 1, "memory": "64MiB", "disks": {"root": {"volume": "files", "size": "4MiB"}},
        }  # fmt: skip
        document["plans"]["files"] = {**document["plans"]["shop"], "tiers": [{"members": ["nas"]}]}

    way = Way(dr, write_topology(tmp_path / "apart", change=apart))
    assert way.well("apply")["failures"] == []
    way.well("protect", "--now")
    way.well("failover", "--all", "--to", "west", "--yes")
    # A changed topology is stored on the arrays of each plan under that plan's lease.
    write_topology(tmp_path / "apart", change=apart, memory="128MiB")
    for plan in ("shop", "files"):
        way.well("failover", plan, "--to", "east", "--yes")
        assert way.well("failover", plan, "--to", "east", "--yes")["actions"] == []
        assert dr("status", "--json", "--topology", str(way.file)).json["plans"][plan]["protected"] is True
    stored = dr(
        "validate", "--from", f"embedded:{tmp_path / 'apart' / '.dr' / 'east-b.db'}", "--topology", str(way.file)
    )
    assert "differs" not in stored.err


@pytest.mark.parametrize("moves", [("west",), ("west", "east")])
def test_an_array_that_comes_back_as_it_was_before_a_move_is_not_ready(
    moves: tuple[str, ...], way: Way, tmp_path: Path
) -> None:
    way.well("apply")
    way.well("protect", "--now")
    array, old = way.file.parent / ".dr" / "east-a.db", tmp_path / "old.db"
    with closing(sqlite3.connect(array)) as now, closing(sqlite3.connect(old)) as then:
        now.backup(then)
    for site in moves:
        way.well("failover", "shop", "--to", site, "--yes")
    for suffix in ("-wal", "-shm"):
        array.with_name(array.name + suffix).unlink(missing_ok=True)
    old.replace(array)
    status = way.well("status")
    assert "restored from an old backup" in status["silent"]["east-a"]
    assert status["plans"]["shop"]["activeSite"] == moves[-1]
    assert status["plans"]["shop"]["protected"] is (moves[-1] == "east")
    if moves[-1] == "west":
        refused = way.dr("failover", "shop", "--to", "east", "--yes", "--json", "--topology", str(way.file))
        assert refused.status == 1
        assert "restored from an old backup" in refused.json["refused"][0]


def test_every_text_is_written_for_people(way: Way) -> None:
    at = ("--topology", str(way.file))
    for words, expected in {
        ("apply",): "is made",
        ("protect", "--now"): "took recovery point e1-s1-",
        ("points", "shop"): "e1-s1-",
        ("status",): "shop: active at east since epoch 1, steady, protected",
        ("safety", "list"): "There is no safety copy.",
        ("failover", "shop", "--to", "west", "--dry-run"): "a planned move, east -> west",
        ("failover", "shop", "--to", "west", "--yes"): "Plan shop is active at west, epoch 2 (steady, protected).",
        ("failover", "--all", "--to", "west", "--yes"): "No plan is active at another site; nothing to do.",
    }.items():
        said = way.dr(*words, *at)
        assert said.status == 0, said
        assert expected in said.out


def process(file: Path, *words: str) -> list[str]:
    return [sys.executable, "-c", "from dr_provider.cli.main import main; main()", "--topology", str(file), *words]


def test_the_watch_ends_cleanly(way: Way) -> None:
    way.well("apply")
    for number in (signal.SIGTERM, signal.SIGINT):
        watch = subprocess.Popen(process(way.file, "protect", "--watch"), cwd=ROOT, stderr=subprocess.PIPE, text=True)
        assert watch.stderr is not None
        line = watch.stderr.readline()
        while "next at" not in line:
            assert line, "the watch ended"
            line = watch.stderr.readline()
        watch.send_signal(number)
        _, rest = watch.communicate(timeout=20)
        assert watch.returncode == 0
        assert "ended as asked" in rest
        assert "Traceback" not in rest
    assert way.status()["protected"] is True


def test_ctrl_c_in_a_real_move(dr: Dr, tmp_path: Path) -> None:
    way = Way(dr, write_topology(tmp_path / "slow", source_budget="5s"))
    way.well("apply")
    # Slow enough that the key comes long before the commit.
    for array in ("array:east-a", "array:west-a"):
        way.well("sim", "slow", array, "150ms")
    words = process(way.file, "failover", "shop", "--to", "west", "--yes")
    child = pexpect.spawn(
        words[0], words[1:], use_poll=True, cwd=str(ROOT), encoding="utf-8", timeout=60, dimensions=(50, 80)
    )
    child.expect(r"claim\s2/2")  # of the picture that a terminal gets
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 1
    said = " ".join((child.before or "").split())
    assert "stopped at a safe action" in said
    assert "Plan shop is active at east, epoch 1" in said
    assert "Traceback" not in said
    # The lease is free again, and the next run finishes.
    for array in ("array:east-a", "array:west-a"):
        way.well("sim", "heal", array)
    assert way.well("failover", "shop", "--to", "west", "--yes")["status"]["activeSite"] == "west"


def test_the_exit_status_of_a_process(topology: Path) -> None:
    environment = {**os.environ, "DR_TOPOLOGY": str(topology)}
    for words, status in {("status", "--json"): 0, ("failover", "nope"): 2, ("protect",): 1}.items():
        command = [sys.executable, "-c", "from dr_provider.cli.main import main; main()", *words, "--json"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == status, done
        json.loads(done.stdout)


def test_a_closed_pipe_is_no_error(topology: Path) -> None:
    command = " ".join(f"'{word}'" for word in process(topology, "status", "--json")) + " | true"
    done = subprocess.run(["/bin/sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    time.sleep(0.1)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
