"""The arrays and hosts of a topology, opened once, swept in parallel, and watched for silence.

Silence costs `sourceBudget` once a process: who did not answer once is not asked again until `forget_silence`, and nothing more is
sent by a path between two arrays on which a transfer met silence.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any, cast

from dr_provider.arrays.base import Array, Stream
from dr_provider.arrays.witness import RecordStore
from dr_provider.hypervisors.base import Hypervisor
from dr_provider.model import keys
from dr_provider.model.codec import damaged, dump, load
from dr_provider.model.errors import CorruptRecord, DeviceFault, NotFound, NotReady, Unreachable
from dr_provider.model.records import PeerPins, Pin, WitnessPin
from dr_provider.model.state import ArrayState, HostState, Observation, Silent, WitnessState
from dr_provider.model.topology import ArraySpec, HostSpec, Topology, WitnessSpec
from dr_provider.protection.damage import set_aside

__all__ = ["Fleet", "OpenArray", "OpenHost", "OpenWitness"]

OpenArray = Callable[[ArraySpec, float], Array]
OpenHost = Callable[[HostSpec, float], Hypervisor]
OpenWitness = Callable[[WitnessSpec, float, Callable[[str], Array]], RecordStore]

_GRACE = 3.0


class _Watched:
    """Stands before a driver: a party that was silent once fails at once, and silence is noted for all threads."""

    def __init__(self, driver: Any, key: str, silent: dict[str, Silent]) -> None:
        self._driver = driver
        self._key = key
        self._silent = silent

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._driver, name)
        if not callable(member) or name in ("close", "lun_target"):
            return member

        def call(*args: Any, **kwargs: Any) -> Any:
            # What a transfer says of silence may be of the other end of its path, not of the array that was called.
            key = f"path {_stream(*args, **kwargs).array} to {self._key}" if name == "receive" else self._key
            known = self._silent.get(self._key) or self._silent.get(key)
            if known is not None:
                raise Unreachable(known.reason)
            try:
                return member(*args, **kwargs)
            except (Unreachable, NotReady) as error:
                self._silent[key] = _silence(error)
                raise

        return call


def _stream(_volume: str, stream: Stream, *_args: Any, **_kwargs: Any) -> Stream:
    return stream


def _silence(error: Exception) -> Silent:
    return Silent(str(error), ready=not isinstance(error, NotReady), missing=bool(getattr(error, "missing", False)))


Facts = ArrayState | HostState | WitnessState


@dataclass(frozen=True)
class _Asked:
    key: str
    call: Callable[[], Facts]


def _facts(ask: _Asked) -> Facts:
    """One that cannot do the call is asked once more; if it cannot then, nothing is known of it, and the sweep does not fail for it."""
    try:
        return ask.call()
    except DeviceFault:
        return ask.call()


class Fleet:
    """Opened drivers of a topology.

    `pins` are own ids that someone else remembers of arrays (a stack's state): with them an array that is missing or another is
    *not ready* even if no answering array holds a pin for it.
    """

    def __init__(
        self,
        topology: Topology,
        open_array: OpenArray,
        open_host: OpenHost,
        pins: Mapping[str, str] | None = None,
        open_witness: OpenWitness | None = None,
    ) -> None:
        self.topology = topology
        self.pins = dict(pins or {})
        self._silent: dict[str, Silent] = {}
        self._lock = threading.Lock()
        self._open_array = open_array
        self._open_host = open_host
        self._open_witness = open_witness
        self._drivers: dict[str, Any] = {}

    def array(self, name: str) -> Array:
        """The array's driver; a call to one that was silent in this process raises Unreachable at once."""
        return cast(Array, self._watched(f"array {name}", lambda t: self._open_array(self.topology.arrays[name], t)))

    def host(self, name: str) -> Hypervisor:
        """The host's driver; a call to one that was silent in this process raises Unreachable at once."""
        return cast(Hypervisor, self._watched(f"host {name}", lambda t: self._open_host(self.topology.hosts[name], t)))

    def witness(self) -> RecordStore:
        """The topology's witness, watched as the others are. Raises NotFound where there is none."""
        spec, make = self.topology.witness, self._open_witness
        if spec is None or make is None:
            raise NotFound(f"topology {self.topology.name} has no witness; add the section witness")
        return cast(RecordStore, self._watched("witness", lambda t: make(spec, t, self.array)))

    def _watched(self, key: str, make: Callable[[float], Any]) -> _Watched:
        with self._lock:
            if key not in self._drivers:
                self._drivers[key] = make(self.topology.source_budget)
            return _Watched(self._drivers[key], key, self._silent)

    def forget_silence(self, key: str | None = None) -> None:
        """Ask everybody again at the next call; with a key ("array NAME", "host NAME") that one."""
        if key is None:
            self._silent.clear()
        else:
            self._silent.pop(key, None)

    def close(self) -> None:
        with self._lock:
            for driver in self._drivers.values():
                driver.close()
            self._drivers.clear()

    # -- the sweep ------------------------------------------------------------------------------

    def observe(self) -> Observation:
        """One parallel sweep over everything that has not been silent yet; ends within the source budget."""
        topology = self.topology
        prefix = f"{topology.name}/"
        asked: list[_Asked] = []
        for name in topology.arrays:
            peers = [other for other in topology.arrays if other != name]
            array = self.array(name)
            asked.append(_Asked(f"array {name}", lambda a=array, p=peers: a.state(records=prefix, peers=p)))  # type: ignore[misc]
        for name in topology.hosts:
            host = self.host(name)
            asked.append(_Asked(f"host {name}", host.state))
        if topology.witness is not None and self._open_witness is not None:
            witness = self.witness()
            asked.append(_Asked("witness", lambda: WitnessState(witness.records(prefix))))
        answers = self._sweep([ask for ask in asked if ask.key not in self._silent])
        facts: dict[str, Facts | Silent] = {ask.key: answers.get(ask.key, Silent("no answer")) for ask in asked}
        for key, silent in self._silent.items():
            facts[key] = silent
        arrays = cast(dict[str, ArrayState | Silent], {name: facts[f"array {name}"] for name in topology.arrays})
        hosts = cast(dict[str, HostState | Silent], {name: facts[f"host {name}"] for name in topology.hosts})
        pinned = self._pinned(arrays)
        witnessed = cast("WitnessState | Silent | None", facts.get("witness") if topology.witness is not None else None)
        return Observation(pinned, hosts, keys.stamp(keys.now()), self._known_witness(pinned, witnessed))

    def _sweep(self, asked: list[_Asked]) -> dict[str, Facts | Silent]:
        if not asked:
            return {}
        answers: dict[str, Facts | Silent] = {}
        pool = ThreadPoolExecutor(max_workers=len(asked), thread_name_prefix="sweep")
        futures: dict[Future[Facts], _Asked] = {pool.submit(_facts, ask): ask for ask in asked}
        # The drivers keep the budget themselves; the rest is for a driver that does not, or a machine that is busy.
        done, late = wait(futures, timeout=2 * self.topology.source_budget + _GRACE)
        for future in done:
            key = futures[future].key
            try:
                answers[key] = future.result()
            except (Unreachable, NotReady, CorruptRecord, DeviceFault) as error:
                answers[key] = self._silent[key] = _silence(error)
        for future in late:
            key = futures[future].key
            answers[key] = self._silent[key] = Silent(
                f"{key} gave no answer within {2 * self.topology.source_budget + _GRACE:g} s"
            )
        pool.shutdown(wait=False, cancel_futures=True)
        return answers

    # -- identity -------------------------------------------------------------------------------

    def _pinned(self, arrays: dict[str, ArrayState | Silent]) -> dict[str, ArrayState | Silent]:
        """Answers that do not come from the array that was pinned become *not ready*."""
        answers = {name: state for name, state in arrays.items() if isinstance(state, ArrayState)}
        arrays = {**arrays, **set_aside(self.topology.name, answers)}
        expected: dict[str, tuple[str, int]] = {name: (own, 0) for name, own in self.pins.items()}
        for name, state in arrays.items():
            if isinstance(state, ArrayState):
                for other, pin in _peer_pins(self.topology.name, name, state).arrays.items():
                    if other != name and other in arrays:
                        known = expected.get(other)
                        expected[other] = (pin.own_id, max(pin.serial, known[1] if known else 0))
        return {name: self._check(name, state, expected.get(name)) for name, state in arrays.items()}

    def _check(self, name: str, state: ArrayState | Silent, expected: tuple[str, int] | None) -> ArrayState | Silent:
        if isinstance(state, Silent):
            if state.missing and expected is not None:
                reason = f"{state.reason}; it was in use before (its id is {expected[0]}), so no new one is made in its place: bring the array back"
                return Silent(reason, ready=False)
            return state
        key = keys.pin_key(self.topology.name)
        text = state.records.get(key)
        if text and damaged(text) and expected is not None and state.own_id == expected[0]:
            # The others know it for what it is.
            text = dump(Pin(self.topology.name, name, state.own_id, self.topology.arrays[name].site, state.clock))
            state = replace(state, records={**state.records, key: text}, damaged=state.damaged | {key})
        try:
            pin = load(Pin, text, f"array {name}, its pin") if text else None
        except CorruptRecord as error:
            return Silent(
                f"{error}; no array that answers remembers this one, so it is treated as unreachable", ready=False
            )
        fault = ""
        if expected is not None and state.own_id != expected[0]:
            fault = f"array {name}: the one that was pinned has the id {expected[0]}, the one that answers has {state.own_id}"
        elif expected is not None and pin is None:
            fault = f"array {name}: it was pinned before, but the one that answers carries no pin (emptied, or restored from an old backup)"
        elif expected is not None and state.serial < expected[1]:
            fault = f"array {name}: it has been seen at change {expected[1]} and answers at change {state.serial} (restored from an old backup)"
        elif pin is not None and (pin.array != name or pin.own_id != state.own_id):
            fault = f"array {name}: what answers is pinned as {pin.array} with the id {pin.own_id}, and its own id is {state.own_id}"
        if not fault:
            return state
        return Silent(f"{fault}; it is treated as unreachable until the right array answers", ready=False)

    def _known_witness(
        self, arrays: Mapping[str, ArrayState | Silent], state: WitnessState | Silent | None
    ) -> WitnessState | Silent | None:
        """A witness that the arrays know otherwise has forgotten what it was told: *not ready*."""
        spec, key = self.topology.witness, keys.witness_key(self.topology.name)
        if spec is None or state is None:
            return None
        found = {name: s.records[key] for name, s in arrays.items() if isinstance(s, ArrayState) and key in s.records}
        pins = [load(WitnessPin, text, f"array {name}, its record of the witness") for name, text in found.items()]
        expected = {pin.id for pin in pins if pin.place == spec.place}
        if isinstance(state, Silent):
            if not (state.missing and expected):
                return state
            reason = f"{state.reason}; it was in use before, so no new one is made in its place: bring the witness back"
            return Silent(reason, ready=False)
        bad = sorted(name for name, value in state.records.items() if damaged(value))
        if bad:
            reason = f"the witness ({spec.place}): its record {bad[0]} is damaged; delete it there, and give your word until the guards have told it anew"
            return Silent(reason, ready=False)
        text = state.records.get(key)
        own = load(WitnessPin, text, "the witness's record of itself").id if text else None
        if expected and own not in expected:
            return Silent(
                f"the witness ({spec.place}) is not the one that was asked before (emptied, or another in its place); it is treated as "
                "unreachable: bring it back, or give the new one another place in the topology",
                ready=False,
            )
        return WitnessState(state.records, pinned=bool(expected))


def _peer_pins(topology: str, name: str, state: ArrayState) -> PeerPins:
    text = state.records.get(keys.peers_key(topology))
    return load(PeerPins, text, f"array {name}, its record of the other arrays") if text else PeerPins()
