"""Asking the operator before what cannot simply be taken back."""

from __future__ import annotations

import sys

from dr_provider.cli.common import Session
from dr_provider.model.errors import BadInput, Stopped

__all__ = ["ask", "must_be_able_to_ask"]


def must_be_able_to_ask(doing: str, *, yes: bool) -> None:
    """Raise BadInput where nobody is there to be asked and --yes was not said; before anything is looked at or done."""
    if not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise BadInput(
            f"dr {doing}: there is no terminal to ask on; say --yes to go on without being asked; nothing was done"
        )


def ask(session: Session, name: str, what: str) -> None:
    """Have the operator type the name; raises Stopped otherwise. The question goes to stderr: stdout may be a script's."""
    print(f"Type the name of the {what} ({name}) to go on: ", end="", file=sys.stderr, flush=True)
    try:
        answer = sys.stdin.readline().strip()
    except KeyboardInterrupt:
        session.progress("")
        raise Stopped("stopped by Ctrl-C; nothing was changed") from None
    if answer != name:
        raise Stopped(f"what was typed is not the {what}'s name, {name}; nothing was changed")
