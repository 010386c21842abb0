"""`dr alert`: what is not well with any plan, told once to those whom the topology names; by exit status and JSON for cron."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dr_provider.cli.common import Session, command
from dr_provider.cli.paper import Paper, ago
from dr_provider.model.errors import BadInput, DrError

if TYPE_CHECKING:
    from dr_provider.reconcile.alarms import Known

__all__ = ["add", "keep_alerting"]

_SHORTEST, _LONGEST = 30.0, 300.0
"""Seconds between two looks of the watch."""


def alert(
    session: Session,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what stands; tell nobody and remember nothing.")
    ] = False,
    test: Annotated[
        bool, typer.Option("--test", help="Send a test message to every address, and nothing else.")
    ] = False,
) -> int:
    """Look at all plans, and tell whom the topology names (alerts.notify) what is new, still so or over. Exit status 1: something is not
    well, or somebody could not be told.

    \b
    dr alert
    dr alert --test                          whether the addresses work
    */5 * * * *  dr alert --json             in a crontab; dr protect --watch does it by itself
    """
    if dry_run and test:
        raise BadInput("dr alert: --dry-run and --test exclude each other; nothing was done")
    return _test(session) if test else _round(session, tell=not dry_run)


def _round(session: Session, *, tell: bool) -> int:
    from dr_provider.cli.alert_book import look_and_tell
    from dr_provider.reconcile.status import status_document

    world = session.world()
    found = look_and_tell(session.topology(), status_document(world, session.here()), tell=tell)
    document: dict[str, Any] = {
        "topology": session.topology().name,
        "alarms": [_known(each) for each in found.standing],
        "over": [_known(each) for each in found.over],
        "told": dict(found.told),
        "failures": list(found.failures),
    }
    if found.failures:
        document["error"] = "; ".join(found.failures)
    session.emit(document, lambda paper: _show(paper, document, nobody=session.topology().alerts is None))
    return 1 if found.standing or found.failures else 0


def _known(each: Known) -> dict[str, Any]:
    alarm = each.alarm
    return {
        "key": alarm.key, "check": alarm.check, "level": alarm.level, "plans": list(alarm.plans), "found": alarm.found,
        "todo": alarm.todo, "since": each.since,
    }  # fmt: skip


def _test(session: Session) -> int:
    from dr_provider.cli.alert_book import tell_each

    topology = session.topology()
    if topology.alerts is None:
        raise BadInput(
            "dr alert --test: the topology names nobody; add alerts: {notify: [env:DR_ALERT_URL]}; nothing was sent"
        )
    letter = (f"dr, topology {topology.name}: a test", "This is a test of dr alert. Nothing has happened.")
    answers = tell_each(dict.fromkeys(topology.alerts.notify, letter), problem=False)
    failures = [reason for reason in answers.values() if reason is not None]
    told = [to for to, reason in answers.items() if reason is None]
    document: dict[str, Any] = {"topology": topology.name, "told": dict.fromkeys(told, 1), "failures": failures}
    if failures:
        document["error"] = "; ".join(failures)

    def show(paper: Paper) -> None:
        paper.bullets((f"{to} took the test message" for to in told), "green", indent=0)
        paper.bullets(failures, "red", indent=0)

    session.emit(document, show)
    return 1 if failures else 0


def _show(paper: Paper, document: Mapping[str, Any], *, nobody: bool) -> None:
    for each in document["alarms"]:
        style = "red" if each["level"] == "problem" else "yellow"
        whom = f"{', '.join(each['plans'])}: " if each["plans"] else ""
        paper.line(
            f"{each['level']}: {whom}{each['found']} First seen {ago(each['since'])}. {each['todo']}".rstrip(),
            style,
        )
    for each in document["over"]:
        paper.line(f"over: {each['found']}", "green")
    if not document["alarms"]:
        paper.line(f"topology {document['topology']}: nothing to tell.", "green")
    for to, count in document["told"].items():
        paper.line(f"{to} was told of {count}.")
    if nobody and document["alarms"]:
        paper.line("Nobody is told: the topology has no alerts (alerts: {notify: [env:DR_ALERT_URL]}).", "yellow")
    paper.bullets(document["failures"], "red", indent=0)


# -- beside dr protect --watch ----------------------------------------------------------------------------


def keep_alerting(session: Session, stop: threading.Event) -> None:
    """Look and tell until `stop`, in a thread and over a world of its own: nothing that is done to a plan waits for a receiver."""
    from dr_provider.cli.alert_book import look_and_tell
    from dr_provider.reconcile.status import status_document
    from dr_provider.reconcile.world import open_world

    topology = session.topology()
    every = min([plan.replicate_every for plan in topology.plans.values()], default=_LONGEST)
    said: tuple[str, ...] = ()
    world = open_world(topology)
    try:
        while not stop.wait(max(_SHORTEST, min(_LONGEST, every))):
            world.fleet.forget_silence()
            world.look(refresh=True)
            try:
                failures = look_and_tell(topology, status_document(world, session.here())).failures
            except DrError as error:
                failures = tuple(str(error).splitlines())
            for line in failures if failures != said else ():
                session.progress(line)
            said = failures
    finally:
        world.close()


def add(app: typer.Typer) -> None:
    command(app, panel="Protect")(alert)
