"""Writing for people: wrapped to the terminal, coloured only there, plain and unwrapped in a pipe."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TextIO

from dr_provider.model.plain import plain
from dr_provider.model.units import span

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Paper", "ago", "brief", "span"]

_GAP = 2
"""Spaces between two columns of a table."""
_PIPE_WIDTH = 10_000
"""Nothing is wrapped in a pipe: a sentence stays one line, to be searched."""


class Paper:
    """One stream to write on. Text is never read as markup: names and reasons come from users and devices."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.terminal = stream.isatty()

    @cached_property
    def console(self) -> Console:
        from rich.console import Console

        columns = os.environ.get("COLUMNS", "")
        width = int(columns) if columns.isdecimal() and int(columns) > 20 else None
        return Console(
            file=self.stream,
            force_terminal=self.terminal,
            no_color=not self.terminal or bool(os.environ.get("NO_COLOR")),
            width=width if self.terminal or width else _PIPE_WIDTH,
            markup=False,
            emoji=False,
            highlight=False,
        )

    def line(self, text: str = "", style: str = "", *, indent: int = 0, lead: str = "") -> None:
        """A sentence; `lead` (a number, a bullet) stands before it, and its further lines align behind the lead."""
        from rich.text import Text

        room = max(20, self.console.width - indent - len(lead))
        for number, part in enumerate(
            Text(plain(text), style=_style(self, style)).wrap(self.console, room) or [Text()]
        ):
            part.rstrip()
            self.console.print(Text(" " * indent + (lead if number == 0 else " " * len(lead))) + part, soft_wrap=True)

    def bullets(self, sentences: Iterable[str], style: str = "", *, indent: int = 2) -> None:
        for sentence in sentences:
            self.line(sentence, style, indent=indent, lead="- ")

    def refusal(self, sentence: str, *, indent: int = 2) -> None:
        """A reason why not. What stands between two double spaces is to be copied, so it gets a line of its own."""
        parts = [part.strip() for part in re.split(r" {2,}", sentence)]
        if len(parts) == 1:
            self.line(sentence, "red", indent=indent, lead="- ")
            return
        for number, part in enumerate(parts):
            if number % 2:
                # Never wrapped: a line that is copied must be whole.
                self._print(f"{' ' * (indent + 6)}{part}", "bold")
            elif part:
                self.line(part.lstrip(", "), "red", indent=indent, lead="- " if number == 0 else "  ")

    def pairs(self, rows: Iterable[tuple[str, str]], *, indent: int = 2) -> None:
        rows = [row for row in rows if row[1]]
        width = max((len(name) for name, _ in rows), default=0) + 2
        for name, text in rows:
            self.line(text, indent=indent, lead=name.ljust(width))

    def table(
        self, header: Sequence[str], rows: Iterable[Sequence[str]], *, indent: int = 2, whole: Collection[str] = ()
    ) -> None:
        """`whole`: columns whose text is never broken, since it is to be copied."""
        from rich.padding import Padding
        from rich.table import Table

        cells = [[plain(cell) for cell in row] for row in rows]
        room = max(20, self.console.width - indent)
        widths = _widths(header, cells, room, whole)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold" if self.terminal else "")
        for name, width in zip(header, widths, strict=True):
            table.add_column(name, overflow="fold", width=width)
        for row in cells:
            table.add_row(*row, style=_row_style(row) if self.terminal else "")
        if self.terminal:
            self.console.print(Padding(table, (0, 0, 0, indent), expand=False))
            return
        # In a pipe the padding behind the last column is noise.
        with self.console.capture() as capture:
            self.console.print(table, width=max(room, sum(widths) + _GAP * len(widths)))
        for line in capture.get().splitlines():
            self.stream.write(f"{' ' * indent}{line.rstrip()}\n")

    def _print(self, text: str, style: str = "") -> None:
        from rich.text import Text

        self.console.print(Text(plain(text), style=_style(self, style)), soft_wrap=True)


def _widths(header: Sequence[str], rows: Sequence[Sequence[str]], room: int, whole: Collection[str]) -> list[int]:
    """How wide each column is: as wide as its text where there is room; else those that may be broken share what is left, none below what a
    narrower one needs."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(header, *rows, strict=True)]
    left = room - _GAP * (len(widths) - 1) - sum(w for name, w in zip(header, widths, strict=True) if name in whole)
    flexible = sorted(w for name, w in zip(header, widths, strict=True) if name not in whole)
    most = max(flexible, default=0)
    for number, width in enumerate(flexible):
        share = left // (len(flexible) - number)
        if width > share:
            most = max(1, share)
            break
        left -= width
    return [w if name in whole else min(w, most) for name, w in zip(header, widths, strict=True)]


def _style(paper: Paper, style: str) -> str:
    return style if paper.terminal else ""


def _row_style(row: Sequence[str]) -> str:
    bad = {"failed", "unknown", "broken", "split", "unreachable", "problem", "NO"}
    if bad.intersection(row):
        return "red"
    return "yellow" if {"warning", "not known", "degraded"}.intersection(row) else ""


def ago(time: str, *, short: bool = False) -> str:
    """How long ago an RFC 3339 time was. `short`: in one unit, for a table that is looked over."""
    from dr_provider.model import keys

    try:
        seconds = (keys.now() - keys.at(time)).total_seconds()
    except ValueError:
        return time
    return f"{(brief if short else span)(max(0.0, float(round(seconds))))} ago"


def brief(seconds: float) -> str:
    """A length of time in one unit, to the nearest: 4 s, 12 min, 2 h, 3 d."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{round(seconds / size)} {unit}"
    return span(seconds)
