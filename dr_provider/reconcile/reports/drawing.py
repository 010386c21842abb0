"""The pictures' common ground: elements of SVG, a scale of time, and text that is fit to stand in them. Pure.

Colours come from the page's style sheet, by class, so that a picture is right in light, dark and print. Every text goes through `safe`: what is
no character of XML would make the whole page unreadable to whoever parses it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree import ElementTree as Xml

from dr_provider.model.plain import plain
from dr_provider.model.units import span

__all__ = ["Scale", "add", "clipped", "picture", "safe", "text_of"]

_NO_XML = re.compile("[\ufffe\uffff]")
_NICE = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200,
    10800, 21600, 43200, 86400, 172800, 604800, 2592000, 31536000,
)  # fmt: skip


def safe(text: object) -> str:
    """Any text as it may stand in XML and in HTML: controls and marks that are not seen are shown escaped."""
    return _NO_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", plain(str(text)))


def clipped(text: str, most: int) -> str:
    """A name that is too long for its place, in short; the whole is in the title of what it names."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


@dataclass(frozen=True)
class Scale:
    """Seconds to units of the picture. `step`: seconds from one tick to the next."""

    low: float
    high: float
    end: float
    step: float

    @classmethod
    def over(cls, low: float, high: float, seconds: float, *, ticks: int = 8) -> Scale:
        """From 0 to at least `seconds`, with about so many ticks."""
        seconds = max(seconds, 0.001)
        step = next((nice for nice in _NICE if seconds / nice <= ticks), seconds / ticks)
        return cls(low, high, seconds, step)

    def at(self, seconds: float) -> float:
        inside = min(max(seconds, 0.0), self.end)
        return round(self.low + (self.high - self.low) * inside / self.end, 2)

    def ticks(self) -> list[tuple[float, str]]:
        """Each tick's place, and what it says."""
        count = int(self.end / self.step + 1e-9)
        return [(self.at(number * self.step), _said(number * self.step)) for number in range(count + 1)]


def _said(seconds: float) -> str:
    if 0 < seconds < 1:
        return f"{seconds * 1000:g} ms"
    return span(seconds) if seconds >= 60 or seconds == int(seconds) else f"{seconds:g} s"


def picture(width: float, height: float, title: str, description: str, name: str) -> Xml.Element:
    """An empty picture; `name` makes the ids of its title and description unique on the page."""
    svg = Xml.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {width:g} {height:g}",
            "width": f"{width:g}",
            "height": f"{height:g}",
            "role": "img",
            "aria-labelledby": f"{name}-title {name}-said",
        },
    )
    add(svg, "title", title, id=f"{name}-title")
    add(svg, "desc", description, id=f"{name}-said")
    return svg


def add(to: Xml.Element, tag: str, said: object = None, **attributes: object) -> Xml.Element:
    """An element in `to`; `_` in the names of attributes stands for `-`, and one behind a word of Python is left out."""
    given = {
        name.rstrip("_").replace("_", "-"): safe(f"{value:g}" if isinstance(value, float) else value)
        for name, value in attributes.items()
        if value is not None
    }
    element = Xml.SubElement(to, tag, given)
    if said is not None:
        element.text = safe(said)
    return element


def text_of(svg: Xml.Element) -> str:
    return Xml.tostring(svg, encoding="unicode")
