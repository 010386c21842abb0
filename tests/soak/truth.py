"""What must hold, kept beside the system and never asked of it.

The model is small: of every LUN the histories that were ever acknowledged (on a live volume), of every recovery point what was in it,
of every epoch who was accepted as its writer. Each check fails with a sentence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dr_provider.model import keys
from dr_provider.model.records import Epoch
from dr_provider.model.state import ArrayState
from dr_provider.protection.catalogue import newest
from dr_provider.reconcile.view import PlanView, VmPlace
from tests.soak.histories import Copy, History, Tip, copies_of, extends, tip

__all__ = ["Picture", "Truth", "picture_of"]


@dataclass(frozen=True)
class Picture:
    """The world at one moment, past all faults."""

    view: PlanView
    copies: tuple[Copy, ...]

    def live(self, site: str) -> dict[str, History]:
        """The ledgers of the plan's LUNs on the volumes of a site."""
        return {c.lun: c.history for c in self.copies if c.kind == "data" and c.site == site and not c.snapshot}

    def in_point(self, point: str) -> dict[str, History]:
        return {c.lun: c.history for c in self.copies if c.kind == "data" and c.snapshot == point}

    def writers(self) -> dict[str, list[VmPlace]]:
        """By VM: where it runs on a disk that it can write to."""
        found: dict[str, list[VmPlace]] = {}
        for place in self.view.places:
            if place.running and self._writes(place):
                found.setdefault(place.vm, []).append(place)
        return found

    def _writes(self, place: VmPlace) -> bool:
        host = self.view.seen.host(place.host)
        assert host is not None
        for disk in place.state.definition.disks:
            for name, spec in self.view.topology.arrays.items():
                state = self.view.seen.array(name)
                if f":{spec.options['path']}#" not in disk.target or not isinstance(state, ArrayState):
                    continue
                volume = state.volumes.get(disk.volume)
                lun = volume.luns.get(disk.lun) if volume else None
                if volume and volume.writable and lun and lun.online and lun.mapped_to == host.initiator:
                    return True
        return False

    @property
    def epoch(self) -> Epoch:
        assert self.view.epoch is not None, "no array knows an epoch any more"
        return self.view.epoch


def picture_of(view: PlanView) -> Picture:
    return Picture(view, tuple(copies_of(view.topology)))


@dataclass
class Truth:
    """`excused`: why two sites may have writers at this time (the word was given against a silent side, or somebody started VMs by hand)."""

    now: Picture
    tips: dict[str, list[Tip]] = field(default_factory=dict)
    points: dict[str, dict[str, Tip]] = field(default_factory=dict)
    accepted: dict[int, set[str]] = field(default_factory=dict)
    forgiven: set[tuple[int, frozenset[str]]] = field(default_factory=set)
    """Epochs that were committed twice while there was an excuse."""
    excused: str = ""
    set_back: set[str] = field(default_factory=set)
    """VMs that an operator wants as of a recovery point, until that is done."""
    by_hand: set[str] = field(default_factory=set)
    """Sites where something was started by hand since the last epoch."""

    def acknowledge(self, copies: Iterable[Copy]) -> None:
        """Note what is on live volumes: from now on it must be somewhere."""
        for copy in copies:
            if copy.snapshot or not copy.history:
                continue
            known = self.tips.setdefault(copy.lun, [])
            new = tip(copy.history)
            if new not in known and not any(self._covered(copy.lun, new, other) for other in known):
                known[:] = [old for old in known if not extends(copy.history, old)]
                known.append(new)
                self._longest[(copy.lun, new)] = copy.history

    _longest: dict[tuple[str, Tip], History] = field(default_factory=dict)

    def _covered(self, lun: str, new: Tip, by: Tip) -> bool:
        return extends(self._longest.get((lun, by), ()), new)

    # -- after each step ----------------------------------------------------------------------------

    def step(self, new: Picture, *, wished: bool, said_nothing_lost: bool) -> None:
        """Check a step.
        `wished`: an operator chose the point; `said_nothing_lost`: what the run has stated."""
        old, self.now = self.now, new
        self.acknowledge(new.copies)
        self._nothing_is_gone()
        self._note_points(old)
        self._epochs()
        if new.epoch.id == old.epoch.id:
            self._active_side_stands(old)
        else:
            self._moved(old, wished=wished, said_nothing_lost=said_nothing_lost)
        self._one_writer(old)
        self.set_back = set(new.view.restores)

    def _may_go_back(self, lun: str) -> bool:
        """What it had is somewhere all the same: `_nothing_is_gone`."""
        return lun.partition(".")[0] in self.set_back

    def _nothing_is_gone(self) -> None:
        for lun, tips in self.tips.items():
            copies = [c for c in self.now.copies if c.lun == lun]
            for one in tips:
                assert any(extends(c.history, one) for c in copies), (
                    f"LUN {lun}: its history up to entry {one[0]} was acknowledged and is on no volume, snapshot or safety copy any more; there are: "
                    + "; ".join(
                        f"{c.volume}@{c.snapshot or 'now'} on {c.array} ({c.kind}): {len(c.history)}" for c in copies
                    )
                )

    def _note_points(self, old: Picture) -> None:
        """A new point holds what its site had acknowledged before it was taken."""
        for point in self.now.view.points:  # oldest first
            if point.id in self.points or point.seal is None or not any(s.complete for s in point.sites.values()):
                continue
            inside = self.now.in_point(point.id)
            self.points[point.id] = {lun: tip(history) for lun, history in inside.items()}
            # One of a new epoch stands upon the point that the plan was moved at, which an operator may have chosen to be an old one.
            known = {e.id for e in old.view.history}  # a past side that knows of no later epoch goes on with its own
            upon = next((e for e in self.now.view.history if e.id == point.intent.epoch_id and e.id not in known), None)
            before = {lun: tip(history) for lun, history in old.live(point.intent.site).items()}
            if upon is not None and upon.point is not None:
                before = self.points.get(upon.point, {})
            for lun, history in inside.items():
                if self._may_go_back(lun):
                    continue
                assert extends(history, before.get(lun, (0, 0))), (
                    f"recovery point {point.id} lacks entries of {lun} that {point.intent.site} had acknowledged before it was taken: "
                    f"it has {len(history)}, there were {before[lun][0]}"
                )

    def _epochs(self) -> None:
        for epochs in self.now.view.epochs.values():
            for epoch in epochs:
                if epoch.state == "committed":
                    self.accepted.setdefault(epoch.number, set()).add(epoch.id)
        twice = {(number, frozenset(ids)) for number, ids in self.accepted.items() if len(ids) > 1} - self.forgiven
        assert not twice or self.excused, f"an epoch was committed twice: {sorted(map(str, twice))}"
        self.forgiven |= twice  # by the excuse of then, which is over one day while the records stay

    def _active_side_stands(self, old: Picture) -> None:
        """Without a commit the active side's data is never taken back."""
        site = old.epoch.site
        after = self.now.live(site)
        for lun, history in old.live(site).items():
            assert lun in after, f"LUN {lun} is gone at {site}, where the plan is active"
            assert self._may_go_back(lun) or extends(after[lun], tip(history)), (
                f"LUN {lun} at {site}, where the plan is active, went back from entry {len(history)} to {len(after[lun])}"
            )

    def _moved(self, old: Picture, *, wished: bool, said_nothing_lost: bool) -> None:
        epoch = self.now.epoch
        site, after = epoch.site, self.now.live(epoch.site)
        if epoch.kind in ("resolve", "rollback"):
            for lun, history in old.live(site).items():
                assert self._may_go_back(lun) or extends(after.get(lun, ()), tip(history)), (
                    f"the {epoch.kind} for {site} took back entries of {lun} there"
                )
        else:
            assert epoch.point is not None, f"epoch {epoch.number} was committed without a point"
            for lun, one in self.points.get(epoch.point, {}).items():
                assert extends(after.get(lun, ()), one), (
                    f"LUN {lun}: {one[0]} entries were in recovery point {epoch.point}, and {site} has {len(after.get(lun, ()))} after the move to it"
                )
            self._newest(old, epoch, wished=wished)
            if said_nothing_lost and not self.by_hand and epoch.from_site:
                # What was taken out of the topology stays where it is, and is no part of what is moved.
                declared = {keys.lun_name(vm.name, disk.role) for vm in self.now.view.vms for disk in vm.disks}
                before = {lun: history for lun, history in old.live(epoch.from_site).items() if lun in declared}
                for lun, history in before.items():
                    assert extends(after.get(lun, ()), tip(history)), (
                        f"the move to {site} said that nothing is lost; {epoch.from_site} had acknowledged {len(history)} entries of {lun}, and {site} has {len(after.get(lun, ()))}"
                    )
        self.by_hand.clear()
        if epoch.word:
            self.excused = f"epoch {epoch.number} is by the operator's word"

    def _newest(self, old: Picture, epoch: Epoch, *, wished: bool) -> None:
        """The newest point that is whole at the target is the one, unless an operator, or the claim of an earlier run, chose."""
        claim = old.view.claim
        best = newest(old.view.points, epoch.site)
        if wished or best is None or (claim is not None and claim.point is not None):
            return
        chosen = next((p for p in self.now.view.points if p.id == epoch.point), None)
        assert chosen is None or chosen.order >= best.order, (
            f"the move to {epoch.site} chose recovery point {epoch.point}, and {best.id} is newer and was whole there"
        )

    def _one_writer(self, old: Picture) -> None:
        for vm, places in self.now.writers().items():
            sites = sorted({place.site for place in places})
            assert len(places) == len(sites), f"VM {vm} runs twice at one site: {[p.host for p in places]}"
            assert len(sites) < 2 or self.excused, (
                f"VM {vm} runs with disks that it can write to at {' and '.join(sites)}, and nobody gave the word; "
                f"the plan is active at {self.now.epoch.site} since epoch {self.now.epoch.number}"
            )

    # -- at rest --------------------------------------------------------------------------------------

    def at_rest(self) -> None:
        """Once all is healed and one more run has been made: each VM runs once, at the active site; nothing is left over."""
        view, site = self.now.view, self.now.epoch.site
        for vm in view.spec.members:
            at = [place for place in view.places if place.vm == vm and place.running]
            assert [place.site for place in at] == [site], (
                f"VM {vm} runs at {[p.host for p in at]}; the plan is active at {site}"
            )
        writers = self.now.writers()
        assert set(writers) >= set(view.spec.members), f"of {view.spec.members} only {sorted(writers)} can write"
        assert not view.claims, f"claims are left: {view.claims}"
        assert not view.splits, f"splits are left: {view.splits}"
        kept = {
            name: state.reservations
            for name in view.topology.hosts
            if (state := view.seen.host(name)) and state.reservations
        }
        assert not kept, f"capacity is kept for nobody: {kept}"
        self._no_leftovers(view)
        self.excused = ""
        self.by_hand.clear()

    def nothing_held(self) -> None:
        """After a run that took the lease: what a killed one left of its own is past."""
        view = self.now.view
        open_leases = {
            array: lease for array, leases in view.leases.items() for lease in leases[-1:] if not lease.released
        }
        assert not open_leases, f"a lease is not released: {open_leases}"

        frozen = [place.vm for place in view.places if place.state.frozen]
        assert not frozen, f"still frozen: {frozen}"

    def _no_leftovers(self, view: PlanView) -> None:
        for name in view.topology.arrays:
            state = view.seen.array(name)
            assert state is not None
            for volume in state.volumes.values():
                assert volume.kind in ("data", "safety"), f"volume {volume.name} ({volume.kind}) is left on {name}"
                if volume.name in view.volume_names:
                    home = view.topology.arrays[name].site == view.active
                    assert volume.writable == home, f"volume {volume.name} on {name}: writable is {volume.writable}"
                    stale = [h for s in volume.snapshots for h in s.holds if h.startswith(("point.", "fork."))]
                    assert not stale, f"volume {volume.name} on {name} has holds that nothing needs: {stale}"
