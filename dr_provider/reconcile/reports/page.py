"""Reports as pages: one file each, with its pictures and its style in it, no script, and nothing that is fetched from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dr_provider.model import keys
from dr_provider.model.units import counted, span
from dr_provider.reconcile.reports.chart import trend
from dr_provider.reconcile.reports.drawing import safe
from dr_provider.reconcile.reports.facts import WELL
from dr_provider.reconcile.reports.gantt import gantt, legend, outside
from dr_provider.reconcile.reports.timeline import PHASES

__all__ = ["history_page", "report_page"]

_ANSWERS = {
    "done": "Yes",
    "partial": "In part",
    "failed": "No",
    "called off": "Called off",
    "stopped": "Stopped",
    "refused": "Refused",
}


@cache
def _templates() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: safe(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    made.filters.update(span=span, clock=_clock, figure=_figure, linkable=_linkable)
    return made


def report_page(document: Mapping[str, Any]) -> str:
    """The page of a report's document."""
    vms, loss, time = document["vms"], document["loss"], document["time"]
    up = sum(vm["outcome"] in WELL for vm in vms)
    missed = "missed" in (loss["verdict"], time["verdict"])
    result = document["result"]
    tone = "bad" if result in ("failed", "refused") else "warn" if result != "done" or missed else "good"
    lost = (
        "open"
        if loss["verdict"] == "open"
        else "nothing"
        if loss["seconds"] == 0 and document["kind"] != "drill"
        else span(loss["seconds"])
    )
    return _templates().get_template("report.html.j2").render(
        r=document,
        tone=tone,
        answer=_ANSWERS.get(result, result),
        lost=lost,
        up=up,
        checked=sum(vm["outcome"] == "well" and vm["health"] is not None for vm in vms),
        picture=Markup(gantt(document)),
        legend=legend(document),
        far=outside(document),
        words=PHASES,
    )  # fmt: skip


def history_page(document: Mapping[str, Any]) -> str:
    """The page of a trend document (trends.py)."""
    moves, drills, last = document["moves"], document["drills"], document["lastDrill"]
    missed = moves["missed"] + drills["missed"]
    wrong = last is not None and last["result"] != "done"
    tone = "bad" if wrong else "warn" if missed or last is None else "good"
    drilled = (
        f"the last drill, {_clock(last['time'])}, {'was well' if not wrong else 'was not well'}"
        if last
        else "no drill on record"
    )
    rows = [row for row in document["events"] if row["committed"] or row["kind"] == "drill"]
    pictures = []
    for title, part, target in (
        ("Time until all VMs were up", "taken", document["rto"]),
        ("Data lost, or its age in a drill", "loss", document["rpo"]),
    ):
        picture, far = trend(rows, part, target, f"{title}, of plan {document['plan']}", f"trend-{part}")
        pictures.append((title, Markup(picture), far, target))
    return _templates().get_template("history.html.j2").render(
        h=document,
        tone=tone,
        headline=f"{counted(moves['count'], 'move')} and {counted(drills['count'], 'drill')} of plan {document['plan']}; {drilled}.",
        missed=missed,
        pictures=pictures,
    )  # fmt: skip


def _clock(text: object) -> str:
    """A time to the second; what is none is shown as it is."""
    try:
        return f"{keys.at(str(text)):%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return str(text)


def _figure(seconds: float | None) -> str:
    """Seconds in a column of them."""
    return "–" if seconds is None else f"{seconds:.2f}" if seconds < 10 else f"{seconds:.1f}"


def _linkable(text: object) -> bool:
    """What may be a link: an address that nobody's script can hide behind."""
    return isinstance(text, str) and text.startswith(("https://", "http://")) and not set(text) & set(" \"'<>\\`")
