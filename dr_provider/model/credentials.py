"""Credentials are references, never values: what stands in a topology, in a state, on an array or in a log says only where the secret is.

env:NAME    an environment variable of the process that uses it
file:PATH   a file that only holds the secret; an absolute path
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from dr_provider.model.errors import BadInput

__all__ = ["parse", "parse_variable", "resolve"]

_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def parse(text: str) -> tuple[str, str]:
    """(kind, place) of a reference. Raises ValueError with a sentence; the text itself may be a secret, so it is never repeated."""
    kind, colon, place = text.partition(":")
    if kind == "env" and _ENV.fullmatch(place):
        return kind, place
    if kind == "file" and place.startswith("/") and place.isprintable():
        return kind, place
    if kind == "config" and colon:
        raise ValueError("config:KEY references are not built yet; wanted env:NAME or file:/PATH")
    raise ValueError(
        "found what is no reference; wanted env:NAME or file:/PATH, which say where the secret is, never the secret itself"
    )


def parse_variable(text: str) -> tuple[str, str]:
    """The same for an environment variable of a callout, which may also have a value in clear, said to be one."""
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{error}; what is no secret is written {{value: TEXT}}") from None


def resolve(text: str, where: str) -> str:
    """The secret. Raises BadInput naming the reference, never a value."""
    kind, place = parse(text)
    if kind == "env":
        value = os.environ.get(place, "")
        if not value:
            raise BadInput(f"{where}: environment variable {place} is not set; set it, or correct the reference")
        return value
    try:
        secret = Path(place).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadInput(
            f"{where}: file {place} cannot be read ({reason}); bring it back, or correct the reference"
        ) from None
    if not secret:
        raise BadInput(f"{where}: file {place} is empty; put the secret in it, or correct the reference")
    return secret
