"""`dr protect`: what is due, all of it at once, or for as long as it runs."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import typer

from dr_provider.cli.alert import keep_alerting
from dr_provider.cli.common import Session, command
from dr_provider.cli.interrupts import careful
from dr_provider.cli.names import PlanArgument, plan_named
from dr_provider.cli.paper import Paper
from dr_provider.model import stopping
from dr_provider.model.errors import BadInput
from dr_provider.model.units import counted

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
    from dr_provider.reconcile.protect import protect_all

    world = session.world()
    with careful():
        outcomes = protect_all(world, names, now=now)
    document: dict[str, Any] = {"plans": {outcome.plan: outcome.document() for outcome in outcomes}}
    failures = [sentence for outcome in outcomes for sentence in outcome.failures]
    if failures:
        document["error"] = "; ".join(failures)
    session.emit(document, lambda paper: _show(paper, document["plans"]))
    return 1 if failures else 0


def _watch(session: Session, names: list[str]) -> int:
    """The watch works in a thread, so that signals are looked at between two waits and never inside a lock."""
    from dr_provider.reconcile.protect import watch

    world, stop = session.world(), threading.Event()
    if session.topology().alerts is not None:
        alerts = threading.Thread(target=keep_alerting, args=(session, stop), name="alerts", daemon=True)
        alerts.start()
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
        said = []
        if document["repaired"]:
            # Each of them was a line of progress.
            said.append(f"put right what was not as it should be ({counted(len(document['repaired']), 'step')})")
        if document["point"]:
            said.append(f"took recovery point {document['point']} ({document['level']})")
        if document["sent"]:
            said.append(_sent(document["sent"]))
        if document["pruned"]:
            said.append(f"pruned {len(document['pruned'])}")
        said += document["drills"]
        failed = bool(document["failures"])
        nothing = "nothing was done" if failed else "nothing was due"
        paper.line(f"Plan {name}: {', '.join(said) or nothing}.", "bold red" if failed else "")
        paper.bullets(document["failures"], "red")
        paper.bullets(document["warnings"], "yellow")
        if document["nextDue"]:
            paper.line(f"Next due at {document['nextDue']}.", indent=2)


def _sent(transfers: list[Mapping[str, Any]]) -> str:
    from dr_provider.model.units import format_size

    volumes, targets = len({t["volume"] for t in transfers}), sorted({t["to"] for t in transfers})
    size = format_size(sum(t["bytes"] for t in transfers))
    return f"sent {size} of {counted(volumes, 'volume')} to {', '.join(targets)}"


def add(app: typer.Typer) -> None:
    command(app, panel="Protect")(protect)
