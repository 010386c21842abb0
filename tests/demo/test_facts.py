"""A fact that is not true makes the demo fail, whatever else went well, and is named."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from demo import __main__ as program
from demo import database, folder, page, play, scenario, show
from demo.commands import CommandFailed, Commands
from demo.embedded_stage import EmbeddedStage
from demo.facts import Account, Step, same
from demo.scene import Scene


def _good(_scene: Scene, step: Step) -> None:
    step.check("two and two are four", 2 + 2 == 4)


def _bad(_scene: Scene, step: Step) -> None:
    same(step, "every ledger ends where its seal says", {"db": 40, "web": 3}, {"db": 40, "web": 2})


def _breaks(_scene: Scene, _step: Step) -> None:
    raise CommandFailed("pulumi up ended with status 1")


def _wrong_shape(_scene: Scene, _step: Step) -> None:
    raise KeyError("plans")


def _steps(*actions: object) -> list[play.Part]:
    return [play.Part(f"step {n}", do) for n, do in enumerate(actions)]  # type: ignore[arg-type]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Run the demo with steps of the test's own; gives (status, what was printed)."""
    monkeypatch.setattr(program, "BUILD", tmp_path)

    def with_steps(*actions: object) -> tuple[int, str]:
        monkeypatch.setattr(play, "parts", lambda *_: _steps(*actions))
        stream = io.StringIO()
        monkeypatch.setattr(show, "Screen", lambda: _Screen(stream))
        return program.main([]), stream.getvalue()

    return with_steps


_Screen = show.Screen


def test_all_true_ends_well(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    status, said = run(_good, _good)
    assert (status, "All 2 facts are true." in said) == (0, True)
    assert '"well": true' in (tmp_path / "demo" / "report.json").read_text()


def test_a_false_fact_ends_badly_and_is_named_and_the_demo_goes_on(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    status, said = run(_bad, _good)
    assert status == 1
    assert "1 of 2 facts are NOT true." in said
    assert "web: 2 instead of 3" in said
    report = (tmp_path / "demo" / "report.html").read_text()
    assert "every ledger ends where its seal says" in report
    assert "web: 2 instead of 3" in report


@pytest.mark.parametrize("broken", [_breaks, _wrong_shape])
def test_what_cannot_go_on_ends_badly(run, broken) -> None:  # type: ignore[no-untyped-def]
    status, said = run(_good, broken, _good)
    assert status == 1
    assert "The scenario did not get to its end" in said
    assert "step 2" not in said


def test_a_demo_without_facts_proves_nothing() -> None:
    assert not Account("now").well
    assert not same(Step("empty"), "nothing was lost", {}, {})


def test_nothing_measured_counts_as_false() -> None:
    step = Step("ledgers")
    same(step, "all end there", {"db": 1}, {})
    assert not step.well


@pytest.mark.parametrize("width", [80, 100])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    step = Step(
        "A failover without the operator's word is refused",
        "pulumi config set --path dr:activeSites.shop west; pulumi up",
        19.04,
    )
    step.check("a sentence that is " + "very " * 40 + "long", True)
    step.check("a fact", False, "x" * 300)
    account = Account("now", [step], {"failover": "1.0 s"})
    stream = io.StringIO()
    screen = _Screen(stream, width)
    for part in (
        show.opening(account, width),
        show.heading(width),
        show.row(1, step, width),
        show.closing(account, width),
    ):
        screen.print(part)
    lines = stream.getvalue().splitlines()
    assert max(len(line) for line in lines) <= width
    assert not any(line.endswith(" ") for line in lines)


def test_the_picture_asks_for_nothing_from_elsewhere(tmp_path: Path) -> None:
    step = Step("Failover", "pulumi up", 1.0)
    step.check("it is there", True)
    file = tmp_path / "demo.svg"
    page.picture(Account("now", [step]), file)
    text = file.read_text()
    assert "Failover" in text.replace("&#160;", " ")
    assert "url(http" not in text
    assert "@font-face" not in text


# -- the database --------------------------------------------------------------------------------


def test_the_committed_image_is_what_the_script_makes(tmp_path: Path) -> None:
    committed = folder.ROOT / "stacks" / "topology" / "images" / "orders.db"
    assert database.look_into(committed) == database.make(tmp_path / "orders.db", 100)


def test_a_damaged_database_is_found(tmp_path: Path) -> None:
    file = tmp_path / "orders.db"
    database.make(file, 2000)
    data = bytearray(file.read_bytes())
    data[8192:12288] = bytes(4096)
    file.write_bytes(data + bytes(65536))
    assert database.look_into(file).integrity != "ok"


# -- the folder ----------------------------------------------------------------------------------


def test_the_folder_is_emptied_and_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    base = tmp_path / "demo"
    base.mkdir()
    (base / "link").symlink_to(outside)
    (base / "old").mkdir()
    made = folder.prepare(base)
    assert (outside / "kept").exists()
    assert not (base / "old").exists()
    assert (made.project / "stacks" / "__main__.py").is_file()


def test_two_demos_do_not_share_the_folder(tmp_path: Path) -> None:
    folder.prepare(tmp_path / "demo")
    (tmp_path / "demo" / "in-use").write_text("1")
    with pytest.raises(folder.FolderInUse, match="another demo"):
        folder.prepare(tmp_path / "demo")
    stage = EmbeddedStage(tmp_path / "demo")
    assert program.run(scenario.load(program.README), stage, "dr") == 1
    assert (tmp_path / "demo" / "in-use").read_text() == "1", "the other's folder was let go"


# -- commands ------------------------------------------------------------------------------------


def test_a_command_that_fails_is_one_sentence_and_is_logged(tmp_path: Path) -> None:
    run = Commands(tmp_path, tmp_path / "log", {"PATH": str(Path(sys.executable).parent)})
    with pytest.raises(CommandFailed, match=r"dr points nothing --json ended with status 2: no topology is given"):
        run.dr("points", "nothing")
    assert "exit status 2" in next((tmp_path / "log").iterdir()).read_text()
