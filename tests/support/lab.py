"""A whole small world on embedded drivers, in process: made, written to, lost, moved and looked at as an operator would."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from dr_provider.cli.simulated_disks import read_disk
from dr_provider.cli.simulation import Bench, LedgerReport
from dr_provider.hypervisors.embedded.lab import read_ledger
from dr_provider.model.topology import Topology
from dr_provider.reconcile.decision import Decision, Want
from dr_provider.reconcile.outcome import Outcome
from dr_provider.reconcile.protect import ProtectOutcome, protect_plan
from dr_provider.reconcile.provision_all import apply_all
from dr_provider.reconcile.run import decide_plan, run_plan
from dr_provider.reconcile.status import status_document
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.world import World, open_world
from tests.support.topologies import loaded, write_topology

__all__ = ["Lab"]


class Lab:
    """Each call opens a world of its own, as each command does, so that nothing is remembered from one to the next."""

    def __init__(self, folder: Path, *, plan: str = "shop", made: bool = True, **topology: Any) -> None:
        self.plan = plan
        self.path = write_topology(folder, **topology)
        self.lines: list[str] = []
        self.bench = Bench(self.topology)
        if made:
            self.apply()

    @property
    def topology(self) -> Topology:
        return loaded(self.path)

    def world(self, stack: str = "") -> World:
        return open_world(self.topology, stack=stack, progress=self.lines.append)

    def apply(self) -> list[Any]:
        return list(apply_all(self.world(), self.lines.append))

    # -- what an operator does ----------------------------------------------------------------------

    def decide(self, site: str | None = None, **want: Any) -> Decision:
        return decide_plan(self.world(), self.plan, self._want(site, want))

    def move(self, site: str | None = None, **want: Any) -> Outcome:
        return run_plan(self.world(str(want.get("stack") or "")), self.plan, self._want(site, want))

    def _want(self, site: str | None, want: dict[str, Any]) -> Want:
        return Want(site=site, **want)

    def protect(self, *, now: bool = True) -> ProtectOutcome:
        return protect_plan(self.world(), self.plan, now=now)

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = status_document(self.world())
        found: dict[str, Any] = document["plans"][self.plan]
        return found

    def view(self) -> PlanView:
        return self.world().view(self.plan)

    # -- the bench ----------------------------------------------------------------------------------

    def write(self, count: int = 10, *vms: str) -> None:
        for vm in vms or self.topology.plans[self.plan].members:
            self.bench.write(vm, count)

    def write_at(self, site: str, count: int) -> None:
        """To every VM of the plan where it runs at the site."""
        for vm in self.topology.plans[self.plan].members:
            self.bench.write(vm, count, site)

    def lose(self, target: str, *, running: bool = False) -> None:
        self.bench.lose(target, running=running)

    def heal(self, target: str) -> None:
        self.bench.heal(target)

    def ledger(self, vm: str, site: str | None = None) -> LedgerReport:
        return self.bench.ledger(vm, site)

    def last(self, *vms: str) -> dict[str, int]:
        return {vm: self.ledger(vm).last for vm in vms or self.topology.plans[self.plan].members}

    def safety_ledgers(self) -> dict[str, set[int]]:
        """The last entries of the ledgers in the safety copies, by array."""
        found: dict[str, set[int]] = {}
        seen = self.view().seen
        for array, spec in self.topology.arrays.items():
            state = seen.array(array)
            path = Path(str(spec.options["path"]))
            for volume in state.volumes.values() if state else ():
                if volume.kind != "safety":
                    continue
                for place in self.view().places:
                    disks = tuple(
                        replace(disk, volume=volume.name, target=f"embedded:{path}#{volume.name}/{disk.lun}")
                        for disk in place.state.definition.disks
                        if disk.lun in volume.luns
                    )
                    if disks and len(disks) == len(place.state.definition.disks):
                        ledger = read_ledger(replace(place.state.definition, disks=disks), read_disk)
                        assert ledger.intact
                        found.setdefault(array, set()).add(ledger.last)
        return found

    def serials(self) -> dict[str, int]:
        """The count of changes of each array that answers: whoever changed nothing leaves them as they were."""
        seen = self.world().look()
        return {name: state.serial for name in self.topology.arrays if (state := seen.array(name)) is not None}

    def running(self) -> dict[str, str]:
        """Where each VM of the plan runs, as site, by VM; a VM that runs twice fails the caller."""
        view = self.view()
        found: dict[str, str] = {}
        for place in view.places:
            if place.running:
                assert place.vm not in found, f"{place.vm} runs at {found[place.vm]} and {place.site}"
                found[place.vm] = place.site
        return found
