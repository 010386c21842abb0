"""Drills by `dr`: run and ended, listed, what they have shown; in the dark, cut short, without room."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from dr_provider.arrays.embedded.array import EmbeddedArray
from dr_provider.hypervisors.base import DataReport, ProbeReport
from dr_provider.hypervisors.embedded.host import EmbeddedHost
from dr_provider.model import keys, stopping
from dr_provider.model.errors import ArrayFull, BadInput, DrError, Refused, Stopped, Unreachable
from dr_provider.model.records import Owner
from dr_provider.model.state import Reservation
from dr_provider.model.topology import HealthSpec
from dr_provider.reconcile.drills import outcome as outcomes
from dr_provider.reconcile.drills.begin import run_drill, start_drill
from dr_provider.reconcile.drills.end import end_drill
from dr_provider.reconcile.drills.evidence import changed_since, drill_due, drill_overdue, drill_results, last_drill
from dr_provider.reconcile.drills.listing import drill_history, drill_listing
from dr_provider.reconcile.drills.outcome import DrillOutcome
from dr_provider.reconcile.protect import watch
from tests.reconcile.conftest import Clock, MakeLab
from tests.support.lab import Lab

OWNER = Owner("shop-test", "", "i1")
WORD = "1: power lost at east"


def with_plan(**keys_of_it: Any) -> Callable[[dict[str, Any]], None]:
    """And a second isolated network, for two drills at a time."""

    def change(document: dict[str, Any]) -> None:
        document["plans"]["shop"].update(keys_of_it)
        document["networks"]["prod"]["drill"] = {"bridge": "br-isolated", "more": ["br-isolated-2"]}

    return change


@pytest.fixture
def lab(make: MakeLab) -> Lab:
    """Three VMs at east in three tiers, 20 entries protected at west and 13 written since."""
    made = make(change=with_plan(rto="10m", rpo="15m"), health={"agent": True, "within": "2s"})
    made.write(20)
    made.protect()
    made.write(13)
    return made


def run(lab: Lab, name: str = "d1", point: str | None = None, *, site: str | None = None, **how: Any) -> DrillOutcome:
    return run_drill(lab.world(), "shop", site, name, OWNER, point, **how)


def start(lab: Lab, name: str = "d1", point: str | None = None, **how: Any) -> DrillOutcome:
    return start_drill(lab.world(), "shop", None, name, OWNER, point, **how)


def traces(lab: Lab) -> list[str]:
    """What is there of any drill, but for what they have shown."""
    seen = lab.view().seen
    found: list[str] = []
    for name in lab.topology.arrays:
        state = seen.array(name)
        if state is None:
            continue
        found += [f"{name}: volume {v.name}" for v in state.volumes.values() if v.kind == "drill"]
        found += [
            f"{name}: hold {h}"
            for v in state.volumes.values()
            for s in v.snapshots
            for h in s.holds
            if h.startswith("drill")
        ]
        found += [f"{name}: {key}" for key in state.records if "/drill/" in key or "/drill-end/" in key]
    for name in lab.topology.hosts:
        host = seen.host(name)
        if host is not None:
            found += [f"{name}: VM {vm}" for vm in host.vms if ".drill." in vm]
            found += [f"{name}: keeps {kept.tag}" for kept in host.reservations]
    return found


# -- what it shows -----------------------------------------------------------------------------------


def test_a_drill_is_measured_and_leaves_nothing_but_what_it_has_shown(lab: Lab) -> None:
    outcome = run(lab)
    assert (outcome.failures, outcome.left, traces(lab)) == ((), (), [])
    assert outcome.ended
    assert lab.running() == dict.fromkeys(("db", "app", "web"), "east"), "production is as it was"
    document = json.loads(json.dumps(outcome.document()))
    assert {vm: (at["tier"], at["well"], at["why"]) for vm, at in document["vms"].items()} == {
        "db": (1, True, ""), "app": (2, True, ""), "web": (3, True, ""),
    }  # fmt: skip
    for at in document["vms"].values():
        assert [(check["check"], check["well"]) for check in at["checks"]] == [("agent", True), ("data", True)]
        assert "20 entries, 20 in the recovery point" in at["checks"][1]["detail"]
    seconds = [document["vms"][vm]["seconds"] for vm in ("db", "app", "web")]
    assert seconds == sorted(seconds), "tier after tier"
    assert document["rtoSeconds"] == seconds[-1]
    assert document["wanted"] == {"rpoSeconds": 900.0, "rtoSeconds": 600.0}


def test_an_array_without_room_goes_without_what_it_has_shown(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    put = EmbeddedArray.put_record

    def full(self: EmbeddedArray, key: str, value: str, *more: Any) -> None:
        if self.name == "east-a" and key.startswith(keys.drill_document_key("shop-test", "shop", "")):
            raise ArrayFull("array east-a is full")
        put(self, key, value, *more)

    monkeypatch.setattr(EmbeddedArray, "put_record", full)
    outcome = run(lab)
    assert (outcome.ok, outcome.failures) == (True, ())
    assert [
        line for line in lab.lines if "what drill d1 showed is not on record at east-a (array east-a is full)" in line
    ]
    assert len(drill_results(lab.view())) == 1


@pytest.mark.parametrize(
    ("lost", "told"), [((), ("east-a", "west-a")), (("site:east",), ("west-a",))], ids=["all", "source dark"]
)
def test_what_it_has_shown_is_on_every_array_that_answers(
    lab: Lab, lost: tuple[str, ...], told: tuple[str, ...]
) -> None:
    for target in lost:
        lab.lose(target)
    outcome = run(lab)
    world = lab.world()
    view = world.view("shop")
    last = last_drill(view)
    assert last is not None
    assert (last.drill, last.site, last.ok, last.vms, last.kind) == ("d1", "west", True, 3, "asked")
    assert (last.point, last.rpo_seconds, last.rto_seconds) == (
        outcome.point, round(outcome.rpo_seconds, 3), round(outcome.rto_seconds, 3),
    )  # fmt: skip
    assert not changed_since(view, last)
    for target in lost:
        lab.heal(target)
    prefix = keys.drill_result_prefix("shop-test", "shop")
    seen = lab.view().seen
    found = [a for a in ("east-a", "west-a") if (s := seen.array(a)) and any(k.startswith(prefix) for k in s.records)]
    assert tuple(found) == told
    state = seen.array("west-a")
    assert state is not None
    (key,) = (k for k in state.records if k.startswith(prefix))
    whole = world.fleet.array("west-a").read_record(
        keys.drill_document_key("shop-test", "shop", key.removeprefix(prefix))
    )
    assert json.loads(str(whole))["vms"].keys() == {"db", "app", "web"}


def test_a_disk_that_was_added_after_the_point_is_made_anew_as_a_move_does(lab: Lab) -> None:
    older = lab.view().points[-1].id
    document = json.loads(lab.path.read_text())
    document["vms"]["db"]["disks"]["more"] = {"volume": "vol-1", "size": "4MiB"}
    lab.path.write_text(json.dumps(document))
    lab.apply()
    lab.protect()
    outcome = run(lab, point=older)
    assert (outcome.ok, outcome.failures, outcome.point) == (True, (), older)
    assert f"VM db: its disk more was added after recovery point {older}, and is made anew for it" in outcome.notes
    assert run(lab, "d2").notes == ()


def test_the_last_twenty_stay(make: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcomes._KEPT == 20, "as docs/drills.md says"
    monkeypatch.setattr(outcomes, "_KEPT", 2)
    lab = make(vms=1, volumes=1, hosts_per_site=1)
    lab.protect()
    for number in range(4):
        run(lab, f"d{number}")
    assert [result.drill for result in drill_results(lab.view())] == ["d2", "d3"]
    state = lab.view().seen.array("west-a")
    assert state is not None
    assert sum("/drill-result/" in key for key in state.records) == 2


def test_a_vm_that_is_not_well_is_a_failed_drill_and_the_others_are_looked_at(
    make: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiers = [{"members": ["db", "app"]}, {"members": ["web"]}]
    lab = make(change=with_plan(tiers=tiers), health={"agent": True, "within": "1s"})
    lab.protect()
    probe = EmbeddedHost.probe

    def deaf(host: EmbeddedHost, name: str, health: HealthSpec) -> ProbeReport:
        return ProbeReport(False, "says nothing") if name.startswith("db.drill") else probe(host, name, health)

    monkeypatch.setattr(EmbeddedHost, "probe", deaf)
    outcome = run(lab)
    assert not outcome.ok
    vms = {vm: (at.well, at.seconds is not None) for vm, at in outcome.vms.items()}
    assert vms == {"db": (False, False), "app": (True, True), "web": (False, False)}
    assert "waits" in outcome.vms["web"].why
    assert traces(lab) == []
    last = last_drill(lab.view())
    assert last is not None
    assert (last.ok, last_drill(lab.view(), ok=True)) == (False, None)
    assert any("VM db" in sentence for sentence in last.failures)


def test_a_point_whose_data_is_damaged_is_found(make: MakeLab) -> None:
    lab = make(health={"agent": True, "within": "200ms"})
    lab.write(20)
    point = str(lab.protect().point)
    lab.bench.corrupt("db", "root", "west", point, unnoticed=True)
    outcome = run(lab)
    assert "the ledger's header is damaged" in outcome.failures[0]
    assert [check.well for check in outcome.vms["db"].checks] == [False]
    assert run(lab, "there", site="east").ok, "the other copy of the point is well"


@pytest.mark.parametrize(
    ("report", "well", "said"),
    [
        (DataReport(False, 20, "entry 4 is damaged"), False, "data NOT intact: entry 4 is damaged"),
        (DataReport(True, 19), False, "data NOT whole: 19 entries, 20 in the recovery point"),
        (DataReport(True, 21), True, "data intact: 21 entries, 20 in the recovery point"),
        (DataReport(True), True, "data intact"),
        (None, None, ""),
    ],
    ids=["not intact", "not whole", "written since", "not counted", "no way to say"],
)
def test_what_the_guest_makes_of_its_data(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, report: DataReport | None, well: bool | None, said: str
) -> None:
    monkeypatch.setattr(EmbeddedHost, "read_data", lambda _host, name: report if name.startswith("db.") else None)
    outcome = run(lab)
    assert [(c.check, c.well) for c in outcome.vms["db"].checks[1:]] == ([] if well is None else [("data", well)])
    assert [c.detail for c in outcome.vms["db"].checks[1:] if not c.detail.startswith(said)] == []
    assert outcome.failures == (() if well is not False else (f"drill d1: VM db: {said}",))
    assert outcome.vms["web"].well, "a drill goes on, to show all that is wrong"


def test_an_objective_that_is_missed_is_a_note(make: MakeLab, clock: Clock) -> None:
    lab = make(change=with_plan(rpo="15m", rto="1ms"))
    lab.protect()
    clock.forward(20)
    outcome = run(lab)
    assert outcome.ok
    assert ["the plan's rto is 1ms" in outcome.notes[0], "the plan's rpo is 15m" in outcome.notes[1]] == [True, True]


# -- refused before anything is made -----------------------------------------------------------------


def _small(lab: Lab) -> None:
    start(lab, "first")


REFUSED: dict[str, tuple[dict[str, Any], Any, dict[str, Any], type[DrError], tuple[str, ...]]] = {
    "no room": (
        {"hosts_per_site": 1, "host_cpus": 4, "change": with_plan()}, _small, {"name": "d2"}, Refused,
        ("none of west-1 has that left", "west-1 has 1 CPU and", "dr drill list"),
    ),
    "unknown point": ({}, None, {"point": "e1-s1-00000000"}, BadInput, ("there is none of that name", "the newest whole ones at west: e1-s1-")),
    "too old a time": ({}, None, {"point": "2020-01-01T00:00:00Z"}, BadInput, ("no whole point at west is that old",)),
    "bad name": ({}, None, {"name": "Drill 1"}, BadInput, ("wanted lower-case letters",)),
    "site dark": ({}, lambda lab: lab.lose("site:west"), {}, Unreachable, ("no drill at west while",)),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_anything_is_made(make: MakeLab, case: str) -> None:
    topology, prepare, how, kind, said = REFUSED[case]
    lab = make(**topology)
    lab.protect()
    if prepare is not None:
        prepare(lab)
    before, results = lab.serials(), len(drill_results(lab.view()))
    with pytest.raises(kind) as error:
        run(lab, **how)
    assert [part for part in said if part not in str(error.value)] == []
    assert all(lab.serials()[name] == serial for name, serial in before.items() if name in lab.serials())
    assert len(drill_results(lab.view())) == results


# -- cut short ---------------------------------------------------------------------------------------


def test_ctrl_c_ends_it_and_cleans_up(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    world = lab.world()

    def heard(line: str) -> None:
        if "start VM db" in line:
            stopping.request("Ctrl-C")

    world.progress = heard
    try:
        with pytest.raises(Stopped):
            run_drill(world, "shop", None, "d1", OWNER)
    finally:
        stopping.clear()
    assert traces(lab) == []
    assert last_drill(lab.view()) is None, "a drill that was called off has shown nothing"


def test_ctrl_c_of_one_that_is_to_stay_leaves_it_to_be_gone_on_with(lab: Lab) -> None:
    world = lab.world()
    world.progress = lambda line: stopping.request("Ctrl-C") if "start VM db" in line else None
    try:
        with pytest.raises(Stopped):
            start_drill(world, "shop", None, "d1", OWNER)
    finally:
        stopping.clear()
    assert {vm for vm in traces(lab) if "VM" in vm}
    outcome = start(lab)
    assert outcome.ok
    assert end_drill(lab.world(), "shop", "d1").removed == {"vms": 3, "volumes": 2, "holds": 2}
    assert traces(lab) == []


@pytest.mark.parametrize("lost", ["site:west", "array:west-a", "host:west-1"])
def test_its_site_goes_dark_in_the_middle(lab: Lab, lost: str) -> None:
    """What is left is removed by the next run that can, and only then."""
    world = lab.world()

    def dark(line: str) -> None:
        if "start VM db" in line:
            lab.lose(lost)

    world.progress = dark
    outcome = run_drill(world, "shop", None, "d1", OWNER)
    assert not outcome.ok or lost != "site:west"
    assert outcome.left, "it is said what stays"
    lab.protect()
    assert lab.running() == dict.fromkeys(("db", "app", "web"), "east")
    lab.heal(lost)
    told = lab.protect()
    assert any("drill d1 was ended" in line for line in told.drills)
    assert traces(lab) == []
    assert lab.protect(now=False).drills == ()


def test_ended_while_all_of_it_is_dark(lab: Lab) -> None:
    start(lab)
    lab.lose("site:west")
    ended = end_drill(lab.world(), "shop", "d1")
    assert (ended.removed["vms"], len(ended.left)) == (0, 1), "its record is where nobody answers"
    assert end_drill(lab.world(), "shop", "never-was").left, "nobody who answers would know of it"
    lab.heal("site:west")
    lab.protect()
    assert traces(lab) == []


def test_what_it_was_made_of_is_not_in_the_topology_any_more(make: MakeLab) -> None:
    lab = make(vms=3, volumes=3)
    lab.protect()
    start(lab)

    document = json.loads(lab.path.read_text(encoding="utf-8"))
    del document["volumes"][document["vms"].pop("web")["disks"]["root"]["volume"]]
    plan = document["plans"]["shop"]
    plan["tiers"] = [tier for tier in plan["tiers"] if tier["members"] != ["web"]]
    lab.path.write_text(json.dumps(document), encoding="utf-8")
    ended = end_drill(lab.world(), "shop", "d1")
    assert (ended.removed, ended.left) == ({"vms": 3, "volumes": 3, "holds": 3}, [])
    assert traces(lab) == []


@pytest.mark.parametrize("dark", [False, True])
def test_what_it_was_made_of_was_on_an_array_that_is_the_plans_no_more(make: MakeLab, dark: bool) -> None:
    def change(document: dict[str, Any]) -> None:
        document["arrays"]["west-b"] = {**document["arrays"]["west-a"], "path": ".dr/west-b.db"}
        document["volumes"]["vol-3"]["copies"] = ["west-b"]

    lab = make(vms=3, volumes=3, change=change)
    lab.protect()
    start(lab)
    assert "west-b: volume vol-3.drill.d1" in traces(lab)
    document = json.loads(lab.path.read_text(encoding="utf-8"))
    del document["volumes"]["vol-3"], document["vms"]["web"]
    plan = document["plans"]["shop"]
    plan["tiers"] = [tier for tier in plan["tiers"] if tier["members"] != ["web"]]
    lab.path.write_text(json.dumps(document), encoding="utf-8")
    assert "west-b" not in lab.topology.plan_arrays("shop")
    if dark:
        lab.lose("array:west-b")
        (left,) = end_drill(lab.world(), "shop", "d1").left
        assert left.startswith("what west-b has of it (")
        lab.heal("array:west-b")
    assert end_drill(lab.world(), "shop", "d1").left == []
    assert traces(lab) == []


def test_its_site_is_none_of_the_plans_any_more(make: MakeLab) -> None:
    lab = make(sites=("east", "west", "south"))
    lab.protect()
    assert start_drill(lab.world(), "shop", "south", "d1", OWNER).ok
    document = json.loads(lab.path.read_text(encoding="utf-8"))
    document["plans"]["shop"]["sites"].remove("south")
    for volume in document["volumes"].values():
        volume["copies"] = ["west-a"]
    for vm in document["vms"].values():
        for nic in vm["nics"]:
            nic["address"].pop("south", None)
    lab.path.write_text(json.dumps(document), encoding="utf-8")
    assert traces(lab)
    assert end_drill(lab.world(), "shop", "d1").removed == {"vms": 3, "volumes": 2, "holds": 2}
    assert traces(lab) == []


# -- listed --------------------------------------------------------------------------------------------


def test_open_drills_are_listed_whoever_made_them(lab: Lab, clock: Clock) -> None:
    start(lab, "kept")
    clock.forward(1)
    start_drill(lab.world("dr/drill"), "shop", "west", "stacked", Owner("shop-test", "dr/drill", "i2"), stay=60)
    clock.forward(5)
    listing = drill_listing(lab.world(), ["shop"])
    assert [(d["drill"], d["site"], d["stack"], d["expired"], len(d["vms"])) for d in listing["drills"]] == [
        ("kept", "west", None, False, 3), ("stacked", "west", "dr/drill", True, 3),
    ]  # fmt: skip
    assert all(vm["state"] == "running" for d in listing["drills"] for vm in d["vms"].values())
    history = drill_history(lab.view())
    assert [d["drill"] for d in history["drills"]] == ["stacked", "kept"]
    assert (history["changedSince"], history["due"], history["overdue"]) == (False, None, False)


def test_a_name_that_a_stack_has_taken_is_refused(lab: Lab) -> None:
    start_drill(lab.world("dr/drill"), "shop", "west", "d1", Owner("shop-test", "dr/drill", "i2"))
    with pytest.raises(Refused, match="made by stack dr/drill; choose another name"):
        start(lab)


# -- over ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["protect", "repair", "failover"])
def test_who_holds_the_lease_next_ends_what_has_expired(lab: Lab, clock: Clock, who: str) -> None:
    start(lab, "old", stay=3600)
    start(lab, "other", stay=7200)
    clock.forward(59)
    lab.protect()
    assert set(lab.view().drills) == {"old", "other"}
    clock.forward(2)
    if who == "protect":
        said = lab.protect(now=False).drills
    elif who == "repair":
        lab.lose("host:east-1")
        lab.heal("host:east-1")
        said = lab.move().remarks
    else:
        said = lab.move("west").remarks
    assert [line for line in said if "drill old was ended, since it expired at 2026-03-02T09:00" in line]
    assert set(lab.view().drills) == {"other"}
    assert len([line for line in traces(lab) if ": VM " in line]) == 3


def test_protect_looks_again_when_a_drill_expires(lab: Lab, clock: Clock) -> None:
    start(lab, stay=90)
    due = lab.protect().next_due
    assert due is not None
    assert (due - clock.time).total_seconds() == 90


def test_a_point_that_a_drill_stands_on_is_pruned_when_that_has_expired(make: MakeLab, clock: Clock) -> None:
    lab = make(backup={"every": "15m", "keep": {"last": 1}})
    first = lab.protect().point
    start(lab, stay=3600)
    clock.forward(20)
    lab.write(1)
    lab.protect()
    lab.write(1)
    clock.forward(20)
    lab.protect()
    there = {p.id for p in lab.view().points if p.complete_at("west")}
    assert first in there, "the parent of a drill stays"
    clock.forward(25)
    lab.write(1)
    outcome = lab.protect()
    assert len(outcome.drills) == 1
    assert first in {prune.point for prune in outcome.pruned}, "by the same run"


# -- on a schedule ---------------------------------------------------------------------------------------


@pytest.fixture
def scheduled(make: MakeLab, clock: Clock) -> Lab:
    made = make(change=with_plan(drill={"every": "7d"}), health={"agent": True, "within": "1s"})
    made.write(20)
    made.protect()
    clock.forward(60)
    return made


DAY = 24 * 60


def test_a_drill_is_run_when_it_is_due_and_not_before(scheduled: Lab, clock: Clock) -> None:
    lab = scheduled
    assert lab.protect(now=False).drills == ()
    due = drill_due(lab.view())
    assert due is not None
    clock.time = due - timedelta(minutes=1)
    lab.protect()
    assert lab.protect(now=False).next_due == due
    clock.time = due
    (said,) = lab.protect(now=False).drills
    assert "3 of 3 VMs well" in said
    assert traces(lab) == []
    last = last_drill(lab.view())
    assert last is not None
    assert (last.kind, last.ok) == ("scheduled", True)
    assert drill_due(lab.view()) == due + timedelta(days=7)
    assert lab.protect(now=False).drills == ()


def test_any_drill_of_the_plan_counts(scheduled: Lab, clock: Clock) -> None:
    run(scheduled)
    assert drill_due(scheduled.view()) == clock.time + timedelta(days=7)


def test_it_stays_up_for_as_long_as_the_plan_says(make: MakeLab, clock: Clock) -> None:
    lab = make(change=with_plan(drill={"every": "7d", "for": "30m", "point": "oldest"}))
    first = lab.protect().point
    clock.forward(7 * DAY)
    outcome = lab.protect()
    assert outcome.next_due == clock.time + timedelta(minutes=5), "backups and replication go on"
    (record,) = lab.view().drills.values()
    assert (record.kind, record.point, record.expires) == (
        "scheduled",
        first,
        keys.stamp(clock.time + timedelta(minutes=30)),
    )
    clock.forward(10)
    assert lab.protect().point is not None
    clock.forward(20)
    (said,) = lab.protect(now=False).drills
    assert "was ended, since it expired" in said
    assert traces(lab) == []


def _not_protected(lab: Lab) -> None:
    lab.lose("site:west")


def _no_room(lab: Lab) -> None:
    for host in ("west-1", "west-2"):
        lab.world().fleet.host(host).reserve("another", [Reservation("another", "vm", 15, 1 << 30)])


@pytest.mark.parametrize(
    ("hinder", "said"),
    [(_not_protected, "waits: the plan is not protected"), (_no_room, "there is no room for this drill at west")],
    ids=["not protected", "no room"],
)
def test_one_that_cannot_begin_waits_and_nothing_else_does(
    scheduled: Lab, clock: Clock, hinder: Callable[[Lab], None], said: str
) -> None:
    lab = scheduled
    clock.forward(7 * DAY)
    hinder(lab)
    for _ in range(2):
        outcome = lab.protect()
        assert outcome.point is not None
        assert [line for line in outcome.warnings if "its drill is due" in line and said in line]
    assert (drill_results(lab.view()), outcome.drills) == ((), ())


def test_one_that_fails_is_a_warning_and_is_not_tried_before_the_next_is_due(
    scheduled: Lab, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = scheduled
    clock.forward(7 * DAY)
    monkeypatch.setattr(EmbeddedHost, "probe", lambda *_: ProbeReport(False, "says nothing"))
    outcome = lab.protect()
    assert (outcome.well, traces(lab)) == (True, [])
    assert [line for line in outcome.warnings if "says nothing" in line]
    clock.forward(60)
    assert lab.protect().drills == ()
    assert len(drill_results(lab.view())) == 1
    (warning,) = (line for line in lab.status()["warnings"] if "scheduled drill" in line)
    assert "try again with dr drill start shop" in warning
    monkeypatch.undo()


def test_one_whose_process_was_killed_counts_as_failed(scheduled: Lab, clock: Clock) -> None:
    lab = scheduled
    clock.forward(7 * DAY)
    lab.protect(now=False)
    (last,) = drill_results(lab.view())
    # As a kill leaves it: up, and nothing shown.
    start(lab, "cut", kind="scheduled", stay=60)
    prefix = keys.drill_result_prefix("shop-test", "shop")
    for array in ("east-a", "west-a"):
        state = lab.view().seen.array(array)
        for key in state.records if state else ():
            if key.startswith(prefix) and "cut" in str(lab.world().fleet.array(array).read_record(key)):
                lab.world().fleet.array(array).delete_record(key)
    clock.forward(2)
    lab.protect(now=False)
    results = drill_results(lab.view())
    assert [(r.drill, r.ok, r.rto_seconds is None) for r in results] == [
        (last.drill, True, False),
        ("cut", False, True),
    ]
    assert traces(lab) == []


def test_a_drill_that_is_overdue_is_said(scheduled: Lab, clock: Clock) -> None:
    assert not drill_overdue(scheduled.view())
    clock.forward(11 * DAY)
    assert drill_overdue(scheduled.view())
    assert [
        line for line in scheduled.status()["warnings"] if "a drill is overdue; none has shown that all is well" in line
    ]
    run(scheduled)
    assert not drill_overdue(scheduled.view())
    clock.forward(11 * DAY)
    assert [line for line in scheduled.status()["warnings"] if "a drill is overdue; the last one" in line]


def test_watch_goes_on_protecting_while_a_drill_is_run(
    scheduled: Lab, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = scheduled
    clock.forward(7 * DAY)
    world, stop, lines = lab.world(), threading.Event(), list[str]()
    cycles = threading.Semaphore(0)
    probe = EmbeddedHost.probe

    def slow(host: EmbeddedHost, name: str, health: HealthSpec) -> ProbeReport:
        # Two whole cycles of protection while one of its VMs comes up.
        if name.startswith("db.drill"):
            assert cycles.acquire(timeout=20)
            assert cycles.acquire(timeout=20)
        return probe(host, name, health)

    def heard(line: str) -> None:
        lines.append(line)
        if "next at" in line:
            clock.forward(16)
            cycles.release()
        if "VMs well" in line:
            stop.set()

    monkeypatch.setattr(EmbeddedHost, "probe", slow)
    world.progress = heard
    watch(world, ["shop"], stop, clock=lambda: clock.time)
    during = [line for line in lines if "took e1-" in line]
    assert len(during) >= 2
    assert [line for line in lines if "3 of 3 VMs well" in line]
    assert traces(lab) == []
    assert len(drill_results(lab.view())) == 1
