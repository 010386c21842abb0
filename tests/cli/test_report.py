"""`dr report`, as people and scripts meet it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model import keys
from dr_provider.model.records import Owner
from dr_provider.reconcile.drills.begin import start_drill
from dr_provider.reconcile.reports.kept import folder_of
from tests.cli.conftest import Dr
from tests.support.kills import failing
from tests.support.lab import Lab


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DR_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(
        tmp_path / "project", source_budget="300ms", change=lambda d: d["plans"]["shop"].update(rto="1h", rpo="1h")
    )
    lab.write()
    lab.protect()
    return lab


@pytest.fixture
def moved(lab: Lab) -> Lab:
    lab.move("west")
    start_drill(lab.world(), "shop", "east", "monday", Owner("shop-test", "", "one"))
    return lab


def at(lab: Lab) -> tuple[str, str]:
    return ("--topology", str(lab.path))


def test_a_move_says_where_its_report_is(lab: Lab, dr: Dr) -> None:
    said = dr("failover", "shop", "--to", "west", "--yes", *at(lab))
    (page,) = folder_of("shop-test", "shop").glob("*.html")
    assert (said.status, str(page) in said.out) == (0, True)
    with failing("start:app"):
        found = dr("failback", "shop", "--yes", "--json", *at(lab))
    assert found.status == 1
    assert Path(found.json["report"]).is_file()
    assert found.json["report"] != str(page)


def test_a_move_that_fails_says_so_too(lab: Lab, dr: Dr) -> None:
    with failing("scan"):
        found = dr("failover", "shop", "--to", "west", "--yes", "--json", *at(lab))
    assert (found.status, Path(found.json["report"]).is_file()) == (1, True)


def test_the_last_one(moved: Lab, dr: Dr) -> None:
    said = dr("report", "shop", *at(moved))
    assert said.status == 0
    assert said.out.startswith("Plan shop: drill monday at east: all 3 VMs run after ")
    assert "(RTO 1 h: met)" in said.out
    found = dr("report", "shop", "--json", *at(moved)).json
    assert (found["version"], found["kind"], found["drill"]) == (1, "drill", "monday")


def test_all_of_them_and_one_of_those(moved: Lab, dr: Dr) -> None:
    found = dr("report", "shop", "--list", "--json", *at(moved)).json
    assert [(line["kind"], line["result"], line["at"]) for line in found["reports"]] == [
        ("drill", "done", ["here", "east-a", "west-a"]),
        ("planned", "done", ["here", "east-a", "west-a"]),
    ]
    name = found["reports"][1]["report"]
    assert dr("report", "shop", name, "--json", *at(moved)).json["headline"].endswith("nothing was lost.")
    out = dr("report", "shop", "--list", *at(moved)).out
    assert (name in out, "drill monday at east" in out, "planned to west" in out) == (True, True, True)


def test_from_one_surviving_array_on_another_machine(
    moved: Lab, dr: Dr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = dr("report", "shop", "--json", *at(moved)).json
    monkeypatch.setenv("DR_STATE_HOME", str(tmp_path / "another"))
    moved.lose("site:east")
    address = f"embedded:{moved.path.parent / '.dr' / 'west-a.db'}"
    assert dr("report", "shop", "--json", "--from", address).json == whole
    listed = dr("report", "shop", "--list", "--from", address)
    assert (listed.status, "Does not answer, and may know of more: east-a." in listed.out) == (0, True)
    page = tmp_path / "from-west.html"
    assert dr("report", "shop", "--from", address, "-o", str(page)).status == 0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_history(moved: Lab, dr: Dr, tmp_path: Path) -> None:
    page = tmp_path / "history.html"
    said = dr("report", "shop", "--history", "--html", str(page), *at(moved))
    assert (said.status, "1 move, 1 well" in said.out, "1 drill, 1 well" in said.out) == (0, True, True)
    table = [line.split() for line in said.out.splitlines()]
    assert table[1] == ["when", "what", "where", "epoch", "result", "loss", "time"]
    assert "drill monday  at east" in said.out
    assert "planned       east -> west  2" in said.out
    text = page.read_text(encoding="utf-8")
    assert "Every move and drill" in text
    assert "<td>at east</td>" in text
    assert "<td>east &rarr; west</td>" in text
    found = dr("report", "shop", "--history", "--json", *at(moved)).json
    assert [(row["kind"], row["result"]) for row in found["events"]] == [("drill", "done"), ("planned", "done")]
    assert (found["rto"], found["lastDrill"]["drill"]) == (3600.0, "monday")


def test_the_history_of_what_left_no_report_here(
    moved: Lab, dr: Dr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = dr("report", "shop", "--history", "--json", *at(moved)).json
    monkeypatch.setenv("DR_STATE_HOME", str(tmp_path / "another"))
    world = moved.world()
    for array in moved.topology.arrays:
        for name in known["events"]:
            world.fleet.array(array).delete_record(keys.report_line_key("shop-test", "shop", name["report"]))
    found = dr("report", "shop", "--history", "--json", *at(moved)).json
    assert [(row["kind"], row["result"], row["report"]) for row in found["events"]] == [
        ("drill", "done", None),
        ("planned", "committed", None),
    ]
    told, first = found["events"][0], known["events"][0]
    assert (told["drill"], told["to"], told["by"]) == (first["drill"], first["to"], first["by"])
    assert abs(told["taken"]["seconds"] - first["taken"]["seconds"]) < 1
    assert (told["loss"]["verdict"], found["drills"]["count"], found["moves"]["count"]) == ("met", 1, 1)


def test_a_page_on_stdout_is_nothing_else(moved: Lab, dr: Dr) -> None:
    said = dr("report", "shop", "-o", "-", *at(moved))
    assert (said.status, said.out[:15], said.out.rstrip()[-7:]) == (0, "<!doctype html>", "</html>")


def test_a_plan_without_a_report(lab: Lab, dr: Dr) -> None:
    said = dr("report", "shop", *at(lab))
    assert (said.status, "has no report yet" in said.err) == (2, True)
    assert "has no report yet" in dr("report", "shop", "--list", *at(lab)).out
    assert "no drill" not in dr("report", "shop", "--history", *at(lab)).err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "say which PLAN"),
        (("shpo",), "there is no plan 'shpo'"),
        (("shop", "{id}x"), "the nearest: {id}"),
        (("shop", "../../etc/passwd"), "has no report '../../etc/passwd'; the nearest: {id}"),
        (("shop", "{id}", "--list"), "say one of REPORT, --list and --history"),
        (("shop", "--list", "--html", "x"), "--list is no page"),
        (("shop", "-o", "-", "--json"), "not both"),
        (("shop", "-o", "/nonexistent/x.html"), "cannot be written"),
    ],
)
def test_words_that_are_wrong(moved: Lab, dr: Dr, words: tuple[str, ...], said: str) -> None:
    name = dr("report", "shop", "--json", *at(moved)).json["report"]
    found = dr("report", *(word.format(id=name) for word in words), *at(moved))
    assert (found.status, said.format(id=name) in found.err) == (2, True), found.err


def test_a_rehearsal_leaves_one_too(lab: Lab, dr: Dr) -> None:
    before = lab.serials()
    said = dr("rehearse", "--lose", "site:east", "--json", *at(lab))
    (plan,) = said.json["plans"]
    file = Path(plan["report"]).with_suffix(".json")
    document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    assert (document["kind"], document["result"], document["committed"], document["activeSite"]) == (
        "rehearsal",
        "done",
        False,
        None,
    )
    assert [vm["promised"] for vm in document["rehearsed"]["vms"]] == [16, 16, 16]
    assert [vm["bars"] != [] for vm in document["vms"]] == [True, True, True]
    assert document["loss"]["statement"] == plan["loss"]
    assert "Promised and found" in file.with_suffix(".html").read_text(encoding="utf-8")
    assert lab.serials() == before
    listed = dr("report", "shop", "--list", "--json", *at(lab)).json["reports"]
    assert [(line["kind"], line["at"]) for line in listed] == [("rehearsal", ["here"])]


def test_a_rehearsal_in_which_nothing_moves(lab: Lab, dr: Dr) -> None:
    plan = dr("rehearse", "--lose", "site:west", "--json", *at(lab)).json["plans"][0]
    document = json.loads(Path(plan["report"]).with_suffix(".json").read_text(encoding="utf-8"))
    assert (document["result"], document["steps"], document["rehearsed"]["outcome"]) == ("done", [], "goes on")
