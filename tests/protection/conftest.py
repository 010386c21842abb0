from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model.loader import load
from dr_provider.model.topology import Topology
from tests.support.topologies import write_topology

MakeTopology = Callable[..., Topology]


@pytest.fixture(scope="session")
def make_topology(tmp_path_factory: pytest.TempPathFactory) -> MakeTopology:
    """A topology of the factory's options, two sites and two volumes unless said otherwise."""

    def make(**options: Any) -> Topology:
        folder: Path = tmp_path_factory.mktemp("topology")
        return load(write_topology(folder, **options))

    return make


@pytest.fixture(scope="session")
def topology(make_topology: MakeTopology) -> Topology:
    return make_topology()
