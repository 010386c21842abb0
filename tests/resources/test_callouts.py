"""Callouts of a move by a stack: in its preview as they are run, once a move, and red as long as one keeps the rest from being done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.resources.local_engine import LocalStack

Make = Callable[..., LocalStack]


@pytest.fixture
def shop(stack: Make, tmp_path: Path) -> LocalStack:
    """A stack that is up at east and protected; `log` is what its callouts wrote, and without `flag` the one after tier 1 fails."""

    def calling(document: dict[str, Any]) -> None:
        told = {
            "after": "move",
            "command": ["sh", "-c", f"echo {{{{ to_site }}}} {{{{ epoch }}}} >> {tmp_path / 'log'}"],
        }
        ready = {"after": {"tier": 1}, "command": ["test", "-e", str(tmp_path / "flag")]}
        document["plans"]["shop"]["callouts"] = {"told": told, "ready": ready}

    made = stack(change=calling)
    made.config = {"active_sites": {"shop": "east"}}
    made.up()
    made.protect()
    return made


def test_a_callout_is_previewed_run_once_and_asked_again_by_the_next_up(shop: LocalStack, tmp_path: Path) -> None:
    shop.config = {"active_sites": {"shop": "west"}}
    sentences = shop.pending_actions()
    assert f"run callout ready, after tier 1 has started: test -e {tmp_path / 'flag'}" in sentences
    assert [line for line in sentences if line.startswith("run callout told, after the move: sh -c ")]
    with pytest.raises(RuntimeError, match="callout ready: it ended with exit status 1"):
        shop.up()
    assert shop.outputs("plan")["activeSite"] == "west"
    assert not (tmp_path / "log").exists()
    (tmp_path / "flag").touch()
    shop.up()
    assert (tmp_path / "log").read_text(encoding="utf-8") == "west 2\n"
    assert shop.preview() == {}
    assert shop.up() == {}
    assert (tmp_path / "log").read_text(encoding="utf-8") == "west 2\n"
