"""Situations: one observation of a plan at two sites (or three: `shop(sites=...)`), put together by keyword, with nothing behind it but data.

East is home. Left alone, `view()` is the steady state: every VM runs at east on mapped LUNs, west mirrors it, and both hold the points
`P1` and `P2`. A test names only what differs: `view(silent=("east",))`, `view(west=replace(REPLICA, points=(P1,)))`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from dr_provider.model import keys
from dr_provider.model.codec import dump
from dr_provider.model.drills import DrillRecord
from dr_provider.model.loader import parse
from dr_provider.model.records import Claim, Declared, Epoch, Intent, Lease, Owner, Pin, Seal, Split
from dr_provider.model.state import (
    ArrayState,
    HostState,
    LunState,
    Observation,
    Reservation,
    Silent,
    SnapshotState,
    VmState,
    VolumeState,
    WitnessState,
)
from dr_provider.model.topology import Topology
from dr_provider.model.vm import DiskAttachment, VmDefinition
from dr_provider.reconcile.decide import decide
from dr_provider.reconcile.decision import Action, Decision, Want
from dr_provider.reconcile.placement import reservation_tag
from dr_provider.reconcile.view import PlanView, plan_view
from tests.support.topologies import topology_document

__all__ = [
    "ABSENT",
    "ACTIVE",
    "EMPTY",
    "GIB",
    "LEFT",
    "NOW",
    "P1",
    "P2",
    "PLAN",
    "REPLICA",
    "RETURNED",
    "VMS",
    "Copies",
    "Point",
    "Side",
    "answer",
    "claim",
    "declared",
    "drill",
    "epoch",
    "ids",
    "lease",
    "minute",
    "moved",
    "observation",
    "own_tag",
    "reserved",
    "shop",
    "split",
    "tree",
    "verbs",
    "view",
    "vm_state",
]

PLAN = "shop"
NAME = "shop-test"
VMS = ("db", "app", "web")
GIB = 1 << 30
OWNER = Owner(NAME, "", "i1")


def minute(number: float) -> str:
    """A time of the day on which everything happens. Epoch n is committed at minute 100 n; its points follow, one a minute."""
    return f"2026-03-02T{8 + int(number) // 60:02d}:{int(number) % 60:02d}:{round(number % 1 * 60):02d}.000Z"


NOW = minute(600)


@lru_cache(maxsize=32)
def _shop(options: str) -> Topology:
    return _parsed(topology_document(**json.loads(options)))


def _parsed(document: dict[str, Any]) -> Topology:
    return parse(json.dumps(document), source="a situation", base=Path("/lab"))


def shop(change: Callable[[dict[str, Any]], None] | None = None, **options: Any) -> Topology:
    """The topology of `topology_document`: VMs db, app, web in three tiers; their disks on vol-1, vol-2, vol-1; two hosts a site."""
    if change is not None:
        return _parsed(topology_document(name=NAME, change=change, **options))
    return _shop(json.dumps({"name": NAME, **options}, sort_keys=True))


# -- recovery points ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """A group. `definitions` None: of every VM. `unsealed` and `lacking` name volumes whose snapshot has no seal, or is not there; `before`
    those that came to the plan after it."""

    sequence: int
    epoch: int = 1
    site: str = "east"
    kind: str = "backup"
    definitions: tuple[str, ...] | None = None
    unsealed: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    before: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        return f"{self.epoch:02x}{self.sequence:02x}"

    @property
    def id(self) -> str:
        return keys.point_name(self.epoch, self.sequence, self.group)

    @property
    def time(self) -> str:
        return minute(100 * self.epoch + self.sequence)


P1, P2 = Point(1), Point(2)


def _snapshot(topology: Topology, point: Point, volume: str, lineage: str) -> SnapshotState:
    named = VMS if point.definitions is None else point.definitions
    intent = Intent(
        point.group,
        topology.name,
        PLAN,
        point.epoch,
        f"id-{point.epoch}",
        point.sequence,
        point.site,
        tuple(v.name for v in topology.plan_volumes(PLAN) if v.name not in point.before),
        point.time,
        point.kind,
        {vm: dump(_definition(topology, vm)) for vm in topology.plans[PLAN].members if vm in named},
        dict.fromkeys(named, "east-1"),
    )
    seal = None if volume in point.unsealed else dump(Seal(point.group, point.time, "application"))
    return SnapshotState(
        point.id, f"{volume}/{point.id}{lineage}", point.time, records={"intent": dump(intent)}, seal=seal
    )


# -- a side ---------------------------------------------------------------------------------------

Copies = Literal["writable", "replica", "foreign", "absent", "empty"]
Run = Literal["running", "off", "failed", "none"]


@dataclass(frozen=True)
class Side:
    """What is at a site.

    `copies`: writable; replica (a destination); foreign (writable, with nothing in common); absent; empty (a first copy on its way). `at`
    says it for single volumes. `vms`: the state of all VMs there, or of each that is there. `mapped` None: the LUNs of VMs that run are.
    `changed`: bytes written since the newest snapshot; `no_luns`: LUNs that the volume does not have; `holds`: tags on every
    snapshot.
    """

    copies: Copies = "writable"
    points: tuple[Point, ...] = (P1, P2)
    vms: Run | Mapping[str, Run] = "none"
    at: Mapping[str, Copies] = field(default_factory=dict)
    mapped: bool | tuple[str, ...] | None = None
    changed: int = 0
    last_write: str | None = None
    no_luns: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()
    owner: Owner = OWNER

    def state(self, vm: str) -> Run:
        return self.vms.get(vm, "none") if isinstance(self.vms, Mapping) else self.vms


ACTIVE = Side(vms="running")
REPLICA = Side("replica")
ABSENT = Side("absent")
EMPTY = Side("empty", points=())
LEFT = Side("replica", vms="off")
"""A side that a planned move left: its VMs are defined and off."""
RETURNED = Side("writable", vms="off", mapped=True, changed=4096, last_write=minute(190))
"""A side that lost its power before epoch 2 and came back: what it wrote last was never sent."""


def moved(
    topology: Topology | None = None, *, points: tuple[Point, ...] = (P1, P2, Point(1, 2, "west")), **situation: Any
) -> PlanView:
    """Active at west since epoch 2; unless said otherwise east is its mirror and its VMs there are off."""
    ours: dict[str, Any] = {"west": replace(ACTIVE, points=points), "east": replace(LEFT, points=points)}
    return view(topology, **{**ours, "epochs": (epoch(), epoch(2, "west")), **situation})


# -- records --------------------------------------------------------------------------------------


def epoch(number: int = 1, site: str = "east", **more: Any) -> Epoch:
    kind = "create" if number == 1 else "planned"
    given = {
        "state": "committed",
        "time": minute(100 * number),
        "kind": kind,
        "by": "dr (operator)",
        "id": f"id-{number}",
    }
    return Epoch(plan=PLAN, number=number, site=site, **{**given, **more})


def claim(site: str = "west", number: int = 2, **more: Any) -> Claim:
    origin = "east" if site == "west" else "west"
    given = {"from_site": origin, "kind": "planned", "time": minute(99 + number), "by": "dr (operator)"}
    return Claim(
        plan=PLAN, number=number, site=site, **{"id": f"id-{number}", "previous": f"id-{number - 1}", **given, **more}
    )


def split(*sides: str, fork: str | None = P2.id, evidence: tuple[str, ...] = ("VM db was seen running",)) -> Split:
    return Split(PLAN, sides or ("west", "east"), fork, evidence, minute(300))


def declared(site: str, *, minutes: float = 110) -> Declared:
    return Declared(PLAN, site, minute(minutes))


def lease(n: int, **more: Any) -> Lease:
    given = {"holder": "dr (another)", "boot": "b2", "pid": 1, "start": 0.0, "beat": 0, "since": NOW, "doing": "a test"}
    return Lease(PLAN, n, **{**given, **more})


def drill(name: str, *vms: str, site: str = "west") -> DrillRecord:
    """A drill whose VMs run on the first host of the site."""
    return DrillRecord(
        PLAN, name, site, "dr/drill", P1.id, f"{site}-a", (), dict.fromkeys(vms, f"{site}-1"), minute(150)
    )


def reserved(cpus: int, memory: int, *, tag: str = "move.other.plan", vm: str = "other") -> Reservation:
    return Reservation(tag, vm, cpus, memory)


def own_tag() -> str:
    return reservation_tag(NAME, PLAN)


def vm_state(name: str, cpus: int, memory: int, *, state: Literal["running", "off"] = "running") -> VmState:
    """A VM that is none of the plan's."""
    definition = VmDefinition(name, name, "another", f"uuid-{name}", cpus, memory, (), (), Owner("another", "", "i1"))
    return VmState(name, state, definition)


# -- the observation ------------------------------------------------------------------------------


def _definition(topology: Topology, vm: str, *, name: str | None = None) -> VmDefinition:
    spec = topology.vms[vm]
    disks = tuple(DiskAttachment(d.role, d.volume, keys.lun_name(vm, d.role), d.size, "") for d in spec.disks)
    return VmDefinition(name or vm, vm, PLAN, f"uuid-{name or vm}", spec.cpus, spec.memory, disks, (), OWNER)


def _volumes(topology: Topology, site: str, side: Side, placed: Mapping[str, str]) -> dict[str, VolumeState]:
    found = {}
    for spec in topology.plan_volumes(PLAN):
        how = side.at.get(spec.name, side.copies)
        if how == "absent":
            continue
        lineage = f"@{site}" if how == "foreign" else ""
        snapshots = tuple(
            replace(_snapshot(topology, point, spec.name, lineage), holds=frozenset(side.holds))
            for point in side.points
            if how != "empty" and spec.name not in (*point.lacking, *point.before)
        )
        luns = {}
        for vm in topology.plans[PLAN].members:
            for disk in topology.vms[vm].disks:
                name = keys.lun_name(vm, disk.role)
                if disk.volume != spec.name or name in side.no_luns:
                    continue
                wanted = side.mapped if isinstance(side.mapped, bool) else None
                if isinstance(side.mapped, tuple):
                    wanted = vm in side.mapped
                on = (side.state(vm) == "running") if wanted is None else wanted
                luns[name] = LunState(name, disk.size, True, f"iqn.{placed.get(vm, f'{site}-1')}" if on else None)
        writable = how in ("writable", "foreign")
        found[spec.name] = VolumeState(
            spec.name,
            spec.size,
            "data",
            writable,
            side.owner,
            luns,
            snapshots,
            changed=side.changed if writable else 0,
            last_write=side.last_write,
            used=4096 if snapshots else 0,
        )
    return found


def _records(
    topology: Topology,
    array: str,
    epochs: Iterable[Epoch],
    claimed: Claim | None,
    broken: Split | None,
    declarations: Mapping[str, Declared],
    drills: Mapping[str, DrillRecord],
    leases: Iterable[Lease],
    unmade: Iterable[str],
) -> dict[str, str]:
    site = topology.arrays[array].site
    things = {("vm", vm) for vm in topology.plans[PLAN].members}
    things |= {("volume", volume.name) for volume in topology.plan_volumes(PLAN)}
    return {
        keys.pin_key(NAME): dump(Pin(NAME, array, f"own-{array}", site, minute(0))),
        **{keys.epoch_key(NAME, PLAN, e.number, e.id): dump(e) for e in epochs},
        **({keys.claim_key(NAME, PLAN): dump(claimed)} if claimed else {}),
        **({keys.split_key(NAME, PLAN): dump(broken)} if broken else {}),
        **{keys.declared_key(NAME, stack, PLAN): dump(record) for stack, record in declarations.items()},
        **{keys.drill_key(NAME, PLAN, name): dump(record) for name, record in drills.items() if record.site == site},
        **{keys.lease_key(NAME, PLAN, record.n): dump(record) for record in leases},
        **{keys.owner_key(NAME, kind, name): dump(OWNER) for kind, name in sorted(things) if name not in unmade},
    }


def observation(
    topology: Topology | None = None,
    *,
    east: Side = ACTIVE,
    west: Side = REPLICA,
    south: Side = REPLICA,
    epochs: Iterable[Epoch] = (epoch(),),
    epochs_at: Mapping[str, Iterable[Epoch]] | None = None,
    claim: Claim | None = None,
    claim_at: Mapping[str, Claim] | None = None,
    split: Split | None = None,
    declared: Mapping[str, Declared] | None = None,
    drills: Mapping[str, DrillRecord] | None = None,
    leases: Iterable[Lease] = (),
    unmade: Iterable[str] = (),
    records: Mapping[str, Mapping[str, str]] | None = None,
    damaged: Mapping[str, Iterable[str]] | None = None,
    silent: Iterable[str] = (),
    missing: Iterable[str] = (),
    unpinned: Iterable[str] = (),
    cut: bool | Iterable[str] = False,
    hosts: Mapping[str, Iterable[VmState]] | None = None,
    twice: Iterable[str] = (),
    reservations: Mapping[str, Iterable[Reservation]] | None = None,
    witness: WitnessState | Silent | None = None,
) -> Observation:
    """What a sweep would show.

    `epochs`, `claim`, `split`, ... stand on every array; `epochs_at` and `claim_at` say it for single ones, and `records` adds others; `damaged`: keys by array.
    `silent` and `missing` name arrays, hosts or sites; `cut`: the arrays do not reach each other, or those pairs ("east-a/south-a") do not. `hosts` adds VMs to a host; VMs in
    `twice` run on a second host of their site too.
    """
    topology = topology or shop()
    sides = {site: side for site, side in (("east", east), ("west", west), ("south", south)) if site in topology.sites}
    apart = {frozenset(pair.split("/")) for pair in ([] if isinstance(cut, bool) else cut)}
    quiet, gone, bare, double = set(silent), set(missing), set(unpinned), set(twice)
    epochs, leases, unmade = tuple(epochs), tuple(leases), tuple(unmade)

    def silence(name: str, site: str) -> Silent | None:
        if name in gone or site in gone:
            return Silent(f"{name} is not there", ready=False, missing=True)
        return Silent(f"{name} gave no answer") if name in quiet or site in quiet else None

    placed: dict[str, dict[str, str]] = {}
    on: dict[str, dict[str, VmState]] = {name: {} for name in topology.hosts}
    for site, side in sides.items():
        names = [host.name for host in topology.hosts_at(site)]
        placed[site] = {vm: names[n % len(names)] for n, vm in enumerate(topology.plans[PLAN].members)}
        for n, vm in enumerate(topology.plans[PLAN].members):
            state = side.state(vm)
            if state != "none":
                on[placed[site][vm]][vm] = VmState(vm, state, _definition(topology, vm))
                if vm in double and state == "running":
                    on[names[(n + 1) % len(names)]][vm] = VmState(vm, state, _definition(topology, vm))
    for record_name, record in (drills or {}).items():
        for vm, host in record.vms.items():
            at = keys.drill_vm(vm, record_name)
            on[host][at] = VmState(at, "running", _definition(topology, vm, name=at))
    for host, others in (hosts or {}).items():
        on[host].update({other.name: other for other in others})

    arrays: dict[str, ArrayState | Silent] = {}
    for name, spec in topology.arrays.items():
        here = (epochs_at or {}).get(name, epochs)
        held = (claim_at or {}).get(name) if claim_at is not None else claim
        ours = _records(topology, name, here, held, split, declared or {}, drills or {}, leases, unmade)
        if name in bare:
            del ours[keys.pin_key(NAME)]
        peers = {o: cut is not True and frozenset((name, o)) not in apart for o in topology.arrays if o != name}
        arrays[name] = silence(name, spec.site) or ArrayState(
            f"own-{name}",
            1,
            64 * GIB,
            0,
            {
                volume: state
                for volume, state in _volumes(topology, spec.site, sides[spec.site], placed[spec.site]).items()
                if topology.copy_at(volume, spec.site) == name
            },
            {**ours, **(records or {}).get(name, {})},
            peers,
            NOW,
            damaged=frozenset((damaged or {}).get(name, ())),
        )
    states: dict[str, HostState | Silent] = {}
    for name, host_spec in topology.hosts.items():
        cpus, memory = host_spec.options["cpus"], host_spec.options["memory"]
        assert isinstance(cpus, int)
        assert isinstance(memory, int)
        kept = tuple((reservations or {}).get(name, ()))
        states[name] = silence(name, host_spec.site) or HostState(f"iqn.{name}", cpus, memory, on[name], kept)
    return Observation(arrays, states, NOW, witness)


def view(topology: Topology | None = None, **situation: Any) -> PlanView:
    """The plan in that observation."""
    return plan_view(topology or shop(), PLAN, observation(topology, **situation))


# -- what is decided ------------------------------------------------------------------------------


def answer(seen: PlanView, site: str | None = None, **want: Any) -> Decision:
    return decide(seen, Want(site=site, **want))


def ids(decision: Decision) -> list[str]:
    return [action.id for action in decision.actions]


def verbs(decision: Decision) -> list[str]:
    """The verbs in order, each once in a row."""
    said: list[str] = []
    for action in decision.actions:
        if not said or said[-1] != action.verb:
            said.append(action.verb)
    return said


def tree(decision: Decision) -> dict[str, Action]:
    return {action.id: action for action in decision.actions}
