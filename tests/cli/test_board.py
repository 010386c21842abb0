"""The picture of a move as it goes: what its lines say, and that it is seen on a terminal and nowhere else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pexpect
import pytest

from dr_provider.cli.board import Course, lines
from dr_provider.model.loader import load
from dr_provider.model.topology import PlanSpec
from dr_provider.reconcile.decision import Action, Decision
from tests.cli.test_terminal import ended
from tests.support.lab import Lab
from tests.support.topologies import write_topology

ROOT = Path(__file__).parents[2]
VMS = {"db": "west-1", "web": "west-2", "app": "west-2"}


def _step(verb: str, vm: str) -> Action:
    return Action(f"{verb}:{vm}", verb, f"{verb} VM {vm}", of={"vm": vm, "host": VMS[vm]}, group=verb)


DECISION = Decision(
    "shop",
    "disaster",
    "east",
    "west",
    estimate=45.0,
    actions=(
        Action("claim", "claim", "claim epoch 2 for west", group="claim"),
        *(Action(f"send:{n}", "send", f"send volume vol-{n}", group="transfer") for n in range(5)),
        *(_step(verb, vm) for verb in ("attach", "start") for vm in VMS),
    ),
)


@pytest.fixture
def spec(tmp_path: Path) -> PlanSpec:
    return load(write_topology(tmp_path)).plans["shop"]


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        pytest.param({}, ["db waits", "app waits", "attach 0/3", "12 s of about 45 s"], id="nothing yet"),
        pytest.param({"claim": "start"}, ["claim 0/1", "now: claim epoch 2 for west (2 s)"], id="a step under way"),
        pytest.param({"attach:db": "start"}, ["db west-1 mapping 2 s"], id="a VM under way"),
        pytest.param({"attach:db": "done"}, ["db west-1 mapped", "attach 1/3"], id="mapped"),
        pytest.param({"attach:db": "done", "start:db": "start"}, ["db west-1 starting 2 s"], id="starting"),
        pytest.param({"attach:db": "done", "start:db": "done"}, ["db west-1 runs", "start 1/3"], id="runs"),
        pytest.param({"attach:db": "failed", "start:db": "skipped"}, ["db west-1 FAILED", "attach 1/3 FAILED"], id="failed"),
        pytest.param({"attach:app": "done", "start:app": "skipped"}, ["app west-2 not started"], id="held up by another"),
        pytest.param(
            {f"send:{n}": "start" for n in range(5)}, ["now: send volume vol-0 (2 s)", "and 2 more steps"], id="many under way"
        ),
    ],
)  # fmt: skip
def test_what_it_says(steps: dict[str, str], wanted: list[str], spec: PlanSpec) -> None:
    course = Course(DECISION, 88.0, {name: (what, 98.0) for name, what in steps.items()})
    said = [" ".join(line.split()) for line, _ in lines(course, spec, 100.0, 40, 100)]
    for part in wanted:
        assert any(part in line for line in said), said


@pytest.mark.parametrize(
    ("origin", "target", "wanted"),
    [
        ("east", "west", "a move after a disaster, east -> west: "),
        (None, "west", "a move after a disaster, at west: "),
        ("west", "west", "a move after a disaster, at west: "),
        (None, None, "a move after a disaster: "),
    ],
)
def test_what_leaves_nothing_is_somewhere_all_the_same(
    origin: str | None, target: str | None, wanted: str, spec: PlanSpec
) -> None:
    decision = replace(DECISION, from_site=origin, to_site=target)
    assert lines(Course(decision, 88.0), spec, 100.0, 40, 100)[0][0].startswith(f"shop: {wanted}")


def test_many_vms_are_a_line_a_tier(spec: PlanSpec) -> None:
    steps = {"attach:db": ("failed", 90.0), "start:db": ("skipped", 90.0), "attach:app": ("done", 90.0)}
    said = [line for line, _ in lines(Course(DECISION, 88.0, steps), spec, 100.0, 4, 200)]
    assert any("1 FAILED (db)" in line for line in said), said
    assert not any("west-1" in line for line in said), said


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_phase_and_its_count_stay_together(width: int, spec: PlanSpec) -> None:
    wide = replace(DECISION, actions=tuple(replace(a, group=f"phase-{a.id}") for a in DECISION.actions))
    said = [line for line, _ in lines(Course(wide, 88.0), spec, 100.0, 40, width) if "phase-" in line]
    assert sum(len(re.findall(r"phase-\S+\s0/1", line)) for line in said) == len(wide.actions)
    assert max(map(len, said)) <= width


# -- as it is seen -------------------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """The words of a failover of a plan that is there, whose devices take so long for a call."""
    monkeypatch.setenv("DR_STATE_HOME", str(tmp_path / "state"))

    def make(latency: str) -> list[str]:
        path = Lab(tmp_path, latency=latency, host_latency=latency).path
        words = [sys.executable, "-m", "dr_provider.cli.main", "--topology", str(path)]
        return [*words, "failover", "shop", "--to", "west", "--yes"]

    return make


def test_a_terminal_shows_it_and_keeps_how_it_ended(made: Callable[[str], list[str]]) -> None:
    program, *words = made("20ms")
    child = pexpect.spawn(
        program,
        words,
        cwd=str(ROOT),
        env={**os.environ, "TERM": "xterm-256color"},
        dimensions=(40, 90),
        encoding="utf-8",
        timeout=60,
        use_poll=True,  # a long run of tests has more files open than select() can count
    )
    child.expect("a planned move, east -> west")
    child.expect(r"tier 1.{0,40}db")
    status, said = ended(child)
    assert status == 0, said
    assert "Plan shop is active at west, epoch 2" in said
    assert "done in" not in said, "lines a step are for where there is no terminal, and for -v"
    assert "\x1b[?25h" in (child.before or ""), "the cursor is there again"


def test_a_pipe_gets_a_line_a_step(made: Callable[[str], list[str]]) -> None:
    said = subprocess.run(made("0ms"), cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.search(r"plan shop \[\d+/\d+\] start VM db on west-\d: done in", said.stderr)
    assert "tier 1" not in said.stdout + said.stderr
