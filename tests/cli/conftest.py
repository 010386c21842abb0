"""`dr` in this process: exit status, stdout and stderr of one call."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import typer.testing
from typer.main import get_command
from typer.testing import CliRunner

from dr_provider.model import stopping
from tests.cli.fakes import Reconciler
from tests.support.topologies import write_topology


@dataclass(frozen=True)
class Said:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout, which must be one JSON document and nothing else."""
        return json.loads(self.out)


Dr = Callable[..., Said]


# Typer puts all commands together anew for each call, which takes longer than most of them.
_commands = cache(get_command)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No stack, topology or terminal settings of the machine that runs the tests."""
    for name in (
        "DR_TOPOLOGY",
        "PULUMI_STACK",
        "PULUMI_HOME",
        "PULUMI_BACKEND_URL",
        "NO_COLOR",
        "FORCE_COLOR",
        "COLUMNS",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "no-home"))
    yield
    stopping.clear()


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    return write_topology(tmp_path / "project")


@pytest.fixture
def dr() -> Dr:
    def call(*words: str, keys: str = "") -> Said:
        from dr_provider.cli.main import app

        with patch.object(typer.testing, "_get_command", _commands):
            result = CliRunner().invoke(app, list(words), input=keys)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    return call


@pytest.fixture
def reconciler(monkeypatch: pytest.MonkeyPatch) -> Reconciler:
    fake = Reconciler()
    for name, module in fake.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    return fake
