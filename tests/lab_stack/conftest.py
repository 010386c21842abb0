"""Failures on real machines. They need a lab that is up, named by DR_LAB, and are skipped at no cost where there is none.

The plan is made once and handed from test to test, since each ends with it whole; after one that failed, every machine is made new.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_LAB = os.environ.get("DR_LAB", "")
_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = pytest.mark.skip(reason="no lab is named by DR_LAB: run `make test-lab`")
    for item in items:
        if _HERE in Path(str(item.fspath)).parents:
            item.add_marker(pytest.mark.lab)
            item.add_marker(pytest.mark.timeout(600))
            if not _LAB:
                item.add_marker(missing)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    if report.when == "call":
        item.stash[_PASSED] = report.passed


_PASSED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def _standing() -> dict[str, Any]:
    """The plan as the last test left it, if it left it whole."""
    return {}


@pytest.fixture
def shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, _standing: dict[str, Any]
) -> Iterator[Any]:
    """A plan that runs at one site and is protected at the other."""
    from lab.machines import Lab
    from tests.lab_stack.support.machines import fresh
    from tests.lab_stack.support.shop import Shop

    made = _standing.pop("shop", None)
    if made is None:
        lab = Lab.find(_LAB)
        fresh(lab)
        made = Shop(lab, tmp_path_factory.mktemp("shop"))
        made.dr("apply")
        made.write()
        made.well()
    yield made
    left = made.end_what_runs()
    if request.node.stash.get(_PASSED, False):
        assert not left, f"the test ended with its commands under way: {left}"
        _standing["shop"] = made
