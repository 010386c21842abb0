"""What has been met so far, counted for people."""

from __future__ import annotations

from collections import Counter

__all__ = ["COVERED", "Covered"]

_HEADS = ("games", "steps", "moved", "killed", "stopped", "paused", "lost", "found", "edited", "ended")


class Covered:
    """Counts by head and detail, such as ("killed", "break")."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {head: Counter() for head in _HEADS}

    def add(self, head: str, detail: str, count: int = 1) -> None:
        self._counts[head][detail] += count

    def games(self) -> str:
        steps = sum(self._counts["steps"].values())
        return f"{sum(self._counts['games'].values())} games, {steps} steps, {sum(self._counts['moved'].values())} moves, {sum(self._counts['killed'].values())} kills"

    def told(self) -> str:
        """A line a head: how many in all, and of each detail."""
        lines = [
            f"  {head:8} {sum(counts.values()):7}  {', '.join(f'{detail} {count}' for detail, count in counts.most_common())}"
            for head, counts in self._counts.items()
        ]
        return "\n".join(["soak: covered", *lines])


COVERED = Covered()
"""Of this process."""
