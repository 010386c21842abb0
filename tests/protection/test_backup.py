"""The order of a backup, told by arrays and hosts that write down what is asked of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from dr_provider.hypervisors.base import FreezeReport
from dr_provider.model.codec import load
from dr_provider.model.errors import DeviceFault, NotFound, Unreachable
from dr_provider.model.records import Epoch, Guard, Intent, Owner, Seal
from dr_provider.model.state import HostState, Observation, VmState
from dr_provider.model.topology import Topology
from dr_provider.model.vm import VmDefinition
from dr_provider.protection.backup import next_sequence, take_group, thaw_all
from dr_provider.protection.catalogue import RecoveryPoint, catalogue
from dr_provider.protection.fleet import Fleet
from tests.protection.conftest import MakeTopology
from tests.protection.samples import START, array, observation, point_snapshot, volume

GUARD = Guard("shop-test/lease/shop/", 7)
EPOCH = Epoch("shop", 3, "e3id", "east", "committed", "2026-03-01T00:00:00Z", "create", "test")
HOSTS = {"db": "east-1", "app": "east-1", "web": "east-2"}


@dataclass
class Recorder:
    """A fleet whose parties note each call as (verb, who). `harm` is told each call before it is done, and may raise."""

    calls: list[tuple[str, str]] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    guards: list[Guard] = field(default_factory=list)
    frozen: set[str] = field(default_factory=set)
    reports: Mapping[str, FreezeReport] = field(default_factory=dict)
    thawed_early: frozenset[str] = frozenset()
    harm: Callable[[str, str], None] = lambda _verb, _who: None
    lock: Any = field(default_factory=threading.Lock)

    def note(self, verb: str, who: str) -> None:
        with self.lock:
            self.calls.append((verb, who))
        self.harm(verb, who)

    def array(self, name: str) -> RecordingArray:
        return RecordingArray(name, self)

    def host(self, name: str) -> RecordingHost:
        return RecordingHost(name, self)

    def verbs(self) -> list[str]:
        """The calls with repeats in a row told once."""
        verbs = [verb for verb, _ in self.calls]
        return [verb for n, verb in enumerate(verbs) if n == 0 or verbs[n - 1] != verb]

    def of(self, verb: str) -> list[str]:
        return sorted(who for v, who in self.calls if v == verb)


@dataclass
class RecordingArray:
    name: str
    log: Recorder

    def put_volume_records(self, volumes: Sequence[str], key: str, value: str, guard: Guard) -> None:
        assert key == "intent"
        self.log.note("intent", f"{self.name} {' '.join(volumes)}")
        self.log.texts[f"intent {self.name}"] = value
        self.log.guards.append(guard)

    def snapshot(self, volumes: Sequence[str], snapshot: str, guard: Guard) -> None:
        self.log.note("snapshot", f"{self.name} {' '.join(volumes)}")
        self.log.texts[f"snapshot {self.name}"] = snapshot
        self.log.guards.append(guard)

    def seal(self, volumes: Sequence[str], snapshot: str, seal: str, guard: Guard) -> None:
        assert snapshot == self.log.texts[f"snapshot {self.name}"]
        self.log.note("seal", f"{self.name} {' '.join(volumes)}")
        self.log.texts[f"seal {self.name}"] = seal
        self.log.guards.append(guard)

    def delete_snapshots(self, snapshots: Mapping[str, Sequence[str]], guard: Guard) -> None:
        self.log.note("delete", f"{self.name} {' '.join(snapshots)}")
        self.log.guards.append(guard)


@dataclass
class RecordingHost:
    name: str
    log: Recorder

    def freeze(self, name: str, *, thaw_after: float) -> FreezeReport:
        assert thaw_after > 0, "a freeze without a thaw timer"
        self.log.note("freeze", name)
        with self.log.lock:
            self.log.frozen.add(name)
        return self.log.reports.get(name, FreezeReport("application", 100))

    def thaw(self, name: str) -> bool:
        self.log.note("thaw", name)
        with self.log.lock:
            self.log.frozen.discard(name)
        return name not in self.log.thawed_early and name not in self.log.reports


def definition(vm: str) -> VmDefinition:
    return VmDefinition(vm, vm, "shop", f"uuid-{vm}", 1, 1 << 20, (), (), Owner("shop-test", "", "1"))


def running(*off: str, unknown: Sequence[str] = ()) -> dict[str, tuple[str, VmDefinition, bool | None]]:
    return {vm: (host, definition(vm), None if vm in unknown else vm not in off) for vm, host in HOSTS.items()}


def take(log: Recorder, topology: Topology, **options: Any) -> str:
    given: dict[str, Any] = {
        "epoch": EPOCH, "sequence": 4, "guard": GUARD, "view_places": running(), "kind": "backup",
        "consistency": "application", "now": lambda: START,
    }  # fmt: skip
    return take_group(cast(Fleet, log), topology, "shop", "east", **{**given, **options})


def seal_of(log: Recorder, name: str = "east-a") -> Seal:
    return load(Seal, log.texts[f"seal {name}"], "test")


def levels(log: Recorder) -> dict[str, tuple[str, int | None, str]]:
    return {vm: (level.level, level.mark, level.reason) for vm, level in seal_of(log).levels.items()}


@pytest.fixture(scope="module")
def two(make_topology: MakeTopology) -> Topology:
    """Two arrays at home: a plan whose volumes are not one atomic point."""

    def change(document: dict[str, Any]) -> None:
        for site in ("east", "west"):
            document["arrays"][f"{site}-b"] = {**document["arrays"][f"{site}-a"], "path": f".dr/{site}-b.db"}
        document["volumes"]["vol-2"].update(home="east-b", copies=["west-b"])

    return make_topology(change=change)


# -- the order ------------------------------------------------------------------------------------


def test_order(topology: Topology) -> None:
    log = Recorder()
    point = take(log, topology)
    assert log.verbs() == ["intent", "freeze", "snapshot", "thaw", "seal"]
    assert log.of("freeze") == log.of("thaw") == ["app", "db", "web"]
    assert log.of("snapshot") == ["east-a vol-1 vol-2"], "one array, one call: that is what makes it one point"
    assert point.startswith("e3-s4-")
    assert set(log.guards) == {GUARD}


def test_the_intent_is_enough_to_restore_from(topology: Topology) -> None:
    log = Recorder()
    point = take(log, topology)
    intent = load(Intent, log.texts["intent east-a"], "test")
    assert intent.members == ("vol-1", "vol-2")
    assert (intent.plan, intent.topology, intent.epoch, intent.epoch_id, intent.site) == (
        "shop", "shop-test", 3, "e3id", "east",
    )  # fmt: skip
    assert intent.hosts == HOSTS
    assert {vm: load(VmDefinition, text, vm) for vm, text in intent.definitions.items()} == {
        vm: definition(vm) for vm in HOSTS
    }
    assert point == f"e3-s4-{intent.group}"
    assert seal_of(log).group == intent.group


def test_a_crash_consistent_group_asks_nothing_of_the_guests(topology: Topology) -> None:
    log = Recorder()
    take(log, topology, consistency="crash")
    assert log.verbs() == ["intent", "snapshot", "seal"]
    assert {level for level, _, _ in levels(log).values()} == {"crash"}
    assert seal_of(log).consistency == "crash"


# -- levels ---------------------------------------------------------------------------------------


def test_every_guest_held_still(topology: Topology) -> None:
    log = Recorder(reports={})
    take(log, topology)
    assert set(levels(log).values()) == {("application", 100, "")}
    assert seal_of(log).consistency == "application"


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        pytest.param(
            Recorder(reports={"app": FreezeReport("crash", 55, "its agent does not answer")}),
            "its agent does not answer",
            id="cannot",
        ),
        pytest.param(
            Recorder(thawed_early=frozenset({"app"})),
            "the guest thawed before the snapshot was taken",
            id="thawed early",
        ),
    ],
)
def test_one_guest_that_did_not_lowers_its_own_level(topology: Topology, log: Recorder, reason: str) -> None:
    take(log, topology)
    assert levels(log)["app"] == ("crash", None, reason), "an entry that may not be the last one is no mark"
    assert levels(log)["db"] == ("application", 100, "")
    assert seal_of(log).consistency == "crash"


def raising(verb: str, who: str, error: BaseException) -> Callable[[str, str], None]:
    def harm(did: str, to: str) -> None:
        if (did, to.split()[0]) == (verb, who):
            raise error

    return harm


def test_a_host_that_falls_silent_at_the_freeze(topology: Topology) -> None:
    log = Recorder(harm=raising("freeze", "web", Unreachable("host east-2 gives no answer")))
    take(log, topology)
    assert levels(log)["web"] == ("crash", None, "it could not be frozen: host east-2 gives no answer")
    assert log.of("thaw") == ["app", "db", "web"], "the call that failed may have frozen it all the same"


def test_a_host_that_falls_silent_at_the_thaw(topology: Topology) -> None:
    log = Recorder(harm=raising("thaw", "web", Unreachable("host east-2 gives no answer")))
    take(log, topology)
    level, mark, reason = levels(log)["web"]
    assert (level, mark) == ("crash", None)
    assert "could not be checked" in reason


def test_vms_that_are_off_carry_the_marks_of_their_stop(topology: Topology) -> None:
    log = Recorder()
    take(log, topology, view_places=running("db", "app", "web"), kind="final.c1", marks={"db": 42, "app": None})
    assert levels(log) == {"db": ("off", 42, ""), "app": ("off", None, ""), "web": ("off", None, "")}
    assert seal_of(log).consistency == "off"
    assert "freeze" not in log.verbs()


def test_what_nobody_can_see_is_crash_level(topology: Topology) -> None:
    places = running(unknown=["web"])
    del places["db"]
    log = Recorder()
    take(log, topology, view_places=places)
    assert levels(log) == {
        "db": ("crash", None, "no host that answers knows it"),
        "app": ("application", 100, ""),
        "web": ("crash", None, "its host east-2 is silent"),
    }


def test_two_arrays_are_one_point_while_all_hold_still(two: Topology) -> None:
    log = Recorder()
    take(log, two)
    assert log.of("snapshot") == ["east-a vol-1", "east-b vol-2"]
    assert log.verbs() == ["intent", "freeze", "snapshot", "thaw", "seal"]
    assert seal_of(log).consistency == "application"
    assert seal_of(log) == seal_of(log, "east-b")


def test_two_arrays_are_no_point_when_one_guest_does_not(two: Topology) -> None:
    log = Recorder(thawed_early=frozenset({"app"}))
    take(log, two)
    assert seal_of(log).consistency == "crash, per array"
    assert levels(log)["db"] == ("crash", 100, "crash, per array")
    assert levels(log)["app"][2] == "crash, per array: the guest thawed before the snapshot was taken"


def test_two_arrays_and_everything_off_is_one_point(two: Topology) -> None:
    log = Recorder()
    take(log, two, view_places=running("db", "app", "web"))
    assert seal_of(log).consistency == "off"


# -- failure ----------------------------------------------------------------------------------------


def test_a_snapshot_that_fails_on_one_array(two: Topology) -> None:
    log = Recorder(harm=raising("snapshot", "east-b", DeviceFault("array east-b could not")))
    with pytest.raises(DeviceFault, match="east-b could not"):
        take(log, two)
    assert "seal" not in log.verbs()
    assert log.of("delete") == ["east-a vol-1", "east-b vol-2"]
    assert log.frozen == set()
    order = [verb for verb, _ in log.calls]
    assert order.index("delete") > max(n for n, verb in enumerate(order) if verb == "thaw"), (
        "guests first, then tidying"
    )


def test_a_seal_that_fails_on_one_array(two: Topology) -> None:
    log = Recorder(harm=raising("seal", "east-b", DeviceFault("array east-b could not")))
    with pytest.raises(DeviceFault):
        take(log, two)
    assert log.of("delete") == ["east-a vol-1", "east-b vol-2"]


def test_tidying_that_fails_hides_nothing(two: Topology) -> None:
    def harm(verb: str, who: str) -> None:
        if verb == "delete" or (verb, who.split()[0]) == ("snapshot", "east-a"):
            raise Unreachable(f"{who}: silent at {verb}")

    with pytest.raises(Unreachable, match="silent at snapshot"):
        take(Recorder(harm=harm), two)


def test_nothing_is_frozen_before_the_intent_stands(topology: Topology) -> None:
    log = Recorder(harm=raising("intent", "east-a", Unreachable("array east-a gives no answer")))
    with pytest.raises(Unreachable):
        take(log, topology)
    assert log.verbs() == ["intent"]


class Interrupted(BaseException):
    """As Ctrl-C, or a bug."""


@pytest.mark.parametrize("verb", ["freeze", "snapshot"])
def test_whatever_happens_everything_is_thawed(topology: Topology, verb: str) -> None:
    log = Recorder(harm=raising(verb, {"freeze": "db", "snapshot": "east-a"}[verb], Interrupted()))
    with pytest.raises(Interrupted):
        take(log, topology)
    assert log.frozen == set()
    assert log.of("thaw") == ["app", "db", "web"]


def test_a_volume_without_a_copy_there(topology: Topology) -> None:
    with pytest.raises(NotFound, match="no copy at north"):
        take_group(
            cast(Fleet, Recorder()), topology, "shop", "north", epoch=EPOCH, sequence=1, guard=GUARD, view_places={},
            kind="backup", consistency="crash",
        )  # fmt: skip


# -- around it ----------------------------------------------------------------------------------------


def test_thaw_all_thaws_ours_and_only_ours(topology: Topology) -> None:
    def vm(name: str, *, frozen: bool = True, plan: str = "shop", owner: str = "shop-test") -> VmState:
        known = VmDefinition(name, name, plan, "u", 1, 1, (), (), Owner(owner, "", "1"))
        return VmState(name, "running", known, frozen)

    vms = [vm("db"), vm("app", frozen=False), vm("other", plan="other"), vm("theirs", owner="theirs")]
    host = HostState("iqn", 8, 1 << 30, {v.name: v for v in vms})
    seen = Observation({}, {"east-1": host}, "2026-03-01T12:00:00Z")
    log = Recorder()
    assert thaw_all(cast(Fleet, log), topology, "shop", seen) == ("db",)
    assert log.calls == [("thaw", "db")]
    silent = Recorder(harm=raising("thaw", "db", Unreachable("gone")))
    assert thaw_all(cast(Fleet, silent), topology, "shop", seen) == (), "its own timer thaws it"


def points(topology: Topology, *found: tuple[int, int, bool]) -> tuple[RecoveryPoint, ...]:
    snapshots = [
        point_snapshot(s, epoch=e, members=("vol-1",), volume="vol-1", sealed=sealed) for e, s, sealed in found
    ]
    return catalogue(topology, "shop", observation(east_a=array(volume(snapshots, name="vol-1"))))


@pytest.mark.parametrize(
    ("found", "following"),
    [
        pytest.param([], 1, id="the first"),
        pytest.param([(1, 1, True), (1, 2, True)], 3, id="one more"),
        pytest.param([(1, 1, True), (1, 2, False)], 3, id="a leftover's number is not used again"),
        pytest.param([(2, 9, True), (1, 1, True)], 2, id="each epoch counts for itself"),
    ],
)
def test_sequence(topology: Topology, found: list[tuple[int, int, bool]], following: int) -> None:
    assert next_sequence(points(topology, *found), 1) == following
