"""What a row says, as a line of the table and as JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

__all__ = ["Row", "show", "store"]


@dataclass(frozen=True)
class Row:
    """`measured` against `reference`, in `unit`; `limit` is how many times the reference is too much (None: for information only)."""

    name: str
    title: str
    measured: float
    reference: float
    unit: str
    limit: float | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    remark: str = ""

    @property
    def ratio(self) -> float:
        return self.measured / self.reference if self.reference else float("inf")

    @property
    def kept(self) -> bool:
        return self.limit is None or self.ratio <= self.limit

    def document(self) -> dict[str, object]:
        return {
            "name": self.name,
            "title": self.title,
            "measured": round(self.measured, 4),
            "reference": round(self.reference, 4),
            "unit": self.unit,
            "ratio": round(self.ratio, 4),
            "limit": self.limit,
            "kept": self.kept,
            "facts": dict(self.facts),
            "machine": {
                "cpus": psutil.cpu_count(),
                "python": platform.python_version(),
                "load": [round(load, 1) for load in psutil.getloadavg()],
            },
        }


def store(row: Row, folder: Path) -> Path:
    """Write the row as JSON; the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{row.name}.json"
    path.write_text(json.dumps(row.document(), indent=2) + "\n", encoding="utf-8")
    return path


def show(rows: Iterable[Row], console: Console) -> None:
    table = Table(title="Benchmarks", title_justify="left")
    for heading in ("what", "measured", "against", "ratio", "at most", ""):
        table.add_column(heading, justify="left" if heading in ("what", "") else "right", overflow="fold")
    for row in rows:
        limit = f"{row.limit:g}" if row.limit is not None else "-"
        well = "[green]kept[/]" if row.kept else "[bold red]BROKEN[/]"
        table.add_row(
            f"{row.title}\n[dim]{row.remark}[/]",
            f"{row.measured:.3f} {row.unit}",
            f"{row.reference:.3f} {row.unit}",
            f"{row.ratio:.3f}",
            limit,
            well if row.limit is not None else "",
        )
    console.print(table)
