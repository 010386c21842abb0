"""Texts and files that are no topology at all, and images that are not there: one sentence each."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model.errors import BadInput, TopologyInvalid
from dr_provider.model.loader import load, parse
from tests.support.topologies import write_topology

Doc = dict[str, Any]

TEXTS: list[tuple[str, str, str]] = [
    ("empty", "", "it is empty"),
    ("comment only", "# nothing\n", "it is empty"),
    ("list", "- a\n", "found a list; wanted a topology"),
    ("two documents", "a: 1\n---\nb: 2\n", "line 3: a second document"),
    ("tab", "a:\n\tb: 1\n", "line 2, column 1: this is not YAML: a line is indented with a tab"),
    ("syntax", "a: [1\n", "this is not YAML"),
    ("alias", "a: *b\n", "line 1, column 4"),
    ("endless", "a: &a [*a]\n", "contains itself"),
    ("control character", "a: \x01\n", "this is not YAML"),
    ("deep list", "[" * 1000, "nested too deeply"),
    ("deep mapping", '{"a":' * 1000 + "1" + "}" * 1000, "nested too deeply"),
    (
        "many aliases",
        "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 10)}]\n" for n in range(8)),
        "too large or too deep",
    ),
]


@pytest.mark.parametrize(("name", "text", "part"), TEXTS, ids=[t[0] for t in TEXTS])
def test_texts(name: str, text: str, part: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(text, source="t.yaml", base=Path("/base"))
    message = str(caught.value)
    assert message.startswith("t.yaml")
    assert part in message
    assert "\n" not in message


def test_files(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"version: 1\nname: \xff\n")
    locked = tmp_path / "locked.yaml"
    locked.write_text("version: 1\n")
    locked.chmod(0)
    expected = {
        tmp_path / "none.yaml": "there is no such file",
        tmp_path: "it is a folder",
        binary: "line 2: it is not UTF-8",
        binary / "x": "cannot be read",
    }
    if os.geteuid() != 0:
        expected[locked] = "cannot be read (Permission denied)"
    for path, part in expected.items():
        with pytest.raises(BadInput, match="nothing was done") as caught:
            load(path)
        assert part in str(caught.value)
        assert caught.value.exit_status == 2


def test_images(tmp_path: Path) -> None:
    (tmp_path / "large.img").write_bytes(b"x" * 4097)
    (tmp_path / "folder").mkdir()

    def small(doc: Doc) -> None:
        doc["vms"]["app"]["disks"]["root"]["size"] = "4KiB"

    path = write_topology(tmp_path, images={"db": "none.img", "app": "large.img", "web": "folder"}, change=small)
    with pytest.raises(TopologyInvalid) as caught:
        load(path)
    found = {p.path: p.message for p in caught.value.problems}
    assert "there is no file" in found["vms.db.disks.root.image"]
    assert "has 4097 bytes and its disk 4KiB" in found["vms.app.disks.root.image"]
    assert "there is no file" in found["vms.web.disks.root.image"]
    # A stored topology must be readable where the images are not.
    parse(path.read_text(), source="stored", base=tmp_path)


def test_credentials_are_references_that_resolve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n")
    (tmp_path / "secret").write_text("s3cret\n")
    monkeypatch.delenv("DR_TEST_SECRET", raising=False)

    def refer(reference: str) -> Callable[[Doc], None]:
        def change(doc: Doc) -> None:
            doc["arrays"]["east-a"]["credentials"] = reference

        return change

    wrong = {
        "env:DR_TEST_SECRET": "environment variable DR_TEST_SECRET is not set",
        "file:/nowhere/at/all": "cannot be read (No such file",
        f"file:{empty}": "is empty",
        "config:password": "not built yet",
        "hunter2": "never the secret itself",
        "env:A;B": "never the secret itself",
        "file:relative": "never the secret itself",
    }
    for reference, part in wrong.items():
        with pytest.raises(TopologyInvalid) as caught:
            load(write_topology(tmp_path, change=refer(reference)))
        (problem,) = caught.value.problems
        assert problem.path == "arrays.east-a.credentials"
        assert part in problem.message
        assert "hunter2" not in str(caught.value)
    for reference in ("env:DR_TEST_SECRET", f"file:{tmp_path / 'secret'}"):
        monkeypatch.setenv("DR_TEST_SECRET", "s3cret")
        loaded = load(write_topology(tmp_path, change=refer(reference)))
        assert "s3cret" not in loaded.text
        # A recovery from an array is not held up by a secret of the lost side.
        monkeypatch.delenv("DR_TEST_SECRET")
        assert parse(loaded.text, source="stored", base=tmp_path) == loaded
