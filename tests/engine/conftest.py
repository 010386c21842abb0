"""The real engine: each test has a project, a backend and a home of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.bench import PULUMI, Project


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = None if PULUMI.exists() else pytest.mark.skip(reason="no Pulumi engine in .venv/bin: run `make setup`")
    for item in items:
        if Path(__file__).parent in Path(str(item.fspath)).parents:
            item.add_marker(pytest.mark.engine)
            if missing is not None:
                item.add_marker(missing)


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Project]:
    """A new project; options are those of `topology_document`."""

    def make(**options: Any) -> Project:
        return Project(tmp_path / "project", options)

    return make


@pytest.fixture
def shop(project: Callable[..., Project]) -> Project:
    """A plan that is up at east, written to, and protected."""
    made = project()
    made.make_stack(activeSites={"shop": "east"})
    made.up()
    made.write()
    made.protect()
    return made
