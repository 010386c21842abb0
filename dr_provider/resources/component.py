"""A stack's resources: a component a plan, and under it the plan, its volumes, LUNs, mirrors and VMs, and its readiness.

The plan comes first and depends on nothing that lives at a site, so that nothing that fails elsewhere holds up a failover. All else
depends on it by name only: its outputs are not their inputs, so a move changes nothing of theirs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pulumi

from dr_provider.model import codec, keys
from dr_provider.model.errors import BadInput
from dr_provider.model.topology import PlanSpec, Topology, VmSpec
from dr_provider.reconcile.provision_mirrors import mirror_name
from dr_provider.reconcile.steps import started_before
from dr_provider.resources.config import StackConfig, read_config
from dr_provider.resources.dr_plan import DrPlan, DrPlanProps
from dr_provider.resources.drill import Drill, DrillProps
from dr_provider.resources.lun import Lun, LunProps
from dr_provider.resources.mirror import Mirror, MirrorProps
from dr_provider.resources.readiness import Readiness
from dr_provider.resources.virtual_machine import VirtualMachine, VirtualMachineProps
from dr_provider.resources.volume import Volume, VolumeProps

__all__ = ["DrilledPlan", "ProtectedPlan", "declare"]


def declare(folder: Path) -> None:
    """Everything that the stack's config asks for, and the stack's outputs; wrong config or topology is one error."""
    try:
        config = read_config(folder)
    except BadInput as error:
        raise pulumi.RunError(str(error)) from None
    for plan in config.topology.plans.values():
        if config.mode == "drill":
            if plan.name in config.drill_sites or not config.drill_sites:
                pulumi.export(plan.name, DrilledPlan(config, plan).summary)
        else:
            pulumi.export(plan.name, ProtectedPlan(config, plan).summary)


class ProtectedPlan(pulumi.ComponentResource):
    """A plan with all that belongs to it. `summary`: what the stack exports for it."""

    def __init__(self, config: StackConfig, plan: PlanSpec, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("dr:index:ProtectedPlan", plan.name, None, opts)
        self._config, self._plan, self._topology = config, plan, config.topology
        self._common = {
            "topology": config.topology.name,
            "stack": config.stack,
            "plan": plan.name,
            "reach": _reach(config.topology, plan.name),
        }
        self.plan = self._declare_plan()
        volumes = self._declare_volumes()
        luns = self._declare_luns(volumes)
        mirrors = self._declare_mirrors(volumes, luns)
        vms = self._declare_vms(luns)
        everything = [self.plan, *volumes.values(), *luns.values(), *mirrors.values(), *vms.values()]
        Readiness(
            plan.name,
            phase=self.plan.phase,
            protected=self.plan.protected,
            failures=self.plan.failures,
            opts=self._under(*everything),
        )
        self.summary = self._summarize(vms, mirrors)
        self.register_outputs({"summary": self.summary})

    def _under(self, *after: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=list(after))

    def _adopts(self, *names: str) -> bool:
        return self._config.adopts(self._plan.name, *names)

    def _declare_plan(self) -> DrPlan:
        name, config = self._plan.name, self._config
        props = DrPlanProps(
            topology=self._topology.name,
            document=self._topology.text,
            plan=name,
            stack=config.stack,
            declared_site=config.active_sites.get(name),
            force=config.force.get(name),
            point=config.recovery_points.get(name),
            adopt=self._adopts(),
        )
        return DrPlan(name, props, self._under())

    def _declare_volumes(self) -> dict[str, Volume]:
        found = {}
        for spec in self._topology.plan_volumes(self._plan.name):
            props = VolumeProps(
                **self._common,
                name=spec.name,
                adopt=self._adopts(spec.name),
                size=spec.size,
                arrays=spec.arrays,
                delete_data=spec.delete_data,
            )
            found[spec.name] = Volume(spec.name, props, self._under(self.plan))
        return found

    def _declare_luns(self, volumes: dict[str, Volume]) -> dict[str, Lun]:
        found = {}
        for vm in self._plan.members:
            for disk in self._topology.vms[vm].disks:
                spec, name = self._topology.volumes[disk.volume], keys.lun_name(vm, disk.role)
                props = LunProps(
                    **self._common,
                    name=name,
                    adopt=self._adopts(name, vm),
                    vm=vm,
                    role=disk.role,
                    volume=disk.volume,
                    size=disk.size,
                    arrays=spec.arrays,
                    delete_data=spec.delete_data,
                )
                found[name] = Lun(name, props, self._under(self.plan, volumes[disk.volume]))
        return found

    def _declare_mirrors(self, volumes: dict[str, Volume], luns: dict[str, Lun]) -> dict[str, Mirror]:
        found = {}
        for spec in self._topology.plan_volumes(self._plan.name):
            # The first copy is made when the volume has its LUNs, so that it brings their images along.
            inside = [luns[name] for name in self._luns_in(spec.name)]
            for copy in spec.copies:
                name = mirror_name(spec.name, copy.array)
                props = MirrorProps(
                    **self._common,
                    name=name,
                    adopt=self._adopts(spec.name, name),
                    volume=spec.name,
                    home=spec.home,
                    copy=copy.array,
                    delete_data=spec.delete_data,
                )
                found[name] = Mirror(name, props, self._under(self.plan, volumes[spec.name], *inside))
        return found

    def _luns_in(self, volume: str) -> list[str]:
        vms = (self._topology.vms[vm] for vm in self._plan.members)
        return [keys.lun_name(vm.name, disk.role) for vm in vms for disk in vm.disks if disk.volume == volume]

    def _declare_vms(self, luns: dict[str, Lun]) -> dict[str, VirtualMachine]:
        found: dict[str, VirtualMachine] = {}
        for name in _in_start_order(self._plan):
            vm = self._topology.vms[name]
            disks = [luns[keys.lun_name(name, disk.role)] for disk in vm.disks]
            earlier = [found[other] for other in started_before(self._plan, name)]
            props = VirtualMachineProps(
                **self._common,
                name=name,
                adopt=self._adopts(name),
                cpus=vm.cpus,
                memory=vm.memory,
                disks=_json({disk.role: disk.volume for disk in vm.disks}),
                nics=_json([json.loads(codec.dump(nic)) for nic in vm.nics]),
                health=codec.dump(vm.health) if vm.health else None,
                arrays=_arrays_of(self._topology, vm),
            )
            found[name] = VirtualMachine(name, props, self._under(self.plan, *disks, *earlier))
        return found

    def _summarize(self, vms: dict[str, VirtualMachine], mirrors: dict[str, Mirror]) -> pulumi.Output[dict[str, Any]]:
        plan = self.plan
        return pulumi.Output.all(
            activeSite=plan.activeSite,
            epoch=plan.epoch,
            phase=plan.phase,
            degraded=plan.degraded,
            protected=plan.protected,
            recoveryPoint=plan.recoveryPoint,
            newestPoint=plan.newestPoint,
            loss=plan.loss,
            lossSeconds=plan.lossSeconds,
            seconds=plan.seconds,
            seen=plan.vms,
            lags=plan.mirrors,
            hosts=pulumi.Output.all(**{name: vm.host for name, vm in vms.items()}),
            sites=pulumi.Output.all(**{name: vm.site for name, vm in vms.items()}),
            states=pulumi.Output.all(**{name: mirror.state for name, mirror in mirrors.items()}),
        ).apply(_summary)


def _summary(found: dict[str, Any]) -> dict[str, Any]:
    """What the plan saw at its last change counts; for what was made after it in its first `up`, what its own resource says."""
    seen = json.loads(found.pop("seen") or "{}")
    lags = json.loads(found.pop("lags") or "[]")
    hosts, sites, states = found.pop("hosts"), found.pop("sites"), found.pop("states")
    vms = {}
    for name, host in hosts.items():
        at = seen.get(name) or {}
        if at.get("host"):
            vms[name] = f"{at['site']}/{at['host']}"
        else:
            vms[name] = f"{sites[name]}/{host}" if host else "nowhere"
    mirrors = {
        lag["volume"]: {"from": lag["from"], "to": lag["to"], "state": lag["state"], "lagSeconds": lag["lagSeconds"]}
        for lag in lags
    }
    for name, state in states.items():
        known = mirrors.get(name.partition(".")[0])
        if known is not None and known["state"] == "none" and state:
            known["state"] = state
    return {**found, "vms": vms, "mirrors": mirrors}


class DrilledPlan(pulumi.ComponentResource):
    """A drill of a plan. `summary`: what the stack exports for it."""

    def __init__(self, config: StackConfig, plan: PlanSpec, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("dr:index:DrilledPlan", plan.name, None, opts)
        props = DrillProps(
            topology=config.topology.name,
            document=config.topology.text,
            plan=plan.name,
            stack=config.stack,
            site=config.drill_sites.get(plan.name),
            point=config.recovery_points.get(plan.name),
        )
        drill = Drill(plan.name, props, pulumi.ResourceOptions(parent=self))
        self.summary = pulumi.Output.all(
            drill=drill.drill,
            site=drill.ranAt,
            recoveryPoint=drill.recoveryPoint,
            rtoSeconds=drill.rtoSeconds,
            rpoSeconds=drill.rpoSeconds,
            failures=drill.failures,
            seen=drill.vms,
        ).apply(_drilled)
        self.register_outputs({"summary": self.summary})


def _drilled(found: dict[str, Any]) -> dict[str, Any]:
    return {**found, "vms": json.loads(found.pop("seen") or "{}")}


# -- parts ----------------------------------------------------------------------------------------


def _reach(topology: Topology, plan: str) -> str:
    """How the plan's arrays are reached, for a delete or a refresh that has no topology at hand; references only, no credential."""
    arrays = {name: topology.arrays[name] for name in topology.plan_arrays(plan)}
    return _json(
        {
            name: {**spec.options, "site": spec.site, "driver": spec.driver, "budget": topology.source_budget}
            for name, spec in arrays.items()
        }
    )


def _arrays_of(topology: Topology, vm: VmSpec) -> tuple[str, ...]:
    return tuple(dict.fromkeys(array for volume in vm.volumes() for array in topology.volumes[volume].arrays))


def _in_start_order(plan: PlanSpec) -> list[str]:
    """Members such that each comes after those that it waits for (the loader has refused circles)."""
    done: list[str] = []
    waiting = list(plan.members)
    while waiting:
        ready = [vm for vm in waiting if set(started_before(plan, vm)) <= set(done)]
        done += ready
        waiting = [vm for vm in waiting if vm not in ready]
    return done


def _json(value: object) -> str:
    return codec.canonical(value)
