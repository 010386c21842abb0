"""Row 5: what a dark site costs a command that only looks."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.real.topology import BUDGET
from bench.report import Row
from dr_provider.model.errors import DrError
from lab.machines import Lab

__all__ = ["LIMIT", "silence"]

LIMIT = 1.1
"""Times the budget: once, and what it takes to start and end."""


def silence(lab: Lab, path: Path, *, repeats: int) -> Row:
    """`dr status`, as a command of its own each time, with both sites there and with one cut off, in turn."""
    alive: list[float] = []
    dark: list[float] = []
    for _ in range(repeats):
        alive.append(_status(path, silent=False))
        lab.cut("operator", "east")
        try:
            dark.append(_status(path, silent=True))
        finally:
            lab.heal("operator", "east")
    both, one = statistics.median(alive), statistics.median(dark)
    return Row(
        name="lab-silence",
        title="dr status with a dark site (an array, two hosts), more than with both sites there",
        measured=one - both,
        reference=BUDGET,
        limit=LIMIT,
        unit="s",
        facts={"bothThere": [round(s, 3) for s in alive], "oneDark": [round(s, 3) for s in dark]},
        remark=f"median of {repeats}, in turn: {one:.2f} s, less {both:.2f} s; the budget is {BUDGET:g} s",
    )


def _status(path: Path, *, silent: bool) -> float:
    words = [str(Path(sys.executable).with_name("dr")), "--topology", str(path), "status"]
    begin = time.monotonic()
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    seconds = time.monotonic() - begin
    # A site that is silent is not well (1); 2 would be our own words.
    if done.returncode not in ((0, 1) if silent else (0,)):
        raise DrError(f"dr status ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
    return seconds
