"""Trends as pictures: a bar an event, in the order of time, and the target as a line over them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dr_provider.model.units import counted, span
from dr_provider.reconcile.reports.drawing import Scale, add, clipped, picture, text_of

__all__ = ["trend"]

_WIDTH, _HEIGHT = 1100, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 90.0, 1080.0, 26.0, 200.0
_FAR = 3.0
_MOST = 60
"""Of more events than these the last are drawn."""


@dataclass(frozen=True)
class _Bar:
    row: Mapping[str, Any]
    seconds: float
    missed: bool


def trend(
    rows: Sequence[Mapping[str, Any]], part: str, target: float | None, title: str, name: str
) -> tuple[str, bool]:
    """The SVG of one figure (`part`: loss or taken) over events, newest first as they are given (empty where none has it), and whether the
    target is too high for it."""
    bars = [
        _Bar(row, float(seconds), row[part].get("verdict") == "missed")
        for row in rows
        if (seconds := row[part].get("seconds")) is not None
    ][:_MOST][::-1]
    if not bars:
        return "", False
    most = max(bar.seconds for bar in bars)
    drawn = target is not None and target <= most * _FAR
    scale = Scale.over(_BOTTOM, _TOP, max(most, target or 0.0) * 1.08 if drawn else most * 1.08, ticks=5)
    said = f"{counted(len(bars), 'event')} from {bars[0].row['time'][:10]} to {bars[-1].row['time'][:10]}, the highest {span(most)}"
    said += f", the target {span(target)}" if target is not None else ""
    svg = picture(_WIDTH, _HEIGHT, title, f"{said}. The table below has every figure.", name)
    for place, words in scale.ticks():
        add(svg, "line", x1=_LEFT, x2=_RIGHT, y1=place, y2=place, class_="tick")
        add(svg, "text", words, x=_LEFT - 8, y=place + 4, class_="axis", text_anchor="end")
    slot = (_RIGHT - _LEFT) / len(bars)
    width = min(48.0, slot * 0.7)
    every = -(-len(bars) // 12)
    for number, bar in enumerate(bars):
        middle = round(_LEFT + slot * (number + 0.5), 2)
        top = min(scale.at(bar.seconds), _BOTTOM - 2)
        kind = "drill" if bar.row["kind"] == "drill" else "move"
        rect = add(
            svg, "rect", x=middle - width / 2, y=top, width=width, height=_BOTTOM - top, rx=2,
            class_=f"bar t-{kind}{' missed' if bar.missed else ''}",
        )  # fmt: skip
        to = f" {'to' if bar.row['from'] else 'at'} {bar.row['to']}" if bar.row["to"] else ""
        add(
            rect,
            "title",
            f"{bar.row['time']}: {bar.row['kind']}{to}: {span(bar.seconds)}{', over the target' if bar.missed else ''}",
        )
        if slot > 34:
            add(svg, "text", span(bar.seconds), x=middle, y=top - 5, class_="axis", text_anchor="middle")
        if number % every == 0:
            add(svg, "text", str(bar.row["time"])[:10], x=middle, y=_BOTTOM + 18, class_="axis", text_anchor="middle")
            add(
                svg,
                "text",
                clipped(f"{bar.row['kind']}{to}", 18),
                x=middle,
                y=_BOTTOM + 33,
                class_="axis soft",
                text_anchor="middle",
            )
    if drawn and target is not None:
        place = scale.at(target)
        add(svg, "line", x1=_LEFT, x2=_RIGHT, y1=place, y2=place, class_="line rto")
        add(svg, "text", f"target {span(target)}", x=_RIGHT, y=place - 5, class_="line-name rto", text_anchor="end")
    return text_of(svg), target is not None and not drawn
