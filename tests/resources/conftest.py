"""Stacks in process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dr_provider.resources import session
from tests.resources.local_engine import LocalStack


@pytest.fixture(autouse=True)
def _fresh_session() -> Iterator[None]:
    session.forget()
    yield
    session.forget()


@pytest.fixture
def stack(tmp_path: Path) -> Callable[..., LocalStack]:
    """A stack that is not made yet; options are those of `topology_document`."""

    def make(**options: Any) -> LocalStack:
        return LocalStack(tmp_path / "shop", options={"source_budget": "200ms", **options})

    return make


@pytest.fixture
def shop(stack: Callable[..., LocalStack]) -> LocalStack:
    """A stack that is up at east, written to and protected."""
    made = stack()
    made.config = {"active_sites": {"shop": "east"}}
    made.up()
    for vm in made.topology.vms:
        made.bench.write(vm, 8)
    made.protect()
    return made
