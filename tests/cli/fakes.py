"""Stand-ins for the reconciler below the commands: what `dr` says and asks is tested without moving anything.

Run as a program it is `dr` over these stand-ins, for tests that need a terminal, signals or a process.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from dr_provider.model import stopping
from dr_provider.model.errors import DrError, Stopped
from dr_provider.reconcile.decision import Action, Decision, Loss, Want
from dr_provider.reconcile.word import ask_for_word
from dr_provider.reconcile.world import World

LINE = '--force "1: <reason>"'


def plan_status(site: str = "west", epoch: int = 2, **more: Any) -> dict[str, Any]:
    return {
        "activeSite": site,
        "epoch": epoch,
        "phase": "steady",
        "protected": True,
        "degraded": [],
        "recoveryPoint": {"id": f"e{epoch}-s3-0a1b2c3d", "time": "2026-01-02T03:04:05.000Z"},
        "vms": {
            "db": {"site": site, "host": f"{site}-1", "state": "running"},
            "app": {"site": site, "host": f"{site}-2", "state": "running"},
        },
        "mirrors": [{"volume": "vol-1", "from": "west-a", "to": "east-a", "state": "synced", "lagSeconds": 12.0}],
        "ready": True,
        "readiness": [{"check": "lag", "level": "ok", "found": "east: what is whole there is 12 s old.", "todo": ""}],
        "lagSeconds": 12.0,
        "rpoSeconds": 600.0,
        "lastDrill": None,
        **more,
    }


def planned(plan: str = "shop", **more: Any) -> Decision:
    return replace(
        Decision(
            plan,
            "planned",
            "east",
            "west",
            "east",
            loss=Loss(0.0, "nothing is lost: the last state of east is sent before the break"),
            estimate=14.2,
            actions=(
                Action("claim", "claim", "claim epoch 2 for west"),
                Action("stop", "stop", "stop VM db on east-1", ("claim",)),
                Action("start", "start", "start VM db on west-1", ("stop",)),
            ),
        ),
        **more,
    )


def refused(plan: str = "shop") -> Decision:
    why = f"plan {plan}: nothing proves that app, db does not run at east any more; silence proves nothing"
    return replace(planned(plan), kind="disaster").with_refusal(why, ask_for_word(plan, 1))


@dataclass
class FakeOutcome:
    decision: Decision
    failures: tuple[str, ...] = ()
    status: Mapping[str, Any] = field(default_factory=plan_status)
    safety: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        return {
            **self.decision.document(),
            "point": "e1-s9-0a1b2c3d",
            "seconds": 14.21,
            "failures": list(self.failures),
            "safety": list(self.safety),
            "remarks": [],
            "status": self.status,
        }


class Reconciler:
    """`decisions` by plan (else a planned move); `outcomes` by plan: an Outcome, or an error to raise. `calls` lists what was asked for."""

    def __init__(self) -> None:
        self.decisions: dict[str, Decision | DrError] = {}
        self.outcomes: dict[str, FakeOutcome | DrError | Exception] = {}
        self.status: dict[str, Any] = {"plans": {"shop": plan_status()}}
        self.points: dict[str, Any] = {"plan": "shop", "activeSite": "west", "points": []}
        self.copies: list[dict[str, Any]] = []
        self.calls: list[tuple[str, str, Want | str | None]] = []

    def modules(self) -> dict[str, ModuleType]:
        """The modules to put in place of the real ones, by name."""
        run, status, safety = ModuleType("run"), ModuleType("status"), ModuleType("safety")
        run.__dict__.update(decide_plan=self.decide_plan, run_plan=self.run_plan, start_plan=self.start_plan)
        status.__dict__.update(
            status_document=lambda world, here=None: self.status, point_listing=lambda world, plan: self.points
        )
        safety.__dict__.update(
            list_safety=lambda world: self.copies, export_safety=self.export_safety, drop_safety=self.drop_safety
        )
        return {
            "dr_provider.reconcile.run": run,
            "dr_provider.reconcile.status": status,
            "dr_provider.reconcile.safety": safety,
        }

    def decide_plan(self, world: World, plan: str, want: Want) -> Decision:
        assert want.by == world.by
        self.calls.append(("decide", plan, replace(want, by="dr")))
        decision = self.decisions.get(plan, planned(plan))
        if isinstance(decision, DrError):
            raise decision
        return decision

    def run_plan(self, world: World, plan: str, want: Want) -> FakeOutcome:
        assert want.by == world.by
        self.calls.append(("run", plan, replace(want, by="dr")))
        world.progress(f"plan {plan} [1/3] claim epoch 2 for west: done in 0.01 s")
        outcome = self.outcomes.get(plan, FakeOutcome(planned(plan)))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def start_plan(self, world: World, plan: str, word: str | None) -> FakeOutcome:
        self.calls.append(("start", plan, word))
        return FakeOutcome(replace(planned(plan), kind="repair"))

    def export_safety(self, world: World, name: str, lun: str, path: Any) -> int:
        self.calls.append(("export", name, lun))
        path.write_bytes(b"\0" * 512)
        return 512

    def drop_safety(self, world: World, name: str) -> dict[str, Any]:
        self.calls.append(("drop", name, None))
        return {"dropped": name}

    @property
    def changed(self) -> list[str]:
        """Which plans or copies were changed."""
        return [name for what, name, _ in self.calls if what not in ("decide", "export")]


class Slow(Reconciler):
    """Works through many actions and looks before each whether it is to stop."""

    def run_plan(self, world: World, plan: str, want: Want) -> FakeOutcome:
        for number in range(1, 200):
            if reason := stopping.requested():
                time.sleep(0.5)  # the action under way ends first
                raise Stopped(f"plan {plan}: stopped at a safe action ({reason}); run again to go on")
            world.progress(f"plan {plan} [{number}/200] step {number}: done")
            time.sleep(0.1)
        return FakeOutcome(planned(plan))


class Stuck(Reconciler):
    """An action that does not end."""

    def run_plan(self, world: World, plan: str, want: Want) -> FakeOutcome:
        world.progress(f"plan {plan} [1/3] step 1: under way")
        time.sleep(60)
        return FakeOutcome(planned(plan))


if __name__ == "__main__":
    kinds = {"quick": Reconciler, "slow": Slow, "stuck": Stuck}
    sys.modules.update(kinds[sys.argv.pop(1)]().modules())
    from dr_provider.cli.main import main

    main()
