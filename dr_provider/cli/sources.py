"""Where a command's topology comes from: a file, or what is stored on one surviving array (`--from`)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from dr_provider.arrays.base import Array
from dr_provider.model import keys
from dr_provider.model.codec import load as load_record
from dr_provider.model.errors import BadInput, CorruptRecord, NotReady
from dr_provider.model.records import Pin, StoredTopology
from dr_provider.model.topology import ArraySpec, HostSpec, Topology

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
    """The topology stored on the array at an address (embedded:PATH, zfs:ssh://HOST/POOL); `name` chooses where it serves several.

    The address counts for that array, wherever the stored topology says that it is. With DR_SSH_CONFIG, that OpenSSH configuration
    counts for every array and host: the keys that the stored topology names may be on a machine that is gone.

    Raises BadInput (no such address, none or several topologies there), NotReady, Unreachable, CorruptRecord.
    """
    from dr_provider.arrays.registry import open_array, spec_at
    from dr_provider.model.loader import parse

    spec = _with_ssh(spec_at(address))
    array = open_array(spec, timeout=_TIMEOUT)
    try:
        chosen = _choose(address, array, name)
        text = array.read_record(keys.topology_key(chosen))
        pin = array.read_record(keys.pin_key(chosen))
    except NotReady as error:
        if error.missing:
            raise BadInput(f"--from {address}: there is nothing there ({error}); nothing was done") from error
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
    # What the text holds is absolute already.
    topology = parse(stored.text, source=where, base=Path("/"))
    here = load_record(Pin, pin, f"{where}, the array's pin").array if pin else ""
    return _reached(topology, here, spec)


def _reached(topology: Topology, here: str, given: ArraySpec) -> Topology:
    """The topology as this process reaches it; the stored text stays as it is."""
    place = ("path",) if given.driver == "embedded" else ("endpoints", "pool", "dataset")
    arrays = {name: _with_ssh(spec) for name, spec in topology.arrays.items()}
    if here in arrays and arrays[here].driver == given.driver:
        at = {key: given.options[key] for key in place}
        arrays[here] = replace(arrays[here], options={**arrays[here].options, **at})
    return replace(topology, arrays=arrays, hosts={name: _with_ssh(spec) for name, spec in topology.hosts.items()})


Spec = TypeVar("Spec", ArraySpec, HostSpec)


def _with_ssh(spec: Spec) -> Spec:
    config = os.environ.get("DR_SSH_CONFIG")
    if config is None or "ssh" not in spec.options:
        return spec
    ssh: Mapping[str, object] = {"config": str(Path(config).absolute())}
    return replace(spec, options={**spec.options, "ssh": ssh})


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
