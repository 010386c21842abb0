"""A VM: defined and started where its plan is active; its moves are the plan's."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.dynamic import Resource

from dr_provider.resources import props as bag
from dr_provider.resources import session
from dr_provider.resources.kind import Kind, KindProps

if TYPE_CHECKING:
    from dr_provider.model.records import Owner
    from dr_provider.reconcile.world import World

__all__ = ["VirtualMachine", "VirtualMachineProps", "VirtualMachineProvider"]


@dataclass(frozen=True, kw_only=True)
class VirtualMachineProps(KindProps):
    """`memory` in bytes; `disks`, `nics` and `health` as canonical JSON; `arrays`: every array with a copy of a volume of it.

    `at`: what it has otherwise at a site or in a drill, {SITE: {"cpus", "memory"}}, as canonical JSON; None: the same everywhere.
    """

    cpus: int
    memory: int
    disks: str = field(metadata=bag.BACKGROUND)
    nics: str = field(metadata=bag.BACKGROUND)
    arrays: tuple[str, ...] = field(metadata=bag.BACKGROUND)
    health: str | None = field(default=None, metadata=bag.BACKGROUND)
    at: str | None = None

    def as_found(self, site: str, cpus: int, memory: int) -> VirtualMachineProps:
        """The inputs that a VM of this size at the site would have come from: one that has what is said of the site is no difference."""
        at: dict[str, dict[str, int]] = json.loads(self.at) if self.at else {}
        own = at.get(site, {})
        found = {"cpus": cpus, "memory": memory}
        if own:
            at[site] = {key: found[key] for key in own}
        return replace(
            self,
            at=json.dumps(at, sort_keys=True, separators=(",", ":")) if at else None,
            cpus=self.cpus if "cpus" in own else cpus,
            memory=self.memory if "memory" in own else memory,
        )


class VirtualMachineProvider(Kind[VirtualMachineProps]):
    props = VirtualMachineProps

    def ensure(self, world: World, props: VirtualMachineProps, owner: Owner) -> dict[str, Any]:
        from dr_provider.reconcile.provision_vms import ensure_vm

        made = ensure_vm(world, props.name, owner, adopt=props.adopt, placed=session.placed(world))
        return {"site": made.site, "host": made.host, "state": made.state, "pending": made.pending}

    def release(self, world: World, props: VirtualMachineProps, owner: Owner) -> tuple[str, ...]:
        from dr_provider.reconcile.provision_vms import release_vm

        return release_vm(world, props.plan, props.name, props.arrays, owner).notes

    def look(self, world: World, props: VirtualMachineProps) -> tuple[VirtualMachineProps, dict[str, Any]] | None:
        from dr_provider.reconcile.survey import active_vm

        found = active_vm(world, props.plan, props.name)
        if found is None:
            return None
        definition = found.state.definition
        outputs = {"site": found.site, "host": found.host, "state": found.state.state}
        return props.as_found(found.site, definition.cpus, definition.memory), outputs


class VirtualMachine(Resource, module="dr", name="VirtualMachine"):
    """`host`: where it was put when it was made or last changed; a move of the plan says where it is since."""

    host: pulumi.Output[str | None]

    def __init__(self, name: str, props: VirtualMachineProps, opts: pulumi.ResourceOptions | None = None) -> None:
        outputs = {"host": None}
        super().__init__(VirtualMachineProvider(), name, {**bag.write(props), **outputs}, opts)
