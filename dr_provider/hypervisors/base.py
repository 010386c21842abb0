"""The hypervisor interface: what the rest of the system may ask of any host.

Rules that every driver keeps (tests/contract/test_hypervisor.py states them): calls are synchronous, safe from several threads and
processes at once, raise `Unreachable` for silence and for nothing else, and can be repeated: doing again what is already so
succeeds. A host call is harmless without a mapped LUN, so none carries a guard.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dr_provider.model.findings import Examination, HostUse
from dr_provider.model.inventory import FoundDisk, FoundNic, FoundVm
from dr_provider.model.records import Level, Owner
from dr_provider.model.state import HostState, Reservation, VmState
from dr_provider.model.topology import HealthSpec
from dr_provider.model.vm import VmDefinition

__all__ = ["DataReport", "FreezeReport", "Hypervisor", "ProbeReport", "StopReport", "ours"]


@dataclass(frozen=True)
class StopReport:
    """How a VM was stopped. `mark`: the last application entry on its disks, where the guest could say so."""

    how: Literal["graceful", "hard", "was off"]
    mark: int | None = None


@dataclass(frozen=True)
class FreezeReport:
    """The level that the guest reached, with the reason where it is less than `application`."""

    level: Level
    mark: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class ProbeReport:
    well: bool
    detail: str = ""


@dataclass(frozen=True)
class DataReport:
    """What a running guest's application makes of its own data. `last`: its last entry on the disks, counted as a seal's mark is (None: not known)."""

    intact: bool
    last: int | None = None
    detail: str = ""


class Hypervisor(ABC):
    """One host, opened. `name` and `site` are the topology's."""

    name: str
    site: str

    @abstractmethod
    def state(self) -> HostState:
        """Everything in one call: capacity, VMs with their definitions, reservations."""

    @abstractmethod
    def create(self) -> None:
        """Make the host where that is possible (embedded: its file) and nothing is there."""

    @abstractmethod
    def define(self, definition: VmDefinition) -> None:
        """Define a VM, off and without autostart. Defined already by the same topology: its definition becomes this one (Conflict while it
        runs with another). Another topology's VM of that name raises Conflict."""

    @abstractmethod
    def undefine(self, name: str, owner: Owner) -> bool:
        """Forget a VM. False, and nothing is done: it is not there or of another incarnation. Busy: it runs."""

    @abstractmethod
    def start(self, name: str) -> None:
        """Start a VM. Running: nothing is done. HostFull: no CPUs or memory left beside running VMs and reservations of others (its own
        reservation is used up). Conflict: a LUN of it is not mapped to this host, offline or not writable."""

    @abstractmethod
    def stop(self, name: str, *, graceful: float = 60.0) -> StopReport:
        """Stop a VM: asked first, and hard after `graceful` seconds (0: hard at once). Not there or off: `was off`."""

    @abstractmethod
    def freeze(self, name: str, *, thaw_after: float) -> FreezeReport:
        """Quiesce the guest: its applications write out and hold still. The guest thaws by itself after `thaw_after` seconds."""

    @abstractmethod
    def thaw(self, name: str) -> bool:
        """Thaw. True: it had been frozen all along until now; False: it was not (any more)."""

    @abstractmethod
    def rescan(self) -> None:
        """Make the host see LUNs that were mapped to it or taken from it."""

    @abstractmethod
    def probe(self, name: str, health: HealthSpec) -> ProbeReport:
        """One look at the guest's health, from the host's side of the network or through the guest agent; no waiting."""

    def read_data(self, name: str) -> DataReport | None:
        """What the guest's application makes of its data now; None: neither it nor the driver has a way to say. Nothing is written."""
        return None

    @abstractmethod
    def reserve(self, tag: str, demands: Sequence[Reservation]) -> None:
        """Keep CPUs and memory for VMs, all or none, in one atomic step (HostFull). Under a tag that is there: replaced."""

    @abstractmethod
    def release(self, tag: str) -> None:
        """Give back what is kept under the tag."""

    def examine(self, use: HostUse) -> Examination:
        """Look closely, for `dr doctor`: what would keep the host from what the topology wants of it. Changes nothing; also works
        where `state` is NotReady, as far as it can."""
        return Examination()

    def inventory(self) -> tuple[FoundVm, ...]:
        """Every VM on the host, whoever made it, by name. Changes nothing."""
        return tuple(ours(vm) for _, vm in sorted(self.state().vms.items()))

    def close(self) -> None:
        """Let go of connections; nothing is changed."""


def ours(vm: VmState) -> FoundVm:
    """A VM that dr made, as it is found."""
    of = vm.definition
    return FoundVm(
        vm.name,
        of.cpus,
        of.memory,
        vm.state == "running",
        tuple(FoundDisk(disk.role, disk.target, disk.size) for disk in of.disks),
        tuple(FoundNic(nic.bridge, nic.mac) for nic in of.nics),
        of.owner.topology,
        of.plan,
        of.vm,
    )
