"""`dr init-ci`: files that the forges' own schemas take, with names that are checked, and never over what is there."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import jq
import pytest
from jsonschema.validators import validator_for
from ruamel.yaml import YAML

from dr_provider.cli.init_ci import FORGES
from tests.cli.conftest import Dr
from tests.engine.forges.jenkins import block
from tests.support.topologies import write_topology

SCHEMAS = {"github": "github-workflows.json", "gitlab": "gitlab-ci.json"}
"""As check-jsonschema carries them."""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a stack and its drill."""
    (tmp_path / "Pulumi.yaml").write_text("name: dr\nmain: stacks\nstackConfigDir: stacks\nruntime: python\n")
    write_topology(tmp_path / "stacks")
    (tmp_path / "stacks" / "Pulumi.prod.yaml").write_text("config:\n  dr:topology: topology.yaml\n")
    (tmp_path / "stacks" / "Pulumi.drill.yaml").write_text(
        "config:\n  dr:topology: topology.yaml\n  dr:mode: drill\n  dr:drillSites: {shop: west}\n"
    )
    (tmp_path / "Makefile").write_text("setup:\n\ttrue\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("drills", [True, False], ids=["with a drill", "without"])
@pytest.mark.parametrize("forge", SCHEMAS)
def test_the_forges_schemas_take_their_files(dr: Dr, repository: Path, forge: str, drills: bool) -> None:
    if not drills:
        (repository / "stacks" / "Pulumi.drill.yaml").unlink()
        (repository / "Makefile").unlink()
    file = repository / FORGES[forge][1]
    assert dr("init-ci", forge, "--stack", "prod").status == 0
    schema = json.loads((files("check_jsonschema") / "builtin_schemas" / "vendor" / SCHEMAS[forge]).read_text("utf-8"))
    check = validator_for(schema)(schema)
    assert [error.message for error in check.iter_errors(YAML(typ="safe").load(file.read_text()))] == []
    assert any(check.iter_errors({"jobs": {"apply": {"needs": 7}}, "apply": {"script": 7}})), "it takes anything"
    assert ("drill" in file.read_text()) == drills
    assert ("make setup" in file.read_text()) == drills


def test_the_jenkinsfile_has_every_stage_and_every_brace(dr: Dr, repository: Path) -> None:
    # There is no schema of it; Groovy's own parser would be a Java program.
    text = dr("init-ci", "jenkins", "--stack", "prod", "--print").out
    pipeline = block(text, text.index("pipeline {"))
    assert text.rstrip().endswith(pipeline + "}")
    stages = ["Pull request", "What if", "Prepare", "Approve", "Apply", "Protect", "Drift", "Drill"]
    bodies = {name: block(text, text.index(f"stage('{name}')")) for name in stages}
    assert text.count("stage('") == len(stages)
    for name, body in bodies.items():
        assert body.count("when {") == 1, name
        assert ("agent {" in body) == (name != "Approve"), "an agent does not wait while people think"
    assert "input message:" in bodies["Approve"]
    assert "lock(resource: 'dr-prod')" in bodies["Apply"]
    assert list(repository.glob("Jenkinsfile")) == []


def _artifact(run: int, *, expired: bool = False, fork: bool = False) -> dict[str, Any]:
    return {"expired": expired, "workflow_run": {"id": run, "repository_id": 3, "head_repository_id": 4 if fork else 3}}


def _review(who: str, state: str = "approved") -> dict[str, Any]:
    return {"state": state, "user": {"login": who}}


ASKED: dict[str, tuple[str, Any, str]] = {
    "no plan": ("artifacts", {"artifacts": []}, ""),
    "one": ("artifacts", {"artifacts": [_artifact(17)]}, "17"),
    "the newest of several": ("artifacts", {"artifacts": [_artifact(18), _artifact(17)]}, "18"),
    "one that has expired": ("artifacts", {"artifacts": [_artifact(18, expired=True), _artifact(17)]}, "17"),
    "one of a fork": ("artifacts", {"artifacts": [_artifact(18, fork=True)]}, ""),
    "one of a fork and ours": ("artifacts", {"artifacts": [_artifact(18, fork=True), _artifact(17)]}, "17"),
    "nobody": ("approvals", [], ""),
    "somebody": ("approvals", [_review("alice")], "alice"),
    "two, one of them twice": ("approvals", [_review("bob"), _review("alice"), _review("bob")], "alice, bob"),
    "a rejection is no approval": ("approvals", [_review("bob", "rejected")], ""),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_github_is_asked_for_is_what_counts(dr: Dr, repository: Path, name: str) -> None:
    """The expressions in its file, by a real jq, on what GitHub's API answers."""
    where, document, wanted = ASKED[name]
    text = dr("init-ci", "github", "--stack", "prod", "--print").out
    (expression,) = re.findall(rf"gh api \"[^\"]*/{where}[^\"]*\" --jq '([^']*)'", text)
    found = jq.compile(expression).input_value(document).all()
    assert "\n".join(map(str, found)) == wanted


@pytest.mark.parametrize("forge", FORGES)
def test_what_every_file_holds_to(dr: Dr, repository: Path, forge: str) -> None:
    topology = json.loads((repository / "stacks" / "topology.yaml").read_text())
    topology["notes"] = {"x": ["env:CHAP_SECRET"]}  # wherever a reference stands
    (repository / "stacks" / "topology.yaml").write_text(json.dumps(topology))
    said = dr("init-ci", forge, "--stack", "prod", "--branch", "trunk", "--runner", "site-b", "--print", "--json").json
    text = said["text"]
    assert (said["forge"], said["file"], said["written"]) == (forge, None, False)
    for wanted in ("trunk", "site-b", "dr ci preview", "dr ci apply --approved-by", "dr whatif", "dr validate", "dr protect", "--expect-no-changes", "CHAP_SECRET"):  # fmt: skip
        assert wanted in text, wanted
    # No refresh, and nothing that goes around the plan.
    for word in ("pulumi refresh", "--refresh", "--skip-preview", "cancel-in-progress: true"):
        assert word not in text
    assert "pulumi up" not in text.replace("`pulumi up --plan`", "").replace('pulumi up --stack "$PULUMI_STACK" --yes', "", 1).replace("pulumi up --stack drill --yes", "", 1)  # fmt: skip


def test_what_is_there_stays_and_the_difference_is_shown(dr: Dr, repository: Path) -> None:
    file = repository / ".gitlab-ci.yml"
    assert dr("init-ci", "gitlab", "--stack", "prod").status == 0
    again = dr("init-ci", "gitlab", "--stack", "prod", "--json")
    assert (again.status, again.json["written"]) == (0, False)
    file.write_text(file.read_text().replace("dr whatif", "dr whatif --pairs"))
    mine = file.read_text()
    refused = dr("init-ci", "gitlab", "--stack", "prod")
    assert refused.status == 2
    assert "-    - dr whatif --pairs\n+    - dr whatif\n" in refused.err
    assert "--force writes over it" in refused.err
    assert file.read_text() == mine
    assert dr("init-ci", "gitlab", "--stack", "prod", "-o", "other.yml").status == 0
    assert dr("init-ci", "gitlab", "--stack", "prod", "--force").status == 0
    assert file.read_text() == (repository / "other.yml").read_text() != mine


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say which forge; there are templates for github, gitlab, jenkins"),
        (["githup"], "there is no forge 'githup'; did you mean github?"),
        (["github"], "no stack is selected; say --stack NAME (drill, prod)"),
        (["github", "--stack", "prd"], "stack prd is asked for, but there is no"),
        (["github", "--stack", "prd"], "did you mean prod?"),
        (["github", "--stack", "drill"], "stack drill is a drill stack"),
        (["github", "--stack", "prod", "--drill-stack", "prod"], "stack prod is no drill stack"),
        (["github", "--stack", "prod", "--branch", "x'; rm -rf /"], "wanted letters, digits"),
        (["github", "--stack", "prod", "--runner", "${{ x }}"], "wanted letters, digits"),
        (["github", "--stack", "prod", "-o", "Makefile/dr.yml"], "Makefile/dr.yml cannot be"),
        (["github", "--stack", "prod", "-o", "/proc/dr.yml"], "/proc/dr.yml cannot be written"),
    ],
)
def test_words_that_are_wrong(dr: Dr, repository: Path, words: list[str], said: str) -> None:
    refused = dr("init-ci", *words)
    assert refused.status == 2
    assert said in refused.err
    assert not (repository / ".github").exists()


def test_a_folder_that_is_no_project(dr: Dr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused = dr("init-ci", "github")
    assert refused.status == 2
    assert "this is no Pulumi project" in refused.err


def test_a_project_in_a_folder_of_the_repository(dr: Dr, repository: Path) -> None:
    inside = repository / "recovery" / "site"
    inside.mkdir(parents=True)
    for name in ("Pulumi.yaml", "stacks", "Makefile"):
        (repository / name).rename(inside / name)
    subprocess.run(["git", "init", "--quiet"], cwd=repository, check=True)
    with pytest.MonkeyPatch.context() as here:
        here.chdir(inside)
        assert dr("init-ci", "github", "--stack", "prod").status == 0
        gitlab = dr("init-ci", "gitlab", "--stack", "prod", "--print").out
    github = (repository / ".github" / "workflows" / "dr.yml").read_text()
    assert 'working-directory: "recovery/site"' in github
    assert 'path: "recovery/site/dr-ci"' in github
    assert "    - cd recovery/site\n" in gitlab
