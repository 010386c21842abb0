"""`dr rehearse`: the twin of a topology, the loss on it, and what is held against what was promised."""

from __future__ import annotations

import copy
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dr_provider.cli import rehearsal
from dr_provider.model.codec import canonical
from dr_provider.model.loader import parse
from dr_provider.model.records import Owner
from dr_provider.model.state import ArrayState, HostState, Observation, Silent, VmState
from dr_provider.model.topology import Topology
from dr_provider.model.vm import VmDefinition
from dr_provider.reconcile.losses import parse_loss
from dr_provider.reconcile.twin import twin_of
from dr_provider.reconcile.whatif import whatif
from tests.cli.conftest import Dr
from tests.model.test_topology_drivers import REAL
from tests.support.lab import Lab

GIB = 1 << 30


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "project", vms=4, source_budget="300ms")


def real(**changed: Any) -> Topology:
    """ZFS arrays and libvirt hosts."""
    return parse(canonical({**copy.deepcopy(REAL), **changed}), source="test", base=Path("/"))


def dark(topology: Topology) -> Observation:
    silent = Silent("no answer")
    return Observation(
        dict.fromkeys(topology.arrays, silent), dict.fromkeys(topology.hosts, silent), "2026-01-01T00:00:00.000Z"
    )


# -- the twin -------------------------------------------------------------------------------------


def test_the_twin_has_the_names_and_sizes_and_nothing_of_the_real_machines(tmp_path: Path) -> None:
    topology = real()
    twin, notes = twin_of(topology, dark(topology), tmp_path)
    made = [(a.driver, a.options) for a in twin.arrays.values()] + [(h.driver, h.options) for h in twin.hosts.values()]
    assert {driver for driver, _ in made} == {"embedded"}
    assert all(str(options["path"]).startswith(str(tmp_path)) for _, options in made)
    assert (twin.name, twin.sites, twin.volumes, twin.networks) == (
        topology.name,
        topology.sites,
        topology.volumes,
        topology.networks,
    )
    assert {name: (vm.cpus, vm.memory, vm.nics) for name, vm in twin.vms.items()} == {
        name: (vm.cpus, vm.memory, vm.nics) for name, vm in topology.vms.items()
    }
    assert {plan.name: plan.tiers for plan in twin.plans.values()} == {p.name: p.tiers for p in topology.plans.values()}
    assert "ssh" not in twin.text
    assert "qemu" not in twin.text
    assert [note for note in notes if "does not answer, so its twin has room for all VMs" in note]


def test_a_host_of_the_twin_has_the_room_that_other_vms_leave(tmp_path: Path) -> None:
    topology = real()
    first, *others = topology.hosts
    foreign = VmState("crm", "running", VmDefinition("crm", "", "", "", 3, 2 * GIB, (), (), Owner("crm", "", "1")))
    seen = dark(topology)
    state = HostState("iqn.x:1", 8, 16 * GIB, {"crm": foreign, "off": replace(foreign, state="off")})
    twin, notes = twin_of(topology, replace(seen, hosts={**seen.hosts, first: state}), tmp_path)
    assert (twin.hosts[first].options["cpus"], twin.hosts[first].options["memory"]) == (5, 14 * GIB)
    assert len(notes) == len(others)


def test_capacity_and_latency_are_the_measured_ones(tmp_path: Path) -> None:
    topology = real()
    first, *_ = topology.arrays
    seen = dark(topology)
    state = ArrayState("id", 1, 100 * GIB + 17, 0)
    twin, _ = twin_of(
        topology, replace(seen, arrays={**seen.arrays, first: state}), tmp_path, {f"array {first}": 0.04, "host x": 9.0}
    )
    assert (twin.arrays[first].options["capacity"], twin.arrays[first].options["latency"]) == (100 * GIB, 0.04)


def test_a_fenced_plan_is_moved_by_word_on_the_twin_and_that_is_said(tmp_path: Path) -> None:
    document = copy.deepcopy(REAL)
    document["witness"] = {"driver": "embedded", "path": "witness.db"}
    for plan in document["plans"].values():
        plan["fencing"] = "witness"
    topology = parse(canonical(document), source="test", base=tmp_path)
    twin, notes = twin_of(topology, dark(topology), tmp_path)
    assert {plan.fencing for plan in twin.plans.values()} == {"operator"}
    assert twin.witness is None
    assert [note for note in notes if "no guard runs on the twin" in note]


def test_the_twin_runs_no_callouts_and_says_so(tmp_path: Path) -> None:
    document = copy.deepcopy(REAL)
    for plan in document["plans"].values():
        plan["callouts"] = {"a": {"after": "move", "command": ["false"]}}
        plan["prompts"] = {"p": {"before": "commit", "text": "go?"}}
    topology = parse(canonical(document), source="test", base=tmp_path)
    twin, notes = twin_of(topology, dark(topology), tmp_path)
    assert not any(plan.callouts or plan.prompts for plan in twin.plans.values())
    assert [note for note in notes if note.startswith("callouts and prompts are not run in a rehearsal")]


# -- the play -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lost", "outcome", "site", "least"),
    [
        ("site:east", "failover", "west", 16),
        ("array:east-a", "failover", "west", 16),
        ("host:east-1", "restart", "east", 24),
        ("site:west", "goes on", "east", 24),
    ],
)
def test_every_ledger_is_held_against_its_promise(
    lab: Lab, dr: Dr, lost: str, outcome: str, site: str, least: int
) -> None:
    said = dr("rehearse", "--lose", lost, "--json", "--topology", str(lab.path))
    assert (said.status, said.json["well"], said.json["lose"]) == (0, True, [lost])
    (plan,) = said.json["plans"]
    assert (plan["outcome"], plan["site"], plan["seconds"] is None) == (outcome, site, outcome == "goes on")
    for vm in plan["vms"]:
        assert (vm["site"], vm["well"], vm["promised"]) == (site, True, least)
        assert vm["last"] >= least


def test_nothing_of_the_real_topology_is_touched(lab: Lab, dr: Dr) -> None:
    lab.protect()
    before, serials = lab.world().look(), lab.serials()
    journals = os.environ.get("DR_STATE_HOME")
    said = dr("rehearse", "--lose", "site:east", "--topology", str(lab.path))
    assert said.status == 0
    assert "All 4 VMs run, each on the host and with the data that was promised." in said.out
    assert lab.serials() == serials
    assert lab.world().look().hosts == before.hosts
    assert os.environ.get("DR_STATE_HOME") == journals


def test_a_plan_is_rehearsed_from_where_it_is_active(lab: Lab, dr: Dr) -> None:
    lab.protect()
    lab.move("west")
    said = dr("rehearse", "--lose", "site:west", "--json", "--topology", str(lab.path))
    assert (said.status, said.json["plans"][0]["site"]) == (0, "east")


def test_a_topology_whose_machines_are_all_dark_can_be_rehearsed(tmp_path: Path) -> None:
    topology = real()
    lost = [parse_loss(topology, f"site:{next(iter(topology.plans.values())).sites[0]}")]
    found = rehearsal.rehearse(topology, dark(topology), lost, tmp_path, progress=lambda _line: None)
    assert not found.wrong
    assert {plan.outcome for plan in found.plans} == {"failover"}


def test_a_vm_without_a_way_back_is_not_well(lab: Lab, dr: Dr) -> None:
    said = dr("rehearse", "--lose", "site:east", "--lose", "site:west", "--json", "--topology", str(lab.path))
    assert (said.status, said.json["well"]) == (1, False)
    assert "no copy of plan shop's volumes is left" in said.json["error"]


def test_another_host_than_the_promised_one_is_not_well(lab: Lab, dr: Dr, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = whatif

    def wrong(*args: Any, **more: Any) -> Any:
        case = answer(*args, **more)
        (fate,) = case.plans
        first, *rest = fate.vms
        return replace(case, plans=(replace(fate, vms=(replace(first, host="west-9"), *rest)),))

    monkeypatch.setattr(rehearsal, "whatif", wrong)
    said = dr("rehearse", "--lose", "site:east", "--topology", str(lab.path))
    assert said.status == 1
    assert "and west-9 was promised" in said.out
    assert "1 of 4 VMs did not come back as they should." in said.out


@pytest.mark.parametrize(
    ("hosts", "promised", "last", "problem", "says"),
    [
        (["a"], "a", 16, "", ""),
        (["a"], "a", 15, "", "its last entry is 15, and 16 were promised"),
        (["a"], "a", 16, "block 3 differs", "not whole: block 3 differs"),
        (["a", "b"], "a", 16, "", "runs on a and b at once"),
        (["b"], None, 16, "", "no host was promised"),
    ],
)
def test_judgement(hosts: list[str], promised: str | None, last: int, problem: str, says: str) -> None:
    said = vars(rehearsal)["_judge"]("db", hosts, promised, 16, last, problem)
    assert (says in said, bool(said)) == (True, bool(says))


# -- words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say what is lost"),
        (["--lose", "site:eastt"], "did you mean east?"),
        (["--lose", "site:east", "--keep", "{folder}"], "wanted a new or empty folder"),
        (["--lose", "site:east", "--keep", "{file}/x"], "it cannot be used"),
    ],
)
def test_words_that_are_wrong(lab: Lab, dr: Dr, words: list[str], said: str) -> None:
    given = [word.format(folder=lab.path.parent, file=lab.path) for word in words]
    found = dr("rehearse", *given, "--topology", str(lab.path))
    assert (found.status, said in found.err) == (2, True), found.err


def test_the_twin_is_kept_where_it_is_asked_for(lab: Lab, dr: Dr, tmp_path: Path) -> None:
    said = dr(
        "rehearse", "--lose", "host:west-1", "--keep", str(tmp_path / "twin"), "--json", "--topology", str(lab.path)
    )
    assert said.status == 0
    assert {path.name for path in (tmp_path / "twin").glob("*.db")} >= {"east-a.array.db", "west-2.host.db"}
    assert json.loads((tmp_path / "twin" / "topology.json").read_text())["name"] == "shop-test"
