"""The step journal, and the estimates that are made of it."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest

from dr_provider.reconcile.decision import Action, Decision
from dr_provider.reconcile.graph import Event
from dr_provider.reconcile.journal import Journal, estimate, journal_folder

STOP = Action("stop:db", "stop", "stop VM db")
START = Action("start:db", "start", "start VM db", after=("stop:db",))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DR_STATE_HOME", str(tmp_path))
    return tmp_path / "shop-test" / "shop"


@pytest.fixture
def warnings() -> list[str]:
    return []


def journal(warnings: list[str]) -> Journal:
    return Journal(Decision("shop", "planned"), "shop-test", "dr (operator)", warnings.append)


def run(folder: Path, number: int, *lines: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"20260302T08000{number}-{number}.jsonl").write_text("\n".join(lines), encoding="utf-8")


def done(verb: str, seconds: float) -> str:
    return json.dumps({"event": "done", "verb": verb, "seconds": seconds})


def test_a_line_an_event_in_memory_and_in_the_file(folder: Path, warnings: list[str]) -> None:
    kept = journal(warnings)
    kept.event(Event("start", STOP))
    kept.event(Event("done", STOP, 1.23456, "graceful"))
    kept.close()
    kept.write({"event": "end"})
    assert kept.path is not None
    assert kept.path.parent == folder
    written = [json.loads(line) for line in kept.path.read_text(encoding="utf-8").splitlines()]
    assert [line["event"] for line in written] == ["run", "start", "done"]
    assert written[0]["decision"]["kind"] == "planned"
    assert written[1]["sentence"] == "stop VM db"
    assert (written[2]["seconds"], written[2]["detail"]) == (1.235, "graceful")
    assert len(kept.text().splitlines()) == 4
    assert warnings == []


def test_the_oldest_journals_make_room(folder: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dr_provider.reconcile.journal._KEPT", 3)
    for number in range(5):
        run(folder, number)
    (folder / "reports").mkdir()
    kept = journal(warnings)
    kept.close()
    assert sorted(file.name for file in folder.iterdir()) == [
        "20260302T080003-3.jsonl",
        "20260302T080004-4.jsonl",
        str(kept.path and kept.path.name),
        "reports",
    ]
    assert warnings == []


def test_a_folder_that_cannot_be_written_costs_the_local_copy_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DR_STATE_HOME", str(tmp_path / "file"))
    warnings: list[str] = []
    kept = journal(warnings)
    kept.event(Event("start", STOP))
    kept.close()
    assert kept.path is None
    assert len(kept.lines) == 2
    assert "the move goes on without a local copy" in warnings[0]
    assert estimate("shop-test", "shop", [STOP]) == 0.5


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_a_disk_that_is_full_in_the_middle_never_ends_the_move(folder: Path, warnings: list[str]) -> None:
    kept = journal(warnings)
    kept.close()
    with suppress(OSError), Path("/dev/full").open("a", encoding="utf-8") as full:
        kept._file = full
        kept.event(Event("start", STOP))
        kept.event(Event("done", STOP))
        kept.close()
    assert len(kept.lines) == 3
    assert len(warnings) == 1
    assert "ends here" in warnings[0]


def test_an_estimate_is_the_longest_chain_by_what_was_measured(folder: Path) -> None:
    assert estimate("shop-test", "shop", []) is None
    assert estimate("shop-test", "shop", [STOP, START]) == 1.0
    run(folder, 1, done("stop", 2.0), done("start", 6.0))
    run(folder, 2, done("stop", 4.0), json.dumps({"event": "failed", "verb": "start", "seconds": 100}), "[]", "7")
    assert estimate("shop-test", "shop", [STOP, START]) == 9.0


def test_only_the_last_runs_count(folder: Path) -> None:
    run(folder, 0, done("stop", 1000.0))
    for number in range(1, 6):
        run(folder, number, done("stop", 2.0))
    assert estimate("shop-test", "shop", [STOP]) == 2.0


@pytest.mark.parametrize("torn", [b'{"event": "done", "verb": "st', b'{"event": "done", "verb": "caf\xc3'])
def test_a_torn_last_line_is_passed_over(folder: Path, torn: bytes) -> None:
    run(folder, 1, done("stop", 2.0))
    file = next(folder.glob("*.jsonl"))
    file.write_bytes(file.read_bytes() + b"\n" + torn)
    assert estimate("shop-test", "shop", [STOP]) == 2.0


def test_a_journal_that_cannot_be_read_is_passed_over(folder: Path) -> None:
    run(folder, 1, done("stop", 2.0))
    (folder / "20260302T090000-x.jsonl").mkdir()
    assert estimate("shop-test", "shop", [STOP]) == 2.0


@pytest.mark.parametrize(
    ("set_to", "path"),
    [
        ({"DR_STATE_HOME": "state"}, Path("state/shop-test/shop")),
        ({"XDG_STATE_HOME": "xdg"}, Path("xdg/dr/shop-test/shop")),
        ({"HOME": "home"}, Path("home/.local/state/dr/shop-test/shop")),
    ],
)
def test_where_journals_are(set_to: dict[str, str], path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DR_STATE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in set_to.items():
        monkeypatch.setenv(name, value)
    assert journal_folder("shop-test", "shop") == path
