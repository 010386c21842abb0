"""One plan as an observation shows it: epochs, claim, lease, split, volumes and VMs by site. Pure.

Invariant kept here: nothing is concluded from silence. What a party that did not answer holds is in `silent_arrays` or
`silent_hosts`, never among what is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from dr_provider.model import keys
from dr_provider.model.callout_records import Callouts
from dr_provider.model.codec import load
from dr_provider.model.drills import DrillRecord
from dr_provider.model.records import Claim, Declared, Epoch, Lease, RestoreRecord, Split
from dr_provider.model.state import ArrayState, Observation, Silent, VmState, VolumeState
from dr_provider.model.topology import PlanSpec, Topology, VmSpec
from dr_provider.protection.catalogue import RecoveryPoint, catalogue
from dr_provider.protection.lines import feeders, way

__all__ = ["PlanView", "VmPlace", "plan_view"]


@dataclass(frozen=True)
class VmPlace:
    """A VM of the plan as a host knows it (drill VMs are not among them)."""

    vm: str
    host: str
    site: str
    state: VmState

    @property
    def running(self) -> bool:
        return self.state.state == "running"


@dataclass(frozen=True)
class PlanView:
    """`epochs` by array: every epoch record of the plan there, oldest first. `claims`, `leases`, `splits` by array."""

    topology: Topology
    spec: PlanSpec
    seen: Observation
    epochs: Mapping[str, tuple[Epoch, ...]]
    claims: Mapping[str, Claim]
    leases: Mapping[str, tuple[Lease, ...]]
    splits: Mapping[str, Split]
    places: tuple[VmPlace, ...]
    declared: Mapping[str, Declared] = field(default_factory=dict)
    """Last declared, by stack (project/stack)."""
    drills: Mapping[str, DrillRecord] = field(default_factory=dict)
    restores: Mapping[str, RestoreRecord] = field(default_factory=dict)
    """VMs that are being set back to a recovery point, in their place."""
    callouts: tuple[Callouts, ...] = ()
    """How far callouts and prompts are, as each array says it."""

    @cached_property
    def new_hosts(self) -> tuple[str, ...]:
        """Hosts that may be made: nothing is there, no array of the plan is silent, and none knows of their having been made."""
        arrays = [self.seen.arrays[array] for array in self.topology.plan_arrays(self.spec.name)]
        if any(isinstance(state, Silent) and not state.missing for state in arrays):
            return ()
        missing = {n for n, state in self.seen.hosts.items() if isinstance(state, Silent) and state.missing}
        made = {key for state in self.seen.arrays.values() if isinstance(state, ArrayState) for key in state.records}
        return tuple(sorted(n for n in missing if keys.host_key(self.topology.name, n) not in made))

    # -- epochs ---------------------------------------------------------------------------------

    @cached_property
    def committed(self) -> tuple[Epoch, ...]:
        """The committed epochs with the highest number, by id: one, none (the plan was never made), or several (split)."""
        all_of_them = [e for epochs in self.epochs.values() for e in epochs if e.state == "committed"]
        top = max((e.number for e in all_of_them), default=0)
        # An array that was away when the window was ended counts no more than those that know.
        newest = sorted((e for e in all_of_them if e.number == top), key=lambda e: e.window_closed)
        return tuple(sorted({e.id: e for e in newest}.values(), key=lambda e: e.id))

    @property
    def epoch(self) -> Epoch | None:
        """The epoch in force; None: none is known. With a split it is the first by id: look at `split` before."""
        return self.committed[0] if self.committed else None

    @property
    def active(self) -> str | None:
        return self.epoch.site if self.epoch else None

    def known_epoch(self, array: str) -> int:
        """The highest committed number that an answering array itself knows of (0: none)."""
        return max((e.number for e in self.epochs.get(array, ()) if e.state == "committed"), default=0)

    @cached_property
    def history(self) -> tuple[Epoch, ...]:
        """Every epoch that any answering array knows, each id once, oldest first."""
        every = {e.id: e for epochs in self.epochs.values() for e in epochs}
        return tuple(sorted(every.values(), key=lambda e: (e.number, e.time)))

    @cached_property
    def claim(self) -> Claim | None:
        """The move under way: a claim that no commit and no abort has ended. Leftovers of ended moves are not claims."""
        ended = {e.id for e in self.history}
        top = self.epoch.number if self.epoch else 0
        live = [c for c in self.claims.values() if c.id not in ended and c.number > top]
        # A claim that gained its point or its aborting mark on some arrays only: the fullest counts.
        return max(live, key=lambda c: (c.aborting, c.point is not None, len(c.proof), c.time, c.id), default=None)

    @cached_property
    def leftover_claims(self) -> tuple[str, ...]:
        """Arrays that still hold the claim of a move that has ended."""
        live = self.claim
        return tuple(sorted(a for a, c in self.claims.items() if live is None or c.id != live.id))

    @cached_property
    def leftover_splits(self) -> tuple[str, ...]:
        """Arrays that still hold the record of a split that was ended while they were away."""
        return tuple(sorted(self.splits)) if self.split is None else ()

    @cached_property
    def split(self) -> Split | None:
        """A split on record, or one that the epochs show: the same number under two ids."""
        top = self.epoch.number if self.epoch else 0
        live = [split for split in self.splits.values() if not split.epoch or split.epoch >= top]
        if live:
            return live[0]
        if len(self.committed) > 1:
            said = tuple(
                f"epoch {e.number} was committed at {e.site} ({e.id}, by {e.by}, {e.time})" for e in self.committed
            )
            sides = tuple(sorted({e.site for e in self.committed}))
            return Split(self.spec.name, sides, self.committed[0].previous, said, max(e.time for e in self.committed))
        return None

    # -- sites ----------------------------------------------------------------------------------

    @cached_property
    def declared_volumes(self) -> tuple[str, ...]:
        return tuple(volume.name for volume in self.topology.plan_volumes(self.spec.name))

    @cached_property
    def volume_names(self) -> tuple[str, ...]:
        """The plan's volumes. One that is declared and that nobody has made yet has no part in anything: `up` or `dr apply` makes it, where
        the plan is active by then. Before any is made, all of them."""
        made = tuple(
            name
            for name in self.declared_volumes
            if any(self.volume(name, site) is not None for site in self.spec.sites)
            or not self.never_made("volume", name)
        )
        return made or self.declared_volumes

    @cached_property
    def points(self) -> tuple[RecoveryPoint, ...]:
        return catalogue(self.topology, self.spec.name, self.seen)

    def copy_array(self, volume: str, site: str) -> str:
        """The array with the volume's copy at the site (the loader made sure that there is one at each of the plan's sites)."""
        array = self.topology.copy_at(volume, site)
        assert array is not None, f"volume {volume} has no copy at {site}"
        return array

    def site_arrays(self, site: str) -> tuple[str, ...]:
        """The arrays at the site that hold the plan's volumes."""
        return tuple(sorted({self.copy_array(v, site) for v in self.declared_volumes}))

    def silent_arrays(self, site: str) -> dict[str, str]:
        """Arrays of the plan at the site that are silent, with the reason."""
        return _silent({a: self.seen.arrays[a] for a in self.site_arrays(site)})

    def silent_hosts(self, site: str) -> dict[str, str]:
        """Hosts of the site that are silent, with the reason: any of them may run a VM of the plan."""
        return _silent({h.name: self.seen.hosts[h.name] for h in self.topology.hosts_at(site)})

    @property
    def unheard(self) -> dict[str, str]:
        """The plan's silent arrays, with the reason: what they know is not known. A file that was never there knows nothing."""
        states = {name: self.seen.arrays[name] for name in self.topology.plan_arrays(self.spec.name)}
        return {n: s.reason for n, s in states.items() if isinstance(s, Silent) and not s.missing}

    @property
    def may_know(self) -> dict[str, str]:
        """Of a plan that nothing that answers knows: its silent arrays, which may know it, with the reason. Empty: it is known, or was never
        made."""
        return {} if self.committed else self.unheard

    def volume(self, volume: str, site: str) -> VolumeState | None:
        """The volume's copy at a site; None: absent, or its array is silent (ask `seen.array` which)."""
        state = self.seen.array(self.copy_array(volume, site))
        found = state.volumes.get(volume) if state else None
        return found if found is not None and found.kind == "data" else None

    def array_state(self, volume: str, site: str) -> ArrayState | None:
        return self.seen.array(self.copy_array(volume, site))

    def linked(self, volume: str, source: str, target: str) -> bool:
        """Whether what the copy at one site has can be sent to the other, straight or over copies that are in line."""
        return self.way(volume, source, target) is not None

    def way(self, volume: str, source: str, target: str) -> tuple[str, ...] | None:
        """The arrays on the way from the copy at one site to the one at another, both included; None: there is no way now."""
        return way(self.topology, volume, self.copy_array(volume, source), self.copy_array(volume, target), self.seen)

    def feeders(self, volume: str, site: str) -> Mapping[str, str]:
        """From which array each other copy is fed while the plan is active at the site, feeders first (lines.py)."""
        return feeders(self.topology.volumes[volume], self.copy_array(volume, site), self.seen)

    def others(self, site: str) -> tuple[str, ...]:
        """The plan's other sites, in its order of preference."""
        return tuple(other for other in self.spec.sites if other != site)

    def never_made(self, kind: str, name: str) -> bool:
        """Whether nobody has made the thing (kind as in `keys.owner_key`) yet: an `up` or `dr apply` does; it is not lost, nor to be repaired."""
        key = keys.owner_key(self.topology.name, kind, name)
        return not any(
            key in state.records
            for array in self.topology.plan_arrays(self.spec.name)
            if (state := self.seen.array(array)) is not None
        )

    # -- VMs ------------------------------------------------------------------------------------

    @property
    def vms(self) -> tuple[VmSpec, ...]:
        return tuple(self.topology.vms[name] for name in self.spec.members)

    def place(self, vm: str, site: str) -> VmPlace | None:
        """Where the VM is at a site: the host that runs it (with its disks, before one that has lost them), else one that defines it."""
        at = [p for p in self.places if p.vm == vm and p.site == site]
        at.sort(key=lambda p: (not p.running, p.running and self.taken_to(p) is not None, p.host))
        return at[0] if at else None

    def dropped_luns(self, vm: str, site: str) -> dict[str, list[str]]:
        """LUNs at the site that are mapped still and were disks of the VM once, by volume: taken out of the topology since."""
        disks = {keys.lun_name(vm, disk.role) for disk in self.topology.vms[vm].disks}
        found = {}
        for name in self.volume_names:
            volume = self.volume(name, site)
            luns = volume.luns.values() if volume else ()
            mine = [
                lun.name for lun in luns if lun.name.startswith(keys.lun_name(vm, "")) and lun.mapped_to is not None
            ]
            if dropped := sorted(set(mine) - disks):
                found[name] = dropped
        return found

    def runs_at(self, at: VmPlace) -> bool:
        """Whether the VM runs there, and not merely without the disks that another host has by now."""
        return at.running and self.taken_to(at) is None

    def taken_to(self, at: VmPlace) -> str | None:
        """The answering host of the site that has the VM's disks while the one where it is has none of them; None: there is none."""
        here, spec = self.seen.host(at.host), self.topology.vms.get(at.vm)
        if here is None or spec is None:
            return None
        mapped = set()
        for disk in spec.disks:
            volume = self.volume(disk.volume, at.site) if self.topology.copy_at(disk.volume, at.site) else None
            lun = volume.luns.get(keys.lun_name(at.vm, disk.role)) if volume else None
            mapped.add(lun.mapped_to if lun is not None else None)
        if here.initiator in mapped:
            return None
        others = (
            h.name for h in self.topology.hosts_at(at.site) if (s := self.seen.host(h.name)) and s.initiator in mapped
        )
        return next(others, None)

    def running_at(self, site: str) -> tuple[VmPlace, ...]:
        return tuple(p for p in self.places if p.site == site and p.running)


def _silent(states: Mapping[str, object]) -> dict[str, str]:
    return {name: state.reason for name, state in states.items() if isinstance(state, Silent)}


def plan_view(topology: Topology, plan: str, seen: Observation) -> PlanView:
    """The plan's records and VMs out of one observation. Raises CorruptRecord naming the array and the record."""
    epochs: dict[str, tuple[Epoch, ...]] = {}
    claims: dict[str, Claim] = {}
    leases: dict[str, tuple[Lease, ...]] = {}
    splits: dict[str, Split] = {}
    declared: dict[str, Declared] = {}
    drills: dict[str, DrillRecord] = {}
    restores: dict[str, RestoreRecord] = {}
    callouts: list[Callouts] = []
    for array in topology.plan_arrays(plan):
        state = seen.array(array)
        if state is None:
            continue
        where = f"array {array}"
        epochs[array] = tuple(
            load(Epoch, text, f"{where}, {key}") for key, text in _under(state, keys.epoch_prefix(topology.name, plan))
        )
        leases[array] = tuple(
            load(Lease, text, f"{where}, {key}") for key, text in _under(state, keys.lease_prefix(topology.name, plan))
        )
        if text := state.records.get(keys.claim_key(topology.name, plan)):
            claims[array] = load(Claim, text, f"{where}, claim of plan {plan}")
        if text := state.records.get(keys.split_key(topology.name, plan)):
            splits[array] = load(Split, text, f"{where}, split of plan {plan}")
        if text := state.records.get(keys.callouts_key(topology.name, plan)):
            callouts.append(load(Callouts, text, f"{where}, callouts of plan {plan}"))
        for key, text in _under(state, f"{topology.name}/declared/"):
            stack, _, name = key.removeprefix(f"{topology.name}/declared/").rpartition("/")
            record = load(Declared, text, f"{where}, {key}")
            if name == plan and (stack not in declared or _order(declared[stack]) < _order(record)):
                declared[stack] = record
        for key, text in _under(state, keys.restore_prefix(topology.name, plan)):
            restores[key.rpartition("/")[2]] = load(RestoreRecord, text, f"{where}, {key}")
    # What a drill was made of may be on an array that is none of the plan's any more.
    for array in topology.arrays:
        if (state := seen.array(array)) is not None:
            for key, text in _under(state, keys.drill_key(topology.name, plan, "")):
                drills[key.rpartition("/")[2]] = load(DrillRecord, text, f"array {array}, {key}")
    return PlanView(
        topology,
        topology.plans[plan],
        seen,
        epochs,
        claims,
        leases,
        splits,
        _places(topology, plan, seen),
        declared,
        drills,
        restores,
        tuple(callouts),
    )


def _order(record: Declared) -> tuple[int, str]:
    return record.epoch, record.time


def _under(state: ArrayState, prefix: str) -> list[tuple[str, str]]:
    return sorted((key, text) for key, text in state.records.items() if key.startswith(prefix))


def _places(topology: Topology, plan: str, seen: Observation) -> tuple[VmPlace, ...]:
    """Every VM of this topology and plan on answering hosts; drill VMs carry another name than their VM."""
    places = []
    for name, spec in sorted(topology.hosts.items()):
        state = seen.host(name)
        for vm in state.vms.values() if state else ():
            definition = vm.definition
            if (
                definition.owner.topology == topology.name
                and definition.plan == plan
                and definition.name == definition.vm
            ):
                places.append(VmPlace(definition.vm, name, spec.site, vm))
    return tuple(places)
