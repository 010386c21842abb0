"""For all tests: nothing is written into the user's own folders, and nobody waits for a disk."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from dr_provider.arrays.embedded import store
from tests.support.memory import in_memory

# With a lab, daemons of the system look at files of tests, and might not be let in.
if "DR_LAB" not in os.environ and (memory := in_memory()):
    # Where pytest makes the folders of tests. What is synced to a disk there would take half of the suite's time; a test kills processes, not machines.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))

# The suite asks the same questions each time; DR_HYPOTHESIS=search looks for new ones.
settings.register_profile("suite", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("DR_HYPOTHESIS", "suite"))


@pytest.fixture(scope="session", autouse=True)
def _journals_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Step journals go to a folder of the test run."""
    before = os.environ.get("DR_STATE_HOME")
    os.environ["DR_STATE_HOME"] = str(tmp_path_factory.mktemp("journals"))
    yield
    if before is None:
        del os.environ["DR_STATE_HOME"]
    else:
        os.environ["DR_STATE_HOME"] = before


@pytest.fixture(autouse=True)
def _files_closed() -> Iterator[None]:
    """A process keeps its connections to an array's file for good; those of a test end with it, and with them the memory that its files take."""
    yield
    for each in list(vars(store)["_stores"].values()):
        each.close()
