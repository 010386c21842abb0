"""Arrays east-a and west-a of a lab for the contract suite: ZFS over SSH, guests' bytes over iSCSI by QEMU's own initiator."""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import dr_provider.arrays.zfs
from dr_provider.arrays.base import Array, Fabric, Stream
from dr_provider.arrays.zfs import ZfsArray
from dr_provider.arrays.zfs.remote.names import iqn
from dr_provider.model.build import DEFAULTS
from dr_provider.model.errors import ArrayFull, Conflict
from dr_provider.model.topology import ArraySpec
from lab.machines import Lab, Machine
from tests.support.arrays import OWNER

__all__ = ["LAB", "ZfsPair"]

LAB = "DR_LAB"
"""The environment variable that names a lab that is up."""

_TIMEOUT = 8.0
_REMOTE = Path(dr_provider.arrays.zfs.__file__).parent

# Destroys what an earlier test left; zfs-fuse unmounts asynchronously, hence the second try.
_EMPTY = """
import json, subprocess, time
def run(*words):
    return subprocess.run(words, capture_output=True, text=True)
for line in run("tgtadm", "--lld", "iscsi", "--op", "show", "--mode", "target").stdout.splitlines():
    if line.startswith("Target "):
        run("tgtadm", "--lld", "iscsi", "--op", "delete", "--force", "--mode", "target", "--tid", line.split()[1].rstrip(":"))
run("zfs", "set", "quota=none", "tank/dr")
end = time.monotonic() + 20
while "tank/dr" in run("zfs", "list", "-H", "-o", "name").stdout.split():
    held = [l.split()[0] for l in run("zfs", "list", "-H", "-t", "snapshot", "-o", "name,userrefs", "-r", "tank/dr").stdout.splitlines() if l.split()[1] not in "0-"]
    if held:
        run("zfs", "release", "dr", *held)
    done = run("zfs", "destroy", "-R", "tank/dr")
    if done.returncode and time.monotonic() > end:
        raise SystemExit(done.stderr)
    if done.returncode:
        time.sleep(0.05)
"""

# The bytes of a LUN of a volume, mounted or not: of what is not, from a clone of its newest snapshot.
_READ = """
import base64, json, subprocess, sys, time
want = json.loads(sys.stdin.read())
def zfs(*words):
    return subprocess.run(("zfs",) + words, capture_output=True, text=True, check=True).stdout
def mounted(dataset):
    for line in open("/proc/self/mounts"):
        if line.split()[0] == dataset:
            return line.split()[1]
dataset, peek = want["dataset"], "tank/peek"
place = mounted(dataset)
clone = place is None
if clone:
    zfs("clone", want["newest"], peek)
    place = mounted(peek)
with open(place + "/luns/" + want["lun"] + ".img", "rb") as file:
    file.seek(want["offset"])
    data = file.read(want["length"])
if clone:
    subprocess.run(["zfs", "umount", peek])
    for attempt in range(100):
        if subprocess.run(["zfs", "destroy", peek], capture_output=True).returncode == 0:
            break
        time.sleep(0.05)
print(base64.b64encode(data).decode())
"""

# The remote program's modules, imported on the machine from this checkout: for looking at what is there, and for dying in the middle of a call.
_INSIDE = """
import json, os, sys, threading, time
place, config, task = json.loads(sys.stdin.read())
sys.path.insert(0, place)
from remote import core, datasets, landings, meta, points
import remote.branches, remote.luns, remote.snapshots, remote.volumes
passed = 0
def execute(words, seconds):
    global passed
    changes = words[0] == "zfs" and words[1] not in ("list", "get", "version")
    if changes and passed == task.get("die"):
        os._exit(9)
    passed += changes
    return core._execute(words, seconds)
ctx = core.Context(deadline=time.monotonic() + 30, config=config, memory=core.Memory(), execute=execute)
if "op" in task:
    core.OPS[task["op"]](ctx, **task["args"])
    print(json.dumps(passed))
elif "land" in task:
    # As calls whose arrivals wait for their turn together.
    ended = {}
    def land(volume, stream):
        landings.finish(ctx, volume, stream, "-", None)
        ended[volume] = True
    calls = [threading.Thread(target=land, args=each) for each in task["land"].items()]
    with landings._waiting.turn:
        for call in calls:
            call.start()
        while len(landings._waiting.arrivals) < len(calls):
            time.sleep(0.001)
    for call in calls:
        call.join()
    assert sorted(ended) == sorted(task["land"])
    print(json.dumps(passed))
else:
    with meta.reading(ctx):
        found = datasets.catalog(ctx)
        known = points.points(ctx, found.volumes.values())
    based = [base.partition("@")[0] for base in found.all.values() if base]
    print(json.dumps({
        "kept": [v.dataset for v in found.kept if v.dataset not in based],
        "nobodys": [full for each in known.values() for full in each.nobodys() if not found.dependents(full)],
        "incoming": [name for name in found.all if "/incoming/" in name],
    }))
"""

# Writes to a volume's file until the quota of the array refuses another record.
_FILL = """
import os, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
at = 0
while True:
    try:
        os.pwrite(file, os.urandom(32768), at)
        os.fsync(file)
    except OSError as error:
        print(error)
        break
    at += 32768
"""


class ZfsPair:
    """Implements `Pair`. ZFS counts in records and keeps its own books: nothing is asserted to the byte. zfs-fuse resumes nothing."""

    exact = False
    resumes = False
    rate: int | None = 2 << 20
    small = 16 << 20

    def __init__(self, folder: Path) -> None:
        self.lab = Lab.find(os.environ[LAB])
        self.folder = folder
        for which in "ab":
            self.machine(which).exec(["python3", "-"], input=_EMPTY)
        self.a: Array = self.again("a")
        self.b: Array = self.again("b")
        self.a.create()
        self.b.create()

    def machine(self, which: str) -> Machine:
        return self.lab.machine({"a": "east-a", "b": "west-a"}[which])

    def spec(self, which: str) -> ArraySpec:
        told = dict(self.lab.topology_options()[self.machine(which).name])
        site = told.pop("site")
        del told["driver"]
        # Straight from array to array: otherwise a path that is cut is gone around.
        return ArraySpec(which, site, "zfs", {**DEFAULTS["zfs array"], **told, "transfer": "direct"})

    def again(self, which: str, *, capacity: int | None = None, groups: Mapping[str, str] | None = None) -> Array:
        if capacity is not None:
            used = self.machine(which).exec(["zfs", "get", "-Hp", "-o", "value", "used", "tank/dr"]).out
            self.machine(which).exec(["zfs", "set", f"quota={int(used) + capacity}", "tank/dr"])
        peers = {name: self.spec(name) for name in "ab"}
        return ZfsArray(self.spec(which), timeout=_TIMEOUT, fabric=Fabric(groups or {}, peers))

    # -- a guest's bytes ----------------------------------------------------------------------------

    def write(self, array: Array, volume: str, lun: str, offset: int, data: bytes) -> None:
        row = array.state().volumes[volume].luns[lun]
        if not row.online:
            raise Conflict(f"LUN {lun} of volume {volume} is offline")
        target = {
            "driver": "iscsi",
            "transport": "tcp",
            "portal": str(self.spec(array.name).options["luns"]["portal"]),  # type: ignore[index]
            "target": iqn(array.name, volume, lun),
            "lun": "1",
            "initiator-name": row.mapped_to or "nobody",
        }
        with tempfile.NamedTemporaryFile(dir=self.folder) as file:
            file.write(data)
            file.flush()
            words = ["qemu-io", "--image-opts", ",".join(f"{key}={value}" for key, value in target.items())]
            host = self.lab.machine({"a": "east-1", "b": "west-1"}[array.name])
            done = host.exec([*words, "-c", f"write -s {file.name} {offset} {len(data)}"], check=False)
        said = done.out + done.err
        if "No space left" in said or "write failed" in said:
            raise ArrayFull(said)
        if done.rc or "wrote" not in said:
            raise Conflict(said)

    def read(self, array: Array, volume: str, lun: str, offset: int, length: int) -> bytes:
        machine = self.machine(array.name)
        dataset, newest = self._dataset(machine, volume)
        want = {"dataset": dataset, "newest": newest, "lun": lun, "offset": offset, "length": length}
        return base64.b64decode(machine.exec(["python3", "-c", _READ], input=json.dumps(want)).out)

    def _dataset(self, machine: Machine, volume: str) -> tuple[str, str]:
        """The volume's dataset and its newest snapshot: the youngest dataset of that name."""
        rows = machine.exec(["zfs", "list", "-rH", "-t", "filesystem", "-o", "name", "tank/dr/vols", "tank/dr/copies"])
        found: dict[int, str] = {}
        for name in rows.out.split():
            leaf, mark, number = name.rpartition("/")[2].partition(".R")
            if leaf == volume:
                found[int(number) if mark else 1] = name
        dataset = found[max(found)]
        snapshots = machine.exec(["zfs", "list", "-rH", "-t", "snapshot", "-o", "name", "-s", "createtxg", dataset]).out
        return dataset, (snapshots.split() or [""])[-1]

    def fill(self, array: Array, volume: str, capacity: int) -> None:
        machine = self.machine(array.name)
        dataset, _ = self._dataset(machine, volume)
        place = machine.exec(["zfs", "get", "-H", "-o", "value", "mountpoint", dataset]).out.strip()
        machine.exec(["python3", "-c", _FILL, f"{place}/luns/db.img"], timeout=120)

    # -- harm ---------------------------------------------------------------------------------------

    def cut_receive(self, volume: str, stream: Stream, extents: int) -> None:
        try:
            # So slow that it is not all there before the cut is made, which takes its time on a busy machine.
            self.b.receive(volume, stream, OWNER, progress=lambda done: self.cut(), rate=128 << 10)
        finally:
            self.heal()

    def cut(self) -> None:
        self.lab.cut("east-a", "west-a")

    def silence(self, which: str) -> None:
        self.lab.cut("operator", self.machine(which).name)

    def heal(self) -> None:
        self.lab.heal()

    def audit(self) -> None:
        """Nothing is left over: no kept dataset or deleted snapshot that no clone stands on, no part of a transfer."""
        for array in (self.a, self.b):
            code, said = self.inside(array, {})
            assert code == 0
            assert json.loads(said) == {"kept": [], "nobodys": [], "incoming": []}

    def inside(self, array: Array, task: dict[str, object]) -> tuple[int, str]:
        """Run an operation ("op", "args"), or the end of transfers ("land": volume -> step), on the array's machine, which dies (status 9)
        before its command number "die" (from 0) that changes something; its status and what it said: the number of such commands. Without
        either: what is left over."""
        assert isinstance(array, ZfsArray)
        told = json.dumps([str(_REMOTE), array._config(), task])
        done = self.machine(array.name).exec(["python3", "-c", _INSIDE], input=told, check=False)
        assert done.rc in (0, 9), done.err
        return done.rc, done.out
