"""The templates of the command, in the folder of this name beside it: Jinja2. A fault in one says file and line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["TEMPLATES", "environment"]

TEMPLATES = Path(__file__).with_suffix("")


def environment() -> Environment:
    """For text that is no HTML; what is missing is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(  # no autoescape: what is rendered is Markdown, YAML and Groovy, each with filters of its own
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
