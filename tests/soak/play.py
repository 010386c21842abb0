"""How the machine plays: a world of its own, runs that end in whatever way, and the look at everything after each step."""

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
from hypothesis.stateful import RuleBasedStateMachine, initialize

from dr_provider.model import stopping
from dr_provider.model.errors import DrError
from dr_provider.reconcile import run as runs
from dr_provider.reconcile.context import Run
from dr_provider.reconcile.decision import Action, Want
from dr_provider.reconcile.lease import Machine
from dr_provider.reconcile.outcome import Outcome
from dr_provider.reconcile.protect import protect_plan
from dr_provider.reconcile.provision_all import apply_all
from dr_provider.reconcile.run import decide_plan, run_plan
from dr_provider.reconcile.world import World
from tests.soak.alone import Clock, SimMachine, alone
from tests.soak.bench import PLAN, SoakBench
from tests.soak.cover import COVERED
from tests.soak.mortal import Cut, Killed, Life
from tests.soak.truth import Truth, picture_of
from tests.support.memory import in_memory

__all__ = ["OPERATORS", "Play"]

OPERATORS = {"anna": 0.0, "bert": 20.0, "cleo": -20.0}
"""With the minutes that their clocks are ahead; each has a machine."""

_CUT = {"before": "killed", "after": "killed", "stop": "stopped", "pause": "paused"}


class Play(RuleBasedStateMachine):
    """What every rule leans on; `document` says on which topology."""

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
        self.numbers = itertools.count(3)
        self.truth: Truth
        self.bench: SoakBench

    @initialize(
        seed=st.integers(0, 999),
        hosts=st.sampled_from([1, 1, 2]),
        window=st.sampled_from([False, False, True]),
        restart=st.booleans(),
    )
    def make(self, seed: int, hosts: int, window: bool, restart: bool) -> None:
        folder = Path(tempfile.mkdtemp(prefix="dr-soak-", dir=in_memory()))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        self._stack.enter_context(alone(seed, self.clock, self._machine))
        perform = vars(runs)["perform"]
        self._stack.callback(vars(runs).__setitem__, "perform", perform)
        vars(runs)["perform"] = self._perform(perform)
        document = self.document(hosts)
        document["plans"][PLAN] |= {"commitWindow": "10m"} if window else {}
        document["plans"][PLAN] |= {"restart": "in-site"} if restart else {}
        self.bench = SoakBench(folder, document)
        self._stack.callback(self.bench.close)
        self.run("made", "anna", None, lambda w: apply_all(w, self.bench.lines.append))
        self.truth = Truth(picture_of(self.bench.see()))
        self.run("made", "anna", None, lambda w: protect_plan(w, PLAN, now=True))
        self.step()
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

    def run(self, what: str, by: str, cut: Cut | None, work: Callable[[World], Any]) -> Any:
        """What a process of an operator does, until it ends in whatever way; its result, its DrError, or Killed."""
        before = self.operator, self._pid, self.clock.ahead
        self.operator, self._pid, self.clock.ahead = by, next(self._pids), timedelta(minutes=OPERATORS[by])
        self._living.add(self._pid)
        other = "bert" if by != "bert" else "anna"

        def meanwhile() -> None:
            asked = stopping.requested()
            stopping.clear()
            self.run("meanwhile", other, None, lambda w: run_plan(w, PLAN, Want()))
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

    def step(self, *, wished: bool = False, result: Any = None) -> None:
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

    def twice(self, want: Want, by: str) -> None:
        def decide(world: World) -> Any:
            decision = decide_plan(world, PLAN, want)
            return decision.actions, decision.refused

        first, second = (self.run("decide", by, None, decide) for _ in range(2))
        if not isinstance(first, DrError):
            assert first == second, f"asked twice, two answers: {first} and {second}"

    def mend(self, target: str) -> None:
        with self.bench.bench() as bench:
            bench.heal(target)
        self.faults.discard(target)
