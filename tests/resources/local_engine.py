"""The engine's part, in process: checks, diffs, creates, updates and deletes a stack's resources in the order that the real one does.

Each run is a provider process of its own: sessions are forgotten, and all that crosses goes through JSON, numbers as floats.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pulumi.dynamic import ResourceProvider

from dr_provider.cli.simulation import Bench
from dr_provider.model.records import Owner
from dr_provider.model.topology import Topology
from dr_provider.reconcile.protect import protect_plan
from dr_provider.reconcile.world import World, open_world
from dr_provider.resources import props as bag
from dr_provider.resources import session
from dr_provider.resources.config import StackConfig
from dr_provider.resources.declared import declared
from dr_provider.resources.dr_plan import DrPlanProvider
from dr_provider.resources.lun import LunProvider
from dr_provider.resources.mirror import MirrorProvider
from dr_provider.resources.readiness import ReadinessProvider
from dr_provider.resources.virtual_machine import VirtualMachineProvider
from dr_provider.resources.volume import VolumeProvider
from tests.support.topologies import loaded, write_topology

__all__ = ["Held", "LocalStack", "crossed"]

PROVIDERS: dict[str, ResourceProvider] = {
    "plan": DrPlanProvider(),
    "volume": VolumeProvider(),
    "lun": LunProvider(),
    "mirror": MirrorProvider(),
    "vm": VirtualMachineProvider(),
    "readiness": ReadinessProvider(),
}
ORDER = tuple(PROVIDERS)


def crossed(value: Any) -> Any:
    """As it comes out on the other side of the engine."""
    if isinstance(value, dict):
        return {key: crossed(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [crossed(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    assert value is None or isinstance(value, str | bool | float), value
    return json.loads(json.dumps(value))


@dataclass
class Held:
    """A resource in the stack's state."""

    id: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]


@dataclass
class LocalStack:
    """A stack of plan `shop`; its state is `held`, by kind and name."""

    folder: Path
    stack: str = "dr/prod"
    options: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    held: dict[tuple[str, str], Held] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.file = self.folder / "topology.yaml"
        if not self.file.exists():
            self.rewrite()

    def rewrite(self, change: Callable[[dict[str, Any]], None] | None = None) -> None:
        """Write the topology anew, with a change of the document."""
        write_topology(self.folder, **{**self.options, **({"change": change} if change else {})})

    # -- the engine's operations ------------------------------------------------------------------

    def wanted(self) -> dict[tuple[str, str], dict[str, Any]]:
        topology = self.topology
        config = StackConfig(topology=topology, stack=self.stack, **self.config)
        found = declared(config, topology.plans["shop"])
        resources: dict[tuple[str, str], dict[str, Any]] = {}
        plan = bag.write(found.plan)
        resources["plan", "shop"] = {k: v for k, v in plan.items() if k not in ("changes", "pendingActions")}
        for kind, items in (
            ("volume", found.volumes),
            ("lun", found.luns),
            ("mirror", found.mirrors),
            ("vm", found.vms),
        ):
            for name, props in items.items():
                resources[kind, name] = bag.write(props)
        return {key: crossed(value) for key, value in resources.items()}

    def preview(self) -> dict[tuple[str, str], str]:
        """What each resource would have done to it: create, update, replace or delete; those that stay as they are left out."""
        session.forget()
        wanted = self.wanted()
        steps = {key: step for key, inputs in wanted.items() if (step := self._step(key, self._check(key, inputs)))}
        steps |= {key: "delete" for key in self.held if key not in wanted and key[0] != "readiness"}
        return steps

    def pending_actions(self) -> list[str]:
        session.forget()
        key = ("plan", "shop")
        return list(self._check(key, self.wanted()[key])["pendingActions"])

    def up(
        self, *, replace_all: bool = False, only: str | None = None, deletes: bool = False
    ) -> dict[tuple[str, str], str]:
        """Do it (`only` one kind, with its deletes if `deletes`); the steps that were taken. Raises what a provider raises, with what was done before in the state."""
        session.forget()
        wanted = {key: inputs for key, inputs in self.wanted().items() if only in (None, key[0])}
        steps: dict[tuple[str, str], str] = {}
        old: list[tuple[tuple[str, str], Held]] = []
        for key, raw in wanted.items():
            inputs = self._check(key, raw)
            step = "replace" if replace_all and key in self.held else self._step(key, inputs)
            before = self._apply(key, step, inputs)
            if step:
                steps[key] = step
            if before is not None:
                old.append((key, before))
        if only is None or deletes:
            kinds = [only] if only else ORDER[:-1]
            old += [(key, self.held[key]) for key in self.held if key not in wanted and key[0] in kinds]
        for key, held in reversed(old):
            PROVIDERS[key[0]].delete(held.id, dict(held.outputs))
            if self.held.get(key) is held:
                del self.held[key]
                steps[key] = "delete"
        if only is None:
            self._readiness(steps)
        return steps

    def _readiness(self, steps: dict[tuple[str, str], str]) -> None:
        key, plan = ("readiness", "shop"), self.held["plan", "shop"].outputs
        raw = {"plan": "shop", **{name: plan.get(name) for name in ("phase", "protected", "failures")}}
        inputs = self._check(key, crossed(raw))
        step = self._step(key, inputs)
        self._apply(key, step, inputs)
        if step:
            steps[key] = step

    def refresh(self) -> list[tuple[str, str]]:
        """Read everything; those that are gone."""
        session.forget()
        gone = []
        for key, held in list(self.held.items()):
            found = PROVIDERS[key[0]].read(held.id, dict(held.outputs))
            if not found.id:
                gone.append(key)
                del self.held[key]
                continue
            assert found.inputs is not None
            self.held[key] = Held(found.id, crossed(found.inputs), crossed(found.outs))
        return gone

    def destroy(self, *, only: str | None = None) -> None:
        session.forget()
        for kind in reversed(ORDER):
            if only not in (None, kind):
                continue
            for key in [key for key in self.held if key[0] == kind][::-1]:
                PROVIDERS[kind].delete(self.held[key].id, dict(self.held[key].outputs))
                del self.held[key]

    def _check(self, key: tuple[str, str], inputs: dict[str, Any]) -> dict[str, Any]:
        held = self.held.get(key)
        result = PROVIDERS[key[0]].check(dict(held.inputs) if held else {}, dict(inputs))
        assert not result.failures, [failure.reason for failure in result.failures]
        found: dict[str, Any] = crossed(result.inputs)
        return found

    def _step(self, key: tuple[str, str], inputs: dict[str, Any]) -> str:
        held = self.held.get(key)
        if held is None:
            return "create"
        result = PROVIDERS[key[0]].diff(held.id, dict(held.outputs), dict(inputs))
        return "replace" if result.replaces else "update" if result.changes else ""

    def _apply(self, key: tuple[str, str], step: str, inputs: dict[str, Any]) -> Held | None:
        """Take the step; the old resource where it is replaced, to be deleted at the end."""
        provider, held = PROVIDERS[key[0]], self.held.get(key)
        if step in ("create", "replace"):
            made = provider.create(dict(inputs))
            self.held[key] = Held(made.id, inputs, crossed(made.outs or {}))
            return held if step == "replace" else None
        if held is not None:
            if step == "update":
                updated = provider.update(held.id, dict(held.outputs), dict(inputs))
                held.outputs = crossed(updated.outs or {})
            held.inputs = inputs
        return None

    # -- what is there --------------------------------------------------------------------------------

    @property
    def topology(self) -> Topology:
        return loaded(self.file)

    @property
    def bench(self) -> Bench:
        return Bench(self.topology)

    def world(self) -> World:
        return open_world(self.topology)

    def protect(self) -> None:
        assert not protect_plan(self.world(), "shop", now=True).failures

    def outputs(self, kind: str, name: str = "shop") -> dict[str, Any]:
        return self.held[kind, name].outputs

    def pending(self) -> dict[str, str]:
        return {name: text for (_, name), held in self.held.items() if (text := held.outputs.get("pending"))}

    def other(self, stack: str, **config: Any) -> LocalStack:
        """Another stack on the same topology."""
        return replace(self, stack=stack, config=config, held={})

    def production(self) -> dict[str, Any]:
        """Data, maps and VMs as arrays and hosts show them, but for who owns them."""
        seen = self.world().look()
        found: dict[str, Any] = {}
        for name in seen.arrays:
            state = seen.array(name)
            for volume in state.volumes.values() if state else ():
                found[f"{name}/{volume.name}"] = (
                    volume.size,
                    volume.writable,
                    {lun.name: (lun.size, lun.mapped_to) for lun in volume.luns.values()},
                    tuple(snapshot.name for snapshot in volume.snapshots),
                )
        for name in seen.hosts:
            host = seen.host(name)
            for vm in host.vms.values() if host else ():
                found[f"{name}/{vm.name}"] = (vm.state, vm.definition.uuid)
        return found

    def owners(self) -> Iterator[Owner]:
        seen = self.world().look()
        for name in seen.arrays:
            state = seen.array(name)
            for volume in state.volumes.values() if state else ():
                if volume.owner is not None:
                    yield volume.owner
