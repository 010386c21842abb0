"""The state of a mirror, as an observation shows it."""

from __future__ import annotations

import pytest

from dr_provider.model.state import ArrayState, Incoming, Silent, SnapshotState, VolumeState
from dr_provider.model.topology import Topology
from dr_provider.protection.mirrors import MirrorState, mirror_states
from tests.protection.conftest import MakeTopology
from tests.protection.samples import array, observation, point_snapshot, snap, volume

MEET = {"east-a": True, "west-a": True}
PART = Incoming("e1-s2-00000002", "guid", "e1-s1-00000001", 4096)


@pytest.fixture(scope="module")
def one(make_topology: MakeTopology) -> Topology:
    return make_topology(volumes=1, replicate_every="5m")


def points(*sequences: int, held: str = "", sealed: bool = True) -> list[SnapshotState]:
    """Points of vol-1; number n was taken in minute n."""
    return [
        point_snapshot(
            n, members=("vol-1",), minutes=n, volume="vol-1", sealed=sealed,
            holds=[f"common.{held}.e1-s{n}-{n:08x}"] if held else [],
        )
        for n in sequences
    ]  # fmt: skip


def copy(*snapshots: SnapshotState, **options: object) -> VolumeState:
    return volume(snapshots, name="vol-1", **options)  # type: ignore[arg-type]


def mirror(
    topology: Topology, east: ArrayState | Silent, west: ArrayState | Silent, *, minutes: float = 4, split: bool = False
) -> MirrorState:
    seen = observation(minutes, east_a=east, west_a=west)
    (found,) = mirror_states(topology, "shop", seen, active="east", split=split)
    return found


def at(*copies: VolumeState, meet: bool = True) -> ArrayState:
    return array(*copies, peers=MEET if meet else dict.fromkeys(MEET, False))


SOURCE = copy(*points(1, 2), writable=True, changed=4096)


@pytest.mark.parametrize(
    ("east", "west", "minutes", "state", "lag"),
    [
        pytest.param(at(SOURCE), at(copy(*points(1, 2))), 4, "synced", 120.0, id="within the limit"),
        pytest.param(at(SOURCE), at(copy(*points(1))), 4, "synced", 180.0, id="one behind, within the limit"),
        pytest.param(at(SOURCE), at(copy(*points(1, 2))), 13, "lagging", 660.0, id="beyond two intervals"),
        pytest.param(
            at(copy(*points(1, 2), writable=True)),
            at(copy(*points(1, 2))),
            99,
            "synced",
            5820.0,
            id="nothing written since",
        ),
        pytest.param(at(SOURCE), at(copy(*points(1), incoming=PART)), 13, "syncing", 720.0, id="on its way"),
        pytest.param(at(SOURCE), at(copy(*points(1, 2), writable=True)), 4, "broken", 120.0, id="writable"),
        pytest.param(at(SOURCE), at(copy(*points(1, 3))), 4, "broken", 180.0, id="a point of its own"),
        pytest.param(at(SOURCE), at(copy(*points(1), changed=4096)), 4, "broken", 180.0, id="blocks of its own"),
        pytest.param(at(SOURCE), at(copy(snap("other"))), 4, "broken", None, id="a stranger"),
        pytest.param(at(SOURCE), at(), 4, "none", None, id="no copy yet"),
        pytest.param(at(), at(copy(*points(1))), 4, "none", None, id="no source"),
        pytest.param(at(SOURCE), at(copy()), 4, "none", None, id="an empty destination"),
        pytest.param(at(SOURCE), at(copy(incoming=PART)), 4, "syncing", None, id="its first copy"),
        pytest.param(at(SOURCE, meet=False), at(copy(*points(1))), 4, "unreachable", 180.0, id="link cut"),
        pytest.param(at(SOURCE, meet=False), at(), 4, "unreachable", None, id="link cut before the first copy"),
        pytest.param(at(SOURCE), Silent("dark"), 4, "unreachable", None, id="silent, and nothing was ever held"),
    ],
)
def test_state(
    one: Topology, east: ArrayState, west: ArrayState | Silent, minutes: float, state: str, lag: float | None
) -> None:
    found = mirror(one, east, west, minutes=minutes)
    assert (found.state, found.lag_seconds) == (state, lag)
    assert (found.from_array, found.to_array, found.to_site) == ("east-a", "west-a", "west")


def test_a_hold_tells_what_a_silent_side_has(one: Topology) -> None:
    held = copy(*points(1, held="west-a"), *points(2), writable=True)
    assert mirror(one, at(held), Silent("dark")).lag_seconds == 180.0
    there = copy(*points(1, held="east-a"))
    found = mirror(one, Silent("dark"), at(there))
    assert (found.state, found.lag_seconds, found.common) == ("unreachable", 180.0, "e1-s1-00000001")


def test_a_split_is_said_whatever_the_copies_look_like(one: Topology) -> None:
    assert mirror(one, at(SOURCE), at(copy(*points(1, 2))), split=True).state == "split"


def test_an_unsealed_snapshot_is_no_common_point(one: Topology) -> None:
    east = at(copy(*points(1), *points(2, sealed=False), writable=True))
    found = mirror(one, east, at(copy(*points(1), *points(2, sealed=False))))
    assert found.common == "e1-s1-00000001"


def test_the_rpo_is_the_limit_where_there_is_one(make_topology: MakeTopology) -> None:
    topology = make_topology(volumes=1, replicate_every="1m", plan={"rpo": "1h"})
    assert mirror(topology, at(SOURCE), at(copy(*points(1, 2))), minutes=55).state == "synced"
    assert mirror(topology, at(SOURCE), at(copy(*points(1, 2))), minutes=65).state == "lagging"


def test_the_direction_follows_the_active_site(one: Topology) -> None:
    seen = observation(4, east_a=at(copy(*points(1))), west_a=at(copy(*points(1), writable=True)))
    (found,) = mirror_states(one, "shop", seen, active="west")
    assert (found.from_array, found.to_array, found.state) == ("west-a", "east-a", "synced")
