"""Moves as `dr` decides, asks, runs and reports them, over a stand-in for the reconciler."""

from __future__ import annotations

from pathlib import Path

import pytest

from dr_provider.model.errors import LeaseHeld, MoveFailed, Refused
from dr_provider.reconcile.decision import Action, Decision, Want
from tests.cli.conftest import Dr
from tests.cli.fakes import LINE, FakeOutcome, Reconciler, plan_status, planned, refused
from tests.support.topologies import topology_document

MOVE = ("failover", "shop", "--to", "west")


def test_a_dry_run_shows_the_decision_and_does_nothing(dr: Dr, topology: Path, reconciler: Reconciler) -> None:
    said = dr(*MOVE, "--dry-run", "--topology", str(topology))
    assert said.status == 0
    assert "Plan shop: a planned move, east -> west" in said.out
    assert "recovery point  a final one, taken in this move" in said.out
    assert "expected loss   nothing is lost" in said.out
    assert "estimated time  about 14 s" in said.out
    assert "1. claim epoch 2 for west" in said.out
    assert "3. start VM db on west-1" in said.out
    assert reconciler.changed == []
    document = dr(*MOVE, "--dry-run", "--json", "--topology", str(topology)).json
    assert {"plan", "kind", "from", "to", "point", "loss", "actions", "refused"} <= set(document)
    assert [action["id"] for action in document["actions"]] == ["claim", "stop", "start"]


def test_a_move_says_what_stands(dr: Dr, topology: Path, reconciler: Reconciler) -> None:
    reconciler.outcomes["shop"] = FakeOutcome(planned(), safety=("vol-1.safety.2-0a1b on east-a",))
    said = dr(*MOVE, "--yes", "--point", "e1-s9-0a1b2c3d", "--topology", str(topology))
    assert said.status == 0
    assert "Plan shop is active at west, epoch 2 (steady, protected)." in said.out
    assert "time taken      14 s" in said.out
    assert "vol-1.safety.2-0a1b on east-a" in said.out
    assert "db" in said.out
    assert "west-1" in said.out
    assert "[1/3] claim epoch 2 for west" in said.err
    assert reconciler.calls[-1][2] == Want(site="west", point="e1-s9-0a1b2c3d")


def test_json_is_clean_on_stdout(dr: Dr, topology: Path, reconciler: Reconciler) -> None:
    for words in (("--json", *MOVE), (*MOVE, "--json")):
        said = dr(*words, "--yes", "--topology", str(topology))
        assert said.json["status"]["activeSite"] == "west"
        assert "[1/3]" in said.err


def test_a_refusal_prints_the_line_to_add(dr: Dr, topology: Path, reconciler: Reconciler) -> None:
    reconciler.decisions["shop"] = refused()
    said = dr(*MOVE, "--yes", "--topology", str(topology))
    assert said.status == 1
    # Whole, and on a line of its own, so that it can be copied.
    assert LINE in [line.strip() for line in said.out.splitlines()]
    assert 'dr:force: {shop: "1: <reason>"}' in [line.strip() for line in said.out.splitlines()]
    document = dr(*MOVE, "--yes", "--json", "--topology", str(topology))
    assert document.status == 1
    assert LINE in document.json["refused"][-1]
    assert document.json["actions"] == []
    assert dr(*MOVE, "--dry-run", "--topology", str(topology)).status == 1
    assert reconciler.changed == []


def test_a_refusal_that_comes_with_the_lease(dr: Dr, topology: Path, reconciler: Reconciler) -> None:
    reconciler.outcomes["shop"] = Refused(refused().refused)
    said = dr(*MOVE, "--yes", "--json", "--topology", str(topology))
    assert said.status == 1
    assert LINE in said.json["refused"][-1]
    assert said.json["status"]["activeSite"] == "west"
    text = dr(*MOVE, "--yes", "--topology", str(topology))
    assert LINE in [line.strip() for line in text.out.splitlines()]


@pytest.mark.parametrize(
    "error",
    [
        LeaseHeld("plan shop: the lease is held by another"),
        MoveFailed(("no room", "plan shop is active at east as before")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_says_what_stands(dr: Dr, topology: Path, reconciler: Reconciler, error: Exception) -> None:
    reconciler.outcomes["shop"] = error
    reconciler.status["plans"]["shop"] = plan_status("east", 1)
    said = dr(*MOVE, "--yes", "--topology", str(topology))
    assert said.status == 1
    for sentence in str(error).splitlines():
        assert sentence.removeprefix("plan shop: ") in said.out
    assert "Plan shop: plan shop: " not in said.out
    assert "Plan shop is active at east, epoch 1" in said.out
    document = dr(*MOVE, "--yes", "--json", "--topology", str(topology)).json
    assert document["error"] == str(error)
    assert document["cause"] == type(error).__name__
    assert document["status"]["activeSite"] == "east"


def test_what_did_not_start_is_exit_status_1(dr: Dr, topology: Path, reconciler: Reconciler) -> None:
    reconciler.outcomes["shop"] = FakeOutcome(planned(), failures=("start VM db on west-1: no memory left",))
    said = dr(*MOVE, "--yes", "--topology", str(topology))
    assert said.status == 1
    assert "no memory left" in said.out
    assert dr(*MOVE, "--yes", "--json", "--topology", str(topology)).json["failures"]


def test_nothing_to_do_is_well(dr: Dr, topology: Path, reconciler: Reconciler) -> None:
    reconciler.decisions["shop"] = Decision("shop", "none", "west", "west")
    said = dr(*MOVE, "--yes", "--topology", str(topology))
    assert said.status == 0
    assert "Nothing to do." in said.out
    assert reconciler.changed == []


def test_a_plan_that_is_not_made_is_not_made_by_a_move(dr: Dr, topology: Path, reconciler: Reconciler) -> None:
    reconciler.decisions["shop"] = planned(kind="create", to_site="east", from_site=None)
    said = dr("failback", "shop", "--yes", "--json", "--topology", str(topology))
    assert said.status == 1
    assert "dr apply" in said.json["refused"][0]
    assert reconciler.changed == []


def test_failback_is_a_move_to_the_home(dr: Dr, topology: Path, reconciler: Reconciler) -> None:
    assert dr("failback", "shop", "--yes", "--topology", str(topology)).status == 0
    assert reconciler.calls[-1] == ("run", "shop", Want(site="east"))


def test_abort_resolve_and_start_ask_for_what_they_are(dr: Dr, topology: Path, reconciler: Reconciler) -> None:
    at = ("--topology", str(topology))
    assert dr("abort", "shop", *at).status == 0
    assert reconciler.calls[-1] == ("run", "shop", Want(goal="abort"))
    assert dr("resolve", "shop", "--keep", "west", "--yes", *at).status == 0
    assert reconciler.calls[-1] == ("run", "shop", Want(goal="resolve", site="west"))
    assert dr("rollback", "shop", "--force", "2: west is gone", "--yes", *at).status == 0
    assert reconciler.calls[-1] == ("run", "shop", Want(goal="rollback", word="2: west is gone"))
    assert dr("commit", "shop", *at).status == 0
    assert reconciler.calls[-1] == ("run", "shop", Want(goal="commit"))
    assert dr("start", "shop", "--force", "2: west is gone", *at).status == 0
    assert str(reconciler.calls[-1][2]) == "2: west is gone"


def test_many_actions_are_elided_only_where_they_are_asked_about(
    dr: Dr, topology: Path, reconciler: Reconciler
) -> None:
    actions = tuple(Action(f"a{n}", "start", f"start VM number {n}") for n in range(300))
    reconciler.decisions["shop"] = planned(actions=actions)
    said = dr(*MOVE, "--dry-run", "--topology", str(topology))
    assert "300. start VM number 299" in said.out


# -- every plan at once -----------------------------------------------------------------------------


@pytest.fixture
def three_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import json

    document = topology_document()
    vms = list(document["vms"])
    document["volumes"] = {f"vol-{vm}": {"size": "64MiB", "home": "east-a", "copies": ["west-a"]} for vm in vms}
    for vm in vms:
        document["vms"][vm]["disks"]["root"]["volume"] = f"vol-{vm}"
    plan = document["plans"]["shop"]
    document["plans"] = {f"plan-{vm}": {**plan, "tiers": [{"members": [vm]}]} for vm in vms}
    file = tmp_path / "three.yaml"
    file.write_text(json.dumps(document))
    # Two of them are at east, and the last has been moved before.
    sites = {f"plan-{vm}": "east" for vm in vms} | {f"plan-{vms[-1]}": "west"}
    monkeypatch.setattr("dr_provider.cli.move._active", lambda world, plan: sites[plan])
    return file


def test_all_plans_of_a_lost_site(dr: Dr, three_plans: Path, reconciler: Reconciler) -> None:
    reconciler.status["plans"] = {name: plan_status() for name in ("plan-db", "plan-app", "plan-web")}
    reconciler.outcomes = {name: FakeOutcome(planned(name)) for name in reconciler.status["plans"]}
    said = dr("failover", "--all", "--to", "west", "--yes", "--json", "--topology", str(three_plans))
    assert said.status == 0
    assert sorted(said.json["plans"]) == ["plan-app", "plan-db"]
    assert sorted(reconciler.changed) == ["plan-app", "plan-db"]
    reconciler.outcomes["plan-db"] = LeaseHeld("plan plan-db: the lease is held by another")
    half = dr("failover", "--all", "--to", "west", "--yes", "--json", "--topology", str(three_plans))
    assert half.status == 1
    assert "lease" in half.json["plans"]["plan-db"]["error"]
    assert half.json["plans"]["plan-app"]["status"]["activeSite"] == "west"
    text = dr("failover", "--all", "--to", "west", "--yes", "--topology", str(three_plans))
    assert text.status == 1
    assert "Plan plan-app is active at west" in text.out


def test_one_of_all_refused_does_not_hold_up_the_others(dr: Dr, three_plans: Path, reconciler: Reconciler) -> None:
    reconciler.decisions = {"plan-db": refused("plan-db"), "plan-app": planned("plan-app")}
    reconciler.outcomes["plan-app"] = FakeOutcome(planned("plan-app"))
    said = dr("failover", "--all", "--to", "west", "--yes", "--json", "--topology", str(three_plans))
    assert said.status == 1
    assert reconciler.changed == ["plan-app"]
    assert LINE in said.json["plans"]["plan-db"]["refused"][-1]


def test_a_plan_of_which_nothing_is_known_is_not_left_out_in_silence(dr: Dr, topology: Path) -> None:
    said = dr("failover", "--all", "--to", "west", "--yes", "--json", "--topology", str(topology))
    assert said.status == 1
    assert said.json["plans"]["shop"]["refused"]
    home = dr("failover", "--all", "--to", "east", "--yes", "--json", "--topology", str(topology))
    assert home.status == 1
    assert "dr apply" in home.json["plans"]["shop"]["refused"][0]


def test_all_as_a_dry_run(dr: Dr, three_plans: Path, reconciler: Reconciler) -> None:
    reconciler.decisions = {"plan-db": planned("plan-db"), "plan-app": planned("plan-app")}
    said = dr("failover", "--all", "--to", "west", "--dry-run", "--json", "--topology", str(three_plans))
    assert said.status == 0
    assert [document["kind"] for document in said.json["plans"].values()] == ["planned", "planned"]
    assert reconciler.changed == []
