"""The lab's machines as tests want them: as new, starved of room or of bandwidth, and asked what they do behind the product's back."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from lab.machines import Lab, Machine
from lab.run import run, wait_for

__all__ = ["disk_file", "exports", "fresh", "full_pool", "hosts", "received", "running", "slow", "unclean", "wait"]

T = TypeVar("T")
PATIENCE = 90.0
"""Seconds after which a condition is taken never to come true; guests boot without KVM, two at once on two cores."""


def wait(what: str, check: Callable[[], T | None], within: float = PATIENCE) -> T:
    """The first value of `check` that is neither None nor False; fails with what was waited for."""
    return wait_for(check, within=within, otherwise=lambda: f"waited {within:.0f} s for {what}", poll=0.1)


# -- as new -------------------------------------------------------------------------------------


def fresh(lab: Lab) -> None:
    """Every machine as it was when the lab was made: switched off, emptied, switched on. Host keys and addresses stay."""
    machines = list(lab.machines.values())
    for machine in machines:
        machine.set_cut(())
    with ThreadPoolExecutor(len(machines)) as pool:
        list(pool.map(_renew, machines))


def _renew(machine: Machine) -> None:
    machine.kill()
    if machine.role == "array":
        for path in (*(machine.folder / "disk").iterdir(), *(machine.folder / "var-lib-zfs").iterdir()):
            path.unlink()
    else:
        # What QEMU can do stays known: asking it anew takes longer than all else.
        for name in ("qemu", "secrets"):
            shutil.rmtree(machine.folder / "etc-libvirt" / name, ignore_errors=True)
    machine.start()


# -- hosts --------------------------------------------------------------------------------------


def hosts(lab: Lab, site: str | None = None) -> list[Machine]:
    return [m for m in lab.machines.values() if m.role == "host" and site in (None, m.site)]


def running(lab: Lab) -> dict[str, list[str]]:
    """Hosts on which each guest runs, by what the hypervisors themselves say; machines that are off run nothing."""
    found: dict[str, list[str]] = {}
    for host in hosts(lab):
        if host.alive:
            for guest in host.exec(["virsh", "-q", "list", "--name"]).out.split():
                found.setdefault(guest, []).append(host.name)
    return found


# -- arrays -------------------------------------------------------------------------------------


def exports(array: Machine) -> dict[str, tuple[str, ...]]:
    """Targets that the array offers, each with the initiators that may use it; as tgt itself lists them."""
    found: dict[str, tuple[str, ...]] = {}
    target = section = ""
    for line in array.exec(["tgtadm", "--lld", "iscsi", "--op", "show", "--mode", "target"]).out.splitlines():
        if match := re.match(r"Target \d+: (\S+)", line):
            target, section = match[1], ""
            found[target] = ()
        elif re.match(r"    \S", line):
            section = line.strip()
        elif section == "ACL information:" and line.strip():
            found[target] += (line.strip(),)
    return found


def disk_file(array: Machine, vm: str) -> str:
    """The file behind the disk of a guest, on an array where it is writable."""
    found = array.exec(["find", "/run/tank", "-path", "*/vols/*", "-name", f"{vm}.root.img"]).out.split()
    assert len(found) == 1, f"{array.name}: {vm}'s disk is in {found or 'no file'}"
    return found[0]


def unclean(array: Machine, vm: str) -> bool:
    """Whether the guest's file system is mounted and not frozen, by its own mark on the disk."""
    header = array.exec(["dumpe2fs", "-h", disk_file(array, vm)]).out
    features = re.search(r"^Filesystem features:(.*)$", header, re.MULTILINE)
    assert features is not None, f"{array.name}: the disk of {vm} holds no ext4: {header[:200]}"
    return "needs_recovery" in features[1].split()


@contextmanager
def full_pool(array: Machine, *, left: int = 0) -> Iterator[None]:
    """No room but `left` bytes in the array's pool, while this lasts: all of it is reserved for somebody else."""
    array.exec(["zfs", "create", "-o", "canmount=off", "tank/somebody-else"])
    # Asked for after the creation, which needs some room itself.
    room = int(array.exec(["zfs", "get", "-Hp", "-o", "value", "available", "tank"]).out)
    array.exec(["zfs", "set", f"reservation={room - left}", "tank/somebody-else"])
    try:
        yield
    finally:
        if array.alive:
            array.exec(["zfs", "destroy", "tank/somebody-else"])


# -- the network --------------------------------------------------------------------------------


def _cable(lab: Lab, machine: Machine) -> str:
    return lab.names.veth(machine.spec)


def received(lab: Lab, machine: Machine) -> int:
    """Bytes that have gone to the machine since it was switched on."""
    return int(Path(f"/sys/class/net/{_cable(lab, machine)}/statistics/tx_bytes").read_text())


@contextmanager
def slow(lab: Lab, machine: Machine, rate: str = "8mbit") -> Iterator[None]:
    """What goes to the machine goes at `rate` (as tc writes it), while this lasts."""
    words = ["dev", _cable(lab, machine), "root"]
    shape = ["tbf", "rate", rate, "burst", "64kb", "latency", "200ms"]
    run(["tc", "qdisc", "add", *words, *shape], what=f"slow link to {machine.name}")
    try:
        yield
    finally:
        # A machine that lost power took its cable along.
        run(["tc", "qdisc", "del", *words], what=f"slow link to {machine.name}", check=False)
