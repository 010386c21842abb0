"""A backup: all volumes of a plan at one point, and an honest record of how consistent each guest was at it.

Invariants, in this order:
1. The intent stands on every volume before the snapshot, so that it is inside it and travels with it.
2. A guest counts as quiesced only if its thaw says that it had been frozen all along; a snapshot that outlived the freeze is crash level.
3. Whatever is frozen is thawed, whatever happens, and before anything slow is done.
4. The seal comes last. A group without it is never a recovery point.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeVar

from dr_provider.hypervisors.base import FreezeReport
from dr_provider.model import keys
from dr_provider.model.codec import dump
from dr_provider.model.errors import DrError, NotFound
from dr_provider.model.records import Epoch, Guard, Intent, Seal, VmLevel
from dr_provider.model.state import Observation
from dr_provider.model.topology import Topology
from dr_provider.model.vm import VmDefinition
from dr_provider.protection.catalogue import RecoveryPoint
from dr_provider.protection.fleet import Fleet

__all__ = ["CYCLE_KIND", "THAW_AFTER", "Places", "is_cycle", "next_sequence", "take_group", "thaw_all"]

CYCLE_KIND = "crash"
"""Kind of a group that a replication cycle took for itself because there was no newer backup."""

THAW_AFTER = 30.0
"""Seconds after which a guest thaws by itself. A freeze lasts for the snapshot alone; this is for the run that dies in between."""

PER_ARRAY = "crash, per array"

Places = Mapping[str, tuple[str, VmDefinition | None, bool | None]]
"""VM -> (host, its definition there; None: it has nothing in the volumes; whether it runs; None: nobody who answers can say)."""

Progress = Callable[[str], None]
T = TypeVar("T")
_WIDE = 32


def is_cycle(point: RecoveryPoint) -> bool:
    """Whether a point is a replication cycle's own group and not a backup."""
    return point.intent.kind == CYCLE_KIND


def next_sequence(points: Iterable[RecoveryPoint], epoch_number: int) -> int:
    """The number that the next group of an epoch gets: one more than any group of it that is known, whole or not."""
    return max((point.sequence for point in points if point.epoch == epoch_number), default=0) + 1


def take_group(
    fleet: Fleet,
    topology: Topology,
    plan: str,
    site: str,
    *,
    epoch: Epoch,
    sequence: int,
    guard: Guard,
    view_places: Places,
    kind: str,
    consistency: Literal["application", "crash"],
    marks: Mapping[str, int | None] | None = None,
    members: Sequence[str] | None = None,
    progress: Progress = lambda _line: None,
    now: Callable[[], datetime] | None = None,
    thaw_after: float = THAW_AFTER,
) -> str:
    """Snapshot the plan's volumes at a site at one point, sealed; the point's id.

    `marks`: last application entries of VMs that are off, where their stop said them. `members`: the volumes, if not all of the plan's
    are there yet. Raises what the arrays raise; then nothing that was taken counts, and it is removed where that is possible.
    """
    clock = now or keys.now
    volumes = tuple(members) if members is not None else tuple(v.name for v in topology.plan_volumes(plan))
    arrays = _by_array(topology, volumes, site)
    group = keys.new_id()
    point = keys.point_name(epoch.number, sequence, group)
    intent = Intent(
        group=group,
        topology=topology.name,
        plan=plan,
        epoch=epoch.number,
        epoch_id=epoch.id,
        sequence=sequence,
        site=site,
        members=volumes,
        time=keys.stamp(clock()),
        kind=kind,
        definitions={vm: dump(definition) for vm, (_, definition, _) in view_places.items() if definition},
        hosts={vm: host for vm, (host, definition, _) in view_places.items() if definition},
    )
    _everywhere(arrays, lambda name: fleet.array(name).put_volume_records(arrays[name], "intent", dump(intent), guard))
    guests = _Guests(fleet, {vm: host for vm, (host, _, runs) in view_places.items() if runs}, thaw_after)
    try:
        try:
            if consistency == "application":
                guests.freeze()
            _everywhere(arrays, lambda name: fleet.array(name).snapshot(arrays[name], point, guard))
        finally:
            guests.thaw()
        levels = {vm: _level(vm, guests, view_places, marks or {}) for vm in topology.plans[plan].members}
        reached, levels = _overall(levels, arrays=len(arrays))
        seal = dump(Seal(group, keys.stamp(clock()), reached, levels))
        _everywhere(arrays, lambda name: fleet.array(name).seal(arrays[name], point, seal, guard))
    except DrError:
        _drop(fleet, arrays, point, guard)
        raise
    progress(f"plan {plan}: took {point} at {site} ({reached})")
    return point


def thaw_all(fleet: Fleet, topology: Topology, plan: str, observation: Observation) -> tuple[str, ...]:
    """Thaw the plan's guests that an earlier, killed run left frozen; names of those that are thawed. To be called with the plan's lease held, since else
    another's backup may be what holds them. One that cannot be thawed is passed over, as on a host that is silent by now: the guest's own timer thaws it."""
    frozen = {
        (name, vm.name)
        for name in topology.hosts
        if (state := observation.host(name)) is not None
        for vm in state.vms.values()
        if vm.frozen and vm.definition.owner.topology == topology.name and vm.definition.plan == plan
    }
    thawed = []
    for host, vm in sorted(frozen):
        with contextlib.suppress(DrError):
            fleet.host(host).thaw(vm)
            thawed.append(vm)
    return tuple(sorted(thawed))


# -- guests -------------------------------------------------------------------------------------


@dataclass
class _Guests:
    """The running guests of a group, by VM name -> host. `reports` has those that were asked to freeze, `kept` those that stayed frozen."""

    fleet: Fleet
    hosts: Mapping[str, str]
    thaw_after: float
    asked: set[str] = field(default_factory=set)
    reports: dict[str, FreezeReport] = field(default_factory=dict)
    kept: dict[str, bool | str] = field(default_factory=dict)

    def freeze(self) -> None:
        """All at once, so that their times of stillness overlap; one that cannot is taken as it is."""
        # Noted before the first call: a call that fails may have frozen its guest all the same.
        self.asked = set(self.hosts)
        self.reports = _at_once(self.hosts, self._freeze)

    def _freeze(self, vm: str) -> FreezeReport:
        try:
            return self.fleet.host(self.hosts[vm]).freeze(vm, thaw_after=self.thaw_after)
        except DrError as error:
            return FreezeReport("crash", reason=f"it could not be frozen: {_first_line(error)}")

    def thaw(self) -> None:
        self.kept = _at_once(self.asked, self._thaw)

    def _thaw(self, vm: str) -> bool | str:
        try:
            return self.fleet.host(self.hosts[vm]).thaw(vm)
        except DrError as error:
            return f"its thaw could not be checked: {_first_line(error)}"

    def level(self, vm: str) -> VmLevel:
        report = self.reports.get(vm)
        if report is None:
            return VmLevel("crash", None, "its guest was not asked to hold still")
        if report.level != "application":
            return VmLevel(report.level, report.mark if report.level == "off" else None, report.reason)
        kept = self.kept.get(vm, False)
        if kept is True:
            return VmLevel("application", report.mark)
        return VmLevel("crash", None, kept or "the guest thawed before the snapshot was taken")


def _level(vm: str, guests: _Guests, places: Places, marks: Mapping[str, int | None]) -> VmLevel:
    if vm in guests.hosts:
        return guests.level(vm)
    known = places.get(vm)
    if known is None:
        return VmLevel("crash", None, "no host that answers knows it")
    if known[2] is None:
        return VmLevel("crash", None, f"its host {known[0]} is silent")
    return VmLevel("off", marks.get(vm))


def _overall(levels: Mapping[str, VmLevel], *, arrays: int) -> tuple[str, dict[str, VmLevel]]:
    """The group's level, and the VMs'. One array is one atomic point; two are one point only while nothing could write."""
    if any(level.level == "crash" for level in levels.values()):
        if arrays == 1:
            return "crash", dict(levels)
        lowered = {
            vm: level if level.level == "off" else VmLevel("crash", level.mark, _both(level.reason))
            for vm, level in levels.items()
        }
        return PER_ARRAY, lowered
    return ("application" if any(lv.level == "application" for lv in levels.values()) else "off"), dict(levels)


def _both(reason: str) -> str:
    return f"{PER_ARRAY}: {reason}" if reason else PER_ARRAY


# -- arrays -------------------------------------------------------------------------------------


def _by_array(topology: Topology, volumes: Iterable[str], site: str) -> dict[str, list[str]]:
    arrays: dict[str, list[str]] = {}
    for volume in volumes:
        array = topology.copy_at(volume, site)
        if array is None:
            raise NotFound(f"volume {volume} has no copy at {site}, so no point can be taken there")
        arrays.setdefault(array, []).append(volume)
    return arrays


def _everywhere(arrays: Iterable[str], call: Callable[[str], None]) -> None:
    """The call on every array at once; raises the first error once all have ended, so that none is under way afterwards."""

    def attempt(name: str) -> DrError | None:
        try:
            call(name)
        except DrError as error:
            return error
        return None

    errors = [error for error in _at_once(arrays, attempt).values() if error is not None]
    if errors:
        raise errors[0]


def _drop(fleet: Fleet, arrays: Mapping[str, Sequence[str]], point: str, guard: Guard) -> None:
    """Remove what was taken of a group that cannot become one. What stays is without a seal, and retention removes it."""
    for name, volumes in arrays.items():
        with contextlib.suppress(DrError):
            fleet.array(name).delete_snapshots({volume: [point] for volume in volumes}, guard)


def _at_once(names: Iterable[str], call: Callable[[str], T]) -> dict[str, T]:
    ordered = sorted(names)
    if len(ordered) < 2:
        return {name: call(name) for name in ordered}
    with ThreadPoolExecutor(max_workers=min(_WIDE, len(ordered)), thread_name_prefix="group") as pool:
        return dict(zip(ordered, pool.map(call, ordered), strict=True))


def _first_line(error: DrError) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
