"""What hosts and arrays have, and which of their VMs nothing protects; the entries with which a topology adopts those. Pure, but for `take_stock`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dr_provider.model.errors import DrError
from dr_provider.model.inventory import FoundVm, FoundVolume
from dr_provider.model.topology import ArraySpec, HostSpec, Topology
from dr_provider.model.units import BLOCK, format_size
from dr_provider.reconcile.world import World

__all__ = ["Entries", "Stock", "entries_for", "stock_document", "take_stock"]

T = TypeVar("T")
_GIB, _MIB = 1 << 30, 1 << 20


@dataclass(frozen=True)
class Stock:
    """What was found, by host and by array. `silent`: why one gave no answer."""

    topology: Topology
    vms: Mapping[str, tuple[FoundVm, ...]] = field(default_factory=dict)
    volumes: Mapping[str, tuple[FoundVolume, ...]] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)

    def protected_by(self, vm: FoundVm) -> str:
        """`plan P`, `topology T` (another one's), or empty: nothing that can be seen here protects it."""
        if vm.topology == self.topology.name:
            plan = self.topology.plans.get(vm.plan)
            return f"plan {vm.plan}" if plan is not None and vm.vm in plan.members else ""
        return f"topology {vm.topology}" if vm.topology else ""

    @property
    def each(self) -> list[tuple[HostSpec, FoundVm]]:
        """Every VM once: one that dr has defined on several hosts where it runs, else where it was found first."""
        found: dict[tuple[str, str], tuple[HostSpec, FoundVm]] = {}
        for host, vms in self.vms.items():
            for vm in vms:
                key = (f"topology {vm.topology}" if vm.topology else host, vm.name)
                if key not in found or vm.running > found[key][1].running:
                    found[key] = (self.topology.hosts[host], vm)
        return list(found.values())

    @property
    def unprotected(self) -> list[tuple[HostSpec, FoundVm]]:
        return [(host, vm) for host, vm in self.each if not self.protected_by(vm)]


def take_stock(world: World) -> Stock:
    """Ask every host and array what it has, all at once."""
    topology, fleet = world.topology, world.fleet
    silent: dict[str, str] = {}

    def ask(name: str, call: Callable[[], T]) -> T | None:
        try:
            return call()
        except DrError as error:
            silent[name] = str(error)
            return None

    with ThreadPoolExecutor(max_workers=max(1, len(topology.hosts) + len(topology.arrays))) as pool:
        hosts = {name: pool.submit(ask, name, fleet.host(name).inventory) for name in topology.hosts}
        arrays = {name: pool.submit(ask, name, fleet.array(name).inventory) for name in topology.arrays}
        vms = {name: each for name, future in hosts.items() if (each := future.result()) is not None}
        volumes = {name: found for name, future in arrays.items() if (found := future.result()) is not None}
    return Stock(topology, vms, volumes, dict(sorted(silent.items())))


def stock_document(stock: Stock) -> dict[str, Any]:
    """The shape of `dr discover --json`."""
    topology = stock.topology
    return {
        "topology": topology.name,
        "vms": [
            {
                "host": host, "site": topology.hosts[host].site, "name": vm.name, "running": vm.running, "cpus": vm.cpus,
                "memory": vm.memory, "protectedBy": stock.protected_by(vm) or None,
                "disks": [{"name": d.name, "source": d.source, "size": d.size} for d in vm.disks],
                "nics": [{"network": n.network, "mac": n.mac} for n in vm.nics],
            }
            for host, vms in stock.vms.items() for vm in vms
        ],
        "volumes": [
            {
                "array": array, "site": topology.arrays[array].site, "name": v.name, "kind": v.kind, "size": v.size,
                "used": v.used, "topology": v.topology or None,
            }
            for array, volumes in stock.volumes.items() for v in volumes
        ],
        "unprotected": [{"host": host.name, "vm": vm.name} for host, vm in stock.unprotected],
        "silent": dict(stock.silent),
    }  # fmt: skip


# -- entries to adopt -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entries:
    """Sections of a topology as lines of YAML, by section: `networks`, `volumes`, `vms`, `plans`."""

    sections: Mapping[str, tuple[str, ...]]

    def text(self) -> str:
        return "\n".join(f"{name}:\n" + "\n".join(lines) + "\n" for name, lines in self.sections.items() if lines)


def entries_for(stock: Stock) -> Entries:
    """A volume a VM, and a plan a site. What cannot be known stands there as a proposal, with a comment."""
    topology = stock.topology
    namer = _Namer({*topology.networks, *topology.volumes, *topology.vms, *topology.plans})
    networks = _Networks(topology, namer)
    volumes: list[str] = []
    vms: list[str] = []
    plans: list[str] = []
    by_site: dict[str, list[tuple[HostSpec, FoundVm]]] = {}
    for host, vm in stock.unprotected:
        by_site.setdefault(host.site, []).append((host, vm))
    for site, found in by_site.items():
        members = []
        for host, vm in found:
            name = namer(vm.name, "vm")
            members.append(name)
            volumes += _volume(topology, site, name, vm)
            vms += _vm(networks, site, host, name, vm)
        plans += _plan(topology, site, namer(f"adopted-{site}", "plan"), members)
    sections = {"networks": tuple(networks.lines), "volumes": tuple(volumes), "vms": tuple(vms), "plans": tuple(plans)}
    return Entries(sections)


class _Namer:
    """Names as a topology writes them, each once."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    def __call__(self, text: str, otherwise: str) -> str:
        tame = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:27] or otherwise
        tame = tame if tame[0].isalpha() else f"{otherwise}-{tame}"[:27]
        name, number = tame, 2
        while name in self._taken:
            name, number = f"{tame}-{number}", number + 1
        self._taken.add(name)
        return name


class _Networks:
    """Networks of the topology, by what they are called at a site; those that it lacks are added."""

    def __init__(self, topology: Topology, namer: _Namer) -> None:
        self._topology = topology
        self._namer = namer
        self._known = {(site, bridge): n.name for n in topology.networks.values() for site, bridge in n.sites.items()}
        self.lines: list[str] = []

    def name(self, site: str, bridge: str) -> str:
        if (site, bridge) not in self._known:
            name = self._namer(bridge, "net")
            self._known[site, bridge] = name
            others = [f"{other}: {_bridge(bridge)}" for other in self._topology.sites if other != site]
            at = ", ".join([f"{site}: {_bridge(bridge)}", *others, "drill: br-isolated"])
            todo = (
                f"what is {_said(bridge)} elsewhere? drill: apart from production"
                if others
                else "drill: apart from production"
            )
            self.lines.append(f"  {name}: {{{at}}}   # fill in: {todo}")
        return self._known[site, bridge]


def _volume(topology: Topology, site: str, name: str, vm: FoundVm) -> list[str]:
    homes = [a for a in topology.arrays.values() if a.site == site]
    home = homes[0] if homes else None
    copies = _copies(topology, home) if home is not None else []
    size = max(1, -(-2 * sum(_size(disk.size)[0] for disk in vm.disks) // _GIB))
    where = home.name if home is not None else f"{site}-a"
    todo = "" if copies else "   # fill in: an array at another site for its copy"
    todo = todo if home is not None else f"   # fill in: an array at {site}, and one at another site for its copy"
    return [f"  {name}: {{size: {size}GiB, home: {where}, copies: [{', '.join(copies)}]}}{todo}"]


def _copies(topology: Topology, home: ArraySpec) -> list[str]:
    """One array of the same driver at each other site."""
    found: dict[str, str] = {}
    for array in topology.arrays.values():
        if array.site != home.site and array.driver == home.driver:
            found.setdefault(array.site, array.name)
    return list(found.values())


def _vm(networks: _Networks, site: str, host: HostSpec, name: str, vm: FoundVm) -> list[str]:
    memory = format_size(max(1, -(-vm.memory // _MIB)) * _MIB)
    lines = [
        f"  {name}:                          # {_said(vm.name)} on {host.name}",
        f"    cpus: {max(1, vm.cpus)}",
        f"    memory: {memory}",
    ]
    roles = _Namer(())
    disks = [(roles(disk.name, "disk"), disk) for disk in vm.disks]
    lines.append(
        "    disks:"
        if disks
        else "    disks: {root: {volume: " + name + ", size: 20GiB}}   # fill in: no disk was found"
    )
    for role, disk in disks:
        size, known = _size(disk.size)
        said = "" if known else "; fill in: its size is not known"
        lines.append(
            f"      {role}: {{volume: {name}, size: {format_size(size)}}}   # now {_said(disk.source) or 'not said'}{said}"
        )
    if disks:
        lines.append(
            "      # Its data: shut it down, qemu-img convert -O raw SOURCE FILE, and add image: FILE to the disk before it is made."
        )
    cards = [nic for nic in vm.nics if nic.network]
    if cards:
        lines.append("    nics:")
        for nic in cards:
            mac = f', mac: "{nic.mac}"' if re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", nic.mac) else ""
            lines.append(
                f"      - {{network: {networks.name(site, nic.network)}{mac}}}   # address: {{SITE: CIDR}}, unless by DHCP"
            )
    return lines


def _plan(topology: Topology, site: str, name: str, members: Iterable[str]) -> list[str]:
    others = sorted({a.site for a in topology.arrays.values()} - {site})
    todo = "" if others else "   # fill in: the sites at which it may run, this one first"
    return [
        f"  {name}:",
        f"    sites: [{', '.join([site, *others])}]{todo}",
        f"    tiers: [{{members: [{', '.join(members)}]}}]   # fill in: what starts before what; what belongs together",
        "    backup: {every: 15m, consistency: application, keep: {last: 8, daily: 7}}",
        "    replicate: {every: 5m}",
    ]


def _size(size: int | None) -> tuple[int, bool]:
    return (-(-size // BLOCK) * BLOCK, True) if size else (20 * _GIB, False)


def _bridge(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{0,62}", text) else "br-prod"


def _said(text: str) -> str:
    """A word of a device in a comment: one line, nothing that ends it."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:120]
