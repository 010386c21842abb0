"""`dr sim` on real embedded arrays and hosts: two sites, VM db on two disks, VM app on one with an image."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dr_provider.arrays.base import Array
from dr_provider.arrays.embedded import connect
from dr_provider.arrays.registry import open_array
from dr_provider.cli.errors import sentence_of, status_of
from dr_provider.cli.sim import app
from dr_provider.hypervisors.base import Hypervisor
from dr_provider.hypervisors.registry import open_host
from dr_provider.model import keys
from dr_provider.model.errors import DeviceFault, Unreachable
from dr_provider.model.loader import load
from dr_provider.model.records import Owner
from dr_provider.model.state import Reservation
from dr_provider.model.topology import HealthSpec, Topology
from dr_provider.model.vm import DiskAttachment, VmDefinition
from tests.support.topologies import write_topology

OWNER = Owner("shop-test", "", "one")
AGENT = HealthSpec(None, True, 10.0)


def _second_disk(document: dict[str, Any]) -> None:
    document["vms"]["db"]["disks"]["data"] = {
        "volume": document["vms"]["db"]["disks"]["root"]["volume"],
        "size": "1MiB",
    }


@dataclass
class Lab:
    """The topology's devices, opened, and the command as a user types it."""

    file: Path
    topology: Topology
    arrays: dict[str, Array]
    hosts: dict[str, Hypervisor]

    def sim(self, *words: str) -> tuple[int, str, str]:
        """Exit status, stdout and stderr."""
        result = CliRunner().invoke(app, [*words, "--topology", str(self.file)])
        error = result.exception
        if error is None or isinstance(error, SystemExit):
            return result.exit_code, result.stdout, result.stderr
        return status_of(error), result.stdout, result.stderr + sentence_of(error)

    def json(self, *words: str) -> Any:
        status, out, err = self.sim(*words, "--json")
        assert status == 0, err
        return json.loads(out)

    def ledger(self, vm: str, *more: str) -> Any:
        return self.json("ledger", vm, *more)

    def definition(self, vm: str, site: str) -> VmDefinition:
        disks = []
        array = self.arrays[f"{site}-a"]
        for disk in self.topology.vms[vm].disks:
            lun = keys.lun_name(vm, disk.role)
            image = array.state().volumes[disk.volume].luns[lun].image_bytes
            disks.append(
                DiskAttachment(disk.role, disk.volume, lun, disk.size, array.lun_target(disk.volume, lun), image)
            )
        return VmDefinition(vm, vm, "shop", vm, 1, 1 << 26, tuple(disks), (), OWNER)

    def run(self, vm: str, host: str) -> None:
        site = self.hosts[host].site
        definition = self.definition(vm, site)
        for disk in definition.disks:
            self.arrays[f"{site}-a"].map_lun(disk.volume, [disk.lun], self.hosts[host].state().initiator)
        self.hosts[host].define(definition)
        self.hosts[host].start(vm)

    def replicate(self, name: str) -> None:
        for volume in self.topology.volumes:
            self.arrays["east-a"].snapshot([volume], name)
            stream = self.arrays["east-a"].send(volume, None, name)
            self.arrays["west-a"].receive(volume, stream, OWNER)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with closing(sqlite3.connect(tmp_path / "image.db")) as image:
        image.execute(
            "CREATE TABLE t AS WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 999) SELECT i FROM n"
        )
        image.commit()
    file = write_topology(tmp_path, change=_second_disk, images={"app": str(tmp_path / "image.db")})
    topology = load(file)
    arrays = {name: open_array(spec, timeout=0.2) for name, spec in topology.arrays.items()}
    hosts = {name: open_host(spec, connect=connect, timeout=0.2) for name, spec in topology.hosts.items()}
    for array in arrays.values():
        array.create()
    for host in hosts.values():
        host.create()
    for name, volume in topology.volumes.items():
        arrays["east-a"].create_volume(name, volume.size, OWNER)
    for vm in topology.vms.values():
        for disk in vm.disks:
            arrays["east-a"].create_lun(disk.volume, keys.lun_name(vm.name, disk.role), disk.size, image=disk.image)
    made = Lab(file, topology, arrays, hosts)
    made.run("db", "east-1")
    made.run("app", "east-2")
    yield made
    for array in arrays.values():
        array.close()
    for host in hosts.values():
        host.close()


def shape(vm: str, site: str, host: str | None, last: int, buffered: int) -> dict[str, object]:
    return {"vm": vm, "site": site, "host": host, "last": last, "buffered": buffered, "intact": True}


# -- guests ----------------------------------------------------------------------------------------


def test_write_buffers_and_writes_out_eight_at_a_time(lab: Lab) -> None:
    assert lab.json("write", "db") == {"vm": "db", "last": 0, "buffered": 1}
    assert lab.json("write", "db", "--count", "6") == {"vm": "db", "last": 0, "buffered": 7}
    assert lab.json("write", "db", "--count", "5") == {"vm": "db", "last": 8, "buffered": 4}
    assert lab.ledger("db") == shape("db", "east", "east-1", 8, 4)
    assert "last entry 8, 4 in memory, intact" in lab.sim("ledger", "db")[1]


def test_a_freeze_writes_everything_out_and_then_entries_stay_in_memory(lab: Lab) -> None:
    lab.sim("write", "db", "--count", "11")
    assert lab.hosts["east-1"].freeze("db", thaw_after=60).mark == 11
    lab.sim("write", "db", "--count", "20")
    assert lab.ledger("db") == shape("db", "east", "east-1", 11, 20)
    assert lab.hosts["east-1"].thaw("db")
    lab.sim("write", "db")
    assert lab.ledger("db") == shape("db", "east", "east-1", 27, 5)


def test_a_stopped_vms_ledger_is_read_and_numbering_goes_on(lab: Lab) -> None:
    lab.sim("write", "db", "--count", "10")
    assert lab.hosts["east-1"].stop("db").mark == 10
    assert lab.ledger("db") == shape("db", "east", "east-1", 10, 0)
    status, _, err = lab.sim("write", "db")
    assert (status, "it is off on east-1" in err) == (1, True)
    lab.hosts["east-1"].start("db")
    lab.sim("write", "db", "--count", "8")
    assert lab.ledger("db")["last"] == 18


def test_a_hard_stop_loses_memory_only(lab: Lab) -> None:
    lab.sim("write", "db", "--count", "13")
    lab.hosts["east-1"].stop("db", graceful=0)
    assert lab.ledger("db") == shape("db", "east", "east-1", 8, 0)


def test_a_copy_elsewhere_is_read_by_site_and_taken_up_on_another_host(lab: Lab) -> None:
    lab.sim("write", "db", "--count", "16")
    lab.replicate("one")
    lab.sim("write", "db", "--count", "16")
    assert lab.ledger("db", "--at", "west") == shape("db", "west", None, 16, 0)
    lab.sim("lose", "site:east")
    for volume in lab.topology.volumes:
        lab.arrays["west-a"].promote(volume, "one")
    lab.run("db", "west-1")
    assert lab.ledger("db") == shape("db", "west", "west-1", 16, 0)
    lab.sim("write", "db", "--count", "8")
    assert lab.ledger("db")["last"] == 24
    assert lab.ledger("db", "--at", "east") == shape("db", "east", "east-1", 32, 0)


def test_vms_running_at_both_sites_are_told_apart(lab: Lab) -> None:
    lab.replicate("one")
    for volume in lab.topology.volumes:
        lab.arrays["west-a"].promote(volume, "one")
    lab.run("db", "west-1")
    status, _, err = lab.sim("ledger", "db")
    assert status == 2
    assert "east-1, west-1" in err
    assert lab.json("write", "db", "--at", "west", "--count", "8")["last"] == 8
    assert lab.ledger("db", "--at", "east")["last"] == 0


def test_a_drill_vm_goes_by_its_hosts_name(lab: Lab) -> None:
    lab.sim("write", "db", "--count", "8")
    volume = lab.topology.vms["db"].disks[0].volume
    lab.arrays["east-a"].snapshot([volume], "one")
    lab.arrays["east-a"].clone(volume, "one", f"{volume}.drill.d1", "drill", OWNER)
    target = lab.arrays["east-a"].lun_target
    real = lab.definition("db", "east")
    disks = tuple(
        replace(d, volume=f"{volume}.drill.d1", target=target(f"{volume}.drill.d1", d.lun)) for d in real.disks
    )
    for disk in disks:
        lab.arrays["east-a"].map_lun(disk.volume, [disk.lun], lab.hosts["east-2"].state().initiator)
    lab.hosts["east-2"].define(replace(real, name="db.drill.d1", uuid="other", disks=disks))
    lab.hosts["east-2"].start("db.drill.d1")
    lab.sim("write", "db.drill.d1", "--count", "8")
    assert lab.ledger("db.drill.d1") == shape("db.drill.d1", "east", "east-2", 16, 0)
    assert lab.ledger("db")["last"] == 8


def test_a_silent_array_keeps_entries_in_memory(lab: Lab) -> None:
    lab.sim("lose", "array:east-a")
    status, out, err = lab.sim("write", "db", "--count", "20", "--json")
    assert (status, json.loads(out)) == (0, {"vm": "db", "last": 0, "buffered": 20})
    assert "20 entries wait in memory" in err
    frozen = lab.hosts["east-1"].freeze("db", thaw_after=10)
    assert (frozen.level, frozen.mark) == ("crash", None)
    assert "gives no answer" in frozen.reason
    assert not lab.hosts["east-1"].probe("db", AGENT).well
    lab.sim("heal", "array:east-a")
    assert lab.hosts["east-1"].freeze("db", thaw_after=10).mark == 20
    assert lab.ledger("db")["intact"]


def test_export_gives_the_disk_as_the_guest_sees_it(lab: Lab, tmp_path: Path) -> None:
    lab.sim("write", "app", "--count", "8")
    found = lab.json("export", "app", "root", str(tmp_path / "out.db"))
    assert found["bytes"] == (tmp_path / "out.db").stat().st_size == lab.topology.vms["app"].disks[0].size
    with closing(sqlite3.connect(tmp_path / "out.db")) as exported:
        assert exported.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert exported.execute("SELECT count(*) FROM t").fetchone() == (999,)
    assert lab.ledger("app")["last"] == 8
    status, _, err = lab.sim("export", "app", "swap", str(tmp_path / "x"))
    assert (status, "wanted one of: root" in err) == (2, True)
    status, _, err = lab.sim("export", "app", "root", str(tmp_path / "no" / "x"))
    assert (status, "cannot be written" in err) == (2, True)


def test_a_full_ledger_is_said_in_one_sentence(lab: Lab) -> None:
    status, _, err = lab.sim("write", "db", "--count", "100000")
    assert status == 1
    assert "room for 16320 entries" in err
    assert lab.json("write", "db", "--count", "16320")["last"] == 16320
    assert lab.sim("write", "db")[0] == 1


# -- disasters -------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["site:east", "host:east-1"])
def test_power_loss_ends_guests_and_healing_leaves_them_off(lab: Lab, target: str) -> None:
    lab.hosts["east-1"].reserve("move", [Reservation("move", "x", 1, 1)])
    lab.sim("write", "db", "--count", "10")
    ended = {line["vm"]: line["host"] for line in lab.json("lose", target)["ended"]}
    assert ended["db"] == "east-1"
    assert ("app" in ended) == (target == "site:east")
    with pytest.raises(Unreachable):
        lab.hosts["east-1"].state()
    assert lab.ledger("db") == shape("db", "east", "east-1", 8, 0)
    lab.json("heal", target)
    state = lab.hosts["east-1"].state()
    assert (state.vms["db"].state, state.reservations) == ("off", ())


@pytest.mark.parametrize("target", ["site:east", "host:east-1"])
def test_with_running_only_reach_is_lost(lab: Lab, target: str) -> None:
    assert lab.json("lose", target, "--running")["ended"] == []
    with pytest.raises(Unreachable):
        lab.hosts["east-1"].state()
    assert lab.json("write", "db", "--count", "8")["last"] == 8
    lab.sim("heal", target)
    assert lab.hosts["east-1"].state().vms["db"].state == "running"


@pytest.mark.parametrize(("lost", "healed"), [("link:operator/west", "link:west/operator")])
def test_the_operator_s_link(lab: Lab, lost: str, healed: str) -> None:
    lab.json("lose", lost)
    with pytest.raises(Unreachable):
        lab.hosts["west-1"].state()
    lab.hosts["east-1"].state()
    lab.json("heal", healed)
    lab.hosts["west-1"].state()


def test_slow_fail_and_the_list_of_faults(lab: Lab) -> None:
    assert lab.json("faults") == {"faults": []}
    lab.json("slow", "host:east-1", "10ms")
    lab.json("fail", "host:east-1", "--call", "2")
    lab.json("lose", "link:east/west")
    found = {(line["target"], line["device"], line["kind"]) for line in lab.json("faults")["faults"]}
    assert found == {
        ("host:east-1", "host east-1", "slow"),
        ("host:east-1", "host east-1", "fail"),
        ("link:east/west", "array east-a", "cut"),
        ("link:east/west", "array west-a", "cut"),
    }
    assert "host:east-1: host east-1 slow by 10ms" in lab.sim("faults")[1]
    lab.hosts["east-1"].state()
    with pytest.raises(DeviceFault):
        lab.hosts["east-1"].state()
    lab.hosts["east-1"].state()
    for target in ("host:east-1", "link:west/east", "site:west"):
        lab.json("heal", target)
    assert lab.json("faults") == {"faults": []}


# -- wrong words -----------------------------------------------------------------------------------

WRONG = [
    (["ledger", "nobody"], "known are: app, db, web"),
    (["write", "nobody"], "known are: app, db, web"),
    (["write", "db", "--count", "0"], "wanted at least 1"),
    (["ledger", "db", "--at", "mars"], "wanted one of: east, west"),
    (["lose", "site:mars"], "site:east, site:west, host:east-1"),
    (["lose", "mars"], "wanted one of site:east"),
    (["lose", "link:east"], "wanted link:A/B"),
    (["lose", "link:east/east"], "wanted link:A/B"),
    (["lose", "link:east/mars"], "wanted link:A/B"),
    (["lose", "link:operator/east-a"], "wanted link:A/B"),
    (["lose", "array:east-a", "--running"], "guests that run on"),
    (["slow", "link:east/west", "1s"], "wanted one of"),
    (["slow", "host:east-1", "soon"], "wanted a duration"),
    (["fail", "host:east-1", "--call", "0"], "call number of at least 1"),
    (["heal", "host:mars"], "wanted one of"),
]


@pytest.mark.parametrize(
    ("words", "sentence"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_wrong_words_are_one_sentence_and_status_2(lab: Lab, words: list[str], sentence: str) -> None:
    status, out, err = lab.sim(*words)
    assert (status, out) == (2, "")
    assert sentence in err
    assert lab.json("faults") == {"faults": []}


Damage = Callable[[Path], object]


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"no database" * 1000), "damaged"),
    ],
)
def test_a_host_file_that_cannot_be_used_is_a_sentence(lab: Lab, damage: Damage, sentence: str) -> None:
    path = Path(str(lab.topology.hosts["east-1"].options["path"]))
    for each in path.parent.glob("east-1.db*"):
        each.unlink()
    damage(path)
    for words in (["write", "db"], ["ledger", "db"], ["lose", "host:east-1"], ["heal", "host:east-1"]):
        status, _, err = lab.sim(*words)
        assert status == 1, words
        assert "\n" not in err.strip()
    assert sentence in lab.sim("ledger", "db")[2]


def test_what_has_not_been_made_cannot_be_lost(lab: Lab) -> None:
    for path in Path(str(lab.topology.hosts["west-1"].options["path"])).parent.glob("west-1.db*"):
        path.unlink()
    status, _, err = lab.sim("lose", "host:west-1")
    assert (status, "has been made yet" in err) == (1, True)
    assert lab.ledger("db")["last"] == 0


def test_a_vm_that_is_nowhere_yet(tmp_path: Path) -> None:
    file = write_topology(tmp_path / "new")
    empty = Lab(file, load(file), {}, {})
    status, _, err = empty.sim("write", "db")
    assert (status, "no host has it" in err) == (1, True)
    status, _, err = empty.sim("ledger", "db")
    assert (status, "is missing" in err) == (1, True)


def test_bits_that_flip(lab: Lab) -> None:
    assert lab.json("garble", "array:east-a", "--extent", "2") == {"target": "array:east-a", "files": 1, "extent": 2}
    assert "array:east-a: array east-a garble extent 2" in lab.sim("faults")[1]
    lab.json("heal", "array:east-a")
    assert lab.json("faults") == {"faults": []}
    before = lab.arrays["east-a"].state().serial
    found = lab.json("corrupt", "app", "root", "--at", "east", "--unnoticed")
    assert (found["site"], found["offset"]) == ("east", 0)
    assert lab.arrays["east-a"].state().serial == before, "rot is no change that an array knows of"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["garble", "host:east-1"], "wanted one of site:east"),
        (["garble", "array:east-a", "--extent", "0"], "at least 1"),
        (["corrupt", "app", "tape"], "no disk 'tape'"),
    ],
)
def test_what_cannot_flip(lab: Lab, words: list[str], said: str) -> None:
    status, _, error = lab.sim(*words)
    assert (status, said in error) == (2, True)
