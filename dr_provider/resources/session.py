"""One world a topology text and stack in a provider process: check, diff and update share its observation, and silence is paid for once.

The plan and the drill bring the whole topology with them. The other kinds carry only how its arrays are reached (`reach`): where the
plan has told this process the topology they use that, else what the arrays store.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dr_provider.model.records import StoredTopology
    from dr_provider.model.topology import Topology
    from dr_provider.reconcile.provision_vms import Placed
    from dr_provider.reconcile.world import World

__all__ = [
    "forget",
    "near",
    "of_document",
    "placed",
    "remember_pins",
    "say",
    "say_once",
    "sentence",
    "settled",
    "topology_of",
    "touched",
]

_GRACE = 0.5
"""Seconds that the other arrays get to say what they store, after the first has answered."""

_lock = threading.RLock()
_topologies: dict[str, Topology] = {}
_worlds: dict[tuple[str, str], World] = {}
_newest: dict[tuple[str, str], World] = {}
_placed: dict[int, Placed] = {}
_touched: set[int] = set()
_said: set[str] = set()


def say(line: str) -> None:
    """A line for people: what the provider process writes to stderr, the engine shows under the stack."""
    from dr_provider.model.plain import plain

    # In one piece: other threads have lines of their own.
    sys.stderr.write(f"{plain(line)}\n")
    sys.stderr.flush()


def say_once(plan: str, line: str) -> None:
    """A line about a plan, with the plan's name before it where it has none, and once a process: check and update come to the same sentences."""
    said = line if line.startswith(f"plan {plan}") else f"plan {plan}: {line}"
    with _lock:
        if said in _said:
            return
        _said.add(said)
    say(said)


def topology_of(document: str) -> Topology:
    """The topology of a document (canonical JSON, paths absolute), parsed once. Raises BadInput."""
    from dr_provider.model.loader import parse

    key = hashlib.sha256(document.encode()).hexdigest()
    with _lock:
        if key not in _topologies:
            _topologies[key] = parse(document, source="the topology in the stack", base=Path("/"))
        return _topologies[key]


def of_document(document: str, stack: str, pins: Mapping[str, str] | None = None) -> World:
    """The world of a topology's text, opened at its first use. Raises BadInput."""
    from dr_provider.reconcile.world import open_world

    topology = topology_of(document)
    key = (hashlib.sha256(document.encode()).hexdigest(), stack)
    with _lock:
        if key not in _worlds:
            _worlds[key] = open_world(topology, stack=stack, progress=say)
            _newest[(topology.name, stack)] = _worlds[key]
        world = _worlds[key]
        if pins:
            remember_pins(world, pins)
        return world


def remember_pins(world: World, pins: Mapping[str, str]) -> None:
    """Tell the fleet which arrays this stack's state remembers; another one, or a new empty one, is not ready."""
    if any(world.fleet.pins.get(name) != own_id for name, own_id in pins.items() if name in world.topology.arrays):
        world.fleet.pins.update({name: own for name, own in pins.items() if name in world.topology.arrays})
        world.look(refresh=True)


def touched(world: World) -> None:
    """Something was made or taken over in this process: the shared observation is not what a delete may go by."""
    with _lock:
        _touched.add(id(world))


def settled(world: World) -> World:
    """The world with an observation that knows of all that this process has made: a replace deletes right after it has created."""
    with _lock:
        if id(world) in _touched:
            _touched.discard(id(world))
            world.look(refresh=True)
    return world


def placed(world: World) -> Placed:
    """The choice of hosts that all VMs of this process share."""
    from dr_provider.reconcile.provision_vms import Placed

    with _lock:
        return _placed.setdefault(id(world), Placed())


def near(topology: str, stack: str, reach: str) -> World:
    """The world that a plan of the stack has brought into this process; else the one that the arrays of `reach` store.

    Raises Unreachable where none of them answers, CorruptRecord.
    """
    with _lock:
        known = _newest.get((topology, stack))
        if known is not None:
            return known
        return of_document(_stored(topology, reach), stack)


def _stored(topology: str, reach: str) -> str:
    """The newest topology text that the arrays store; who is silent holds up nobody once another has answered."""
    from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

    from dr_provider.model.errors import CorruptRecord, NotReady, Unreachable

    arrays: dict[str, dict[str, object]] = json.loads(reach)
    pool = ThreadPoolExecutor(max_workers=len(arrays), thread_name_prefix="stored")
    waiting: set[Future[StoredTopology]] = {
        pool.submit(_read_stored, topology, name, options) for name, options in sorted(arrays.items())
    }
    found: list[StoredTopology] = []
    said: list[str] = []
    while waiting:
        done, waiting = wait(waiting, timeout=_GRACE if found else None, return_when=FIRST_COMPLETED)
        if not done:
            break
        for future in done:
            try:
                found.append(future.result())
            except (Unreachable, NotReady, CorruptRecord) as error:
                said.append(str(error))
    pool.shutdown(wait=False)
    if not found:
        raise Unreachable(f"topology {topology}: none of its arrays can say what it is ({'; '.join(sorted(said))})")
    return max(found, key=lambda stored: stored.serial).text


def _read_stored(topology: str, name: str, options: Mapping[str, object]) -> StoredTopology:
    from dr_provider.arrays.registry import open_array
    from dr_provider.model import keys
    from dr_provider.model.codec import load
    from dr_provider.model.errors import NotReady
    from dr_provider.model.records import StoredTopology
    from dr_provider.model.topology import ArraySpec

    spec = ArraySpec(name, str(options["site"]), str(options["driver"]), _options(options))
    array = open_array(spec, timeout=float(str(options["budget"])))
    try:
        text = array.read_record(keys.topology_key(topology))
    finally:
        array.close()
    if text is None:
        raise NotReady(f"array {name} stores no topology {topology}")
    return load(StoredTopology, text, f"array {name}, the stored topology")


def _options(options: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in options.items() if key not in ("site", "driver", "budget")}


def forget() -> None:
    """Close every world: for tests, and for a process that starts afresh."""
    with _lock:
        for world in _worlds.values():
            world.close()
        for kept in (_topologies, _worlds, _newest, _placed, _touched, _said):
            kept.clear()


@contextmanager
def sentence() -> Iterator[None]:
    """Errors of ours leave as their plain sentence, which is all that the engine is to show."""
    from dr_provider.model.errors import DrError

    try:
        yield
    except DrError as error:
        raise RuntimeError(str(error)) from None
