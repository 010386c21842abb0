"""`dr init`: what it asks, what it writes, and that it changes nothing otherwise."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest

from dr_provider.model.loader import load
from tests.cli.conftest import Dr
from tests.cli.test_terminal import ROOT, _hear_ctrl_c, ended


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one, which is the current one."""
    here = tmp_path / "new"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


def asked(*words: str) -> pexpect.spawn[str]:
    return pexpect.spawn(
        sys.executable,
        ["-c", "from dr_provider.cli.main import main; main()", "init", *words],
        env={**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)},
        dimensions=(50, 80),
        encoding="utf-8",
        timeout=20,
        preexec_fn=_hear_ctrl_c,
        use_poll=True,  # a long run of tests has more files open than select() can count
    )


# -- at a terminal ----------------------------------------------------------------------------------------


def test_plain_enter_is_a_trial_that_is_valid() -> None:
    child = asked()
    for question in (
        "Name of the topology", "embedded .* or real", "Sites, the first is home", "VMs, in the order", "CPUs of each",
        "Memory of each", "Disk of each", "Name of the plan", "A recovery point every",
    ):  # fmt: skip
        child.expect(question + r".* \[(.*)\]: ")
        child.sendline("")
    status, said = ended(child)
    assert (status, "office.yaml is written, and valid." in said) == (0, True)
    topology = load(Path("office.yaml"))
    assert (topology.name, topology.sites, list(topology.plans), topology.plans["office"].members) == (
        "office", ("east", "west"), ["office"], ("db", "web"),
    )  # fmt: skip
    assert re.findall(r"^    dr .*$", said, re.MULTILINE) == [
        "    dr apply --topology office.yaml",
        "    dr protect office --now --topology office.yaml",
        "    dr status --topology office.yaml",
        "    dr drill start office --topology office.yaml",
    ]


BAD = [
    ("Name of the topology", "Big Shop", "Wanted a name: a small letter", "shop"),
    ("embedded", "xen", "Wanted embedded or real", "embedded"),
    ("Sites", "east", "Wanted two sites at least", "east west"),
    ("VMs", "db db", "Wanted each name once", "db"),
    ("CPUs", "many", "Wanted a whole number from 1 to 1024", "1"),
    ("Memory", "4 gigs", "Wanted a size: a whole number and KiB", "4GiB"),
    ("Disk", "7", "Wanted a size", "8MiB"),
    ("plan", "-", "Wanted a name", "shop"),
    ("recovery point", "soon", "Wanted a duration", "30m"),
]


def test_bad_answers_are_asked_again_with_what_is_right() -> None:
    child = asked("mine.yaml")
    for question, bad, wanted, good in BAD:
        child.expect(question + r".*\]: ")
        child.sendline(bad)
        child.expect(wanted)
        child.expect(question + r".*\]: ")
        child.sendline(good)
    assert ended(child)[0] == 0
    topology = load(Path("mine.yaml"))
    assert (topology.name, topology.plans["shop"].backup.every, topology.vms["db"].cpus) == ("shop", 1800.0, 1)


REAL = [
    ("Name of", None, "", ""),
    ("embedded", None, "", "real"),
    ("Sites", None, "", ""),
    ("east: the ZFS", "10.0.1.10", "Wanted an SSH address", ""),
    ("east: the pool", "1tank", "Wanted the name of a ZFS pool", ""),
    ("east: the host", "west", "Wanted a libvirt URI", ""),
    ("east: the bridge", "a/b", "Wanted a bridge's", ""),
    ("west: the ZFS", "ssh://root@10.0.1.10", "another site's array; wanted another", ""),
    ("west: the pool", None, "", ""),
    ("west: the host", "qemu+ssh://root@10.0.1.11/system", "another site's host; wanted another", ""),
    ("west: the bridge", None, "", ""),
    ("Bridge for drills", "br-prod", "production's own; wanted another", ""),
]


def test_what_could_only_be_refused_at_the_end_is_asked_again_at_once() -> None:
    child = asked("mine.yaml")
    for question, bad, wanted, good in REAL:
        child.expect(question + r".*\]: ")
        if bad is not None:
            child.sendline(bad)
            child.expect(wanted)
            child.expect(question + r".*\]: ")
        child.sendline(good)
    for _ in range(6):
        child.expect(r"\]: ")
        child.sendline("")
    assert (ended(child)[0], len(load(Path("mine.yaml")).arrays)) == (0, 2)


def test_a_file_that_is_there_is_said_before_the_first_question(folder: Path) -> None:
    (folder / "mine.yaml").write_text("mine")
    status, said = ended(asked("mine.yaml"))
    assert (status, "it is there already" in said, "Name of the topology" in said) == (2, True, False)


def test_ctrl_d_changes_nothing(folder: Path) -> None:
    child = asked()
    child.expect(r"\]: ")
    child.sendeof()
    status, said = ended(child)
    assert (status, "the answers ended before the questions did; nothing was written" in said) == (1, True)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("answers", [0, 1, 5])
def test_ctrl_c_changes_nothing(answers: int, folder: Path) -> None:
    child = asked()
    for _ in range(answers):
        child.expect(r"\]: ")
        child.sendline("")
    child.expect(r"\]: ")
    child.sendintr()
    status, said = ended(child)
    assert (status, "stopped by Ctrl-C; nothing was written" in said) == (1, True)
    assert list(folder.iterdir()) == []


# -- for scripts ------------------------------------------------------------------------------------------


def test_real_machines(dr: Dr) -> None:
    said = dr(
        "init",
        "stacks/topology/shop.yaml",
        "--driver",
        "real",
        "--sites",
        "a,b,c",
        "--vms",
        "db,web",
        "--yes",
        "--json",
    )
    assert said.status == 0, said
    assert said.json == {
        "file": "stacks/topology/shop.yaml", "stackConfig": None, "name": "shop", "plan": "shop", "sites": ["a", "b", "c"],
        "vms": ["db", "web"],
    }  # fmt: skip
    topology = load(Path("stacks/topology/shop.yaml"))
    assert {array.driver for array in topology.arrays.values()} == {"zfs"}
    assert topology.volumes["shop"].arrays == ("a-a", "b-a", "c-a")


def test_the_config_of_a_stack_and_the_way_to_the_first_drill(
    dr: Dr, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a newcomer goes it: what is written is found by the stack, made, protected and looked at."""
    (folder / "stacks" / "topology").mkdir(parents=True)
    (folder / "Pulumi.yaml").write_text("name: dr\nruntime: python\nmain: stacks\nstackConfigDir: stacks\n")
    assert dr("init", "--stack", "office", "--yes").status == 0
    monkeypatch.setenv("PULUMI_STACK", "office")
    monkeypatch.setenv("DR_STATE_HOME", str(folder / "state"))
    ways = ("validate", "apply", "protect office --now", "status --check", "drill start office")
    for words in (way.split() for way in ways):
        assert (said := dr(*words)).status == 0, said
    drilled = dr("status", "--json").json["plans"]["office"]["lastDrill"]
    assert (drilled["ok"], drilled["site"], drilled["changedSince"]) == (True, "west", False)
    assert "office: east" in (folder / "stacks" / "Pulumi.office.yaml").read_text()


WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "nobody to ask": ((), "there is no terminal to ask on; say --yes"),
    "a file that is there": (("there.yaml", "--yes"), "it is there already, and dr init overwrites nothing"),
    "a name that is none": (("--name", "Big Shop", "--yes"), 'found "Big Shop"; wanted a name'),
    "one site": (("--sites", "east", "--yes"), "wanted two sites at least"),
    "a name that is a value": (("--vms", "db,null", "--yes"), "null is a value to YAML; wanted another name"),
    "a site without room for a name": (
        ("--sites", f"{'x' * 30},west", "--yes"),
        "wanted sites of at most 29 characters",
    ),
    "a site that is reserved": (("--sites", "east,drill", "--yes"), "a site may not be called drill"),
    "no VM": (("--vms", " ", "--yes"), "wanted at least one name"),
    "a duration that is none": (("--every", "often", "--yes"), "wanted a duration"),
    "a VM twice": (
        ("--vms", "db,db", "--yes"),
        'dr init: VMs, in the order in which they start: found "db,db"; wanted each name once',
    ),
    "no project for the stack": (("--stack", "prod", "--yes"), "no folder above office.yaml has a Pulumi.yaml"),
    "a folder that cannot be": (("there.yaml/x.yaml", "--yes"), "it cannot be written"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_words_write_nothing(name: str, dr: Dr, folder: Path) -> None:
    words, sentence = WRONG[name]
    (folder / "there.yaml").write_text("mine")
    said: Any = dr("init", *words)
    assert (said.status, sentence in said.err) == (2, True), said
    assert [path.name for path in folder.iterdir()] == ["there.yaml"]
    assert (folder / "there.yaml").read_text() == "mine"
