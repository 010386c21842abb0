"""A site's guard and a target beside each other in one process, each with a clock of its own that a test moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dr_provider.model.records import Alive, Grant
from dr_provider.model.state import ArrayState, WitnessState
from dr_provider.reconcile.decision import Want
from dr_provider.reconcile.fencing import BEAT, WITNESS, alive_at, grant_of
from dr_provider.reconcile.guard import SiteGuard, guard_world
from dr_provider.reconcile.outcome import Outcome
from dr_provider.reconcile.run import run_plan
from dr_provider.reconcile.view import plan_view
from tests.support.lab import Lab

__all__ = ["Timeline", "fenced_lab_options", "move_beside"]


def fenced_lab_options(fencing: str, *, witness: bool | None = None, **more: Any) -> dict[str, Any]:
    """Options of a lab whose plan is fenced; an embedded witness goes with `witness`, and with lease where it is asked for."""

    def change(document: dict[str, Any]) -> None:
        for plan in document["plans"].values():
            plan["fencing"] = fencing
        if witness if witness is not None else fencing == "witness":
            document["witness"] = {"driver": "embedded", "path": ".dr/witness.db"}

    return {"change": change, "source_budget": "100ms", "vms": 2, "volumes": 1, **more}


@dataclass
class Timeline:
    """One time for both, of which each clock shows what it likes: the guard's runs `rate` as fast as the target's. `guarded` False: the
    guard is paused (SIGSTOP), while its clock goes on."""

    lab: Lab
    rate: float = 1.0
    now: float = 1000.0
    guarded: bool = True
    guards: list[SiteGuard] = field(default_factory=list)
    each: Callable[[], None] = field(default=lambda: None)
    stopped_at: float | None = None
    """When nothing ran at the first guard's site any more, by the target's clock."""
    began: float | None = None
    _rounds: float = 0.0

    def guard(self, site: str = "east") -> SiteGuard:
        world = guard_world(self.lab.topology, site, self.lab.lines.append)
        guard = SiteGuard(world, site, [self.lab.plan], clock=lambda: 1000.0 + (self.now - 1000.0) * self.rate)
        self.guards.append(guard)
        return guard

    def sleep(self, seconds: float) -> None:
        """The target sleeps, and the guards go on: looking at their clocks every second, a round every BEAT."""
        until = self.now + max(seconds, 0.01)
        while self.now < until:
            self.now = min(until, self.now + 1.0)
            self.each()
            if not self.guarded:
                continue
            for guard in self.guards:
                guard.check()
                if self.now - self._rounds >= BEAT:
                    guard.round()
            if self.now - self._rounds >= BEAT:
                self._rounds = self.now
            if self.stopped_at is None and any(g.watches[self.lab.plan].down for g in self.guards):
                assert not self.runs(self.guards[0].site)
                self.stopped_at = self.now

    def runs(self, site: str) -> list[str]:
        """What of the plan runs at a site, whoever can be reached from elsewhere."""
        world = guard_world(self.lab.topology, site, lambda line: None)
        try:
            return sorted(place.vm for place in world.view(self.lab.plan).running_at(site))
        finally:
            world.close()

    # -- what stands where, whatever is cut ----------------------------------------------------------

    def alive(self, store: str, site: str = "east") -> Alive | None:
        vantage = "" if store == WITNESS else self.lab.topology.arrays[store].site
        world = guard_world(self.lab.topology, vantage or "west", lambda line: None)
        try:
            seen = world.look()
            assert isinstance(seen.witness if store == WITNESS else seen.arrays[store], ArrayState | WitnessState)
            return alive_at(plan_view(world.topology, self.lab.plan, seen), store, site)
        finally:
            world.close()

    def grant(self, number: int = 2) -> Grant | None:
        return grant_of(self.lab.world().view(self.lab.plan), number)


def move_beside(time: Timeline, site: str = "west", **want: Any) -> Outcome:
    """A move whose waiting is the timeline's."""
    world = time.lab.world()
    world.monotonic, world.sleep = lambda: time.now, time.sleep
    time.began = time.now
    return run_plan(world, time.lab.plan, Want(site=site, **want))
