"""`dr discover`: what it lists, whom it names, and what it writes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model.errors import Unreachable
from dr_provider.model.inventory import FoundDisk, FoundNic, FoundVm, FoundVolume
from dr_provider.model.loader import load
from dr_provider.reconcile import discover
from dr_provider.reconcile.discover import Stock, entries_for
from dr_provider.reconcile.world import World
from tests.cli.conftest import Dr
from tests.support.lab import Lab
from tests.support.situations import shop

GIB = 1 << 30
MAIL = FoundVm(
    "Mail Server", 2, 4 * GIB, True, (FoundDisk("vda", "/img/mail.qcow2", 20 * GIB), FoundDisk("vdb", "/dev/zvol/x")),
    (FoundNic("br-prod", "52:54:00:00:00:01"), FoundNic("default", "")),
)  # fmt: skip
OURS = FoundVm("db", 1, GIB, True, topology="shop-test", plan="shop", vm="db")
THEIRS = replace(OURS, name="crm", topology="another")
LEFT = replace(OURS, name="old", vm="old")


# -- whole, on embedded machines ----------------------------------------------------------------------------


def test_all_that_a_lab_has_is_protected(dr: Dr, tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab")
    before = lab.serials()
    said = dr("discover", "--topology", str(lab.path), "--check", "--json")
    assert said.status == 0, said
    assert {(vm["name"], vm["site"], vm["protectedBy"]) for vm in said.json["vms"]} == {
        (vm, "east", "plan shop") for vm in ("db", "app", "web")
    }
    assert {(v["array"], v["name"], v["topology"]) for v in said.json["volumes"]} == {
        (array, volume, "shop-test") for array in ("east-a", "west-a") for volume in ("vol-1", "vol-2")
    }
    assert (said.json["unprotected"], said.json["written"]) == ([], None)
    assert lab.serials() == before


def test_machines_that_no_topology_names(dr: Dr, tmp_path: Path) -> None:
    """To whoever looks at the machines alone, what dr made for a topology is that topology's."""
    lab = Lab(tmp_path / "lab")
    words = [f"--array={site}=embedded:{lab.path.parent}/.dr/{site}-a.db" for site in ("east", "west")]
    words += [f"--host=east=embedded:{lab.path.parent}/.dr/east-{n}.db" for n in (1, 2)]
    said = dr("discover", *words)
    assert said.status == 0, said
    assert "By topology shop-test: " in said.out
    assert said.out.endswith("3 VMs on 2 hosts; all protected.\n")


def test_a_vm_that_is_defined_at_two_sites_is_one_vm(dr: Dr, tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab")
    lab.write(1)
    lab.protect()
    lab.move("west")
    found = dr("discover", "--topology", str(lab.path), "--json").json
    assert len(found["vms"]) == 6, "each place at which it is defined is listed"
    assert dr("discover", "--topology", str(lab.path)).out.splitlines() == [
        "By plan shop: app, db, web",
        "3 VMs on 4 hosts; all protected.",
    ]


def test_who_is_silent_is_said(dr: Dr, tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab")
    lab.lose("site:west")
    found = dr("discover", "--topology", str(lab.path), "--json")
    assert (found.status, sorted(found.json["silent"])) == (0, ["west-1", "west-2", "west-a"])
    said = dr("discover", "--topology", str(lab.path), "--check")
    assert (said.status, "all protected, as far as what answers knows." in said.out) == (1, True)
    assert "What these have is not known:\n  - host west-1 " in said.out
    lab.lose("site:east")
    assert dr("discover", "--topology", str(lab.path)).out.endswith("0 VMs on 0 hosts; no VM was found.\n")


# -- what is found elsewhere ----------------------------------------------------------------------------------


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the machines have: `vms` by host and `volumes` by array."""
    there: dict[str, Any] = {"vms": {}, "volumes": {}, "silent": {}}
    monkeypatch.setattr(discover, "take_stock", lambda world: Stock(world.topology, **there))
    return there


def test_vms_that_nothing_protects_are_named(dr: Dr, topology: Path, found: dict[str, Any]) -> None:
    found["vms"] = {
        "east-1": (OURS, MAIL, THEIRS, LEFT),
        "west-1": (replace(OURS, running=False), replace(LEFT, running=False)),
    }
    found["volumes"] = {"east-a": (FoundVolume("vol-1", "data", 1, 1, "shop-test"), FoundVolume("tank/x", "zvol", GIB))}
    said = dr("discover", "--topology", str(topology))
    assert said.status == 0
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert lines == [
        "VMs that nothing protects:",
        "VM host site CPUs memory disks",
        "Mail Server east-1 east runs 2 4.0 GiB vda 20.0 GiB, vdb",
        "old east-1 east runs 1 1.0 GiB -",
        "By plan shop: db",
        "By topology another: crm",
        "On the arrays beside what is dr's:",
        "array name takes",
        "east-a zvol tank/x 1.0 GiB",
        "4 VMs on 2 hosts; 2 protected by nothing.",
        "dr discover -o FILE writes them as entries of a topology.",
    ]
    assert dr("discover", "--topology", str(topology), "--check").status == 1


def test_entries_that_are_added_to_the_topology_are_valid(
    dr: Dr, topology: Path, found: dict[str, Any], tmp_path: Path
) -> None:
    found["vms"] = {"east-1": (OURS, MAIL), "west-1": (replace(MAIL, name="7z", nics=()),)}
    out = tmp_path / "more.yaml"
    said = dr("discover", "--topology", str(topology), "-o", str(out), "--json")
    assert (said.status, said.json["written"], said.json["toFillIn"]) == (0, str(out), [])
    text = out.read_text()
    assert "mail-server:                          # Mail Server on east-1" in text
    assert "vdb: {volume: mail-server, size: 20GiB}   # now /dev/zvol/x; fill in: its size is not known" in text
    assert '- {network: prod, mac: "52:54:00:00:00:01"}' in text
    assert "# fill in: what is default elsewhere? drill: apart from production" in text
    assert "vm-7z:" in text, "a name begins with a letter"
    # Added by hand, as the first line says.
    from dr_provider.model.document import read
    from dr_provider.model.problems import Report

    base, more = json.loads(topology.read_text()), read(text, "more", Report()).data
    assert isinstance(more, dict)
    for section, entries in more.items():
        base[section] = {**base[section], **entries}
    topology.write_text(json.dumps(base))
    plans = load(topology).plans
    assert (plans["adopted-east"].members, plans["adopted-west"].sites) == (("mail-server",), ("west", "east"))


def test_a_whole_topology_says_what_is_to_be_filled_in(dr: Dr, found: dict[str, Any], tmp_path: Path) -> None:
    found["vms"] = {"east-1": (MAIL,)}
    words = ["--array=east=zfs:ssh://root@10.0.1.10/tank", "--host=east=qemu+ssh://root@10.0.1.11/system"]
    out = tmp_path / "new.yaml"
    said = dr("discover", *words, "-o", str(out))
    assert said.status == 0, said
    assert "to fill in: plans.adopted-east.sites: lists east only" in said.out
    assert "fill in: a second site" in out.read_text()
    # With the other site it is whole.
    both = [*words, "--array=west=zfs:ssh://root@10.0.2.10/tank", "--host=west=qemu+ssh://root@10.0.2.11/system"]
    said = dr("discover", *both, "-o", str(tmp_path / "both.yaml"))
    assert "to fill in" not in said.out
    topology = load(tmp_path / "both.yaml")
    assert (topology.volumes["mail-server"].arrays, topology.arrays["west-a"].driver) == (("east-a", "west-a"), "zfs")


def test_stdout_is_the_entries_alone(dr: Dr, topology: Path, found: dict[str, Any]) -> None:
    found["vms"] = {"east-1": (MAIL,)}
    said = dr("discover", "--topology", str(topology), "-o", "-")
    assert (said.status, said.out.startswith("# Written by dr discover")) == (0, True)
    found["vms"] = {"east-1": (OURS,)}
    said = dr("discover", "--topology", str(topology), "-o", "-")
    assert (said.status, said.out, "every VM that was found is protected" in said.err) == (0, "", True)


def test_names_of_strangers_stay_in_their_comments() -> None:
    evil = replace(MAIL, name="x\nplans: {}\u2028y", disks=(FoundDisk("v\nda", "a\x85b\nvms: {}", GIB),))
    stock = Stock(shop(), {"east-1": (evil,)})
    text = entries_for(stock).text()
    assert [line for line in text.splitlines() if line.startswith(("plans:", "vms:"))] == ["vms:", "plans:"]
    assert "# x plans: {} y on east-1" in text


def test_nobody_answers(dr: Dr, topology: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(_world: World) -> Stock:
        raise Unreachable("all is dark")

    monkeypatch.setattr(discover, "take_stock", silent)
    assert dr("discover", "--topology", str(topology)).status == 1


def test_a_newcomer_is_told_how_to_name_machines(dr: Dr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = dr("discover")
    assert (said.status, "Without a topology name the machines: dr discover --host east=" in said.err) == (2, True)
    said = dr("discover", "--topology", "none.yaml")
    assert (said.status, "Without a topology" in said.err) == (2, False)


def test_a_file_that_is_not_needed_is_said_not_to_be_written(
    dr: Dr, topology: Path, found: dict[str, Any], tmp_path: Path
) -> None:
    found["vms"] = {"east-1": (OURS,)}
    said = dr("discover", "--topology", str(topology), "-o", str(tmp_path / "more.yaml"))
    assert said.out.splitlines()[-2:] == ["1 VM on 1 host; all protected.", f"{tmp_path}/more.yaml is not written: nothing that was found is unprotected."]  # fmt: skip
    assert not (tmp_path / "more.yaml").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--topology", "t.yaml", "--array", "embedded:x"), "not both"),
        (("--array", "tank"), "wanted embedded:PATH or zfs:ssh://"),
        (("--host", "here there"), "wanted a libvirt URI"),
        (("--host", "embedded:x", "-o", "-", "--json"), "both want stdout"),
        (("--host", "embedded:x", "-o", "/"), "overwrites nothing"),
    ],
)
def test_wrong_words(dr: Dr, words: tuple[str, ...], said: str) -> None:
    found = dr("discover", *words)
    assert found.status == 2, found
    assert said in (found.err or found.json["error"])
