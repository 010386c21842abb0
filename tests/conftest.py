"""For all tests: nothing is written into the user's own folders."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

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
