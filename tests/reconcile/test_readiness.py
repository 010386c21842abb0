"""Readiness: each item ok, not ok with what to do, or not known because somebody is silent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dr_provider.model import keys
from dr_provider.model.codec import dump
from dr_provider.model.drills import DrillResult
from dr_provider.model.findings import Item
from dr_provider.model.records import Corrupt
from dr_provider.model.state import ArrayState, Observation
from dr_provider.model.topology import Topology, WitnessSpec
from dr_provider.reconcile.drills.evidence import drill_warnings, plan_digest
from dr_provider.reconcile.here import Here, look_here, place_of
from dr_provider.reconcile.readiness import is_ready, judge_plans, lag_of, readiness_document
from dr_provider.reconcile.status import status_document
from dr_provider.reconcile.view import PlanView, plan_view
from tests.reconcile.conftest import MakeLab
from tests.support.situations import (
    ABSENT,
    GIB,
    NAME,
    NOW,
    P1,
    P2,
    PLAN,
    REPLICA,
    claim,
    drill,
    epoch,
    minute,
    moved,
    observation,
    reserved,
    shop,
    split,
    view,
)

DAY = {"rpo": "1d"}
"""The points of a situation are some hours old."""
SMALL = {"memory": "2GiB", "cpus": 2, "host_cpus": 4, "host_memory": "4GiB", "plan": DAY}
"""Two VMs fill a host."""
ALL = {"drill", "lag", "points", "network", "capacity", "spare", "room", "clock", "credential", "backend", "repository"}


def judged(seen: PlanView, here: Here | None = None) -> tuple[Item, ...]:
    return judge_plans([seen], here)[PLAN]


def wrong(items: tuple[Item, ...]) -> dict[str, tuple[str, str]]:
    """Level and sentences of what is not ok, by check, but for what nobody has said, and for drills, which have a table of their own."""
    return {
        i.check: (i.level, f"{i.found} {i.todo}")
        for i in items
        if i.level != "ok" and i.check not in ("backend", "repository", "drill")
    }


def test_a_plan_that_is_well() -> None:
    items = judged(view(shop(plan=DAY)))
    assert {item.check for item in items} == ALL
    assert wrong(items) == {}
    assert is_ready(items) is True
    assert all(item.todo for item in items if item.level != "ok")


CUT = "east-a and west-a do not reach each other"
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, tuple[str, str]], bool | None]] = {
    "lag over two intervals": ({}, {}, {"lag": ("problem", "10 min are allowed (two replication intervals)")}, False),
    "lag over the rpo": (
        {"plan": {"rpo": "20m"}}, {},
        {"lag": ("problem", "20 min are allowed (rpo). Run dr protect shop")}, False,
    ),
    "lag, and the reason": (
        {"plan": {"rpo": "20m"}}, {"cut": True},
        {"lag": ("problem", f"Mend this: {CUT}; then run dr protect shop")}, False,
    ),
    "no copy": (
        {"plan": DAY}, {"west": ABSENT},
        {"points": ("problem", "no whole recovery point of epoch 1, so all")}, False,
    ),
    "no point of the new epoch": (
        {"plan": DAY}, {"epochs": (epoch(), epoch(2))},
        {"points": ("problem", "no whole recovery point of epoch 2 (2 of earlier epochs)")}, False,
    ),
    "a part of a point": (
        {"plan": {"rpo": "1d"}},
        {"west": replace(REPLICA, points=(replace(P2, lacking=("vol-2",)),)), "east": replace(REPLICA, points=(P2,), copies="writable", vms="running")},
        {"points": ("problem", "no whole recovery point of epoch 1, so all")}, False,
    ),
    "the recovery site is dark": (
        {"plan": DAY}, {"silent": ("west",)},
        {
            "lag": ("unknown", "silent: west-a"), "points": ("unknown", "silent: west-a"), "room": ("unknown", "array west-a"),
            "capacity": ("unknown", "west: its room is not known; silent: west-1 and west-2"), "clock": ("unknown", "west-a"),
        }, None,
    ),
    "the recovery site is dark, and what it has is known": (
        {"plan": DAY}, {"silent": ("west",), "east": replace(REPLICA, copies="writable", vms="running", holds=(f"common.west-a.{P1.id}",))},
        {
            "points": ("unknown", ""), "room": ("unknown", ""), "capacity": ("unknown", ""), "clock": ("unknown", ""),
        }, None,
    ),
    "the active site is dark": (
        {"plan": DAY}, {"silent": ("east",)},
        {"room": ("unknown", "array east-a"), "clock": ("unknown", "east-a")}, True,
    ),
    "all is dark": (
        {}, {"silent": ("east", "west")},
        {"made": ("unknown", "Nothing that answers knows the plan; silent: east-a and west-a.")}, None,
    ),
    "nothing is there yet": ({}, {"missing": ("east", "west")}, {"made": ("problem", "It was never made.")}, False),
    "never made": ({}, {"epochs": ()}, {"made": ("problem", "It was never made. Run pulumi up, or dr apply.")}, False),
    "split": (
        {"plan": DAY}, {"split": split()},
        {"standing": ("problem", "dr resolve shop --keep SITE")}, False,
    ),
    "a move that did not end": (
        {"plan": DAY}, {"claim": claim()},
        {"standing": ("problem", "or call it off with dr abort shop")}, False,
    ),
    "no room": (
        SMALL, {"reservations": {"west-1": [reserved(3, 3 * GIB)], "west-2": [reserved(3, 3 * GIB)]}},
        {"capacity": ("problem", "west: 3 VMs of 3 would find no room: app, db and web. Give west another host")}, False,
    ),
    "no room, and who may have some is silent": (
        SMALL, {"silent": ("west-2",)},
        {"capacity": ("unknown", "1 VM of 3 would find no room: web; silent: west-2. Bring west-2 back")}, None,
    ),
    "no host to spare": (
        SMALL, {},
        {"spare": ("warning", "west: without west-1, 1 VM of 3 would find no room: web.")}, True,
    ),
    "a drill has the room, and gives way to a move": (
        SMALL, {"drills": {"d1": drill("d1", "db", "app")}, "reservations": {"west-2": [reserved(1, GIB, tag=keys.drill_tag(NAME, PLAN, "d2"))]}},
        {"spare": ("warning", "west: without west-1, 1 VM of 3 would find no room: web.")}, True,
    ),
    "what runs there already takes its room once": (
        SMALL, {"west": replace(REPLICA, vms={"db": "running"})},
        {"spare": ("warning", "1 VM of 3 would find no room")}, True,
    ),
    "no host to spare while one is silent": (
        {**SMALL, "hosts_per_site": 3}, {"silent": ("west-3",)},
        {"spare": ("unknown", "Silent, and may have room: west-3.")}, True,
    ),
    "hosts that the plan does not allow": (
        {**SMALL, "host_cpus": 6, "host_memory": "6GiB", "plan": {**DAY, "hosts": {"west": ["west-1"]}}},
        {"reservations": {"west-1": [reserved(1, GIB)]}},
        {"capacity": ("problem", "1 VM of 3 would find no room: web")}, False,
    ),
    "fenced, and no guard": (
        {"plan": {**DAY, "fencing": "lease"}}, {},
        {"fencing": ("problem", "dr guard --site east")}, False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_items(name: str) -> None:
    options, situation, expected, ready = CASES[name]
    items = judged(view(shop(**options), **situation))
    found = wrong(items)
    assert {check: level for check, (level, _) in found.items()} == {
        check: level for check, (level, _) in expected.items()
    }
    for check, (_, sentence) in expected.items():
        assert sentence in found[check][1]
    assert is_ready(items) is ready


def test_after_a_move_the_other_side_is_the_recovery_site() -> None:
    found = wrong(judged(moved(shop(plan=DAY), points=(P1, P2))))
    assert found["points"][1].startswith("east: it has no whole recovery point of epoch 2 (2 of earlier epochs)")


def test_a_side_that_is_left_untouched_is_not_asked_for_points() -> None:
    window = epoch(2, "west", from_site="east", window_until=minute(700))
    items = judged(moved(shop(plan={**DAY, "commitWindow": "1h"}), epochs=(epoch(), window)))
    assert wrong(items)["points"][0] == "warning"
    assert "dr rollback shop goes back to it" in wrong(items)["points"][1]


def test_a_point_that_was_found_corrupt_is_told() -> None:
    mark = Corrupt(PLAN, P1.id, "west", ("vol-1",), ("rot",), NOW)
    records = {"west-a": {keys.corrupt_key(NAME, PLAN, P1.id, "west"): dump(mark)}}
    found = wrong(judged(view(shop(plan=DAY), records=records)))
    assert found["points"] == (
        "warning",
        f"west: 1 whole recovery point, the newest {P2.id}; found corrupt: {P1.id}. dr verify shop reads them again; "
        "docs/cli.md says how rot is brought out of a copy.",
    )


# -- arrays and clocks ------------------------------------------------------------------------------------


def changed(topology: Topology, array: str, **more: Any) -> PlanView:
    seen = observation(topology)
    state = seen.arrays[array]
    assert isinstance(state, ArrayState)
    return plan_view(topology, PLAN, replace(seen, arrays={**seen.arrays, array: replace(state, **more)}))


@pytest.mark.parametrize(
    ("used", "level"), [(79, None), (81, "warning"), (91, "problem"), (100, "problem")], ids=lambda value: str(value)
)
def test_an_array_that_fills(used: int, level: str | None) -> None:
    found = wrong(judged(changed(shop(plan=DAY), "west-a", used=used * GIB, capacity=100 * GIB)))
    assert found.get("room", (None,))[0] == level


@pytest.mark.parametrize(
    ("clock", "level", "said"),
    [
        (minute(600.02), None, ""),
        (minute(600.1), "warning", "array west-a: its clock is 6 s or more ahead of this machine's"),
        (minute(602), "problem", "2 min or more ahead"),
        (minute(598), "problem", "1 min 59 s or more behind"),
        ("", None, ""),
    ],
)
def test_clocks(clock: str, level: str | None, said: str) -> None:
    found = wrong(judged(changed(shop(plan=DAY), "west-a", clock=clock)))
    assert found.get("clock", (None, ""))[0] == level
    assert said in found.get("clock", ("", ""))[1]


# -- networks ---------------------------------------------------------------------------------------------


def no_address(document: dict[str, Any]) -> None:
    del document["vms"]["db"]["nics"][0]["address"]["west"]


def by_dhcp(document: dict[str, Any]) -> None:
    del document["vms"]["db"]["nics"][0]["address"]


@pytest.mark.parametrize(
    ("change", "said"),
    [(no_address, "west: no address for VM db on prod there, and there is one elsewhere"), (by_dhcp, "")],
)
def test_addresses(change: Any, said: str) -> None:
    found = wrong(judged(view(shop(change, plan=DAY))))
    assert found.get("network", ("", ""))[1].startswith(said)
    assert bool(said) is ("network" in found)


def test_a_network_without_a_bridge_at_the_recovery_site() -> None:
    topology = shop(plan=DAY)
    prod = topology.networks["prod"]
    less = replace(topology, networks={"prod": replace(prod, sites={"east": "br-prod"})})
    assert wrong(judged(view(less)))["network"] == (
        "problem",
        "west: no bridge for network prod of VM db, network prod of VM app and network prod of VM web there. "
        "Add west under the network in the topology.",
    )


# -- plans that come to a site together ---------------------------------------------------------------------


def two_plans(document: dict[str, Any]) -> None:
    plan = document["plans"]["shop"]
    document["volumes"]["logs"] = {"size": "64MiB", "home": "east-a", "copies": ["west-a"]}
    document["vms"]["logs"] = {"cpus": 2, "memory": "2GiB", "disks": {"root": {"volume": "logs", "size": "4MiB"}}}
    document["plans"]["logs"] = {**plan, "tiers": [{"members": ["logs"]}]}
    document["vms"]["big"] = {**document["vms"]["logs"], "disks": {"root": {"volume": "big", "size": "4MiB"}}}
    document["volumes"]["big"] = document["volumes"]["logs"]
    document["plans"]["big"] = {**plan, "tiers": [{"members": ["big"]}]}


def test_plans_that_are_lost_together_are_placed_together() -> None:
    """Each finds room alone; together they do not, and the last one is told so."""
    topology = shop(two_plans, **SMALL)
    seen = observation(topology)
    records = dict(seen.arrays)
    for name, state in records.items():
        assert isinstance(state, ArrayState)
        also = {
            keys.epoch_key(NAME, plan, 1, f"id-{plan}"): dump(replace(epoch(), plan=plan, id=f"id-{plan}"))
            for plan in ("logs", "big")
        }
        records[name] = replace(state, records={**state.records, **also})
    seen = Observation(records, seen.hosts, seen.time)
    views = [plan_view(topology, plan, seen) for plan in sorted(topology.plans)]
    items = judge_plans(views)
    assert "capacity" not in wrong(items["logs"])
    assert "capacity" not in wrong(items["big"])
    level, said = wrong(items["shop"])["capacity"]
    assert (level, "if all plans of east come there" in said) == ("problem", True)


# -- this machine, state and repository -----------------------------------------------------------------------


def with_credential(where: str, reference: str) -> Topology:
    topology = shop(plan=DAY)
    if where == "witness":
        return replace(topology, witness=WitnessSpec("s3", {"credentials": {"accessKey": reference}}))
    if where == "host":
        host = topology.hosts["west-1"]
        host = replace(host, options={**host.options, "credentials": reference})
        return replace(topology, hosts={**topology.hosts, "west-1": host})
    west = topology.arrays["west-a"]
    key = {"credentials": reference} if where == "array" else {"luns": {"chap": {"password": reference}}}
    return replace(topology, arrays={**topology.arrays, "west-a": replace(west, options={**west.options, **key})})


@pytest.mark.parametrize(
    ("where", "reference", "level", "said"),
    [
        ("array", "env:DR_TEST_KEY", None, ""),
        ("array", "env:DR_TEST_NONE", "problem", "environment variable DR_TEST_NONE is not set"),
        ("array", "file:/no/such/file", "problem", "file /no/such/file cannot be read"),
        ("array", "config:westKey", "warning", "Only Pulumi can resolve config:westKey."),
        ("chap", "env:DR_TEST_NONE", "problem", "(arrays.west-a.luns.chap.password)"),
        ("host", "env:DR_TEST_NONE", "problem", "(hosts.west-1.credentials)"),
        ("witness", "env:DR_TEST_NONE", None, ""),
    ],
)
def test_credentials(where: str, reference: str, level: str | None, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DR_TEST_KEY", "pl4nted")
    topology = with_credential(where, reference)
    items = judged(view(topology), look_here(topology))
    found = wrong(items)
    assert found.get("credential", (None,))[0] == level
    assert said in found.get("credential", ("", ""))[1]
    assert "pl4nted" not in repr(items)


@pytest.mark.parametrize(("variable", "level"), [("DR_TEST_KEY", None), ("DR_TEST_NONE", "warning")])
def test_secrets_of_callouts_are_for_whoever_runs_a_move(
    variable: str, level: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DR_TEST_KEY", "pl4nted")
    callout = {"after": "move", "command": ["true"], "environment": {"TOKEN": f"env:{variable}"}}
    topology = shop(plan={**DAY, "callouts": {"dns": callout}})
    items = judged(view(topology), look_here(topology))
    found = wrong(items)
    assert found.get("credential", (None,))[0] == level
    assert level is None or "(plans.shop.callouts.dns.environment.TOKEN)" in found["credential"][1]
    assert is_ready(items) is True


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("https://api.pulumi.com", "elsewhere"),
        ("s3://states?region=eu-west-1", "elsewhere"),
        ("s3://states?endpoint=10.0.1.10:9000&s3ForcePathStyle=true", "east"),
        ("s3://states?endpoint=https://10.0.2.11", "west"),
        ("https://user:secret@10.0.2.10/git/dr.git", "west"),
        ("git@github.com:example/dr.git", "elsewhere"),
        ("git@10.0.1.11:dr.git", "east"),
        ("ssh://git@unknown.example.org/dr.git", None),
        ("file:///srv/state", None),
        ("/srv/git/dr.git", None),
        ("", None),
    ],
)
def test_where_an_address_is(address: str, place: str | None) -> None:
    topology = shop()
    arrays = {
        name: replace(spec, options={"endpoints": [f"ssh://root@10.0.{n}.10:2222"]})
        for n, (name, spec) in enumerate(topology.arrays.items(), 1)
    }
    hosts = {
        name: replace(spec, options={"uri": f"qemu+ssh://root@10.0.{1 if spec.site == 'east' else 2}.11/system"})
        for name, spec in topology.hosts.items()
    }
    assert place_of(replace(topology, arrays=arrays, hosts=hosts), address) == place


@pytest.mark.parametrize(
    ("kept", "here", "level", "said"),
    [
        (None, Here(), "unknown", "Say it in the topology: state: {backend: SITE or elsewhere}."),
        (None, Here(backend="https://api.pulumi.com"), "ok", "kept at another place"),
        ("elsewhere", Here(), "ok", "kept at another place"),
        ("east", Here(backend="https://api.pulumi.com"), "problem", "The state backend is only at east, and is lost with it."),
        ("west", Here(), "warning", "only at west, one of the plan's own sites"),
        (["east", "west"], Here(), "ok", "kept at east and west"),
        (["east", "elsewhere"], Here(), "ok", "kept at east and another place"),
    ],
)  # fmt: skip
def test_where_the_state_is(kept: Any, here: Here, level: str, said: str) -> None:
    def change(document: dict[str, Any]) -> None:
        if kept is not None:
            document["state"] = {"backend": kept}

    items = judged(view(shop(change, plan=DAY)), here)
    found = next(item for item in items if item.check == "backend")
    assert (found.level, said in f"{found.found} {found.todo}") == (level, True)
    assert is_ready(items) is (level != "problem"), "what nobody has said keeps nobody from moving"


# -- drills -----------------------------------------------------------------------------------------------------


def result(topology: Topology, **more: Any) -> DrillResult:
    given: dict[str, Any] = {
        "plan": PLAN, "drill": "may", "kind": "asked", "site": "west", "point": P2.id, "point_time": P2.time, "time": minute(540),
        "rpo_seconds": 60.0, "rto_seconds": 12.0, "ok": True, "failures": (), "vms": 3, "by": "test", "stack": "",
        "digest": plan_digest(topology, PLAN),
    }  # fmt: skip
    return DrillResult(**{**given, **more})


DRILLS: dict[str, tuple[dict[str, Any], dict[str, Any] | None, str, str]] = {
    "never": ({}, None, "warning", "It was never drilled. Drill it: dr drill start shop."),
    "well": ({}, {}, "ok", "Its last drill, may at west, 1 h ago, was well."),
    "failed": (
        {},
        {"ok": False, "failures": ("VM db did not start.",)},
        "problem",
        "failed: VM db did not start. Mend that, then drill it",
    ),
    "not finished": ({}, {"ok": False}, "problem", "failed: it was not finished."),
    "changed since": ({}, {"digest": "0" * 16}, "warning", "the plan has changed since: it needs a drill."),
    "overdue": ({"every": "30m"}, {}, "problem", "A drill is overdue: the last one was 1 h ago."),
    "never, and overdue": ({"every": "30m"}, None, "problem", "A drill is overdue: it was never drilled."),
    "in time": ({"every": "2h"}, {}, "ok", "was well."),
}


@pytest.mark.parametrize("name", DRILLS)
def test_drills(name: str) -> None:
    every, drilled, level, said = DRILLS[name]
    topology = shop(plan={**DAY, **({"drill": every} if every else {})})
    records: dict[str, dict[str, str]] = {}
    if drilled is not None:
        made = result(topology, **drilled)
        records = {"west-a": {keys.drill_result_key(NAME, PLAN, "20260302T170000-may"): dump(made)}}
    seen = view(topology, records=records)
    items = judged(seen)
    (found,) = (item for item in items if item.check == "drill")
    assert (found.level, said in f"{found.found} {found.todo}") == (level, True), found
    document = readiness_document(seen, items)
    assert (document["lastDrill"] is None) is (drilled is None)
    assert document["ready"] is (level != "problem")


@pytest.mark.parametrize("every", [{}, {"every": "30m"}], ids=["not asked for", "would be overdue"])
def test_a_drill_that_only_a_silent_array_may_know_of(every: dict[str, Any]) -> None:
    seen = view(shop(plan={**DAY, **({"drill": every} if every else {})}), silent=("west",))
    (found,) = (item for item in judged(seen) if item.check == "drill")
    assert (found.level, found.found) == ("unknown", "Nothing that answers knows of a drill; silent: west-a.")
    assert drill_warnings(seen) == ()


# -- for machines -----------------------------------------------------------------------------------------------


def test_the_document() -> None:
    seen = view(shop(plan={"rpo": "20m"}))
    document = readiness_document(seen, judged(seen))
    assert (document["ready"], document["lagSeconds"], document["rpoSeconds"]) == (False, lag_of(seen, "west"), 1200.0)
    assert document["readiness"][0] == {
        "check": "lag",
        "level": "problem",
        "subject": "west",
        "found": "west: what is whole there is 8 h 18 min old; 20 min are allowed (rpo).",
        "todo": "Run dr protect shop, and keep dr protect --watch running.",
    }


def test_lag_is_that_of_the_best_site() -> None:
    topology = shop(sites=("east", "west", "south"), plan=DAY)
    seen = view(topology, south=replace(REPLICA, points=(P1,)))
    lags = [lag_of(seen, site) for site in ("west", "south")]
    assert readiness_document(seen, ())["lagSeconds"] == min(lag for lag in lags if lag is not None)
    assert lags[0] != lags[1]


def test_lag_of_a_silent_site_is_what_the_others_know() -> None:
    east = replace(REPLICA, copies="writable", vms="running", holds=(f"common.west-a.{P1.id}",))
    seen = view(shop(plan=DAY), silent=("west",), east=east)
    assert readiness_document(seen, ())["lagSeconds"] == 499 * 60
    assert readiness_document(view(silent=("west",)), ())["lagSeconds"] is None
    assert readiness_document(view(epochs=()), ())["lagSeconds"] is None


def test_a_sweep_is_all_that_it_takes(make: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = make()
    lab.protect()
    world = lab.world()
    world.look()
    for kind in ("array", "host", "observe"):
        monkeypatch.setattr(world.fleet, kind, lambda *_: pytest.fail("something was asked beyond the one sweep"))
    status = status_document(world)["plans"]["shop"]
    assert (status["ready"], status["lagSeconds"] < status["rpoSeconds"]) == (True, True)
