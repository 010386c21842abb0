"""The embedded twin of a topology: the same names, sizes, plans and rooms, on files in a folder. Pure.

What the real machines say of themselves (capacity, CPUs, memory, what other VMs take of it) is taken over where they answer; where none does,
a host is as large as all VMs together, and that is said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dr_provider.model.codec import canonical
from dr_provider.model.loader import parse
from dr_provider.model.state import HostState, Observation
from dr_provider.model.topology import HostSpec, Topology
from dr_provider.model.units import format_size

__all__ = ["twin_of"]

_MIB = 1 << 20
_LONGEST = 2.0
"""Seconds that a call of the twin takes at most, however slow the real one is."""


def twin_of(
    topology: Topology, seen: Observation, folder: Path, latencies: Mapping[str, float] | None = None
) -> tuple[Topology, tuple[str, ...]]:
    """The twin, with its files in `folder`, and a sentence on each thing in which it differs.

    `latencies`: seconds of a call as measured, by "array NAME" or "host NAME".
    """
    document: dict[str, Any] = json.loads(topology.text)
    taken = latencies or {}
    notes: list[str] = []
    for name, spec in topology.arrays.items():
        state = seen.array(name)
        capacity = {"capacity": _whole(state.capacity)} if state is not None and state.capacity >= _MIB else {}
        document["arrays"][name] = {
            "site": spec.site, "driver": "embedded", "path": f"{name}.array.db", **capacity, **_latency(taken, f"array {name}"),
        }  # fmt: skip
    for name, host in topology.hosts.items():
        cpus, memory, note = _room(topology, host, seen.host(name))
        notes += [note] if note else []
        document["hosts"][name] = {
            "site": host.site, "driver": "embedded", "path": f"{name}.host.db", "cpus": cpus, "memory": _whole(memory),
            **({"cluster": host.cluster} if host.cluster is not None else {}), **_latency(taken, f"host {name}"),
        }  # fmt: skip
    for vm in document["vms"].values():
        for disk in vm["disks"].values():
            disk.pop("image", None)
    fenced = [name for name, plan in document["plans"].items() if plan.pop("fencing", "operator") != "operator"]
    if fenced:
        notes.append(
            f"no guard runs on the twin, so {', '.join(fenced)} is moved by an operator's word there; the wait for a guard is not in its time"
        )
    silent = [name for name, plan in document["plans"].items() if {*plan} & {"callouts", "prompts"}]
    for name in silent:
        document["plans"][name] = {k: v for k, v in document["plans"][name].items() if k not in ("callouts", "prompts")}
    if silent:
        notes.append(
            f"callouts and prompts are not run in a rehearsal, so those of {', '.join(silent)} are not in its time"
        )
    document.pop("witness", None)
    return parse(canonical(document), source="the twin", base=folder), tuple(notes)


def _whole(count: int) -> str:
    return format_size(max(_MIB, count // _MIB * _MIB))


def _latency(taken: Mapping[str, float], key: str) -> dict[str, str]:
    milliseconds = round(min(taken.get(key, 0.0), _LONGEST) * 1000)
    return {"latency": f"{milliseconds}ms"} if milliseconds else {}


def _room(topology: Topology, host: HostSpec, state: HostState | None) -> tuple[int, int, str]:
    """CPUs and memory (bytes) for the topology's VMs, and what had to be assumed."""
    if state is not None:
        others = [vm.definition for name, vm in state.vms.items() if vm.state == "running" and name not in topology.vms]
        cpus, memory = state.cpus - sum(d.cpus for d in others), state.memory - sum(d.memory for d in others)
        return max(1, cpus), max(_MIB, memory), ""
    said_cpus, said_memory = host.options.get("cpus"), host.options.get("memory")
    if isinstance(said_cpus, int) and isinstance(said_memory, int):
        return said_cpus, said_memory, ""
    vms = [vm.there(host.site) for vm in topology.vms.values()]
    cpus, memory = sum(vm.cpus for vm in vms), sum(vm.memory for vm in vms)
    return cpus, memory, f"host {host.name} does not answer, so its twin has room for all VMs"
