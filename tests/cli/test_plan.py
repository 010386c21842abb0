"""`dr plan`: what would happen, from the machines or from what the engine previewed; for people, scripts and pull requests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dr_provider.cli.comment import LIMIT, comment
from dr_provider.cli.preview import read_preview
from dr_provider.cli.simulation import Bench
from dr_provider.model.errors import BadInput
from dr_provider.reconcile.announce import ENDS_RED, announce, announced, pending
from dr_provider.reconcile.decision import Action, Decision, Kind, Loss
from dr_provider.reconcile.protect import protect_plan
from dr_provider.reconcile.provision_all import apply_all
from dr_provider.reconcile.world import open_world
from tests.cli.conftest import Dr
from tests.support.topologies import loaded, write_topology

URN = "urn:pulumi:prod::dr::dr:index:ProtectedPlan$pulumi-python:dynamic/dr:{kind}::{name}"


def step(op: str, kind: str, name: str, *, delete_data: bool = False, **inputs: Any) -> dict[str, Any]:
    state = {"custom": True, "inputs": {**inputs, "context": json.dumps({"deleteData": delete_data})}}
    side = "oldState" if op.startswith("delete") else "newState"
    return {"op": op, "urn": URN.format(kind=kind, name=name), side: state}


def previewed(*steps: dict[str, Any], said: tuple[str, ...] = (), errors: tuple[str, ...] = ()) -> str:
    lines = [{"severity": "info#err", "message": f"{line}\n\n"} for line in said]
    faults = [{"severity": "error", "message": error} for error in errors]
    return json.dumps({"steps": list(steps), "diagnostics": [*lines, *faults]})


MOVE = "planned move from east to west; recovery point: a final snapshot; loss: nothing is lost; expected time: 7.0 s"
MOVING = step("update", "DrPlan", "shop", declaredSite="west", pendingActions=["claim epoch 2 for west", "stop VM db"])


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A plan that is protected at east; a stack declares it."""
    file = write_topology(tmp_path / "stacks")
    world = open_world(loaded(file), stack="dr/prod")
    apply_all(world, lambda _line: None)
    protect_plan(world, "shop", now=True)
    world.close()
    (tmp_path / "Pulumi.yaml").write_text("name: dr\nmain: stacks\nstackConfigDir: stacks\nruntime: python\n")
    return file


def configured(file: Path, name: str = "prod", **config: Any) -> None:
    lines = [f"  dr:{key}: {json.dumps(value)}" for key, value in {"topology": "topology.yaml", **config}.items()]
    (file.parent / f"Pulumi.{name}.yaml").write_text("\n".join(["config:", *lines]) + "\n")


# -- from the machines -------------------------------------------------------------------------------------


def test_a_named_site_is_decided_as_a_failover_would_be(dr: Dr, shop: Path) -> None:
    said = dr("plan", "--topology", str(shop), "--active", "shop=west", "--json")
    dry = dr("failover", "shop", "--to", "west", "--topology", str(shop), "--dry-run", "--json")
    assert said.status == dry.status == 0
    assert said.json["plans"]["shop"]["actions"] == dry.json["actions"]
    assert {key: said.json["plans"]["shop"][key] for key in ("kind", "from", "to", "loss", "refused")} == {
        key: dry.json[key] for key in ("kind", "from", "to", "loss", "refused")
    }
    assert said.json["approval"] == ["plan shop moves from east to west"]
    table = dr("plan", "--topology", str(shop), "--active", "shop=west").out
    assert "shop  planned move  east  west  none" in table
    assert "claim epoch 2 for west" in table
    idle = dr("plan", "--topology", str(shop), "--json")
    assert (idle.status, idle.json["plans"]["shop"]["actions"], idle.json["approval"]) == (0, [], [])


def test_the_stacks_config_is_decided_as_its_up_would_be(dr: Dr, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.parent)
    configured(shop, activeSites={"shop": "west"})
    # It has never declared the plan, so its first word moves nothing.
    first = dr("plan", "--stack", "prod")
    assert first.status == 1
    assert "for the first time" in first.out
    assert ENDS_RED in first.out
    Bench(loaded(shop)).lose("site:east")
    refused = dr("plan", "shop", "--active", "shop=west", "--stack", "prod", "--markdown")
    assert refused.status == 1
    assert "### 🔴 Plan `shop`: REFUSED" in refused.out
    assert '> dr:force: {shop: "1: <reason>"}' in refused.out
    forced = dr("plan", "--active", "shop=west", "--force", "shop=1: dark", "--stack", "prod", "--markdown")
    assert forced.status == 0
    assert "a move after a disaster, `east` → `west`" in forced.out
    assert "is lost" in forced.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ship"], "there is no plan 'ship'"),
        (["--active", "shop"], "--active 'shop': wanted PLAN=SITE"),
        (["--active", "shop=wast"], "there is no site 'wast' in the plan"),
        (["--force", "shop=x"], "shop"),
        (["--markdown", "--json"], "say --markdown or --json, not both"),
        (["--preview", "no-such-file"], "--preview no-such-file: it cannot be read"),
        (["--preview", "x", "--active", "shop=west"], "leave out PLAN, --active, --force and --stack"),
        (["--stack", "prod"], "say --stack, or --topology or --from, not both"),
    ],
)
def test_words_that_are_wrong(dr: Dr, tmp_path: Path, words: list[str], said: str) -> None:
    refused = dr("plan", "--topology", str(write_topology(tmp_path)), *words)
    assert refused.status == 2
    assert said in refused.err


def test_a_drill_stack_moves_no_plan(dr: Dr, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.parent)
    configured(shop, "drill", mode="drill", drillSites={"shop": "west"})
    refused = dr("plan", "--stack", "drill")
    assert refused.status == 2
    assert "stack drill is a drill stack" in refused.err


# -- from the engine's preview -----------------------------------------------------------------------------


def test_a_move_is_read_back_as_it_was_announced() -> None:
    actions = (Action("a", "stop", "stop VM db"),)
    moves: tuple[tuple[Kind, str | None, Loss, float | None], ...] = (
        ("planned", None, Loss(0.0, "nothing is lost: the last state of east is sent before the break"), 7.04),
        ("disaster", "e1-s1-b5e4", Loss(12.0, "what was written after e1-s1; expected time: none"), None),
    )
    for kind, point, loss, estimate in moves:
        decision = Decision("shop", kind, "east", "west", point=point, loss=loss, estimate=estimate, actions=actions)
        found = [move for line in announce(decision) if (move := announced(line)) is not None]
        assert len(found) == 1
        move = found[0]
        assert (move.kind, move.from_site, move.to_site, move.point) == (kind, "east", "west", point)
        assert (move.loss.statement, move.estimate) == (loss.statement, None if estimate is None else 7.0)
    assert announced(pending(1)) is None


def test_a_previewed_move_in_all_three_forms(dr: Dr, tmp_path: Path) -> None:
    file = tmp_path / "preview.json"
    said = (f"plan shop: {MOVE}", "plan shop: 2 pending actions", "plan shop: its last drill is old", "and more")
    file.write_text(previewed(MOVING, step("update", "Readiness", "shop"), step("same", "Volume", "v"), said=said))
    document = dr("plan", "--preview", str(file), "--json").json
    plan = document["plans"]["shop"]
    assert (plan["kind"], plan["from"], plan["to"], plan["estimateSeconds"]) == ("planned", "east", "west", 7.0)
    assert [action["sentence"] for action in plan["actions"]] == ["claim epoch 2 for west", "stop VM db"]
    assert plan["warnings"] == ["its last drill is old"]
    assert document["remarks"] == ["and more"]
    assert document["data"] == []
    assert "planned move  east  west" in dr("plan", "--preview", str(file)).out
    text = dr("plan", "--preview", str(file), "--markdown").out
    assert text.startswith("<!-- dr plan -->\n## 🟠 planned failover\n")
    assert "Readiness" not in text, "the plan's own part says it"


@pytest.mark.parametrize(
    ("steps", "heading", "sentence"),
    [
        ([step("delete", "Volume", "v", delete_data=True)], "🔴 DATA WOULD BE DESTROYED", "Volume v: delete; it has deleteData: true"),
        ([step("delete", "Mirror", "v.west-a", delete_data=True)], "🔴 DATA WOULD BE DESTROYED", "its copy on west-a is DESTROYED"),
        ([step("delete", "Volume", "v")], "🔴 data would be deleted or replaced", "its data stays on the arrays, released"),
        ([step(op, "Lun", "db.root") for op in ("create-replacement", "replace", "delete-replaced")], "🔴 data would be deleted or replaced", "LUN db.root: replace; the new one takes over"),
        ([step("delete", "Volume", "v"), MOVING], "🔴 data would be deleted or replaced", "released"),
    ],
)  # fmt: skip
def test_what_takes_data_away_cannot_be_overlooked(steps: list[dict[str, Any]], heading: str, sentence: str) -> None:
    found = read_preview(previewed(*steps, said=(f"plan shop: {MOVE}",)), "here")
    text = comment(found)
    assert text.splitlines()[1] == f"## {heading}"
    assert "> [!CAUTION]\n> **🔴 THIS DELETES OR REPLACES DATA**\n> - 🔴 " in text
    assert sentence in text
    assert any(sentence in reason for reason in found.approval)


@pytest.mark.parametrize(
    ("steps", "approval"),
    [
        ([step("update", "VirtualMachine", "db")], ()),
        ([step("delete", "Mirror", "v.west-a")], ()),
        ([step("delete", "VirtualMachine", "db")], ("VirtualMachine db is deleted, and what runs with it stops",)),
        ([step("delete", "DrPlan", "shop")], ("DrPlan shop is deleted, and what runs with it stops",)),
    ],
)
def test_what_needs_an_approval(steps: list[dict[str, Any]], approval: tuple[str, ...]) -> None:
    found = read_preview(previewed(*steps), "here")
    assert found.approval == approval
    assert "CAUTION" not in comment(found)


def test_what_ends_red_without_a_refusal() -> None:
    elsewhere = step("update", "DrPlan", "shop", declaredSite="east", pendingActions=[])
    found = read_preview(previewed(elsewhere, said=(f"plan shop: {ENDS_RED}",)), "here")
    assert not found.well
    assert "## 🔴 `up` would end red" in comment(found)


def test_text_of_others_stays_text() -> None:
    evil = "1: <script> @everyone `rm` | [x](y) *bold*\n## mine ```` end"
    found = read_preview(
        previewed(step("update", "DrPlan", "shop", pendingActions=[evil]), said=(f"plan shop: {evil}",)), "here"
    )
    text = comment(found, stack="prod")
    outside, _, rest = text.partition("`````text\n")
    fenced, _, after = rest.partition("\n`````")
    assert "````" in fenced
    assert "## mine" in fenced
    for part in (outside, after):
        assert "<script>" not in part
        assert "@everyone" not in part
        assert "\n## mine" not in part
    assert "\\`rm\\`" in outside


def test_a_comment_is_never_too_long_for_a_forge() -> None:
    many = [f"start VM {'x' * 60}-{number}" for number in range(3000)]
    text = comment(read_preview(previewed(step("update", "DrPlan", "shop", pendingActions=many)), "here"))
    assert len(text) < LIMIT
    assert "and 2700 more" in text
    wide = [step("create", "Volume", f"{'v' * 3000}-{number}") for number in range(60)]
    cut = comment(
        read_preview(previewed(*[{**each, "urn": f"{each['urn']}{n}"} for n, each in enumerate(wide)]), "here")
    )
    assert len(cut) <= LIMIT


def test_a_preview_that_failed_is_red_and_says_why(dr: Dr, tmp_path: Path) -> None:
    file = tmp_path / "preview.json"
    file.write_text(previewed(errors=("the stack's config is wrong; nothing was done.",)))
    failed = dr("plan", "--preview", str(file), "--markdown")
    assert failed.status == 1
    assert "🔴 the preview failed" in failed.out
    assert "the stack's config is wrong" in failed.out
    assert "The preview failed:" in dr("plan", "--preview", str(file)).out


@pytest.mark.parametrize(("actions", "said"), [(["one"], "1 action, in"), (["one", "two"], "2 actions, in")])
def test_actions_are_counted_in_words_that_agree(actions: list[str], said: str) -> None:
    found = read_preview(previewed(step("update", "DrPlan", "shop", pendingActions=actions), said=(f"plan shop: {pending(len(actions))}",)), "here")  # fmt: skip
    assert f"<summary>{said} this order</summary>" in comment(found)
    assert found.plans["shop"]["warnings"] == []


@pytest.mark.parametrize("name", ["ali\x1b[2Jce", "alice\nbob", "a" * 501, "\u202ealice"])
def test_who_approved_is_a_name(dr: Dr, name: str) -> None:
    refused = dr("ci", "apply", "--approved-by", name)
    assert refused.status == 2
    assert "wanted a name, one line of at most 500 characters; nothing was done" in refused.err


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no",
        "[]",
        "{}",
        '{"steps": 7}',
        '{"steps": [7]}',
        '{"steps": [{"op": "delete"}]}',
        '{"steps": [{"urn": "u"}]}',
    ],
)
def test_what_is_no_preview(text: str) -> None:
    with pytest.raises(BadInput, match="pulumi preview --json"):
        read_preview(text, "here")
