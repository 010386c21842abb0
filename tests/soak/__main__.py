"""`make soak MINUTES=20 SEED=1`: the machine with fresh seeds, each worked out from SEED, until the time is over or something breaks.

Ends with what was covered. Exit 1 when something broke: the steps, made as few as could be, stand above it, with the seed that finds them
again (`python -m tests.soak --only SEED`).
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.soak.cover import COVERED
from tests.soak.machine import MACHINES
from tests.soak.mortal import Killed

_GAMES = 10
_STEPS = 40


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--only", type=int, metavar="SEED", help="play the games of this one seed, as a report names it"
    )
    options = parser.parse_args(arguments)
    seeds = [options.only] if options.only is not None else _seeds(options.seed)
    journals = tempfile.mkdtemp(prefix="dr-soak-journals-")
    os.environ["DR_STATE_HOME"] = journals
    threading.excepthook = _hook
    until = time.monotonic() + 60 * options.minutes
    try:
        return _play(seeds, until)
    finally:
        shutil.rmtree(journals, ignore_errors=True)


def _seeds(first: int) -> Iterator[int]:
    rng = random.Random(first)
    while True:
        yield rng.getrandbits(32)


def _play(seeds: Iterator[int] | list[int], until: float) -> int:
    for number, one in enumerate(seeds):
        if number and time.monotonic() > until:
            break
        machine = MACHINES[one % len(MACHINES)]
        try:
            run_state_machine_as_test(seed(one)(machine), settings=_settings())
        except KeyboardInterrupt:
            break
        except BaseException as error:  # noqa: BLE001 -- whatever broke, the seed must be told with it
            import traceback

            traceback.print_exception(error)
            print(COVERED.told())
            print(f"soak: {machine.__name__} with seed {one} broke: {type(error).__name__}: {error}")
            print(f"soak: to play it again: python -m tests.soak --only {one}")
            return 1
        print(f"soak: {COVERED.games()}", flush=True)
    print(COVERED.told())
    print("soak: nothing broke")
    return 0


def _settings() -> settings:
    return settings(
        max_examples=_GAMES,
        stateful_step_count=_STEPS,
        deadline=None,
        database=None,
        derandomize=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        report_multiple_bugs=False,
    )


def _hook(told: threading.ExceptHookArgs) -> None:
    """A heartbeat that dies with its run is no news."""
    if told.exc_type is not Killed:
        threading.__excepthook__(told)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
