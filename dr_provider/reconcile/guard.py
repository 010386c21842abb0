"""The guard of a site: it renews the run leases of the plans that are active there, and stops their VMs when it cannot.

Invariants (fencing.py has the other half):
1. A renewal counts from the moment before it was sent. What the stores that count have not taken for TTL seconds, by this process's own
   clock, has lapsed, whatever calls are still under way.
2. A lapsed lease is never renewed before the VMs are stopped.
3. Before the first beat the site's own arrays remember that a guard stands surety for the epoch: one that is started anew goes on where
   it ended, and stops the VMs if it can renew nowhere at once.
4. It only takes away: it starts nothing, moves nothing, and needs no lease of the plan for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from dr_provider.model import keys
from dr_provider.model.codec import dump, load
from dr_provider.model.errors import DeviceFault, DrError, NotFound, NotReady, Unreachable
from dr_provider.model.records import Alive, Claim, Epoch, Grant, Known, Split
from dr_provider.model.state import WitnessState
from dr_provider.model.topology import Topology
from dr_provider.reconcile.fencing import BEAT, TTL, WITNESS, alive_at, counted, known_of, silence_of
from dr_provider.reconcile.quieting import Left, stop_plan
from dr_provider.reconcile.repair import look_at_stale
from dr_provider.reconcile.verdict import Verdict, judge, something_runs
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.world import World, open_world

__all__ = ["SiteGuard", "boot_clock", "guard_world"]

_LOOK = 0.25
_SILENT = (Unreachable, NotReady, DeviceFault, NotFound)


def boot_clock() -> float:
    """Seconds of a clock that nobody sets and that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def guard_world(topology: Topology, site: str, progress: Callable[[str], None]) -> World:
    """What a guard looks at: every array, the witness, and the hosts of its own site; no call holds it up for longer than a beat."""
    own = {name: host for name, host in topology.hosts.items() if host.site == site}
    near = replace(topology, hosts=own, source_budget=min(topology.source_budget, BEAT))
    return open_world(near, progress=progress, vantage=site)


@dataclass
class _Watch:
    """What the guard knows of one plan. `renewed`: by store, when its last renewal was sent. `since`: when it began to stand surety, and
    `grace` how long it may do so without having renewed; an inherited surety has little of it."""

    plan: str
    epoch: Epoch | None = None
    surety: bool = False
    since: float = 0.0
    grace: float = TTL
    renewed: dict[str, float] = field(default_factory=dict)
    counts: tuple[str, ...] = ()
    down: bool = False
    """Its VMs were stopped because the lease had lapsed, and it has not been renewed since."""
    state: str = "unknown"
    said: str = ""
    beat: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    def lapsed(self, now: float) -> bool:
        if not self.surety or self.down:
            return False
        last = max(self.renewed.values(), default=None)
        return now - self.since >= self.grace if last is None else now - last >= TTL


class SiteGuard:
    """`round` looks and renews; `check` stops what has lapsed, and is called far more often. `end` takes the surety back."""

    def __init__(
        self, world: World, site: str, plans: Iterable[str], *, clock: Callable[[], float] = boot_clock
    ) -> None:
        self.world = world
        self.site = site
        self.clock = clock
        self.id = keys.new_id()
        self.watches = {plan: _Watch(plan) for plan in plans}

    # -- staying ------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> bool:
        """Until `stop` is set; whether every surety was taken back, or the VMs are stopped. Rounds go on in a thread of their own: a call
        that hangs in one of them does not hold up the stopping."""
        with ThreadPoolExecutor(1, thread_name_prefix="guard") as pool:
            future, pause = pool.submit(self._rounds, stop), threading.Event()
            while not future.done():
                self.check()
                pause.wait(_LOOK)
        well = self.end()
        future.result()
        return well

    def _rounds(self, stop: threading.Event) -> None:
        while not stop.is_set():
            began = self.clock()
            self.round()
            stop.wait(max(0.1, BEAT - (self.clock() - began)))

    def _say(self, watch: _Watch, sentence: str) -> None:
        if watch.said != sentence:
            watch.said = sentence
            self.world.progress(f"plan {watch.plan}: {sentence}")

    # -- a round ------------------------------------------------------------------------------------

    def round(self) -> None:
        """Look at everything once, stop what is past here, renew what is active here."""
        self.check()
        self.world.fleet.forget_silence()
        self.world.look(refresh=True)
        with ThreadPoolExecutor(max(1, len(self.watches)), thread_name_prefix="guard-plan") as pool:
            list(pool.map(self._plan, self.watches.values()))

    def _plan(self, watch: _Watch) -> None:
        try:
            view = self.world.view(watch.plan)
            verdict = judge(view, self.site, watch.epoch)
            watch.state = verdict.state
            if verdict.state == "active" and verdict.epoch is not None:
                self._active(watch, view, verdict.epoch)
            elif verdict.state == "unknown":
                self._say(watch, verdict.why)
            else:
                self._past(watch, view, verdict)
        except DrError as error:
            self._say(watch, f"nothing could be renewed: {error}")

    def _past(self, watch: _Watch, view: PlanView, verdict: Verdict) -> None:
        """The plan is, or may be, active elsewhere: what runs of it here is stopped, and its evidence put on record before."""
        with watch.lock:
            watch.surety, watch.renewed = False, {}
        if something_runs(view, self.site):
            # A move to this very site may have been committed while the sweep went from machine to machine.
            view = self.world.view(watch.plan, refresh=True)
            verdict = judge(view, self.site, watch.epoch)
        if verdict.state not in ("stale", "granted") or not something_runs(view, self.site):
            self._say(watch, verdict.why)
            return
        if verdict.state == "stale" and view.epoch is not None and view.split is None:
            self._split(view, view.epoch, look_at_stale(view, view.epoch, self.site).evidence)
        with watch.lock:
            self._stop(watch, verdict.why)

    def _split(self, view: PlanView, epoch: Epoch, evidence: list[str]) -> None:
        if not evidence:
            return
        found = Split(
            view.spec.name, (epoch.site, self.site), epoch.point, tuple(evidence), keys.stamp(keys.now()), epoch.number
        )
        for array in view.topology.plan_arrays(view.spec.name):
            if view.seen.array(array) is not None:
                try:
                    self.world.fleet.array(array).create_record(
                        keys.split_key(view.topology.name, view.spec.name), dump(found)
                    )
                except _SILENT as error:
                    self.world.progress(f"plan {view.spec.name}: the split is not on record on {array}: {error}")

    def _active(self, watch: _Watch, view: PlanView, epoch: Epoch) -> None:
        with watch.lock:
            watch.counts = counted(view, self.site)
            if watch.epoch is None or watch.epoch.id != epoch.id:
                watch.epoch, watch.renewed, watch.down = epoch, {}, False
                watch.surety, watch.since, watch.grace = self._promised(view, epoch), self.clock(), BEAT
            if watch.down and view.running_at(self.site):
                # Somebody has started them without a lease that holds.
                watch.down, watch.since, watch.renewed = False, self.clock(), {}
            if watch.lapsed(self.clock()):
                self._lapse(watch)
                if not watch.down:
                    return
            if not watch.surety:
                answering = [store for store in watch.counts if not silence_of(view, store)]
                if not answering or not self._promise(watch, view, epoch):
                    self._say(
                        watch,
                        "nothing of what its run lease counts on answers, and no surety was given yet: what runs here is left running",
                    )
                    return
        self._tell(view, epoch)
        self._renew(watch, view, epoch)
        with watch.lock:
            if not watch.renewed and watch.grace < TTL:
                watch.grace = 0.0  # the guard before this one may have been at its end already

    def _promised(self, view: PlanView, epoch: Epoch) -> bool:
        """Whether a guard before this one stands surety for the epoch, as far as the site's own arrays know; silent ones say nothing else."""
        own = view.site_arrays(self.site)
        if all(silence_of(view, array, self.site) for array in own):
            return True
        found = [alive_at(view, array, self.site) for array in own]
        return any(alive and alive.epoch_id == epoch.id and not alive.ended for alive in found)

    def _promise(self, watch: _Watch, view: PlanView, epoch: Epoch) -> bool:
        """The site's own arrays remember the surety before the first beat."""
        record, written = self._alive(watch, epoch), False
        for array in view.site_arrays(self.site):
            try:
                self.world.fleet.array(array).put_record(self._key(watch), dump(record))
                written = True
            except _SILENT as error:
                self._say(watch, f"its surety is not on record here: {error}")
        if written:
            watch.surety, watch.since, watch.grace = True, self.clock(), TTL
        return written

    def _tell(self, view: PlanView, epoch: Epoch) -> None:
        state, known = view.seen.witness, known_of(view)
        if not isinstance(state, WitnessState) or (known is not None and known.number >= epoch.number):
            return
        record = Known(view.spec.name, epoch.number, epoch.id, epoch.site, epoch.time)
        try:
            self.world.fleet.witness().put(keys.known_key(view.topology.name, view.spec.name), dump(record))
        except _SILENT:
            return  # the renewal there says it

    def _key(self, watch: _Watch) -> str:
        return keys.alive_key(self.world.topology.name, watch.plan, self.site)

    def _alive(self, watch: _Watch, epoch: Epoch, *, ended: bool = False) -> Alive:
        watch.beat += 1
        return Alive(watch.plan, self.site, epoch.number, epoch.id, watch.beat, TTL, self.id, watch.counts, keys.stamp(keys.now()), ended)  # fmt: skip

    # -- the run lease ------------------------------------------------------------------------------

    def _renew(self, watch: _Watch, view: PlanView, epoch: Epoch) -> None:
        """Put the next beat everywhere at once; each store that counts and took it is noted with the moment before it was asked."""
        text, failed, granted = dump(self._alive(watch, epoch)), dict[str, str](), list[str]()
        everywhere = dict.fromkeys([*watch.counts, *self._informed(view)])

        def renew(store: str) -> None:
            sent = self.clock()
            try:
                away = self._put(store, watch, text, epoch)
            except _SILENT as error:
                failed[store] = str(error)
                return
            with watch.lock:
                if away:
                    granted.append(away)
                elif store in watch.counts and not watch.lapsed(self.clock()):
                    watch.renewed[store] = sent
                    watch.down = False

        with ThreadPoolExecutor(max(1, len(everywhere)), thread_name_prefix="renew") as pool:
            list(pool.map(renew, everywhere))
        if granted:
            with watch.lock:
                watch.surety, watch.renewed = False, {}
                self._stop(watch, granted[0])
            return
        held = [store for store in watch.counts if store not in failed]
        lost = "; ".join(failed[store] for store in watch.counts if store in failed)
        if watch.down:
            self._say(watch, f"its VMs are stopped here, and its run lease cannot be renewed ({lost})")
        elif held:
            self._say(watch, f"its run lease is renewed on {', '.join(held)}{f' ({lost})' if lost else ''}")
        else:
            self._say(
                watch,
                f"its run lease cannot be renewed, and its VMs are stopped {TTL:g} s after the last renewal ({lost})",
            )

    def _informed(self, view: PlanView) -> tuple[str, ...]:
        """Other sites' arrays are told too where only the witness counts: who looks there knows that a guard stands surety."""
        others = [site for site in view.spec.sites if site != self.site]
        return tuple(sorted({array for site in others for array in view.site_arrays(site)}))

    def _put(self, store: str, watch: _Watch, text: str, epoch: Epoch) -> str:
        """Renew at one store, then look there whether another site was given leave to go on; the sentence on that, or empty."""
        topology, plan, number = self.world.topology.name, watch.plan, epoch.number + 1
        if store == WITNESS:
            witness = self.world.fleet.witness()
            witness.put(self._key(watch), text)
            given = witness.read(keys.grant_key(topology, plan, number))
            grant = load(Grant, given, f"witness, grant of epoch {number}") if given else None
            if grant is not None and grant.site != self.site and self._live(watch, grant.claim):
                return f"the witness has granted epoch {number} to {grant.site}"
            return ""
        array = self.world.fleet.array(store)
        array.put_record(self._key(watch), text)
        open_claim = array.read_record(keys.claim_key(topology, plan))
        claim = load(Claim, open_claim, f"array {store}, claim of plan {plan}") if open_claim else None
        if (
            claim is not None
            and claim.fenced
            and claim.number == number
            and claim.site != self.site
            and not claim.aborting
        ):
            return f"{claim.site} goes on with epoch {number}, since the run lease of {self.site} had stood still"
        return ""

    def _live(self, watch: _Watch, claim: str) -> bool:
        """Whether a grant's claim stands, and is that of a move that had to wait: a planned move stops the VMs by itself, in their order."""
        view = self.world.view(watch.plan)
        if any(epoch.id == claim and epoch.state == "aborted" for epoch in view.history):
            return False
        return not (view.claim is not None and view.claim.id == claim and not view.claim.fenced)

    # -- stopping -----------------------------------------------------------------------------------

    def check(self) -> None:
        """Stop what has lapsed; again at the next call where it could not be done."""

        def each(watch: _Watch) -> None:
            with watch.lock:
                if watch.lapsed(self.clock()):
                    self._lapse(watch)

        lapsed = [watch for watch in self.watches.values() if watch.lapsed(self.clock())]
        if lapsed:
            with ThreadPoolExecutor(len(lapsed), thread_name_prefix="guard-stop") as pool:
                list(pool.map(each, lapsed))

    def _lapse(self, watch: _Watch) -> None:
        self._stop(
            watch,
            f"its run lease could not be renewed for {TTL:g} s on {', '.join(watch.counts) or 'anything'}, so another site may go on",
        )

    def _stop(self, watch: _Watch, why: str) -> None:
        left: Left = stop_plan(self.world, watch.plan, self.site)
        if left.stopped:
            self.world.progress(f"plan {watch.plan}: {why}; stopped hard at {self.site}: {', '.join(left.stopped)}")
        if left.well:
            watch.down, watch.renewed = True, {}
            self._say(
                watch,
                f"{why}; its VMs are stopped at {self.site}, and are started only by a run that has asked the others (dr protect, up), or by your word",
            )
        else:
            self._say(watch, f"{why}; NOT STOPPED at {self.site}: {'; '.join(left.reasons)}. Cut the power there")

    def end(self) -> bool:
        """Take every surety back on some store that counts, so that silence is no proof from now on. Where none answers the promise is
        kept: the VMs are stopped. False: neither could be done."""
        well = True
        for watch in self.watches.values():
            with watch.lock:
                epoch = watch.epoch
                if not watch.surety or epoch is None:
                    continue
                text, took = dump(self._alive(watch, epoch, ended=True)), list[str]()
                for store in watch.counts:
                    try:
                        self._put(store, watch, text, epoch)
                        took.append(store)
                    except _SILENT as error:
                        self.world.progress(f"plan {watch.plan}: its surety is not taken back on {store}: {error}")
                if not took and not watch.down:
                    self._stop(watch, "the guard ends and can tell nobody, so it keeps its promise first")
                    well = well and watch.down
                if took:
                    watch.surety = False
                    self._own(watch, text)
        return well

    def _own(self, watch: _Watch, text: str) -> None:
        for array in self.world.view(watch.plan).site_arrays(self.site):
            try:
                self.world.fleet.array(array).put_record(self._key(watch), text)
            except _SILENT as error:
                self.world.progress(f"plan {watch.plan}: {array} still has its surety on record: {error}")
