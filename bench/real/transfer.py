"""Row 1: an increment of a LUN, sent by the product, by plain `zfs send | ssh zfs receive`, and by rsync: the same snapshot each time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bench.calls import Call, Calls, counted_world
from bench.real.sites import PEER, destroy, looked_into, plainly, receive_all, timed, volumes_on
from bench.real.topology import plan_of_guests
from bench.report import Row
from dr_provider.model.errors import DrError
from dr_provider.model.loader import load
from dr_provider.model.records import Guard, Owner
from dr_provider.protection.replication import send_volume
from dr_provider.reconcile.world import World
from lab.machines import Lab, Machine

__all__ = ["PLAIN", "RSYNC", "SHARES", "transfers"]

PLAIN = 1.111
"""Times the seconds of plain ZFS: 0.9 of its throughput."""
RSYNC = 0.333
"""Times the seconds of rsync, at the smallest share."""
SHARES = {0.01: 5, 0.1: 3, 1.0: 3}
"""Shares of the LUN's records that are changed, and how often each is measured."""
_ANEW = 3
"""How often the smallest is measured as the first step of a session too."""

_VOLUME, _LUN = "bulk", "vm.root"
_OWNER = Owner("bench", "", "1")
_RSYNC = "/run/rsync/lun.img"
_RECORD = 32 << 10
_RUNS = 8
"""Contiguous runs that a change consists of, spread over the LUN."""

# Arguments: file, then offset and length of each run. Random bytes: nothing on the way can compress them.
_WRITE = """
import os, sys
file = os.open(sys.argv[1], os.O_WRONLY)
runs = [int(word) for word in sys.argv[2:]]
for offset, length in zip(runs[::2], runs[1::2]):
    for at in range(offset, offset + length, 1 << 20):
        os.pwrite(file, os.urandom(min(1 << 20, offset + length - at)), at)
os.fsync(file)
"""


@dataclass
class _Pair:
    """One LUN of `size` bytes at east, and its copies at west: the product's, plain ZFS's and rsync's."""

    lab: Lab
    world: World
    size: int
    calls: Calls
    """Of the product, since its last send began."""
    points: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.source, self.target = self.lab.machine("east-a"), self.lab.machine("west-a")
        fleet = self.world.fleet
        for name in ("east-a", "west-a"):
            fleet.array(name).create()
        fleet.array("east-a").create_volume(_VOLUME, self.size, _OWNER)
        fleet.array("east-a").create_lun(_VOLUME, _LUN, self.size)
        self.dataset, place = volumes_on(self.source)[_VOLUME]
        self.file = self.source.exec(["find", place, "-name", "*.img"]).out.strip()
        self.target.exec(["zfs", "create", "-o", f"recordsize={_RECORD}", "-o", "mountpoint=/run/rsync", "tank/rsync"])

    def change(self, runs: Sequence[tuple[int, int]]) -> str:
        """Write the runs and take a snapshot; its name."""
        words = [str(number) for run in runs for number in run]
        self.source.exec(["/usr/bin/python3", "-c", _WRITE, self.file, *words], timeout=600)
        name = f"s{int(self.points[-1][1:]) + 1 if self.points else 0}"
        self.world.fleet.array("east-a").snapshot([_VOLUME], name)
        self.points.append(name)
        return name

    def anew(self) -> None:
        """End the product's sessions with the arrays, and with them the connection between the two."""
        for name in ("east-a", "west-a"):
            self.world.fleet.array(name).close()

    # -- the three ---------------------------------------------------------------------------------

    def ours(self) -> float:
        fleet = self.world.fleet
        states = [fleet.array(name).state().volumes.get(_VOLUME) for name in ("east-a", "west-a")]
        source, target = states
        if source is None:
            raise DrError(f"volume {_VOLUME} is not on east-a")
        self.calls.clear()
        begin = time.monotonic()
        send_volume(
            fleet,
            _VOLUME,
            "east-a",
            "west-a",
            source,
            target,
            snapshot=self.points[-1],
            owner=_OWNER,
            guard=Guard(),
            full_ok=target is None,
        )
        return time.monotonic() - begin

    def plain(self) -> float:
        at = f"{self.dataset}@{self.points[-1]}"
        if len(self.points) == 1:
            begin = time.monotonic()
            receive_all(self.source, "west-a", {_VOLUME: at})
            return time.monotonic() - begin
        return plainly(self.source, "west-a", [(f"{self.dataset}@{self.points[-2]}", at, f"{PEER}/{_VOLUME}")])

    def rsync(self) -> float:
        with looked_into(self.source, f"{self.dataset}@{self.points[-1]}") as file:
            words = ["rsync", "--inplace", "--no-whole-file", "-e", "ssh", file, f"west-a:{_RSYNC}"]
            return timed(self.source, words)

    # -- afterwards --------------------------------------------------------------------------------

    def check(self) -> None:
        """All hold the same bytes. Raises DrError."""
        at = self.points[-1]
        ours, _ = volumes_on(self.target)[_VOLUME]
        # Both machines read at once; each looks into one clone at a time.
        with ThreadPoolExecutor(1) as pool:
            wanted = pool.submit(_sum_in, self.source, f"{self.dataset}@{at}")
            found = {
                "dr": _sum_in(self.target, f"{ours}@{at}"),
                "plain ZFS": _sum_in(self.target, f"{PEER}/{_VOLUME}@{at}"),
                "rsync": _sum(self.target, _RSYNC),
            }
            if wrong := [name for name, value in found.items() if value != wanted.result()]:
                raise DrError(f"after {at} the copy by {', '.join(wrong)} differs from its source")

    def forget(self) -> None:
        """Remove what is older than the last snapshot."""
        for name in self.points[:-1]:
            for array in ("east-a", "west-a"):
                self.world.fleet.array(array).delete_snapshots({_VOLUME: [name]})
            destroy(self.target, f"{PEER}/{_VOLUME}@{name}")
        del self.points[:-1]


def _sum(machine: Machine, file: str) -> str:
    return machine.exec(["sha256sum", file], timeout=900).out.split()[0]


def _sum_in(machine: Machine, snapshot: str) -> str:
    with looked_into(machine, snapshot) as file:
        return _sum(machine, file)


def _runs(size: int, share: float, turn: int) -> list[tuple[int, int]]:
    """Offset and length of each run: equal parts of the LUN, one run in each, elsewhere at each turn."""
    if share >= 1:
        return [(0, size)]
    part = size // _RUNS
    length = max(1, round(part * share / _RECORD)) * _RECORD
    step = (part - length) // _RECORD
    return [(n * part + (turn * 977 + n * 131) % step * _RECORD, length) for n in range(_RUNS)]


def transfers(lab: Lab, folder: Path, *, size: int, shares: dict[float, int]) -> list[Row]:
    """A full copy by each way, then increments; who goes first changes at each turn."""
    calls = Calls()
    world = counted_world(load(plan_of_guests(lab, folder / "shop.yaml")), calls)
    pair = _Pair(lab, world, size, calls)
    ways: dict[str, Callable[[], float]] = {"dr": pair.ours, "zfs": pair.plain, "rsync": pair.rsync}
    pair.change([(0, size)])
    full = {name: way() for name, way in ways.items()}
    pair.check()
    rows: list[Row] = []
    turn = 0
    for share, repeats in shares.items():
        taken: dict[str, list[float]] = {name: [] for name in ways}
        first: list[float] = []
        parts: list[list[Call]] = []
        changed = 0
        for number in range(repeats + (min(repeats, _ANEW) if share == min(shares) else 0)):
            if number >= repeats:
                pair.anew()
            turn += 1
            runs = _runs(size, share, turn)
            changed = sum(length for _, length in runs)
            pair.change(runs)
            names = list(ways)
            for name in names[turn % 3 :] + names[: turn % 3]:
                seconds = ways[name]()
                (first if name == "dr" and number >= repeats else taken[name]).append(seconds)
                if name == "dr":
                    parts.append(list(calls.made))
            pair.check()
            pair.forget()
        rows += _rows(share, changed, taken, first, full, parts)
    world.close()
    return rows


def _rows(
    share: float,
    changed: int,
    taken: dict[str, list[float]],
    first: list[float],
    full: dict[str, float],
    parts: list[list[Call]],
) -> list[Row]:
    """`first`: seconds of the product's steps that were the first of a session, in the last turns; of the smallest share alone."""
    best = {name: min(seconds) for name, seconds in taken.items()}
    speed = {name: changed / seconds / 2**20 for name, seconds in best.items()}
    facts = {
        "bytesChanged": changed,
        "seconds": {name: [round(s, 3) for s in seconds] for name, seconds in {**taken, "first of dr": first}.items()},
        "mebibytesPerSecond": {name: round(value, 1) for name, value in speed.items()},
        "callsOfDr": [[[call.device, call.method, round(call.end - call.begin, 3)] for call in each] for each in parts],
        "fullCopySeconds": {name: round(seconds, 2) for name, seconds in full.items()},
    }
    remark = f"best of {len(taken['dr'])}, in turn; {changed / 2**20:.0f} MiB, " + ", ".join(
        f"{name} {value:.0f} MiB/s" for name, value in speed.items()
    )
    percent = f"{share:.0%}".replace("%", "-percent")
    title = f"increment after {share:.0%} of a LUN was changed, against"
    plain = f"{title} plain zfs send | ssh zfs receive"
    rows = [
        Row(f"lab-transfer-{percent}", plain, best["dr"], best["zfs"], "s", PLAIN, facts, remark),
        Row(f"lab-rsync-{percent}", f"{title} rsync", best["dr"], best["rsync"], "s", RSYNC if first else None, facts, remark),
    ]  # fmt: skip
    if first:
        title, remark = f"{plain}, as the first step of a session", f"best of {len(first)}"
        beside = min(taken["zfs"][-len(first) :])
        rows.append(Row(f"lab-transfer-{percent}-first", title, min(first), beside, "s", facts=facts, remark=remark))
    return rows
