"""What the steps of a scenario hand on to each other, and looks that several facts share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from demo import measure
from demo.commands import CommandFailed, Commands, Said
from demo.facts import Account
from demo.operators import Foretold, Operator
from demo.stage import Ledger, Stage
from dr_provider.model.loader import load
from dr_provider.model.topology import ArraySpec, HostSpec, Topology

__all__ = ["Drill", "Point", "Scene"]


@dataclass(frozen=True)
class Point:
    """A recovery point. `marks`: the entry at which each ledger stands in it, by its seal, or None where the guest said none."""

    name: str
    level: str
    marks: Mapping[str, int | None]
    ends: Mapping[str, int]
    """The entry at which each ledger must end in it: what the applications had taken when it was asked for."""


@dataclass(frozen=True)
class Drill:
    report: Mapping[str, Any]
    marks: Mapping[str, int | None]
    ends: Mapping[str, int]
    before: Mapping[str, int]
    """What stood on the sites before it."""


@dataclass
class Scene:
    """A scenario as it is played."""

    stage: Stage
    operator: Operator
    account: Account
    plan: str

    taken: dict[str, int] = field(default_factory=dict)
    """The last entry that each application took, as it said when it wrote."""
    asked: dict[str, int] = field(default_factory=dict)
    """The last entry that each application was to take."""
    at_stake: dict[str, int] = field(default_factory=dict)
    """The last entry of each VM that a move has to bring along: what was taken, and after a disaster what was on its disks."""
    on_disk: dict[str, int] = field(default_factory=dict)
    """The last entry on each VM's disks, as far as it is known."""
    lost: dict[str, int] = field(default_factory=dict)
    """`on_disk` at the last disaster."""
    saved: dict[str, int] = field(default_factory=dict)
    """What of it the newest recovery point had."""
    buffered: int = 0
    known: bool = True
    """Whether `taken` is where the guests stand; after a move it need not be."""
    point: Point | None = None
    ended: list[str] = field(default_factory=list)
    up: Said | None = None
    epoch_before: int = 0
    word: str = ""
    foretold: Foretold | None = None
    under_drill: Drill | None = None
    _status: dict[str, Any] | None = None
    _ledgers: dict[str, Ledger] | None = None

    @property
    def run(self) -> Commands:
        return self.stage.run

    @cached_property
    def topology(self) -> Topology:
        return load(self.stage.folder.topology)

    @property
    def vms(self) -> tuple[str, ...]:
        """The plan's VMs in the order of its tiers."""
        if self.plan not in self.topology.plans:
            raise CommandFailed(
                f"the stage's topology has no plan {self.plan!r}; it has {', '.join(self.topology.plans)}"
            )
        return tuple(self.topology.plans[self.plan].members)

    # -- looks, each taken once until something happens ----------------------------------------------

    def happened(self) -> None:
        """Forget what was seen: it may be otherwise now."""
        self._status = self._ledgers = None

    def seen(self) -> dict[str, Any]:
        """What `dr status` says of everything."""
        if self._status is None:
            self._status = self.run.dr("status")
        return self._status

    def status(self) -> dict[str, Any]:
        """What it says of the plan."""
        found: dict[str, Any] = self.seen()["plans"][self.plan]
        return found

    def ledgers(self) -> dict[str, Ledger]:
        """Of the plan's VMs where they run."""
        if self._ledgers is None:
            self._ledgers = self.stage.ledgers(self.vms)
        return self._ledgers

    def points(self) -> dict[str, Any]:
        return self.run.dr("points", self.plan)

    def parties(self, sites: Iterable[str]) -> list[str]:
        """The arrays and hosts of some sites, sorted."""
        wanted = set(sites)
        every: list[ArraySpec | HostSpec] = [*self.topology.arrays.values(), *self.topology.hosts.values()]
        return sorted(device.name for device in every if device.site in wanted)

    def inventory(self) -> dict[str, int]:
        """What stands on the sites: as the drivers read it, and by the components' own account."""
        return {**measure.inventory(self.stage.folder.topology), **self.stage.things()}

    def need_point(self) -> Point:
        """The newest recovery point. Raises CommandFailed where the scenario made none."""
        if self.point is None:
            raise CommandFailed("the scenario has not protected the plan before this")
        return self.point

    def ends(self, marks: Mapping[str, int | None], taken: Mapping[str, int]) -> dict[str, int]:
        """Where ledgers must end in a point: where its seal says so there, and else at what was taken when it was asked for."""
        return {vm: taken.get(vm, 0) if (mark := marks.get(vm)) is None else mark for vm in self.vms}
