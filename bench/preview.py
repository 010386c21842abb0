"""Row 2: `pulumi preview` with nothing to do, against a program of as many trivial dynamic resources, side by side."""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path

from bench.engine import ROOT, Project
from bench.report import Row
from bench.topology import Size, write

__all__ = ["LIMIT", "preview"]

LIMIT = 1.5
_PEER = "from bench.trivial import declare\n\ndeclare({count})\n"


def preview(folder: Path, size: Size, *, repeats: int = 7) -> Row:
    """Both are previewed in turn, so that what else the machine does falls on both; the medians are compared."""
    shutil.rmtree(folder, ignore_errors=True)
    ours = Project(folder / "ours", (ROOT / "stacks" / "__main__.py").read_text(encoding="utf-8"))
    topology = write(folder / "ours" / "topology", size, latency=False)
    ours.make(f"  dr:topology: {topology.absolute()}\n")
    begin = time.monotonic()
    ours.up()
    first_up = time.monotonic() - begin
    count = ours.dynamic_resources()
    peer = Project(folder / "peer", _PEER.format(count=count))
    peer.make("  dr:topology: none\n")
    peer.up()
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(repeats):
        for name, project in (("ours", ours), ("peer", peer)):
            begin = time.monotonic()
            project.preview()
            seconds[name].append(time.monotonic() - begin)
    return Row(
        name="preview",
        title=f"preview of {size.vms} VMs with nothing to do ({count} resources)",
        measured=statistics.median(seconds["ours"]),
        reference=statistics.median(seconds["peer"]),
        limit=LIMIT,
        unit="s",
        facts={
            "resources": count,
            "repeats": {name: [round(s, 3) for s in each] for name, each in seconds.items()},
            "firstUpSeconds": round(first_up, 1),
        },
        remark=f"median of {repeats}, in turn with as many trivial resources; the first up took {first_up:.0f} s",
    )
