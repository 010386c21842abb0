"""`make test-lab`: the contract suites, and what can fail (tests/lab_stack), on real arrays and hosts in a lab of its own.

    python -m lab.testing [WORDS FOR PYTEST...]      KEEP=1 leaves the lab up

The lab is removed before and after, whatever happens in between: what an earlier run was killed in is not tested with. Each suite writes a
JUnit report to build/test-lab/. Ends with 0 where everything passed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from lab import needs
from lab.layout import ROOT, LabError
from lab.machines import Lab

__all__ = ["NAME", "SUITES", "Suite", "main"]

NAME = "test"
"""Of the lab. Another run of the same checkout waits for nothing: it takes this one's lab down, so there is one at a time."""

REPORTS = ROOT / "build" / "test-lab"

NOTHING_TO_DO = 5
"""pytest's status where no test was selected."""

_PATIENCE = 60.0
"""Seconds that a test run has for ending in order after Ctrl-C, before it is killed."""


@dataclass(frozen=True)
class Suite:
    """One run of pytest. `limit`: seconds after which it hangs, and is ended."""

    name: str
    words: tuple[str, ...]
    limit: float


SUITES = (
    Suite("contract", ("tests/contract", "-k", "zfs or libvirt"), 1800),
    Suite("failures", ("tests/lab_stack",), 3000),
)


class _Ended(Exception):
    """A signal asked this run to end."""


def _pytest(suite: Suite, more: Sequence[str]) -> int:
    """Run a suite in a process of its own; its status. It hears Ctrl-C itself, and is waited for."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    options = ["-p", "no:cacheprovider", "--durations=15", f"--junitxml={REPORTS / f'{suite.name}.xml'}"]
    words = [sys.executable, "-m", "pytest", *suite.words, *options, *more]
    environment = os.environ | {"DR_LAB": NAME}
    process = subprocess.Popen(words, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL)
    try:
        return process.wait(timeout=suite.limit)
    except subprocess.TimeoutExpired:
        print(f"test-lab: {suite.name} did not end within {suite.limit:.0f} s", file=sys.stderr)
        return 1
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """SIGTERM and SIGINT end the tests, not the tear-down that follows."""

    def ended(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise _Ended(signal.Signals(number).name)

    before = {number: signal.signal(number, ended) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _own_lab(*, keep: bool) -> Iterator[None]:
    Lab.down(NAME)
    try:
        started = time.monotonic()
        Lab.up(NAME)
        print(f"test-lab: lab {NAME} is up after {time.monotonic() - started:.1f} s", flush=True)
        yield
    finally:
        if keep:
            print(f"test-lab: the lab stays: python -m lab status --name {NAME}; python -m lab down --name {NAME}")
        else:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            Lab.down(NAME)


def main(arguments: Sequence[str] | None = None) -> int:
    more = list(sys.argv[1:] if arguments is None else arguments)
    started = time.monotonic()
    results: dict[str, tuple[int, float]] = {}
    try:
        with _ending_in_order():
            needs.install()
            with _own_lab(keep=os.environ.get("KEEP", "") not in ("", "0")):
                for suite in SUITES:
                    began = time.monotonic()
                    status = _pytest(suite, more)
                    # With a selection of the caller's own, a suite may have none of it.
                    well = status == 0 or (bool(more) and status == NOTHING_TO_DO)
                    results[suite.name] = (0 if well else status, time.monotonic() - began)
    except LabError as problem:
        print(f"test-lab: {problem}", file=sys.stderr)
        return 1
    except _Ended as why:
        print(f"test-lab: ended by {why}; lab {NAME} is taken down", file=sys.stderr)
        return 130
    for name, (status, seconds) in results.items():
        said = "passed" if status == 0 else f"FAILED (pytest ended with {status})"
        print(f"test-lab: {name:9} {said} in {seconds:.0f} s; {REPORTS / f'{name}.xml'}")
    print(f"test-lab: {time.monotonic() - started:.0f} s in all")
    return 0 if results and all(status == 0 for status, _ in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
