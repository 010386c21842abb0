"""What the libvirt driver does beyond what the contract asks of every driver."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from dr_provider.hypervisors.libvirt.book import Book, Page, Start
from dr_provider.hypervisors.libvirt.link import Work
from dr_provider.model.errors import Conflict, DeviceFault, HostFull, NotFound
from dr_provider.model.records import Owner
from dr_provider.model.state import Reservation
from dr_provider.model.topology import HealthSpec
from dr_provider.model.vm import NicDefinition
from tests.hypervisors.fake_libvirt import CODES, FakeError, FakeGuest, FakeHost, modules
from tests.hypervisors.libvirt_fake_bench import GIB, OWNER, FakeLibvirtBench, vm

AGENT = HealthSpec(tcp=None, agent=True, within=10.0)


@pytest.fixture
def bench() -> FakeLibvirtBench:
    return FakeLibvirtBench()


# -- what is not ours ----------------------------------------------------------------------------


def _foreign(bench: FakeLibvirtBench, name: str, cpus: int = 1) -> None:
    bench.libvirt.defineXMLFlags(
        f"<domain><name>{name}</name><uuid>{vm(name + '-x').uuid}</uuid><metadata/><memory>{GIB}</memory><vcpu>{cpus}</vcpu></domain>",
        0,
    )


def test_anothers_domain_is_not_listed_never_touched_and_takes_its_room(bench: FakeLibvirtBench) -> None:
    host = bench.open()
    _foreign(bench, "db", 3)
    theirs = bench.libvirt.domains["db"]
    with pytest.raises(Conflict, match="VM db: host east-1 has a VM of that name which was not made by this program"):
        host.define(vm("db"))
    assert host.undefine("db", OWNER) is False
    with pytest.raises(NotFound):
        host.start("db")
    theirs.createWithFlags(0)
    assert host.stop("db").how == "was off"
    assert theirs.isActive()
    state = host.state()
    assert (state.vms, state.cpus, state.memory) == ({}, 1, 7 * GIB)
    host.define(vm("app", cpus=2))
    with pytest.raises(HostFull, match="running VMs take 3 CPUs"):
        host.start("app")


def test_a_copy_that_somebody_made_of_ours_is_theirs(bench: FakeLibvirtBench) -> None:
    host = bench.open()
    host.define(vm("db"))
    text = (bench.libvirt.domains["db"].config or "").replace("<name>db</name>", "<name>db-clone</name>")
    bench.libvirt.defineXMLFlags(text.replace(vm("db").uuid, vm("other").uuid), 0)
    assert set(host.state().vms) == {"db"}


def test_another_domain_with_the_uuid_is_named(bench: FakeLibvirtBench) -> None:
    host = bench.open()
    host.define(vm("db"))
    with pytest.raises(Conflict, match=r"VM app: host east-1 has another VM with the same uuid.*'db'"):
        host.define(vm("app", uuid=vm("db").uuid))


# -- definitions -----------------------------------------------------------------------------------


def test_one_whose_host_changed_is_defined_anew_when_it_is_off(bench: FakeLibvirtBench) -> None:
    bench.open().define(vm("db"))
    before = bench.libvirt.domains["db"].config
    bench.libvirt.kvm = True
    bench.open().define(vm("db"))
    after = bench.libvirt.domains["db"].config
    assert before is not None
    assert after is not None
    assert (ET.fromstring(before).get("type"), ET.fromstring(after).get("type")) == ("qemu", "kvm")


def test_the_cpu_is_the_best_portable_one_that_the_host_has(bench: FakeLibvirtBench) -> None:
    bench.open().define(vm("db"))
    assert ET.fromstring(bench.libvirt.domains["db"].current).findtext("cpu/model") == "Nehalem"


def test_a_running_vm_whose_definition_was_taken_away_is_seen_and_gets_it_back(bench: FakeLibvirtBench) -> None:
    host = bench.open()
    host.define(vm("db"))
    host.start("db")
    bench.libvirt.domains["db"].undefineFlags(0)
    assert host.state().vms["db"].state == "running"
    host.define(vm("db"))
    assert bench.libvirt.domains["db"].isPersistent()


def test_undefine_takes_along_what_libvirt_keeps_with_a_domain(bench: FakeLibvirtBench) -> None:
    host = bench.open()
    host.define(vm("db"))
    assert host.undefine("db", OWNER)
    assert bench.libvirt.undefined == [("db", 1 | 2 | 4 | 16)]


# -- states ----------------------------------------------------------------------------------------


def test_a_crashed_vm_is_failed_and_one_that_stands_still_is_never_taken_for_off(bench: FakeLibvirtBench) -> None:
    host = bench.open()
    host.define(vm("db"))
    host.start("db")
    domain = bench.libvirt.domains["db"]
    domain.status = (CODES["VIR_DOMAIN_PAUSED"], CODES["VIR_DOMAIN_PAUSED_IOERROR"])
    found = host.state().vms["db"]
    assert found.state == "running"
    assert "a disk of it gave an error" in found.detail
    assert "a disk of it gave an error" in host.probe("db", AGENT).detail
    assert host.freeze("db", thaw_after=5).level == "crash"
    domain.off(CODES["VIR_DOMAIN_SHUTOFF_CRASHED"])
    found = host.state().vms["db"]
    assert (found.state, found.detail) == ("failed", "its QEMU or its guest crashed")


def test_a_paused_vm_is_ended_hard_at_once(bench: FakeLibvirtBench) -> None:
    host = bench.open()
    host.define(vm("db"))
    host.start("db")
    bench.libvirt.domains["db"].status = (CODES["VIR_DOMAIN_PAUSED"], CODES["VIR_DOMAIN_PAUSED_USER"])
    assert host.stop("db").how == "hard"


# -- starts ----------------------------------------------------------------------------------------


def test_a_password_is_there_for_the_start_and_gone_afterwards(bench: FakeLibvirtBench, tmp_path: Path) -> None:
    secret = tmp_path / "chap"
    secret.write_text("hunter2secret\n")
    disk = bench.disk("db")
    target = disk.target.replace("iscsi://", "iscsi://dr@") + f"?secret=file:{secret}"
    host = bench.open()
    host.define(vm("db", disks=(replace(disk, target=target),)))
    host.start("db")
    assert bench.libvirt.passwords == [("dr-provider:chap:db:root", b"hunter2secret")]
    assert {kind for kind, _ in bench.libvirt.secrets} == {"tls"}
    kept = bench.libvirt.domains["db"].current + "".join(s.xml for s in bench.libvirt.secrets.values())
    assert "hunter2" not in kept


def test_the_lun_that_cannot_be_opened_is_named_and_no_other(bench: FakeLibvirtBench) -> None:
    host = bench.open()
    disks = (bench.disk("db", "data"), bench.disk("db", "data2"))
    host.define(vm("db", disks=disks))
    bench.unmap(disks[1])
    with pytest.raises(Conflict) as found:
        host.start("db")
    assert "VM db on host east-1: LUN shop/db.data2 cannot be opened" in str(found.value)
    assert str(found.value).endswith("iSCSI: Failed to connect to LUN : Failed to log in to target")


def test_a_start_that_fails_for_another_reason_names_no_lun_and_gives_its_room_back(
    bench: FakeLibvirtBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = bench.open()
    host.define(vm("db", cpus=4, disks=(bench.disk("db"),)))

    def refuse(*_words: object) -> None:
        raise FakeError("VIR_ERR_INTERNAL_ERROR", "Cannot get interface MTU on 'br-prod': No such device")

    with monkeypatch.context() as patch:
        patch.setattr(bench.libvirt, "started", refuse)
        with pytest.raises(DeviceFault, match="VM db on host east-1 could not be started: Cannot get interface MTU"):
            host.start("db")
    host.reserve("move", [Reservation("move", "app", 4, GIB)])


# -- the book --------------------------------------------------------------------------------------


def _work(libvirt: FakeHost) -> Work:
    loaded = modules(libvirt)("")
    return Work(libvirt, loaded.libvirt, loaded.qemu, "host east-1", float("inf"))


def test_a_change_that_lost_the_race_is_made_again_on_the_new_page() -> None:
    libvirt, book = FakeHost(), Book("host east-1")
    others = iter(["first"])

    def race() -> None:
        for tag in others:
            Book("host east-1").change(_work(libvirt), lambda page, tag=tag: _with(page, tag))  # type: ignore[misc]

    libvirt.before_secret = race
    book.change(_work(libvirt), lambda page: _with(page, "second"))
    assert [kept.tag for kept in book.read(_work(libvirt)).kept] == ["first", "second"]
    assert len(libvirt.secrets) == 1


def test_a_page_made_of_one_that_is_long_gone_does_not_count() -> None:
    libvirt, book = FakeHost(), Book("host east-1")
    others = iter(["a", "b", "c"])

    def race() -> None:
        if (tag := next(others, None)) is not None:
            Book("host east-1").change(_work(libvirt), lambda p: _with(p, tag))

    libvirt.before_secret = race
    book.change(_work(libvirt), lambda page: _with(page, "mine"))
    assert sorted(kept.tag for kept in book.read(_work(libvirt)).kept) == ["a", "b", "c", "mine"]
    assert len(libvirt.secrets) == 1


def test_a_start_that_stood_still_for_long_gives_its_room_back() -> None:
    libvirt, now = FakeHost(), [0.0]
    book = Book("host east-1", clock=lambda: now[0])
    book.change(_work(libvirt), lambda page: Page(page.kept, (Start("db", 1, GIB, "killed"),)))
    seen = list[int]()
    for moment in (1.0, 100.0, 130.0):
        now[0] = moment
        book.change(
            _work(libvirt), lambda page: replace(page, kept=(Reservation(f"{now[0]}", f"{len(page.starts)}", 1, GIB),))
        )
        seen.append(len(book.read(_work(libvirt)).starts))
    assert seen == [1, 1, 0]


def _with(page: Page, tag: str) -> Page:
    return Page((*page.kept, Reservation(tag, tag, 1, GIB)), page.starts)


# -- guests ----------------------------------------------------------------------------------------


def _frozen_bench(**guest: object) -> tuple[FakeLibvirtBench, FakeGuest]:
    bench = FakeLibvirtBench()
    bench.libvirt.new_guest = lambda: FakeGuest(**guest)  # type: ignore[arg-type]
    host = bench.open()
    host.define(vm("db"))
    host.start("db")
    return bench, bench.libvirt.domains["db"].guest


def test_the_watchdog_stands_before_the_freeze_and_goes_with_the_thaw() -> None:
    bench, guest = _frozen_bench()
    seen = list[int]()
    guest.on_freeze = lambda: seen.append(len(guest.processes))
    host = bench.open()
    assert host.freeze("db", thaw_after=10).level == "application"
    assert seen == [1]
    assert host.thaw("db") is True
    assert guest.processes == {}


def test_what_another_process_froze_is_thawed_and_proved() -> None:
    bench, guest = _frozen_bench()
    bench.open().freeze("db", thaw_after=10)
    another = bench.open()
    assert another.state().vms["db"].frozen
    assert another.thaw("db") is True
    assert guest.frozen == 0


def test_some_file_systems_thawed_by_another_are_no_proof() -> None:
    bench, guest = _frozen_bench()
    host = bench.open()
    host.freeze("db", thaw_after=10)
    guest.frozen = 1
    assert host.thaw("db") is False


@pytest.mark.parametrize(
    ("guest", "reason"),
    [
        ({"agent": False}, "does not answer"),
        ({"refuses": frozenset({"guest-fsfreeze-freeze"})}, "does not do guest-fsfreeze-freeze"),
        ({"filesystems": 0}, "no file system"),
        ({"believes": True, "frozen": 2}, "by somebody else"),
    ],
)
def test_a_guest_that_cannot_be_frozen_is_at_crash_level_with_the_reason(guest: dict[str, object], reason: str) -> None:
    bench, inside = _frozen_bench(**guest)
    report = bench.open().freeze("db", thaw_after=10)
    assert report.level == "crash"
    assert reason in report.reason
    assert not bench.open().state().vms["db"].frozen
    assert inside.processes == {}


def test_a_freeze_that_is_over_is_settled_before_the_next() -> None:
    bench, guest = _frozen_bench()
    host = bench.open()
    host.freeze("db", thaw_after=10)
    bench.later(11)
    assert guest.frozen == 0
    assert guest.believes
    assert host.freeze("db", thaw_after=10).level == "application"
    assert host.thaw("db") is True


def test_where_the_guest_can_have_no_watchdog_one_is_started_here(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, guest = _frozen_bench(refuses=frozenset({"guest-exec"}))
    started = list[tuple[str, str, float]]()
    monkeypatch.setattr(
        "dr_provider.hypervisors.libvirt.watcher.watch",
        lambda _spec, _timeout, vm, token, seconds: started.append((vm, token, seconds)),
    )
    host = bench.open()
    assert host.freeze("db", thaw_after=9.5).level == "application"
    ((name, token, seconds),) = started
    assert (name, seconds) == ("db", 10.0)
    assert host.thaw_freeze("db", "another") is False  # type: ignore[attr-defined]
    assert guest.frozen == 2
    assert host.thaw_freeze("db", token) is True  # type: ignore[attr-defined]
    assert guest.frozen == 0


def test_a_thaw_that_cannot_be_checked_is_an_error_and_not_silence_of_the_host() -> None:
    bench, guest = _frozen_bench()
    host = bench.open()
    host.freeze("db", thaw_after=10)
    guest.agent = False
    with pytest.raises(DeviceFault, match="VM db: it could not be thawed: its guest agent does not answer"):
        host.thaw("db")


def test_a_frozen_guest_is_thawed_before_it_is_asked_to_stop() -> None:
    bench, _ = _frozen_bench()
    host = bench.open()
    host.freeze("db", thaw_after=10)
    assert host.stop("db", graceful=5).how == "graceful"


def test_a_guest_that_does_not_go_is_ended() -> None:
    bench, guest = _frozen_bench(shuts_down=False)
    assert bench.open().stop("db", graceful=0.3).how == "hard"
    assert "guest-shutdown" in guest.commands


def test_addresses_are_set_once_and_only_where_they_differ(bench: FakeLibvirtBench) -> None:
    host = bench.open()
    host.define(
        vm("db", nics=(NicDefinition("br-prod", "02:00:00:00:00:01", "10.0.1.5/24", "10.0.1.1", ("10.0.1.2",)),))
    )
    host.start("db")
    guest = bench.libvirt.domains["db"].guest
    for _ in range(2):
        assert host.probe("db", AGENT).well
    assert guest.addresses == [("10.0.1.5", 24)]
    assert guest.commands.count("guest-exec") == 1
    another = bench.open()
    assert another.probe("db", AGENT).well
    assert guest.commands.count("guest-exec") == 1


def test_an_address_that_cannot_be_set_is_said(bench: FakeLibvirtBench) -> None:
    bench.libvirt.new_guest = lambda: FakeGuest(refuses=frozenset({"guest-exec"}))
    host = bench.open()
    host.define(vm("db", nics=(NicDefinition("br-prod", "02:00:00:00:00:01", "10.0.1.5/24"),)))
    host.start("db")
    found = host.probe("db", AGENT)
    assert not found.well
    assert "does not do guest-exec" in found.detail


@pytest.mark.parametrize(
    ("line", "well"),
    [
        ("0: 00000000:1538 00000000:0000 0A", True),
        ("0: 0500000A:1538 00000000:0000 0A", True),
        ("0: 0100007F:1538 00000000:0000 0A", False),
        ("0: 00000000:1538 00000000:0000 01", False),
        ("0: 00000000:1539 00000000:0000 0A", False),
        ("0: 00000000000000000000000000000000:1538 00000000000000000000000000000000:0000 0A", True),
        ("0: 00000000000000000000000001000000:1538 00000000000000000000000000000000:0000 0A", False),
        ("0: 0000000000000000FFFF00000100007F:1538 00000000000000000000000000000000:0000 0A", False),
    ],
)
def test_what_listens_in_the_guest_is_read_from_its_kernel(bench: FakeLibvirtBench, line: str, well: bool) -> None:
    bench.libvirt.tcp = f"  sl  local_address rem_address   st\n  {line}\n"
    host = bench.open()
    host.define(vm("db", nics=(NicDefinition("br-prod", "02:00:00:00:00:01"),)))
    host.start("db")
    assert host.probe("db", HealthSpec(tcp=5432, agent=False, within=1.0)).well is well


def test_another_topologys_vms_are_listed_with_their_owner(bench: FakeLibvirtBench) -> None:
    host = bench.open()
    other = vm("theirs", owner=Owner("other", "", "x"))
    host.define(other)
    assert host.state().vms["theirs"].definition == other
