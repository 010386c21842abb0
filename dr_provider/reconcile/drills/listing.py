"""What `dr drill list` and `dr drill history` say, out of one observation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dr_provider.model import keys
from dr_provider.model.drills import DrillRecord, DrillResult
from dr_provider.reconcile.drills.evidence import (
    changed_since,
    drill_due,
    drill_ends,
    drill_overdue,
    drill_results,
    has_expired,
)
from dr_provider.reconcile.drills.parts import named_drills, vm_states
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.world import World

__all__ = ["drill_history", "drill_listing"]


def drill_listing(world: World, plans: Iterable[str]) -> dict[str, Any]:
    """Every open drill of the plans, whoever made it, oldest first. What is silent may hold more of them."""
    views = [world.view(plan) for plan in plans]
    drills = [_open(view, name) for view in views for name in named_drills(view)]
    silent = {name: reason for view in views for name, reason in view.unheard.items()}
    return {
        "time": world.look().time,
        "drills": sorted(drills, key=lambda drill: (drill["since"] or "", drill["drill"])),
        "silent": dict(sorted(silent.items())),
    }


def _open(view: PlanView, name: str) -> dict[str, Any]:
    record = view.drills.get(name)
    vms = vm_states(view, name)
    for vm, host in sorted(record.vms.items()) if record is not None else ():
        silent = view.seen.host(host) is None
        vms.setdefault(vm, {"host": host, "name": keys.drill_vm(vm, name), "state": "unknown" if silent else "off"})
    return {
        "plan": view.spec.name,
        "drill": name,
        "ending": name in drill_ends(view),
        "vms": vms,
        **_said(view, record),
    }


def _said(view: PlanView, record: DrillRecord | None) -> dict[str, Any]:
    """What its record says; a drill that has lost its record is known by its VMs only."""
    now = keys.at(view.seen.time)
    if record is None:
        return dict.fromkeys(
            ("kind", "site", "point", "pointTime", "since", "ageSeconds", "by", "stack", "expires", "expired")
        )
    taken = next((point.time for point in view.points if point.id == record.point), None)
    return {
        "kind": record.kind,
        "site": record.site,
        "point": record.point,
        "pointTime": taken,
        "since": record.time,
        "ageSeconds": round(max(0.0, (now - keys.at(record.time)).total_seconds()), 3),
        "by": record.by or (f"stack {record.stack}" if record.stack else None),
        "stack": record.stack or None,
        "expires": record.expires,
        "expired": has_expired(record, now),
    }


def drill_history(view: PlanView) -> dict[str, Any]:
    """The plan's last drills, newest first; when the next is due, and whether the plan has changed since the last. Pure."""
    results, due = drill_results(view), drill_due(view)
    last = results[-1] if results else None
    return {
        "plan": view.spec.name,
        "time": view.seen.time,
        "drills": [_result(result) for result in reversed(results)],
        "changedSince": changed_since(view, last) if last is not None else None,
        "due": keys.stamp(due) if due is not None else None,
        "overdue": drill_overdue(view),
        "silent": dict(sorted(view.unheard.items())),
    }


def _result(result: DrillResult) -> dict[str, Any]:
    return {
        "drill": result.drill,
        "kind": result.kind,
        "site": result.site,
        "point": result.point,
        "pointTime": result.point_time,
        "time": result.time,
        "rpoSeconds": result.rpo_seconds,
        "rtoSeconds": result.rto_seconds,
        "ok": result.ok,
        "failures": list(result.failures),
        "vms": result.vms,
        "by": result.by,
        "stack": result.stack or None,
        "digest": result.digest,
    }
