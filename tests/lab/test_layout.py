"""Names, archives, the topology file and the refusals: what of the lab needs neither root nor Debian."""

from __future__ import annotations

import gzip
import os
import subprocess
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from dr_provider.model.loader import load
from lab import folder, needs, topology
from lab.__main__ import main
from lab.cpio import Entry, archive
from lab.layout import LabError, Names, specs
from lab.machines import Lab
from lab.power import Process


def test_names_of_links_fit_in_the_kernels_fifteen_letters() -> None:
    names = Names(Path("/somewhere/lab"), 99)
    assert max(len(names.veth(spec)) for spec in specs()) <= 15


def test_no_two_machines_of_two_labs_share_an_address_a_mac_or_a_uuid() -> None:
    labs = [Names(Path(f"/somewhere/lab{k}"), k) for k in (0, 1)]
    for told in (Names.address, Names.mac, Names.uuid):
        assert len({told(names, spec) for names in labs for spec in specs()}) == 2 * len(specs())
    assert labs[0].bridge_mac != labs[1].bridge_mac


def test_the_topology_file_is_a_good_one_and_always_the_same(tmp_path: Path) -> None:
    names = Names(tmp_path / "one", 3)
    names.guest.mkdir(parents=True)
    (names.guest / "ledger.img").write_bytes(bytes(1024))
    topology.write(names)
    first = (names.folder / "lab.yaml").read_bytes()
    topology.write(names)
    assert (names.folder / "lab.yaml").read_bytes() == first
    read = load(names.folder / "lab.yaml")
    assert len(read.plans[topology.PLAN].members) == 6
    assert len(read.volumes) == 3
    assert {host.site for host in read.hosts.values()} == {"east", "west"}


def test_the_kernels_archive_is_read_back_by_another_program(tmp_path: Path) -> None:
    tree = {
        "bin/sh": Entry.file(b"#!", executable=True),
        "sbin": Entry.link("bin"),
        "etc/deep/er/file": Entry.file(b"text"),
    }
    data = gzip.decompress(archive(tree))
    assert archive(tree) == archive(dict(tree))
    assert data.startswith(b"070701")
    assert b"TRAILER!!!" in data
    try:
        done = subprocess.run(["busybox", "cpio", "-id"], input=data, cwd=tmp_path, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no busybox here, which unpacks the archive: install busybox")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "etc/deep/er/file").read_bytes() == b"text"
    assert os.access(tmp_path / "bin/sh", os.X_OK)
    assert os.readlink(tmp_path / "sbin") == "bin"  # noqa: PTH115


@pytest.mark.parametrize("name", ["Lab", "-x", "a b", "a" * 32])
def test_a_name_that_would_not_fit_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(LabError):
        folder.place(tmp_path / name)


def test_there_is_no_lab_until_one_is_made(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="python -m lab up --name quiet"):
        Lab.find("quiet", base=tmp_path)
    assert Lab.down("quiet", base=tmp_path) is False


def _hold(path: Path, ready: Event, release: Event) -> None:
    with folder.held(path, make=True) as place:
        ready.set()
        release.wait(30)
        folder.remove(place)


def test_who_waited_for_a_folder_that_was_removed_gets_a_new_one(tmp_path: Path) -> None:
    context = get_context("spawn")
    ready, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "base" / "one", ready, release))
    other.start()
    assert ready.wait(30)
    release.set()
    with folder.held(tmp_path / "base" / "one", make=True) as place:
        other.join(30)
        assert place.is_dir()
    assert other.exitcode == 0


def test_only_the_very_process_that_was_recorded_is_ended() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        found = Process.of(child.pid)
        assert found is not None
        Process(found.pid, found.started + 1).kill()
        assert child.poll() is None
        assert found.alive
        found.kill()
        assert child.wait(10) == -9
        assert not found.alive
    finally:
        child.kill()
        child.wait()


def test_nobody_but_root_is_let_in(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    for words in (["packages"], ["up"], ["down"], ["lose", "east"]):
        assert main(words) == 1
        said = capsys.readouterr().err
        assert said.startswith("lab: ")
        assert "root" in said
        assert len(said.splitlines()) == 1


def test_a_machine_that_is_not_debian_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(LabError, match="on aarch64: use a Debian machine"):
        needs.check()


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(needs, "_check_debian", lambda: None)
    monkeypatch.setattr(needs, "_missing", lambda: ["a-package-that-nobody-made"])
    for device in ("/dev/fuse", "/dev/net/tun"):
        if not Path(device).exists():
            pytest.skip(
                f"there is no {device} here, as a lab needs it: load its kernel module, or let the container have it"
            )
    with pytest.raises(LabError, match=r"lacks a-package-that-nobody-made; `make lab`"):
        needs.check()
