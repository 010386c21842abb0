"""The file of an embedded array: what is not one is named in a sentence and left alone, and killed processes leave it whole."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from dr_provider.arrays import open_array, spec_at
from dr_provider.arrays.embedded import EmbeddedArray, connect
from dr_provider.arrays.embedded import sim as embedded_sim
from dr_provider.arrays.embedded.chain import Target, write
from dr_provider.arrays.embedded.rows import need_lun, need_volume
from dr_provider.arrays.embedded.store import Store
from dr_provider.model.errors import BadInput, Conflict, CorruptRecord, NotReady
from dr_provider.model.records import Guard
from dr_provider.model.topology import ArraySpec
from tests.support.arrays import OWNER, audit

BLOCK = 4096


def array(path: Path) -> EmbeddedArray:
    return EmbeddedArray("east-a", "east", path, timeout=5)


def filled(path: Path) -> EmbeddedArray:
    made = array(path)
    made.create()
    made.create_volume("v", 1 << 20, OWNER)
    made.create_lun("v", "db", 1 << 20)
    made.map_lun("v", ["db"], "host")
    connect(made.lun_target("v", "db"), "east").write("v", "db", "host", 0, b"e" * BLOCK * 4)
    return made


def _newer(path: Path) -> None:
    array(path).create()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")


def _other(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE t (x)")


NOT_READY: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.touch(), "is empty"),
    "text": (lambda path: path.write_text("not a database\n" * 100), "damaged"),
    "cut short": (lambda path: path.write_bytes(b"SQLite format 3\0" + b"\1" * 40), "damaged"),
    "directory": (lambda path: path.mkdir(), "is a directory"),
    "another's database": (_other, "not an embedded array's"),
    "newer": (_newer, "has format 99"),
}


@pytest.mark.parametrize("what", sorted(NOT_READY))
def test_what_is_no_array_is_not_ready_and_left_alone(tmp_path: Path, what: str) -> None:
    make, sentence = NOT_READY[what]
    path = tmp_path / "a.db"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    for call in (array(path).state, lambda: array(path).put_record("a", "b"), array(path).create):
        with pytest.raises(NotReady, match=sentence) as caught:
            call()
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not caught.value.missing
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_a_missing_file_is_said_to_be_missing_and_made_by_create_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.db"
    with pytest.raises(NotReady, match="is missing") as caught:
        array(path).state()
    assert caught.value.missing
    assert not path.parent.exists()
    own_id = array(path).create()
    assert array(path).create() == own_id
    assert [p.name for p in path.parent.iterdir() if not p.name.startswith("a.db")] == []


def test_a_file_taken_away_and_another_put_in_its_place_is_noticed(tmp_path: Path) -> None:
    opened = filled(tmp_path / "a.db")
    first = opened.state().own_id
    opened.close()
    (tmp_path / "a.db").rename(tmp_path / "kept.db")
    with pytest.raises(NotReady, match="missing"):
        opened.state()
    second = opened.create()
    assert second != first
    assert opened.state().volumes == {}
    opened.close()


def test_a_log_left_by_a_lost_file_is_not_replayed(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    filled(path)
    log = (tmp_path / "a.db-wal").read_bytes()
    assert log
    for file in tmp_path.iterdir():
        file.unlink()
    (tmp_path / "a.db-wal").write_bytes(log)
    made = array(path)
    made.create()
    assert made.state().volumes == {}
    audit(path)


def _create(path: Path, pipe: Connection) -> None:
    pipe.recv()
    pipe.send(array(path).create())


def test_processes_that_race_to_create_end_with_one_array(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    pipes = []
    processes = []
    for _ in range(6):
        here, there = multiprocessing.Pipe()
        pipes.append(here)
        processes.append(multiprocessing.get_context("fork").Process(target=_create, args=(path, there)))
        processes[-1].start()
    for pipe in pipes:
        pipe.send("go")
    ids = {pipe.recv() for pipe in pipes}
    for process in processes:
        process.join()
    assert ids == {array(path).create()}
    assert sorted(p.name for p in tmp_path.iterdir() if "." not in p.name[5:]) == sorted(
        p.name for p in tmp_path.iterdir() if p.name.startswith("a.db")
    )


def _half_write(path: Path, pipe: Connection) -> None:
    with Store(path).writing() as db:
        volume = need_volume(db, "v", "here")
        lun = need_lun(db, volume, "db", "here")
        write(db, Target.at(db, volume.head, None), lun.key, 0, [b"h" * BLOCK] * 200)
        pipe.send("middle")
        pipe.recv()


def test_a_process_killed_within_a_transaction_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    made = filled(path)
    before = made.state()
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_half_write, args=(path, there))
    process.start()
    assert here.recv() == "middle"
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    made.put_record("a", "b")
    audit(path)
    assert made.state().volumes == before.volumes
    assert embedded_sim.read_lun(path, "v", "db", 0, BLOCK) == b"e" * BLOCK


def test_a_changed_byte_is_found_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    made = filled(path)
    made.snapshot(["v"], "s1")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE block SET data = ? WHERE no = 2", (b"f" + b"e" * (BLOCK - 1),))
    with pytest.raises(CorruptRecord, match="block 2 fails its checksum"):
        embedded_sim.read_lun(path, "v", "db")
    with pytest.raises(CorruptRecord, match="block 2"):
        list(made.send("v", None, "s1"))
    assert embedded_sim.read_lun(path, "v", "db", 0, 2 * BLOCK) == b"e" * BLOCK * 2


def test_an_image_copied_in_by_two_calls_becomes_one_lun(tmp_path: Path) -> None:
    made = filled(tmp_path / "a.db")
    image = tmp_path / "image"
    image.write_bytes(b"i" * BLOCK * 10)
    with made._store.writing() as db:
        volume = need_volume(db, "v", "here")
        key = made._stage(db, volume, "boot")
    made.create_lun("v", "boot", 1 << 20, image=str(image))
    with pytest.raises(Conflict, match="another call"):
        made._copy_image("v", "boot", key, str(image), BLOCK * 10, guard=Guard())
    assert embedded_sim.read_lun(made.path, "v", "boot", 0, BLOCK * 10) == b"i" * BLOCK * 10
    audit(made.path)


def test_the_registry_opens_what_is_built_and_refuses_the_rest_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    opened = open_array(
        ArraySpec("east-a", "east", "embedded", {"path": str(path), "capacity": 1 << 20, "latency": 0.0, "width": 4}),
        timeout=5,
    )
    own_id = opened.create()
    assert opened.state().capacity == 1 << 20
    # Whoever knows only the address finds the limit in the file.
    by_address = open_array(spec_at(f"embedded:{path}"), timeout=5).state()
    assert (by_address.own_id, by_address.capacity) == (own_id, 1 << 20)
    with pytest.raises(BadInput, match="driver ceph is not built yet"):
        open_array(ArraySpec("west-a", "west", "ceph"), timeout=5)
    for address in (
        "zfs:ssh://root@west",
        "zfs:root@west/tank",
        "zfs:ssh://west/-tank",
        "ceph:x",
        "nfs:/x",
        "embedded:",
        "east-a",
    ):
        with pytest.raises(BadInput, match="nothing was done"):
            spec_at(address)


def test_targets_are_absolute_paths_of_embedded_files() -> None:
    for target in ("embedded:a.db#v/l", "zfs:/a#v/l", "/a.db"):
        with pytest.raises(BadInput):
            connect(target, "east")
