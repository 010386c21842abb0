"""What a stack declares for one plan, as plain properties: pure, from its config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from dr_provider.model import codec, keys
from dr_provider.model.topology import PlanSpec, Topology, VmSpec
from dr_provider.reconcile.steps import started_before
from dr_provider.resources.config import StackConfig
from dr_provider.resources.dr_plan import DrPlanProps
from dr_provider.resources.drill import DrillProps
from dr_provider.resources.lun import LunProps
from dr_provider.resources.mirror import MirrorProps
from dr_provider.resources.virtual_machine import VirtualMachineProps
from dr_provider.resources.volume import VolumeProps

__all__ = ["Declared", "declared", "drilled"]

_WIDE = 8


@dataclass(frozen=True)
class Declared:
    """By resource name, VMs in an order in which each comes after those that it waits for (`waits_for`)."""

    plan: DrPlanProps
    volumes: Mapping[str, VolumeProps]
    luns: Mapping[str, LunProps]
    mirrors: Mapping[str, MirrorProps]
    vms: Mapping[str, VirtualMachineProps]
    waits_for: Mapping[str, tuple[str, ...]]
    fed_by: Mapping[str, str]
    """Of a mirror whose copy another copy feeds, the mirror that comes before it."""


def declared(config: StackConfig, plan: PlanSpec) -> Declared:
    """The properties of all resources that protect a plan."""
    topology = config.topology
    common: dict[str, Any] = {
        "topology": topology.name,
        "stack": config.stack,
        "plan": plan.name,
        "reach": _reach(topology, plan.name),
    }

    def adopts(*names: str) -> bool:
        return config.adopts(plan.name, *names)

    volumes, waits = topology.plan_volumes(plan.name), _waits(plan)
    return Declared(
        DrPlanProps(
            topology=topology.name,
            document=topology.text,
            plan=plan.name,
            stack=config.stack,
            declared_site=config.active_sites.get(plan.name),
            force=config.force.get(plan.name),
            point=config.recovery_points.get(plan.name),
            adopt=adopts(),
        ),
        {
            spec.name: VolumeProps(
                **common,
                name=spec.name,
                adopt=adopts(spec.name),
                size=spec.size,
                arrays=spec.arrays,
                delete_data=spec.delete_data,
            )
            for spec in volumes
        },
        {
            name: LunProps(
                **common,
                name=name,
                adopt=adopts(name, vm),
                vm=vm,
                role=disk.role,
                volume=disk.volume,
                size=disk.size,
                arrays=topology.volumes[disk.volume].arrays,
                delete_data=topology.volumes[disk.volume].delete_data,
            )
            for vm in plan.members
            for disk in topology.vms[vm].disks
            for name in (keys.lun_name(vm, disk.role),)
        },
        {
            name: MirrorProps(
                **common,
                name=name,
                adopt=adopts(name, spec.name),
                volume=spec.name,
                home=spec.home,
                copy=copy.array,
                delete_data=spec.delete_data,
            )
            for spec in volumes
            for copy in spec.feeders_first
            for name in (keys.mirror_name(spec.name, copy.array),)
        },
        {vm: _vm(topology, vm, common, adopts(vm)) for vm in _in_start_order(waits)},
        waits,
        {
            keys.mirror_name(spec.name, copy.array): keys.mirror_name(spec.name, copy.via)
            for spec in volumes
            for copy in spec.copies
            if copy.via is not None
        },
    )


def drilled(config: StackConfig, plan: PlanSpec) -> DrillProps:
    """The properties of a plan's drill."""
    return DrillProps(
        topology=config.topology.name,
        document=config.topology.text,
        plan=plan.name,
        stack=config.stack,
        site=config.drill_sites.get(plan.name),
        expires=config.drill_expires.get(plan.name),
        point=config.recovery_points.get(plan.name),
    )


def _vm(topology: Topology, name: str, common: Mapping[str, Any], adopt: bool) -> VirtualMachineProps:
    vm = topology.vms[name]
    return VirtualMachineProps(
        **common,
        name=name,
        adopt=adopt,
        cpus=vm.cpus,
        memory=vm.memory,
        disks=codec.canonical({disk.role: disk.volume for disk in vm.disks}),
        # DNS names are no part of the VM: callouts see to them.
        nics=codec.canonical(
            [{key: value for key, value in json.loads(codec.dump(nic)).items() if key != "names"} for nic in vm.nics]
        ),
        health=codec.dump(vm.health) if vm.health else None,
        at=_sizes(vm),
        arrays=tuple(dict.fromkeys(array for volume in vm.volumes() for array in topology.volumes[volume].arrays)),
    )


def _sizes(vm: VmSpec) -> str | None:
    """The sizes that it has otherwise at a site. How long its start waits there is no property of it, as `startDelay` is none."""
    sizes = {
        place: {key: value for key, value in (("cpus", there.cpus), ("memory", there.memory)) if value is not None}
        for place, there in vm.at.items()
    }
    said = {place: size for place, size in sizes.items() if size}
    return codec.canonical(said) if said else None


def _reach(topology: Topology, plan: str) -> str:
    """How the plan's arrays are reached, for a delete or a refresh that has no topology at hand; references only, no credential."""
    arrays = {name: topology.arrays[name] for name in topology.plan_arrays(plan)}
    return codec.canonical(
        {
            name: {**spec.options, "site": spec.site, "driver": spec.driver, "budget": topology.source_budget}
            for name, spec in arrays.items()
        }
    )


def _waits(plan: PlanSpec) -> dict[str, tuple[str, ...]]:
    """What each VM waits for. A wide tier is waited for through its last VM, which waits for the others: the engine and its SDK
    pay for each pair of resources, and a tier of hundreds behind another would be tens of thousands."""
    waits = {vm: started_before(plan, vm) for vm in plan.members}
    for before, tier in pairwise(plan.tiers):
        if tier.after is None and len(before.members) > _WIDE:
            gate = before.members[-1]
            waits.update(dict.fromkeys(tier.members, (gate,)))
            waits[gate] = (*waits[gate], *before.members[:-1])
    return waits


def _in_start_order(waits: Mapping[str, tuple[str, ...]]) -> list[str]:
    """VMs such that each comes after those that it waits for (the loader has refused circles)."""
    done: list[str] = []
    waiting = list(waits)
    while waiting:
        ready = [vm for vm in waiting if set(waits[vm]) <= set(done)]
        done += ready
        waiting = [vm for vm in waiting if vm not in ready]
    return done
