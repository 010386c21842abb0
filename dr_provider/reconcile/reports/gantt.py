"""The timeline of a run as a picture: the plan's own phases above, then its VMs by tier, on one axis of time. Pure.

The rows are as high as there is room for: 40 VMs fit on a screen. Who cannot see it has its title, its description and the tables below it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as Xml

from dr_provider.model.units import counted, span
from dr_provider.reconcile.reports.drawing import Scale, add, clipped, picture, text_of
from dr_provider.reconcile.reports.timeline import PHASES

__all__ = ["gantt", "legend", "outside"]

_WIDTH = 1100
_LEFT, _RIGHT = 200.0, 1030.0
_TOP = 34.0
_HEAD = 20.0
"""Of a tier's heading."""
_FAR = 1.6
"""A target that is so many times further than the run took is named and not drawn: it would leave the run no room."""
_MARKS = {"well": ("✓", "good"), "runs": ("✓", "good"), "failed": ("✕", "bad"), "waits": ("…", "bad"), "off": ("○", "bad"), "unknown": ("?", "bad")}  # fmt: skip
_SAID = {"well": "runs and is well", "runs": "was left running", "failed": "failed", "waits": "waits for another", "off": "is off", "unknown": "is not known"}  # fmt: skip


def legend(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The phases that the picture shows: (phase, words)."""
    shown = {bar["phase"] for vm in document["vms"] for bar in vm["bars"]} | {
        step["phase"] for step in document["steps"]
    }
    return [(phase, words) for phase, words in PHASES.items() if phase in shown]


def gantt(document: Mapping[str, Any]) -> str:
    """The SVG; empty where nothing was begun."""
    vms, lanes = document["vms"], _lanes(document["steps"])
    if not lanes and not any(vm["bars"] for vm in vms):
        return ""
    row = 24.0 if len(vms) <= 14 else 19.0 if len(vms) <= 30 else 16.0
    end, target = _end(document)
    scale = Scale.over(_LEFT, _RIGHT, end)
    tiers = [tier for tier in document["tiers"] if any(vm["tier"] == tier["tier"] for vm in vms)]
    height = _TOP + (_HEAD + len(lanes) * row if lanes else 0) + len(tiers) * _HEAD + len(vms) * row + 34
    svg = picture(_WIDTH, height, f"Timeline: {document['headline']}", _description(document, lanes), "timeline")
    _hatch(svg)
    y, grounds = _TOP, add(svg, "g")
    ticks, bars = add(svg, "g"), add(svg, "g")
    if lanes:
        y = _band(grounds, y, "The plan", "", len(lanes) * row, odd=True)
        for phase, steps in lanes:
            _name(bars, y, row, PHASES[phase], PHASES[phase])
            for step in steps:
                said = f"{step['sentence']}: {step['outcome']}, {span(step['seconds'])} from {span(step['begin'])} on"
                _bar(bars, scale, y, row, {**step, "said": said})
            y += row
    for number, tier in enumerate(tiers):
        mine = [vm for vm in vms if vm["tier"] == tier["tier"]]
        y = _band(grounds, y, f"Tier {tier['tier']}", _waits(tier), len(mine) * row, odd=number % 2 == bool(lanes))
        for vm in mine:
            _vm(bars, scale, y, row, vm)
            y += row
    _axis(ticks, scale, y)
    # Over the bars: what they are to be held against.
    if document["commit"] is not None:
        _line(svg, scale.at(document["commit"]), y, "commit", "commit", scale)
    if target is not None:
        _line(svg, scale.at(target), y, "rto", f"RTO {span(document['time']['target'])}", scale)
    return text_of(svg)


def _end(document: Mapping[str, Any]) -> tuple[float, float | None]:
    """How far the axis goes, and where on it the RTO is (None: too far away to be drawn, over before the run began, or there is none)."""
    ends = [bar["begin"] + bar["seconds"] for vm in document["vms"] for bar in vm["bars"]]
    ends += [s["begin"] + (s["seconds"] or 0.0) for s in document["steps"] if s["begin"] is not None]
    end = max(ends, default=0.0)
    target = document["time"]["target"]
    if target is None:
        return end, None
    target -= document["time"].get("before") or 0.0
    if target < 0 or target > end * _FAR:
        return end, None
    return max(end, target * 1.04), target


def outside(document: Mapping[str, Any]) -> bool:
    """Whether there is an RTO that the picture has no room for."""
    return document["time"]["target"] is not None and _end(document)[1] is None


def _lanes(steps: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """What is not of a VM, by phase."""
    own = [step for step in steps if step["vm"] is None and step["begin"] is not None]
    return [(phase, mine) for phase in PHASES if (mine := [step for step in own if step["phase"] == phase])]


def _waits(tier: Mapping[str, Any]) -> str:
    after = (
        ""
        if tier["after"] is None
        else f"after {', '.join(tier['after'])}; "
        if tier["after"]
        else "waits for nobody; "
    )
    return f"{after}on failure: {tier['onFailure']}"


def _band(svg: Xml.Element, y: float, name: str, more: str, height: float, *, odd: bool) -> float:
    """The ground of some rows, with its heading; where the first row begins."""
    add(svg, "rect", x=0, y=y, width=_WIDTH, height=height + _HEAD, class_="band odd" if odd else "band")
    heading = add(svg, "text", name, x=8, y=y + 14, class_="tier")
    if more:
        add(heading, "tspan", f"  {clipped(more, 110)}", class_="soft")
    return y + _HEAD


def _name(svg: Xml.Element, y: float, row: float, name: str, whole: str) -> None:
    label = add(svg, "text", clipped(name, 26), x=16, y=y + row / 2 + 4, class_="name")
    add(label, "title", whole)


def _vm(svg: Xml.Element, scale: Scale, y: float, row: float, vm: Mapping[str, Any]) -> None:
    where = f" on {vm['host']}" if vm["host"] else ""
    _name(svg, y, row, vm["vm"], f"{vm['vm']}{where}: {vm['sentence']}")
    for bar in vm["bars"]:
        words = PHASES[bar["phase"]]
        _bar(svg, scale, y, row, {**bar, "said": f"{vm['vm']}{where}, {words}: {bar['outcome']}, {span(bar['seconds'])} from {span(bar['begin'])} on"})  # fmt: skip
    mark, style = _MARKS.get(vm["outcome"], ("?", "bad"))
    said = f"{mark} {span(vm['upAt'])}" if vm["upAt"] is not None else mark
    end = add(svg, "text", said, x=_RIGHT + 8, y=y + row / 2 + 4, class_=f"mark {style}")
    add(end, "title", f"{vm['vm']} {_SAID.get(vm['outcome'], 'is not known')}: {vm['sentence']}")


def _bar(svg: Xml.Element, scale: Scale, y: float, row: float, bar: Mapping[str, Any]) -> None:
    left, right = scale.at(bar["begin"]), scale.at(bar["begin"] + (bar["seconds"] or 0.0))
    inset = 3.0 if row > 18 else 2.0
    place = {"x": left, "y": y + inset, "width": max(2.0, right - left), "height": row - 2 * inset, "rx": 2}
    drawn = add(svg, "rect", class_=f"bar p-{bar['phase']}", **place)
    add(drawn, "title", bar["said"])
    if bar["outcome"] in ("failed", "open"):
        add(svg, "rect", class_="bar broken", **{**place, "width": max(6.0, right - left)})


def _axis(svg: Xml.Element, scale: Scale, bottom: float) -> None:
    for place, said in scale.ticks():
        add(svg, "line", x1=place, x2=place, y1=_TOP - 4, y2=bottom + 4, class_="tick")
        add(svg, "text", said, x=place, y=bottom + 20, class_="axis", text_anchor="middle")


def _line(svg: Xml.Element, place: float, bottom: float, style: str, said: str, scale: Scale) -> None:
    add(svg, "line", x1=place, x2=place, y1=_TOP - 6, y2=bottom + 4, class_=f"line {style}")
    # Each on a line of its own, so that two that are near each other can both be read.
    anchor = "end" if place > scale.high - 90 else "start" if place < scale.low + 60 else "middle"
    add(svg, "text", said, x=place, y=12 if style == "rto" else 26, class_=f"line-name {style}", text_anchor=anchor)


def _hatch(svg: Xml.Element) -> None:
    pattern = add(
        add(svg, "defs"),
        "pattern",
        id="hatch",
        width=6,
        height=6,
        patternUnits="userSpaceOnUse",
        patternTransform="rotate(45)",
    )
    add(pattern, "line", x1=0, y1=0, x2=0, y2=6, class_="hatch")


def _description(document: Mapping[str, Any], lanes: Sequence[tuple[str, Any]]) -> str:
    said = [
        f"{counted(len(document['vms']), 'VM')} in {counted(len(document['tiers']), 'tier')}, from {document['started']} (UTC) on."
    ]
    said += [f"Phases of the plan: {', '.join(PHASES[phase] for phase, _ in lanes)}."] if lanes else []
    said += [f"Committed after {span(document['commit'])}."] if document["commit"] is not None else []
    said += [
        f"{vm['vm']}: {_SAID.get(vm['outcome'], 'is not known')}."
        for vm in document["vms"]
        if vm["outcome"] not in ("well", "runs")
    ]
    return " ".join([*said, "The tables below have every figure."])
