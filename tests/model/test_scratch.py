"""Folders of processes that were killed go with the next that is made, and no others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from pathlib import Path

import pytest

from dr_provider.model import scratch as module
from dr_provider.model.scratch import Scratch, scratch


@pytest.fixture(autouse=True)
def within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def old(path: Path) -> Path:
    hour_ago = time.time() - 3600
    os.utime(path, (hour_ago, hour_ago))
    return path


def left_by_a_killed_process() -> Path:
    ours, theirs = multiprocessing.Pipe(duplex=False)

    def work() -> None:
        made = Scratch("test")
        (made.path / "file").write_text("x", encoding="utf-8")
        theirs.send(made.path)
        os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(60)
    left: Path = ours.recv()
    return left


def fail(folder: Path) -> None:
    (folder / "file").write_text("x", encoding="utf-8")
    raise OSError("a fault of the test")


def test_it_is_ours_alone_and_goes_with_its_work_however_that_ends(within: Path) -> None:
    with scratch("test") as folder:
        assert folder.name.startswith("dr-test-")
        assert folder.stat().st_mode & 0o777 == 0o700
    with pytest.raises(OSError, match="a fault of the test"), scratch("test") as folder:
        fail(folder)
    assert list(within.iterdir()) == []


def test_what_a_killed_process_left_goes_when_the_next_is_made(within: Path) -> None:
    dead = old(left_by_a_killed_process())
    just_now = left_by_a_killed_process()
    alive = Scratch("test")
    old(alive.path)
    other, link, file = within / "dr-other-1", within / "dr-test-link", within / "dr-test-file"
    other.mkdir()
    file.write_text("x", encoding="utf-8")
    link.symlink_to(other)
    for path in (other, file):
        old(path)
    module._clear.cache_clear()
    with scratch("test") as folder:
        there = set(within.iterdir())
    alive.remove()
    assert there == {folder, just_now, alive.path, other, link, file}
    assert dead not in there
