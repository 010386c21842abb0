"""Where a command's topology comes from: a file, or what is stored on one surviving array (`--from`)."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

from dr_provider.arrays.base import Array
from dr_provider.model import keys
from dr_provider.model.codec import load as load_record
from dr_provider.model.errors import BadInput, CorruptRecord, NotReady
from dr_provider.model.records import Pin, StoredTopology
from dr_provider.model.topology import ArraySpec, Topology

__all__ = ["file_of", "load_file", "stored_topology"]

_TIMEOUT = 10.0


def file_of(given: str | None) -> Path:
    """--topology, else DR_TOPOLOGY, else the selected stack's. Raises BadInput."""
    named = given or os.environ.get("DR_TOPOLOGY")
    if named:
        return Path(named)
    from dr_provider.cli.stack import selected_topology

    return selected_topology(Path.cwd())


def load_file(path: Path) -> Topology:
    from dr_provider.model.loader import load

    return load(path)


def stored_topology(address: str, name: str | None) -> Topology:
    """The topology stored on the array at an address such as embedded:PATH; `name` chooses where it serves several.

    The address counts for that array, wherever the stored topology says that it is.

    Raises BadInput (no such address, none or several topologies there), NotReady, Unreachable, CorruptRecord.
    """
    from dr_provider.arrays.registry import open_array
    from dr_provider.model.loader import parse

    path = _embedded_path(address)
    spec = ArraySpec("from", "", "embedded", {"path": path})
    array = open_array(spec, timeout=_TIMEOUT)
    try:
        chosen = _choose(address, array, name)
        text = array.read_record(keys.topology_key(chosen))
        pin = array.read_record(keys.pin_key(chosen))
    except NotReady as error:
        if error.missing:
            raise BadInput(f"--from {address}: there is no array file at {path}; nothing was done") from error
        raise
    finally:
        array.close()
    where = f"--from {address}, the stored topology {chosen}"
    if text is None:
        raise CorruptRecord(f"{where}: the array is in use for it, but holds no copy of it; try another array")
    stored = load_record(StoredTopology, text, where)
    if hashlib.sha256(stored.text.encode()).hexdigest() != stored.sha256:
        raise CorruptRecord(
            f"{where}: its text is not the one that was stored (the checksum differs); try another array"
        )
    topology = parse(stored.text, source=where, base=path.parent)
    here = load_record(Pin, pin, f"{where}, the array's pin").array if pin else ""
    return _at(topology, here, path) if here in topology.arrays else topology


def _at(topology: Topology, array: str, path: Path) -> Topology:
    """The topology with the array at the path. The stored text stays as it is: only this process looks for the array there."""
    spec = topology.arrays[array]
    return replace(
        topology, arrays={**topology.arrays, array: replace(spec, options={**spec.options, "path": str(path)})}
    )


def _embedded_path(address: str) -> Path:
    driver, colon, rest = address.partition(":")
    if driver == "embedded" and rest:
        return Path(rest).absolute()
    if colon and driver in ("zfs", "ceph", "ontap"):
        raise BadInput(
            f"--from {address}: the {driver} driver is not built yet; wanted embedded:PATH; nothing was done"
        )
    raise BadInput(f"--from {address}: wanted embedded:PATH, an array's own address; nothing was done")


def _is_pin(key: str) -> bool:
    return key == keys.pin_key(key.partition("/")[0])


def _choose(address: str, array: Array, name: str | None) -> str:
    """The topology to take, by the pins that the array carries."""
    there = sorted(key.partition("/")[0] for key in array.state(records="").records if _is_pin(key))
    said = ", ".join(there)
    if not there:
        raise BadInput(f"--from {address}: the array serves no topology; nothing was done")
    if name is not None:
        if name not in there:
            raise BadInput(f"--name {name}: the array at {address} serves {said}; nothing was done")
        return name
    if len(there) > 1:
        raise BadInput(f"--from {address}: the array serves several topologies ({said}); say --name; nothing was done")
    return there[0]
