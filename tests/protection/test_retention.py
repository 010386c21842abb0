"""Retention: the rules in tables, and what they must never take as properties."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dr_provider.model.state import ArrayState, Incoming, Observation, SnapshotState, VolumeState
from dr_provider.model.topology import BackupSpec, Keep, Topology
from dr_provider.protection.catalogue import RecoveryPoint, catalogue, newest
from dr_provider.protection.retention import Prune, plan_pruning, protected_snapshots, wanted_points
from tests.protection.samples import array, observation, point_snapshot, snap, time_at, volume

VOLUMES = ("vol-1", "vol-2")
ARRAYS = {"east-a": "east", "west-a": "west"}


@dataclass(frozen=True)
class Group:
    """A group as it is at each site: `parts` maps an array to how many of the two volumes have it."""

    sequence: int
    minutes: float
    kind: str = "backup"
    sealed: bool = True
    parts: tuple[int, int] = (2, 2)
    holds: tuple[bool, bool] = (False, False)


def seen(groups: list[Group], **more: VolumeState) -> Observation:
    states: dict[str, ArrayState] = {}
    for side, name in enumerate(ARRAYS):
        copies = []
        for number, member in enumerate(VOLUMES):
            snapshots = [
                point_snapshot(
                    g.sequence,
                    members=VOLUMES,
                    minutes=g.minutes,
                    kind=g.kind,
                    sealed=g.sealed,
                    holds=["drill.one"] if g.holds[side] and number == 0 else [],
                    volume=member,
                )
                for g in groups
                if number < g.parts[side]
            ]
            copies.append(volume(snapshots, name=member, writable=side == 0))
        states[name] = array(*copies, *more.values())
    return Observation(states, {}, time_at(10_000))


def keeping(topology: Topology, keep: Keep) -> Topology:
    plan = topology.plans["shop"]
    spec = replace(plan, backup=BackupSpec(plan.backup.every, plan.backup.consistency, keep))
    return replace(topology, plans={"shop": spec})


def pruned(topology: Topology, observation: Observation, **options: object) -> dict[str, list[int]]:
    points = catalogue(topology, "shop", observation)
    found: dict[str, list[int]] = {"east": [], "west": []}
    for prune in plan_pruning(topology, "shop", observation, points, **options):  # type: ignore[arg-type]
        found[prune.site].append(int(prune.point.split("-")[1][1:]))
    return found


def points_of(topology: Topology, groups: list[Group]) -> tuple[RecoveryPoint, ...]:
    return catalogue(topology, "shop", seen(groups))


HOUR, DAY = 60.0, 24 * 60.0


@pytest.mark.parametrize(
    ("keep", "times", "kept"),
    [
        pytest.param(Keep(last=2), [0, 15, 30, 45], [3, 4], id="last"),
        pytest.param(Keep(last=9), [0, 15], [1, 2], id="fewer than asked for"),
        pytest.param(Keep(last=0), [0, 15], [2], id="never none"),
        pytest.param(Keep(last=1, hourly=2), [0, 15, 45, 61, 75, 119, 121], [6, 7], id="an hour's newest"),
        pytest.param(Keep(last=1, hourly=3), [0, 15, 45, 61, 75, 119, 121], [3, 6, 7], id="three hours"),
        pytest.param(Keep(last=1, daily=3), [0, HOUR, DAY, DAY + HOUR, 5 * DAY], [2, 4, 5], id="days that have one"),
        pytest.param(Keep(last=1, weekly=2), [0, DAY, 7 * DAY, 8 * DAY], [3, 4], id="weeks start on Monday"),
        pytest.param(Keep(last=2, hourly=1, daily=2), [0, DAY, DAY + 5, DAY + 10], [1, 3, 4], id="rules add up"),
    ],
)
def test_rules(topology: Topology, keep: Keep, times: list[float], kept: list[int]) -> None:
    points = points_of(topology, [Group(n + 1, minutes) for n, minutes in enumerate(times)])
    found = wanted_points(points, keep)
    assert [p.sequence for p in points if p.id in found] == kept


def test_last_counts_by_order_not_by_clock(topology: Topology) -> None:
    """A clock that was set back must not make the newest point look old."""
    points = points_of(topology, [Group(1, 100), Group(2, 90), Group(3, 10)])
    assert {p.sequence for p in points if p.id in wanted_points(points, Keep(last=1))} == {3}


def test_replication_cycles_do_not_crowd_backups_out(topology: Topology) -> None:
    groups = [Group(1, 0), Group(2, 5, "crash"), Group(3, 15), Group(4, 20, "crash"), Group(5, 25, "crash")]
    points = points_of(topology, groups)
    found = wanted_points(points, Keep(last=2))
    assert [p.sequence for p in points if p.id in found] == [1, 3, 4, 5]


@pytest.mark.parametrize(
    ("groups", "gone"),
    [
        pytest.param([Group(n, n) for n in range(1, 5)], {"east": [1, 2], "west": [1, 2]}, id="each site by itself"),
        pytest.param(
            [Group(1, 1, holds=(True, False)), *(Group(n, n) for n in range(2, 5))],
            {"east": [2], "west": [1, 2]},
            id="held at one site",
        ),
        pytest.param(
            [Group(1, 1), Group(2, 2), Group(3, 3), Group(4, 4, parts=(2, 0)), Group(5, 5, parts=(2, 0))],
            {"east": [1, 2], "west": [1]},
            id="the newest common one stays",
        ),
        pytest.param(
            [Group(1, 1, parts=(2, 1)), Group(2, 2), Group(3, 3)],
            {"east": [1], "west": [1]},
            id="half an old point goes",
        ),
        pytest.param(
            [Group(1, 1), Group(2, 2), Group(3, 3, parts=(2, 1))], {"east": [1], "west": []}, id="one on its way stays"
        ),
        pytest.param(
            [Group(1, 1, sealed=False, parts=(2, 0)), Group(2, 2), Group(3, 3)],
            {"east": [1], "west": []},
            id="unsealed, older than a whole one",
        ),
        pytest.param(
            [Group(1, 1), Group(2, 2), Group(3, 3, sealed=False, parts=(2, 0))],
            {"east": [], "west": []},
            id="unsealed, newer",
        ),
        pytest.param(
            [Group(1, 1, sealed=False), Group(2, 2, sealed=False)], {"east": [], "west": []}, id="no whole one at all"
        ),
    ],
)
def test_what_goes(topology: Topology, groups: list[Group], gone: dict[str, list[int]]) -> None:
    assert pruned(keeping(topology, Keep(last=2)), seen(groups)) == gone


def test_spared_sites_are_not_touched(topology: Topology) -> None:
    state = seen([Group(n, n) for n in range(1, 5)])
    assert pruned(keeping(topology, Keep(last=1)), state, spare=("west",)) == {"east": [1, 2, 3], "west": []}


def test_a_drill_and_a_transfer_keep_what_they_stand_on(topology: Topology) -> None:
    groups = [Group(n, n, parts=(2, 0)) for n in range(1, 6)]
    state = seen(groups)
    west = state.arrays["west-a"]
    east = state.arrays["east-a"]
    assert isinstance(west, ArrayState)
    assert isinstance(east, ArrayState)
    names = [s.name for s in east.volumes["vol-1"].snapshots]
    coming = replace(west.volumes["vol-1"], incoming=Incoming(names[1], "guid", names[0], 4096))
    clone = VolumeState("vol-2.drill.one", 1, "drill", True, None, origin=("vol-2", names[2]))
    state = Observation(
        {
            "east-a": replace(east, volumes={**east.volumes, clone.name: clone}),
            "west-a": replace(west, volumes={**west.volumes, "vol-1": coming}),
        },
        {},
        state.time,
    )
    assert pruned(keeping(topology, Keep(last=1)), state) == {"east": [4], "west": []}


def test_snapshots_of_others_are_never_touched(topology: Topology) -> None:
    state = seen([Group(n, n) for n in range(1, 4)])
    east = state.arrays["east-a"]
    assert isinstance(east, ArrayState)
    first = east.volumes["vol-1"]
    theirs = replace(first, snapshots=(snap("nightly-1"), snap("init-west-a"), *first.snapshots))
    state = Observation({**state.arrays, "east-a": array(theirs, east.volumes["vol-2"])}, {}, state.time)
    found = plan_pruning(keeping(topology, Keep(last=3)), "shop", state, catalogue(topology, "shop", state))
    # The snapshot of a first copy is ours, and of no use once the copies share a newer one.
    assert found == (Prune("init-west-a", "east", {"east-a": ("vol-1",)}),)


def test_silence_of_the_peer_leaves_what_is_held_for_it(topology: Topology) -> None:
    held = replace(
        point_snapshot(1, members=VOLUMES, volume="vol-1"), holds=frozenset({"common.west-a.e1-s1-00000001"})
    )

    def copies(name: str, first: SnapshotState) -> VolumeState:
        return volume([first, *(point_snapshot(n, members=VOLUMES, minutes=n, volume=name) for n in (2, 3))], name=name)

    state = observation(
        east_a=array(copies("vol-1", held), copies("vol-2", point_snapshot(1, members=VOLUMES, volume="vol-2")))
    )
    assert pruned(keeping(topology, Keep(last=1)), state) == {"east": [2], "west": []}


groups = st.lists(
    st.builds(
        Group,
        sequence=st.integers(1, 60),
        minutes=st.floats(0, 9000, allow_nan=False).map(round),
        kind=st.sampled_from(["backup", "backup", "crash", "final.ab"]),
        sealed=st.sampled_from([True, True, True, False]),
        parts=st.tuples(st.integers(0, 2), st.integers(0, 2)),
        holds=st.tuples(st.booleans(), st.booleans()),
    ),
    max_size=14,
    unique_by=lambda group: group.sequence,
).map(lambda found: sorted(found, key=lambda group: group.sequence))
keeps = st.builds(
    Keep, last=st.integers(0, 4), hourly=st.integers(0, 3), daily=st.integers(0, 3), weekly=st.integers(0, 3)
)


@given(groups=groups, keep=keeps)
def test_never_what_is_held_common_or_newest(topology: Topology, groups: list[Group], keep: Keep) -> None:
    spec, state = keeping(topology, keep), seen(groups)
    points = catalogue(spec, "shop", state)
    untouched = protected_snapshots(spec, "shop", state)
    gone = plan_pruning(spec, "shop", state, points)
    for prune in gone:
        for name, volumes in prune.volumes.items():
            assert not {(name, v, prune.point) for v in volumes} & untouched
        top = newest(points, prune.site)
        assert top is not None
        assert prune.point != top.id
        # Whole or not at all: every part that the site has goes.
        point = next(p for p in points if p.id == prune.point)
        assert sorted(v for volumes in prune.volumes.values() for v in volumes) == sorted(
            point.sites[prune.site].arrays
        )
    for site in ("east", "west"):
        whole = [p for p in points if p.complete_at(site)]
        left = {p.id for p in whole} - {p.point for p in gone if p.site == site}
        assert wanted_points(whole, keep) <= left


@given(groups=groups, keep=keeps)
def test_done_once_there_is_nothing_more_to_do(topology: Topology, groups: list[Group], keep: Keep) -> None:
    spec, state = keeping(topology, keep), seen(groups)
    gone = plan_pruning(spec, "shop", state, catalogue(spec, "shop", state))
    doomed = {(a, v, p.point) for p in gone for a, volumes in p.volumes.items() for v in volumes}
    after = Observation(
        {
            a: array(
                *(
                    replace(v, snapshots=tuple(s for s in v.snapshots if (a, v.name, s.name) not in doomed))
                    for v in found.volumes.values()
                )
            )
            for a, found in state.arrays.items()
            if isinstance(found, ArrayState)
        },
        {},
        state.time,
    )
    assert plan_pruning(spec, "shop", after, catalogue(spec, "shop", after)) == ()
