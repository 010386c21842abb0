"""What the arrays of a topology remember of one another, so that one which comes back as another, or older, is not taken for itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from dr_provider.model import keys
from dr_provider.model.codec import dump, load
from dr_provider.model.errors import ArrayFull, DeviceFault, NotReady, Unreachable
from dr_provider.model.records import Guard, PeerPin, PeerPins
from dr_provider.model.state import ArrayState, Observation
from dr_provider.model.topology import Topology
from dr_provider.protection.fleet import Fleet

__all__ = ["merged_pins", "write_pins"]


def merged_pins(topology: Topology, observation: Observation) -> PeerPins:
    """Own id and highest serial of each array that is pinned, from what answers now and from what the answering ones remember.

    An array that carries no pin of its own is left out: peers that remembered it would take it for one that was emptied.
    """
    pins: dict[str, PeerPin] = {}
    answering = {name: state for name in topology.arrays if (state := observation.array(name)) is not None}
    for name, state in answering.items():
        for other, pin in _remembered(topology, name, state).arrays.items():
            if other in topology.arrays:
                known = pins.get(other)
                if known is None or known.serial < pin.serial:
                    pins[other] = pin
    for name, state in answering.items():
        if keys.pin_key(topology.name) in state.records:
            known = pins.get(name)
            same = known is not None and known.own_id == state.own_id
            pins[name] = PeerPin(state.own_id, max(state.serial, known.serial if known and same else 0))
    return PeerPins(dict(sorted(pins.items())))


def write_pins(
    fleet: Fleet,
    topology: Topology,
    observation: Observation,
    guard: Guard,
    *,
    arrays: Iterable[str] | None = None,
) -> tuple[str, ...]:
    """Write them to the pinned arrays that answer (`arrays`: to these only, as a plan's lease stands on its own arrays); where they went.

    One that falls silent meanwhile, or takes no record, is passed over. Writing raises an array's serial, so what is remembered is always a little old: a
    floor, not a copy.
    """
    text = dump(merged_pins(topology, observation))
    written = []
    for name in sorted(topology.arrays if arrays is None else arrays):
        state = observation.array(name)
        if state is None or keys.pin_key(topology.name) not in state.records:
            continue
        with contextlib.suppress(Unreachable, NotReady, DeviceFault, ArrayFull):
            fleet.array(name).put_record(keys.peers_key(topology.name), text, guard)
            written.append(name)
    return tuple(written)


def _remembered(topology: Topology, name: str, state: ArrayState) -> PeerPins:
    text = state.records.get(keys.peers_key(topology.name))
    return load(PeerPins, text, f"array {name}, its record of the other arrays") if text else PeerPins()
