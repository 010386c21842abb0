"""A stack's resources: a component a plan, and under it the plan, its volumes, LUNs, mirrors and VMs, and its readiness.

The plan comes first and depends on nothing that lives at a site, so that nothing that fails elsewhere holds up a failover. All else
depends on it by name only: its outputs are not their inputs, so a move changes nothing of theirs.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi

from dr_provider.model.errors import BadInput
from dr_provider.model.topology import PlanSpec
from dr_provider.resources.callouts import check_callouts, declare_callouts
from dr_provider.resources.config import StackConfig, read_config
from dr_provider.resources.declared import Declared, declared, drilled
from dr_provider.resources.dr_plan import DrPlan
from dr_provider.resources.drill import Drill
from dr_provider.resources.lun import Lun
from dr_provider.resources.mirror import Mirror
from dr_provider.resources.readiness import Readiness
from dr_provider.resources.virtual_machine import VirtualMachine
from dr_provider.resources.volume import Volume

__all__ = ["DrilledPlan", "ProtectedPlan", "declare"]


def declare(folder: Path, opts: pulumi.ResourceOptions | None = None) -> None:
    """Everything that the stack's config asks for, and the stack's outputs; wrong config or topology is one error.

    `opts` are for each plan's component: a program of one's own may put it under a parent.
    """
    try:
        config = read_config(folder)
        if config.mode == "protect":
            check_callouts(config.topology)
    except BadInput as error:
        raise pulumi.RunError(str(error)) from None
    for plan in config.topology.plans.values():
        if config.mode == "drill":
            if plan.name in config.drill_sites or not config.drill_sites:
                pulumi.export(plan.name, DrilledPlan(config, plan, opts).summary)
        else:
            pulumi.export(plan.name, ProtectedPlan(config, plan, opts).summary)


class ProtectedPlan(pulumi.ComponentResource):
    """A plan with all that belongs to it. `summary`: what the stack exports for it."""

    def __init__(self, config: StackConfig, plan: PlanSpec, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("dr:index:ProtectedPlan", plan.name, None, opts)
        self._sites = {name: host.site for name, host in config.topology.hosts.items()}
        all_of_it = declared(config, plan)
        self.plan = DrPlan(plan.name, all_of_it.plan, self._under())
        volumes = {name: Volume(name, props, self._under(self.plan)) for name, props in all_of_it.volumes.items()}
        luns = {name: Lun(name, props, self._under(volumes[props.volume])) for name, props in all_of_it.luns.items()}
        mirrors = self._mirrors(all_of_it, volumes, luns)
        vms = self._vms(all_of_it, luns)
        # Volumes and LUNs come before their mirrors and VMs, and the plan before all: what is between need not be named again,
        # and each name costs the engine time.
        everything = [self.plan, *mirrors.values(), *vms.values()]
        Readiness(
            plan.name,
            phase=self.plan.phase,
            protected=self.plan.protected,
            failures=self.plan.failures,
            opts=self._under(*everything),
        )
        # Of the plan alone: they are about where it is, and what fails elsewhere does not hold them up.
        declare_callouts(config.topology, plan.name, self.plan.callouts, self._under(self.plan))
        self.summary = self._summarize(vms, mirrors)
        self.register_outputs({"summary": self.summary})

    def _under(self, *after: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=list(after))

    def _mirrors(self, wanted: Declared, volumes: dict[str, Volume], luns: dict[str, Lun]) -> dict[str, Mirror]:
        found: dict[str, Mirror] = {}
        for name, props in wanted.mirrors.items():
            # The first copy is made when the volume has its LUNs, so that it brings their images along; one that another feeds, after that one.
            inside: list[pulumi.Resource] = [luns[lun] for lun, of in wanted.luns.items() if of.volume == props.volume]
            inside += [found[wanted.fed_by[name]]] if name in wanted.fed_by else []
            found[name] = Mirror(name, props, self._under(volumes[props.volume], *inside))
        return found

    def _vms(self, wanted: Declared, luns: dict[str, Lun]) -> dict[str, VirtualMachine]:
        found: dict[str, VirtualMachine] = {}
        disks: dict[str, list[pulumi.Resource]] = {}
        for lun, of in wanted.luns.items():
            disks.setdefault(of.vm, []).append(luns[lun])
        for name, props in wanted.vms.items():
            earlier = [found[other] for other in wanted.waits_for[name]]
            found[name] = VirtualMachine(name, props, self._under(*disks.get(name, [self.plan]), *earlier))
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
            states=pulumi.Output.all(**{name: mirror.state for name, mirror in mirrors.items()}),
        ).apply(lambda found: summary(found, self._sites))


def summary(found: dict[str, Any], site_of: Mapping[str, str]) -> dict[str, Any]:
    """What the plan saw at its last change counts; for what was made after it in its first `up`, what its own resource says."""
    seen = json.loads(found.pop("seen") or "{}")
    lags = json.loads(found.pop("lags") or "[]")
    hosts, states = found.pop("hosts"), found.pop("states")
    vms = {}
    for name, host in hosts.items():
        at = seen.get(name) or {}
        if at.get("host"):
            vms[name] = f"{at['site']}/{at['host']}"
        else:
            vms[name] = f"{site_of.get(host, '?')}/{host}" if host else "nowhere"
    copies = Counter(lag["volume"] for lag in lags)
    mirrors = {
        # One of several of a volume is named as its resource is.
        lag["volume"] if copies[lag["volume"]] == 1 else f"{lag['volume']}.{lag['to']}": {
            "from": lag["from"],
            "to": lag["to"],
            "state": lag["state"],
            "lagSeconds": lag["lagSeconds"],
        }
        for lag in lags
    }
    for name, state in states.items():
        known = mirrors.get(name) or mirrors.get(name.partition(".")[0])
        if known is not None and known["state"] == "none" and state:
            known["state"] = state
    return {**found, "vms": vms, "mirrors": mirrors}


class DrilledPlan(pulumi.ComponentResource):
    """A drill of a plan. `summary`: what the stack exports for it."""

    def __init__(self, config: StackConfig, plan: PlanSpec, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("dr:index:DrilledPlan", plan.name, None, opts)
        drill = Drill(plan.name, drilled(config, plan), pulumi.ResourceOptions(parent=self))
        self.summary = pulumi.Output.all(
            drill=drill.drill,
            site=drill.ranAt,
            recoveryPoint=drill.recoveryPoint,
            rtoSeconds=drill.rtoSeconds,
            rpoSeconds=drill.rpoSeconds,
            expiresAt=drill.expiresAt,
            failures=drill.failures,
            seen=drill.vms,
        ).apply(_drilled)
        self.register_outputs({"summary": self.summary})


def _drilled(found: dict[str, Any]) -> dict[str, Any]:
    """What was looked at in each VM is on record (`dr drill history`); here is where it is, and how long it took."""
    seen = json.loads(found.pop("seen") or "{}")
    shown = ("host", "name", "state", "well", "seconds")
    return {**found, "vms": {vm: {key: at[key] for key in shown if key in at} for vm, at in seen.items()}}
