"""`dr answer`, and the same on the terminal where a move runs."""

from __future__ import annotations

import select
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dr_provider.cli.common import Session, command
from dr_provider.cli.names import PlanArgument, plan_named
from dr_provider.cli.paper import Paper
from dr_provider.model.errors import BadInput
from dr_provider.model.plain import plain

if TYPE_CHECKING:
    from dr_provider.reconcile.world import Typed, World

__all__ = ["add", "ask_here"]


def answer(
    session: Session,
    plan: PlanArgument = None,
    prompt: Annotated[
        str | None,
        typer.Argument(metavar="PROMPT", help="Which, where several wait (dr status lists them).", show_default=False),
    ] = None,
    go_on: Annotated[bool, typer.Option("--continue", help="The move goes on.")] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="Before the commit it is led back, after it the rest waits.")
    ] = False,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="Why, for the journal and the report.")] = "",
) -> None:
    """Answer a prompt at which a move waits, from any machine.

    \b
    dr answer shop --continue
    dr answer shop go --stop --note "storage team is not ready"
    """
    spec = plan_named(session, plan, "answer")
    if go_on == stop:
        raise BadInput("dr answer: say --continue or --stop, one of them; nothing was done")
    from dr_provider.reconcile.answering import answer_prompt

    said: Literal["continue", "stop"] = "continue" if go_on else "stop"
    given = answer_prompt(session.world(), spec.name, prompt, said, note)
    document: dict[str, Any] = {
        "plan": spec.name,
        "prompt": given.prompt,
        "text": given.asked.text,
        "answer": said,
        "note": note,
        "waits": given.waits,
        "instead": given.instead.document() if given.instead is not None else None,
    }

    def show(paper: Paper) -> None:
        paper.line(f"Plan {spec.name}, prompt {given.prompt} ({given.asked.text}): {said}.")
        if given.instead is not None:
            paper.line(f"It takes the place of {given.instead.sentence()}, unless a run has heard that already.")
        paper.line(f"{given.heard}.")

    session.emit(document, show)


# -- on the terminal --------------------------------------------------------------------------------

_WORDS: dict[str, Literal["continue", "stop"]] = {"continue": "continue", "stop": "stop"}


class _Terminal:
    """Where several prompts wait at once, one of them has the terminal; the others are answered from elsewhere until it is free."""

    def __init__(self) -> None:
        self._free = threading.Lock()

    @contextmanager
    def asking(self, prompt: str) -> Iterator[Typed]:
        held, over = False, False

        def typed() -> Literal["continue", "stop"] | None:
            nonlocal held, over
            if over or not (held or self._free.acquire(blocking=False)):
                return None
            if not held:
                held = True
                # What was typed before the question was asked is no answer to it.
                termios.tcflush(sys.stdin, termios.TCIFLUSH)
                self._say(prompt)
            if not select.select([sys.stdin], [], [], 0)[0]:
                return None
            line = sys.stdin.readline()
            over = not line
            word = _WORDS.get(line.strip())
            if word is None and not over:
                self._say(prompt)
            return word

        try:
            yield typed
        finally:
            if held:
                self._free.release()

    def _say(self, prompt: str) -> None:
        # A whole line: a picture of the move may stand below it.
        print(f"Type continue or stop, for prompt {plain(prompt)}:", file=sys.stderr, flush=True)


def ask_here(world: World) -> None:
    """Have a move's prompts asked on this terminal too, where there is one."""
    if sys.stdin.isatty() and sys.stderr.isatty():
        world.asking = _Terminal().asking


def add(app: typer.Typer) -> None:
    command(app, panel="Move")(answer)
