"""Sizes and durations as the topology writes them: `64MiB`, `15m`. Whole numbers and one unit, nothing else. And figures for people."""

from __future__ import annotations

import re

__all__ = [
    "BLOCK",
    "about",
    "block_size",
    "counted",
    "delay",
    "duration",
    "format_duration",
    "format_size",
    "size",
    "span",
]

BLOCK = 4096
"""LUNs and volumes are made of blocks of so many bytes."""

_SIZES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SIZE_LIMIT = 1 << 60
_DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION_LIMIT = 3650
_WHOLE = re.compile(r"(0|[1-9][0-9]{0,19})([A-Za-z]+)", re.ASCII)
_NUMBER = re.compile(r"\s*([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([A-Za-z]*)\s*", re.ASCII)

_SIZE_WANTED = "wanted a size: a whole number and KiB, MiB, GiB or TiB"
_DURATION_WANTED = "wanted a duration: a whole number and ms, s, m, h or d"


def counted(number: int, noun: str, many: str = "") -> str:
    """`1 VM`, `3 VMs`; `many`: the plural where an s does not make it."""
    return f"{number} {noun if number == 1 else many or f'{noun}s'}"


def size(text: str) -> int:
    """Bytes of `64MiB`. Raises ValueError with a sentence that says what would be right."""
    match = _WHOLE.fullmatch(text)
    if not match or match[2] not in _SIZES:
        raise ValueError(f"{_SIZE_WANTED}, such as {_like_size(text)}")
    value = int(match[1]) * _SIZES[match[2]]
    if value == 0:
        raise ValueError("wanted a size greater than zero, such as 64MiB")
    if value > _SIZE_LIMIT:
        raise ValueError("wanted a size of at most 1048576TiB")
    return value


def block_size(text: str) -> int:
    """Bytes of a LUN or a volume: a size that is a multiple of 4KiB."""
    value = size(text)
    if value % BLOCK:
        near = -(-value // BLOCK) * BLOCK
        raise ValueError(f"wanted a multiple of 4KiB, such as {format_size(near)}")
    return value


def delay(text: str) -> float:
    """Seconds of `500ms`, `0s`, `2m`; zero is allowed."""
    match = _WHOLE.fullmatch(text)
    if not match or match[2] not in _DURATIONS:
        raise ValueError(f"{_DURATION_WANTED}, such as {_like_duration(text)}")
    number, unit = int(match[1]), match[2]
    value = number / 1000 if unit == "ms" else number * _DURATIONS[unit]
    if value > _DURATION_LIMIT * _DURATIONS["d"]:
        raise ValueError(f"wanted a duration of at most {_DURATION_LIMIT}d")
    return value


def duration(text: str) -> float:
    """Seconds of `15m`; more than zero."""
    value = delay(text)
    if value == 0:
        raise ValueError("wanted a duration greater than zero, such as 15m")
    return value


def format_size(value: int) -> str:
    """The shortest exact way to write a number of bytes: 8GiB, 12KiB, 100B."""
    for unit, factor in reversed(_SIZES.items()):
        if value and value % factor == 0:
            return f"{value // factor}{unit}"
    return f"{value}B"


def format_duration(seconds: float) -> str:
    """The shortest exact way to write a number of seconds, down to milliseconds: 90s, 2h, 500ms."""
    thousandths = round(seconds * 1000)
    if thousandths == 0:
        return "0s"
    for unit, factor in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if thousandths % factor == 0:
            return f"{thousandths // factor}{unit}"
    return f"{thousandths}ms"


def span(seconds: float | None) -> str:
    """A length of time for people: 0.4 s, 48 s, 12 min 5 s, 3 h 20 min, 2 d 4 h."""
    if seconds is None:
        return "not known"
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds % 1 else f"{seconds:.0f} s"
    whole = round(seconds)
    for unit, size, small, smaller in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def about(count: int) -> str:
    """A number of bytes for people: 1.5 TiB, 20.0 GiB, 4 KiB."""
    for unit, size in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1024:.0f} KiB"


def _like_size(text: str) -> str:
    """What was probably meant by text that is no size."""
    match = _NUMBER.fullmatch(text)
    unit = next((u for u in _SIZES if match and u[0].lower() == match[2][:1].lower()), None)
    if match and unit and float(match[1]) > 0:
        value = round(float(match[1]) * _SIZES[unit])
        return format_size(value) if value % 1024 == 0 else "64MiB"
    return "64MiB"


def _like_duration(text: str) -> str:
    match = _NUMBER.fullmatch(text)
    if not match or float(match[1]) <= 0:
        return "15m"
    meant = {
        "sec": "s",
        "min": "m",
        "hour": "h",
        "day": "d",
        "ms": "ms",
        "milli": "ms",
        "s": "s",
        "m": "m",
        "h": "h",
        "d": "d",
    }
    word = match[2].lower()
    unit = next((u for start, u in meant.items() if word.startswith(start)), None)
    return format_duration(float(match[1]) * _DURATIONS[unit]) if unit else "15m"
