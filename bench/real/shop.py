"""Making what the rows about guests start from: the plan applied, its guests running at east, protected at west."""

from __future__ import annotations

import os
from pathlib import Path

from bench.real.guests import Stamps
from bench.real.topology import PLAN, plan_of_guests
from dr_provider.model.errors import DrError
from dr_provider.model.loader import load
from dr_provider.reconcile.protect import protect_plan
from dr_provider.reconcile.provision_all import apply_all
from dr_provider.reconcile.world import open_world
from lab.machines import Lab

__all__ = ["ENTRIES", "made"]

ENTRIES = 5
"""Ledger entries that each guest writes before it is protected, each time."""


def made(lab: Lab, folder: Path) -> tuple[Path, Stamps]:
    """The topology's file, and the guests. Raises DrError where something is not as it should be."""
    # The journal of each run goes where the benchmark is, not to the user's own.
    os.environ["DR_STATE_HOME"] = str(folder / "state")
    path = plan_of_guests(lab, folder / "shop.yaml")
    topology = load(path)
    world = open_world(topology, by="bench")
    for result in apply_all(world, lambda _line: None):
        if isinstance(result, DrError):
            raise result
    stamps = Stamps(lab, {name: host.site for name, host in topology.hosts.items()})
    stamps.write(ENTRIES)
    protected = protect_plan(world, PLAN, now=True)
    if protected.failures:
        raise DrError("; ".join(protected.failures))
    world.close()
    return path, stamps
