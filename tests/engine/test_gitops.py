"""Failovers by pull request: the steps of the CI files that `dr init-ci` writes, run as they stand, with the real engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.bench import Project
from tests.engine.forges.forge import Forge
from tests.engine.forges.github import GitHub
from tests.engine.forges.gitlab import GitLab
from tests.engine.forges.jenkins import Jenkins

FORGES = (GitHub, GitLab, Jenkins)


def edit(forge: Forge, change: Callable[[dict[str, Any]], None]) -> None:
    file = forge.project.topology_file
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document, indent=2) + "\n")


def moved(forge: Forge, site: str, branch: str) -> tuple[bool, str]:
    """A pull request that declares the plan at a site."""
    forge.branch(branch)
    forge.project.configure(activeSites={"shop": site})
    forge.commit(f"shop to {site}")
    return forge.pull_request(branch)


def test_a_failover_from_pull_request_to_report(shop: Project, tmp_path: Path) -> None:
    forge = GitHub(shop, tmp_path / "forge")
    green, comment = moved(forge, "west", "to-west")
    assert green, forge.log
    assert "Stack `prod`: planned failover" in comment
    assert "### 🟠 Plan `shop`: a planned move, `east` → `west`" in comment
    assert "| **loss** | nothing is lost: the last state of east is sent before the break |" in comment
    assert "| **expected time** | about " in comment
    assert "commit epoch 2: plan shop is active at west" in comment
    assert "It needs an approval." in comment
    assert shop.status()["activeSite"] == "east"

    forge.merge("to-west")
    assert not forge.merged(), "nobody has approved it"
    assert "plan shop moves from east to west" in forge.log
    assert "does the environment have required reviewers?" in forge.log
    assert shop.status()["activeSite"] == "east"

    forge.approver = "alice"
    assert forge.merged(), forge.log
    assert "it is what will be run" in forge.log
    assert (forge.folder / "summary.md").read_text() == comment
    assert (shop.status()["activeSite"], shop.status()["epoch"]) == ("west", 2)
    history = forge.shell(f".venv/bin/dr history shop --json --topology {shop.topology_file}").stdout
    assert "approved by alice" in history

    # The job is run once more, with the plan of the first time: one sentence, before the engine's own words, which are long.
    assert not forge.merged()
    said, _, engine = forge.log.partition("violates plan")
    assert "this plan was applied already: nothing of what it says is left to do. Nothing was changed" in said
    assert "this plan was applied already" in engine, "and where a log is opened"
    assert (shop.status()["activeSite"], shop.status()["epoch"]) == ("west", 2)


@pytest.mark.long
@pytest.mark.parametrize("make", FORGES, ids=lambda make: str(make.name))
def test_what_was_approved_or_nothing(make: type[Forge], shop: Project, tmp_path: Path) -> None:
    forge = make(shop, tmp_path / "forge", approver="alice")
    green, comment = moved(forge, "west", "to-west")
    assert green, forge.log
    assert "planned failover" in comment

    # What the plan holds the engine to is no more what would be done: it refuses, and nothing is changed.
    forge.merge("to-west")
    shop.bench.lose("host:west-2")
    before = shop.production()
    assert not forge.merged()
    assert "what would be done now is not what was approved" in forge.log
    assert shop.production() == before
    assert (shop.status()["activeSite"], shop.status()["epoch"]) == ("east", 1)
    # Started again by hand: previewed and approved anew.
    assert forge.merged(by_hand=True), forge.log
    assert "previewing anew: it was asked for" in forge.log
    assert shop.status()["activeSite"] == "west"
    assert set(shop.running().values()) == {"west-1"}
    shop.bench.heal("host:west-2")

    # The base moves after the preview: the plan is of another tree, so it is made anew.
    green, _ = moved(forge, "east", "to-east")
    assert green, forge.log
    forge.git("checkout", "--quiet", "main")
    (shop.folder / "README").write_text("The shop.\n")
    forge.commit("Say what this is")
    forge.merge("to-east")
    forge.approver = "" if forge.name == "github" else "alice"
    assert forge.merged() == (forge.name != "github")
    assert "previewing anew: there is no plan in dr-ci" in forge.log
    if forge.name == "github":
        assert "it was previewed anew at the merge, so nobody has seen it yet" in forge.log
        forge.approver = "bob"
        assert forge.merged(), forge.log
    assert (shop.status()["activeSite"], shop.status()["epoch"]) == ("east", 3)

    # A line that is taken out, as a revert does, moves nothing.
    forge.branch("revert")
    shop.configure()
    forge.commit("Revert")
    green, comment = forge.pull_request("revert")
    assert green, forge.log
    assert "nothing to do" in comment or "changes, and no move" in comment
    for task in ("protect", "drift"):
        assert forge.scheduled(task), forge.log
    assert shop.status()["protected"]


@pytest.mark.long
@pytest.mark.parametrize("make", FORGES, ids=lambda make: str(make.name))
def test_what_takes_data_away_is_red(make: type[Forge], project: Callable[..., Project], tmp_path: Path) -> None:
    def deleting(document: dict[str, Any]) -> None:
        document["volumes"]["vol-2"]["deleteData"] = True

    shop = project(change=deleting)
    shop.make_stack(activeSites={"shop": "east"})
    shop.up()
    shop.protect()
    forge = make(shop, tmp_path / "forge")

    def without_app(document: dict[str, Any]) -> None:
        del document["volumes"]["vol-2"]
        del document["vms"]["app"]
        document["plans"]["shop"]["tiers"] = [
            tier for tier in document["plans"]["shop"]["tiers"] if tier["members"] != ["app"]
        ]

    forge.branch("less")
    edit(forge, without_app)
    forge.commit("No app any more")
    green, comment = forge.pull_request("less")
    assert green, forge.log
    assert "## 🔴 Stack `prod`: DATA WOULD BE DESTROYED" in comment
    assert "**🔴 THIS DELETES OR REPLACES DATA**" in comment
    assert "Volume vol-2: delete; it has deleteData: true, so its data is DESTROYED" in comment.replace("\\_", "_")
    assert "| 🔴 delete | Volume | vol-2 |" in comment
    assert "It needs an approval." in comment
    before = shop.production()
    forge.merge("less")
    assert not forge.merged(), "nobody has approved it"
    assert shop.production() == before

    # A refused move: red, with the line to add.
    shop.bench.lose("site:east")
    forge.git("checkout", "--quiet", "main")
    forge.git("reset", "--quiet", "--hard", "HEAD~1")
    green, comment = moved(forge, "west", "word")
    assert not green
    assert "### 🔴 Plan `shop`: REFUSED" in comment
    assert '> dr:force: {shop: "1: <reason>"}' in comment
