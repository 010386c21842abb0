"""`dr verify`: recovery points read back where they are, compared across sites and with what they were, and the outcome put on record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dr_provider.model import keys, stopping
from dr_provider.model.codec import damaged, dump, load
from dr_provider.model.errors import (
    BadInput,
    CorruptRecord,
    DeviceFault,
    DrError,
    NotFound,
    NotReady,
    Refused,
    Stopped,
    Unreachable,
)
from dr_provider.model.records import Corrupt, Digests
from dr_provider.model.units import about, format_size
from dr_provider.protection.catalogue import RecoveryPoint, choose_point
from dr_provider.reconcile.abreast import abreast
from dr_provider.reconcile.lease import HeldLease, hold_lease
from dr_provider.reconcile.readback import Finding, Luns, Reading, digests_of, judge
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.world import World

__all__ = ["Verdict", "Verified", "verify_plan"]

_TELL = 10.0
"""Seconds between two lines about a volume that takes long."""


@dataclass(frozen=True)
class Verified:
    """One point: what was read where, and what is wrong."""

    point: RecoveryPoint
    readings: tuple[Reading, ...]
    findings: tuple[Finding, ...]

    def well_at(self) -> tuple[str, ...]:
        """Sites at which every volume was read through, and nothing is wrong."""
        wrong = {finding.site for finding in self.findings}
        unread = {reading.site for reading in self.readings if reading.luns is None}
        return tuple(sorted({reading.site for reading in self.readings} - wrong - unread))


@dataclass
class Verdict:
    """`unknown`: sentences about what could not be looked at. `warnings`: what did not come onto record."""

    plan: str
    points: list[Verified] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def findings(self) -> list[str]:
        return [finding.sentence for verified in self.points for finding in verified.findings]

    @property
    def well(self) -> bool:
        """Nothing is wrong, and something was verified."""
        return not self.findings and any(verified.well_at() for verified in self.points)

    def document(self) -> dict[str, Any]:
        return {
            "plan": self.plan,
            "well": self.well,
            "points": [_document(verified) for verified in self.points],
            "findings": self.findings,
            "notKnown": self.unknown,
            "warnings": self.warnings,
        }


def _document(verified: Verified) -> dict[str, Any]:
    sites: dict[str, dict[str, Any]] = {}
    for reading in verified.readings:
        at = sites.setdefault(reading.site, {"well": reading.site in verified.well_at(), "volumes": {}})
        at["volumes"][reading.volume] = {
            "luns": dict(reading.luns) if reading.luns is not None else None,
            "bytes": reading.bytes,
            "seconds": round(reading.seconds, 3),
        }
    return {
        "id": verified.point.id,
        "time": verified.point.time,
        "sites": sites,
        "findings": [finding.sentence for finding in verified.findings],
    }


def verify_plan(
    world: World,
    plan: str,
    *,
    wish: str | None = None,
    site: str | None = None,
    every: bool = False,
    stop: Callable[[], str | None] = stopping.requested,
) -> Verdict:
    """Read points back: the newest one of each site, the one that `wish` names (an id or a time), or `every` one; at `site` only.

    Raises BadInput (no such point), Refused (there is none at all), Stopped.
    """
    view = world.view(plan, refresh=True)
    verdict = Verdict(plan)
    sites = [site] if site is not None else list(view.spec.sites)
    for name in sites:
        verdict.unknown += [
            f"{name}: {reason}; what it holds is not known" for reason in view.silent_arrays(name).values()
        ]
    points = _chosen(view, sites, wish, every=every)
    if not points and not verdict.unknown:
        raise Refused(
            (
                f"plan {plan}: there is no whole recovery point at {', '.join(sites)} to read back; take one with dr protect {plan} --now",
            )
        )
    before = _remembered(world, view)
    for point in points:
        readings = _read(world, view, point, sites, stop)
        findings = judge(point, readings, before.get(point.id, {}))
        if wish is not None:
            findings = (*findings, *_incomplete(view, point, sites))
        verdict.points.append(Verified(point, readings, findings))
        verdict.unknown += [reading.error for reading in readings if reading.unknown]
    _put_on_record(world, view, verdict, before)
    return verdict


def _chosen(view: PlanView, sites: Iterable[str], wish: str | None, *, every: bool) -> list[RecoveryPoint]:
    """Oldest first."""
    if wish is not None:
        by_id = next((point for point in view.points if point.id == wish), None)
        found = {by_id.id: by_id} if by_id is not None else _by_time(view, sites, wish)
    elif every:
        found = {point.id: point for point in view.points if any(point.arrived_at(site) for site in sites)}
    else:
        # One that was found corrupt is looked at until a newer one has come: it stays a fault until then.
        found = {
            newest.id: newest
            for site in sites
            if (newest := next((p for p in reversed(view.points) if p.arrived_at(site)), None)) is not None
        }
    return sorted(found.values(), key=lambda point: point.order)


def _by_time(view: PlanView, sites: Iterable[str], wish: str) -> dict[str, RecoveryPoint]:
    found: dict[str, RecoveryPoint] = {}
    refused: list[BadInput] = []
    for site in sites:
        try:
            point = choose_point(view.points, site, wish)
        except BadInput as error:
            refused.append(error)
        else:
            found[point.id] = point
    if not found and refused:
        raise refused[0]
    return found


def _incomplete(view: PlanView, point: RecoveryPoint, sites: Iterable[str]) -> list[Finding]:
    """What a point that was asked for lacks where a part of it is."""
    found = []
    for site in sites:
        at = point.sites.get(site)
        for what, names in (("is not there", at.missing), ("is not sealed", at.unsealed)) if at else ():
            for name in names:
                if view.array_state(name, site) is not None:
                    said = f"{point.id} at {site}: volume {name} {what}, so this is no recovery point there; choose another, or fetch it from a site that has it whole"
                    found.append(Finding(site, "", said))
    return found


# -- reading --------------------------------------------------------------------------------------


def _read(
    world: World, view: PlanView, point: RecoveryPoint, sites: Iterable[str], stop: Callable[[], str | None]
) -> tuple[Reading, ...]:
    """Every volume of the point at each site that has all of it; the arrays side by side, an array's volumes one after the other."""
    by_array: dict[str, list[tuple[str, str]]] = {}
    for site in sites:
        if point.arrived_at(site):
            for volume, array in sorted(point.sites[site].arrays.items()):
                by_array.setdefault(array, []).append((site, volume))

    def of(array: str) -> list[Reading]:
        return [_read_volume(world, point.id, site, array, volume, stop) for site, volume in by_array[array]]

    return tuple(reading for readings in abreast(sorted(by_array), of) for reading in readings)


def _read_volume(
    world: World, point: str, site: str, array: str, volume: str, stop: Callable[[], str | None]
) -> Reading:
    began = told = time.monotonic()
    count = 0

    def progress(so_far: int) -> None:
        nonlocal count, told
        count = so_far
        if time.monotonic() - told >= _TELL:
            told = time.monotonic()
            world.progress(f"{point} at {site}: volume {volume}: {_speed(count, told - began)}")

    def spent() -> float:
        return time.monotonic() - began

    try:
        luns = world.fleet.array(array).digests(volume, point, progress=progress, stop=stop)
    except Stopped:
        raise
    except (Unreachable, NotReady, DeviceFault) as error:
        said = f"{point} at {site}: volume {volume} on {array} was not read: {error}"
        return Reading(site, array, volume, None, said, True, count, spent())
    except NotFound as error:
        said = f"{point} at {site}: volume {volume} on {array} went away while it was looked at ({error}); run dr verify again"
        return Reading(site, array, volume, None, said, True, count, spent())
    except CorruptRecord as error:
        world.progress(f"{point} at {site}: volume {volume} cannot be read through")
        return Reading(site, array, volume, None, str(error), False, count, spent())
    world.progress(f"{point} at {site}: volume {volume}: {_speed(count, spent())}")
    return Reading(site, array, volume, dict(luns), "", False, count, spent())


def _speed(count: int, seconds: float) -> str:
    rate = f" ({about(int(count / seconds))}/s)" if seconds > 0 else ""
    return f"{format_size(count)} read in {seconds:.1f} s{rate}"


# -- the record -------------------------------------------------------------------------------------


def _remembered(world: World, view: PlanView) -> dict[str, Luns]:
    """Point -> "volume/lun" -> digest, as any answering array of the plan knows it."""
    found: dict[str, dict[str, str]] = {}
    key = keys.digests_key(view.topology.name, view.spec.name)
    for array in view.topology.plan_arrays(view.spec.name):
        if view.seen.array(array) is None:
            continue
        try:
            text = world.fleet.array(array).read_record(key)
        except (Unreachable, NotReady, DeviceFault):
            continue
        if text is not None and not damaged(text):
            for point, luns in load(Digests, text, f"array {array}, {key}").points.items():
                found.setdefault(point, {}).update({k: v for k, v in luns.items() if k not in found[point]})
    return dict(found)


def _put_on_record(world: World, view: PlanView, verdict: Verdict, before: Mapping[str, Luns]) -> None:
    """Remember the digests, mark what is corrupt, and take the mark off what is well again."""
    topology, plan = view.topology.name, view.spec.name
    after = {
        verified.point.id: digests_of(verified.readings, before.get(verified.point.id, {}))
        for verified in verdict.points
    }
    marks, cleared = _marks(verdict)
    known = {point.id for point in view.points}
    complete = all(view.seen.array(array) is not None for array in view.topology.plan_arrays(plan))
    kept = {point: luns for point, luns in before.items() if point in known or not complete}
    stale = _stale_marks(view, known) if complete else []
    digests = dump(Digests(plan, {**kept, **{point: luns for point, luns in after.items() if luns}}))
    changes: list[tuple[str, str | None]] = [(keys.digests_key(topology, plan), digests)]
    changes += [(keys.corrupt_key(topology, plan, m.point, m.site), dump(m)) for m in marks]
    changes += [(keys.corrupt_key(topology, plan, point, site), None) for point, site in cleared]
    changes += [(key, None) for key in stale]
    try:
        with hold_lease(world, plan, f"verify of plan {plan}") as lease:
            for array in lease.arrays:
                _write(world, lease, array, changes, verdict)
    except DrError as error:
        verdict.warnings.append(f"plan {plan}: what was found did not come onto record ({error}); run dr verify again")


def _write(
    world: World, lease: HeldLease, array: str, changes: Iterable[tuple[str, str | None]], verdict: Verdict
) -> None:
    try:
        for key, text in changes:
            if text is None:
                world.fleet.array(array).delete_record(key, lease.guard)
            else:
                world.fleet.array(array).put_record(key, text, lease.guard)
    except (Unreachable, NotReady, DeviceFault) as error:
        verdict.warnings.append(f"array {array}: what was found did not come onto its record ({error})")


def _marks(verdict: Verdict) -> tuple[list[Corrupt], list[tuple[str, str]]]:
    """The marks to put, and (point, site) of those to take off."""
    now = keys.stamp(keys.now())
    marks, cleared = [], []
    for verified in verdict.points:
        by_site: dict[str, list[Finding]] = {}
        for finding in verified.findings:
            if finding.volume:
                by_site.setdefault(finding.site, []).append(finding)
        for site, findings in sorted(by_site.items()):
            volumes = tuple(sorted({finding.volume for finding in findings}))
            said = tuple(finding.sentence for finding in findings)
            marks.append(Corrupt(verdict.plan, verified.point.id, site, volumes, said, now))
        cleared += [(verified.point.id, site) for site in verified.well_at() if verified.point.sites[site].corrupt]
    return marks, cleared


def _stale_marks(view: PlanView, known: set[str]) -> list[str]:
    """Marks of points that are nowhere any more."""
    prefix = keys.corrupt_prefix(view.topology.name, view.spec.name)
    there = {
        key
        for array in view.topology.plan_arrays(view.spec.name)
        if (state := view.seen.array(array)) is not None
        for key in state.records
        if key.startswith(prefix)
    }
    return sorted(key for key in there if key.removeprefix(prefix).partition("/")[0] not in known)
