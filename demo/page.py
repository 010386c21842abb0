"""The demo on paper: report.json, report.html (one file, no link to anything outside) and the picture for the README."""

from __future__ import annotations

import io
import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.console import Console

from demo import show
from demo.facts import Account

__all__ = ["picture", "write_report"]

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"
_WIDTH = 100

# No font is loaded from anywhere: whoever looks at the picture has a monospaced one.
_SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g></g></svg>
"""


def write_report(account: Account, folder: Path) -> tuple[Path, Path]:
    """Write report.json and report.html into the folder."""
    document = account.document()
    data, page = folder / "report.json", folder / "report.html"
    data.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    longest = max((step.seconds or 0.0 for step in account.steps), default=0.0)
    text = templates.get_template("demo/report.html.j2").render(account=account, longest=longest or 1.0)
    page.write_text(text, encoding="utf-8")
    return data, page


def picture(account: Account, file: Path) -> None:
    """Draw the table as a terminal of 100 columns shows it."""
    console = Console(
        record=True, file=io.StringIO(), width=_WIDTH, force_terminal=True, color_system="truecolor", highlight=False
    )
    console.print("$ make demo")
    console.print(show.opening(account, _WIDTH), markup=False)
    console.print(show.heading(_WIDTH))
    for number, step in enumerate(account.steps, 1):
        console.print(show.row(number, step, _WIDTH))
    console.print(show.closing(account, _WIDTH))
    file.write_text(console.export_svg(title="make demo", code_format=_SVG, unique_id="demo"), encoding="utf-8")
