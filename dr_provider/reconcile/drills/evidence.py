"""What a plan's drills have shown, and whether that still holds. Pure.

A drill stands for the plan as it was then: `plan_digest` covers what a move depends on, so that a plan which has changed since its last
drill is known to need one. Results are ordered by their ids, which sort by time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from dr_provider.model import keys
from dr_provider.model.codec import canonical, load
from dr_provider.model.drills import DrillEnd, DrillRecord, DrillResult
from dr_provider.model.topology import PlanSpec, Topology
from dr_provider.reconcile.view import PlanView

__all__ = [
    "changed_since",
    "drill_due",
    "drill_ends",
    "drill_overdue",
    "drill_results",
    "drill_warnings",
    "has_expired",
    "last_drill",
    "plan_digest",
]

# What a move does not depend on: how often something is done, what is wanted, and how fast a machine answers.
_OF_NO_MATTER = frozenset(
    {"name", "backup", "replicate_every", "rpo", "rto", "drill", "commit_window", "contacts", "image"}
)


# -- results ----------------------------------------------------------------------------------------


# The same texts are on every array and in every sweep.
@lru_cache(maxsize=512)
def _result(text: str, where: str) -> DrillResult:
    return load(DrillResult, text, where)


def drill_results(view: PlanView) -> tuple[DrillResult, ...]:
    """What any answering array of the plan knows of its drills, oldest first. Raises CorruptRecord."""
    prefix = keys.drill_result_prefix(view.topology.name, view.spec.name)
    found = {
        key: _result(text, f"array {array}, {key}") for array, key, text in _records(view) if key.startswith(prefix)
    }
    return tuple(found[key] for key in sorted(found))


def last_drill(view: PlanView, *, ok: bool = False) -> DrillResult | None:
    """The newest drill of the plan, whatever it has shown; with `ok` the newest in which all was well."""
    return next((result for result in reversed(drill_results(view)) if result.ok or not ok), None)


def _records(view: PlanView) -> list[tuple[str, str, str]]:
    """(array, key, text) of all records on the plan's answering arrays."""
    return [
        (array, key, text)
        for array in view.topology.plan_arrays(view.spec.name)
        if (state := view.seen.array(array)) is not None
        for key, text in state.records.items()
    ]


# -- the plan as it was -------------------------------------------------------------------------------


def plan_digest(topology: Topology, plan: str) -> str:
    """16 hexadecimal digits of what a move of the plan depends on: its VMs, disks and cards, tiers, networks, volumes, arrays, hosts and
    sites. Not how often something is done, what is wanted of it, or the addresses and speed of machines."""
    spec = topology.plans[plan]
    volumes = topology.plan_volumes(plan)
    networks = {nic.network for vm in spec.members for nic in topology.vms[vm].nics}
    arrays = {name for volume in volumes for name in volume.arrays}
    hosts = {host.name: host for site in spec.sites for host in topology.plan_hosts(plan, site)}
    matter = {
        "plan": asdict(spec),
        "vms": {vm: asdict(topology.vms[vm]) for vm in spec.members},
        "volumes": {volume.name: asdict(volume) for volume in volumes},
        "networks": {name: asdict(topology.networks[name]) for name in sorted(networks)},
        "arrays": {name: [topology.arrays[name].site, topology.arrays[name].driver] for name in sorted(arrays)},
        "hosts": {name: _host(topology, name) for name in sorted(hosts)},
    }
    return hashlib.sha256(canonical(_told(matter)).encode()).hexdigest()[:16]


def _host(topology: Topology, name: str) -> dict[str, Any]:
    host = topology.hosts[name]
    size = {key: host.options.get(key) for key in ("cpus", "memory")}
    return {"site": host.site, "driver": host.driver, "cluster": host.cluster, **size}


def _told(value: Any) -> Any:
    """Without what is left out or empty: a key that a later version knows and nobody has set changes no digest."""
    if isinstance(value, Mapping):
        kept = {str(key): _told(item) for key, item in value.items() if key not in _OF_NO_MATTER}
        return {key: item for key, item in kept.items() if item not in (None, False, "", 0, {}, [])}
    return [_told(item) for item in value] if isinstance(value, list | tuple) else value


def changed_since(view: PlanView, result: DrillResult) -> bool:
    """Whether the plan is not the one that this drill has shown anything about."""
    return result.digest != plan_digest(view.topology, view.spec.name)


# -- when -----------------------------------------------------------------------------------------------


def _every(spec: PlanSpec) -> timedelta | None:
    return timedelta(seconds=spec.drill.every) if spec.drill is not None else None


def drill_due(view: PlanView) -> datetime | None:
    """When the plan's next scheduled drill is due: so long after the last one, however that was begun and whatever it has shown, and for
    one that was never drilled after it was made. None: the plan asks for none, or was never made."""
    every, last = _every(view.spec), last_drill(view)
    if every is None or view.epoch is None:
        return None
    return keys.at(last.time if last is not None else view.history[0].time) + every


def drill_overdue(view: PlanView) -> bool:
    """Whether the plan asks for drills, and none in which all was well is younger than one and a half times what it asks for. Where none is
    known and who may know of one is silent, that is not said."""
    every, good = _every(view.spec), last_drill(view, ok=True)
    if every is None or view.epoch is None or (good is None and view.unheard):
        return False
    since = keys.at(good.time if good is not None else view.history[0].time)
    return keys.at(view.seen.time) > since + every * 1.5


def drill_ends(view: PlanView) -> dict[str, DrillEnd]:
    """Drills that were ended while a part of them did not answer, by name. Raises CorruptRecord."""
    prefix = keys.drill_end_key(view.topology.name, view.spec.name, "")
    return {
        key.removeprefix(prefix): load(DrillEnd, text, f"array {array}, {key}")
        for array, key, text in _records(view)
        if key.startswith(prefix)
    }


def has_expired(record: DrillRecord, now: datetime) -> bool:
    return record.expires is not None and keys.at(record.expires) <= now


def drill_warnings(view: PlanView) -> tuple[str, ...]:
    """What `dr status` says about the plan's drills: only what somebody should look at, in sentences that stay the same while nothing changes."""
    plan, last = view.spec.name, last_drill(view)
    said = []
    if last is not None and last.kind == "scheduled" and not last.ok:
        why = last.failures[0] if last.failures else "it was not finished"
        said.append(
            f"plan {plan}: its scheduled drill {last.drill} failed: {why}; try again with dr drill start {plan}"
        )
    if drill_overdue(view):
        since = last_drill(view, ok=True)
        when = (
            f"the last one in which all was well was begun at {since.time}"
            if since
            else "none has shown that all is well"
        )
        said.append(f"plan {plan}: a drill is overdue; {when}")
    return tuple(said)
