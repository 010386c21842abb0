"""`dr drill` as a person and a script meet it: words, exit status, JSON, what is on the screen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Dr
from tests.support.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path / "project", source_budget="300ms", hosts_per_site=1)
    made.write()
    made.protect()
    return made


def test_start_list_end_history(lab: Lab, dr: Dr) -> None:
    at = ("--topology", str(lab.path))
    said = dr("drill", "start", "shop", "--as", "look", "--for", "2h", *at)
    assert said.status == 0, said.err
    assert "3 of 3 VMs are well" in said.out
    assert "dr drill end shop look ends it before" in said.out
    assert "tier 1 of 3: start VM db on west-1: well after" in said.err
    (row,) = dr("drill", "list", "--json", *at).json["drills"]
    assert (row["plan"], row["drill"], row["site"], row["expired"], row["ending"]) == (
        "shop",
        "look",
        "west",
        False,
        False,
    )
    assert "look" in dr("drill", "list", "shop", *at).out
    assert "look at west" in dr("status", *at).out

    # In the dark nobody says that the plan was never made, or that there is no point.
    for site in ("east", "west"):
        lab.lose(f"site:{site}")
    dark = dr("drill", "start", "shop", *at)
    assert (dark.status, "never made" in dark.err, "nothing that answers knows it" in dark.err) == (1, False, True)
    for asked, said_then in (
        (("points", "shop"), "silent, and may hold some:"),
        (("history", "shop"), "Nothing that answers knows plan shop; silent, and may know it:"),
        (("drill", "list"), "No drill is known to what answers."),
        (("drill", "end", "--mine"), "What answers knows no such drill; silent, and may know one:"),
    ):
        assert said_then in dr(*asked, *at).out
    for words in (
        ("restore", "db", "--point", "x", "--dry-run"),
        ("restore", "--remove", "x"),
        ("drill", "start", "shop", "--points", "2"),
    ):
        dark = dr(*words, *at)
        assert (dark.status, "nothing that answers knows it" in dark.err) == (1, True), dark.err
    for site in ("east", "west"):
        lab.heal(f"site:{site}")

    # What the near name is, and that nothing was done.
    wrong = dr("drill", "end", "shop", "lok", *at)
    assert (wrong.status, "did you mean look?" in wrong.err) == (2, True)
    assert dr("drill", "end", "--expired", "--json", *at).json == {"ended": []}
    ended = dr("drill", "end", "--mine", "--json", *at).json["ended"]
    assert [(e["drill"], e["removed"], e["left"]) for e in ended] == [
        ("look", {"vms": 3, "volumes": 2, "holds": 2}, [])
    ]
    assert "No drill is open" in dr("drill", "list", *at).out

    said = dr("drill", "start", "shop", "--json", *at)
    document = said.json
    assert (said.status, document["ok"], document["ended"] is not None, document["left"]) == (0, True, True, [])
    history = dr("drill", "history", "shop", "--json", *at).json
    assert [d["drill"] for d in history["drills"]] == [document["drill"], "look"]
    assert "Drills of plan shop" in dr("drill", "history", "shop", *at).out


def test_one_whose_site_is_dark_is_not_ended(lab: Lab, dr: Dr) -> None:
    """What is left is said, and where, and it is no success; nor is a restored VM that cannot be removed."""
    at = ("--topology", str(lab.path))
    assert dr("drill", "start", "shop", "--as", "look", "--keep", *at).status == 0
    lab.lose("host:west-1")
    part = dr("drill", "end", "shop", "look", *at)
    assert part.status == 1
    assert "is ended" not in part.out
    assert "Drill look of plan shop: 0 VMs, 2 volumes, 2 holds removed." in part.out
    assert "- VM app.drill.look, db.drill.look, web.drill.look on west-1 (host west-1" in part.out
    assert "so does dr drill end shop look." in part.out
    lab.lose("site:west")
    dark = dr("drill", "end", "shop", "look", "--json", *at)
    assert (dark.status, "drill look is not ended whole" in dark.json["error"]) == (1, True)
    assert dr("drill", "start", "shop", "--points", "2", *at).status == 1
    lab.heal("site:west")
    lab.heal("host:west-1")
    whole = dr("drill", "end", "shop", "look", *at)
    assert (whole.status, "Drill look of plan shop is ended:" in whole.out) == (0, True)


def test_ids_are_whole_at_80_columns(lab: Lab, dr: Dr, monkeypatch: pytest.MonkeyPatch) -> None:
    at = ("--topology", str(lab.path))
    (point,) = dr("points", "shop", "--json", *at).json["points"]
    name = "a-drill-with-a-longer-name"
    assert dr("drill", "start", "shop", "--as", name, "--for", "2h", *at).status == 0
    monkeypatch.setenv("COLUMNS", "80")
    for words in (("drill", "list"), ("drill", "history", "shop"), ("points", "shop")):
        lines = dr(*words, *at).out.splitlines()
        assert max(map(len, lines)) <= 80
        assert [
            word
            for word in (point["id"], *([name] if words[0] == "drill" else []))
            if not any(word in line.split() for line in lines)
        ] == []


def test_several_points_side_by_side_or_one_after_another(tmp_path: Path, dr: Dr) -> None:
    """There is room for two at once."""

    def change(document: dict[str, Any]) -> None:
        document["networks"]["prod"]["drill"] = {"bridge": "br-iso-1", "more": ["br-iso-2", "br-iso-3"]}

    lab = Lab(tmp_path / "project", source_budget="300ms", hosts_per_site=1, host_cpus=6, change=change)
    for _ in range(3):
        lab.write(8)
        lab.protect()
    at = ("--topology", str(lab.path))
    said = dr("drill", "start", "shop", "--points", "3", "--json", *at)
    assert said.status == 0, said.out
    found = [(d["vms"]["db"]["checks"][-1]["detail"], d["ended"] is not None, d["left"]) for d in said.json["drills"]]
    assert found == [(f"data intact: {n} entries, {n} in the recovery point", True, []) for n in (24, 16, 8)]
    assert "No drill is open" in dr("drill", "list", *at).out
    kept = dr("drill", "start", "shop", "--points", "3", "--keep", "--as", "hunt", "--json", *at)
    assert kept.status == 1
    assert sorted(d["ok"] for d in kept.json["drills"]) == [False, True, True]
    assert "there is no room for this drill at west" in kept.json["error"]
    assert len(dr("drill", "list", "--json", *at).json["drills"]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["start"], "say which PLAN"),
        (["start", "shp"], "there is no plan 'shp'"),
        (["start", "shop", "--site", "wset"], "there is no site 'wset'"),
        (["start", "shop", "--keep", "--for", "2h"], "--for and --keep exclude each other"),
        (["start", "shop", "--for", "2"], "wanted a duration"),
        (["start", "shop", "--points", "2", "--point", "x"], "--points and --point exclude each other"),
        (["start", "shop", "--points", "2"], "2 points asked for, and 1 whole at west"),
        (["start", "shop", "--point", "e9-s9-ffffffff"], "there is none of that name"),
        (["start", "shop", "--as", "Big One"], "wanted lower-case letters"),
        (["end", "shop"], "say PLAN and NAME"),
        (["end", "shop", "x", "--mine"], "say PLAN and NAME"),
        (["end", "shop", "x"], "plan shop has no drill 'x'"),
        (["history"], "say which PLAN"),
    ],
)
def test_words_that_are_wrong(lab: Lab, dr: Dr, words: list[str], said: str) -> None:
    found = dr("drill", *words, "--topology", str(lab.path))
    assert (found.status, said in found.err) == (2, True), found.err


def test_no_isolated_network_is_said_before_anything_is_made(lab: Lab, dr: Dr) -> None:
    document = json.loads(lab.path.read_text())
    del document["networks"]["prod"]["drill"]
    lab.path.write_text(json.dumps(document))
    found = dr("drill", "start", "shop", "--topology", str(lab.path))
    assert found.status == 2
    assert "networks.prod: it has no mapping for drill" in found.err
    assert "add drill: and the name of an isolated bridge" in found.err
