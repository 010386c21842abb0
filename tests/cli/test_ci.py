"""`dr ci apply`: what a person reads of an engine that runs a plan, refuses it, or stops in the middle. The engine is a stand-in here; the real
one is in tests/engine/test_gitops.py."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Dr
from tests.cli.test_plan import MOVE, MOVING, previewed
from tests.support.topologies import write_topology

ENGINE = """#!/bin/sh
case "$1 $*" in
"preview "*--save-plan*) echo {} > "$DR_TEST/dr-ci/plan.json"; cat "$DR_TEST/before.json";;
"preview "*) cat "$DR_TEST/after.json";;
"up "*) cat "$DR_TEST/up"; exit "$(cat "$DR_TEST/status")";;
esac
"""
IDLE = json.dumps({"steps": [], "diagnostics": []})
MOVES = previewed(MOVING, said=(f"plan shop: {MOVE}",))
WALL = "error: resource urn:pulumi:prod violates plan: properties changed"


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose stack moves a plan, with that plan saved; what the engine says next is in files beside it."""
    repository, here = tmp_path / "repository", tmp_path / "bin"
    repository.mkdir()
    here.mkdir()
    (here / "pulumi").write_text(ENGINE)
    (here / "pulumi").chmod(0o755)
    write_topology(repository / "stacks")
    (repository / "Pulumi.yaml").write_text("name: dr\nmain: stacks\nstackConfigDir: stacks\nruntime: python\n")
    (repository / "stacks" / "Pulumi.prod.yaml").write_text("config:\n  dr:topology: topology.yaml\n")
    (repository / ".gitignore").write_text("/before.json\n/after.json\n/up\n/status\n")
    for words in (["init", "--quiet"], ["add", "--all"], ["-c", "user.name=x", "-c", "user.email=x@y", "commit", "--quiet", "-m", "x"]):  # fmt: skip
        subprocess.run(["git", *words], cwd=repository, check=True)
    monkeypatch.chdir(repository)
    monkeypatch.setenv("PATH", f"{here}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DR_TEST", str(repository))
    monkeypatch.setenv("PULUMI_STACK", "prod")
    (repository / "before.json").write_text(MOVES)
    return repository


def told(engine: Path, up: list[str], status: int, after: str = IDLE) -> None:
    (engine / "up").write_text("".join(f"{line}\n" for line in up))
    (engine / "status").write_text(str(status))
    (engine / "after.json").write_text(after)


REFUSED: dict[str, tuple[list[str], str, str]] = {
    "applied already": (["Previewing update (prod):", WALL], IDLE, "this plan was applied already: nothing of what it says is left to do. Nothing was changed"),
    "something has changed": (["Previewing update (prod):", WALL], MOVES, "what would be done now is not what was approved: the stack, or its arrays or hosts, have changed since the preview. Nothing was changed"),
    "the preview fails now": (["Previewing update (prod):", WALL], "", "what would be done now is not what was approved"),
    "the preview ends badly": (["Previewing update (prod):", WALL], '{"steps": 7}', "what would be done now is not what was approved"),
    "stopped in the middle": (["Previewing update (prod):", "Updating (prod):", "shop: creating", WALL], IDLE, "the engine stopped in the middle"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_plan_is_a_sentence_first(name: str, dr: Dr, engine: Path) -> None:
    up, after, sentence = REFUSED[name]
    assert dr("ci", "preview").status == 0
    told(engine, up, 255, after)
    said = dr("ci", "apply", "--approved-by", "alice")
    assert (said.status, said.err.count(sentence)) == (1, 2), said.err
    assert said.err.rstrip().splitlines()[-1].startswith(f"dr ci apply: {sentence}"), "and where a log is opened"
    assert said.out.splitlines() == up, "the engine's own words are all there"
    assert ("Nothing was changed" in said.err) == ("Updating (prod):" not in up)


def test_an_up_that_fails_otherwise_says_nothing_of_the_plan(dr: Dr, engine: Path) -> None:
    assert dr("ci", "preview").status == 0
    told(engine, ["Previewing update (prod):", "error: the passphrase is wrong"], 255)
    said = dr("ci", "apply", "--approved-by", "alice")
    assert (said.status, said.out.splitlines()[-1]) == (1, "error: the passphrase is wrong")
    assert "what was approved" not in said.err
    told(engine, ["Previewing update (prod):", "Updating (prod):", "done"], 0)
    said = dr("ci", "apply", "--approved-by", "alice", "--json")
    assert (said.status, said.json["applied"], said.json["approvedBy"]) == (0, True, "alice")
    assert "Updating (prod):\ndone" in said.err


def test_a_move_is_applied_for_nobody(dr: Dr, engine: Path) -> None:
    assert dr("ci", "preview").status == 0
    told(engine, ["Updating (prod):"], 0)
    for name in ("", "   "):
        said = dr("ci", "apply", "--approved-by", name)
        assert (said.status, said.out) == (1, "")
        assert "plan shop moves from east to west" in said.err
