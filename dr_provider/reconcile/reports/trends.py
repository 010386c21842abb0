"""The history of a plan over its moves and drills: what each took and lost, against what the plan promises. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from dr_provider.model import keys
from dr_provider.model.drills import DrillResult
from dr_provider.model.topology import PlanSpec

__all__ = ["trend_document"]

_MOVES = ("planned", "disaster", "rollback", "resolve")
_DRILLS = ("drill",)
_SAME = 5.0
"""Seconds between the beginning of a drill as its record has it and as its report has it, at most."""


def trend_document(
    spec: PlanSpec,
    history: Mapping[str, Any],
    reports: Iterable[Mapping[str, Any]],
    silent: Sequence[str] = (),
    drilled: Iterable[DrillResult] = (),
) -> dict[str, Any]:
    """Out of the summaries of reports, the epochs that the arrays remember (`dr history`) and what drills have put on record: an event each,
    newest first.

    An epoch or a drill without a report (made before there were any, or by a machine that could not write) is an event too, with what its record says.
    """
    found = [_of_report(line) for line in reports]
    reported = {(row["epoch"], row["kind"]) for row in found if row["committed"]}
    found += [
        _of_epoch(spec, epoch)
        for epoch in history["epochs"]
        if epoch["from"] is not None
        and epoch["state"] == "committed"
        and (epoch["epoch"], epoch["kind"]) not in reported
    ]
    begun = [(row["drill"], keys.at(row["time"])) for row in found if row["kind"] in _DRILLS]
    found += [_of_drill(spec, result) for result in drilled if result.kind != "beside" and not _told(result, begun)]
    events = sorted(found, key=lambda row: str(row["time"]), reverse=True)
    drills = [row for row in events if row["kind"] in _DRILLS]
    return {
        "version": 1,
        "plan": spec.name,
        "time": history["time"],
        "activeSite": history["activeSite"],
        "rpo": spec.rpo,
        "rto": spec.rto,
        "events": events,
        "moves": _figures([row for row in events if row["committed"]]),
        "drills": _figures(drills),
        "lastDrill": next(({name: row[name] for name in ("time", "drill", "to", "result", "report")} for row in drills), None),
        "silent": list(silent),
    }  # fmt: skip


def _of_report(line: Mapping[str, Any]) -> dict[str, Any]:
    kind, committed = str(line.get("kind")), bool(line.get("committed"))
    return {
        "time": str(line.get("started")),
        "kind": kind,
        "drill": line.get("drill"),
        "from": line.get("from"),
        "to": line.get("to"),
        "epoch": line.get("epoch") if committed else None,
        "result": str(line.get("result")),
        "committed": committed,
        "by": line.get("by"),
        "loss": dict(line.get("loss") or {}),
        "taken": dict(line.get("time") or {}),
        "vms": dict(line.get("vms") or {}),
        "headline": line.get("headline") or "",
        "report": line.get("report"),
    }


def _of_epoch(spec: PlanSpec, epoch: Mapping[str, Any]) -> dict[str, Any]:
    seconds = epoch["loss"]["seconds"]
    return {
        "time": epoch["time"],
        "kind": epoch["kind"],
        "drill": None,
        "from": epoch["from"],
        "to": epoch["to"],
        "epoch": epoch["epoch"],
        "result": "committed",
        "committed": True,
        "by": epoch["by"],
        "loss": {"seconds": seconds, "target": spec.rpo, "verdict": _held(seconds, spec.rpo)},
        "taken": {"seconds": None, "target": spec.rto, "verdict": "not known"},
        "vms": {},
        "headline": epoch["loss"]["statement"],
        "report": None,
    }


def _told(result: DrillResult, begun: Sequence[tuple[str | None, datetime]]) -> bool:
    """Whether a report is of this drill: it has its name, and was begun in the same moment."""
    return any(
        drill == result.drill and abs((keys.at(result.time) - time).total_seconds()) < _SAME for drill, time in begun
    )


def _of_drill(spec: PlanSpec, result: DrillResult) -> dict[str, Any]:
    return {
        "time": result.time,
        "kind": "drill",
        "drill": result.drill,
        "from": None,
        "to": result.site,
        "epoch": None,
        "result": "done" if result.ok else "failed",
        "committed": False,
        "by": result.by,
        "loss": {"seconds": result.rpo_seconds, "target": spec.rpo, "verdict": _held(result.rpo_seconds, spec.rpo)},
        "taken": {"seconds": result.rto_seconds, "target": spec.rto, "verdict": _held(result.rto_seconds, spec.rto)},
        "vms": {"all": result.vms},
        "headline": "; ".join(result.failures),
        "report": None,
    }


def _held(seconds: float | None, target: float | None) -> str:
    if seconds is None:
        return "not known"
    return "none" if target is None else "met" if seconds <= target else "missed"


def _figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of events, newest first: how many, how many of them were well, and of their times and losses (seconds) the last, the median and the worst."""
    return {
        "count": len(rows),
        "well": sum(row["result"] in ("done", "committed") for row in rows),
        "time": _of([row["taken"].get("seconds") for row in rows]),
        "loss": _of([row["loss"].get("seconds") for row in rows]),
        "missed": sum("missed" in (row["loss"].get("verdict"), row["taken"].get("verdict")) for row in rows),
    }


def _of(values: Sequence[float | None]) -> dict[str, float] | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"last": known[0], "median": round(statistics.median(known), 3), "worst": max(known)}
