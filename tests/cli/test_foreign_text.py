"""Words of users, records and devices that would do something to a shell, a path or a terminal: refused, or shown escaped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dr_provider.model import keys
from dr_provider.model.codec import dump
from dr_provider.model.plain import json_text, plain
from dr_provider.model.records import Declared, Lease
from tests.cli.conftest import Dr
from tests.support.lab import Lab

EVIL = [
    "$(id)",
    "a;b",
    "../../x",
    "..",
    "a\nb",
    "\x1b[31mred",
    "\x9b31m",
    "a\u202eb",
    "\u0455hop",
    "x" * 5000,
    "<x/>",
    "a' OR '1",
]
PLACES: dict[str, list[str]] = {
    "plan of points": ["points", "{}"],
    "plan of verify": ["verify", "{}"],
    "plan of protect": ["protect", "{}"],
    "plan of failover": ["failover", "{}", "--to", "west", "--yes"],
    "site of failover": ["failover", "shop", "--to", "{}", "--yes"],
    "word of failover": ["failover", "shop", "--to", "west", "--yes", "--force", "1: {}\x07"],
    "point of failover": ["failover", "shop", "--to", "west", "--dry-run", "--point", "{}"],
    "plan of abort": ["abort", "{}"],
    "site of resolve": ["resolve", "shop", "--keep", "{}", "--yes"],
    "site of verify": ["verify", "shop", "--site", "{}"],
    "point of verify": ["verify", "shop", "--point", "{}"],
    "safety copy": ["safety", "drop", "{}", "--yes"],
    "VM of sim": ["sim", "write", "{}"],
    "target of sim": ["sim", "lose", "{}"],
    "array's address": ["status", "--from", "{}"],
    "file": ["status", "--topology", "/nowhere/{}"],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    lab = Lab(tmp_path_factory.mktemp("made") / "project", source_budget="300ms")
    lab.write()
    lab.protect()
    return lab


def readable(text: str) -> bool:
    return all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize("place", PLACES)
def test_every_word_is_checked_and_nothing_is_done(made: Lab, dr: Dr, place: str) -> None:
    before = made.status()
    for word in EVIL:
        words = [part.replace("{}", word) for part in PLACES[place]]
        given = words if "--topology" in words or "--from" in words else [*words, "--topology", str(made.path)]
        said = dr(*given)
        assert said.status == 2, (word, said)
        assert readable(said.out + said.err), word
        said = dr("--json", "-v", *given)
        assert said.status == 2
        assert readable(said.out + said.err), word
        assert json.loads(said.out)["error"]
    assert made.status()["epoch"] == before["epoch"]


def test_the_environment_is_no_way_around(dr: Dr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DR_TOPOLOGY", "/nowhere/\x1b[31m\u202e.yaml")
    said = dr("status")
    assert (said.status, readable(said.err)) == (2, True)


def test_what_an_array_says_is_shown_escaped(tmp_path: Path, dr: Dr) -> None:
    lab = Lab(tmp_path / "project", source_budget="300ms")
    evil = "\x1b]0;owned\x07\x9b2J\u202e"
    array = lab.world().fleet.array("east-a")
    time = "2026-03-02T08:00:00.000Z"
    array.put_record(
        keys.lease_key("shop-test", "shop", 99), dump(Lease("shop", 99, evil, "b", 1, 0.0, 1, time, evil, True))
    )
    array.put_record(keys.declared_key("shop-test", "dr/prod", "shop"), dump(Declared("shop", evil, time)))
    for words in (
        ["status"],
        ["status", "--json"],
        ["points", "shop"],
        ["failover", "shop", "--to", "west", "--dry-run"],
    ):
        said = dr(*words, "--topology", str(lab.path))
        assert readable(said.out + said.err), words
    declared = dr("status", "--json", "--topology", str(lab.path)).json["plans"]["shop"]["declared"]
    assert declared == {"dr/prod": evil}, "escaped for the terminal, whole for who reads the JSON"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a plain sentence, \u00e9\u4e2d\n", "a plain sentence, \u00e9\u4e2d\n"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\rb\tc\0", "a\\rb\\tc\\x00"),
        ("\x9b\u202e\u200b\ufeff", "\\x9b\\u202e\\u200b\\ufeff"),
        ("\ud800", "\\ud800"),
    ],
)
def test_plain(text: str, shown: str) -> None:
    assert plain(text) == shown
    assert json.loads(json_text({text: [text]})) == {text: [text]}
    assert readable(json_text({text: [text]}))
