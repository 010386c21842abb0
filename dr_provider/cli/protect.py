"""`dr protect`: what is due, all of it at once, or for as long as it runs."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import typer

from dr_provider.cli.common import Session, command
from dr_provider.cli.interrupts import careful
from dr_provider.cli.names import PlanArgument, plan_named
from dr_provider.cli.paper import Paper
from dr_provider.model import stopping
from dr_provider.model.errors import BadInput

__all__ = ["add"]

_LOOK_AT_SIGNALS = 0.2


def protect(
    session: Session,
    plan: PlanArgument = None,
    now: Annotated[bool, typer.Option("--now", help="All of it, due or not.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and do it on time, until SIGTERM or Ctrl-C.")] = False,
) -> int:
    """Back up, replicate and prune what is due: of one plan, or of all.

    \b
    dr protect                 what is due, every plan
    dr protect shop --now      a backup and a transfer at once
    dr protect --watch         stay and do it on time (docs/cli.md has the systemd unit)
    """
    if now and watch:
        raise BadInput("dr protect: --now and --watch exclude each other; nothing was done")
    names = [plan_named(session, plan, "protect").name] if plan else sorted(session.topology().plans)
    return _watch(session, names) if watch else _once(session, names, now=now)


def _once(session: Session, names: list[str], *, now: bool) -> int:
    from dr_provider.reconcile.protect import protect_all, protect_plan

    world = session.world()
    with careful():
        outcomes = [protect_plan(world, names[0], now=now)] if len(names) == 1 else protect_all(world, names, now=now)
    documents = {outcome.plan: outcome.document() for outcome in outcomes}
    session.emit({"plans": documents}, lambda paper: _show(paper, documents))
    return 0 if all(outcome.well for outcome in outcomes) else 1


def _watch(session: Session, names: list[str]) -> int:
    """The watch works in a thread, so that signals are looked at between two waits and never inside a lock."""
    from dr_provider.reconcile.protect import watch

    world, stop = session.world(), threading.Event()
    with careful(), ThreadPoolExecutor(1, thread_name_prefix="watch") as pool:
        future = pool.submit(watch, world, names, stop)
        asked = threading.Event()
        while not future.done():
            asked.wait(_LOOK_AT_SIGNALS)
            if stopping.requested() is not None:
                stop.set()
        future.result()
    session.progress("dr protect: ended as asked")
    return 0


def _show(paper: Paper, documents: Mapping[str, Mapping[str, Any]]) -> None:
    for name, document in documents.items():
        paper.line(f"{name}:", "bold")
        paper.pairs([(key, str(value)) for key, value in document.items() if isinstance(value, str | int | float)])


def add(app: typer.Typer) -> None:
    command(app, panel="Protect")(protect)
