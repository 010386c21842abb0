"""The topology as stored on every array, so that one surviving array is enough to recover from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from dr_provider.model import keys
from dr_provider.model.codec import damaged, dump, load
from dr_provider.model.errors import ArrayFull, DeviceFault, NotReady, Unreachable
from dr_provider.model.records import Guard, StoredTopology
from dr_provider.model.state import Observation
from dr_provider.model.topology import Topology
from dr_provider.protection.fleet import Fleet

__all__ = ["store_topology", "stored_differs"]


def _digest(topology: Topology) -> str:
    return hashlib.sha256(topology.text.encode()).hexdigest()


def _stored(
    topology: Topology, fleet: Fleet, seen: Observation, arrays: Iterable[str]
) -> dict[str, StoredTopology | None]:
    """What each answering one of the arrays stores; None: nothing yet, or a text that was damaged, which is written anew."""
    found: dict[str, StoredTopology | None] = {}
    for name in sorted(arrays):
        if seen.array(name) is None:
            continue
        try:
            text = fleet.array(name).read_record(keys.topology_key(topology.name))
        except (Unreachable, NotReady, DeviceFault):
            continue
        whole = text is not None and not damaged(text)
        found[name] = load(StoredTopology, str(text), f"array {name}, the stored topology") if whole else None
    return found


def stored_differs(topology: Topology, fleet: Fleet, seen: Observation, arrays: Iterable[str]) -> bool:
    """Whether any of the arrays that answers stores another topology, or none."""
    digest = _digest(topology)
    return any(stored is None or stored.sha256 != digest for stored in _stored(topology, fleet, seen, arrays).values())


def store_topology(topology: Topology, fleet: Fleet, seen: Observation, guard: Guard, arrays: Iterable[str]) -> bool:
    """Store the topology on those of the arrays (a plan's: its lease stands on no other) that answer, where another or none is stored.

    Whether anything was written.
    """
    digest = _digest(topology)
    found = _stored(topology, fleet, seen, arrays)
    serial = max((stored.serial for stored in found.values() if stored), default=0) + 1
    lacking = [name for name, stored in found.items() if stored is None or stored.sha256 != digest]
    record = dump(StoredTopology(serial, digest, topology.text, keys.stamp(keys.now())))
    for name in lacking:
        try:
            fleet.array(name).put_record(keys.topology_key(topology.name), record, guard)
        except (Unreachable, NotReady, DeviceFault, ArrayFull):
            continue
    return bool(lacking)
