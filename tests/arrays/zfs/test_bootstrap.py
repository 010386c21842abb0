"""The remote program's way onto an array: what is kept there of it never decides what runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dr_provider.arrays.zfs.bootstrap import BOOTSTRAP, payload

KEPT = "dr/remote-*"


def _program(said: str) -> dict[str, str]:
    return {"dr_remote": "", "dr_remote.serve": f"def main(config): print({said!r}, config['name'])"}


def _run(cache: Path, said: str) -> str:
    words = [sys.executable, "-ISu", "-c", BOOTSTRAP]
    given = payload({"name": "east-a"}, _program(said))
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    return subprocess.run(words, input=given, capture_output=True, env=environment, check=True).stdout.decode().strip()


def test_what_was_compiled_serves_again_and_only_for_the_same_program(tmp_path: Path) -> None:
    assert _run(tmp_path, "one") == "one east-a"
    (first,) = tmp_path.glob(KEPT)
    before = first.stat().st_mtime_ns
    assert _run(tmp_path, "one") == "one east-a"
    assert first.stat().st_mtime_ns == before
    assert _run(tmp_path, "two") == "two east-a"


def test_few_are_kept(tmp_path: Path) -> None:
    for number in range(6):
        assert _run(tmp_path, f"number {number}") == f"number {number} east-a"
    assert len(list(tmp_path.glob(KEPT))) == 4


def _damaged(kept: Path) -> None:
    kept.write_bytes(kept.read_bytes()[:-1])


def _empty(kept: Path) -> None:
    kept.write_bytes(b"")


def _open_to_others(kept: Path) -> None:
    kept.write_bytes(b"x" * 100)
    kept.parent.chmod(0o777)


@pytest.mark.parametrize("spoil", [_damaged, _empty, _open_to_others], ids=lambda spoil: str(spoil.__name__).strip("_"))
def test_what_was_kept_and_cannot_be_trusted_is_not_used(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    _run(tmp_path, "one")
    (kept,) = tmp_path.glob(KEPT)
    spoil(kept)
    assert _run(tmp_path, "one") == "one east-a"


def test_where_nothing_can_be_kept_it_runs_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert _run(tmp_path / "file", "one") == "one east-a"
