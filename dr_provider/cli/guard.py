"""`dr guard`: the service of a site that stops a plan's VMs there once another site may take over."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import typer

from dr_provider.cli.common import Session, command
from dr_provider.cli.interrupts import careful
from dr_provider.cli.paper import Paper
from dr_provider.model import stopping
from dr_provider.model.errors import BadInput
from dr_provider.model.problems import meant

__all__ = ["add"]

_LOOK_AT_SIGNALS = 0.2


def guard(
    session: Session,
    plans: Annotated[
        list[str] | None, typer.Argument(metavar="[PLAN]...", help="Plans (else all that are fenced).")
    ] = None,
    site: Annotated[
        str | None, typer.Option("--site", metavar="SITE", help="The site that this guard stands at.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Say what it would do now, and do nothing.")] = False,
) -> int:
    """Renew a site's run leases, and stop its VMs where it cannot: for plans whose fencing is lease or witness.

    \b
    dr guard --site east            stay, until SIGTERM or Ctrl-C (docs/fencing.md has the systemd unit)
    dr guard shop --site east --once
    """
    names = _plans(session, plans or [], _site(session, site))
    from dr_provider.reconcile.guard import SiteGuard, guard_world
    from dr_provider.reconcile.verdict import look_once

    assert site is not None
    world = guard_world(session.topology(), site, session.progress)
    try:
        if once:
            document = look_once(world, site, names)
            session.emit(document, lambda paper: _show(paper, document))
            return 0
        session.progress(f"dr guard: standing at {site} for {', '.join(names)}")
        well = _stay(SiteGuard(world, site, names))
    finally:
        world.close()
    end = "ended in order" if well else "ended, and could neither tell anybody nor stop every VM: see above"
    session.progress(f"dr guard: {end}")
    return 0 if well else 1


def _stay(guard: Any) -> bool:
    """The guard works in a thread, so that signals are looked at between two waits and never inside a lock."""
    stop, pause = threading.Event(), threading.Event()
    with careful(), ThreadPoolExecutor(1, thread_name_prefix="guard") as pool:
        future = pool.submit(guard.run, stop)
        while not future.done():
            pause.wait(_LOOK_AT_SIGNALS)
            if stopping.requested() is not None:
                stop.set()
        return bool(future.result())


def _site(session: Session, site: str | None) -> str:
    topology = session.topology()
    known = f"the sites of topology {topology.name}: {', '.join(topology.sites)}"
    if site is None or site not in topology.sites:
        said = "say --site SITE" if site is None else f"there is no site {site!r}{meant(site, topology.sites)}"
        raise BadInput(f"dr guard: {said}; {known}; nothing was done")
    return site


def _plans(session: Session, names: list[str], site: str) -> list[str]:
    plans = session.topology().plans
    known = f"the plans of topology {session.topology().name}: {', '.join(sorted(plans)) or 'none'}"
    for name in names:
        if name not in plans:
            raise BadInput(f"dr guard: there is no plan {name!r}{meant(name, plans)}; {known}; nothing was done")
        if site not in plans[name].sites:
            raise BadInput(
                f"dr guard: {site} is no site of plan {name} ({', '.join(plans[name].sites)}); nothing was done"
            )
        if plans[name].fencing == "operator":
            raise BadInput(
                f"dr guard: plan {name} has fencing: operator, so no guard is asked about it; say lease or witness there; nothing was done"
            )
    fenced = sorted(name for name, plan in plans.items() if plan.fencing != "operator" and site in plan.sites)
    if not names and not fenced:
        raise BadInput(
            f"dr guard: no plan at {site} has fencing: lease or witness, so there is nothing to guard; {known}; nothing was done"
        )
    return names or fenced


def _show(paper: Paper, document: Mapping[str, Any]) -> None:
    for name, found in document["plans"].items():
        runs = f" ({', '.join(found['runs'])} running here)" if found["runs"] else ""
        paper.line(f"Plan {name}: {found['sentence']}{runs}; the guard would {found['would']}.")


def add(app: typer.Typer) -> None:
    command(app, panel="Protect")(guard)
