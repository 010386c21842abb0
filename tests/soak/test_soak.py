"""The short form of `make soak`: always the same games."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.soak.machine import MACHINES, Recovery

# A heartbeat has a thread of its own; where its run is killed, it dies too.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.mark.parametrize(("number", "games"), [(0, 5), pytest.param(1, 10, marks=pytest.mark.long)])
@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: str(machine.__name__))
def test_nothing_is_lost_and_nobody_writes_twice_whatever_comes(
    machine: type[Recovery], number: int, games: int
) -> None:
    """What breaks is told as it was played; `python -m tests.soak` makes it small."""
    run_state_machine_as_test(
        seed(number)(machine),
        settings=settings(
            max_examples=games,
            stateful_step_count=25,
            deadline=None,
            database=None,
            derandomize=False,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )
