"""The machine that plays: guests, operators, disasters and their healing, in any order, and after each step what must hold.

Commands are the functions that `dr` calls. A DrError is an answer; anything else that is raised, and a broken rule of `truth.py`, is a fault.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from dr_provider.model.errors import BadInput, DrError
from dr_provider.model.records import Owner
from dr_provider.reconcile.decision import Want
from dr_provider.reconcile.drills.begin import start_drill
from dr_provider.reconcile.drills.end import Ended, end_drill
from dr_provider.reconcile.drills.evidence import drill_ends
from dr_provider.reconcile.outcome import Outcome
from dr_provider.reconcile.protect import protect_plan
from dr_provider.reconcile.provision_all import apply_all
from dr_provider.reconcile.restore import restore_in_place
from dr_provider.reconcile.run import decide_plan, run_plan
from dr_provider.reconcile.status import status_document
from dr_provider.reconcile.window import left_untouched
from tests.soak.bench import PLAN, shop
from tests.soak.cover import COVERED
from tests.soak.edits import EDITS
from tests.soak.mortal import Cut
from tests.soak.play import OPERATORS, Play

__all__ = ["MACHINES", "Cascade", "FanOut", "Recovery", "TwoSites"]

operators = st.sampled_from(sorted(OPERATORS))
busy = st.sampled_from([0, 8, 8, 16])
_KINDS: tuple[Any, ...] = (None, None, None, "before", "after", "after", "stop", "pause")
cuts = st.builds(
    lambda kind, at: Cut(kind, at) if kind else None, st.sampled_from(_KINDS), st.sampled_from(range(60))
)  # fmt: skip


class Recovery(Play):
    """One plan; `document` says on which topology."""

    # -- guests and their sites -----------------------------------------------------------------------

    @rule(data=st.data(), count=st.sampled_from([1, 7, 8, 16, 24]), skew=st.sampled_from([0, 0, 20, -20]))
    def write(self, data: st.DataObject, count: int, skew: int) -> None:
        vm = data.draw(st.sampled_from(sorted(self.bench.topology.vms)))
        self.clock.array = timedelta(minutes=skew)
        self._written([vm], count)
        self.clock.array = timedelta()
        self.step()

    def _written(self, vms: Iterable[str], count: int) -> None:
        """Guests write wherever they run; what waits for a silent array stays in their memory."""
        with self.bench.bench() as bench:
            for vm, site in itertools.product(vms, self.bench.sites):
                try:
                    bench.write(vm, count, site)
                    COVERED.add("found", "guest that wrote")
                except DrError:
                    continue

    def _busy(self, count: int) -> None:
        """All guests write: what was written just before a disaster, and on both sides of it, is what can be lost."""
        if count:
            self._written(sorted(self.bench.topology.vms), count)
            self.step()

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
        self.step()

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
        self.mend(data.draw(st.sampled_from(sorted(self.faults))))
        self.step()

    @precondition(lambda self: self.faults)
    @rule()
    def heal_all(self) -> None:
        for target in sorted(self.faults):
            self.mend(target)
        self.step()

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
        self.step()

    @rule(minutes=st.sampled_from([1, 6, 20, 600, 3000]))
    def time_passes(self, minutes: int) -> None:
        self.clock.forward(minutes)

    # -- operators ------------------------------------------------------------------------------------

    @rule(by=operators, cut=cuts, now=st.booleans())
    def protect(self, by: str, cut: Cut | None, now: bool) -> None:
        self.run("protect", by, cut, lambda w: protect_plan(w, PLAN, now=now))
        self.step()

    @rule(by=operators, cut=cuts)
    def repair(self, by: str, cut: Cut | None) -> None:
        self.twice(Want(), by)
        result = self.run("repair", by, cut, lambda w: run_plan(w, PLAN, Want()))
        self.step(result=result)

    @rule(data=st.data(), by=operators, cut=cuts, running=st.booleans(), back=st.booleans(), count=busy)
    def disaster(self, data: st.DataObject, by: str, cut: Cut | None, running: bool, back: bool, count: int) -> None:
        """The active site is lost, and the plan is moved by the word; guests write before and after, wherever they run."""
        self._busy(count)
        epoch = self.truth.now.epoch
        others = [site for site in self.bench.sites if site != epoch.site]
        target = data.draw(st.sampled_from(others))
        with self.bench.bench() as bench:
            bench.lose(f"site:{epoch.site}", running=running)
        self.faults.add(f"site:{epoch.site}")
        COVERED.add("lost", f"active site{' (running)' if running else ''}")
        want = Want(site=target, word=f"{epoch.number}: it is gone")
        self.twice(want, by)
        result = self.run("forced", by, cut, lambda w: run_plan(w, PLAN, want))
        self.step(result=result)
        self._busy(count)
        if back:
            self.mend(f"site:{epoch.site}")
            self.step()

    @rule(
        data=st.data(),
        by=operators,
        cut=cuts,
        word=st.sampled_from(["none", "none", "right", "right", "past"]),
        wish=st.integers(0, 9),
        count=busy,
    )
    def move(self, data: st.DataObject, by: str, cut: Cut | None, word: str, wish: int, count: int) -> None:
        self._busy(count)
        site = data.draw(st.sampled_from(self.bench.sites))
        number = self.truth.now.epoch.number
        said = {"none": None, "right": f"{number}: the test says so", "past": f"{number - 1}: old"}[word]
        points = [p.id for p in self.truth.now.view.points if p.complete_at(site)]
        point = points[wish % len(points)] if points and wish < 3 else None
        want = Want(site=site, word=said, point=point)
        self.twice(want, by)
        result = self.run("move", by, cut, lambda w: run_plan(w, PLAN, want))
        self.step(wished=point is not None, result=result)

    @precondition(lambda self: self.truth.now.view.claim is not None)
    @rule(by=operators, cut=cuts, word=st.booleans())
    def abort(self, by: str, cut: Cut | None, word: bool) -> None:
        said = f"{self.truth.now.epoch.number}: not committed" if word else None
        self.run("abort", by, cut, lambda w: run_plan(w, PLAN, Want(goal="abort", word=said)))
        self.step()

    @precondition(lambda self: self.truth.now.view.split is not None or self.truth.now.view.claim is not None)
    @rule(data=st.data(), by=operators, cut=cuts, word=st.booleans())
    def resolve(self, data: st.DataObject, by: str, cut: Cut | None, word: bool) -> None:
        keep = data.draw(st.sampled_from(self.bench.sites))
        said = f"{self.truth.now.epoch.number}: it is off" if word else None
        self.run("resolve", by, cut, lambda w: run_plan(w, PLAN, Want(site=keep, goal="resolve", word=said)))
        self.step()

    @rule(by=operators, cut=cuts, commit=st.booleans(), word=st.booleans(), count=busy)
    def end_window(self, by: str, cut: Cut | None, commit: bool, word: bool, count: int) -> None:
        """Back to the side that a planned move left untouched, or not any more; in both cases refused where there is none."""
        self._busy(count)
        said = f"{self.truth.now.epoch.number}: what runs is no good" if word else None
        want = Want(goal="commit" if commit else "rollback", word=said)
        self.twice(want, by)
        self.run(want.goal, by, cut, lambda w: run_plan(w, PLAN, want))
        self.step()

    @rule(data=st.data(), by=operators, cut=cuts, running=st.booleans())
    def lose_a_host(self, data: st.DataObject, by: str, cut: Cut | None, running: bool) -> None:
        """Of the active site; its VMs are restarted on another one there, if there is one."""
        site = self.truth.now.epoch.site
        host = data.draw(st.sampled_from(sorted(h.name for h in self.bench.topology.hosts_at(site))))
        with self.bench.bench() as bench:
            bench.lose(f"host:{host}", running=running)
        self.faults.add(f"host:{host}")
        COVERED.add("lost", f"active host{' (running)' if running else ''}")
        want = Want(goal="restart")
        self.twice(want, by)
        self.run("restart", by, cut, lambda w: run_plan(w, PLAN, want))
        self.step()

    @rule(data=st.data(), by=operators, cut=cuts, back=st.integers(0, 3))
    def restore(self, data: st.DataObject, by: str, cut: Cut | None, back: int) -> None:
        """A VM is set back to a recovery point, in its place."""
        view = self.truth.now.view
        points = [p.id for p in view.points if p.complete_at(self.truth.now.epoch.site)]
        if not points:
            return
        vm = data.draw(st.sampled_from(sorted(view.topology.vms)))
        self.truth.set_back.add(vm)
        self.run("restore", by, cut, lambda w: restore_in_place(w, vm, points[-1 - back % len(points)]))
        self.step()

    @rule(data=st.data(), by=operators, cut=cuts, end=st.booleans(), stay=st.sampled_from([None, 60.0, 1200.0]))
    def drill(self, data: st.DataObject, by: str, cut: Cut | None, end: bool, stay: float | None) -> None:
        site = data.draw(st.sampled_from(self.bench.sites))
        self.run(
            "drill",
            by,
            cut,
            lambda w: start_drill(w, PLAN, site, "rehearsal", Owner(self.bench.topology.name, "", "drill"), stay=stay),
        )
        self.step()
        if end:
            self.run("end of a drill", by, cut, lambda w: end_drill(w, PLAN, "rehearsal"))
            self.step()

    @rule(by=operators, cut=cuts)
    def apply(self, by: str, cut: Cut | None) -> None:
        self.run("apply", by, cut, lambda w: apply_all(w, self.bench.lines.append))
        self.step()

    @rule(data=st.data(), by=operators, cut=cuts, what=st.sampled_from(sorted(EDITS)))
    def edit(self, data: st.DataObject, by: str, cut: Cut | None, what: str) -> None:
        """The topology is changed, and applied or not."""
        try:
            number = next(self.numbers)
            self.bench.edit(lambda document: EDITS[what](document, number))
        except (BadInput, LookupError):
            return
        COVERED.add("edited", what)
        self.edited = True
        if data.draw(st.booleans()):
            self.run("apply", by, cut, lambda w: apply_all(w, self.bench.lines.append))
        self.step()

    # -- at rest ----------------------------------------------------------------------------------------

    @precondition(lambda self: self.since_rest >= 5)
    @rule(keep=st.integers(0, 2))
    def all_well_again(self, keep: int) -> None:
        """Everything is healed: one more run converges, after the resolve that a split demands; then the plan is protected both ways."""
        self.since_rest = 0
        for target in sorted(self.faults):
            self.mend(target)
        self.clock.forward(30)  # no commit window is open any more
        self.step()
        if self.truth.now.view.drills:
            ended = self.run("last end of a drill", "anna", None, lambda w: end_drill(w, PLAN, "rehearsal"))
            assert isinstance(ended, Ended), f"at rest, the end of a drill: {ended}"
            assert not ended.left, f"at rest, the end of a drill leaves {ended.left}"
            self.step()
        result = self._converge(keep)
        if left_untouched(self.truth.now.view) is not None:
            # This run was the one that committed a move, and its window has only begun.
            self.clock.forward(30)
            self.step()
            result = self._converge(keep)
        given_up = any("it is not restored by this move" in warning for warning in result.warnings)
        if self.edited or given_up:
            # What nobody has made before is made by apply, and not by a run; a VM that is not in the point of a move by either, and not by the move.
            self._apply_at_rest()
            self.edited = False
        else:
            assert result.failures == (), f"all is healed, and a run fails: {result.failures}"
        left = self.run("decide", "anna", None, lambda w: decide_plan(w, PLAN, Want()))
        assert not isinstance(left, DrError), f"at rest a decision fails: {left}"
        assert left.refused == (), f"at rest a second run is refused: {left.refused}"
        did = [step["id"] for step in result.steps if step["event"] == "done"]
        assert left.actions == (), (
            f"a second run has something to do: {[a.sentence for a in left.actions]}; the first one ({result.decision.kind}) did {did} and warned: {result.warnings}"
        )
        self.truth.at_rest()
        self._protected()

    def _converge(self, keep: int) -> Outcome:
        result = self.run("last run", "anna", None, lambda w: run_plan(w, PLAN, Want()))
        self.step(result=result)
        if self.truth.now.view.split is not None:
            claim, sides = self.truth.now.view.claim, self.truth.now.view.split.sides
            # One that is under way is finished; the other side is refused meanwhile.
            side = claim.site if claim is not None and claim.kind == "resolve" else sides[keep % len(sides)]
            result = self.run(
                "last resolve", "anna", None, lambda w: run_plan(w, PLAN, Want(site=side, goal="resolve"))
            )
            self.step(result=result)
        assert isinstance(result, Outcome), f"all is healed, and a run ends in {type(result).__name__}: {result}"
        return result

    def _protected(self) -> None:
        self._apply_at_rest()
        result = self.run("last protect", "anna", None, lambda w: protect_plan(w, PLAN, now=True))
        assert not isinstance(result, DrError), f"at rest, protect: {result}"
        assert result.failures == (), f"at rest, protect fails: {result.failures}"
        self.step()
        self.truth.nothing_held()
        view = self.truth.now.view
        assert not drill_ends(view), f"at rest, drills are still to be ended: {drill_ends(view)}"
        status = self.run("status", "anna", None, status_document)["plans"][PLAN]
        assert status["protected"], f"at rest, and not protected: {status['warnings']}"
        assert status["phase"] == "steady", f"at rest, and {status['phase']}: {status['degraded']}"
        COVERED.add("found", "well again")

    def _apply_at_rest(self) -> None:
        result = self.run("last apply", "anna", None, lambda w: apply_all(w, self.bench.lines.append))
        assert not isinstance(result, DrError), f"at rest, apply: {result}"
        wrong = [str(one) for one in result if isinstance(one, DrError)]
        assert not wrong, f"at rest, apply: {wrong}"
        self.step()


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
