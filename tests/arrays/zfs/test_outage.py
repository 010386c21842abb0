"""When a pool was last written before this start of ZFS: what zpool and zdb say, and what is made of it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from dr_provider.arrays.zfs.remote import outage
from dr_provider.arrays.zfs.remote.core import Context, Done

STATUS = """  pool: tank
 state: ONLINE
config:

\tNAME          STATE     READ WRITE CKSUM
\ttank          ONLINE       0     0     0
\t  mirror-0    ONLINE       0     0     0
\t    {disk}  ONLINE       0     0     0
\t    /none/b   FAULTED      0     0     0

errors: No known data errors
"""
RING = """Uberblock[4]
\tmagic = 0000000000bab10c
\tversion = 23
\ttxg = 4
\ttimestamp = 1000 UTC = Thu Jan  1 00:16:40 1970
Uberblock[5]
\ttxg = 5
\ttimestamp = 1500 UTC = Thu Jan  1 00:25:00 1970
Uberblock[6]
\ttxg = 6
\ttimestamp = 2005 UTC = Thu Jan  1 00:33:25 1970
"""


def context(answers: dict[tuple[str, ...], Done]) -> Context:
    def run(words: Sequence[str], seconds: float) -> Done:
        return answers.get(tuple(words), Done(1, "", f"unexpected {words}"))

    config = {"name": "east-a", "site": "east", "pool": "tank", "dataset": "dr"}
    return Context(config=config, deadline=time.monotonic() + 5, execute=run)


@pytest.mark.parametrize("openzfs", [True, False])
def test_the_newest_uberblock_of_before_the_start_counts(
    openzfs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.touch()
    status = Done(0, STATUS.format(disk=disk), "")
    answers = {
        ("zpool", "status", "-P", "tank"): status if openzfs else Done(2, "", "invalid option 'P'"),
        ("zpool", "status", "tank"): status,
        ("zdb", "-l", "-u", str(disk)): Done(0, RING, ""),
    }
    monkeypatch.setattr(outage, "started", lambda: 2000.0)
    assert outage.last_sync(context(answers)) == 1500
    for start in (2005.9, 2006.2):
        monkeypatch.setattr(outage, "started", lambda at=start: at)
        assert outage.last_sync(context(answers)) == 1500, "the import is no write of before the start"
    monkeypatch.setattr(outage, "started", lambda: 900.0)
    assert outage.last_sync(context(answers)) is None, "the ring holds nothing of before any more"


def test_an_account_that_may_not_read_the_disks_learns_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.touch()
    assert outage.last_sync(context({("zpool", "status", "-P", "tank"): Done(0, STATUS.format(disk=disk), "")})) is None
    assert outage.last_sync(context({})) is None


def test_the_start_is_that_of_the_daemon_else_of_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu 1 2\nbtime 5000\n")
    (tmp_path / "12").mkdir()
    (tmp_path / "12" / "comm").write_text("sshd\n")
    assert outage.started(tmp_path) == 5000
    (tmp_path / "13").mkdir()
    (tmp_path / "13" / "comm").write_text("zfs-fuse\n")
    ticks = 100 * os.sysconf("SC_CLK_TCK")
    (tmp_path / "13" / "stat").write_text(f"13 (zfs-fuse (x) S {' '.join(['0'] * 18)} {ticks} 0\n")
    assert outage.started(tmp_path) == 5100
