"""What the rows do on the lab's machines beside the product: peers' commands, snapshots that are looked into, processor time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from lab.layout import LabError
from lab.machines import Lab, Machine
from lab.run import wait_for

__all__ = ["PEER", "ProcessorTime", "destroy", "looked_into", "plainly", "receive_all", "timed", "volumes_on"]

PEER = "tank/plain"
"""Where a peer's copies are at the destination; beside what the product has, never in it."""

_LONG = 900.0
_LOOK = "tank/look"
_VOLUMES = "tank/dr/vols"

# Arguments: destination host, how (`serial` or `abreast`), then base, snapshot and destination of each increment.
_PLAINLY = """
set -o pipefail
host=$1 how=$2 failed=0
shift 2
send() { zfs send -i "$1" "$2" | ssh "$host" zfs receive "$3"; }
while [ $# -gt 0 ]; do
    if [ "$how" = serial ]; then send "$1" "$2" "$3" || failed=1; else send "$1" "$2" "$3" & fi
    shift 3
done
for job in $(jobs -p); do wait "$job" || failed=1; done
exit "$failed"
"""


_WHOLE = 'set -o pipefail; zfs send "$1" | ssh "$2" zfs receive "$3"'


def timed(machine: Machine, words: Sequence[str]) -> float:
    """Seconds that a command takes inside a machine, its start included. Raises LabError when it fails."""
    begin = time.monotonic()
    machine.exec(words, timeout=_LONG)
    return time.monotonic() - begin


def plainly(source: Machine, host: str, steps: Sequence[tuple[str, str, str]], *, how: str = "serial") -> float:
    """Seconds of `zfs send -i BASE SNAPSHOT | ssh HOST zfs receive DATASET`, run on the source for each step."""
    return timed(source, ["bash", "-c", _PLAINLY, "plainly", host, how, *(word for step in steps for word in step)])


def destroy(machine: Machine, name: str) -> None:
    """Destroy a dataset or snapshot; zfs-fuse unmounts in its own time, and says `busy` until then."""
    said = ""

    def gone() -> bool:
        nonlocal said
        done = machine.exec(["zfs", "destroy", name], check=False)
        said = done.err.strip()
        return done.rc == 0

    wait_for(gone, within=20, poll=0.1, otherwise=lambda: f"{machine.name}: {name} cannot be destroyed: {said}")


def volumes_on(array: Machine) -> dict[str, tuple[str, str]]:
    """Dataset and mountpoint of each of the product's data volumes on an array, by volume."""
    listed = array.exec(["zfs", "list", "-H", "-o", "name,mountpoint", "-t", "filesystem"]).out
    found = (line.split("\t") for line in listed.splitlines())
    # A volume whose data was replaced as a whole is in a dataset NAME.R<n>.
    return {
        name.rpartition("/")[2].partition(".R")[0]: (name, place)
        for name, place in found
        if name.startswith(f"{_VOLUMES}/")
    }


def receive_all(source: Machine, host: str, snapshots: Mapping[str, str]) -> None:
    """Full copies of snapshots, by their names under PEER at the host; PEER is made, mounted nowhere."""
    words = [
        "ssh",
        host,
        "zfs",
        "create",
        "-p",
        "-o",
        "canmount=off",
        "-o",
        "readonly=on",
        "-o",
        "mountpoint=none",
        PEER,
    ]
    source.exec(words)
    for name, snapshot in snapshots.items():
        source.exec(["bash", "-c", _WHOLE, "whole", snapshot, host, f"{PEER}/{name}"], timeout=_LONG)


@contextmanager
def looked_into(machine: Machine, snapshot: str) -> Iterator[str]:
    """The one LUN file of a snapshot, through a clone that is mounted read-only for as long as it is looked at."""
    place = f"/run/look-{time.monotonic_ns()}"
    machine.exec(["zfs", "clone", "-o", f"mountpoint={place}", "-o", "readonly=on", snapshot, _LOOK])
    try:
        files = machine.exec(["find", place, "-name", "*.img"]).out.split()
        if len(files) != 1:
            raise LabError(f"{machine.name}: wanted one LUN file in {snapshot}, found {len(files)}")
        yield files[0]
    finally:
        destroy(machine, _LOOK)


class ProcessorTime:
    """Processor time of this process and all that it started, and of everything inside the lab's machines that are on now.

    What has ended counts through its parent, which waited for it.
    """

    def __init__(self, lab: Lab) -> None:
        alive = [machine for machine in lab.machines.values() if machine.alive]
        self._spaces = {machine.exec(["readlink", "/proc/self/ns/pid"]).out.strip() for machine in alive}

    def seconds(self) -> float:
        """So far; only differences of two values mean something."""
        ours = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
        return sum(_seconds(pid) for pid in psutil.pids() if pid in ours or _space(pid) in self._spaces)


def _space(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""


def _seconds(pid: int) -> float:
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        # utime, stime, cutime, cstime
        return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")
    return 0.0
