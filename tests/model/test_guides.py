"""The topologies that the documentation shows are good ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dr_provider.model.loader import parse

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```yaml\n(version: 1\n.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("file", "name"), [("zfs-libvirt.md", "shop-prod"), ("topology.md", "shop-prod")])
def test_the_topology_that_a_guide_shows_is_good(file: str, name: str, tmp_path: Path) -> None:
    (block,) = BLOCK.findall((DOCS / file).read_text(encoding="utf-8"))
    for image in re.findall(r"image: ([^\s,}]+)", block):
        (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / image).write_bytes(bytes(4096))
    topology = parse(block, source=file, base=tmp_path)
    assert topology.name == name
    assert topology.plans["shop"].sites == ("east", "west")
