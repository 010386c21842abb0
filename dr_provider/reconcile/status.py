"""What `dr status` and `dr points` say, out of one observation.

Phases: `split` before all; an open claim is `claimed` until something of the source is stopped or broken, then `moving`; after the commit
`committed` until every VM has been put in place, and `degraded` where something that should run or be written does not; else `steady`.
A copy that is silent or behind is a warning and takes `protected` away; it never makes a plan degraded.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any, Literal

from dr_provider.model import keys
from dr_provider.model.problems import listed
from dr_provider.model.records import Claim
from dr_provider.model.state import Silent
from dr_provider.model.units import format_duration
from dr_provider.protection.catalogue import RecoveryPoint, newest
from dr_provider.protection.mirrors import MirrorState, lag_limit, mirror_states
from dr_provider.reconcile.callouts import answered, left_open, waiting
from dr_provider.reconcile.drills.evidence import drill_warnings
from dr_provider.reconcile.here import Here, look_here
from dr_provider.reconcile.lease import held_now
from dr_provider.reconcile.mending import damage_warnings
from dr_provider.reconcile.readiness import judge_plans, readiness_document
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.window import left_untouched, window_line, window_of
from dr_provider.reconcile.world import World

__all__ = ["Phase", "degraded_of", "is_protected", "phase_of", "plan_status", "point_listing", "status_document"]

Phase = Literal["steady", "claimed", "moving", "committed", "degraded", "split"]


def status_document(world: World, here: Here | None = None) -> dict[str, Any]:
    """The document of `dr status --json` (SPEC.md), over the shared observation; `silent` and `time` beside the plans. `here`: what this
    machine knows of credentials, state and repository (None: looked for, the last two left out)."""
    seen, topology = world.look(), world.topology
    views = {plan: world.view(plan) for plan in sorted(topology.plans)}
    # What is missing where nothing was ever made is not silent: it is still to be made.
    made = {site for view in views.values() if view.committed or view.unheard for site in view.spec.sites}
    places = {a.name: a.site for a in topology.arrays.values()} | {h.name: h.site for h in topology.hosts.values()}
    silent = {
        name: state.reason
        for name, state in sorted({**seen.arrays, **seen.hosts}.items())
        if isinstance(state, Silent) and (places[name] in made or not state.missing)
    }
    items = judge_plans(views.values(), here or look_here(topology))
    plans = {
        plan: {**plan_status(view, held=_held(view)), **readiness_document(view, items[plan])}
        for plan, view in views.items()
    }
    return {"plans": plans, "silent": silent, "time": seen.time}


def _held(view: PlanView) -> bool:
    return held_now(chain.from_iterable(view.leases.values())) is not None


def plan_status(view: PlanView, *, held: bool = True) -> dict[str, Any]:
    """One plan's part of it. `held`: whether a run holds the plan's lease, and may wait at a prompt. Pure."""
    mirrors = _mirrors(view)
    epoch, claim = view.epoch, view.claim
    point = _best_point(view)
    return {
        "activeSite": view.active,
        "epoch": epoch.number if epoch else 0,
        "phase": phase_of(view),
        "protected": is_protected(view, mirrors),
        "degraded": list(degraded_of(view)),
        "recoveryPoint": {"id": point.id, "time": point.time} if point else None,
        "vms": {vm: _vm(view, vm) for vm in view.spec.members},
        "mirrors": [
            {"volume": m.volume, "from": m.from_array, "to": m.to_array, "state": m.state, "lagSeconds": m.lag_seconds,
             "common": m.common, "reason": m.reason}
            for m in mirrors
        ],
        "warnings": list(_warnings(view, mirrors)),
        "since": epoch.time if epoch else None,
        "by": epoch.by if epoch else None,
        "declared": {stack: record.site for stack, record in sorted(view.declared.items())},
        "claim": _claim(claim) if claim else None,
        "window": _window(view),
        "prompts": _prompts(view, held=held),
        "drills": {
            name: {"site": record.site, "point": record.point, "since": record.time, "expires": record.expires}
            for name, record in sorted(view.drills.items())
        },
    }  # fmt: skip


def _claim(claim: Claim) -> dict[str, Any]:
    return {
        "epoch": claim.number, "site": claim.site, "from": claim.from_site, "kind": claim.kind, "since": claim.time,
        "by": claim.by, "point": claim.point, "aborting": claim.aborting,
    }  # fmt: skip


def _prompts(view: PlanView, *, held: bool) -> list[dict[str, Any]]:
    """Those that wait for `dr answer`."""
    return [
        {"prompt": name, "text": asked.text, "since": asked.since, "until": asked.until, "default": asked.default,
         "answer": f"dr answer {view.spec.name} {name} --continue (or --stop)", "waits": held,
         "answered": said.document() if (said := answered(view, claim, name, asked)) is not None else None}
        for claim, name, asked in waiting(view)
    ]  # fmt: skip


def _window(view: PlanView) -> dict[str, Any] | None:
    """The commit window, until it is on record that it is over."""
    window = window_of(view)
    return {"until": window.until, "site": window.site, "over": window.over} if window else None


def _mirrors(view: PlanView) -> tuple[MirrorState, ...]:
    # A plan that was never made has its mirrors' direction from its home.
    active = view.active or view.spec.home
    return mirror_states(view.topology, view.spec.name, view.seen, active=active, split=view.split is not None)


# -- phase, degraded, protected -----------------------------------------------------------------


def phase_of(view: PlanView) -> Phase:
    """Where the plan is between two steady states."""
    if view.split is not None:
        return "split"
    if view.claim is not None:
        return "moving" if _moving(view, view.claim) else "claimed"
    if view.epoch is None:
        return "degraded"
    if _not_in_place(view):
        return "committed"
    return "degraded" if degraded_of(view) else "steady"


def _moving(view: PlanView, claim: Claim) -> bool:
    """Whether a move has gone beyond its claim: a destination is writable, or VMs that ran at the claim do not run at the source any more."""
    if any((volume := view.volume(name, claim.site)) is not None and volume.writable for name in view.volume_names):
        return True
    if view.silent_hosts(claim.from_site):
        return bool(claim.proof)
    running = {place.vm for place in view.running_at(claim.from_site)}
    return bool(set(claim.stopped) - running)


def _not_in_place(view: PlanView) -> tuple[str, ...]:
    """VMs that no host of the active side has even been told of; none while a host there is silent, for it may have been."""
    active = str(view.active)
    if view.silent_hosts(active):
        return ()
    return tuple(vm for vm in view.spec.members if view.place(vm, active) is None and not view.never_made("vm", vm))


def degraded_of(view: PlanView) -> tuple[str, ...]:
    """A sentence for each thing of the plan that should run, or be written, and does not or may not."""
    plan, active = view.spec.name, view.active
    if view.split is not None:
        sides = " and ".join(view.split.sides)
        return (
            f"plan {plan} is split: {sides} have both been written; say which to keep: dr resolve {plan} --keep SITE",
        )
    if active is None:
        if silent := view.may_know:
            return (
                f"nothing that answers knows plan {plan}, and {listed(silent)} {'is' if len(silent) == 1 else 'are'} silent, so nobody can say where it is active",
            )
        return (
            f"plan {plan} was never made as far as the arrays that answer know; make it with pulumi up, or dr apply",
        )
    said = [f"array {name} at {active}, where plan {plan} is active, is silent" for name in view.silent_arrays(active)]
    for name in view.volume_names:
        volume = view.volume(name, active)
        array = view.copy_array(name, active)
        if view.array_state(name, active) is not None and volume is None and not view.never_made("volume", name):
            said.append(f"volume {name} is not on {array}, where plan {plan} is active")
        elif volume is not None and not volume.writable and view.claim is None:
            said.append(f"volume {name} on {array} is not writable, though plan {plan} is active at {active}")
    for vm in view.spec.members:
        # What was never made is for `up` or `dr apply` to make, not a loss.
        if view.place(vm, active) is not None or not view.never_made("vm", vm):
            said += _vm_wrong(view, vm, active)
    return (*said, *left_open(view))


def _vm_wrong(view: PlanView, vm: str, active: str) -> list[str]:
    said = [
        f"VM {vm} runs on {place.host} at {place.site}, though plan {view.spec.name} is active at {active}"
        for place in view.places
        if place.vm == vm and place.site != active and place.running
    ]
    place = view.place(vm, active)
    silent = sorted(view.silent_hosts(active))
    said += [
        f"VM {vm} still runs on {other.host}, without its disks: they are mapped to {taken}; dr protect {view.spec.name} stops it there"
        for other in view.places
        if other.vm == vm and other.site == active and other.running and (taken := view.taken_to(other)) is not None
    ]
    if place is not None and place.running:
        if place.state.detail:
            said.append(f"VM {vm} runs on {place.host}, but {place.state.detail}")
    elif place is not None:
        why = f" ({place.state.detail})" if place.state.detail else ""
        said.append(f"VM {vm} is {place.state.state} on {place.host}{why}")
    elif silent:
        said.append(f"VM {vm} is not seen at {active}, and {_are(silent)} silent: it may run there")
    else:
        said.append(f"VM {vm} is on no host at {active}")
    return said


def _are(names: list[str]) -> str:
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}"


def is_protected(view: PlanView, mirrors: tuple[MirrorState, ...]) -> bool:
    """Whether a point of the epoch in force is whole at another answering site whose mirrors are in line."""
    epoch = view.epoch
    if epoch is None or view.split is not None:
        return False
    wrong = {m.to_site for m in mirrors if m.state in ("broken", "split")}
    return any(
        point.intent.epoch_id == epoch.id and point.complete_at(site)
        for site in view.spec.sites
        if site != epoch.site and site not in wrong
        for point in view.points
    )


def _warnings(view: PlanView, mirrors: tuple[MirrorState, ...]) -> tuple[str, ...]:
    said = [
        f"{site}: {reason}"
        for site in view.spec.sites
        if site != view.active
        for reason in (*view.silent_arrays(site).values(), *view.silent_hosts(site).values())
    ]
    line, left = window_line(view), left_untouched(view)
    said += [f"plan {view.spec.name}: {line}"] if line else []
    for mirror in mirrors:
        if mirror.to_site == left:
            continue  # it is as it is meant to be
        if mirror.state == "broken":
            # Under a claim that is the move's affair, and nothing is protected.
            todo = f"; dr protect {view.spec.name} brings it back in line" if view.claim is None else ""
            said.append(f"volume {mirror.volume}: {mirror.reason}{todo}")
        elif mirror.state == "lagging" and mirror.lag_seconds is not None:
            # Without the lag itself: the same state says the same sentence.
            limit = format_duration(lag_limit(view.spec))
            said.append(f"volume {mirror.volume}: its copy on {mirror.to_array} is more than {limit} behind")
    if view.active is not None and not is_protected(view, mirrors):
        said.append(
            f"plan {view.spec.name} is not protected: no other site has a whole recovery point of epoch {view.epoch.number if view.epoch else 0}"
        )
    return tuple(dict.fromkeys([*said, *damage_warnings(view), *drill_warnings(view)]))


def _best_point(view: PlanView) -> RecoveryPoint | None:
    """The newest whole point at any other site; where there is none, at the active one."""
    others = [p for site in view.spec.sites if site != view.active if (p := newest(view.points, site)) is not None]
    if others:
        return max(others, key=lambda point: point.order)
    return newest(view.points, view.active) if view.active else None


def _vm(view: PlanView, vm: str) -> dict[str, str | None]:
    """Where it runs; else where it should. `unknown`: the host where it should be, or any that it may be on, is silent."""
    active = view.active
    running = [p for p in view.places if p.vm == vm and p.running]
    running.sort(key=lambda p: (p.site != active, not view.runs_at(p), p.host))
    if running:
        return {"site": running[0].site, "host": running[0].host, "state": "running"}
    place = view.place(vm, active) if active else None
    if place is not None:
        return {"site": active, "host": place.host, "state": place.state.state}
    if active is not None and view.silent_hosts(active):
        recorded = next(
            (p.intent.hosts[vm] for p in reversed(view.points) if p.intent.site == active and vm in p.intent.hosts),
            None,
        )
        return {"site": active, "host": recorded if recorded in view.silent_hosts(active) else None, "state": "unknown"}
    return {"site": active, "host": None, "state": "off"}


# -- points -------------------------------------------------------------------------------------


def point_listing(world: World, plan: str) -> dict[str, Any]:
    """The document of `dr points PLAN --json`: every group that is known, newest first, and by site what of it is there."""
    view = world.view(plan)
    points = sorted(view.points, key=lambda point: point.order, reverse=True)
    return {
        "plan": plan,
        "time": view.seen.time,
        "activeSite": view.active,
        "points": [_point(point, view.seen.time) for point in points],
        "newest": {site: best.id if (best := newest(points, site)) else None for site in view.spec.sites},
        "silent": dict(sorted(view.unheard.items())),
    }


def _point(point: RecoveryPoint, now: str) -> dict[str, Any]:
    age = (keys.at(now) - keys.at(point.time)).total_seconds()
    return {
        "id": point.id,
        "time": point.time,
        "ageSeconds": round(max(0.0, age), 3),
        "epoch": point.epoch,
        "sequence": point.sequence,
        "kind": point.intent.kind,
        "level": point.seal.consistency if point.seal else None,
        "takenAt": point.intent.site,
        "volumes": list(point.intent.members),
        "vms": _levels(point),
        "sites": {
            site: {
                "complete": at.complete,
                "missing": list(at.missing),
                "unsealed": list(at.unsealed),
                "corrupt": list(at.corrupt),
                "holds": sorted(at.holds),
                "arrays": sorted(set(at.arrays.values())),
            }
            for site, at in sorted(point.sites.items())
        },
    }


def _levels(point: RecoveryPoint) -> Mapping[str, Any]:
    levels = point.seal.levels if point.seal else {}
    names = sorted({*levels, *point.intent.definitions})
    return {
        vm: {
            "level": levels[vm].level if vm in levels else None,
            "mark": levels[vm].mark if vm in levels else None,
            "reason": levels[vm].reason if vm in levels else "",
            "host": point.intent.hosts.get(vm),
        }
        for vm in names
    }
