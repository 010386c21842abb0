"""`dr backup`: a point and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Dr
from tests.support.lab import Lab


def test_a_point_now(dr: Dr, tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.write(7)
    at = ("--topology", str(lab.path))
    said = dr("backup", "shop", *at, "--json")
    assert said.status == 0, said
    taken = said.json["plans"]["shop"]
    assert (taken["site"], taken["level"], taken["failures"]) == ("east", "application", [])
    assert {vm: (of["level"], of["mark"]) for vm, of in taken["vms"].items()} == dict.fromkeys(
        ("db", "app", "web"), ("application", 7)
    )
    (point,) = dr("points", "shop", *at, "--json").json["points"]
    assert (point["id"], list(point["sites"])) == (taken["point"], ["east"]), "it is not sent"
    text = dr("backup", "--all", *at)
    assert (text.status, "Plan shop: took recovery point e1-s2-" in text.out) == (0, True)


def test_a_plan_whose_site_is_silent(dr: Dr, tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.lose("site:east")
    said = dr("backup", "--all", "--topology", str(lab.path), "--json")
    assert (said.status, said.json["plans"]["shop"]["point"]) == (1, None)
    assert "nothing was backed up" in said.json["error"]


@pytest.mark.parametrize(
    ("words", "said"),
    [((), "say which PLAN"), (("shop", "--all"), "not both"), (("shpo",), "there is no plan 'shpo'")],
)
def test_wrong_words(dr: Dr, topology: Path, words: tuple[str, ...], said: str) -> None:
    found = dr("--topology", str(topology), "backup", *words)
    assert (found.status, said in found.err) == (2, True)
