"""Planted credentials, and every place where words of `dr` end up: the reference may be there, the secret never."""

from __future__ import annotations

import base64
import copy
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from dr_provider.arrays.base import Fabric
from dr_provider.arrays.registry import open_array
from dr_provider.model.codec import dump
from dr_provider.model.loader import load
from dr_provider.model.records import Owner
from dr_provider.model.vm import DiskAttachment, VmDefinition
from tests.cli.conftest import Dr
from tests.model.test_topology_drivers import REAL

BY_ENV, BY_FILE, KEY = "pl4nted env/secret+1", "pl4nted-file&secret=2", "PL4NTED-KEY-MATERIAL"
WORDS = (
    ["validate"],
    ["doctor"],
    ["status"],
    ["points", "shop"],
    ["verify", "shop"],
    ["apply"],
    ["protect"],
    ["failover", "shop", "--to", "west", "--dry-run"],
    ["failover", "shop", "--to", "west", "--yes", "--force", "1: a reason"],
    ["abort", "shop"],
    ["resolve", "shop", "--keep", "west", "--yes"],
    ["safety", "list"],
)


def forms(secret: str) -> set[str]:
    data = secret.encode()
    encoded = {base64.b64encode(data[skip:]).decode().rstrip("=")[2:-2] for skip in range(3)}
    return {
        secret,
        quote(secret),
        quote(secret, safe=""),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        data.hex(),
        *encoded,
    }


PLANTED = {form for secret in (BY_ENV, BY_FILE, KEY) for form in forms(secret)}


def leaks(text: str) -> list[str]:
    return sorted(form for form in PLANTED if form in text)


@pytest.fixture
def topology(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Zfs arrays and libvirt hosts behind a port where nobody listens."""
    monkeypatch.setenv("DR_CHAP", BY_ENV)
    (tmp_path / "chap").write_text(BY_FILE)
    (tmp_path / "id").write_text(KEY)
    (tmp_path / "id").chmod(0o600)
    document = copy.deepcopy(REAL)
    document["sourceBudget"] = "1s"
    for number, array in enumerate(document["arrays"].values()):
        array["endpoints"] = [f"ssh://127.0.0.1:{number + 1}"]
        array["ssh"] = {"identity": str(tmp_path / "id")}
    document["arrays"]["west-a"]["luns"]["chap"]["password"] = f"file:{tmp_path / 'chap'}"
    for number, host in enumerate(document["hosts"].values()):
        host["uri"] = f"qemu+ssh://root@127.0.0.1:{number + 3}/system"
        host["ssh"] = {"identity": str(tmp_path / "id")}
    path = tmp_path / "topology.yaml"
    path.write_text(json.dumps(document))
    return path


def test_the_search_finds_what_it_is_to_find() -> None:
    for secret in (BY_ENV, BY_FILE, KEY):
        assert leaks(f"x {secret} y")
        assert leaks(quote(f"x {secret} y", safe=""))
        for before in ("", "a", "ab"):
            assert leaks(base64.b64encode(f"{before}{secret}".encode()).decode())
    assert not leaks("env:DR_CHAP file:/etc/dr/chap")


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_no_word_of_a_command_holds_a_secret(topology: Path, dr: Dr, words: list[str], tmp_path: Path) -> None:
    for options in (["-v"], ["-v", "--json"]):
        said = dr(*options, *words, "--topology", str(topology))
        assert leaks(said.out + said.err) == []
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.name not in ("chap", "id")]
    assert [path.name for path in written if leaks(path.read_text(errors="replace"))] == []


def test_what_is_stored_and_defined_holds_references_only(topology: Path) -> None:
    found = load(topology)
    texts = [found.text]
    for name, spec in found.arrays.items():
        array = open_array(spec, timeout=1.0, fabric=Fabric.of(found))
        target = array.lun_target("shop", "db.root")
        assert f"secret={'env:DR_CHAP' if name == 'east-a' else 'file:'}" in target
        disk = DiskAttachment("root", "shop", "db.root", 1, target)
        texts.append(dump(VmDefinition("db", "db", "shop", "u", 1, 1, (disk,), (), Owner("shop", "", "1"))))
        texts.append(repr(array) + repr(spec))
    assert leaks("\n".join(texts)) == []
    assert "env:DR_CHAP" in found.text


def test_a_secret_in_a_references_place_is_not_repeated(topology: Path, dr: Dr) -> None:
    document = json.loads(topology.read_text())
    document["arrays"]["east-a"]["luns"]["chap"]["password"] = BY_FILE
    document["hosts"]["east-1"]["uri"] = f"qemu+ssh://root:{KEY}@10.0.0.1/system"
    topology.write_text(json.dumps(document))
    said = dr("-v", "--json", "validate", str(topology))
    assert said.status == 2
    assert leaks(said.out + said.err) == []
    assert {problem["path"] for problem in said.json["problems"]} == {
        "arrays.east-a.luns.chap.password",
        "hosts.east-1.uri",
    }
