"""Where the topology comes from, in which order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dr_provider.arrays.registry import open_array
from dr_provider.cli.stack import selected_topology
from dr_provider.model import keys
from dr_provider.model.codec import dump
from dr_provider.model.errors import BadInput
from dr_provider.model.loader import load
from dr_provider.model.records import Pin, StoredTopology
from dr_provider.model.topology import ArraySpec
from tests.cli.conftest import Dr
from tests.support.topologies import write_topology


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the stacks prod and drill, whose folder is the current one."""
    folder = tmp_path / "with a space"
    (folder / "stacks").mkdir(parents=True)
    (folder / "Pulumi.yaml").write_text("name: dr\nruntime: python\nmain: stacks\nstackConfigDir: stacks\n")
    for stack in ("prod", "drill"):
        write_topology(folder / "stacks" / "topology", file=f"{stack}.yaml", name=f"shop-{stack}")
        (folder / "stacks" / f"Pulumi.{stack}.yaml").write_text(
            f"config:\n  dr:topology: topology/{stack}.yaml\n  dr:secret:\n    secure: v1:abc\n"
        )
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PWD", str(folder))
    return folder


def select(home: Path, project_file: Path, stack: str) -> None:
    """What `pulumi stack select` leaves."""
    digest = hashlib.sha1(str(project_file).encode(), usedforsecurity=False).hexdigest()
    (home / "workspaces").mkdir(parents=True, exist_ok=True)
    (home / "workspaces" / f"dr-{digest}-workspace.json").write_text(json.dumps({"stack": stack}))


def named(dr: Dr, *words: str) -> Any:
    return dr(*words, "validate", "--json").json


def test_the_selected_stack(dr: Dr, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no stack of project dr" in named(dr)["error"]
    select(tmp_path / "no-home", project / "Pulumi.yaml", "organization/dr/prod")
    assert named(dr)["topology"] == "shop-prod"
    monkeypatch.chdir(project / "stacks" / "topology")
    assert named(dr)["topology"] == "shop-prod"


def test_the_variable_overrides_the_selection_as_in_the_engine(
    dr: Dr, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    select(tmp_path / "no-home", project / "Pulumi.yaml", "prod")
    monkeypatch.setenv("PULUMI_STACK", "drill")
    assert named(dr)["topology"] == "shop-drill"


def test_a_selection_for_each_backend(dr: Dr, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "no-home"
    select(home, project / "Pulumi.yaml", "gone")
    settings = next((home / "workspaces").iterdir())
    chosen = {"file:///a": "organization/dr/prod", "file:///b": "organization/dr/drill"}
    settings.write_text(json.dumps({"stack": "gone", "stacks": chosen}))
    monkeypatch.setenv("PULUMI_BACKEND_URL", "file:///b")
    assert named(dr)["topology"] == "shop-drill"
    monkeypatch.delenv("PULUMI_BACKEND_URL")
    (home / "credentials.json").write_text(json.dumps({"current": "file:///a"}))
    assert named(dr)["topology"] == "shop-prod"


def test_the_engine_hashes_the_path_with_its_links(project: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(project)
    home = tmp_path / "home"
    select(home, link / "Pulumi.yaml", "prod")
    found = selected_topology(project, {"PULUMI_HOME": str(home), "PWD": str(link)})
    assert found == project / "stacks" / "topology" / "prod.yaml"


def test_options_come_before_the_variable_before_the_stack(
    dr: Dr, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_STACK", "prod")
    by_variable = write_topology(tmp_path / "a", name="shop-variable")
    by_option = write_topology(tmp_path / "b", name="shop-option")
    monkeypatch.setenv("DR_TOPOLOGY", str(by_variable))
    assert named(dr)["topology"] == "shop-variable"
    assert named(dr, "--topology", str(by_option))["topology"] == "shop-option"
    # What stands at the sub-command is nearer than what stands before it.
    inner = dr("--topology", str(by_variable), "validate", "--topology", str(by_option), "--json")
    assert inner.json["topology"] == "shop-option"


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda p: (p / "stacks" / "Pulumi.prod.yaml").unlink(), "there is no"),
    "no key": (lambda p: (p / "stacks" / "Pulumi.prod.yaml").write_text("config: {}\n"), "it has no dr:topology"),
    "not YAML": (lambda p: (p / "stacks" / "Pulumi.prod.yaml").write_text("config: ["), "this is not YAML"),
    "no project name": (lambda p: (p / "Pulumi.yaml").write_text("main: stacks\n"), "names no project"),
    "no project": (lambda p: (p / "Pulumi.yaml").unlink(), "has a Pulumi.yaml"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_missing_link_of_the_chain_is_named(name: str, project: Path) -> None:
    spoil, expected = BROKEN[name]
    spoil(project)
    with pytest.raises(BadInput, match=expected):
        selected_topology(project, {"PULUMI_STACK": "prod", "PULUMI_HOME": "/nowhere"})


# -- one surviving array ------------------------------------------------------------------------------


def store(array_file: Path, topology_file: Path, *, spoil: bool = False) -> str:
    """Make the array and store the topology on it, as the first `up` does."""
    topology = load(topology_file)
    array = open_array(ArraySpec("west-a", "west", "embedded", {"path": array_file}), timeout=5)
    own = array.create()
    array.put_record(
        keys.pin_key(topology.name), dump(Pin(topology.name, "west-a", own, "west", "2026-01-01T00:00:00Z"))
    )
    digest = hashlib.sha256(topology.text.encode()).hexdigest()
    text = topology.text + " " if spoil else topology.text
    array.put_record(keys.topology_key(topology.name), dump(StoredTopology(1, digest, text, "2026-01-01T00:00:00Z")))
    array.close()
    return topology.name


def test_from_one_array(dr: Dr, tmp_path: Path) -> None:
    array = tmp_path / "west-a.db"
    store(array, write_topology(tmp_path / "a", name="shop-a"))
    said = dr("validate", "--from", f"embedded:{array}", "--json")
    assert said.json["topology"] == "shop-a"
    assert dr("--from", f"embedded:{array}", "validate", "--json").json["topology"] == "shop-a"


def test_several_topologies_on_one_array(dr: Dr, tmp_path: Path) -> None:
    array = tmp_path / "west-a.db"
    for name in ("shop-a", "shop-b"):
        store(array, write_topology(tmp_path / name, name=name))
    said = dr("validate", "--from", f"embedded:{array}", "--json")
    assert said.status == 2
    assert "several topologies (shop-a, shop-b); say --name" in said.json["error"]
    assert dr("validate", "--from", f"embedded:{array}", "--name", "shop-b", "--json").json["topology"] == "shop-b"
    wrong = dr("validate", "--from", f"embedded:{array}", "--name", "shop-c", "--json")
    assert wrong.status == 2
    assert "serves shop-a, shop-b" in wrong.json["error"]


def test_a_name_of_a_topology_without_an_array_is_refused(dr: Dr, tmp_path: Path) -> None:
    said = dr("status", "--topology", str(write_topology(tmp_path)), "--name", "shop-b")
    assert (said.status, "goes with --from ADDRESS" in said.err) == (2, True)


def test_with_both_the_stored_one_counts_and_differences_are_listed(dr: Dr, tmp_path: Path) -> None:
    array = tmp_path / "west-a.db"
    file = write_topology(tmp_path / "a")
    store(array, file)
    write_topology(tmp_path / "a", memory="128MiB")
    said = dr("validate", "--from", f"embedded:{array}", "--json", "--topology", str(file))
    assert said.status == 0
    assert said.json["valid"] is True
    assert f"the stored topology counts; it differs from {file}" in said.err
    assert "vm db: memory 128MiB -> 64MiB" in said.err


def test_from_what_is_not_there_or_not_whole(dr: Dr, tmp_path: Path) -> None:
    missing = dr("status", "--from", f"embedded:{tmp_path / 'none.db'}")
    assert missing.status == 2
    assert "there is nothing there" in missing.err
    assert list(tmp_path.iterdir()) == []
    array = tmp_path / "west-a.db"
    open_array(ArraySpec("west-a", "west", "embedded", {"path": array}), timeout=5).create()
    unused = dr("status", "--from", f"embedded:{array}")
    assert unused.status == 2
    assert "serves no topology" in unused.err
    store(array, write_topology(tmp_path / "a"), spoil=True)
    spoilt = dr("status", "--from", f"embedded:{array}")
    assert spoilt.status == 1
    assert "checksum" in spoilt.err
    junk = tmp_path / "junk.db"
    junk.write_bytes(b"this is no array" * 100)
    corrupt = dr("status", "--from", f"embedded:{junk}", "--json")
    assert corrupt.status == 1
    assert len(corrupt.json["error"].splitlines()) == 1
