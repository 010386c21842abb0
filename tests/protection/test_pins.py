"""What arrays remember of one another."""

from __future__ import annotations

from typing import cast

from dr_provider.model import keys
from dr_provider.model.codec import dump, load
from dr_provider.model.errors import Unreachable
from dr_provider.model.records import Guard, PeerPin, PeerPins
from dr_provider.model.state import ArrayState, Observation, Silent
from dr_provider.model.topology import Topology
from dr_provider.protection.fleet import Fleet
from dr_provider.protection.pins import merged_pins, write_pins

GUARD = Guard("shop-test/lease/shop/", 1)


def answering(own: str, serial: int, *, pinned: bool = True, **remembered: tuple[str, int]) -> ArrayState:
    records = {keys.pin_key("shop-test"): "{}"} if pinned else {}
    if remembered:
        pins = {name.replace("_", "-"): PeerPin(*pin) for name, pin in remembered.items()}
        records[keys.peers_key("shop-test")] = dump(PeerPins(pins))
    return ArrayState(own, serial, 1, 0, records=records)


def seen(east: ArrayState | Silent, west: ArrayState | Silent) -> Observation:
    return Observation({"east-a": east, "west-a": west}, {}, "2026-03-01T12:00:00Z")


def merged(topology: Topology, east: ArrayState | Silent, west: ArrayState | Silent) -> dict[str, tuple[str, int]]:
    return {name: (pin.own_id, pin.serial) for name, pin in merged_pins(topology, seen(east, west)).arrays.items()}


def test_all_that_answer(topology: Topology) -> None:
    assert merged(topology, answering("e", 5), answering("w", 9)) == {"east-a": ("e", 5), "west-a": ("w", 9)}


def test_the_highest_serial_seen_stays(topology: Topology) -> None:
    assert merged(topology, answering("e", 5, west_a=("w", 12)), answering("w", 9)) == {
        "east-a": ("e", 5),
        "west-a": ("w", 12),
    }


def test_a_silent_one_is_remembered(topology: Topology) -> None:
    found = merged(topology, Silent("dark"), answering("w", 9, east_a=("e", 5)))
    assert found == {"east-a": ("e", 5), "west-a": ("w", 9)}


def test_one_without_a_pin_of_its_own_is_left_out(topology: Topology) -> None:
    assert merged(topology, answering("e", 5, pinned=False), answering("w", 9)) == {"west-a": ("w", 9)}


class Writing:
    """A fleet that notes what is put."""

    def __init__(self, silent: str = "") -> None:
        self.silent = silent
        self.put: dict[str, str] = {}

    def array(self, name: str) -> Writing:
        self.name = name
        return self

    def put_record(self, key: str, value: str, guard: Guard) -> None:
        assert (key, guard) == ("shop-test/peers", GUARD)
        if self.name == self.silent:
            raise Unreachable("dark")
        self.put[self.name] = value


def test_written_to_all_that_answer_and_are_pinned(topology: Topology) -> None:
    fleet = Writing()
    state = seen(answering("e", 5), answering("w", 9))
    assert write_pins(cast(Fleet, fleet), topology, state, GUARD) == ("east-a", "west-a")
    assert len({load(PeerPins, text, "test").arrays["west-a"].serial for text in fleet.put.values()}) == 1
    assert write_pins(cast(Fleet, Writing("east-a")), topology, state, GUARD) == ("west-a",)
    assert write_pins(cast(Fleet, Writing()), topology, state, GUARD, arrays=["east-a"]) == ("east-a",)
    unpinned = seen(answering("e", 5, pinned=False), Silent("dark"))
    assert write_pins(cast(Fleet, Writing()), topology, unpinned, GUARD) == ()
