"""`dr answer`, `dr status` while a prompt waits, and the same on the terminal where the move runs: real moves on embedded arrays."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.cli.conftest import Dr
from tests.cli.test_terminal import ROOT, ended
from tests.support.lab import Lab

GO = {"before": "commit", "text": "Is {{ to_site }} ready?"}


def made(folder: Path, **prompts: Any) -> Lab:
    def asking(document: dict[str, Any]) -> None:
        document["plans"]["shop"]["prompts"] = prompts

    lab = Lab(folder / "project", source_budget="300ms", change=asking)
    lab.protect()
    return lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return made(tmp_path, go=GO)


def failover(lab: Lab) -> pexpect.spawn[str]:
    words = ["-m", "dr_provider.cli.main", "--topology", str(lab.path), "failover", "shop", "--to", "west", "--yes"]
    environment = {**os.environ, "DR_STATE_HOME": str(lab.path.parent / "state")}
    child = pexpect.spawn(
        sys.executable, words, use_poll=True, cwd=str(ROOT), env=environment, encoding="utf-8", timeout=30
    )
    child.expect("prompt go waits for an answer: Is west ready")
    return child


def test_on_the_terminal(lab: Lab) -> None:
    child = failover(lab)
    child.expect("Type continue or stop, for prompt shop go:")
    child.sendline("perhaps")
    child.expect("Type continue or stop, for prompt shop go:")
    child.sendline("continue")
    status, said = ended(child)
    assert status == 0
    assert "is active at west, epoch 2" in said


def test_what_was_typed_before_a_question_is_no_answer_to_it(tmp_path: Path) -> None:
    child = failover(made(tmp_path, go=GO, really={**GO, "text": "Really?"}))
    child.expect("Type continue or stop, for prompt shop go:")
    child.send("continue\ncontinue\n")
    child.expect("Type continue or stop, for prompt shop really:")
    child.sendline("stop")
    status, said = ended(child)
    assert status == 1
    assert "prompt really: stop, said" in " ".join(said.split())


def test_from_another_machine(lab: Lab, dr: Dr) -> None:
    child = failover(lab)
    here = ("--topology", str(lab.path))
    said = dr("status", *here)
    assert "waits for an answer, prompt go: Is west ready?" in said.out
    assert "dr answer shop go --continue (or --stop); nobody has by 20" in said.out
    found = dr("answer", "shop", "--stop", "--note", "not today", "--json", *here)
    assert (found.status, found.json["prompt"], found.json["answer"]) == (0, "go", "stop")
    assert (found.json["waits"], found.json["instead"]) == (True, None)
    status, report = ended(child)
    assert status == 1
    assert "not today" in " ".join(report.split())
    assert "the move was called off: plan shop is active at east as before" in " ".join(report.split())
    late = dr("answer", "shop", "go", "--continue", *here)
    assert (late.status, "prompt go does not wait for an answer" in late.err) == (1, True)


def test_what_people_read_of_an_answer(lab: Lab, dr: Dr) -> None:
    child = failover(lab)
    here = ("--topology", str(lab.path))
    child.sendintr()
    status, said = ended(child)
    assert (status, "stopped at a safe action" in said) == (1, True)
    assert "no run waits for it now: the next one hears what was answered, or asks again" in dr("status", *here).out
    first = dr("answer", "shop", "--continue", *here).out
    assert first.startswith("Plan shop, prompt go (Is west ready?): continue.\nNo run waits for it now: ")
    second = dr("answer", "shop", "--stop", *here).out.splitlines()[1]
    assert second.startswith("It takes the place of continue, said dr (")
    assert second.endswith(", unless a run has heard that already.")
    assert re.search(r"^    answered \d+ s ago: stop, said dr \(", dr("status", *here).out, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("shop",), "say --continue or --stop, one of them"),
        (("shop", "--continue", "--stop"), "say --continue or --stop, one of them"),
        (("shop", "og", "--stop"), "there is no prompt og; known: go"),
        (("shp", "--stop"), "there is no plan 'shp'"),
        (("--stop",), "say which PLAN"),
        (("shop", "--stop", "--note", "no\nplan shop is active at west"), "wanted one line of at most 500 characters"),
        (("shop", "--stop", "--note", "x" * 501), "wanted one line of at most 500 characters"),
    ],
)
def test_words_that_are_wrong(lab: Lab, dr: Dr, words: tuple[str, ...], wanted: str) -> None:
    found = dr("answer", *words, "--topology", str(lab.path))
    assert found.status == 2
    assert wanted in found.err
    assert found.err.rstrip().endswith("nothing was done")
