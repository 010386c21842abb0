"""`dr doctor`: what is judged side by side, each both ways; and whole runs on embedded drivers, which must change nothing."""

from __future__ import annotations

import copy
import hashlib
import time
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model.codec import canonical
from dr_provider.model.findings import ArrayUse, ClockReading, Examination, Finding, HostUse, Room, VmUse
from dr_provider.model.loader import parse
from dr_provider.model.state import ArrayState, HostState, Observation, Silent, VolumeState
from dr_provider.model.topology import Topology
from dr_provider.reconcile.doctor import array_use, diagnose, host_use
from dr_provider.reconcile.doctor_judge import judge
from tests.model.test_topology_drivers import REAL
from tests.reconcile.conftest import MakeLab
from tests.support.lab import Lab

GIB = 1 << 30


def real(**changed: Any) -> Topology:
    return parse(canonical({**copy.deepcopy(REAL), **changed}), source="test", base=Path("/"))


def array_state(own_id: str, *, used: int = 0, peers: dict[str, bool] | None = None) -> ArrayState:
    volumes = {"shop": VolumeState("shop", GIB, "data", True, None, used=used)}
    return ArrayState(own_id, 1, 100 * GIB, used, volumes, {}, peers or {})


def judged(
    clocks: dict[str, ClockReading] | None = None,
    room: dict[str, Room] | None = None,
    arrays: dict[str, ArrayState | Silent] | None = None,
    initiators: dict[str, str] | None = None,
) -> dict[tuple[str, str], Finding]:
    """Findings of a judgement by subject and check."""
    topology = real()
    keys = {**(clocks or {}), **(room or {})}
    examined = {key: Examination((), (clocks or {}).get(key), (room or {}).get(key)) for key in keys}
    names = initiators or {name: f"iqn.x:{name}" for name in topology.hosts}
    seen = Observation(
        arrays or {name: array_state(name) for name in topology.arrays},
        {name: HostState(initiator, 8, GIB) for name, initiator in names.items()},
        "2026-01-01T00:00:00.000Z",
    )
    found = [finding for _, finding in judge(topology, seen, examined)]
    by_place = {(finding.subject, finding.check): finding for finding in found}
    assert len(by_place) == len(found), "two findings for one thing"
    assert all(bool(f.todo) == (f.level != "ok") for f in found), "what is not well has something to do"
    return by_place


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DR_CHAP", "0123456789abcdef")


# -- clocks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead", "within", "level"),
    [
        (0.0, 0.1, "ok"),
        (1.9, 0.0, "ok"),
        (2.5, 1.0, "ok"),  # it may as well be 1.5 s
        (2.5, 0.2, "warning"),
        (-29.0, 0.0, "warning"),
        (-31.0, 0.0, "problem"),
        (3600.0, 2.0, "problem"),
    ],
)
def test_a_clock_beside_this_machines(ahead: float, within: float, level: str) -> None:
    found = judged({"array east-a": ClockReading(ahead, within), "host west-1": ClockReading(0.0)})
    assert found["array east-a", "clock"].level == level
    assert found["host west-1", "clock"].level == "ok"


def test_clocks_that_are_each_near_enough_and_too_far_from_each_other() -> None:
    found = judged({"host east-1": ClockReading(1.5), "array west-a": ClockReading(-1.5)})
    assert found["host east-1", "clocks"].level == "warning"
    assert "3.0 s ahead of that of array west-a" in found["host east-1", "clocks"].found
    assert {f.level for (_, check), f in found.items() if check == "clock"} == {"ok"}


def test_where_all_others_agree_it_is_this_machines_clock_that_is_wrong() -> None:
    found = judged({"host east-1": ClockReading(-40.0), "array west-a": ClockReading(-40.5)})
    assert found["this machine", "clock"].level == "problem"
    assert "40.2 s ahead of" in found["this machine", "clock"].found
    assert ("host east-1", "clock") not in found


# -- room -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("room", "used", "level"),
    [
        (Room(100 * GIB, 50 * GIB), 0, "ok"),
        (Room(100 * GIB, 19 * GIB), 0, "warning"),
        (Room(100 * GIB, 9 * GIB), 0, "problem"),
        (Room(GIB, GIB // 2), 0, "warning"),  # 1 GiB may still come
        (Room(GIB, GIB // 2), GIB - 4096, "ok"),  # most of it is there
        (Room(1000 * GIB, 9 * GIB, shared=True), 0, "ok"),
        (Room(1000 * GIB, GIB // 2, shared=True), 0, "warning"),
        (Room(1000 * GIB, 0, shared=True), 0, "problem"),
        (Room(0, 0), 0, "problem"),
    ],
)
def test_room(room: Room, used: int, level: str) -> None:
    arrays: dict[str, ArrayState | Silent] = {"east-a": array_state("e", used=used), "west-a": array_state("w")}
    assert judged(room={"array east-a": room}, arrays=arrays)["array east-a", "room"].level == level


def test_an_array_that_is_not_made_yet_needs_all_of_its_volumes() -> None:
    arrays: dict[str, ArrayState | Silent] = {"east-a": Silent("x", ready=False), "west-a": array_state("w")}
    found = judged(room={"array east-a": Room(2 * GIB, GIB - 1)}, arrays=arrays)["array east-a", "room"]
    assert found.level == "warning"
    assert "1.0 GiB" in found.found


# -- identities and paths -----------------------------------------------------------------------------------


def test_one_array_under_two_names() -> None:
    arrays: dict[str, ArrayState | Silent] = {"east-a": array_state("same"), "west-a": array_state("same")}
    found = judged(arrays=arrays)["array east-a", "identity"]
    assert (found.level, "east-a, west-a" in found.found) == ("problem", True)
    assert ("array east-a", "identity") not in judged()


def test_initiators() -> None:
    assert judged()["host east-1", "initiator"].level == "ok"
    found = judged(initiators={"east-1": "iqn.x:same", "west-1": "iqn.x:same"})["host east-1", "initiator"]
    assert (found.level, "east-1, west-1" in found.found) == ("problem", True)


def test_paths_between_arrays() -> None:
    cut: dict[str, ArrayState | Silent] = {
        "east-a": array_state("e", peers={"west-a": False}),
        "west-a": array_state("w", peers={"east-a": True}),
    }
    found = judged(arrays=cut)
    assert found["array east-a", "path"].level == "problem"
    assert ("array west-a", "path") not in found
    # One that is silent is no fault of the path.
    assert ("array east-a", "path") not in judged(arrays={**cut, "west-a": Silent("dead")})


# -- credentials ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("password", "level", "words"),
    [
        ("0123456789abcdef", "ok", "env:DR_CHAP"),
        ("xyzzy", "warning", "5 characters"),
        ("", "problem", "DR_CHAP is not set"),
    ],
)
def test_chap(password: str, level: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    topology = real()
    monkeypatch.setenv("DR_CHAP", password)
    seen = Observation({name: Silent("x") for name in topology.arrays}, {}, "")
    found = [f for _, f in judge(topology, seen, {}) if f.check == "chap"]
    assert [(f.subject, f.level) for f in found] == [("array east-a", level), ("array west-a", level)]
    assert words in found[0].found
    assert not password or password not in "".join(f.found + f.todo for f in found)


# -- what is asked of each machine ------------------------------------------------------------------------------


def test_what_the_topology_wants_of_its_machines() -> None:
    nics = [{"network": "prod"}]
    vms = copy.deepcopy(REAL["vms"])
    vms["db"].update(nics=nics, health={"agent": True})
    topology = real(vms=vms)
    assert array_use(topology, "west-a").volumes == {"shop": GIB}
    assert array_use(topology, "west-a").peers == ("east-a",)
    assert host_use(topology, "west-1") == HostUse(
        {"prod": "br-prod"}, {"prod": "br-drill"}, {"west-a": "10.0.2.10:3260"}, frozenset(), {"db": VmUse(True, True)}
    )


def test_a_host_that_no_plan_uses_needs_nothing() -> None:
    hosts = {
        **copy.deepcopy(REAL["hosts"]),
        "west-2": {"site": "west", "driver": "libvirt", "uri": "qemu+ssh://w2/system"},
    }
    plans = copy.deepcopy(REAL["plans"])
    plans["shop"]["hosts"] = {"west": ["west-1"]}
    assert host_use(real(hosts=hosts, plans=plans), "west-2") == HostUse()


# -- whole runs ---------------------------------------------------------------------------------------------------


def levels(lab: Lab) -> dict[tuple[str, str], str]:
    return {(f.subject, f.check): f.level for f in diagnose(lab.world()).findings}


def prints(folder: Path) -> dict[str, str]:
    """Every file's content. SQLite's shared-memory index is rebuilt by each reader and says nothing."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith("-shm")]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_topology_that_is_well(lab: Lab) -> None:
    diagnosis = diagnose(lab.world())
    assert {f.level for f in diagnosis.findings} == {"ok"}, diagnosis.findings
    assert set(diagnosis.sites) == {"east", "west"}
    document = diagnosis.document()
    assert (document["topology"], document["problems"], document["warnings"]) == ("shop-test", 0, 0)
    assert set(document["findings"][0]) == {"level", "subject", "check", "found", "todo"}


def test_before_anything_is_made_nothing_is_wrong_and_nothing_is_made(make: MakeLab, tmp_path: Path) -> None:
    lab = make(made=False)
    before = sorted(tmp_path.rglob("*"))
    found = levels(lab)
    assert set(found.values()) == {"ok"}
    assert found["array east-a", "made"] == "ok"
    assert sorted(tmp_path.rglob("*")) == before


def test_it_changes_nothing(lab: Lab, tmp_path: Path) -> None:
    lab.write(8)
    lab.protect()
    world = lab.world()
    world.look()
    before = prints(tmp_path)
    diagnosis = diagnose(world)
    # While the connections are open: the last one that closes folds the log into the file.
    assert prints(tmp_path) == before
    assert diagnosis.findings


def test_a_dark_site_is_a_problem_each_and_costs_the_budget_once(make: MakeLab) -> None:
    lab = make(source_budget="1s")
    lab.lose("site:west")
    start = time.monotonic()
    diagnosis = diagnose(lab.world())
    spent = time.monotonic() - start
    dark = {f.subject for f in diagnosis.sites["west"] if f.level == "problem"}
    assert dark == {"array west-a", "host west-1", "host west-2"}
    assert all(f.check == "reach" for f in diagnosis.sites["west"] if f.level == "problem")
    assert not [f for f in diagnosis.sites["east"] if f.level == "problem"]
    assert spent < 1.9


def test_a_file_that_is_no_array(lab: Lab, tmp_path: Path) -> None:
    path = Path(str(lab.topology.arrays["west-a"].options["path"]))
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()
    path.write_bytes(b"")
    found = [f for f in diagnose(lab.world()).findings if f.subject == "array west-a" and f.level == "problem"]
    assert [f.check for f in found] == ["reach"], "the reason is said once"


def test_one_that_is_not_ready_is_looked_at_and_said_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from dr_provider.arrays.embedded import EmbeddedArray
    from dr_provider.model.errors import NotReady
    from dr_provider.model.findings import problem

    def state(self: EmbeddedArray, **words: Any) -> ArrayState:
        raise NotReady(f"array {self.name}: its LUN service does not answer; start it there")

    def examine(self: EmbeddedArray, use: ArrayUse) -> Examination:
        known = problem(f"array {self.name}", "luns", "its LUN service does not answer.", "Start it there.")
        return Examination((known,) if self.name == "east-a" else ())

    monkeypatch.setattr(EmbeddedArray, "state", state)
    monkeypatch.setattr(EmbeddedArray, "examine", examine)
    bad = [(f.subject, f.check) for f in diagnose(lab.world()).findings if f.level != "ok"]
    assert bad == [("array east-a", "luns"), ("array west-a", "ready")]


def test_a_driver_that_fails_in_its_closer_look_is_a_problem_of_its_machine(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dr_provider.hypervisors.embedded import EmbeddedHost
    from dr_provider.model.errors import DeviceFault

    def examine(self: EmbeddedHost, use: HostUse) -> Examination:
        if self.name == "east-1":
            raise DeviceFault("host east-1 could not do the call")
        return Examination()

    monkeypatch.setattr(EmbeddedHost, "examine", examine)
    bad = [f for f in diagnose(lab.world()).findings if f.level != "ok"]
    assert [(f.subject, f.check, f.level) for f in bad] == [("host east-1", "reach", "problem")]
