"""`dr verify` as a user and a scheduled job meet it: words, exit status, JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Dr
from tests.support.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path / "project", source_budget="300ms")
    made.write()
    made.protect()
    return made


def test_well_and_not_well(lab: Lab, dr: Dr) -> None:
    at = ("--topology", str(lab.path))
    said = dr("verify", "shop", *at)
    assert said.status == 0
    assert "west: well" in said.out
    assert "read in" in said.err

    (point,) = lab.view().points
    lab.bench.corrupt("db", "root", "west", point.id, unnoticed=True)
    said = dr("verify", "shop", "--json", *at)
    assert said.status == 1
    found = said.json
    assert (found["plan"], found["well"], found["points"][0]["id"]) == ("shop", False, point.id)
    assert {site: told["well"] for site, told in found["points"][0]["sites"].items()} == {"east": True, "west": False}
    assert found["findings"] == found["points"][0]["findings"]
    assert found["findings"][0] in found["error"]
    assert f"{point.id} at west" in dr("verify", "shop", "--site", "west", *at).out
    assert "west CORRUPT (" in dr("points", "shop", *at).out
    assert dr("points", "shop", "--json", *at).json["points"][0]["sites"]["west"]["complete"] is False


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "there is no plan 'nowhere'"),
        ([], "say which PLAN"),
        (["shop", "--site", "north"], "there is no site 'north'"),
        (["shop", "--all", "--point", "x"], "exclude each other"),
        (["shop", "--point", "e9-s9-ffffffff"], "there is none of that name"),
    ],
)
def test_words_that_are_wrong(lab: Lab, dr: Dr, words: list[str], said: str) -> None:
    found = dr("verify", *words, "--topology", str(lab.path))
    assert (found.status, said in found.err) == (2, True)


def test_nothing_that_answers_is_no_success(lab: Lab, dr: Dr) -> None:
    lab.lose("site:west")
    found = dr("verify", "shop", "--site", "west", "--topology", str(lab.path))
    assert found.status == 1
    assert "Nothing could be verified" in found.out
