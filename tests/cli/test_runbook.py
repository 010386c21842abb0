"""`dr runbook` as a person uses it: with the machines there, with all of them dark, from one array, to a file and in a pipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dr_provider.cli import runbook, templates
from tests.cli.conftest import Dr
from tests.support.lab import Lab

CONTACTS = [{"name": "Ana Miller", "role": "gives the word", "phone": "+1 555 0101"}]


def called(doc: dict[str, Any]) -> None:
    doc["plans"]["shop"]["contacts"] = CONTACTS


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path / "project", source_budget="200ms", vms=2, volumes=1, change=called)
    made.protect()
    return made


def test_where_it_is_and_the_last_points_are_in_it(dr: Dr, lab: Lab) -> None:
    said = dr("runbook", "shop", "--topology", str(lab.path))
    point = lab.status()["recoveryPoint"]["id"]
    assert said.status == 0
    for line in (
        "# Runbook: plan shop, east to west",
        "| active at | **east**, epoch 1, since ",
        f"| last recovery point at west | `{point}`",
        "| Ana Miller | gives the word | +1 555 0101 |",
        'dr failover shop --to west --force "1: REASON"',
        f"dr failover shop --to west --from embedded:{lab.path.parent}/.dr/west-a.db",
        "pulumi config set --path dr:activeSites.shop west",
    ):
        assert line in said.out, line
    assert "Not known" not in said.out
    document = dr("runbook", "shop", "--json", "--topology", str(lab.path)).json
    assert document["now"]["recoveryPoints"]["west"]["id"] == point
    assert [vm["host"] for tier in document["tiers"] for vm in tier["vms"]] == ["west-2", "west-1"]


def test_it_is_written_with_every_site_dark_and_from_the_one_array_that_is_left(dr: Dr, lab: Lab) -> None:
    lab.lose("site:east")
    left = f"embedded:{lab.path.parent}/.dr/west-a.db"
    said = dr("runbook", "shop", "--from", left)
    assert said.status == 0
    assert "| active at | **east**, epoch 1" in said.out
    assert "- array east-a" in said.out
    lab.lose("site:west")
    said = dr("runbook", "shop", "--topology", str(lab.path))
    assert said.status == 0
    assert "Nobody who answered knew it when this was made." in said.out
    assert 'dr failover shop --to west --force "EPOCH: REASON"' in said.out
    for name in ("array east-a", "array west-a", "host west-1"):
        assert f"- {name}" in said.out


@pytest.mark.parametrize(("words", "begins"), [((), "# Runbook"), (("--format", "html"), "<!doctype html>")])
def test_a_file_has_its_shape_from_its_name_or_from_words(
    dr: Dr, topology: Path, tmp_path: Path, words: tuple[str, ...], begins: str
) -> None:
    for name, by_name in (("book.md", "# Runbook"), ("book.html", "<!doctype html>"), ("book", "# Runbook")):
        file = tmp_path / name
        said = dr("runbook", "shop", "--topology", str(topology), "-o", str(file), *words)
        assert said.out == f"{file}: the runbook of plan shop, east to west.\n"
        text = file.read_text(encoding="utf-8").lstrip()
        assert text.startswith(begins if words else by_name)
    piped = dr("runbook", "shop", "--topology", str(topology), *words)
    assert piped.out.lstrip().startswith(begins)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("shop", "--format", "pdf"), "wanted md or html"),
        (("shop", "--to", "wst"), "there is no site 'wst'"),
        (("shp",), "there is no plan 'shp'"),
        (("shop", "-o", "/no/such/folder/book.md"), "cannot be written (No such file or directory)"),
    ],
)
def test_wrong_words(dr: Dr, topology: Path, words: tuple[str, ...], said: str) -> None:
    found = dr("runbook", *words, "--topology", str(topology))
    assert (found.status, found.out) == (2, "")
    assert said in found.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# {{ book.plan }}\n{{ book.no_such.thing }}\n", "line 2: 'dict object' has no attribute 'no_such'"),
        ("# {{ book.plan }}\n\n{% if %}\n", "line 3: Expected an expression"),
    ],
)
def test_a_template_that_fails_says_file_and_line(
    dr: Dr, topology: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    file = tmp_path / "templates" / "runbook" / "runbook.md.j2"
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    monkeypatch.setattr(templates, "TEMPLATES", tmp_path / "templates")
    runbook._templates.cache_clear()
    found = dr("runbook", "shop", "--topology", str(topology))
    runbook._templates.cache_clear()
    assert (found.status, found.out) == (1, "")
    assert f"template {file}, {said}" in found.err
