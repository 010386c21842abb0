"""What the actions of one run share: the world, the lease, the claim, and what they learn from each other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache

from dr_provider.arrays.base import Array
from dr_provider.model import keys
from dr_provider.model.callout_records import Callouts
from dr_provider.model.codec import dump, load
from dr_provider.model.errors import ArrayFull, CorruptRecord, DeviceFault, DrError, NotReady, Unreachable
from dr_provider.model.records import Claim, Epoch, Guard, Owner
from dr_provider.model.vm import VmDefinition
from dr_provider.protection.catalogue import RecoveryPoint
from dr_provider.reconcile.abreast import abreast
from dr_provider.reconcile.decision import Decision, Want
from dr_provider.reconcile.journal import Lines
from dr_provider.reconcile.lease import HeldLease
from dr_provider.reconcile.ownership import owner_of
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.world import World

__all__ = ["Run", "listed", "pairs"]

_ASIDE = 16


@dataclass
class Run:
    """One run of one plan. `view` is the observation that was decided on, and is renewed by `fresh`."""

    world: World
    view: PlanView
    decision: Decision
    want: Want
    lease: HeldLease
    claim: Claim | None
    stop: Callable[[], str | None]
    marks: dict[str, int | None] = field(default_factory=dict)
    """Last application entry on the disks, by VM, as the guests that this run stopped said."""
    graceful: set[str] = field(default_factory=set)
    remarks: list[str] = field(default_factory=list)
    safety: list[str] = field(default_factory=list)
    committed: Epoch | None = None
    failed: dict[str, str] = field(default_factory=dict)
    """Why actions failed, by id."""
    outputs: dict[str, str] = field(default_factory=dict)
    """What callouts wrote, by the id of their action."""
    callouts: Callouts | None = None
    """How far callouts and prompts are, as this run has put it on record last."""
    callouts_lock: threading.Lock = field(default_factory=threading.Lock)
    lines: Lines = field(default_factory=Lines)
    """The run's journal."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _saying: threading.Lock = field(default_factory=threading.Lock)
    """Of the remarks alone: one may come from within a change of the claim."""
    mapping: dict[tuple[str, str], tuple[Future[None], frozenset[str]]] = field(default_factory=dict)
    """LUNs on their way to a host, by volume and host (`mapping.py`)."""
    _unwatched: list[Future[None]] = field(default_factory=list)
    _pool: ThreadPoolExecutor | None = None

    @property
    def plan(self) -> str:
        return self.view.spec.name

    @property
    def topology(self) -> str:
        return self.world.topology.name

    @property
    def guard(self) -> Guard:
        return self.lease.guard

    def array(self, name: str) -> Array:
        self.lease.check()
        return self.world.fleet.array(name)

    def fresh(self) -> PlanView:
        """Look again at all who have answered; the new view."""
        with self._lock:
            self.view = self.world.view(self.plan, refresh=True)
            return self.view

    # -- beside the actions ---------------------------------------------------------------------

    def aside(self, task: Callable[[], None]) -> Future[None]:
        """Begin something beside the actions; who needs it waits for it."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(max_workers=_ASIDE, thread_name_prefix="aside")
            return self._pool.submit(task)

    def meanwhile(self, task: Callable[[], None]) -> None:
        """Do something that nothing waits for but the end of the run (`settle`)."""
        self._unwatched.append(self.aside(task))

    def tidied(self) -> None:
        """Wait for what is done meanwhile; what failed of it is a remark, and is left to the next run."""
        while self._unwatched:
            try:
                self._unwatched.pop().result()
            except DrError as error:
                self.remark(f"left to the next run: {error}")

    def settle(self) -> None:
        """The same, at the end of the run."""
        self.tidied()
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def remark(self, sentence: str) -> None:
        """A sentence for the report and for people who watch."""
        with self._saying:
            if sentence not in self.remarks:
                self.remarks.append(sentence)
        self.world.progress(f"plan {self.plan}: {sentence}")

    # -- epoch and claim --------------------------------------------------------------------------

    def epoch(self) -> Epoch:
        """The epoch in force for this run."""
        found = self.committed or self.view.epoch
        if found is None:
            raise DrError(f"plan {self.plan}: no epoch is known; make the plan first (pulumi up, or dr apply)")
        return found

    def open_claim(self) -> Claim:
        if self.claim is None:
            raise DrError(f"plan {self.plan}: the move has no claim; run again")
        return self.claim

    def change_claim(self, **changes: object) -> None:
        """Change the claim on every array of the plan that answers; at its target it must succeed."""
        with self._lock:
            claim = replace(self.open_claim(), **changes)  # type: ignore[arg-type]
            self.write_all(
                keys.claim_key(self.topology, self.plan), dump(claim), must=self.view.site_arrays(claim.site)
            )
            self.claim = claim

    def answering(self) -> tuple[str, ...]:
        """The plan's arrays that answered, in their fixed order."""
        return tuple(a for a in self.world.topology.plan_arrays(self.plan) if self.view.seen.array(a) is not None)

    def write_all(self, key: str, text: str | None, *, must: Iterable[str], but: Iterable[str] = ()) -> None:
        """Put (None: delete) a record on every array of the plan that answers, but those of `but`, which have it; raises where one of `must`
        cannot, and where none takes it. One that is not needed ends nothing, whether it is silent, broken or full."""
        needed, there = set(must), set(but)

        def write(name: str) -> DrError | None:
            try:
                if text is None:
                    self.array(name).delete_record(key, self.guard)
                else:
                    self.array(name).put_record(key, text, self.guard)
            except (Unreachable, NotReady, DeviceFault, ArrayFull) as error:
                if name in needed:
                    raise
                return error
            return None

        asked = sorted((set(self.answering()) | needed) - there)
        faults = [e for e in abreast(asked, write) if e is not None]
        told = [e for e in faults if isinstance(e, DeviceFault | ArrayFull)]
        if told and not there and len(faults) == len(asked):
            raise told[0]
        for error in told:
            self.remark(f"left to the next run: {error}")

    # -- VMs ----------------------------------------------------------------------------------------

    def point(self, point_id: str) -> RecoveryPoint:
        found = next((p for p in self.view.points if p.id == point_id), None)
        if found is None:
            raise DrError(
                f"plan {self.plan}: recovery point {point_id} is on no array that answers; run again to choose anew"
            )
        return found

    def recorded(self, vm: str) -> VmDefinition | None:
        """The VM's definition in the newest backup record that names it."""
        for point in reversed(self.view.points):
            text = point.intent.definitions.get(vm)
            if text is not None:
                try:
                    return _definition(text, f"recovery point {point.id}, definition of {vm}")
                except CorruptRecord:
                    continue
        return None

    def owner_of(self, vm: str) -> Owner:
        """Whose the VM is: by the owner record, which travels to every array; else as a host knows it, the active site's first; else as its backup does."""
        kept = owner_of(self.view.seen, self.topology, "vm", vm, self.world.topology.plan_arrays(self.plan))
        if kept is not None:
            return kept
        active = self.view.active
        for place in sorted(self.view.places, key=lambda p: p.site != active):
            if place.vm == vm:
                return place.state.definition.owner
        recorded = self.recorded(vm)
        return recorded.owner if recorded else Owner(self.topology, "", keys.new_id())


@lru_cache(maxsize=4096)
def _definition(text: str, what: str) -> VmDefinition:
    return load(VmDefinition, text, what)


def listed(text: str) -> list[str]:
    """The names in a comma-separated value of an action."""
    return [name for name in text.split(",") if name]


def pairs(text: str) -> Mapping[str, str]:
    """The `a=b;c=d` value of an action."""
    return dict(part.split("=", 1) for part in text.split(";") if part)
