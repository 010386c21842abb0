"""`dr history` and `dr schema`, as people and editors meet them."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from tests.cli.conftest import Dr
from tests.support.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "project", source_budget="300ms")


def test_every_move_with_its_word_and_its_loss(lab: Lab, dr: Dr) -> None:
    at = ("--topology", str(lab.path))
    lab.write()
    lab.protect()
    lab.move("west")
    lab.protect()
    lab.lose("site:west")
    lab.move("east", word="2: the hall is flooded")
    said = dr("history", "shop", *at)
    assert said.status == 0
    rows = [line.split() for line in said.out.splitlines() if line.strip()[:1].isdigit()]
    assert [row[0] for row in rows] == ["3", "2", "1"]
    assert "epoch 3, the word: 2: the hall is flooded" in said.out
    assert "lost with" not in said.out
    found = dr("history", "shop", "--json", *at).json
    assert [(e["epoch"], e["kind"], e["from"], e["to"], e["state"]) for e in found["epochs"]] == [
        (3, "disaster", "west", "east", "committed"),
        (2, "planned", "east", "west", "committed"),
        (1, found["epochs"][2]["kind"], None, "east", "committed"),
    ]
    assert (found["activeSite"], found["underWay"], found["epochs"][1]["loss"]["seconds"]) == ("east", None, 0.0)
    assert found["epochs"][0]["loss"]["seconds"] > 0
    assert list(found["silent"]) == ["west-a"]


def test_a_plan_that_was_never_made_has_no_history(tmp_path: Path, dr: Dr) -> None:
    lab = Lab(tmp_path / "project", made=False, source_budget="300ms")
    said = dr("history", "shop", "--topology", str(lab.path))
    assert (said.status, "was never made" in said.out) == (0, True)
    restored = dr("restore", "db", "--point", "x", "--dry-run", "--topology", str(lab.path))
    assert (restored.status, "was never made, so nothing is restored" in restored.err) == (1, True)
    assert "was never made" in dr("points", "shop", "--topology", str(lab.path)).out


def test_an_unknown_plan(lab: Lab, dr: Dr) -> None:
    found = dr("history", "shp", "--topology", str(lab.path))
    assert (found.status, "the plans of topology shop-test: shop" in found.err) == (2, True)


def test_the_schema_is_one_and_a_topology_keeps_it(lab: Lab, dr: Dr) -> None:
    said = dr("schema")
    assert said.status == 0
    found = json.loads(said.out)
    jsonschema.Draft202012Validator.check_schema(found)
    jsonschema.validate(json.loads(lab.path.read_text()), found)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"version": 1}, found)
