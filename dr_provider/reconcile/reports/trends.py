"""The history of a plan over its moves and drills: what each took and lost, against what the plan promises. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dr_provider.model.topology import PlanSpec

__all__ = ["trend_document"]

_MOVES = ("planned", "disaster", "rollback", "resolve")
_DRILLS = ("drill",)


def trend_document(
    spec: PlanSpec, history: Mapping[str, Any], reports: Iterable[Mapping[str, Any]], silent: Sequence[str] = ()
) -> dict[str, Any]:
    """Out of the epochs that the arrays remember (`dr history`) and the summaries of reports: an event each, newest first.

    An epoch without a report (made before there were any, or by a machine that could not write) is an event too, with what its record says.
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
    verdict = (
        "not known" if seconds is None else "none" if spec.rpo is None else "met" if seconds <= spec.rpo else "missed"
    )
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
        "loss": {"seconds": seconds, "target": spec.rpo, "verdict": verdict},
        "taken": {"seconds": None, "target": spec.rto, "verdict": "not known"},
        "vms": {},
        "headline": epoch["loss"]["statement"],
        "report": None,
    }


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
