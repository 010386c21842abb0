"""Wrong words and files: exit status 2, one sentence, nothing changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from dr_provider.cli import main
from tests.cli.conftest import Dr
from tests.cli.fakes import Reconciler

MOVE = ("failover", "shop", "--to", "west", "--yes")

WRONG = {
    "no such command": (("fallover",), "fallover"),
    "no such option": (("status", "--quick"), "--quick"),
    "option without a value": (("failover", "shop", "--to"), "--to"),
    "no plan": (("failover", "--to", "west", "--yes"), "the plans of topology shop-test: shop"),
    "unknown plan": (
        ("failover", "shpo", "--to", "west", "--yes"),
        "'shpo' (did you mean shop?); the plans of topology shop-test: shop",
    ),
    "unknown site": (("failover", "shop", "--to", "north", "--yes"), "the sites of plan shop: east, west"),
    "shell characters": (("failover", "shop", "--to", "west; reboot", "--yes"), "the sites of plan shop: east, west"),
    "path characters": (("points", "../shop"), "the plans of topology shop-test: shop"),
    "plan and --all": (("failover", "shop", "--all", "--to", "west", "--yes"), "not both"),
    "--all without a site": (("failover", "--all", "--yes"), "the sites of topology shop-test: east, west"),
    "--all to an unknown site": (("failover", "--all", "--to", "north", "--yes"), "east, west"),
    "--all with a point": (("failover", "--all", "--to", "west", "--point", "x", "--yes"), "--point"),
    "a word that is none": ((*MOVE, "--force", "power lost"), "EPOCH: REASON"),
    "a word without a reason": ((*MOVE, "--force", "3:"), "EPOCH: REASON"),
    "no terminal to ask on": (("failover", "shop", "--to", "west"), "--yes"),
    "no terminal for all": (("failover", "--all", "--to", "west"), "--yes"),
    "no terminal for failback": (("failback", "shop"), "--yes"),
    "no terminal for resolve": (("resolve", "shop", "--keep", "west"), "--yes"),
    "resolve without a side": (("resolve", "shop", "--yes"), "say --keep SITE"),
    "resolve for an unknown side": (("resolve", "shop", "--keep", "south", "--yes"), "east, west"),
    "abort without a plan": (("abort",), "the plans of topology shop-test: shop"),
    "start with no word": (("start", "shop", "--force", "because"), "EPOCH: REASON"),
    "restore of nothing": (("restore", "--point", "x"), "the VMs of topology shop-test: app, db, web"),
    "restore of an unknown VM": (("restore", "dbb", "--point", "x", "--yes"), "there is no VM 'dbb'"),
    "restore without a point": (("restore", "db", "--yes"), "say --point POINT"),
    "no terminal for restore": (("restore", "db", "--point", "x"), "--yes"),
    "no terminal for restart": (("restart", "shop"), "--yes"),
    "remove and more": (("restore", "db", "--remove", "x"), "takes nothing else"),
    "points of no plan": (("points",), "say which PLAN"),
    "protect of an unknown plan": (("protect", "web"), "the plans of topology shop-test: shop"),
    "protect now and for ever": (("protect", "--now", "--watch"), "exclude each other"),
    "no terminal for safety drop": (("safety", "drop", "x"), "--yes"),
    "drop of nothing": (("safety", "drop", "--yes"), "say which safety copy"),
    "drop of an unknown copy": (("safety", "drop", "x", "--yes"), "there is no safety copy 'x'"),
    "export of an unknown copy": (("safety", "export", "x", "db.root", "f"), "there is no safety copy 'x'"),
    "validate of two": (("validate", "a.yaml", "--from", "embedded:b"), "not both"),
    "--from of a strange address": (("status", "--from", "west-a"), "wanted embedded:PATH or zfs:ssh://"),
    "--from zfs": (("status", "--from", "zfs:ssh://root@10.0.2.10"), "wants the pool"),
    "--from without a path": (("status", "--from", "embedded:"), "wanted embedded:PATH"),
}


NEAR = [
    *((*words, "shpo") for words in (
        ("status",), ("points",), ("history",), ("protect",), ("backup",), ("verify",), ("restart", "--yes"), ("start",), ("failback", "--yes"),
        ("rollback", "--yes"), ("commit",), ("abort",), ("resolve", "--keep", "west", "--yes"), ("answer", "--stop"), ("plan",), ("report",),
        ("runbook",), ("drill", "start"), ("drill", "list"), ("drill", "history"), ("guard", "--site", "east"),
    )),
    ("drill", "end", "shpo", "x"),
    *((*words, "wset") for words in (
        ("failover", "shop", "--yes", "--to"), ("failover", "--all", "--yes", "--to"), ("resolve", "shop", "--yes", "--keep"),
        ("verify", "shop", "--site"), ("drill", "start", "shop", "--site"), ("runbook", "shop", "--to"), ("guard", "shop", "--site"),
    )),
    ("restore", "dbb", "--point", "x"),
]  # fmt: skip


@pytest.mark.parametrize("words", NEAR, ids=" ".join)
def test_a_name_that_is_nearly_right_gets_the_one_that_is(words: tuple[str, ...], dr: Dr, topology: Path) -> None:
    said = dr("--topology", str(topology), *words)
    assert said.status == 2
    assert any(f"(did you mean {name}?)" in said.err for name in ("shop", "west", "db")), said.err


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_wrong_words_end_with_2_and_one_sentence(
    name: str, as_json: bool, dr: Dr, topology: Path, reconciler: Reconciler
) -> None:
    words, expected = WRONG[name]
    before = sorted(p.name for p in topology.parent.rglob("*"))
    said = dr("--topology", str(topology), *(("--json",) if as_json else ()), *words)
    assert said.status == 2, said
    sentence = said.json["error"] if as_json else said.err
    assert expected in sentence
    assert len(sentence.strip().splitlines()) == 1
    assert not sentence.startswith("dr: dr")
    assert "Traceback" not in said.err
    assert as_json or said.out == ""
    assert reconciler.changed == []
    assert sorted(p.name for p in topology.parent.rglob("*")) == before


FILES = {
    "missing": (None, "there is no such file"),
    "empty": (b"", "it is empty"),
    "binary": (b"\x00\xff\xfe\x01", "UTF-8"),
    "not YAML": (b"plans: [", "this is not YAML"),
    "not a mapping": (b"- shop\n", "wanted a topology"),
    "of another version": (b"version: 9\nname: shop\n", "version"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "words", [("status",), ("failover", "shop", "--to", "west", "--yes"), ("validate",)], ids=" ".join
)
def test_wrong_files_end_with_2(name: str, words: tuple[str, ...], dr: Dr, tmp_path: Path) -> None:
    content, expected = FILES[name]
    file = tmp_path / "topology.yaml"
    if content is not None:
        file.write_bytes(content)
    said = dr("--topology", str(file), *words)
    assert said.status == 2, said
    assert expected in said.err
    assert "Traceback" not in said.err
    as_json = dr(*words, "--topology", str(file), "--json")
    assert as_json.status == 2
    assert expected in as_json.json["error"]


def test_a_topology_with_faults_lists_every_one(dr: Dr, topology: Path) -> None:
    text = topology.read_text().replace('"west-a"', '"west-x"', 1).replace('"4MiB"', '"4 potatoes"', 1)
    topology.write_text(text)
    said = dr("validate", str(topology), "--json")
    assert said.status == 2
    assert len(said.json["problems"]) >= 2
    assert {"path", "message", "line"} == set(said.json["problems"][0])


def test_a_good_topology_is_counted(dr: Dr, topology: Path) -> None:
    said = dr("validate", str(topology))
    assert said.status == 0
    assert "topology shop-test is good: 2 sites, 2 arrays, 4 hosts, 1 network, 2 volumes, 3 VMs, 1 plan" in said.out
    counted = dr("validate", "--json", "--topology", str(topology)).json
    assert counted["valid"] is True
    assert counted["counts"]["vms"] == 3


def test_an_unexpected_exception_is_one_sentence(dr: Dr, topology: Path, reconciler: Reconciler) -> None:
    reconciler.outcomes["shop"] = ZeroDivisionError("division by zero")
    said = dr("failover", "shop", "--to", "west", "--yes", "--topology", str(topology), "--json")
    assert said.status == 1
    assert said.json["error"].endswith("this is a fault in dr; run with -v and report it")
    assert "Traceback" not in said.err
    loud = dr("-v", "failover", "shop", "--to", "west", "--yes", "--topology", str(topology))
    assert "Traceback" in loud.err
    assert "Traceback" not in loud.out


def test_the_exit_status_of_the_console_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["dr", "--version"])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 0


def test_help_of_every_command_has_an_example(dr: Dr) -> None:
    commands = ["validate", "status", "points", "protect", "apply", "failover", "failback", "abort", "resolve", "start"]
    for name in [*commands, "safety list", "safety export", "safety drop"]:
        said = dr(*name.split(), "--help")
        assert said.status == 0
        assert f"dr {name}" in said.out.replace("Usage: ", "", 1).partition("Options")[0], name
        assert max(len(line) for line in said.out.splitlines()) <= 80


def test_dr_alone_shows_its_help(dr: Dr) -> None:
    said = dr()
    assert said.status == 2
    assert "failover" in said.out + said.err
