"""A host's file: what may stand in its place, several processes at once, and processes that are killed."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from dr_provider.arrays.embedded import EmbeddedArray, connect
from dr_provider.hypervisors.embedded import EmbeddedHost
from dr_provider.hypervisors.embedded.lab import Lab, read_ledger
from dr_provider.hypervisors.embedded.locks import guest_lock
from dr_provider.hypervisors.registry import open_host
from dr_provider.model.errors import BadInput, NotReady, Unreachable
from dr_provider.model.records import Owner
from dr_provider.model.topology import HostSpec
from dr_provider.model.vm import DiskAttachment, VmDefinition
from tests.hypervisors.fakes import FakeArray, FakeClock

OWNER = Owner("t", "", "")
LUN = 8 << 20


def spec_in(folder: Path) -> HostSpec:
    return HostSpec("h1", "east", "embedded", options={"path": str(folder / "dr" / "h1.db"), "cpus": 4})


def host_in(folder: Path, *, clock: FakeClock | None = None) -> EmbeddedHost:
    return EmbeddedHost(spec_in(folder), connect=FakeArray().connect, timeout=0.2, clock=clock)


def bare_vm(name: str = "db") -> VmDefinition:
    return VmDefinition(name, name, "shop", "u", 1, 1, (), (), OWNER)


# -- in the file's place -----------------------------------------------------------------------------


def _newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")


def _array(path: Path) -> None:
    path.unlink()
    EmbeddedArray("a", "east", path, timeout=1.0).create()


def _cut(path: Path) -> None:
    os.truncate(path, 5000)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (Path.unlink, "is not there"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"\0" * 9000), "damaged"),
        (lambda path: path.write_bytes(b"not a database\n" * 600), "damaged"),
        (_cut, "damaged"),
        (_newer, "has format 99"),
        (_array, "not a host's file"),
    ],
    ids=["missing", "empty", "zeros", "text", "cut", "newer", "array"],
)
def test_what_is_not_a_host_is_not_ready(tmp_path: Path, damage: Callable[[Path], None], sentence: str) -> None:
    host = host_in(tmp_path)
    host.create()
    host.define(bare_vm())
    host.close()
    path = tmp_path / "dr" / "h1.db"
    damage(path)
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(NotReady, match=sentence) as found:
        host.state()
    assert "\n" not in str(found.value)
    assert found.value.missing == (before is None)
    if before is not None:
        with pytest.raises(NotReady):
            host.create()
        assert path.read_bytes() == before


def test_a_file_that_is_replaced_under_an_open_host_is_seen(tmp_path: Path) -> None:
    host, path = host_in(tmp_path), tmp_path / "dr" / "h1.db"
    host.create()
    host.define(bare_vm("old"))
    first = host.state().initiator
    shutil.rmtree(path.parent)
    host.create()
    state = host.state()
    assert (state.vms, state.initiator == first) == ({}, False)


def test_a_log_left_by_a_removed_file_is_not_taken_up(tmp_path: Path) -> None:
    host, path = host_in(tmp_path), tmp_path / "dr" / "h1.db"
    host.create()
    host.define(bare_vm())
    assert path.with_name("h1.db-wal").stat().st_size > 0
    path.unlink()
    other = host_in(tmp_path)
    other.create()
    assert other.state().vms == {}


def test_an_unknown_driver_is_named_with_those_that_are_known(tmp_path: Path) -> None:
    spec = replace(spec_in(tmp_path), driver="vmware")
    with pytest.raises(BadInput, match=r"host h1: .*'vmware'; known are: embedded"):
        open_host(spec, connect=connect, timeout=1.0)


# -- the thaw timer ----------------------------------------------------------------------------------


def test_a_thaw_timer_of_another_boot_has_run_out(tmp_path: Path) -> None:
    clock = FakeClock()
    host = host_in(tmp_path, clock=clock)
    host.create()
    host.define(bare_vm())
    host.start("db")
    assert host.freeze("db", thaw_after=60).level == "application"
    clock.boot_id, clock.time = "boot-2", 1.0
    assert not host.state().vms["db"].frozen
    assert host.thaw("db") is False


def test_the_real_clock_thaws_too(tmp_path: Path) -> None:
    host = EmbeddedHost(spec_in(tmp_path), connect=FakeArray().connect, timeout=1.0)
    host.create()
    host.define(bare_vm())
    host.start("db")
    host.freeze("db", thaw_after=600)
    assert host_in(tmp_path).name == "h1"
    assert host.thaw("db") is True
    host.freeze("db", thaw_after=0)
    assert host.thaw("db") is False


# -- processes ---------------------------------------------------------------------------------------


def _definition(folder: Path) -> VmDefinition:
    array = folder / "a.db"
    disks = tuple(DiskAttachment(role, "v", role, LUN, f"embedded:{array}#v/{role}") for role in ("data", "root"))
    return VmDefinition("db", "db", "shop", "u", 1, 1, disks, (), OWNER)


def _real(folder: Path) -> tuple[EmbeddedHost, Lab, VmDefinition]:
    array = EmbeddedArray("a", "east", folder / "a.db", timeout=1.0)
    host = EmbeddedHost(spec_in(folder), connect=connect, timeout=10.0)
    array.create()
    host.create()
    array.create_volume("v", 4 * LUN, OWNER)
    definition = _definition(folder)
    for disk in definition.disks:
        array.create_lun("v", disk.lun, LUN)
        array.map_lun("v", [disk.lun], host.state().initiator)
    host.define(definition)
    host.start("db")
    return host, Lab(spec_in(folder)), definition


def _write_for_ever(folder: Path, ready: Event) -> None:
    lab = Lab(spec_in(folder))
    for turn in range(1_000_000):
        lab.write("db", 5 + turn % 90, connect)
        if turn == 5:
            ready.set()


def _write(folder: Path, turns: int) -> None:
    lab = Lab(spec_in(folder))
    for _ in range(turns):
        lab.write("db", 3, connect)


def _look(definition: VmDefinition, host: EmbeddedHost) -> tuple[int, bool]:
    def reader(disk: DiskAttachment, offset: int, length: int) -> bytes:
        return connect(disk.target, "east").read(disk.volume, disk.lun, host.state().initiator, offset, length)

    found = read_ledger(definition, reader)
    return found.last, found.intact


def test_writers_in_several_processes_share_one_ledger(tmp_path: Path) -> None:
    host, _, definition = _real(tmp_path)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(tmp_path, 20)) for _ in range(3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        host.freeze("db", thaw_after=0.001)
        writers[0].join(0.01)
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert host.stop("db").mark == 180
    host.start("db")
    assert _look(definition, host) == (180, True)


def test_a_killed_writer_leaves_an_intact_ledger_that_goes_on(tmp_path: Path) -> None:
    host, lab, definition = _real(tmp_path)
    context = multiprocessing.get_context("spawn")
    for end in ("writes on", "stops", "loses power"):
        before, _ = _look(definition, host)
        ready = context.Event()
        victim = context.Process(target=_write_for_ever, args=(tmp_path, ready))
        victim.start()
        assert ready.wait(60)
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
        last, intact = _look(definition, host)
        assert intact
        assert last > before
        if end == "stops":
            mark = host.stop("db").mark
            assert mark is not None
            assert mark >= last
        elif end == "loses power":
            assert lab.cut_power() == ("db",)
        host.start("db")
        written = lab.write("db", 8, connect)
        assert written.last > last
        assert _look(definition, host) == (written.last, True)


def _hold(folder: Path, ready: Event) -> None:
    with guest_lock(folder / "h1.db", "db", 1.0):
        ready.set()
        signal.pause()


def test_the_lock_of_a_guest_ends_with_its_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path, ready))
    holder.start()
    assert ready.wait(60)
    with pytest.raises(Unreachable, match="VM db"), guest_lock(tmp_path / "h1.db", "db", 0.05):
        pass
    with guest_lock(tmp_path / "h1.db", "app", 0.05):
        pass
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with guest_lock(tmp_path / "h1.db", "db", 0.05):
        pass
