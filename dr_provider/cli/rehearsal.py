"""A disaster rehearsed for real on the embedded twin of a topology: made, written to, protected, lost, moved, and every ledger read.

Invariants:
1. Nothing of the real topology is touched: it has been looked at before, and all that is written is in the rehearsal's own folder.
2. The answer of `whatif` on the twin is a promise, and what is found afterwards is held against it, VM by VM.
3. A ledger is well when it is whole and holds all that the promise says: what the recovery point holds, or what had reached the disks.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dr_provider.cli.simulation import Bench
from dr_provider.model.errors import DrError
from dr_provider.model.state import Observation
from dr_provider.model.topology import Topology
from dr_provider.reconcile.decision import Want
from dr_provider.reconcile.losses import Lost
from dr_provider.reconcile.protect import protect_plan
from dr_provider.reconcile.provision_all import apply_all
from dr_provider.reconcile.reports.kept import read_file
from dr_provider.reconcile.run import run_plan
from dr_provider.reconcile.twin import twin_of
from dr_provider.reconcile.view import plan_view
from dr_provider.reconcile.whatif import PlanFate, whatif
from dr_provider.reconcile.world import World, open_world

__all__ = ["PlanResult", "Rehearsal", "VmResult", "rehearse"]

_BEFORE, _AFTER = 16, 11
"""Entries of each guest before its backup, and after it: of the latter some reach its disks, and some are in its memory still."""


@dataclass(frozen=True)
class VmResult:
    """`promised`: the last entry that must be there; `last`: the one that is. `why`: what is not as promised (empty: it is)."""

    vm: str
    state: str
    site: str | None
    host: str | None
    promised: int
    last: int
    why: str = ""

    @property
    def well(self) -> bool:
        return not self.why


@dataclass(frozen=True)
class PlanResult:
    """What became of a plan. `seconds`: of its restart or move on the twin; None where there was none. `run`: that one's report."""

    plan: str
    outcome: str
    site: str | None
    seconds: float | None
    loss: str
    vms: tuple[VmResult, ...]
    run: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Rehearsal:
    """The whole. `notes`: in what the twin differs from what it is the twin of."""

    lost: tuple[Lost, ...]
    plans: tuple[PlanResult, ...]
    notes: tuple[str, ...]

    @property
    def wrong(self) -> tuple[str, ...]:
        return tuple(vm.why for plan in self.plans for vm in plan.vms if not vm.well)

    def document(self, topology: str) -> dict[str, Any]:
        """The shape of `dr rehearse --json`."""
        return {
            "topology": topology,
            "lose": [str(each) for each in self.lost],
            "well": not self.wrong,
            "notes": list(self.notes),
            "plans": [
                {
                    "plan": plan.plan,
                    "outcome": plan.outcome,
                    "site": plan.site,
                    "seconds": plan.seconds,
                    "loss": plan.loss,
                    "vms": [
                        {
                            "vm": vm.vm, "state": vm.state, "site": vm.site, "host": vm.host,
                            "promised": vm.promised, "last": vm.last, "well": vm.well, "why": vm.why,
                        }
                        for vm in plan.vms
                    ],
                }
                for plan in self.plans
            ],
        }  # fmt: skip


def rehearse(
    topology: Topology,
    seen: Observation,
    lost: Sequence[Lost],
    folder: Path,
    *,
    latencies: Mapping[str, float] | None = None,
    progress: Callable[[str], None],
) -> Rehearsal:
    """Play the loss on a twin in `folder` (empty, and left as it is at the end). Raises DrError where the twin cannot be made or protected."""
    twin, notes = twin_of(topology, seen, folder, latencies)
    # So that a twin that is kept can be looked at: dr --topology FOLDER/topology.json status.
    (folder / "topology.json").write_text(f"{twin.text}\n", encoding="utf-8")
    stage = _Stage(twin, progress)
    with _own_journals(folder):
        try:
            active = {plan: plan_view(topology, plan, seen).active for plan in topology.plans}
            stage.make(active)
            promised = stage.write_and_protect()
            fates = stage.promise(lost)
            on_disk = stage.lasts()
            progress(f"losing {', '.join(str(each) for each in lost)}")
            for each in lost:
                stage.bench.lose(str(each))
            results = stage.play(fates, promised, on_disk)
        finally:
            stage.close()
    return Rehearsal(tuple(lost), results, notes)


@contextmanager
def _own_journals(folder: Path) -> Iterator[None]:
    """What is measured on the twin says nothing of the real machines, so it is kept away from their journals."""
    before = os.environ.get("DR_STATE_HOME")
    os.environ["DR_STATE_HOME"] = str(folder / "state")
    try:
        yield
    finally:
        if before is None:
            del os.environ["DR_STATE_HOME"]
        else:
            os.environ["DR_STATE_HOME"] = before


class _Stage:
    """The twin, and what is done on it. Each step opens a world of its own, as commands do."""

    def __init__(self, twin: Topology, progress: Callable[[str], None]) -> None:
        self.twin = twin
        self.progress = progress
        self.bench = Bench(twin)

    def close(self) -> None:
        self.bench.close()

    @contextmanager
    def _world(self) -> Iterator[World]:
        world = open_world(self.twin, by="rehearsal")
        try:
            yield world
        finally:
            world.close()

    def make(self, active: Mapping[str, str | None]) -> None:
        self.progress(f"making the twin of {len(self.twin.vms)} VMs")
        with self._world() as world:
            for result in apply_all(world, lambda _line: None):
                if isinstance(result, DrError):
                    raise result
        for plan, site in active.items():
            if site is not None and site != self.twin.plans[plan].sites[0]:
                self.progress(f"{plan}: to {site}, where it is active")
                self._protect(plan)
                with self._world() as world:
                    run_plan(world, plan, Want(site=site))

    def _protect(self, plan: str) -> None:
        with self._world() as world:
            outcome = protect_plan(world, plan, now=True)
        if outcome.failures:
            raise DrError(f"the twin of plan {plan} cannot be protected: {'; '.join(outcome.failures)}")

    def write_and_protect(self) -> dict[str, int]:
        """What each VM's recovery point holds: its last entry."""
        self._write(_BEFORE)
        for plan in self.twin.plans:
            self.progress(f"{plan}: protecting it")
            self._protect(plan)
        promised = self.lasts()
        self._write(_AFTER)
        return promised

    def _write(self, count: int) -> None:
        for vm in self.twin.vms:
            self.bench.write(vm, count)

    def lasts(self) -> dict[str, int]:
        """The last entry on the disks, by VM."""
        return {vm: self.bench.ledger(vm).last for vm in self.twin.vms}

    def promise(self, lost: Sequence[Lost]) -> tuple[PlanFate, ...]:
        with self._world() as world:
            return whatif(self.twin, world.look(), lost).plans

    def play(
        self, fates: Sequence[PlanFate], promised: Mapping[str, int], on_disk: Mapping[str, int]
    ) -> tuple[PlanResult, ...]:
        """Do what each plan's answer says, and look."""
        done = []
        # One world for all, as silence is noticed once a command.
        with self._world() as world:
            for fate in fates:
                seconds, error = self._act(world, fate)
                # What a restart or a last transfer brings is what had reached the disks.
                holds = promised if fate.outcome == "failover" and fate.point is not None else on_disk
                page = world.reported.get(fate.plan)
                run = read_file(self.twin.name, fate.plan, Path(page).stem) if page is not None else None
                done.append((fate, seconds, error, holds, run))
        with self._world() as world:
            world.look()
            return tuple(
                PlanResult(
                    fate.plan, fate.outcome, fate.site, seconds, fate.loss.statement,
                    tuple(self._found(world, fate, vm, holds[vm], error) for vm in self.twin.plans[fate.plan].members),
                    run,
                )
                for fate, seconds, error, holds, run in done
            )  # fmt: skip

    def _act(self, world: World, fate: PlanFate) -> tuple[float | None, str]:
        if fate.outcome not in ("restart", "failover"):
            return None, ""
        self.progress(f"{fate.plan}: {fate.command}")
        begin = time.monotonic()  # noticing that something is silent is part of it
        epoch = world.view(fate.plan).epoch
        word = f"{epoch.number if epoch else 0}: rehearsal" if fate.needs == "word" else None
        want = Want(goal="restart", word=word) if fate.outcome == "restart" else Want(site=fate.site, word=word)
        try:
            outcome = run_plan(world, fate.plan, want)
        except DrError as error:
            return round(time.monotonic() - begin, 3), "; ".join(str(error).splitlines())
        return round(time.monotonic() - begin, 3), "; ".join(outcome.failures)

    def _found(self, world: World, fate: PlanFate, vm: str, holds: int, error: str) -> VmResult:
        promise = next((each for each in fate.vms if each.vm == vm), None)
        view = world.view(fate.plan)
        at = [place for place in view.places if place.vm == vm and place.running]
        state = promise.state if promise is not None else "unknown"
        if not at:
            why = (promise.why if promise is not None and promise.why else "") or error or "it runs nowhere"
            return VmResult(vm, state, None, None, holds, 0, f"VM {vm} does not run: {why}")
        ledger = self.bench.ledger(vm, at[0].site)
        return VmResult(
            vm, state, at[0].site, at[0].host, holds, ledger.last,
            _judge(vm, [place.host for place in at], promise.host if promise else None, holds, ledger.last, ledger.problem),
        )  # fmt: skip


def _judge(vm: str, hosts: Sequence[str], promised: str | None, holds: int, last: int, problem: str) -> str:
    """What is not as promised; empty: all is."""
    if len(hosts) > 1:
        return f"VM {vm} runs on {' and '.join(hosts)} at once"
    if problem:
        return f"VM {vm}: its ledger is not whole: {problem}"
    if last < holds:
        return f"VM {vm}: its last entry is {last}, and {holds} were promised"
    if hosts[0] != promised:
        return f"VM {vm} runs on {hosts[0]}, and {promised or 'no host'} was promised"
    return ""
