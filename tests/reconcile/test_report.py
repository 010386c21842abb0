"""Reports of what really ran: each kind of end leaves one, here and on the arrays, and it says what happened."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dr_provider.arrays.embedded.array import EmbeddedArray
from dr_provider.model import keys, stopping
from dr_provider.model.errors import ArrayFull, DrError, MoveFailed, Stopped
from dr_provider.model.records import Owner
from dr_provider.reconcile.drills.begin import start_drill
from dr_provider.reconcile.reports import kept
from dr_provider.reconcile.reports.kept import Kept, folder_of
from dr_provider.reconcile.restore import restore_beside, restore_in_place
from tests.reconcile.conftest import MakeLab
from tests.support.kills import failing, killed_at, watched
from tests.support.lab import Lab

WORD = "1: power lost at east"
HEALTH: dict[str, Any] = {"health": {"tcp": 5432, "within": "2s"}}
SCHEMA = Draft202012Validator(
    json.loads(Path(kept.__file__).with_name("report.schema.json").read_text(encoding="utf-8"))
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DR_STATE_HOME", str(tmp_path / "state"))
    for name in (
        "GITHUB_ACTOR",
        "GITHUB_TRIGGERING_ACTOR",
        "GITHUB_RUN_ID",
        "GITLAB_USER_LOGIN",
        "CI_JOB_URL",
        "BUILD_URL",
        "DR_APPROVER",
        "DR_APPROVED_BY",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ready(make: MakeLab) -> Lab:
    """Written to, protected, and written to again; with targets and health checks."""
    lab = make(**HEALTH, change=lambda document: document["plans"]["shop"].update(rto="1h", rpo="1h"))
    lab.write(20)
    lab.protect()
    lab.write(13)
    return lab


def reports(lab: Lab) -> list[dict[str, Any]]:
    """Those on this machine, oldest first; each keeps its schema, and has its page beside it."""
    files = sorted(folder_of(lab.topology.name, lab.plan).glob("*.json"))
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    for document, file in zip(found, files, strict=True):
        SCHEMA.validate(document)
        assert document["report"] == file.stem
        assert file.with_suffix(".html").is_file()
    return found


def only(lab: Lab) -> dict[str, Any]:
    (document,) = reports(lab)
    return document


def on_arrays(lab: Lab) -> dict[str, list[str]]:
    """The reports that are known, by where each can be read in full."""
    world = lab.world()
    found = Kept(world.fleet, world.topology, world.look(), lab.plan)
    return {name: found.where(name) for name in found.reports}


def rows(document: dict[str, Any], *names: str) -> dict[str, tuple[Any, ...]]:
    return {vm["vm"]: tuple(vm[name] for name in names) for vm in document["vms"]}


# -- ends -------------------------------------------------------------------------------------------


def test_a_planned_move(ready: Lab) -> None:
    outcome = ready.move("west", by="dr (alice@desk)")
    document = only(ready)
    assert outcome.report is not None
    assert (Path(outcome.report).stem, outcome.document()["report"]) == (document["report"], outcome.report)
    assert (document["kind"], document["result"], document["from"], document["to"]) == (
        "planned",
        "done",
        "east",
        "west",
    )
    assert (document["activeSite"], document["epoch"], document["protected"], document["committed"]) == (
        "west",
        2,
        True,
        True,
    )
    assert (document["loss"]["seconds"], document["loss"]["verdict"], document["time"]["verdict"]) == (
        0.0,
        "met",
        "met",
    )
    assert document["headline"].startswith("Plan shop runs at west: all 3 VMs run after ")
    assert document["headline"].endswith("; nothing was lost.")
    assert (document["todo"], document["failures"], document["word"]) == ([], [], None)
    assert document["by"]["who"] == "dr (alice@desk)"
    assert rows(document, "addresses")["app"] == (["10.2.0.11"],)
    assert rows(document, "tier", "site", "outcome", "health") == {
        "db": (1, "west", "well", "TCP port 5432"), "app": (2, "west", "well", "TCP port 5432"), "web": (3, "west", "well", "TCP port 5432"),
    }  # fmt: skip
    for vm in document["vms"]:
        assert [bar["phase"] for bar in vm["bars"]] == ["stop", "attach", "start", "health"]
        assert vm["downSeconds"] > 0
    up = [document["commit"], *(vm["upAt"] for vm in document["vms"])]
    assert up == sorted(up)
    assert document["time"]["seconds"] == up[-1] <= document["seconds"]
    assert document["point"]["ageSeconds"] == 0.0
    assert on_arrays(ready) == {document["report"]: ["here", "east-a", "west-a"]}


def test_a_second_run_that_does_nothing_leaves_no_report(ready: Lab) -> None:
    ready.move("west")
    serials = ready.serials()
    assert ready.move("west").report is None
    assert ready.protect().failures == ()
    assert len(reports(ready)) == 1
    assert ready.move().report is None
    assert ready.serials().keys() == serials.keys()


def test_a_disaster_with_the_word(ready: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TRIGGERING_ACTOR", "bob")
    monkeypatch.setenv("GITHUB_RUN_ID", "77")
    monkeypatch.setenv("DR_APPROVER", "carla")
    ready.lose("site:east")
    ready.move("west", word=WORD)
    document = only(ready)
    assert (document["kind"], document["result"], document["word"]) == ("disaster", "done", WORD)
    assert document["loss"]["seconds"] > 0
    assert document["point"]["ageSeconds"] > 0
    said = {(each["what"], each["who"]): each["said"] for each in document["decisions"]}
    assert said["operator's word", "dr"] == WORD
    assert ("approved", "carla") in said
    assert ("started in CI", "bob") in said
    assert any(what == "proof" for what, _ in said)
    assert any(line.startswith("east: 3 of its arrays and hosts are silent") for line in document["todo"])
    assert rows(document, "downSeconds")["db"] == (None,)
    assert on_arrays(ready) == {document["report"]: ["here", "west-a"]}


def test_a_vm_that_fails_and_those_that_wait_for_it(ready: Lab) -> None:
    with failing("start:app"):
        ready.move("west")
    document = only(ready)
    assert (document["result"], document["time"]["verdict"], document["time"]["seconds"]) == ("partial", "open", None)
    assert rows(document, "outcome") == {"db": ("well",), "app": ("failed",), "web": ("waits",)}
    assert document["time"]["notUp"] == ["app", "web"]
    assert "1 of 3 VMs run" in document["headline"]
    assert document["todo"][0] == "start VM app on west-1: start:app: a fault of the test".replace(
        "west-1", rows(document, "host")["app"][0]
    )
    assert [step["outcome"] for step in document["steps"] if step["id"] in ("start:app", "start:web")] == [
        "failed",
        "skipped",
    ]


def test_what_the_next_run_starts_is_a_report_of_its_own(ready: Lab) -> None:
    with failing("start:app"):
        ready.move("west")
    ready.move()
    _, document = reports(ready)
    assert (document["kind"], document["result"], document["committed"]) == ("repair", "done", False)
    assert rows(document, "outcome") == {"db": ("well",), "app": ("well",), "web": ("well",)}


def test_a_planned_move_that_is_led_back(ready: Lab) -> None:
    with failing("scan"), pytest.raises(MoveFailed):
        ready.move("west")
    document = only(ready)
    assert (document["result"], document["activeSite"], document["committed"]) == ("called off", "east", False)
    assert (document["loss"]["seconds"], document["loss"]["verdict"]) == (0.0, "none")
    assert document["headline"] == "Plan shop: the move to west was called off; all 3 VMs run at east."
    assert [line for line in document["todo"] if line.startswith("find out why")] == document["todo"][:1]
    assert {outcome for (outcome,) in rows(document, "outcome").values()} == {"well"}


def test_a_move_that_ends_before_its_commit_and_its_calling_off(ready: Lab) -> None:
    ready.lose("site:east")
    with failing("scan"), pytest.raises(MoveFailed):
        ready.move("west", word=WORD)
    failed = only(ready)
    assert (failed["result"], failed["word"], failed["loss"]["verdict"]) == ("failed", WORD, "open")
    assert "run again to finish it, or call it off with dr abort shop" in failed["todo"][0]
    ready.heal("site:east")
    ready.move(goal="abort")
    _, document = reports(ready)
    assert (document["kind"], document["result"], document["loss"]["seconds"]) == ("abort", "done", 0.0)
    assert document["headline"].startswith("Plan shop: the move was called off")


def test_a_move_that_is_stopped(ready: Lab) -> None:
    def ask(action: Any) -> None:
        if action.verb == "final":
            stopping.request("Ctrl-C")

    with watched(ask), pytest.raises(Stopped):
        ready.move("west")
    stopping.clear()
    document = only(ready)
    assert (document["result"], document["activeSite"]) == ("stopped", "east")
    assert "run again to finish it, or dr abort shop" in document["todo"][0]


def test_a_move_that_was_killed_and_is_gone_on_with(ready: Lab) -> None:
    assert killed_at(lambda: ready.move("west"), "break:vol-2", "after")
    assert reports(ready) == []
    ready.move("west")
    document = only(ready)
    assert document["resumed"]["since"] < document["started"]
    assert document["time"]["before"] > 0
    assert document["time"]["seconds"] > document["time"]["before"]
    assert f"counted from {document['resumed']['since']}" in document["time"]["statement"]


@pytest.mark.parametrize(
    ("kind", "run"),
    [
        ("drill", lambda lab: start_drill(lab.world(), "shop", "west", "monday", Owner("shop-test", "", "one"))),
        ("beside", lambda lab: restore_beside(lab.world(), "db", lab.view().points[0].id, "before")),
        ("restore", lambda lab: restore_in_place(lab.world(), "db", lab.view().points[0].id)),
        ("restart", lambda lab: (lab.lose("host:east-1"), lab.move(goal="restart"))[1]),
    ],
)
def test_what_is_no_move(ready: Lab, kind: str, run: Callable[[Lab], Any]) -> None:
    outcome = run(ready)
    document = only(ready)
    assert (document["kind"], document["result"], document["committed"]) == (kind, "done", False)
    assert (
        outcome.document()["report"]
        == outcome.report
        == str(folder_of("shop-test", "shop") / f"{document['report']}.html")
    )
    if kind == "drill":
        assert (document["drill"], document["to"], document["rtoSeconds"]) == ("monday", "west", document["seconds"])
        assert document["loss"]["seconds"] == document["rpoSeconds"] > 0
        assert {outcome for (outcome,) in rows(document, "outcome").values()} == {"well"}
    if kind == "beside":
        assert list(rows(document)) == ["db"]
    if kind == "restore":
        assert document["safety"]


def test_a_drill_with_a_vm_that_is_not_well(make: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = make()
    lab.write()
    lab.protect()
    from dr_provider.reconcile.drills import vms as drill

    def unwell(_fleet: Any, _host: str, name: str, *_more: Any) -> str:
        if name.startswith("app."):
            raise DrError("VM app: it is not well")
        return ""

    monkeypatch.setattr(drill, "wait_until_well", unwell)
    start_drill(lab.world(), "shop", "west", "monday", Owner("shop-test", "", "one"))
    document = only(lab)
    assert document["result"] == "partial"
    assert rows(document, "outcome") == {"db": ("well",), "app": ("failed",), "web": ("waits",)}


def test_a_repair_that_starts_nothing_is_no_report(ready: Lab) -> None:
    ready.move("west")
    ready.lose("site:east")
    ready.protect()
    ready.heal("site:east")
    ready.protect()
    assert len(reports(ready)) == 1


# -- what can go wrong with a report ------------------------------------------------------------------


def test_a_folder_that_cannot_be_written_costs_the_files_only(ready: Lab, tmp_path: Path) -> None:
    folder = folder_of("shop-test", "shop")
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("in the way")
    outcome = ready.move("west")
    assert (outcome.failures, outcome.report) == ((), None)
    assert [line for line in ready.lines if "the report cannot be kept on this machine" in line]
    (where,) = on_arrays(ready).values()
    assert where == ["east-a", "west-a"]


def test_an_array_without_room_costs_its_record_only(ready: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    put = EmbeddedArray.put_record

    def full(self: EmbeddedArray, key: str, value: str, *more: Any) -> None:
        if "/blob/report/" in key and self.name == "east-a":
            raise ArrayFull("array east-a is full")
        put(self, key, value, *more)

    monkeypatch.setattr(EmbeddedArray, "put_record", full)
    outcome = ready.move("west")
    assert outcome.failures == ()
    assert [line for line in ready.lines if "array east-a has no room for the report" in line]
    assert list(on_arrays(ready).values()) == [["here", "west-a"]]


def test_a_fault_of_the_report_never_ends_the_move(ready: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from dr_provider.reconcile.reports import account

    def broken(*_: Any) -> None:
        raise KeyError("a fault of the program")

    monkeypatch.setattr(account, "compose", broken)
    outcome = ready.move("west")
    assert (outcome.failures, outcome.report, set(ready.running().values())) == ((), None, {"west"})
    (said,) = [line for line in ready.lines if "no report could be made of this run" in line]
    assert re.search(r"\(a fault in dr: KeyError: 'a fault of the program', at test_report\.py:\d+; report it\)", said)


def test_what_cannot_be_gathered_or_kept_never_ends_the_move_either(
    ready: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dr_provider.reconcile.reports import account

    def dark(*_: Any, **__: Any) -> None:
        raise DrError("everything is dark")

    with monkeypatch.context() as here:
        here.setattr(account, "plan_status", dark)
        assert (ready.move("west").failures, reports(ready)) == ((), [])
    assert [line for line in ready.lines if "no report could be made of this run (everything is dark)" in line]
    with monkeypatch.context() as here:
        here.setattr(account, "keep_on_arrays", dark)
        outcome = ready.move("east")
    assert outcome.report == str(folder_of("shop-test", "shop") / f"{only(ready)['report']}.html")
    assert [line for line in ready.lines if f"the report is in {outcome.report} only (everything is dark)" in line]


def test_an_array_that_is_full_ends_no_move(ready: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    put = EmbeddedArray.put_record

    def full(self: EmbeddedArray, key: str, value: str, *more: Any) -> None:
        if "/blob/journal/" in key:
            raise ArrayFull("array west-a is full")
        put(self, key, value, *more)

    monkeypatch.setattr(EmbeddedArray, "put_record", full)
    assert (ready.move("west").failures, only(ready)["result"]) == ((), "done")


def test_moves_stay_and_of_what_is_made_on_a_schedule_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "RECENT", 3)
    kinds = ["planned", "drill", "rehearsal", "restore", "drill", "drill", "rehearsal", "disaster"]
    for number, kind in enumerate(kinds):
        document = {"version": 1, "topology": "shop-test", "plan": "shop", "kind": kind, "report": f"20270101T{number:06d}-{number:08x}"}  # fmt: skip
        kept.write_files(document, lambda _: "a page")
    folder = folder_of("shop-test", "shop")
    left = [json.loads(file.read_text())["kind"] for file in sorted(folder.glob("*.json"))]
    assert left == ["planned", "restore", "drill", "rehearsal", "disaster"]
    assert [file.stem for file in sorted(folder.glob("*.html"))] == [
        file.stem for file in sorted(folder.glob("*.json"))
    ]


def test_the_lease_is_free_when_the_report_is_written(ready: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from dr_provider.reconcile.reports import account

    written = vars(account)["write_files"]
    seen: list[bool] = []

    def look(*given: Any) -> Path:
        leases = [lease for of in ready.view().leases.values() for lease in of]
        seen.append(max(leases, key=lambda lease: (lease.n, lease.released)).released)
        path: Path = written(*given)
        return path

    monkeypatch.setattr(account, "write_files", look)
    ready.move("west")
    assert seen == [True]


# -- on the arrays ------------------------------------------------------------------------------------


def leave(lab: Lab, count: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Reports of one move, left again under other ids."""
    lab.move("west")
    document, world, found = only(lab), lab.world(), []
    for number in range(count):
        again = {**document, "report": f"20270101T{number:06d}-{number:08x}"}
        assert kept.keep_on_arrays(world.fleet, world.topology, world.look(), again) == []
        found.append(again["report"])
    return [document["report"], *found]


def test_arrays_keep_the_last_in_full_and_a_line_of_each(ready: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    names = leave(ready, 25, monkeypatch)
    monkeypatch.setenv("DR_STATE_HOME", "/nonexistent/elsewhere")
    world = ready.world()
    found = Kept(world.fleet, world.topology, world.look(), "shop")
    assert list(found.reports) == names[::-1]
    full = [name for name in found.reports if found.where(name)]
    assert full == names[::-1][: kept.IN_FULL]
    assert found.read(names[-1])["report"] == names[-1]
    with pytest.raises(DrError, match="known by its summary only"):
        found.read(names[0])


def test_a_report_that_comes_late_takes_no_newer_ones_place(ready: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = leave(ready, 0, monkeypatch)
    world, document = ready.world(), only(ready)
    monkeypatch.setattr(kept, "IN_FULL", 3)
    names = [f"20270101T{n:06d}-{n:08x}" for n in (4, 3, 2, 1)]
    for name in names:
        assert kept.keep_on_arrays(world.fleet, world.topology, world.look(), {**document, "report": name}) == []
    found = Kept(world.fleet, world.topology, world.look(), "shop")
    assert list(found.reports) == [*names, first]
    assert [name for name in names[:3] if found.where(name)] == names[:3]


def test_two_runs_that_end_in_the_same_moment_lose_nothing(ready: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two calls of the one the other leaves its own."""
    (first,) = leave(ready, 0, monkeypatch)
    world, document = ready.world(), only(ready)
    again = [{**document, "report": f"20270101T{n:06d}-{n:08x}"} for n in range(1, 9)]
    put, late = EmbeddedArray.put_record, list(again[1:])

    def beside(self: EmbeddedArray, key: str, value: str, *more: Any) -> None:
        if "/blob/report" in key and late:
            assert kept.keep_on_arrays(world.fleet, world.topology, world.look(), late.pop()) == []
        put(self, key, value, *more)

    monkeypatch.setattr(kept, "IN_FULL", 5)
    monkeypatch.setattr(EmbeddedArray, "put_record", beside)
    assert kept.keep_on_arrays(world.fleet, world.topology, world.look(), again[0]) == []
    assert late == []
    found = on_arrays(ready)
    assert set(found) == {first, *(each["report"] for each in again)}
    names = sorted(found, reverse=True)
    assert all({"east-a", "west-a"} <= set(found[name]) for name in names[:5])
    # The next one takes away what the two together left too much.
    monkeypatch.setattr(EmbeddedArray, "put_record", put)
    assert kept.keep_on_arrays(world.fleet, world.topology, world.look(), {**document, "report": "20280101T000000-00000001"}) == []  # fmt: skip
    assert [name for name, where in on_arrays(ready).items() if "east-a" in where] == ["20280101T000000-00000001", *names[:4]]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 1}', '{"version": 2, "whole": true}', '{"version": 1, "whole": 7, "report": "x"}'],
)
def test_a_damaged_line_is_none(ready: Lab, text: str) -> None:
    ready.move("west")
    world = ready.world()
    world.fleet.array("east-a").put_record(keys.report_line_key("shop-test", "shop", only(ready)["report"]), text)
    world.fleet.array("east-a").put_record(keys.report_line_key("shop-test", "shop", "no-id"), '{"version": 1}')
    found = Kept(world.fleet, world.topology, world.look(), "shop")
    assert [found.where(name) for name in found.reports] == [["here", "west-a"]]


def test_a_damaged_report_is_read_elsewhere(ready: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    ready.move("west")
    document = only(ready)
    file = folder_of("shop-test", "shop") / f"{document['report']}.json"
    file.write_text(file.read_text()[:500])
    world = ready.world()
    world.fleet.array("east-a").put_record(
        keys.report_key("shop-test", "shop", document["report"]), '{"version": 1, "vms": 7}'
    )
    found = Kept(world.fleet, world.topology, world.look(), "shop")
    assert found.where(document["report"]) == ["east-a", "west-a"]
    assert found.read(document["report"]) == document


def test_a_report_that_is_too_long_for_an_array_loses_its_steps(ready: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "LONGEST", 8000)
    ready.move("west")
    whole = only(ready)
    monkeypatch.setenv("DR_STATE_HOME", "/nonexistent/elsewhere")
    world = ready.world()
    short = Kept(world.fleet, world.topology, world.look(), "shop").read(whole["report"])
    assert (short["shortened"], short["steps"], short["headline"]) == (True, [], whole["headline"])
    assert len(whole["steps"]) > 20
