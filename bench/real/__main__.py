"""`make bench-lab`: the rows of the real stack, as a table and as JSON under build/bench/; status 1 when a bound is broken, 2 for wrong words."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
from rich.console import Console

from bench.__main__ import FOLDER
from bench.real.cycle import cycles
from bench.real.failover import failover
from bench.real.shop import made
from bench.real.silence import silence
from bench.real.transfer import SHARES, transfers
from bench.report import Row, show, store
from demo.commands import CommandFailed
from dr_provider.model.errors import DrError
from lab.layout import BASE
from lab.machines import Lab

__all__ = ["main"]

ROWS = ("transfer", "cycle", "silence", "failover")
_POOL = 24 << 30
"""Bytes that a pool may grow to: three copies of a LUN of 1 GiB, and what was changed of each."""


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.real", description="Benchmarks in a lab: docs/benchmarks.md")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"{', '.join(ROWS)}; all if left out")
    parser.add_argument("--small", action="store_true", help="small and once: to see that it works, not to measure")
    parser.add_argument("--keep", action="store_true", help="leave the lab up at the end")
    parser.add_argument("--name", default="bench", help="the lab's name; one of that name is removed first (bench)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where results go")
    asked = parser.parse_args(words)
    if unknown := [name for name in asked.rows if name not in ROWS]:
        print(f"there is no row {unknown[0]!r}; there are {', '.join(ROWS)}", file=sys.stderr)
        return 2
    rows: list[Row] = []
    try:
        _measure(asked.name, tuple(asked.rows) or ROWS, asked.folder.absolute(), rows, small=asked.small)
        failed = False
    except (DrError, CommandFailed) as error:
        print(f"bench: {error}", file=sys.stderr)
        failed = True
    finally:
        if not asked.keep:
            Lab.down(asked.name)
    show(rows, Console(width=None if sys.stdout.isatty() else 130))
    if asked.small:
        return int(failed)
    return int(failed or not all(row.kept for row in rows))


def _measure(name: str, chosen: Sequence[str], folder: Path, rows: list[Row], *, small: bool) -> None:
    """Each row is stored and added as soon as it is there."""
    work = folder / "lab-work"

    def take(row: str, measure: Callable[[], list[Row]]) -> None:
        if row in chosen:
            load = ", ".join(f"{value:.1f}" for value in psutil.getloadavg())
            print(f"{row} ... (load of this machine: {load})", file=sys.stderr, flush=True)
            for found in measure():
                store(found, folder)
                rows.append(found)

    def fresh() -> Lab:
        Lab.down(name)
        shutil.rmtree(work, ignore_errors=True)
        return Lab.up(name, base=BASE, pool_size=_POOL)

    try:
        if "transfer" in chosen:
            lab = fresh()
            size, shares = (64 << 20, dict.fromkeys(SHARES, 1)) if small else (1 << 30, SHARES)
            take("transfer", lambda: transfers(lab, work, size=size, shares=shares))
        if set(chosen) - {"transfer"}:
            lab = fresh()
            print("guests ...", file=sys.stderr, flush=True)
            path, stamps = made(lab, work)
            take("cycle", lambda: cycles(lab, path, stamps, repeats=1 if small else 7))
            take("silence", lambda: [silence(lab, path, repeats=1 if small else 3)])
            take("failover", lambda: [failover(lab, path, work, repeats=1 if small else 3)])
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
