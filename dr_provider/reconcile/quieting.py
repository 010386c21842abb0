"""Stopping a plan's VMs at a site hard, and taking their disks away: what a guard does when it may not let them run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dr_provider.model.errors import DrError
from dr_provider.reconcile.world import World

__all__ = ["Left", "stop_plan"]


@dataclass(frozen=True)
class Left:
    """What came of it. `off`: every host of the site says that none of the plan's VMs runs; `unmapped`: every array there, that no LUN is mapped."""

    stopped: tuple[str, ...]
    off: bool
    unmapped: bool
    reasons: tuple[str, ...]

    @property
    def well(self) -> bool:
        return self.off or self.unmapped


def stop_plan(world: World, plan: str, site: str) -> Left:
    """Hosts and arrays of the site are asked at once, side by side; one that is silent holds up no other."""
    topology = world.topology
    volumes = [volume.name for volume in topology.plan_volumes(plan)]
    stopped: list[str] = []
    host_faults: list[str] = []
    array_faults: list[str] = []

    def attempt(call: Callable[[], None], faults: list[str]) -> None:
        try:
            call()
        except DrError as error:
            faults.append(str(error))

    hosts = [host.name for host in topology.hosts_at(site)]
    # By the topology alone: a sweep that is under way must not hold this up.
    arrays = sorted({array for volume in volumes if (array := topology.copy_at(volume, site)) is not None})
    with ThreadPoolExecutor(max(1, len(hosts) + len(arrays)), thread_name_prefix="quiet") as pool:
        for name in hosts:
            pool.submit(attempt, lambda n=name: stopped.extend(_stop(world, plan, n)), host_faults)  # type: ignore[misc]
        for name in arrays:
            pool.submit(attempt, lambda n=name: _unmap(world, volumes, n), array_faults)  # type: ignore[misc]
    return Left(tuple(sorted(stopped)), not host_faults, not array_faults, (*host_faults, *array_faults))


def _stop(world: World, plan: str, name: str) -> list[str]:
    """Stop every VM of the plan that the host runs now, drills' apart. Raises DrError where one runs on."""
    host = world.fleet.host(name)

    def running() -> list[str]:
        return [
            vm.name for vm in host.state().vms.values()
            if vm.state == "running" and vm.definition.owner.topology == world.topology.name and vm.definition.plan == plan
            and vm.definition.name == vm.definition.vm
        ]  # fmt: skip

    stopped = running()
    for vm in stopped:
        host.stop(vm, graceful=0)
    if stopped and (left := running()):
        raise DrError(f"host {name}: {', '.join(left)} still running after they were stopped hard")
    return stopped


def _unmap(world: World, names: Sequence[str], name: str) -> None:
    """Unmap the plan's LUNs on the array, and read back. It carries no lease: a fence must hold whoever works on the plan."""
    array = world.fleet.array(name)

    def mapped() -> dict[str, list[str]]:
        volumes = array.state().volumes
        found = {
            volume: sorted(lun.name for lun in volumes[volume].luns.values() if lun.mapped_to is not None)
            for volume in names
            if volume in volumes
        }
        return {volume: luns for volume, luns in found.items() if luns}

    luns = mapped()
    if not luns:
        return
    array.unmap_luns(luns)
    if left := mapped():
        luns_left = ", ".join(lun for each in left.values() for lun in each)
        raise DrError(f"array {name}: {luns_left} still mapped after they were unmapped")
