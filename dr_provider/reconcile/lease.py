"""One reconciler at a time per plan.

Invariant: a lease is a number n. It is held only while ours is the highest on all that answers; every changing call carries n, and the
array refuses it once a higher one is there (Guard). Records are made by create-if-absent in the fixed order of the plan's arrays, so two
who race meet at the first array.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from dr_provider.model import keys
from dr_provider.model.codec import dump, load_all
from dr_provider.model.errors import ArrayFull, DeviceFault, DrError, LeaseHeld, LeaseLost, NotReady, Unreachable
from dr_provider.model.records import Guard, Lease
from dr_provider.model.state import ArrayState
from dr_provider.protection.fleet import Fleet
from dr_provider.reconcile.callouts import waiting
from dr_provider.reconcile.world import World

__all__ = [
    "FRESH",
    "TTL",
    "HeldLease",
    "Machine",
    "held_now",
    "hold_lease",
    "left_behind",
    "this_machine",
    "wait_for_lease",
]

FRESH = 1.0
"""Seconds for which a lease that has just been seen to hold is taken to hold by calls that no array checks."""
TTL = 30.0
"""Seconds that a heartbeat may stand still, on the observer's own monotonic clock, before its lease is expired."""
_AGAIN = 0.2


@dataclass(frozen=True)
class Machine:
    """This process as lease records name it, and how it judges and waits; a test passes its own."""

    boot: str
    pid: int
    start: float
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def alive(self, pid: int, start: float) -> bool:
        """Whether the process of that pid and start time is there."""
        try:
            return abs(psutil.Process(pid).create_time() - start) < 2.0
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True


def this_machine() -> Machine:
    boot = Path("/proc/sys/kernel/random/boot_id")
    boot_id = boot.read_text().strip() if boot.exists() else f"{socket.gethostname()}-{psutil.boot_time():.0f}"
    # Two containers on one machine share the boot id, not the process table: the pid namespace tells them apart.
    space = Path("/proc/self/ns/pid")
    if space.exists():
        boot_id += f"-{space.stat().st_ino}"
    return Machine(boot_id, os.getpid(), psutil.Process().create_time())


@dataclass
class HeldLease:
    """A lease that this process holds. `guard` goes with every changing call on an array."""

    record: Lease
    guard: Guard
    arrays: tuple[str, ...]
    key: str
    fleet: Fleet
    clock: Callable[[], float] = time.monotonic
    lost: LeaseLost | None = None
    after: Lease | None = None
    """The lease that was never released: its holder ended in the middle of its work."""
    _seen: float | None = None
    _verifying: threading.Lock = field(default_factory=threading.Lock)

    def check(self) -> None:
        """Raise LeaseLost once any array has refused a heartbeat."""
        if self.lost is not None:
            raise self.lost

    def verify(self) -> None:
        """Ask the arrays whether the lease still holds, where that was not seen within the last second: before a call that no array checks,
        such as stopping a VM. A runner that was paused learns here that it was overtaken. Raises LeaseLost."""
        with self._verifying:
            if self._seen is None or self.clock() - self._seen >= FRESH:
                self.put(self.record)
        self.check()

    def put(self, record: Lease) -> None:
        """Write the record to every array that answers; a refusal is remembered as the loss of the lease."""
        sent = self.clock()
        for name in self.arrays:
            try:
                self.fleet.array(name).put_record(self.key, dump(record), self.guard)
                self._seen = sent
            except LeaseLost as error:
                self.lost = error
            except (Unreachable, NotReady, DeviceFault, ArrayFull):
                continue  # the next heartbeat is there in time


def _highest(topology: str, plan: str, states: Mapping[str, ArrayState]) -> Lease | None:
    """The lease with the highest n on any array; where several arrays hold it, with the highest beat or a release."""
    found = [
        lease
        for name, state in states.items()
        for lease in load_all(Lease, state.records, keys.lease_prefix(topology, plan), f"array {name}").values()
    ]
    return max(found, key=lambda lease: (lease.n, lease.released, lease.beat), default=None)


def _states(world: World, arrays: tuple[str, ...], *, younger: float = 0.0) -> dict[str, ArrayState]:
    seen = world.look(younger=younger)
    return {name: state for name in arrays if (state := seen.array(name)) is not None}


def left_behind(leases: Iterable[Lease]) -> Lease | None:
    """The newest lease, if a process of this machine left it and is dead; None: released, or its holder lives or cannot be asked."""
    last = max(leases, key=lambda lease: (lease.n, lease.released), default=None)
    machine = this_machine()
    if last is None or last.released or last.boot != machine.boot or last.pid == machine.pid:
        return None
    return None if machine.alive(last.pid, last.start) else last


def held_now(leases: Iterable[Lease]) -> Lease | None:
    """The lease that is held, as far as one look tells: a holder on another machine counts as living."""
    known = list(leases)
    last = max(known, key=lambda lease: (lease.n, lease.released), default=None)
    return None if last is None or last.released or left_behind(known) is not None else last


def _says(lease: Lease) -> str:
    return f"{lease.holder} (process {lease.pid}, since {lease.since}, doing: {lease.doing})"


def _asked(world: World, plan: str) -> str:
    """What the holder may be waiting for."""
    return "".join(
        f"prompt {name} waits for an answer (dr answer {plan} {name} --continue, or --stop); "
        for _, name, _ in waiting(world.view(plan))
    )


def _wait_out(world: World, plan: str, arrays: tuple[str, ...], lease: Lease, machine: Machine) -> Lease | None:
    """What is left to respect of a lease that is not released: raises LeaseHeld while its holder lives."""
    if lease.boot == machine.boot:
        if lease.pid == machine.pid or machine.alive(lease.pid, lease.start):
            raise LeaseHeld(
                f"plan {plan}: the lease is held by {_says(lease)}; {_asked(world, plan)}wait for it to end, or end that process and run again"
            )
        return lease
    # Another machine: its process cannot be asked, so its heartbeat is watched.
    world.progress(f"plan {plan}: a lease of {_says(lease)} is on record; watching its heartbeat for {TTL:g} s")
    until = machine.monotonic() + TTL
    while machine.monotonic() < until:
        machine.sleep(min(2.0, TTL / 10))
        now = _highest(world.topology.name, plan, _states(world, arrays))
        if now is None or now.released or now.n != lease.n:
            return now
        if now.beat != lease.beat:
            raise LeaseHeld(
                f"plan {plan}: the lease is held by {_says(now)}, and its heartbeat goes on; {_asked(world, plan)}wait for it to end"
            )
    return lease


@contextmanager
def hold_lease(
    world: World,
    plan: str,
    doing: str,
    *,
    machine: Machine | None = None,
    beat_every: float = TTL / 6,
    younger: float = 0.0,
) -> Iterator[HeldLease]:
    """Hold the plan's lease on every array of it that answers; released at the end, however that comes.

    Raises LeaseHeld (another works on the plan), Unreachable (no array of the plan answers). Looks anew at all that answers before, where
    the last look is not `younger` than so many seconds: what another has done under a lease since then makes this one's number refused.
    """
    machine = machine or this_machine()
    topology, fleet = world.topology.name, world.fleet
    arrays = world.topology.plan_arrays(plan)
    states = _states(world, arrays, younger=younger)
    if not states:
        reasons = "; ".join(str(getattr(world.look().arrays[a], "reason", "")) for a in arrays)
        raise Unreachable(f"plan {plan}: none of its arrays answers ({reasons}); nothing was done")
    last = _highest(topology, plan, states)
    while last is not None and not last.released:
        after = _wait_out(world, plan, arrays, last, machine)
        if after is None or after == last or after.released:
            last = after or last
            break
        last = after
    number = (last.n if last else 0) + 1
    lease = Lease(plan, number, world.by, machine.boot, machine.pid, machine.start, 0, keys.stamp(keys.now()), doing)
    held = HeldLease(
        lease,
        Guard(lease_prefix=keys.lease_prefix(topology, plan), lease=number),
        tuple(states),
        keys.lease_key(topology, plan, number),
        fleet,
        machine.monotonic,
    )
    held.after = last if last is not None and not last.released else None
    _take(held, states, plan)
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(held, states, stop, beat_every), name=f"lease-{plan}", daemon=True)
    beat.start()
    try:
        yield held
    finally:
        stop.set()
        beat.join()
        held.put(replace(held.record, released=True))


@contextmanager
def wait_for_lease(world: World, plan: str, doing: str, *, patience: float = 60.0) -> Iterator[HeldLease]:
    """As `hold_lease`; a backup or another short piece of work that holds it is waited for, `patience` seconds at most. A move is not."""
    until = world.monotonic() + patience
    with ExitStack() as stack:
        while True:
            try:
                lease = stack.enter_context(hold_lease(world, plan, doing))
                break
            except LeaseHeld:
                if world.monotonic() >= until or world.view(plan).claim is not None:
                    raise
                world.sleep(_AGAIN)
        yield lease


def _take(held: HeldLease, states: Mapping[str, ArrayState], plan: str) -> None:
    """Create the record on every array, in order; the loser of a race takes back what it made."""
    made: list[str] = []
    for name in held.arrays:
        try:
            created = held.fleet.array(name).create_record(held.key, dump(held.record))
        except (Unreachable, NotReady):
            continue
        except DrError:
            _take_back(held, made)
            raise
        if not created:
            _take_back(held, made)
            text = held.fleet.array(name).read_record(held.key)
            raise LeaseHeld(
                f"plan {plan}: another reconciler took the lease at the same moment ({text}); run again after it"
            )
        made.append(name)
    if not made:
        raise Unreachable(f"plan {plan}: every array of it fell silent while the lease was taken; nothing was done")
    held.arrays = tuple(made)


def _forget_past(held: HeldLease, states: Mapping[str, ArrayState]) -> None:
    """Numbers that are past say nothing any more; nobody waits for their going."""
    for name in held.arrays:
        for key in states[name].records:
            if key.startswith(str(held.guard.lease_prefix)) and key < held.key:
                try:
                    held.fleet.array(name).delete_record(key, held.guard)
                except LeaseLost as error:
                    held.lost = error
                except (Unreachable, NotReady, DeviceFault, ArrayFull):
                    continue


def _take_back(held: HeldLease, made: list[str]) -> None:
    for name in made:
        held.fleet.array(name).delete_record(held.key)


def _beat(held: HeldLease, states: Mapping[str, ArrayState], stop: threading.Event, every: float) -> None:
    _forget_past(held, states)
    while not stop.wait(every):
        held.record = replace(held.record, beat=held.record.beat + 1)
        held.put(held.record)
