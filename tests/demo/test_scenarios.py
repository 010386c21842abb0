"""Scenario files: all of those that are in the project come true on embedded sites, a false fact ends badly, and faults of form have a place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from demo import folder, scenario
from demo.deeds import DEEDS
from demo.truths import QUANTITIES, TRUTHS
from dr_provider.model.errors import BadInput
from tests.demo.playing import played

FILES = sorted((folder.ROOT / "scenarios").glob("*.yaml"))


def _parse(text: str) -> scenario.Scenario:
    return scenario.parse(text, source="some.yaml", name="some")


def test_there_are_scenarios() -> None:
    assert {"readme", "planned"} <= {file.stem for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_comes_true_on_embedded_sites(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, account = played(scenario.load(file), tmp_path / "demo")
    assert status == 0, capsys.readouterr().out
    assert account.well
    assert account.facts >= 8


HEAD = """
version: 1
title: nothing is lost
plan: shop
steps:
"""
MADE = f"""{HEAD}
  - title: made
    do: [{{declare: {{at: east}}}}, up, {{write: {{each: 3}}}}, protect]
    facts: [taken]
"""
NEVER = "  - title: never\n    facts: [settled]\n"


UNTRUE = {
    "run: {at: west}": "db: running at east instead of running at west",
    "active: {at: east, epoch: 2}": "'the last up': ('east', 1)",
    "mirrored: {from: west, to: east}": "data: ('east', 'west', '') instead of ('west', 'east', '')",
    "unprotected": "found: protected",
    "level: {is: crash}": "found: application",
    "whole: {at: nowhere}": "'west': 'e1-s1-",
    "silent: {sites: [west]}": "found: nobody",
    "ended: {guests: 6}": "found: []",
    "ahead": "found: {'db': 0",
}


def test_a_fact_that_is_not_true_ends_badly_and_is_named(tmp_path: Path) -> None:
    steps = "".join(f"  - title: {json.dumps(fact)}\n    facts:\n      - {fact}\n" for fact in UNTRUE)
    # The seal's entry is not what is on the disks once more was written out, and what is in memory is not on them.
    more = "  - {title: more, do: [{write: {each: 9}}], facts: [{ledgers: {end-at: seal}}, {ledgers: {end-at: last-entry}}]}"
    status, account = played(_parse(MADE + steps + more), tmp_path / "demo")
    assert status == 1
    found = [(step.title, str(fact)) for step, fact in account.false]
    assert [title for title, _ in found] == [*UNTRUE, "more", "more"]
    for (_, said), wanted in zip(
        found, [*UNTRUE.values(), "app-1: 11 instead of 3", "app-1: 11 instead of 12"], strict=True
    ):
        assert wanted in said
    assert "11 of 14 facts are NOT true." in account.verdict()


@pytest.mark.parametrize(
    ("deed", "why"),
    [
        ("word: {reason: a reason}", "no refusal has named the line to add"),
        ("drill: {at: west}", "needs the engine"),
        ("lose: {site: north}", "target 'site:north': wanted one of"),
    ],
)
def test_what_cannot_be_done_ends_it(deed: str, why: str, tmp_path: Path) -> None:
    status, account = played(_parse(f"{HEAD}  - title: impossible\n    do: [{{{deed}}}]\n{NEVER}"), tmp_path / "demo")
    assert status == 1
    assert why in account.broken
    assert [step.title for step in account.steps] == ["impossible"]


@pytest.mark.parametrize(
    ("deed", "why"),
    [
        ("protect: {failing: true}", "it had to say that a copy is out of reach"),
        ("up: {refused: true}", "dr failover ended well, and it had to be refused"),
    ],
)
def test_what_had_to_fail_and_did_not_ends_it(deed: str, why: str, tmp_path: Path) -> None:
    status, account = played(_parse(f"{MADE}  - title: impossible\n    do: [{{{deed}}}]\n{NEVER}"), tmp_path / "demo")
    assert status == 1
    assert why in account.broken
    assert [step.title for step in account.steps] == ["made", "impossible"]


# -- form -------------------------------------------------------------------------------------------


def test_every_word_of_the_schema_is_done_by_one_function() -> None:
    step = scenario.schema()["properties"]["steps"]["items"]["properties"]
    assert set(step["do"]["items"]["properties"]) == set(DEEDS)
    assert set(step["facts"]["items"]["properties"]) == set(TRUTHS)
    assert set(step["numbers"]["additionalProperties"]["items"]["enum"]) == set(QUANTITIES)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title: t\nplan: shop\nsteps: [{title: t}]", "wanted version in it"),
        ("version: 2\ntitle: t\nplan: shop\nsteps: [{title: t}]", "version (line 1): found the number 2; wanted 1"),
        ("{head}\n  - title: t\n    do: [protekt]", "steps[0].do[0] (line 6): there is no protekt here; did you mean protect?"),
        ("{head}\n  - title: t\n    do: [write]", "steps[0].do[0] (line 6): write needs words of its own: wanted {write: {...}}"),
        ("{head}\n  - title: t\n    do: [{write: {}}]", "steps[0].do[0].write (line 6): wanted each in it"),
        ("{head}\n  - title: t\n    do: [{write: {each: 0}}]", "steps[0].do[0].write.each (line 6): 0 is less than the minimum of 1"),
        ("{head}\n  - title: t\n    do: [{losing: {site: east}}]", "steps[0].do[0].losing (line 6): there is no such word here; did you mean lose?"),
        ("{head}\n  - title: t\n    do: [{lose: {}}]", "steps[0].do[0].lose (line 6): found an empty mapping; wanted one of site, host or only"),
        ("{head}\n  - title: t\n    facts: [{run: {at: 5}}]", "steps[0].facts[0].run.at (line 6): found the number 5; wanted text"),
        ("{head}\n  - title: t\n    facts: [{level: {is: high}}]", "steps[0].facts[0].level.is (line 6): found high; wanted application or crash"),
        ("{head}\n  - title: t\n    facts: [{run: {at: east}, silent: {}}]", "found run and silent; wanted one thing a line of the list"),
        ("{head}\n  - title: t\n    do: up", "steps[0].do (line 6): found up; wanted a list"),
        ("{head}\n  - title: t\n    title: u", "given twice"),
        ("nothing", "wanted a mapping"),
    ],
)  # fmt: skip
def test_a_fault_of_form_has_its_place(text: str, said: str) -> None:
    with pytest.raises(BadInput) as raised:
        _parse(text.replace("{head}", "version: 1\ntitle: t\nplan: shop\nsteps:"))
    assert said in str(raised.value)
    assert "some.yaml: 1 error; nothing was done." in str(raised.value)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        scenario.load(tmp_path / "none.yaml")
