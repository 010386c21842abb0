"""What a zfs array has beside what is dr's, by transcripts of `zfs list` and `zfs get` (OpenZFS 2.1)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from dr_provider.arrays.base import NO_GUARD
from dr_provider.arrays.zfs import ZfsArray
from dr_provider.arrays.zfs.remote.core import Context, Done
from dr_provider.arrays.zfs.remote.inventory import inventory
from dr_provider.model.errors import NotReady
from dr_provider.model.inventory import FoundVolume
from dr_provider.model.records import Guard
from dr_provider.model.topology import ArraySpec

POOL = {
    "tank": ("filesystem", "900", "-", "0"),
    "tank/dr": ("filesystem", "100", "-", "0"),
    "tank/dr/vols": ("filesystem", "100", "-", "0"),
    "tank/drawings": ("filesystem", "50", "-", "0"),
    "tank/home": ("filesystem", "300", "-", "1073741824"),
    "tank/vm-101-disk-0": ("volume", "400", "34359738368", "-"),
    "tank/gone": ("filesystem", "1", "-", "0"),
}


def transcript(words: Sequence[str]) -> Done:
    """`gone` is destroyed between the two commands."""
    if words[1] == "list":
        assert words == ["zfs", "list", "-rH", "-t", "filesystem,volume", "-o", "name", "tank"]
        return Done(0, "".join(f"{name}\n" for name in POOL), "")
    keys, names = words[words.index("-o") + 2].split(","), words[words.index("-o") + 3 :]
    assert keys == ["type", "used", "volsize", "quota"]
    there = [name for name in names if name != "tank/gone"]
    lines = [f"{name}\t{key}\t{value}\n" for name in there for key, value in zip(keys, POOL[name], strict=True)]
    return Done(1, "".join(lines), "cannot open 'tank/gone': dataset does not exist")


@pytest.mark.parametrize("pool", ["tank", "tank/given"])
def test_what_is_not_dr_s_is_listed(pool: str) -> None:
    config = {"name": "a", "site": "east", "pool": pool, "dataset": "dr", "luns": {}}
    ctx = Context(deadline=time.monotonic() + 5, config=config, execute=lambda words, _: transcript(words))
    names = {row["name"]: (row["kind"], row["used"], row["size"]) for row in inventory(ctx)}
    assert names["tank/drawings"] == ("filesystem", 50, None)
    assert names["tank/home"] == ("filesystem", 300, 1 << 30)
    assert names["tank/vm-101-disk-0"] == ("zvol", 400, 32 << 30)
    assert ("tank/dr" in names) is (pool != "tank")
    assert not {"tank", "tank/gone"} & set(names)


class Asked(ZfsArray):
    """An array whose answers are given."""

    answers: dict[str, Any]

    def _ask(self, op: str, guard: Guard = NO_GUARD, /, *, timeout: float | None = None, **args: Any) -> Any:
        answer = self.answers[op]
        if isinstance(answer, Exception):
            raise answer
        return answer


STATE = {
    "own_id": "x", "serial": 1, "capacity": 10, "used": 1, "records": {}, "clock": "", "texts": [],
    "volumes": {
        "shop": {
            "size": 64, "kind": "data", "writable": True, "owner": ["t", "", "1"], "luns": {}, "snapshots": [], "changed": 0,
            "last_write": None, "origin": None, "records": {}, "used": 7,
        }
    },
}  # fmt: skip
ROW = {"name": "tank/home", "kind": "filesystem", "used": 3, "size": None}


@pytest.mark.parametrize(
    ("state", "mine"),
    [(STATE, [FoundVolume("shop", "data", 7, 64, "t")]), (NotReady("no dataset", missing=True), [])],
    ids=["made", "not made yet"],
)
def test_what_is_dr_s_comes_first(state: Any, mine: list[FoundVolume]) -> None:
    array = Asked(ArraySpec("a", "east", "zfs", {"endpoints": ["ssh://a"], "pool": "tank"}), timeout=1)
    array.answers = {"state": state, "inventory": [ROW]}
    assert list(array.inventory()) == [*mine, FoundVolume("tank/home", "filesystem", 3)]


def test_an_array_that_is_not_ready_says_so() -> None:
    array = Asked(ArraySpec("a", "east", "zfs", {"endpoints": ["ssh://a"], "pool": "tank"}), timeout=1)
    array.answers = {"state": NotReady("suspended"), "inventory": []}
    with pytest.raises(NotReady):
        array.inventory()
