"""The real engine: each test has a project, a backend and a home of its own."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.bench import PULUMI, Project, python_for_engines


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = None if PULUMI.exists() else pytest.mark.skip(reason="no Pulumi engine in .venv/bin: run `make setup`")
    for item in items:
        if Path(__file__).parent in Path(str(item.fspath)).parents:
            item.add_marker(pytest.mark.engine)
            if missing is not None:
                item.add_marker(missing)


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return python_for_engines(tmp_path_factory.mktemp("python"))


@pytest.fixture
def project(tmp_path: Path, python: Path) -> Callable[..., Project]:
    """A new project; options are those of `topology_document`."""

    def make(**options: Any) -> Project:
        return Project(tmp_path / "project", options, python)

    return make


@pytest.fixture(scope="session")
def put_back(tmp_path_factory: pytest.TempPathFactory, python: Path) -> Callable[[], Project]:
    """The project of `shop`, made once, as it was then. Its states hold absolute paths, so it is always in the same place."""
    folder = tmp_path_factory.mktemp("shop")
    place, kept = folder / "project", folder / "kept"
    made = Project(place, {}, python)
    made.make_stack(activeSites={"shop": "east"})
    made.up()
    made.write()
    made.protect()
    shutil.copytree(place, kept, symlinks=True)
    used = itertools.count(1)

    def again() -> Project:
        # Moved away, so that a process which a test left behind has it for itself, and people can see what a failure left.
        place.rename(folder / f"used-{next(used)}")
        shutil.copytree(kept, place, symlinks=True)
        return Project(place, {}, python)

    return again


@pytest.fixture
def shop(put_back: Callable[[], Project]) -> Project:
    """A plan that is up at east, written to, and protected."""
    return put_back()
