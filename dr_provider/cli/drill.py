"""`dr drill`: the plan's VMs on clones of a recovery point in the isolated network; started, listed, ended, and what they have shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dr_provider.cli import show_drill
from dr_provider.cli.board import live
from dr_provider.cli.common import Session, command
from dr_provider.cli.interrupts import careful
from dr_provider.cli.names import PlanArgument, plan_named, site_named, site_option
from dr_provider.model.errors import BadInput, DrError
from dr_provider.model.units import counted

if TYPE_CHECKING:
    from dr_provider.reconcile.drills.outcome import DrillOutcome
    from dr_provider.reconcile.world import World

__all__ = ["add"]


def start(
    session: Session,
    plan: PlanArgument = None,
    site: Annotated[str | None, site_option("--site", "Where (else the first site where it is not active).")] = None,
    point: Annotated[
        str | None, typer.Option("--point", metavar="ID|TIME", help="From this recovery point (else the newest there).")
    ] = None,
    points: Annotated[
        int | None,
        typer.Option(
            "--points", metavar="N", help="A drill each from the newest N points: side by side as there is room."
        ),
    ] = None,
    called: Annotated[str | None, typer.Option("--as", metavar="NAME", help="Its name (else one is made up).")] = None,
    stay: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="DURATION", help="Let it stay up for so long, such as 2h; then dr protect ends it."
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Let it stay up until dr drill end.")] = False,
) -> int:
    """Run a drill: start the plan's VMs on clones of a recovery point, look whether they are well, measure, and end it.

    Production, backups and mirrors go on. Without --for or --keep nothing of it is left at the end but what it has shown
    (dr drill history). Exit status 1: a VM did not come up well, or there is no room.

    \b
    dr drill start shop
    dr drill start shop --site west --point 2026-03-02T08:00:00Z --for 2h
    dr drill start shop --points 3 --keep        which of the last three points is clean?
    """
    spec = plan_named(session, plan, "drill start")
    chosen = site_named(spec, site, "drill start", "--site") if site is not None else None
    seconds = _seconds(stay)
    if stay is not None and keep:
        raise BadInput("dr drill start: --for and --keep exclude each other; nothing was done")
    if points is not None and (point is not None or points < 1):
        said = "--points and --point exclude each other" if point is not None else "--points wants 1 or more"
        raise BadInput(f"dr drill start: {said}; nothing was done")
    from dr_provider.model import keys
    from dr_provider.model.records import Owner
    from dr_provider.reconcile.drills.begin import run_drill, start_drill

    world, name = session.world(), called or keys.new_id()
    stays = keep or stay is not None

    def run(drill: str, wish: str | None) -> DrillOutcome:
        owner = Owner(world.topology.name, "", keys.new_incarnation())
        if stays:
            return start_drill(world, spec.name, chosen, drill, owner, wish, stay=seconds, whole=True)
        return run_drill(world, spec.name, chosen, drill, owner, wish)

    with careful():
        if points is None:
            with live(session, world):
                outcome = run(name, point)
            document = outcome.document()
            _fault(document, (*outcome.failures, *outcome.left))
            session.emit(document, lambda paper: show_drill.outcome(paper, document, stays=stays))
            return 1 if "error" in document else 0
        found = _many(world, spec.name, chosen, name, points, run, staying=stays)
    documents = [_document(drill, of) for drill, of in found.items()]
    whole: dict[str, Any] = {"plan": spec.name, "drills": documents}
    _fault(whole, [sentence for of in documents for sentence in (*of["failures"], *of.get("left", ()))])
    session.emit(whole, lambda paper: show_drill.outcomes(paper, documents, stays=stays))
    return 1 if "error" in whole else 0


def _seconds(stay: str | None) -> float | None:
    from dr_provider.model import units

    try:
        return None if stay is None else units.duration(stay)
    except ValueError as error:
        raise BadInput(f"dr drill start: --for {stay!r}: {error}; nothing was done") from None


def _fault(document: dict[str, Any], failures: Any) -> None:
    if failures:
        document["error"] = "; ".join(failures)


def _many(
    world: World, plan: str, site: str | None, name: str, count: int, run: Any, *, staying: bool
) -> dict[str, DrillOutcome | DrError]:
    from dr_provider.reconcile.drills.decide import decide_drill
    from dr_provider.reconcile.drills.many import run_abreast

    # Why none can be run at all is said first.
    at = decide_drill(world, plan, site, f"{name}-1", None).site
    view = world.view(plan)
    whole = [point for point in reversed(view.points) if point.complete_at(at)][:count]
    if len(whole) < count:
        raise BadInput(
            f"dr drill start: {counted(count, 'point')} asked for, and {len(whole)} whole at {at}; nothing was done"
        )
    return run_abreast({f"{name}-{number}": point.id for number, point in enumerate(whole, 1)}, run, staying=staying)


def _document(drill: str, of: DrillOutcome | DrError) -> dict[str, Any]:
    if isinstance(of, DrError):
        return {"drill": drill, "ok": False, "failures": str(of).splitlines()}
    return of.document()


def list_drills(session: Session, plan: PlanArgument = None) -> None:
    """List the drills that are open: of one plan or of all, also those that stacks have made.

    \b
    dr drill list
    dr drill list shop --json
    """
    from dr_provider.reconcile.drills.listing import drill_listing

    plans = [plan_named(session, plan, "drill list").name] if plan else sorted(session.topology().plans)
    document = drill_listing(session.world(), plans)
    session.emit(document, lambda paper: show_drill.listing(paper, document))


def history(session: Session, plan: PlanArgument = None) -> None:
    """What the plan's last drills have shown, newest first, and when the next is due.

    \b
    dr drill history shop
    """
    from dr_provider.reconcile.drills.listing import drill_history

    spec = plan_named(session, plan, "drill history")
    document = drill_history(session.world().view(spec.name))
    session.emit(document, lambda paper: show_drill.history(paper, document))


def end(
    session: Session,
    plan: PlanArgument = None,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Drills of the plan.", show_default=False)
    ] = None,
    expired: Annotated[
        bool, typer.Option("--expired", help="Those that have expired (of all plans, if none is named).")
    ] = False,
    mine: Annotated[
        bool, typer.Option("--mine", help="Those that you made from here with dr (of all plans, ...).")
    ] = False,
) -> int:
    """End drills: their VMs, clones, maps and holds are removed. Nothing is asked of a side that is lost.

    What cannot be removed now is listed, put on record, and removed by the next dr protect that can. Exit status 1: there is some.

    \b
    dr drill end shop 3f9a2b1c
    dr drill end shop --expired
    dr drill end --mine
    """
    if expired + mine + bool(names) != 1:
        raise BadInput("dr drill end: say PLAN and NAME, or --expired, or --mine; nothing was done")
    if names:
        plans = [plan_named(session, plan, "drill end").name]
    else:
        plans = [plan_named(session, plan, "drill end").name] if plan else sorted(session.topology().plans)
    from dr_provider.reconcile.drills.end import end_drill

    world = session.world()
    doomed = [(p, name) for p in plans for name in _doomed(world, p, names or [], expired=expired)]
    with careful():
        ended = [end_drill(world, p, name, why=f"{world.by} asked for it") for p, name in doomed]
    document: dict[str, Any] = {"ended": [each.document() for each in ended]}
    _fault(document, [each.sentence for each in ended if each.left])
    silent = {name: why for p in plans for name, why in world.view(p).unheard.items()}
    session.emit(document, lambda paper: show_drill.ended(paper, document["ended"], silent=silent))
    return 1 if "error" in document else 0


def _doomed(world: World, plan: str, names: list[str], *, expired: bool) -> list[str]:
    from dr_provider.model.problems import did_you_mean
    from dr_provider.reconcile.drills.parts import drills_to_end, named_drills

    view = world.view(plan)
    if not names:
        if expired:
            return list(drills_to_end(view))
        return [name for name, record in sorted(view.drills.items()) if record.by == world.by and not record.stack]
    there = named_drills(view)
    unknown = [name for name in names if name not in there]
    if unknown and not view.unheard:
        near = did_you_mean(unknown[0], there)
        raise BadInput(f"dr drill end: plan {plan} has no drill {unknown[0]!r}{near}; nothing was done")
    return list(dict.fromkeys(names))


def add(app: typer.Typer) -> None:
    group = typer.Typer(
        name="drill", help="Drills: the plan's VMs on clones in an isolated network, measured.", no_args_is_help=True
    )
    command(group)(start)
    command(group, "list")(list_drills)
    command(group)(end)
    command(group)(history)
    app.add_typer(group, rich_help_panel="Protect")
