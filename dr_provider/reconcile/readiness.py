"""Whether a plan could be moved today, judged from one observation; also with a site dark. Pure.

Each item is ok, a warning (it works, and not on every day), a problem (a move would fail, or lose more than the plan allows), or not
known, because who could say it is silent. Invariant: silence never makes an item ok.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from dr_provider.model import keys
from dr_provider.model.findings import Item
from dr_provider.model.problems import Path, listed, path_text
from dr_provider.model.references import callout_references, machine_references
from dr_provider.model.topology import ELSEWHERE
from dr_provider.model.units import counted, span
from dr_provider.protection.mirrors import MirrorState, lag_limit, mirror_states
from dr_provider.reconcile.capacity import array_room, site_capacity
from dr_provider.reconcile.doctor_fencing import judge_guard
from dr_provider.reconcile.doctor_judge import CLOCK_PROBLEM, CLOCK_WARNING
from dr_provider.reconcile.drills.evidence import changed_since, drill_overdue, last_drill
from dr_provider.reconcile.due import newest_at
from dr_provider.reconcile.here import Here, place_of
from dr_provider.reconcile.terms import how_to_finish, what_is_open
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.window import left_untouched, window_line

__all__ = ["is_ready", "judge_plans", "lag_of", "readiness_document"]

Capacity = Mapping[tuple[str, str], tuple[Item, ...]]
_NEEDED = ("made", "lag", "points", "capacity")
"""What must be known before a plan counts as ready."""


def judge_plans(views: Iterable[PlanView], here: Here | None = None) -> dict[str, tuple[Item, ...]]:
    """The items of each plan, in a fixed order. What is judged over all plans at once is so once."""
    plans = list(views)
    capacity = site_capacity(plans)
    return {view.spec.name: tuple(_plan(view, here or Here(), capacity)) for view in plans}


def is_ready(items: Iterable[Item]) -> bool | None:
    """False: there is a problem. None: there is none, but something that a move depends on is not known because it is silent. What the
    side that it is moved away from would say (how full it is, its clock) is not among that: it may be the one that is lost."""
    found = {(item.check, item.level) for item in items}
    if any(level == "problem" for _, level in found):
        return False
    return None if any(level == "unknown" and check in _NEEDED for check, level in found) else True


def readiness_document(view: PlanView, items: Iterable[Item]) -> dict[str, Any]:
    """What `dr status --json` says of a plan's readiness."""
    items = list(items)
    lags = [lag for site in _recovery_sites(view) if (lag := lag_of(view, site)) is not None]
    return {
        "ready": is_ready(items),
        "readiness": [
            {"check": item.check, "level": item.level, "subject": item.subject, "found": item.found, "todo": item.todo}
            for item in items
        ],
        "lagSeconds": min(lags, default=None),
        "rpoSeconds": lag_limit(view.spec),
        "lastDrill": _last_drill(view),
    }


def _recovery_sites(view: PlanView) -> tuple[str, ...]:
    return view.others(view.active) if view.active is not None else ()


def _plan(view: PlanView, here: Here, capacity: Capacity) -> Iterator[Item]:
    if view.active is None:
        yield _unmade(view)
        return
    yield from _standing(view)
    mirrors = mirror_states(view.topology, view.spec.name, view.seen, active=view.active, split=view.split is not None)
    for site in _recovery_sites(view):
        for item in (*_data(view, site, mirrors), _networks(view, site), *capacity[view.spec.name, site]):
            yield replace(item, subject=site)
    for array in view.topology.plan_arrays(view.spec.name):
        yield replace(array_room(array, view.seen.arrays[array]), subject=array)
    yield _drilled(view)
    yield _clocks(view)
    yield _credentials(view, here)
    if view.spec.fencing != "operator":
        finding = judge_guard(view)
        yield Item("fencing", finding.level, finding.found, finding.todo)
    yield _kept(view, "backend", here.backend)
    yield _kept(view, "repository", here.repository)


# -- where it stands ------------------------------------------------------------------------------------


def _unmade(view: PlanView) -> Item:
    if silent := list(view.may_know):
        found = f"Nothing that answers knows the plan; silent: {listed(silent)}."
        return Item("made", "unknown", found, f"Bring {silent[0]} back{', or another of them' if silent[1:] else ''}.")
    return Item("made", "problem", "It was never made.", "Run pulumi up, or dr apply.")


def _standing(view: PlanView) -> Iterator[Item]:
    plan = view.spec.name
    if view.split is not None:
        found = f"{listed(view.split.sides)} have both been written (split)."
        yield Item("standing", "problem", found, f"Say which to keep: dr resolve {plan} --keep SITE.")
    elif view.claim is not None:
        found = f"{what_is_open(view.claim)} is not finished, since {view.claim.time}, by {view.claim.by}."
        todo = f"Finish it with {how_to_finish(plan, view.claim)}, or call it off with dr abort {plan}."
        yield Item("standing", "problem", f"{found[:1].upper()}{found[1:]}", todo)


# -- data -----------------------------------------------------------------------------------------------


def _data(view: PlanView, site: str, mirrors: tuple[MirrorState, ...]) -> Iterator[Item]:
    if site == left_untouched(view):
        yield Item("points", "warning", f"{window_line(view)}.")
        return
    if (lag := _lag(view, site, mirrors)) is not None:
        yield lag
    yield _points(view, site, mirrors)


def lag_of(view: PlanView, site: str, mirrors: Iterable[MirrorState] | None = None) -> float | None:
    """How old what would be restored at a recovery site is, in seconds: the age of the newest point of the epoch in force that is whole
    there; of a site that is silent, what the others know that it has. None: nothing has arrived, or nobody knows."""
    if view.silent_arrays(site):
        if mirrors is None:
            mirrors = mirror_states(view.topology, view.spec.name, view.seen, active=str(view.active))
        lags = [mirror.lag_seconds for mirror in mirrors if mirror.to_site == site]
        known = [lag for lag in lags if lag is not None]
        return max(known) if lags and len(known) == len(lags) else None
    point = newest_at(view, site)
    if point is None:
        return None
    return round(max(0.0, (keys.at(view.seen.time) - keys.at(point.time)).total_seconds()), 3)


def _lag(view: PlanView, site: str, mirrors: tuple[MirrorState, ...]) -> Item | None:
    lag, limit, silent = lag_of(view, site, mirrors), lag_limit(view.spec), view.silent_arrays(site)
    allowed = f"{span(limit)} are allowed ({'rpo' if view.spec.rpo is not None else 'two replication intervals'})"
    if lag is None and silent:
        return Item("lag", "unknown", f"{site}: how far it is behind is not known; silent: {listed(silent)}.")
    if lag is None:
        return None  # there is no point, which is an item of its own
    said = f"{site}: what is whole there is {span(float(round(lag)))} old; {allowed}"
    if silent:
        said += f"; silent now: {listed(silent)}"
    if lag <= limit:
        return Item("lag", "ok", f"{said}.")
    return Item("lag", "problem", f"{said}.", _send(view, site, mirrors))


def _send(view: PlanView, site: str, mirrors: Iterable[MirrorState]) -> str:
    """What brings a copy up to date; what stands in the way comes first."""
    reasons = dict.fromkeys(
        m.reason for m in mirrors if m.to_site == site and m.reason and m.state in ("unreachable", "split", "broken")
    )
    run = f"run dr protect {view.spec.name}, and keep dr protect --watch running"
    mend = listed(list(reasons)[:2])
    return f"Mend this: {mend}; then {run}." if mend else f"{run[:1].upper()}{run[1:]}."


def _points(view: PlanView, site: str, mirrors: Iterable[MirrorState]) -> Item:
    silent = view.silent_arrays(site)
    if silent:
        return Item("points", "unknown", f"{site}: its recovery points are not seen; silent: {listed(silent)}.")
    whole = [point for point in view.points if point.complete_at(site)]
    corrupt = [point.id for point in view.points if point.corrupt_at(site)]
    newest = newest_at(view, site)
    if newest is None:
        older = f" ({len(whole)} of earlier epochs)" if whole else ""
        epoch = view.epoch.number if view.epoch else 0
        found = f"{site}: it has no whole recovery point of epoch {epoch}{older}, so all written since would be lost."
        return Item("points", "problem", found, _send(view, site, mirrors))
    found = f"{site}: {counted(len(whole), 'whole recovery point')}, the newest {newest.id}"
    if corrupt:
        todo = f"dr verify {view.spec.name} reads them again; docs/cli.md says how rot is brought out of a copy."
        return Item("points", "warning", f"{found}; found corrupt: {listed(corrupt)}.", todo)
    return Item("points", "ok", f"{found}.")


# -- networks -------------------------------------------------------------------------------------------


def _networks(view: PlanView, site: str) -> Item:
    bare, dynamic, cards = [], [], 0
    for vm in view.vms:
        for nic in vm.nics:
            cards += 1
            if site not in view.topology.networks[nic.network].sites:
                bare.append(f"network {nic.network} of VM {vm.name}")
            elif site not in nic.address and any(other in nic.address for other in view.spec.sites):
                dynamic.append(f"VM {vm.name} on {nic.network}")
    if bare:
        return Item(
            "network",
            "problem",
            f"{site}: no bridge for {listed(bare)} there.",
            f"Add {site} under the network in the topology.",
        )
    if dynamic:
        found = f"{site}: no address for {listed(dynamic)} there, and there is one elsewhere: DHCP gives it one after a move."
        return Item("network", "warning", found, f"Add {site} under the card's address, unless that is meant.")
    return Item("network", "ok", f"{site}: {counted(cards, 'network card')}, all mapped there.")


# -- drills ---------------------------------------------------------------------------------------------


def _drilled(view: PlanView) -> Item:
    plan, last = view.spec.name, last_drill(view)
    todo = f"Drill it: dr drill start {plan}."
    if last is not None and not last.ok:
        why = last.failures[0].rstrip(". ") if last.failures else "it was not finished"
        return Item(
            "drill",
            "problem",
            f"Its last drill, {last.drill} at {last.site}, {_ago(view, last.time)}, failed: {why}.",
            f"Mend that, then d{todo[1:]}",
        )
    if last is None and view.unheard:
        return Item("drill", "unknown", f"Nothing that answers knows of a drill; silent: {listed(view.unheard)}.", todo)
    if drill_overdue(view):
        since = f"the last one was {_ago(view, last.time)}" if last is not None else "it was never drilled"
        return Item("drill", "problem", f"A drill is overdue: {since}.", todo)
    if last is None:
        return Item("drill", "warning", "It was never drilled.", todo)
    said = f"Its last drill, {last.drill} at {last.site}, {_ago(view, last.time)}, was well"
    if changed_since(view, last):
        return Item("drill", "warning", f"{said}, and the plan has changed since: it needs a drill.", todo)
    return Item("drill", "ok", f"{said}.")


def _ago(view: PlanView, time: str) -> str:
    return f"{span(max(0.0, float(round((keys.at(view.seen.time) - keys.at(time)).total_seconds()))))} ago"


def _last_drill(view: PlanView) -> dict[str, Any] | None:
    last = last_drill(view)
    if last is None:
        return None
    return {
        "drill": last.drill, "site": last.site, "kind": last.kind, "time": last.time, "point": last.point, "ok": last.ok,
        "rtoSeconds": last.rto_seconds, "rpoSeconds": last.rpo_seconds, "failures": list(last.failures),
        "changedSince": changed_since(view, last),
    }  # fmt: skip


# -- machines -------------------------------------------------------------------------------------------


def _clocks(view: PlanView) -> Item:
    """As far as a sweep shows it: an array was asked at some time within the budget before. `dr doctor` measures it."""
    worst: tuple[float, str, str] = (0.0, "", "")
    silent = []
    for name in view.topology.plan_arrays(view.spec.name):
        state = view.seen.array(name)
        if state is None:
            silent.append(name)
        elif state.clock:
            ahead = (keys.at(state.clock) - keys.at(view.seen.time)).total_seconds()
            beyond = max(ahead, -ahead - view.topology.source_budget)
            worst = max(worst, (beyond, name, "ahead of" if ahead > 0 else "behind"))
    beyond, name, how = worst
    if beyond > CLOCK_WARNING:
        level: Literal["problem", "warning"] = "problem" if beyond > CLOCK_PROBLEM else "warning"
        found = f"array {name}: its clock is {span(float(round(beyond)))} or more {how} this machine's."
        return Item("clock", level, found, "Keep all clocks in time (chrony); dr doctor measures them.", name)
    if silent:
        return Item("clock", "unknown", f"The clocks of {listed(silent)} are not seen.")
    return Item("clock", "ok", "No clock is seen to be wrong; dr doctor measures them.")


def _credentials(view: PlanView, here: Here) -> Item:
    mine = [(path_text(path), reference) for path, reference in machine_references(view.topology) if _of(view, path)]
    faults = [(path, reference) for path, reference in mine if path in here.faults]
    own = [path for path, reference in faults if not reference.startswith("config:")]
    if own:
        found = f"{listed(here.faults[path] for path in own[:2])}."
        return Item(
            "credential",
            "problem",
            found,
            f"Without {'it' if len(own) == 1 else 'them'} nothing can be moved from here ({listed(own)}).",
        )
    if faults:
        found = f"Only Pulumi can resolve {listed(reference for _, reference in faults)}."
        return Item(
            "credential", "warning", found, "Give them as env:NAME or file:/PATH, so that dr works without Pulumi."
        )
    callouts = [(path_text(path), reference) for path, reference in callout_references(view.spec)]
    lacking = [path for path, _ in callouts if path in here.faults]
    if lacking:
        found = f"{listed(here.faults[path] for path in lacking[:2])}."
        todo = f"The machine that runs a move needs {'it' if len(lacking) == 1 else 'them'} for callouts ({listed(lacking)})."
        return Item("credential", "warning", found, todo)
    mine += callouts
    said = f"{counted(len(mine), 'credential')}, all found on this machine." if mine else "None is asked for."
    return Item("credential", "ok", said)


def _of(view: PlanView, path: Path) -> bool:
    """Whether the plan needs what the path belongs to."""
    kind, name = path[0], str(path[1])
    if kind == "arrays":
        return name in view.topology.plan_arrays(view.spec.name)
    if kind == "hosts":
        return view.topology.hosts[name].site in view.spec.sites
    return view.spec.fencing != "operator"


# -- what the plan is run with --------------------------------------------------------------------------


_WHAT = {"backend": "the state backend", "repository": "the repository"}


def _kept(view: PlanView, what: str, address: str | None) -> Item:
    """Whether state or repository outlives the plan's sites. What the topology says counts before what is found."""
    said = view.topology.kept.get(what)
    if said is None:
        place = place_of(view.topology, address) if address else None
        if place is None:
            return Item(
                what,
                "unknown",
                f"It is not known where {_WHAT[what]} is kept.",
                f"Say it in the topology: state: {{{what}: SITE or elsewhere}}.",
            )
        said = (place,)
    name, places = _WHAT[what], dict.fromkeys(said)
    name = f"{name[:1].upper()}{name[1:]}"
    if len(places) > 1 or not set(places) <= set(view.spec.sites):
        where = listed("another place" if place == ELSEWHERE else place for place in places)
        return Item(what, "ok", f"{name} is kept at {where}.")
    (only,) = places
    todo = f"Keep a copy elsewhere; until then dr failover {view.spec.name} --from ADDRESS needs neither."
    if only == view.active:
        return Item(what, "problem", f"{name} is only at {only}, and is lost with it.", todo)
    return Item(what, "warning", f"{name} is only at {only}, one of the plan's own sites.", todo)
