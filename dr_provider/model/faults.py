"""The faults of embedded arrays and hosts: what `dr sim` sets, and what every driver call meets.

A fault stands in the SQLite file of each device that it touches, so that all processes see it at once and no daemon is needed.
`loss`, `slowness` and `failure` work out which files of a topology a target touches; `put` and `heal` write them; a driver opens
each call through a `gate.Gate`. Nothing here knows arrays or hosts: both drivers share it, since neither may import the other.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dr_provider.model.errors import BadInput, Unreachable
from dr_provider.model.topology import ArraySpec, HostSpec, Topology

__all__ = [
    "SCHEMA",
    "Fault",
    "clear",
    "failure",
    "garbling",
    "heal",
    "loss",
    "node_of",
    "put",
    "put_all",
    "read",
    "record_files",
    "refuse_guest",
    "refuse_transfer",
    "slowness",
    "spend",
    "spoils",
    "unreached",
]

Kind = Literal["silent", "isolated", "operator", "cut", "slow", "fail", "garble", "node"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS fault (
    target TEXT NOT NULL, kind TEXT NOT NULL, value REAL NOT NULL, peers TEXT NOT NULL, counter TEXT NOT NULL,
    PRIMARY KEY (target, kind)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fault_counter (target TEXT PRIMARY KEY, left INTEGER NOT NULL) WITHOUT ROWID;
"""

_COUNTED = ("fail", "garble")
_PATIENCE = 30.0


@dataclass(frozen=True)
class Fault:
    """One fault as it stands in one device's file. `target` is the word of `dr sim` that clears it.

    silent     answers nobody
    isolated   answers nobody outside its own site; guests of the site go on (`target` is the site)
    operator   the operator does not reach it; transfers and guests do
    cut        no path between it and `peers`, names of arrays and of sites
    slow       every call waits `value` seconds longer
    garble     the extent of a transfer from it that brings the count in its file to 0 arrives with a bit flipped
    node       one node of its cluster (`target` is array:NAME/NODE) is lost, of `value` that there are; all of them lost: silent
    fail       the call that brings the count in file `counter` to 0 fails; `value` is what the count starts from
    """

    target: str
    kind: Kind
    value: float = 0.0
    peers: tuple[str, ...] = ()
    counter: str = ""


# -- from a target to the files that it touches ------------------------------------------------


def loss(topology: Topology, target: str, *, running: bool = False) -> dict[Path, Fault]:
    """The faults of `dr sim lose TARGET`, by file. `running`: only reach is lost, power is not. Raises BadInput."""
    kind, _, name = target.partition(":")
    if kind == "link":
        return _cut(topology, target, name)
    if kind == "array" and "/" in name:
        clustered, nodes = node_of(topology, target)
        return {path: Fault(target, "node", value=nodes) for path in _files(topology, f"array:{clustered}")}
    lost: Kind = "isolated" if running else "silent"
    faults = {path: Fault(target, lost) for path in _files(topology, target)}
    gone = tuple(a.name for a in topology.arrays.values() if _path(a) in faults)
    if gone:
        for path in filter(None, [*(_path(array) for array in topology.arrays.values()), _witness(topology)]):
            if path not in faults:
                faults[path] = Fault(target, "cut", peers=gone)
    return faults


def node_of(topology: Topology, target: str) -> tuple[str, int]:
    """The array of the target array:NAME/NODE, and how many nodes it has. Raises BadInput where there is no such node."""
    array, _, node = target.partition(":")[2].partition("/")
    spec = topology.arrays.get(array)
    nodes = spec.options.get("nodes", 1) if spec is not None and spec.driver == "embedded" else 0
    count = nodes if isinstance(nodes, int) else 1
    if node not in {str(number) for number in range(1, count + 1)}:
        there = f"array:{array}/1 to array:{array}/{count}" if count else "an embedded array of the topology"
        raise BadInput(f"sim target {target!r}: there is no such node; wanted {there}; nothing was done")
    return array, count


def slowness(topology: Topology, target: str, seconds: float) -> dict[Path, Fault]:
    """The faults of `dr sim slow TARGET DURATION`, by file. Raises BadInput."""
    return {path: Fault(target, "slow", value=seconds) for path in _files(topology, target)}


def failure(topology: Topology, target: str, call: int) -> dict[Path, Fault]:
    """The faults of `dr sim fail TARGET --call N`, by file: one count for all files of the target. Raises BadInput."""
    if call < 1:
        raise BadInput(f"sim fail {target}: wanted a call number of at least 1, found {call}; nothing was done")
    files = [path for path in _files(topology, target) if path.is_file()]
    return {path: Fault(target, "fail", value=call, counter=str(files[0])) for path in files}


def garbling(topology: Topology, target: str, extent: int) -> dict[Path, Fault]:
    """The faults of `dr sim garble TARGET --extent N`, by file: a count for each array of the target. Raises BadInput."""
    if extent < 1:
        raise BadInput(f"sim garble {target}: wanted an extent number of at least 1, found {extent}; nothing was done")
    arrays = {path for array in topology.arrays.values() if (path := _path(array)) is not None}
    return {
        path: Fault(target, "garble", value=extent, counter=str(path))
        for path in _files(topology, target)
        if path in arrays
    }


def _path(device: ArraySpec | HostSpec) -> Path | None:
    return Path(str(device.options["path"])) if device.driver == "embedded" else None


def record_files(topology: Topology) -> dict[str, Path]:
    """The files of all embedded arrays, and of an embedded witness, by what they are."""
    arrays = {f"array {name}": _path(array) for name, array in sorted(topology.arrays.items())}
    return {what: path for what, path in {**arrays, "witness": _witness(topology)}.items() if path is not None}


def _witness(topology: Topology) -> Path | None:
    """The file of an embedded witness."""
    spec = topology.witness
    return Path(str(spec.options["path"])) if spec is not None and spec.driver == "embedded" else None


def _devices(topology: Topology) -> list[ArraySpec | HostSpec]:
    devices: list[ArraySpec | HostSpec] = list(topology.arrays.values())
    return devices + list(topology.hosts.values())


def _files(topology: Topology, target: str) -> list[Path]:
    kind, _, name = target.partition(":")
    devices: list[ArraySpec | HostSpec] = []
    if target == "witness" and (own := _witness(topology)) is not None:
        return [own]
    if kind == "site" and name in topology.sites:
        devices = [device for device in _devices(topology) if device.site == name]
    elif kind == "array" and name in topology.arrays:
        devices = [topology.arrays[name]]
    elif kind == "host" and name in topology.hosts:
        devices = [topology.hosts[name]]
    files = [path for device in devices if (path := _path(device)) is not None]
    if not files:
        raise BadInput(
            f"sim target {target!r}: wanted site:NAME, array:NAME, host:NAME, witness or link:A/B with names of the topology "
            "and embedded drivers behind them; nothing was done"
        )
    return files


def _cut(topology: Topology, target: str, name: str) -> dict[Path, Fault]:
    ends = name.split("/")
    if len(ends) != 2 or ends[0] == ends[1]:
        raise BadInput(
            f"sim target {target!r}: wanted link:A/B with two sites, two arrays, or operator and a site; nothing was done"
        )
    if "operator" in ends:
        site = ends[0] if ends[1] == "operator" else ends[1]
        place = site if site == "witness" and site not in topology.sites else f"site:{site}"
        return {path: Fault(target, "operator") for path in _files(topology, place)}
    sides: list[tuple[list[Path | None], list[str]]] = []
    for end in ends:
        if end in topology.sites:
            arrays = [a for a in topology.arrays.values() if a.site == end]
            sides.append(([_path(a) for a in arrays], [end, *(a.name for a in arrays)]))
        elif end in topology.arrays:
            sides.append(([_path(topology.arrays[end])], [end]))
        elif end == "witness" and topology.witness is not None:
            sides.append(([_witness(topology)], [end]))
        else:
            raise BadInput(
                f"sim target {target!r}: {end} is neither a site nor an array of the topology; nothing was done"
            )
    faults = {}
    for (near, _), (_, far) in (sides, sides[::-1]):
        for path in filter(None, near):
            faults[path] = Fault(target, "cut", peers=tuple(far))
    if not faults:
        raise BadInput(f"sim target {target!r}: no array at either end has the embedded driver; nothing was done")
    return faults


# -- in the files ------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_PATIENCE, isolation_level=None)
    ) as db:
        yield db


def put(path: Path, fault: Fault) -> None:
    """Set a fault in a device's file; one of the same target and kind is replaced."""
    with _opened(path) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute(
            "INSERT OR REPLACE INTO fault VALUES (?, ?, ?, ?, ?)",
            (fault.target, fault.kind, fault.value, json.dumps(fault.peers), fault.counter),
        )
        if fault.kind in _COUNTED and fault.counter == str(path):
            db.execute("INSERT OR REPLACE INTO fault_counter VALUES (?, ?)", (_count(fault), int(fault.value)))
        db.execute("COMMIT")


def put_all(faults: Mapping[Path, Fault]) -> int:
    """Set faults by file; how many files took one. A file that is not there is passed over: it answers nobody anyway."""
    there = [(path, fault) for path, fault in faults.items() if path.is_file()]
    for path, fault in there:
        put(path, fault)
    return len(there)


def heal(path: Path, target: str) -> None:
    """Clear every fault of the target in one file."""
    with _opened(path) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("DELETE FROM fault WHERE target = ?", (target,))
        if target.startswith("array:"):
            # Its nodes are parts of it; a target with a node in it has none.
            db.execute(
                "DELETE FROM fault WHERE kind = 'node' AND substr(target, 1, ?) = ?", (len(target) + 1, f"{target}/")
            )
        db.execute("DELETE FROM fault_counter WHERE target IN (?, ?)", (target, f"{target} garble"))
        db.execute("COMMIT")


def clear(topology: Topology, target: str) -> None:
    """Clear every fault of the target in all files of the topology (`dr sim heal TARGET`). A link may be named from either end."""
    kind, _, name = target.partition(":")
    targets = {target, f"link:{'/'.join(reversed(name.split('/')))}"} if kind == "link" else {target}
    for path in filter(None, [*map(_path, _devices(topology)), _witness(topology)]):
        if path.is_file():
            for each in sorted(targets):
                heal(path, each)


def read(db: sqlite3.Connection) -> tuple[Fault, ...]:
    """The faults that stand in a device's file; of a cluster that has lost its last node, also its silence."""
    rows = db.execute("SELECT target, kind, value, peers, counter FROM fault").fetchall()
    found = [
        Fault(target, kind, value, tuple(json.loads(peers)), counter) for target, kind, value, peers, counter in rows
    ]
    nodes = [fault for fault in found if fault.kind == "node"]
    if nodes and len(nodes) >= max(fault.value for fault in nodes):
        found.append(Fault(nodes[0].target.partition("/")[0], "silent"))
    return tuple(found)


def _count(fault: Fault) -> str:
    """What a fault's count stands under: the calls that fail and the extents that are garbled are counted apart."""
    return fault.target if fault.kind == "fail" else f"{fault.target} {fault.kind}"


def spend(fault: Fault) -> bool:
    """Count one call or extent; True: this is the one."""
    with _opened(Path(fault.counter)) as db:
        row = db.execute(
            "UPDATE fault_counter SET left = left - 1 WHERE target = ? AND left > 0 RETURNING left", (_count(fault),)
        ).fetchone()
    return row is not None and row[0] == 0


# -- what they mean ----------------------------------------------------------------------------


def unreached(faults: Sequence[Fault], peers: Sequence[str]) -> frozenset[str]:
    """Which of the peers (names of arrays) a device has no path to."""
    cut = {name for fault in faults if fault.kind == "cut" for name in fault.peers}
    return frozenset(cut.intersection(peers))


def refuse_transfer(faults: Sequence[Fault], what: str, peer: str = "", peer_site: str = "") -> None:
    """Raise Unreachable where `what` (a phrase for people) answers no other array, or has no path to the peer."""
    for fault in faults:
        if fault.kind in ("silent", "isolated"):
            raise Unreachable(f"{what} gives no answer")
        if fault.kind == "cut" and (peer in fault.peers or (peer_site and peer_site in fault.peers)):
            raise Unreachable(f"{what} has no path to array {peer} at site {peer_site}")


def spoils(faults: Sequence[Fault]) -> bool:
    """Count one extent of a transfer; whether it is the one that arrives with a bit flipped."""
    return any(spend(fault) for fault in faults if fault.kind == "garble")


def refuse_guest(faults: Sequence[Fault], what: str, site: str) -> None:
    """Raise Unreachable, at once, where `what` does not answer a guest at the site."""
    for fault in faults:
        if fault.kind == "silent" or (fault.kind == "isolated" and fault.target != f"site:{site}"):
            raise Unreachable(f"{what} gives no answer")
        if fault.kind == "cut" and site in fault.peers:
            raise Unreachable(f"{what} has no path to site {site}")
