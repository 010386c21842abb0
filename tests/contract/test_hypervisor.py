"""What any hypervisor driver must do: each sentence of dr_provider/hypervisors/base.py, for every driver.

A driver joins by a `Bench` of its own in `BENCHES`: it opens a host, makes LUNs that guests can use, and moves the thaw timer's clock.
DR_LAB=NAME (a lab that is up) brings in the libvirt driver with real guests.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from dr_provider.hypervisors.base import Hypervisor
from dr_provider.hypervisors.embedded import EmbeddedHost
from dr_provider.model import faults
from dr_provider.model.errors import BadInput, Busy, Conflict, HostFull, NotFound, NotReady, Unreachable
from dr_provider.model.records import Owner
from dr_provider.model.state import HostState, Reservation
from dr_provider.model.topology import HealthSpec, HostSpec
from dr_provider.model.vm import DiskAttachment, NicDefinition, VmDefinition
from tests.hypervisors.fakes import FakeArray, FakeClock
from tests.hypervisors.libvirt_fake_bench import FakeLibvirtBench

GIB = 1 << 30
LUN = 1 << 20
OWNER = Owner("shop-test", "dr/prod", "one")
AGENT = HealthSpec(tcp=None, agent=True, within=10.0)


class Bench(Protocol):
    """One host with 4 CPUs and 8 GiB, and storage for it.

    `fresh`: its driver makes hosts. `port`: one that every guest answers at. `nic`: a network card for it. `checks_disks`: a guest's health
    includes its LUNs as its host sees them; others find out only when they write.
    """

    fresh: bool
    port: HealthSpec
    nic: NicDefinition
    checks_disks: bool

    def prepare(self) -> None:
        """Nothing of an earlier test is left."""
        ...

    def booted(self, host: Hypervisor, name: str) -> None:
        """Wait until the guest of a VM that was started is up."""
        ...

    def open(self) -> Hypervisor: ...

    def disk(self, vm: str, role: str = "root") -> DiskAttachment:
        """A LUN that is mapped to the host, online and writable."""
        ...

    def unmap(self, disk: DiskAttachment) -> None: ...

    def later(self, seconds: float) -> None: ...

    def silence(self) -> None:
        """From now on the host answers nobody."""
        ...


class EmbeddedBench:
    fresh = True
    port = HealthSpec(tcp=5432, agent=False, within=10.0)
    nic = NicDefinition("br-prod", "02:00:00:00:00:01", "10.0.1.5/24")
    checks_disks = True

    def __init__(self, folder: Path) -> None:
        self.path = folder / "east-1.db"
        self.array = FakeArray()
        self.clock = FakeClock()
        self.spec = HostSpec(
            "east-1", "east", "embedded", options={"path": str(self.path), "cpus": 4, "memory": 8 * GIB}
        )

    def open(self) -> Hypervisor:
        return EmbeddedHost(self.spec, connect=self.array.connect, timeout=0.2, clock=self.clock)

    def disk(self, vm: str, role: str = "root") -> DiskAttachment:
        lun = f"{vm}.{role}"
        if ("shop", lun) not in self.array.luns:
            self.array.add("shop", lun, LUN, self.open().state().initiator)
        return DiskAttachment(role, "shop", lun, LUN, f"embedded:array.db#shop/{lun}")

    def unmap(self, disk: DiskAttachment) -> None:
        self.array.luns[disk.volume, disk.lun].mapped_to = None

    def later(self, seconds: float) -> None:
        self.clock.time += seconds

    def silence(self) -> None:
        faults.put(self.path, faults.Fault("host:east-1", "silent"))

    def prepare(self) -> None:
        pass

    def booted(self, host: Hypervisor, name: str) -> None:
        pass


BENCHES: dict[str, Callable[[Path], Bench]] = {"embedded": EmbeddedBench, "libvirt-fake": FakeLibvirtBench}
if os.environ.get("DR_LAB"):
    from tests.lab_stack.libvirt_bench import LibvirtBench

    BENCHES["libvirt"] = LibvirtBench
# A host in this process's memory is no other process's.
SHARED = sorted(set(BENCHES) - {"libvirt-fake"})


@pytest.fixture(params=sorted(BENCHES))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    made = BENCHES[request.param](tmp_path)
    made.prepare()
    yield made
    made.prepare()


@pytest.fixture
def host(bench: Bench) -> Iterator[Hypervisor]:
    opened = bench.open()
    opened.create()
    yield opened
    opened.close()


def vm_on(bench: Bench, name: str = "db", *, cpus: int = 1, memory: int = GIB, owner: Owner = OWNER) -> VmDefinition:
    disks = (bench.disk(name),)
    return VmDefinition(name, name, "shop", _uuid(name), cpus, memory, disks, (bench.nic,), owner)


def _uuid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def start(bench: Bench, host: Hypervisor, name: str = "db") -> None:
    """Start a VM and wait until its guest is up."""
    host.start(name)
    bench.booted(host, name)


def twice(host: Hypervisor, call: Callable[[], object]) -> HostState:
    """Do it, and do it again: the second time changes nothing."""
    call()
    once = host.state()
    call()
    assert host.state() == once
    return once


# -- the host ----------------------------------------------------------------------------------


def test_a_host_that_is_not_there_is_not_ready_and_may_be_made(bench: Bench) -> None:
    if not bench.fresh:
        pytest.skip("hosts of this driver are machines, which nobody makes by a call")
    host = bench.open()
    with pytest.raises(NotReady) as found:
        host.state()
    assert found.value.missing
    state = twice(host, host.create)
    assert (state.cpus, state.memory, state.vms, state.reservations) == (4, 8 * GIB, {}, ())
    assert state.initiator


def test_create_leaves_a_host_that_is_there_as_it_is(bench: Bench, host: Hypervisor) -> None:
    host.define(vm_on(bench))
    before = twice(host, host.create)
    assert set(before.vms) == {"db"}
    assert (before.cpus, before.memory) == (4, 8 * GIB)
    assert before.initiator


def test_two_openings_are_one_host(bench: Bench, host: Hypervisor) -> None:
    host.define(vm_on(bench))
    assert bench.open().state() == host.state()


def test_silence_is_unreachable_for_every_call(bench: Bench, host: Hypervisor) -> None:
    host.define(vm_on(bench))
    host.start("db")
    bench.silence()
    calls: list[Callable[[], object]] = [
        host.state,
        host.rescan,
        lambda: host.define(VmDefinition("new", "new", "shop", _uuid("new"), 1, GIB, (), (), OWNER)),
        lambda: host.undefine("db", OWNER),
        lambda: host.start("db"),
        lambda: host.stop("db"),
        lambda: host.freeze("db", thaw_after=1),
        lambda: host.thaw("db"),
        lambda: host.probe("db", AGENT),
        lambda: host.reserve("t", ()),
        lambda: host.release("t"),
    ]
    for call in calls:
        with pytest.raises(Unreachable):
            call()


def test_rescan_can_be_repeated(host: Hypervisor) -> None:
    twice(host, host.rescan)


# -- define and undefine -----------------------------------------------------------------------


def test_define_makes_a_vm_that_is_off(bench: Bench, host: Hypervisor) -> None:
    definition = vm_on(bench)
    state = twice(host, lambda: host.define(definition))
    assert (state.vms["db"].state, state.vms["db"].definition) == ("off", definition)


def test_define_replaces_what_the_same_topology_had_defined(bench: Bench, host: Hypervisor) -> None:
    host.define(vm_on(bench))
    changed = vm_on(bench, cpus=2, owner=replace(OWNER, stack="dr/other", incarnation="two"))
    assert twice(host, lambda: host.define(changed)).vms["db"].definition == changed


def test_define_refuses_to_change_a_running_vm_but_for_its_owner(bench: Bench, host: Hypervisor) -> None:
    host.define(vm_on(bench))
    host.start("db")
    host.define(vm_on(bench))
    with pytest.raises(Conflict, match="VM db: it runs on host east-1 with another definition"):
        host.define(vm_on(bench, cpus=2))
    adopted = vm_on(bench, owner=replace(OWNER, incarnation="two"))
    host.define(adopted)
    assert host.state().vms["db"].definition == adopted
    assert host.state().vms["db"].state == "running"


def test_define_refuses_another_topologys_vm(bench: Bench, host: Hypervisor) -> None:
    host.define(vm_on(bench))
    before = host.state()
    with pytest.raises(Conflict, match="belongs to topology shop-test"):
        host.define(vm_on(bench, owner=Owner("other", "dr/prod", "one")))
    assert host.state() == before


def test_define_refuses_what_is_larger_than_the_host(bench: Bench, host: Hypervisor) -> None:
    with pytest.raises(HostFull, match="5 CPUs"):
        host.define(vm_on(bench, cpus=5))
    with pytest.raises(HostFull, match="9 GiB"):
        host.define(vm_on(bench, memory=9 * GIB))
    assert host.state().vms == {}


@pytest.mark.parametrize("name", ["", "Db", "a b", "a;b", "../db", "a" * 121])
def test_define_refuses_names_outside_the_pattern(bench: Bench, host: Hypervisor, name: str) -> None:
    with pytest.raises(BadInput):
        host.define(replace(vm_on(bench), name=name))


def test_undefine_forgets_a_vm_once(bench: Bench, host: Hypervisor) -> None:
    host.define(vm_on(bench))
    assert host.undefine("db", OWNER) is True
    assert host.state().vms == {}
    assert host.undefine("db", OWNER) is False


@pytest.mark.parametrize("owner", [replace(OWNER, incarnation="old"), replace(OWNER, topology="other")])
def test_undefine_leaves_another_incarnations_vm_even_a_running_one(
    bench: Bench, host: Hypervisor, owner: Owner
) -> None:
    host.define(vm_on(bench))
    host.start("db")
    before = host.state()
    assert host.undefine("db", owner) is False
    assert host.state() == before


def test_undefine_refuses_a_running_vm(bench: Bench, host: Hypervisor) -> None:
    host.define(vm_on(bench))
    host.start("db")
    with pytest.raises(Busy, match="stop it before"):
        host.undefine("db", OWNER)


# -- start and stop ----------------------------------------------------------------------------


def test_start_and_stop(bench: Bench, host: Hypervisor) -> None:
    host.define(vm_on(bench))
    assert twice(host, lambda: host.start("db")).vms["db"].state == "running"
    bench.booted(host, "db")
    assert host.stop("db").how == "graceful"
    assert host.state().vms["db"].state == "off"
    assert host.stop("db").how == "was off"
    assert host.stop("nobody").how == "was off"
    host.start("db")
    assert host.stop("db", graceful=0).how == "hard"
    assert host.state().vms["db"].state == "off"


def test_start_of_what_is_not_defined(host: Hypervisor) -> None:
    with pytest.raises(NotFound, match="VM nobody"):
        host.start("nobody")


def test_start_needs_its_luns(bench: Bench, host: Hypervisor) -> None:
    definition = vm_on(bench)
    host.define(definition)
    bench.unmap(definition.disks[0])
    with pytest.raises(Conflict, match=r"VM db on host east-1: .*db\.root"):
        host.start("db")
    assert host.state().vms["db"].state == "off"


def test_start_needs_room_beside_what_runs(bench: Bench, host: Hypervisor) -> None:
    for name in ("a", "b"):
        host.define(vm_on(bench, name, cpus=3))
    host.start("a")
    with pytest.raises(HostFull, match="VM b wants 3 CPUs"):
        host.start("b")
    host.stop("a")
    host.start("b")


def test_start_needs_room_beside_reservations_of_others_and_uses_up_its_own(bench: Bench, host: Hypervisor) -> None:
    for name in ("a", "b"):
        host.define(vm_on(bench, name, cpus=3))
    host.reserve("move", [Reservation("move", "a", 3, GIB)])
    with pytest.raises(HostFull, match="reservations 3 CPUs"):
        host.start("b")
    host.start("a")
    assert host.state().reservations == ()


# -- reservations --------------------------------------------------------------------------------


def test_reserve_keeps_and_release_gives_back(host: Hypervisor) -> None:
    wanted = Reservation("move", "a", 2, GIB)
    assert twice(host, lambda: host.reserve("move", [wanted])).reservations == (wanted,)
    less = Reservation("move", "b", 1, GIB)
    assert twice(host, lambda: host.reserve("move", [less])).reservations == (less,)
    assert twice(host, lambda: host.release("move")).reservations == ()


def test_reserve_is_all_or_none_and_leaves_what_was_kept(host: Hypervisor) -> None:
    kept = Reservation("one", "a", 2, GIB)
    host.reserve("one", [kept])
    with pytest.raises(HostFull, match="nothing was reserved"):
        host.reserve("two", [Reservation("two", "b", 1, GIB), Reservation("two", "c", 2, GIB)])
    with pytest.raises(HostFull):
        host.reserve("one", [Reservation("one", "a", 5, GIB)])
    assert host.state().reservations == (kept,)


def test_a_vm_that_runs_needs_no_reservation(bench: Bench, host: Hypervisor) -> None:
    host.define(vm_on(bench, cpus=3))
    host.start("db")
    host.reserve("move", [Reservation("move", "db", 3, GIB), Reservation("move", "app", 1, GIB)])
    assert host.state().reservations == (Reservation("move", "app", 1, GIB),)


# -- freeze, thaw, probe -------------------------------------------------------------------------


def test_freeze_holds_until_thawed(bench: Bench, host: Hypervisor) -> None:
    host.define(vm_on(bench))
    start(bench, host)
    assert host.freeze("db", thaw_after=10).level == "application"
    assert host.state().vms["db"].frozen
    assert host.thaw("db") is True
    assert not host.state().vms["db"].frozen
    assert host.thaw("db") is False


def test_the_guest_thaws_by_itself_and_thaw_says_so(bench: Bench, host: Hypervisor) -> None:
    host.define(vm_on(bench))
    start(bench, host)
    host.freeze("db", thaw_after=10)
    bench.later(9)
    assert host.state().vms["db"].frozen
    bench.later(1.5)
    assert not host.state().vms["db"].frozen
    assert host.thaw("db") is False


def test_freeze_twice_holds_for_the_longer(bench: Bench, host: Hypervisor) -> None:
    host.define(vm_on(bench))
    start(bench, host)
    host.freeze("db", thaw_after=10)
    assert host.freeze("db", thaw_after=1).level == "application"
    bench.later(5)
    assert host.thaw("db") is True


def test_freeze_of_a_vm_that_is_off(bench: Bench, host: Hypervisor) -> None:
    host.define(vm_on(bench))
    assert host.freeze("db", thaw_after=10).level == "off"
    assert host.thaw("db") is False


def test_a_stop_ends_a_freeze(bench: Bench, host: Hypervisor) -> None:
    host.define(vm_on(bench))
    start(bench, host)
    host.freeze("db", thaw_after=10)
    host.stop("db")
    assert host.thaw("db") is False
    start(bench, host)
    assert not host.state().vms["db"].frozen


def test_freeze_of_what_is_not_defined(host: Hypervisor) -> None:
    with pytest.raises(NotFound):
        host.freeze("nobody", thaw_after=1)
    assert host.thaw("nobody") is False


def test_probe(bench: Bench, host: Hypervisor) -> None:
    assert not host.probe("db", AGENT).well
    definition = vm_on(bench)
    host.define(definition)
    assert not host.probe("db", AGENT).well
    start(bench, host)
    assert host.probe("db", AGENT).well
    assert host.probe("db", bench.port).well


def test_probe_tells_of_a_lost_lun(bench: Bench, host: Hypervisor) -> None:
    if not bench.checks_disks:
        pytest.skip("what a guest has mounted answers from its memory until it writes")
    definition = vm_on(bench)
    host.define(definition)
    start(bench, host)
    bench.unmap(definition.disks[0])
    found = host.probe("db", bench.port)
    assert not found.well
    assert "db.root" in found.detail


def test_probe_of_a_port_needs_a_network_card(bench: Bench, host: Hypervisor) -> None:
    host.define(replace(vm_on(bench), nics=()))
    host.start("db")
    assert "no network card" in host.probe("db", bench.port).detail


# -- several at once -----------------------------------------------------------------------------


def test_threads_never_share_room(bench: Bench, host: Hypervisor) -> None:
    names = [f"vm-{n}" for n in range(8)]
    for name in names:
        host.define(vm_on(bench, name))
    outcomes = list[str]()

    def attempt(name: str) -> None:
        try:
            host.start(name)
            outcomes.append("running")
        except HostFull:
            outcomes.append("full")

    threads = [threading.Thread(target=attempt, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["full"] * 4 + ["running"] * 4


def _reserve(driver: str, folder: Path, tag: str, gate: multiprocessing.synchronize.Barrier) -> None:
    host = BENCHES[driver](folder).open()
    gate.wait()
    try:
        host.reserve(tag, [Reservation(tag, tag, 3, GIB)])
    except HostFull:
        os._exit(3)
    os._exit(0)


@pytest.mark.parametrize("driver", SHARED)
def test_processes_never_share_room(driver: str, tmp_path: Path) -> None:
    bench = BENCHES[driver](tmp_path)
    bench.prepare()
    host = bench.open()
    host.create()
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(4)
    racers = [context.Process(target=_reserve, args=(driver, tmp_path, f"t{n}", gate)) for n in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert sorted(racer.exitcode or 0 for racer in racers) == [0, 3, 3, 3]
    assert len(host.state().reservations) == 1


def _churn(driver: str, folder: Path, ready: multiprocessing.synchronize.Event) -> None:
    host = BENCHES[driver](folder).open()
    count = 0
    while True:
        host.reserve("churn", [Reservation("churn", f"a{count}", 1, GIB), Reservation("churn", f"b{count}", 1, GIB)])
        name = f"vm-{count % 50}"
        host.define(VmDefinition(name, "vm", "shop", _uuid(name), 1, GIB, (), (), OWNER))
        count += 1
        if count == 20:
            ready.set()


@pytest.mark.parametrize("driver", SHARED)
def test_a_killed_process_leaves_a_whole_host(driver: str, tmp_path: Path) -> None:
    bench = BENCHES[driver](tmp_path)
    bench.prepare()
    host = bench.open()
    host.create()
    context = multiprocessing.get_context("spawn")
    for _ in range(3):
        ready = context.Event()
        victim = context.Process(target=_churn, args=(driver, tmp_path, ready))
        victim.start()
        assert ready.wait(60)
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
        state = host.state()
        assert len(state.reservations) == 2
        assert len({kept.vm[1:] for kept in state.reservations}) == 1
    host.release("churn")
    assert BENCHES[driver](tmp_path).open().state().reservations == ()
    bench.prepare()


# -- what it has ---------------------------------------------------------------------------------


def test_the_inventory_names_every_vm_with_its_disks_and_whose_it_is(bench: Bench, host: Hypervisor) -> None:
    made = vm_on(bench)
    host.define(made)
    (found,) = (vm for vm in host.inventory() if vm.name == "db")
    assert (found.topology, found.plan, found.vm, found.running) == (OWNER.topology, "shop", "db", False)
    assert (found.cpus, found.memory) == (made.cpus, made.memory)
    (disk,) = made.disks
    assert [(each.name, each.source, each.size) for each in found.disks] == [(disk.role, disk.target, disk.size)]
    assert [(each.network, each.mac) for each in found.nics] == [(bench.nic.bridge, bench.nic.mac)]
