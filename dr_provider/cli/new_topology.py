"""A first topology: from a few answers to a commented document that is valid."""

from __future__ import annotations

import os.path
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dr_provider.model import addresses, units
from dr_provider.model.loader import parse

__all__ = ["Answers", "Machines", "render", "stack_config"]

_GIB = 1 << 30


@dataclass(frozen=True)
class Machines:
    """What stands at a site: the array's SSH address and pool, the portal of its LUNs, the host's libvirt URI, the production bridge."""

    array: str = ""
    pool: str = "tank"
    host: str = ""
    bridge: str = "br-prod"

    @property
    def portal(self) -> str:
        host = addresses.ssh(self.array).host
        return f"[{host}]:3260" if ":" in host else f"{host}:3260"


@dataclass(frozen=True)
class Answers:
    """`driver`: embedded or real. `memory`, `disk` and `every` as the topology writes them."""

    name: str
    driver: str
    sites: Sequence[str]
    vms: Sequence[str]
    plan: str
    cpus: int
    memory: str
    disk: str
    every: str
    machines: Mapping[str, Machines] = field(default_factory=dict)
    drill_bridge: str = "br-isolated"


def render(answers: Answers, file: Path) -> str:
    """The document for a file. Raises TopologyInvalid, with every fault, where the answers do not fit together."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    every = units.duration(answers.every)
    count = len(answers.vms)
    # As much again as the disks: what is written on top of snapshots needs room.
    volume = max(1, -(-2 * count * units.block_size(answers.disk) // _GIB))
    memory = max(1, -(-2 * count * units.size(answers.memory) // _GIB))
    values = {
        **vars(answers),
        "machines": {site: answers.machines.get(site, Machines()) for site in answers.sites},
        "schema": os.path.relpath(Path(addresses.__file__).parent / "topology.schema.json", file.absolute().parent),
        "budget": "2s" if answers.driver == "embedded" else "10s",
        "host_cpus": max(8, 2 * count * answers.cpus),
        "host_memory": max(32, memory),
        "volume_gib": volume,
        "replicate": units.format_duration(min(every, 300.0)),
        # A backup and a cycle may both be due before anything is late.
        "rpo": units.format_duration(max(every, 2 * min(every, 300.0))),
    }
    loader = PackageLoader("dr_provider.cli")
    environment = Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    text = environment.get_template("topology.yaml.j2").render(values)
    parse(text, source=str(file), base=file.absolute().parent)
    return text


def stack_config(answers: Answers, topology: str) -> str:
    """The stack's config: the topology, as a path from the folder stacks/, and the plan where it is to be active."""
    return (
        "config:\n"
        f"  dr:topology: {topology}\n"
        "  dr:activeSites:\n"
        f"    {answers.plan}: {answers.sites[0]}        # changed to another site, this is a failover\n"
    )
