"""Rows 2 and 3: what a protect cycle costs beside its transfers, and how long it holds the guests still."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.calls import Call, Calls, counted_world
from bench.real.guests import Stamps
from bench.real.shop import ENTRIES
from bench.real.sites import PEER, ProcessorTime, destroy, plainly, receive_all, volumes_on
from bench.real.topology import GUESTS, PLAN, plan_of_guests, volume_of
from bench.report import Row
from dr_provider.model.errors import DrError
from dr_provider.model.loader import load
from dr_provider.reconcile.protect import protect_plan
from lab.machines import Lab

__all__ = ["FROZEN", "OVERHEAD", "cycles"]

OVERHEAD = 1.5
"""Seconds that a cycle may take beside its transfers."""
FROZEN = 1.0
"""Seconds that a guest may be held still."""


@dataclass(frozen=True)
class _Turn:
    """Seconds of one cycle, of the same increments sent plainly (one after the other, all at once), and of the guests' stillness.

    `processor`: of the cycle and of the increments all at once, guests included; what another process takes of the machine is not in it.
    """

    cycle: float
    serial: float
    abreast: float
    processor: tuple[float, float]
    held: dict[str, float]
    between: float
    calls: list[Call]


def cycles(lab: Lab, path: Path, stamps: Stamps, *, repeats: int) -> list[Row]:
    """The cycle with its guests held still, and the same where they are not asked: what arrays and reconciler take of it alone."""
    crash = plan_of_guests(lab, path.with_name("crash.yaml"), consistency="crash")
    turns, alone = (
        _turns(lab, file, stamps, level, repeats) for file, level in ((path, "application"), (crash, "crash"))
    )
    return [_overhead(turns, "application"), _overhead(alone, "crash"), _frozen(turns)]


def _turns(lab: Lab, path: Path, stamps: Stamps, level: str, repeats: int) -> list[_Turn]:
    """The first cycle is not counted: it is when the peer gets what its increments build upon."""
    calls = Calls()
    world = counted_world(load(path), calls)
    source, target = lab.machine("east-a"), lab.machine("west-a")
    clock = ProcessorTime(lab)

    def protect() -> tuple[float, float, str]:
        stamps.write(ENTRIES)
        calls.clear()
        processor, begin = clock.seconds(), time.monotonic()
        outcome = protect_plan(world, PLAN, now=True)
        seconds, processor = time.monotonic() - begin, clock.seconds() - processor
        if outcome.failures or outcome.warnings or outcome.point is None or outcome.level != level:
            said = (*outcome.failures, *outcome.warnings) or (f"it reached {outcome.level}",)
            raise DrError(f"a cycle of plan {PLAN} did not go as it should: {'; '.join(said)}")
        return seconds, processor, outcome.point

    _, _, before = protect()
    stamps.held()
    datasets = {volume_of(guest): volumes_on(source)[volume_of(guest)][0] for guest in GUESTS}
    for how in ("serial", "abreast"):
        receive_all(source, "west-a", {f"{level}-{how}-{name}": f"{at}@{before}" for name, at in datasets.items()})
    turns: list[_Turn] = []
    for turn in range(repeats):
        seconds, processor, point = protect()
        held = {guest: max(spans, default=0.0) for guest, spans in stamps.held().items()}
        ways = ("serial", "abreast") if turn % 2 else ("abreast", "serial")
        plain: dict[str, tuple[float, float]] = {}
        for how in ways:
            began = clock.seconds()
            copies = {name: f"{PEER}/{level}-{how}-{name}" for name in datasets}
            steps = [(f"{at}@{before}", f"{at}@{point}", copies[name]) for name, at in datasets.items()]
            took = plainly(source, "west-a", steps, how=how)
            plain[how] = (took, clock.seconds() - began)
            for copy in copies.values():
                destroy(target, f"{copy}@{before}")
        turns.append(
            _Turn(
                seconds,
                plain["serial"][0],
                plain["abreast"][0],
                (processor, plain["abreast"][1]),
                held,
                _between(calls.made) if level == "application" else 0.0,
                list(calls.made),
            )
        )
        before = point
    world.close()
    return turns


def _between(calls: Iterable[Call]) -> float:
    """Seconds from the first freeze's return to the last thaw's call: what the product itself adds to the guests' stillness."""
    made = list(calls)
    return max(c.begin for c in made if c.method == "thaw") - min(c.end for c in made if c.method == "freeze")


def _overhead(turns: list[_Turn], level: str) -> Row:
    cycle, serial, abreast = (min(getattr(turn, name) for turn in turns) for name in ("cycle", "serial", "abreast"))
    middle = sorted(turns, key=lambda turn: turn.cycle)[len(turns) // 2]
    begin = min(call.begin for call in middle.calls)
    return Row(
        name=f"lab-cycle-{level}",
        title=f"a protect cycle ({level}-consistent) of {len(GUESTS)} volumes with hardly anything changed, less the same increments by plain ZFS",
        measured=cycle - min(serial, abreast),
        reference=OVERHEAD,
        limit=1.0,
        unit="s",
        facts={
            "cycleSeconds": [round(turn.cycle, 3) for turn in turns],
            "plainSeconds": {
                "oneAfterTheOther": [round(turn.serial, 3) for turn in turns],
                "allAtOnce": [round(turn.abreast, 3) for turn in turns],
            },
            "processorSeconds": {
                "cycle": [round(turn.processor[0], 2) for turn in turns],
                "plainAllAtOnce": [round(turn.processor[1], 2) for turn in turns],
            },
            "callsOfTheMiddleOne": [
                [call.device, call.method, round(call.begin - begin, 3), round(call.end - call.begin, 3)]
                for call in sorted(middle.calls, key=lambda call: call.begin)
            ],
        },
        remark=f"best of {len(turns)}: {cycle:.2f} s, less {min(serial, abreast):.2f} s ({serial:.2f} s one after the other, {abreast:.2f} s all at once)",
    )


def _frozen(turns: list[_Turn]) -> Row:
    worst = [max(turn.held.values()) for turn in turns]
    return Row(
        name="lab-freeze",
        title=f"how long the slowest of {len(GUESTS)} guests is held still in a backup, on its own clock",
        measured=statistics.median(worst),
        reference=FROZEN,
        limit=1.0,
        unit="s",
        facts={
            "slowestGuestSeconds": [round(seconds, 3) for seconds in worst],
            "guestSeconds": [{guest: round(s, 3) for guest, s in turn.held.items()} for turn in turns],
            "firstFreezeToLastThawCall": [round(turn.between, 3) for turn in turns],
        },
        remark=f"median of {len(turns)}; longest {max(worst):.2f} s; from the first freeze's return to the last thaw's call {statistics.median(turn.between for turn in turns):.2f} s",
    )
