"""`make bench`: all rows, as a table and as JSON under build/bench/; status 1 when a bound is broken, 2 for words that are wrong."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from bench.engine import PULUMI
from bench.failover import failover
from bench.preview import preview
from bench.report import Row, show, store
from bench.topology import SMALL, WHOLE, Size
from bench.transfer import transfers
from dr_provider.model.errors import DrError

__all__ = ["main"]

FOLDER = Path("build") / "bench"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="The benchmarks: see docs/benchmarks.md")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="failover, preview, transfer; all if left out")
    parser.add_argument("--small", action="store_true", help="tiny sizes: to see that it works, not to measure")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where results and what is measured go")
    asked = parser.parse_args(words)
    size: Size = SMALL if asked.small else WHOLE
    work = Path(asked.folder).absolute() / "work"
    kinds: dict[str, Callable[[], list[Row]]] = {
        "failover": lambda: [failover(work / "failover", size, more=0 if asked.small else 7)],
        "preview": lambda: [preview(work / "preview", size)],
        "transfer": lambda: transfers(work / "transfer", size=1 << 20 if asked.small else 64 << 20),
    }
    chosen = asked.rows or list(kinds)
    if unknown := [name for name in chosen if name not in kinds]:
        print(f"there is no row {unknown[0]!r}; there are {', '.join(kinds)}", file=sys.stderr)
        return 2
    console = Console(width=None if sys.stdout.isatty() else 130)
    rows: list[Row] = []
    failed = False
    for name in chosen:
        if name == "preview" and not PULUMI.exists():
            print("preview: left out, there is no Pulumi engine in .venv/bin; run make setup", file=sys.stderr)
            failed = True
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        shutil.rmtree(work, ignore_errors=True)
        try:
            rows += kinds[name]()
        except DrError as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
        finally:
            shutil.rmtree(work, ignore_errors=True)
    for row in rows:
        store(row, asked.folder)
    show(rows, console)
    if asked.small:
        return int(failed)
    return int(failed or not all(row.kept for row in rows))


if __name__ == "__main__":
    sys.exit(main())
