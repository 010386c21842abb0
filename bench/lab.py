"""Making what is measured: the topology's arrays, hosts, VMs and a recovery point on both sites, at full speed."""

from __future__ import annotations

from pathlib import Path

from bench.topology import PLAN, Size, write
from dr_provider.cli.simulation import Bench
from dr_provider.model.errors import DrError
from dr_provider.model.loader import load
from dr_provider.reconcile.protect import protect_plan
from dr_provider.reconcile.provision_all import apply_all
from dr_provider.reconcile.world import open_world

__all__ = ["lose_east", "made"]

ENTRIES = 4
"""Ledger entries that each guest writes before it is protected."""


def made(folder: Path, size: Size) -> Path:
    """The topology, made and protected in the folder; its file without latencies. Raises DrError where something is not as it should be."""
    path = write(folder, size, latency=False)
    topology = load(path)
    world = open_world(topology, by="bench")
    for result in apply_all(world, lambda _line: None):
        if isinstance(result, DrError):
            raise result
    bench = Bench(topology)
    for vm in topology.plans[PLAN].members:
        bench.write(vm, ENTRIES)
    protected = protect_plan(world, PLAN, now=True)
    if protected.failures:
        raise DrError("; ".join(protected.failures))
    world.close()
    return path


def lose_east(path: Path) -> None:
    """Power and reach of the whole site are gone."""
    Bench(load(path)).lose("site:east")
