"""What `dr` reads besides its own modules is part of the package: a `dr` that was installed by pip finds it."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_file_of_the_package_is_installed() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    installed = {
        file
        for package, patterns in told.items()
        for pattern in patterns
        for file in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    there = {file for file in (ROOT / "dr_provider").rglob("*") if file.is_file() and "__pycache__" not in file.parts}
    assert {file for file in there - installed if file.suffix != ".py"} == set()
    assert {file.name for file in installed} >= {
        "runbook.html.j2",
        "github.yml.j2",
        "report.html.j2",
        "topology.yaml.j2",
    }
