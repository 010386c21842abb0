"""The small world that the machine plays with: a topology that can be edited, worlds of runs that may die, and a look past all faults."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dr_provider.arrays.base import Fabric
from dr_provider.arrays.embedded.blocks import connect
from dr_provider.arrays.embedded.store import store_of
from dr_provider.arrays.registry import open_array
from dr_provider.cli.simulation import Bench
from dr_provider.hypervisors.registry import open_host
from dr_provider.model import faults
from dr_provider.model.errors import DrError
from dr_provider.model.loader import load
from dr_provider.model.topology import Topology
from dr_provider.protection.fleet import Fleet
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.world import World, open_world
from tests.soak.mortal import Life, Mortal
from tests.support.topologies import topology_document

__all__ = ["PLAN", "SoakBench", "shop"]

PLAN = "shop"
VMS = ("db", "web")


def shop(hosts: int, *, sites: Sequence[str], via: Mapping[str, str] | None = None) -> dict[str, Any]:
    """db has a disk on both volumes, so that a point that is torn between them shows in its ledger."""

    def change(document: dict[str, Any]) -> None:
        document["vms"]["db"]["disks"]["data"] = {"volume": "vol-2", "size": "1MiB"}

    return topology_document(
        sites=sites, via=via, vms=VMS, volumes=2, hosts_per_site=hosts, disk="1MiB", volume_size="64MiB",
        source_budget="2ms", change=change,
    )  # fmt: skip


class SoakBench:
    """Lives in a folder of its own. Each command gets a new world, as a process of its own would."""

    def __init__(self, folder: Path, document: dict[str, Any]) -> None:
        self._file = folder / "topology.yaml"
        self._folder = folder
        self.document = document
        self.lines: list[str] = []
        self.write_topology()
        (folder / "seed.img").write_bytes(b"image" * 1000)

    def write_topology(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(self.document, indent=1), encoding="utf-8")
        self.topology: Topology = load(self._file)

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the topology; one that the loader refuses is taken back."""
        before = json.dumps(self.document)
        try:
            change(self.document)
            self.write_topology()
        except (DrError, LookupError):
            self.document = json.loads(before)
            self.write_topology()
            raise

    @property
    def sites(self) -> tuple[str, ...]:
        return self.topology.plans[PLAN].sites

    def world(self, life: Life, by: str) -> World:
        topology = self.topology
        fabric = Fabric.of(topology)
        fleet = Fleet(
            topology,
            lambda spec, timeout: Mortal(open_array(spec, timeout=timeout, fabric=fabric), life),  # type: ignore[arg-type, return-value]
            lambda spec, timeout: Mortal(open_host(spec, connect=connect, timeout=timeout), life),  # type: ignore[arg-type, return-value]
        )
        return World(topology, fleet, by, "", self.lines.append)

    @contextmanager
    def bench(self) -> Iterator[Bench]:
        bench = Bench(self.topology)
        try:
            yield bench
        finally:
            bench.close()

    def see(self) -> PlanView:
        """Everything as it is, whoever is silent."""
        with _past(lambda _fault: True):
            world = open_world(self.topology)
            try:
                return world.view(PLAN)
            finally:
                world.close()

    def start_by_hand(self, host: str, vm: str) -> None:
        """What somebody at the site does, with no word to anyone: the VM is started as its host has it."""
        with _past(lambda fault: fault.kind in ("isolated", "operator")):
            spec = self.topology.hosts[host]
            driver = open_host(spec, connect=connect, timeout=self.topology.source_budget)
            try:
                driver.start(vm)
            finally:
                driver.close()

    def close(self) -> None:
        for spec in self.topology.arrays.values():
            store_of(Path(str(spec.options["path"]))).close()


@contextmanager
def _past(passed: Callable[[faults.Fault], bool]) -> Iterator[None]:
    """While this lasts nobody meets the faults that `passed` names."""
    read = faults.read
    vars(faults)["read"] = lambda db: tuple(fault for fault in read(db) if not passed(fault))
    try:
        yield
    finally:
        vars(faults)["read"] = read
