"""`dr whatif` as an operator and a CI gate meet it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Dr
from tests.support.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path / "project", source_budget="300ms")
    made.protect()
    return made


def test_the_matrix_of_all_losses_is_a_gate(lab: Lab, dr: Dr) -> None:
    at = ("--topology", str(lab.path))
    said = dr("whatif", *at)
    assert said.status == 0
    assert "every VM has a way back" in said.out
    row = next(line for line in said.out.splitlines() if line.strip().startswith("site:east"))
    assert row.split()[1:7] == ["shop", "3", "of", "3", "failover", "to"]
    assert "your word" in row

    lab.lose("site:west")
    said = dr("whatif", *at)
    assert said.status == 1
    assert "Silent already" in said.out
    assert "NO WAY BACK" in said.out
    assert "no way back for db, app and web: no copy of plan shop's volumes is left" in said.out
    found = dr("whatif", "--json", *at)
    assert found.status == 1
    assert {each["vm"] for each in found.json["withoutAWayBack"]} == {"db", "app", "web"}
    assert found.json["error"].endswith("app, db, web.")
    assert "array west-a" in found.json["silent"]


def test_a_plan_that_was_never_made_proves_nothing(tmp_path: Path, dr: Dr) -> None:
    lab = Lab(tmp_path / "project", source_budget="300ms", made=False)
    said = dr("whatif", "--topology", str(lab.path))
    assert said.status == 1, "a gate must not be green for it"
    assert said.out.splitlines()[-1].endswith("says nothing yet: shop was never made (dr apply, or pulumi up).")
    assert "has a way back" not in said.out
    assert "host east-1: host east-1" not in said.out
    assert "shop was never made" in dr("whatif", "--json", "--topology", str(lab.path)).json["error"]


def test_one_loss_is_told_in_full_with_the_command_for_it(lab: Lab, dr: Dr) -> None:
    at = ("--topology", str(lab.path))
    said = dr("whatif", "--lose", "site:east", *at)
    assert said.status == 0
    assert 'dr failover shop --to west --force "1: REASON"' in said.out
    assert "recovery point" in said.out
    lab.lose("site:east")
    assert dr("failover", "shop", "--to", "west", "--force", "1: it burns", "--yes", *at).status == 0
    assert dr("whatif", "--lose", "site:east", *at).out.count("goes on at west") == 2, "in its line, and in its warning"


def test_pairs(lab: Lab, dr: Dr) -> None:
    said = dr("whatif", "--pairs", "--json", "--topology", str(lab.path))
    assert said.status == 1
    lost = {tuple(each["lose"]) for each in said.json["withoutAWayBack"]}
    assert lost == {
        ("site:east", "site:west"), ("site:east", "array:west-a"), ("site:west", "array:east-a"), ("array:east-a", "array:west-a"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lose", "sit:east"], "did you mean site?"),
        (["--lose", "site:east", "--pairs"], "no place beside it"),
        (["--lose", "host:east-9"], "has no host 'east-9'; did you mean east-"),
    ],
)
def test_words_that_are_wrong(lab: Lab, dr: Dr, words: list[str], said: str) -> None:
    found = dr("whatif", *words, "--topology", str(lab.path))
    assert (found.status, said in found.err) == (2, True), found.err
