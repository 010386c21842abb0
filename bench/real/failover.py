"""Row 4: the site with all 8 guests loses power, and they start at the other one; against its own parts, each measured alone.

Every run starts from the same disks: those of the machines at west, copied when they had a recovery point and were off. One run in two
does its actions one at a time: that is each part alone, with the processor time that it takes. What they are held against is the larger of
the slowest chain of these parts, as the decision orders them, and their processor time over the machine's cores.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from bench.calls import Call, Calls, by_method, counted_world
from bench.real.sites import ProcessorTime
from bench.real.topology import GUESTS, PLAN
from bench.report import Row
from dr_provider.model.errors import DrError
from dr_provider.model.loader import load
from dr_provider.reconcile import run as running
from dr_provider.reconcile.decision import Action, Decision, Want
from dr_provider.reconcile.graph import Event
from lab.machines import Lab

__all__ = ["LIMIT", "failover"]

LIMIT = 1.3
"""Times the larger of the slowest chain and the processor time over the cores."""
_CORES = 2
_KEPT = ("disk", "var-lib-zfs", "etc-libvirt", "var-lib-libvirt", "var-log-libvirt", "var-cache-libvirt")
"""Folders of a machine with what its disks hold."""


@dataclass(frozen=True)
class _Run:
    """`seconds` from the run's start to the last domain's; `parts` seconds by action, `first` until the first of them, `processor` of all."""

    seconds: float
    first: float
    parts: dict[str, float]
    processor: float
    decision: Decision
    calls: list[Call]


class _Watch(Calls):
    """Sees each action begin and end, and notes the processor time then and at each guest's start."""

    def __init__(self, clock: ProcessorTime) -> None:
        super().__init__()
        self._clock = clock
        self.begun: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.processor: dict[str, float] = {}
        """By "begin", "start VM" (its domain is started) and "end ACTION"."""

    def begin(self) -> float:
        self.clear()
        self.processor["begin"] = self._clock.seconds()
        return time.monotonic()

    def note(self, call: Call) -> None:
        super().note(call)
        if call.method == "start":
            self.processor[f"start {call.args[0]}"] = self._clock.seconds()

    def event(self, event: Event) -> None:
        if event.what == "start":
            self.begun[event.action.id] = time.monotonic()
        else:
            self.ended[event.action.id] = time.monotonic()
            self.processor[f"end {event.action.id}"] = self._clock.seconds()


def failover(lab: Lab, path: Path, folder: Path, *, repeats: int) -> Row:
    """East is lost for good; west is as it was before each run."""
    lab.lose_site("east")
    _off(lab)
    saved = folder / "saved"
    _copy(lab, saved, back=False)
    whole: list[_Run] = []
    alone: list[_Run] = []
    for turn in range(repeats):
        for serial in (True, False) if turn % 2 == 0 else (False, True):
            _off(lab)
            _copy(lab, saved, back=True)
            lab.return_site("west")
            (alone if serial else whole).append(_once(lab, path, serial=serial))
    shutil.rmtree(saved)
    return _row(whole, alone)


def _off(lab: Lab) -> None:
    lab.lose_site("west")


def _copy(lab: Lab, saved: Path, *, back: bool) -> None:
    """The disks of west's machines, out of the lab or back into it."""
    for machine in lab.site("west"):
        for name in _KEPT:
            there, kept = machine.folder / name, saved / machine.name / name
            source, target = (kept, there) if back else (there, kept)
            if not source.exists():
                continue
            if target.exists():
                shutil.rmtree(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            # The pool's file is sparse, and stays so.
            subprocess.run(["cp", "-a", "--sparse=always", str(source), str(target)], check=True)


def _once(lab: Lab, path: Path, *, serial: bool) -> _Run:
    watch = _Watch(ProcessorTime(lab))
    world = counted_world(load(path), watch)
    # Silence is noticed before: it costs the budget once, whatever the plan.
    world.look()
    decided: list[Decision] = []
    world.watch = lambda _decision, event, _line: watch.event(event)
    with patch.object(running, "_width", lambda _run: 1) if serial else nullcontext():
        begin = watch.begin()
        want = Want(site="west", word="1: benchmark", by="bench")
        outcome = running.run_plan(world, PLAN, want, decided=decided.append)
    if outcome.failures:
        raise DrError("; ".join(outcome.failures))
    world.close()
    starts = {str(call.args[0]): call for call in watch.made if call.method == "start"}
    if set(starts) != set(GUESTS):
        raise DrError(f"{len(starts)} of {len(GUESTS)} guests were started")
    actions = decided[0].actions
    parts = {i: at - watch.begun[i] for i, at in watch.ended.items() if i in watch.begun}
    last = max(starts.values(), key=lambda call: call.end)
    processor = watch.processor[f"start {last.args[0]}"] - watch.processor["begin"]
    for action in _last(actions):
        vm = action.of["vm"]
        # They count until they are started, not until they are well.
        parts[action.id] = starts[vm].end - watch.begun[action.id]
        if serial and starts[vm] is not last:
            processor -= watch.processor[f"end {action.id}"] - watch.processor[f"start {vm}"]
    return _Run(
        last.end - begin,
        min(watch.begun.values()) - begin,
        parts,
        processor,
        decided[0],
        watch.between(begin, last.end),
    )


def _starts(actions: Sequence[Action]) -> list[Action]:
    return [action for action in actions if action.verb == "start"]


def _last(actions: Sequence[Action]) -> list[Action]:
    """Starts that no other waits for."""
    waited = {i for action in _starts(actions) for i in (*action.after, *action.last)}
    return [action for action in _starts(actions) if action.id not in waited]


def _chain(run: _Run) -> tuple[float, list[str]]:
    """Seconds of the slowest chain that ends with a start, and the chain."""
    end: dict[str, tuple[float, list[str]]] = {}
    for action in run.decision.actions:
        before = max((end[i] for i in (*action.after, *action.last) if i in end), default=(0.0, []))
        end[action.id] = (before[0] + run.parts.get(action.id, 0.0), [*before[1], action.id])
    seconds, chain = max(end[action.id] for action in _starts(run.decision.actions))
    return run.first + seconds, chain


def _row(whole: list[_Run], alone: list[_Run]) -> Row:
    measured = min(run.seconds for run in whole)
    chains = [_chain(run) for run in alone]
    chain = min(seconds for seconds, _ in chains)
    work = min(run.processor / _CORES for run in alone)
    middle = sorted(whole, key=lambda run: run.seconds)[len(whole) // 2]
    return Row(
        name="lab-failover",
        title=f"failover of {len(GUESTS)} guests in three tiers to two hosts, the run's start to the last domain's",
        measured=measured,
        reference=max(chain, work),
        limit=LIMIT,
        unit="s",
        facts={
            "seconds": [round(run.seconds, 3) for run in whole],
            "processorSeconds": [round(run.processor, 2) for run in whole],
            "slowestChain": {"seconds": [round(seconds, 3) for seconds, _ in chains], "of": chains[0][1]},
            "partsAlone": {
                "processorSeconds": [round(run.processor, 2) for run in alone],
                "oneAfterTheOther": [round(run.seconds, 3) for run in alone],
                "untilTheFirst": [round(run.first, 3) for run in alone],
                "seconds": {i: [round(run.parts.get(i, 0.0), 3) for run in alone] for i in alone[0].parts},
            },
            "partsTogether": {i: round(seconds, 3) for i, seconds in middle.parts.items()},
            "callsByKind": by_method(middle.calls),
        },
        remark=f"best of {len(whole)}, in turn with the parts alone: slowest chain {chain:.2f} s, processor time over {_CORES} {work:.2f} s",
    )
