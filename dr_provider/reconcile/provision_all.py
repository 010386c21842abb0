"""Everything of a topology, made in order, without Pulumi: what `dr apply` does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest

from dr_provider.model import keys
from dr_provider.model.errors import DrError
from dr_provider.model.records import Owner
from dr_provider.model.state import Observation
from dr_provider.model.topology import CopySpec, PlanSpec, Topology, VolumeSpec
from dr_provider.protection.lines import distance
from dr_provider.reconcile import ownership
from dr_provider.reconcile.decision import Want
from dr_provider.reconcile.provision import LunResult, VolumeResult, ensure_lun, ensure_volume
from dr_provider.reconcile.provision_mirrors import MirrorResult, ensure_mirror
from dr_provider.reconcile.provision_vms import Placed, VmResult, ensure_vm
from dr_provider.reconcile.run import run_plan
from dr_provider.reconcile.world import World

__all__ = ["Applied", "apply_all"]

Applied = VolumeResult | LunResult | MirrorResult | VmResult | DrError
"""What became of one thing: its result (its `pending` says what is not done yet), or the error that it met."""

_WIDTH = 16


def apply_all(world: World, progress: Callable[[str], None]) -> list[Applied]:
    """Make plans, then their volumes, LUNs and first mirrors, then VMs in tier order; what a stack owns stays its own.

    A thing that cannot be made does not hold up the others. Raises what a plan raises (Refused, LeaseHeld, ...).
    """
    applied: list[Applied] = []
    topology = world.topology
    for plan in topology.plans.values():
        run_plan(world, plan.name, Want(by=world.by))
    world.look(refresh=True)
    with ThreadPoolExecutor(max_workers=_WIDTH, thread_name_prefix="apply") as pool:

        def each(calls: Iterable[Callable[[], Applied]]) -> None:
            for result in pool.map(_attempt, calls):
                said = str(result) if isinstance(result, DrError) else getattr(result, "pending", None)
                if said:
                    progress(said)
                applied.append(result)

        for plan in topology.plans.values():
            _apply_plan(world, plan, each)
    return applied


def _apply_plan(world: World, plan: PlanSpec, each: Callable[[Iterable[Callable[[], Applied]]], None]) -> None:
    topology, seen = world.topology, world.look()
    volumes = topology.plan_volumes(plan.name)
    whose = {volume.name: _owner(world, seen, "volume", volume.name, volume.arrays) for volume in volumes}
    each([lambda v=v: ensure_volume(world, v.name, whose[v.name]) for v in volumes])  # type: ignore[misc]
    disks = [(vm, disk) for vm in plan.members for disk in topology.vms[vm].disks]
    each(
        [
            lambda vm=vm, d=disk: ensure_lun(  # type: ignore[misc]
                world,
                vm,
                d.role,
                _owner(world, seen, "lun", keys.lun_name(vm, d.role), topology.volumes[d.volume].arrays),
            )
            for vm, disk in disks
        ]
    )
    world.look(refresh=True)
    # A copy that feeds another is made before it.
    for copies in zip_longest(*(_outwards(v, world.view(plan.name).active, topology) for v in volumes)):
        each(
            [
                lambda v=v, c=copy.array: ensure_mirror(  # type: ignore[misc]
                    world, v.name, c, _owner(world, seen, "mirror", keys.mirror_name(v.name, c), (v.home, c))
                )
                for v, copy in zip(volumes, copies, strict=True)
                if copy is not None
            ]
        )
    placed = Placed()
    for tier in plan.tiers:
        each([lambda vm=vm: ensure_vm(world, vm, _vm_owner(world, seen, vm), placed=placed) for vm in tier.members])  # type: ignore[misc]


def _outwards(volume: VolumeSpec, site: str | None, topology: Topology) -> list[CopySpec]:
    """The volume's mirrors in the order in which data goes from the site where its plan is active: away from home that is another one."""
    root = topology.copy_at(volume.name, site) if site is not None else None
    active = root or volume.home
    return sorted(
        volume.feeders_first,
        key=lambda copy: distance(volume, active, volume.home if copy.array == active else copy.array),
    )


def _attempt(call: Callable[[], Applied]) -> Applied:
    try:
        return call()
    except DrError as error:
        return error


def _owner(world: World, seen: Observation, kind: str, name: str, arrays: Iterable[str]) -> Owner:
    """As it is owned now, so that nothing is taken from a stack; else the topology itself."""
    there = ownership.owner_of(seen, world.topology.name, kind, name, arrays)
    return there or Owner(world.topology.name, "", keys.new_incarnation())


def _vm_owner(world: World, seen: Observation, vm: str) -> Owner:
    spec = world.topology.vms[vm]
    arrays = [array for volume in spec.volumes() for array in world.topology.volumes[volume].arrays]
    return _owner(world, seen, "vm", vm, arrays)
