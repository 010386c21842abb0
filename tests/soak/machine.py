"""The machine that plays: guests, operators, disasters and their healing, in any order, and after each step what must hold.

Commands are the functions that `dr` calls. A DrError is an answer; anything else that is raised, and a broken rule of `truth.py`, is a fault.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from dr_provider.model import stopping
from dr_provider.model.errors import BadInput, DrError
from dr_provider.reconcile import run as runs
from dr_provider.reconcile.context import Run
from dr_provider.reconcile.decision import Action, Want
from dr_provider.reconcile.lease import Machine
from dr_provider.reconcile.protect import protect_plan
from dr_provider.reconcile.provision_all import apply_all
from dr_provider.reconcile.run import Outcome, decide_plan, run_plan
from dr_provider.reconcile.status import status_document
from dr_provider.reconcile.world import World
from tests.soak.alone import Clock, SimMachine, alone
from tests.soak.bench import PLAN, SoakBench, shop
from tests.soak.cover import COVERED
from tests.soak.edits import EDITS
from tests.soak.mortal import Cut, Killed, Life
from tests.soak.truth import Truth, picture_of

__all__ = ["MACHINES", "Cascade", "FanOut", "Recovery", "TwoSites"]

_SHM = Path("/dev/shm")
_AHEAD = {"anna": 0.0, "bert": 20.0, "cleo": -20.0}
"""Operators, with the minutes that their clocks are ahead; each has a machine."""

_CUT = {"before": "killed", "after": "killed", "stop": "stopped", "pause": "paused"}

operators = st.sampled_from(sorted(_AHEAD))
_KINDS: tuple[Any, ...] = (None, None, None, "before", "after", "after", "stop", "pause")
cuts = st.builds(
    lambda kind, at: Cut(kind, at) if kind else None, st.sampled_from(_KINDS), st.sampled_from(range(60))
)  # fmt: skip


class Recovery(RuleBasedStateMachine):
    """One plan; `document` says on which topology."""

    @staticmethod
    def document(hosts: int) -> dict[str, Any]:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self.clock = Clock()
        self.operator = "anna"
        self._pids = itertools.count(1_000)
        self._living: set[int] = set()
        self._pid = 0
        self._lives: list[Life] = []
        self.faults: set[str] = set()
        self.since_rest = 0
        self.edited = False
        self.truth: Truth
        self.bench: SoakBench

    @initialize(seed=st.integers(0, 999), hosts=st.sampled_from([1, 1, 2]))
    def make(self, seed: int, hosts: int) -> None:
        folder = Path(tempfile.mkdtemp(prefix="dr-soak-", dir=_SHM if _SHM.is_dir() else None))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        self._stack.enter_context(alone(seed, self.clock, self._machine))
        perform = vars(runs)["perform"]
        self._stack.callback(vars(runs).__setitem__, "perform", perform)
        vars(runs)["perform"] = self._perform(perform)
        self.bench = SoakBench(folder, self.document(hosts))
        self._stack.callback(self.bench.close)
        self._run("made", "anna", None, lambda w: apply_all(w, self.bench.lines.append))
        self.truth = Truth(picture_of(self.bench.see()))
        COVERED.add("games", type(self).__name__)

    def teardown(self) -> None:
        stopping.clear()
        self._stack.close()

    # -- runs -----------------------------------------------------------------------------------------

    def _machine(self) -> Machine:
        """Who runs now, as leases name it: the operator's machine, and a process of it."""
        boot = f"machine-of-{self.operator}"
        return SimMachine(boot, self._pid, 0.0, self.clock.monotonic, self.clock.sleep, self._living)

    def _perform(self, perform: Callable[[Run, Action], str]) -> Callable[[Run, Action], str]:
        def told(run: Run, action: Action) -> str:
            life = self._lives[-1]
            before, life.doing = life.doing, action.verb
            try:
                return perform(run, action)
            finally:
                life.doing = before

        return told

    def _run(self, what: str, by: str, cut: Cut | None, work: Callable[[World], Any]) -> Any:
        """What a process of an operator does, until it ends in whatever way; its result, its DrError, or Killed."""
        before = self.operator, self._pid, self.clock.ahead
        self.operator, self._pid, self.clock.ahead = by, next(self._pids), timedelta(minutes=_AHEAD[by])
        self._living.add(self._pid)
        other = "bert" if by != "bert" else "anna"

        def meanwhile() -> None:
            asked = stopping.requested()
            stopping.clear()
            self._run("meanwhile", other, None, lambda w: run_plan(w, PLAN, Want()))
            if asked:
                stopping.request(asked)

        life = Life(cut, meanwhile, self._wrote)
        self._lives.append(life)
        world = self.bench.world(life, by)
        result: Any
        try:
            result = work(world)
        except DrError as error:
            result = error
        except Killed as killed:
            result = killed
        finally:
            world.close()
            self._lives.pop()
            self._living.discard(self._pid)
            self.operator, self._pid, self.clock.ahead = before
            if cut is not None and cut.kind == "stop":
                stopping.clear()
        if cut is not None and life.hit:
            COVERED.add(_CUT[cut.kind], life.hit)
        if isinstance(result, DrError):
            assert str(result).strip(), f"{what}: a {type(result).__name__} that says nothing"
            assert "fault of the program" not in str(result), f"{what}: {result}"
        ended = type(result).__name__ if isinstance(result, BaseException) else "done"
        COVERED.add("ended", f"{what} {ended}")
        if isinstance(result, Outcome) and result.safety:
            COVERED.add("found", "safety copy", len(result.safety))
        return result

    def _wrote(self) -> None:
        self.truth.acknowledge(picture_of(self.bench.see()).copies)

    def _step(self, *, wished: bool = False, result: Any = None) -> None:
        self.since_rest += 1
        COVERED.add("steps", "step")
        said = (
            isinstance(result, Outcome)
            and result.loss.seconds == 0.0
            and result.decision.kind in ("planned", "disaster")
        )
        new = picture_of(self.bench.see())
        if new.epoch.id != self.truth.now.epoch.id:
            COVERED.add("moved", f"{new.epoch.kind}{' by the word' if new.epoch.word else ''}")
        if new.view.split is not None and self.truth.now.view.split is None:
            COVERED.add("found", "split")
        self.truth.step(new, wished=wished, said_nothing_lost=said)

    def _twice(self, want: Want, by: str) -> None:
        def decide(world: World) -> Any:
            decision = decide_plan(world, PLAN, want)
            return decision.actions, decision.refused

        first, second = (self._run("decide", by, None, decide) for _ in range(2))
        if not isinstance(first, DrError):
            assert first == second, f"asked twice, two answers: {first} and {second}"

    # -- guests and their sites -----------------------------------------------------------------------

    @rule(data=st.data(), count=st.sampled_from([1, 7, 8, 16, 24]), skew=st.sampled_from([0, 0, 20, -20]))
    def write(self, data: st.DataObject, count: int, skew: int) -> None:
        vm = data.draw(st.sampled_from(sorted(self.bench.topology.vms)))
        self.clock.array = timedelta(minutes=skew)
        with self.bench.bench() as bench:
            for site in self.bench.sites:
                try:
                    bench.write(vm, count, site)
                    COVERED.add("found", "guest that wrote")
                except DrError:
                    continue
        self.clock.array = timedelta()
        self._step()

    @rule(data=st.data(), running=st.booleans())
    def lose(self, data: st.DataObject, running: bool) -> None:
        topology = self.bench.topology
        sites = sorted(topology.sites)
        pairs = [f"link:{a}/{b}" for a, b in itertools.combinations(sites, 2)]
        targets = [*(f"site:{s}" for s in sites), *(f"host:{h}" for h in topology.hosts), *(f"array:{a}" for a in topology.arrays),
                   *pairs, *(f"link:operator/{s}" for s in sites)]  # fmt: skip
        target = data.draw(st.sampled_from(targets))
        running = running and target.startswith(("site:", "host:"))
        with self.bench.bench() as bench:
            bench.lose(target, running=running)
        self.faults.add(target)
        kind = target.partition(":")[0] if "operator" not in target else "operator"
        COVERED.add("lost", f"{kind}{' (running)' if running else ''}")
        self._step()

    @rule(data=st.data(), call=st.integers(1, 30))
    def fail(self, data: st.DataObject, call: int) -> None:
        topology = self.bench.topology
        target = data.draw(
            st.sampled_from([*(f"array:{a}" for a in topology.arrays), *(f"host:{h}" for h in topology.hosts)])
        )
        with self.bench.bench() as bench:
            bench.fail(target, call)
        self.faults.add(target)
        COVERED.add("lost", "one call")

    @precondition(lambda self: self.faults)
    @rule(data=st.data())
    def heal(self, data: st.DataObject) -> None:
        self._heal(data.draw(st.sampled_from(sorted(self.faults))))
        self._step()

    @precondition(lambda self: self.faults)
    @rule()
    def heal_all(self) -> None:
        for target in sorted(self.faults):
            self._heal(target)
        self._step()

    def _heal(self, target: str) -> None:
        with self.bench.bench() as bench:
            bench.heal(target)
        self.faults.discard(target)

    @rule(data=st.data())
    def start_by_hand(self, data: st.DataObject) -> None:
        """Somebody at a site starts what is off there."""
        off = [(p.host, p.vm) for p in self.truth.now.view.places if not p.running]
        dark = {target.partition(":")[2] for target in self.faults}
        off = [(h, vm) for h, vm in off if h not in dark]
        if not off:
            return
        host, vm = data.draw(st.sampled_from(off))
        try:
            self.bench.start_by_hand(host, vm)
        except DrError:
            return
        COVERED.add("found", "started by hand")
        self.truth.excused = f"{vm} was started by hand on {host}"
        self.truth.by_hand.add(self.bench.topology.hosts[host].site)
        self._step()

    @rule(minutes=st.sampled_from([1, 6, 20, 600, 3000]))
    def time_passes(self, minutes: int) -> None:
        self.clock.forward(minutes)

    # -- operators ------------------------------------------------------------------------------------

    @rule(by=operators, cut=cuts, now=st.booleans())
    def protect(self, by: str, cut: Cut | None, now: bool) -> None:
        self._run("protect", by, cut, lambda w: protect_plan(w, PLAN, now=now))
        self._step()

    @rule(by=operators, cut=cuts)
    def repair(self, by: str, cut: Cut | None) -> None:
        self._twice(Want(), by)
        result = self._run("repair", by, cut, lambda w: run_plan(w, PLAN, Want()))
        self._step(result=result)

    @rule(data=st.data(), by=operators, cut=cuts, running=st.booleans(), back=st.booleans())
    def disaster(self, data: st.DataObject, by: str, cut: Cut | None, running: bool, back: bool) -> None:
        """The active site is lost, and the plan is moved by the word."""
        epoch = self.truth.now.epoch
        others = [site for site in self.bench.sites if site != epoch.site]
        target = data.draw(st.sampled_from(others))
        with self.bench.bench() as bench:
            bench.lose(f"site:{epoch.site}", running=running)
        self.faults.add(f"site:{epoch.site}")
        COVERED.add("lost", f"active site{' (running)' if running else ''}")
        want = Want(site=target, word=f"{epoch.number}: it is gone")
        self._twice(want, by)
        result = self._run("forced", by, cut, lambda w: run_plan(w, PLAN, want))
        if back:
            self._heal(f"site:{epoch.site}")
        self._step(result=result)

    @rule(
        data=st.data(),
        by=operators,
        cut=cuts,
        word=st.sampled_from(["none", "none", "right", "right", "past"]),
        wish=st.integers(0, 9),
    )
    def move(self, data: st.DataObject, by: str, cut: Cut | None, word: str, wish: int) -> None:
        site = data.draw(st.sampled_from(self.bench.sites))
        number = self.truth.now.epoch.number
        said = {"none": None, "right": f"{number}: the test says so", "past": f"{number - 1}: old"}[word]
        points = [p.id for p in self.truth.now.view.points if p.complete_at(site)]
        point = points[wish % len(points)] if points and wish < 3 else None
        want = Want(site=site, word=said, point=point)
        self._twice(want, by)
        result = self._run("move", by, cut, lambda w: run_plan(w, PLAN, want))
        self._step(wished=point is not None, result=result)

    @precondition(lambda self: self.truth.now.view.claim is not None)
    @rule(by=operators, cut=cuts, word=st.booleans())
    def abort(self, by: str, cut: Cut | None, word: bool) -> None:
        said = f"{self.truth.now.epoch.number}: not committed" if word else None
        self._run("abort", by, cut, lambda w: run_plan(w, PLAN, Want(goal="abort", word=said)))
        self._step()

    @precondition(lambda self: self.truth.now.view.split is not None or self.truth.now.view.claim is not None)
    @rule(data=st.data(), by=operators, cut=cuts, word=st.booleans())
    def resolve(self, data: st.DataObject, by: str, cut: Cut | None, word: bool) -> None:
        keep = data.draw(st.sampled_from(self.bench.sites))
        said = f"{self.truth.now.epoch.number}: it is off" if word else None
        self._run("resolve", by, cut, lambda w: run_plan(w, PLAN, Want(site=keep, goal="resolve", word=said)))
        self._step()

    @rule(by=operators, cut=cuts)
    def apply(self, by: str, cut: Cut | None) -> None:
        self._run("apply", by, cut, lambda w: apply_all(w, self.bench.lines.append))
        self._step()

    @rule(data=st.data(), by=operators, cut=cuts, what=st.sampled_from(sorted(EDITS)))
    def edit(self, data: st.DataObject, by: str, cut: Cut | None, what: str) -> None:
        """The topology is changed, and applied."""
        try:
            self.bench.edit(EDITS[what])
        except (BadInput, LookupError):
            return
        COVERED.add("edited", what)
        self.edited = True
        if data.draw(st.booleans()):
            self._run("apply", by, cut, lambda w: apply_all(w, self.bench.lines.append))
        self._step()

    # -- at rest ----------------------------------------------------------------------------------------

    @precondition(lambda self: self.since_rest >= 5)
    @rule(keep=st.integers(0, 2))
    def all_well_again(self, keep: int) -> None:
        """Everything is healed: one more run converges, after the resolve that a split demands; then the plan is protected both ways."""
        self.since_rest = 0
        for target in sorted(self.faults):
            self._heal(target)
        self.clock.forward(1)
        self._step()
        result = self._converge(keep)
        if self.edited:
            # What nobody has made before is made by apply, and not by a run.
            self._apply_at_rest()
            self.edited = False
        else:
            assert result.failures == (), f"all is healed, and a run fails: {result.failures}"
        left = self._run("decide", "anna", None, lambda w: decide_plan(w, PLAN, Want()))
        assert not isinstance(left, DrError), f"at rest a decision fails: {left}"
        assert left.refused == (), f"at rest a second run is refused: {left.refused}"
        did = [step["id"] for step in result.steps if step["event"] == "done"]
        assert left.actions == (), (
            f"a second run has something to do: {[a.sentence for a in left.actions]}; the first one ({result.decision.kind}) did {did} and warned: {result.warnings}"
        )
        self.truth.at_rest()
        self._protected()

    def _converge(self, keep: int) -> Outcome:
        result = self._run("last run", "anna", None, lambda w: run_plan(w, PLAN, Want()))
        self._step(result=result)
        if self.truth.now.view.split is not None:
            side = self.truth.now.view.split.sides[keep % len(self.truth.now.view.split.sides)]
            result = self._run(
                "last resolve", "anna", None, lambda w: run_plan(w, PLAN, Want(site=side, goal="resolve"))
            )
            self._step(result=result)
        assert isinstance(result, Outcome), f"all is healed, and a run ends in {type(result).__name__}: {result}"
        return result

    def _protected(self) -> None:
        self._apply_at_rest()
        result = self._run("last protect", "anna", None, lambda w: protect_plan(w, PLAN, now=True))
        assert not isinstance(result, DrError), f"at rest, protect: {result}"
        assert result.failures == (), f"at rest, protect fails: {result.failures}"
        self._step()
        self.truth.nothing_held()
        status = self._run("status", "anna", None, status_document)["plans"][PLAN]
        assert status["protected"], f"at rest, and not protected: {status['warnings']}"
        assert status["phase"] == "steady", f"at rest, and {status['phase']}: {status['degraded']}"
        COVERED.add("found", "well again")

    def _apply_at_rest(self) -> None:
        result = self._run("last apply", "anna", None, lambda w: apply_all(w, self.bench.lines.append))
        assert not isinstance(result, DrError), f"at rest, apply: {result}"
        wrong = [str(one) for one in result if isinstance(one, DrError)]
        assert not wrong, f"at rest, apply: {wrong}"
        self._step()


class TwoSites(Recovery):
    @staticmethod
    def document(hosts: int) -> dict[str, Any]:
        return shop(hosts, sites=("east", "west"))


class FanOut(Recovery):
    @staticmethod
    def document(hosts: int) -> dict[str, Any]:
        return shop(1, sites=("east", "west", "south"))


class Cascade(Recovery):
    @staticmethod
    def document(hosts: int) -> dict[str, Any]:
        return shop(1, sites=("east", "west", "south"), via={"south-a": "west-a"})


MACHINES: tuple[type[Recovery], ...] = (TwoSites, FanOut, Cascade)
