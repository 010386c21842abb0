"""What a stack's config says about plans: every fault at once, each with what was probably meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dr_provider.model.errors import BadInput
from dr_provider.model.stack_config import read_words
from tests.support.topologies import loaded, write_topology


def words(folder: Path, **config: Any) -> object:
    return read_words(loaded(write_topology(folder)), config.get)


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"activeSites": {"shpo": "west"}}, "dr:activeSites.shpo: there is no plan 'shpo' in topology shop-test (did you mean shop?); its plans: shop"),
        ({"force": {"crm": "1: because"}}, "dr:force.crm: there is no plan 'crm' in topology shop-test; its plans: shop"),
        ({"activeSites": {"shop": "wset"}}, "dr:activeSites.shop: 'wset' is not one of the plan's sites (did you mean west?): east, west"),
        ({"drillSites": {"shop": "mars"}}, "dr:drillSites.shop: 'mars' is not one of the plan's sites: east, west"),
        ({"drillExpires": {"shop": "soon"}}, "dr:drillExpires.shop: "),
        ({"force": {"shop": 1}}, "dr:force.shop: wanted text, found 1; put it in quotes"),
        ({"activeSites": "west"}, "dr:activeSites: wanted a mapping from plan to text, found 'west'"),
        ({"adopt": "db"}, "dr:adopt: wanted a list of names, found 'db'"),
        ({"mode": "play"}, "dr:mode: wanted one of protect, drill, found 'play'"),
    ],
)  # fmt: skip
def test_what_is_wrong(tmp_path: Path, config: dict[str, Any], fault: str) -> None:
    with pytest.raises(BadInput) as raised:
        words(tmp_path, **config)
    first, *faults = str(raised.value).splitlines()
    assert first == "the stack's config is wrong; nothing was done."
    assert [line.strip()[: len(fault)] for line in faults] == [fault]
