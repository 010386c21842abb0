"""Collecting the faults of a document: each with its path, its line where known, and the nearest known name."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dr_provider.model.errors import Problem

__all__ = ["Path", "PlacedProblem", "Report", "did_you_mean", "listed", "meant", "nearest", "path_text", "show"]

Path = tuple[str | int, ...]
"""Keys and indices from the top of the document."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,60}", re.ASCII)
_PLAIN_VALUE = re.compile(r"[\w./:%@+-]{1,60}", re.ASCII)
_LIKE_OTHERS = re.compile(r"[-+.0-9]+|true|false|null|nothing", re.IGNORECASE)


@dataclass(frozen=True)
class PlacedProblem(Problem):
    """A problem whose line in the document (from 1) is known."""

    line: int | None = None

    def __str__(self) -> str:
        if self.line is None:
            return super().__str__()
        return f"{self.path} (line {self.line}): {self.message}" if self.path else f"line {self.line}: {self.message}"


class Report:
    """The problems found so far; one and the same problem is kept once."""

    def __init__(self) -> None:
        self._found: dict[tuple[Path, str], None] = {}

    def add(self, path: Path, message: str) -> None:
        self._found[(path, message)] = None

    def __bool__(self) -> bool:
        return bool(self._found)

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(path for path, _ in self._found)

    def only(self, path: Path) -> Report:
        """A report of the problems at just this path."""
        some = Report()
        some._found = {key: None for key in self._found if key[0] == path}
        return some

    def sorted(self, places: Mapping[Path, tuple[int, int]]) -> tuple[Problem, ...]:
        """The problems in the order of the document; `places` maps a path to its line and column, and may be empty."""
        rows = []
        for path, message in self._found:
            place = _place(path, places)
            rows.append((place or (0, 0), path_text(path), message, place[0] if place else None))
        rows.sort(key=lambda row: row[:3])
        return tuple(PlacedProblem(path, message, line) for _, path, message, line in rows)


def _place(path: Path, places: Mapping[Path, tuple[int, int]]) -> tuple[int, int] | None:
    for length in range(len(path), -1, -1):
        if path[:length] in places:
            return places[path[:length]]
    return None


def path_text(path: Path) -> str:
    """`plans.shop.tiers[1].members[0]`; keys that are not plain words are quoted in brackets."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part[:60])}]"
    return text


def show(value: object) -> str:
    """A value of the document in a sentence."""
    match value:
        case None:
            return "nothing"
        case bool():
            return f"the boolean {str(value).lower()}"
        case int() | float():
            text = str(value) if isinstance(value, float) or abs(value) < 10**30 else "a very large one"
            return f"the number {text}"
        case str():
            if _PLAIN_VALUE.fullmatch(value) and not _LIKE_OTHERS.fullmatch(value):
                return value
            return json.dumps(value if len(value) <= 60 else value[:57] + "...")
        case list():
            return "a list"
        case _:
            return "a mapping"


def listed(names: Iterable[str], last: str = "and") -> str:
    """`a, b and c`; at most twelve of them."""
    all_names = list(names)
    if len(all_names) > 12:
        return ", ".join(all_names[:12]) + f" {last} {len(all_names) - 12} more"
    if len(all_names) < 2:
        return "".join(all_names)
    return ", ".join(all_names[:-1]) + f" {last} {all_names[-1]}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: `; did you mean db?`, or what is known where nothing is near."""
    names = sorted(n for n in known if _PLAIN_KEY.fullmatch(n))  # a malformed name is no advice
    near = nearest(name, names)
    if near is not None:
        return f"; did you mean {near}?"
    return f"; known: {listed(names)}" if names else "; there is none"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant; None: none is near."""
    lower = {n.lower(): n for n in sorted(known, reverse=True)}
    near = difflib.get_close_matches(name[:80].lower(), list(lower), n=1, cutoff=0.6)
    return lower[near[0]] if near else None


def meant(name: str, known: Iterable[str]) -> str:
    """What stands behind a wrong name: ` (did you mean shop?)`; nothing where no known one is near."""
    near = nearest(name, known)
    return f" (did you mean {near}?)" if near is not None else ""
