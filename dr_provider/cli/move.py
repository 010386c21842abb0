"""`dr failover`, `failback`, `rollback`, `commit`, `abort`, `resolve`, `restart`, `start`: decide, show, ask, run, and say what stands."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dr_provider.cli import show_move
from dr_provider.cli.answer import ask_here
from dr_provider.cli.board import live
from dr_provider.cli.common import Session, command
from dr_provider.cli.confirm import ask, must_be_able_to_ask
from dr_provider.cli.interrupts import careful
from dr_provider.cli.names import KeepOption, PlanArgument, SiteOption, plan_named, site_named
from dr_provider.model.errors import BadInput, DrError, Refused
from dr_provider.model.problems import meant

if TYPE_CHECKING:
    from dr_provider.reconcile.decision import Decision, Want
    from dr_provider.reconcile.outcome import Outcome
    from dr_provider.reconcile.world import World

__all__ = ["add"]

Force = Annotated[
    str | None,
    typer.Option(
        "--force", metavar="WORD", help='Your word, "EPOCH: REASON", where nothing proves that the source is stopped.'
    ),
]
Point = Annotated[
    str | None,
    typer.Option("--point", metavar="POINT", help="A recovery point's id, or an RFC 3339 time (else the newest)."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts.")]


def failover(
    session: Session,
    plan: PlanArgument = None,
    to: SiteOption = None,
    every: Annotated[bool, typer.Option("--all", help="Every plan that is active at another site.")] = False,
    force: Force = None,
    point: Point = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> int:
    """Move a plan to a site: planned if its source answers, else after a disaster. Without --to the site with the newest data is taken.

    \b
    dr failover shop --to west --dry-run
    dr failover shop --to west
    dr failover shop
    dr failover shop --to west --force "1: power lost at east"
    dr failover --all --to west --yes
    dr failover shop --to west --from embedded:.dr/west-a.db
    """
    if every:
        if plan is not None:
            raise BadInput("dr failover: say PLAN or --all, not both; nothing was done")
        if point is not None:
            raise BadInput("dr failover --all: --point names a point of one plan; name the plan; nothing was done")
        return _all(session, to, force, dry_run=dry_run, yes=yes)
    spec = plan_named(session, plan, "failover")
    site = None if to is None else site_named(spec, to, "failover", "--to")
    return _move(session, spec.name, site, force, point, dry_run=dry_run, yes=yes, doing="failover")


def failback(
    session: Session,
    plan: PlanArgument = None,
    force: Force = None,
    point: Point = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> int:
    """Move a plan back to its home, the first of its sites.

    \b
    dr failback shop
    """
    spec = plan_named(session, plan, "failback")
    return _move(session, spec.name, spec.home, force, point, dry_run=dry_run, yes=yes, doing="failback")


def rollback(
    session: Session, plan: PlanArgument = None, force: Force = None, dry_run: DryRun = False, yes: Yes = False
) -> int:
    """Within its commit window: go back to the side that the plan was moved from, as it was left. What was written since is kept as safety copies.

    \b
    dr rollback shop --dry-run
    dr rollback shop
    """
    from dr_provider.reconcile.decision import Want

    spec = plan_named(session, plan, "rollback")
    must_be_able_to_ask("rollback", yes=yes or dry_run)
    _check_word(spec.name, force)
    return _decide_and_run(session, spec.name, Want(word=force, goal="rollback"), dry_run=dry_run, yes=yes)


def commit(session: Session, plan: PlanArgument = None, dry_run: DryRun = False) -> int:
    """End the commit window of a move before its time: the side that was left becomes a copy again.

    \b
    dr commit shop
    """
    from dr_provider.reconcile.decision import Want

    spec = plan_named(session, plan, "commit")
    return _decide_and_run(session, spec.name, Want(goal="commit"), dry_run=dry_run, yes=True)


def abort(session: Session, plan: PlanArgument = None, dry_run: DryRun = False) -> int:
    """Call off a move that is not committed yet: what was stopped is started where it was.

    \b
    dr abort shop
    """
    from dr_provider.reconcile.decision import Want

    spec = plan_named(session, plan, "abort")
    return _decide_and_run(session, spec.name, Want(goal="abort"), dry_run=dry_run, yes=True)


def resolve(
    session: Session,
    plan: PlanArgument = None,
    keep: KeepOption = None,
    force: Force = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> int:
    """End a split: keep one side; the other's data stays readable as a safety copy.

    \b
    dr resolve shop --keep west
    """
    from dr_provider.reconcile.decision import Want

    spec = plan_named(session, plan, "resolve")
    site = site_named(spec, keep, "resolve", "--keep")
    must_be_able_to_ask("resolve", yes=yes or dry_run)
    _check_word(spec.name, force)
    want = Want(site=site, word=force, goal="resolve")
    return _decide_and_run(session, spec.name, want, dry_run=dry_run, yes=yes)


def restart(
    session: Session, plan: PlanArgument = None, force: Force = None, dry_run: DryRun = False, yes: Yes = False
) -> int:
    """Start the VMs of a lost host on other hosts of the same site, once their disks are taken from it.

    \b
    dr restart shop --dry-run
    dr restart shop
    """
    from dr_provider.reconcile.decision import Want

    spec = plan_named(session, plan, "restart")
    must_be_able_to_ask("restart", yes=yes or dry_run)
    _check_word(spec.name, force)
    return _decide_and_run(session, spec.name, Want(word=force, goal="restart"), dry_run=dry_run, yes=yes)


def start(session: Session, plan: PlanArgument = None, force: Force = None) -> int:
    """Start a plan's VMs where it is, without a move; on your word where no other site can be asked.

    \b
    dr start shop
    dr start shop --force "3: west is down for good, confirmed by phone"
    """
    spec = plan_named(session, plan, "start")
    _check_word(spec.name, force)
    from dr_provider.reconcile.run import start_plan

    world = session.world()
    ask_here(world)
    with live(session, world):
        result = _run(session, world, spec.name, None, lambda: start_plan(world, spec.name, force))
    return _finish(session, result)


# -- one plan ---------------------------------------------------------------------------------------


def _check_word(plan: str, force: str | None) -> None:
    """Before anything is looked at: a word that is not one must not cost a sweep over silent arrays."""
    from dr_provider.reconcile.word import parse_word

    parse_word(plan, force)


def _move(
    session: Session,
    plan: str,
    site: str | None,
    force: str | None,
    point: str | None,
    *,
    dry_run: bool,
    yes: bool,
    doing: str,
) -> int:
    from dr_provider.reconcile.decision import Want

    must_be_able_to_ask(doing, yes=yes or dry_run)
    _check_word(plan, force)
    world = session.world()
    site = site or _best(session, world, plan)
    return _decide_and_run(
        session, plan, Want(site=site, word=force, point=point), dry_run=dry_run, yes=yes, world=world
    )


def _best(session: Session, world: World, plan: str) -> str:
    """The site that is chosen where none is named; why, as progress."""
    from dr_provider.reconcile.targets import choose_target

    target = choose_target(world.view(plan))
    if target.why:
        session.progress(target.why)
    return target.site


def _decide(world: World, plan: str, want: Want) -> Decision:
    """What would be done. A move makes no plan: that one asks for a move of what is not there means that something is amiss."""
    from dr_provider.reconcile.run import decide_plan

    decision = decide_plan(world, plan, want)
    if decision.kind == "create" and not decision.refused:
        return replace(decision, kind="none").with_refusal(
            f"plan {plan} is not made yet, so there is nothing to move: dr apply makes it, as pulumi up does"
        )
    return decision


def _decide_and_run(
    session: Session, plan: str, want: Want, *, dry_run: bool, yes: bool, world: World | None = None
) -> int:
    from dr_provider.reconcile.remap import decision_document
    from dr_provider.reconcile.run import run_plan

    world = world or session.world()
    want = replace(want, by=world.by)
    decision = _decide(world, plan, want)
    document = decision_document(world.topology, decision)
    if dry_run or decision.refused or not decision.actions:
        session.emit(document, lambda paper: show_move.decision(paper, document, whole=True))
        lacking = decision.refused or decision.exit_bad or (want.goal == "restart" and decision.degraded)
        return 1 if lacking else 0
    if not session.json:
        show_move.decision(session.err if not yes else session.out, document, whole=yes)
    elif not yes:
        show_move.decision(session.err, document, whole=False)
    if not yes:
        ask(session, plan, "plan")
    ask_here(world)
    with live(session, world):
        result = _run(session, world, plan, decision, lambda: run_plan(world, plan, want))
    return _finish(session, result)


def _run(
    session: Session, world: World, plan: str, decision: Decision | None, work: Callable[[], Outcome]
) -> tuple[dict[str, Any], int]:
    """Run it and give the document of what came of it with the exit status; a failure says what stands."""
    with careful():
        try:
            outcome = work()
        except BadInput:
            raise
        except DrError as error:
            return _failed(session, world, plan, decision, error), 1
    document = outcome.document()
    return document, 1 if outcome.failures or outcome.decision.refused or outcome.decision.exit_bad else 0


def _failed(session: Session, world: World, plan: str, decision: Decision | None, error: DrError) -> dict[str, Any]:
    from dr_provider.cli.errors import document_of

    document: dict[str, Any] = decision.document() if decision else {"plan": plan, "kind": "none"}
    document["cause"] = (failure := document_of(error)).pop("kind")
    document |= failure
    if isinstance(error, Refused):
        document["refused"] = list(error.reasons)
    document["report"] = world.reported.get(plan)
    try:
        document["status"] = _status(world, plan)
    except DrError as second:
        session.progress(f"dr: what stands cannot be shown: {second}")
    return document


def _status(world: World, plan: str) -> Any:
    from dr_provider.reconcile.status import status_document

    world.look(refresh=True)
    plans = status_document(world)["plans"]
    return plans[plan] if isinstance(plans, dict) else None


def _finish(session: Session, result: tuple[dict[str, Any], int]) -> int:
    document, status = result
    session.emit(document, lambda paper: show_move.outcome(paper, document))
    return status


# -- every plan of a lost site ------------------------------------------------------------------------


def _all(session: Session, to: str | None, force: str | None, *, dry_run: bool, yes: bool) -> int:
    from dr_provider.reconcile.decision import Want
    from dr_provider.reconcile.remap import decision_document
    from dr_provider.reconcile.run import run_plan

    topology = session.topology()
    known = f"the sites of topology {topology.name}: {', '.join(topology.sites)}"
    if to is None or to not in topology.sites:
        said = "say --to SITE" if to is None else f"there is no site {to!r}{meant(to, topology.sites)}"
        raise BadInput(f"dr failover --all: {said}; {known}; nothing was done")
    must_be_able_to_ask("failover --all", yes=yes or dry_run)
    _check_word("of every plan", force)
    world = session.world()
    # A plan of which nothing is known is among them: its refusal says so, where leaving it out would look like success.
    names = [name for name, spec in topology.plans.items() if to in spec.sites and _active(world, name) != to]
    left_out = [name for name, spec in topology.plans.items() if to not in spec.sites]
    for name in left_out:
        session.progress(f"plan {name}: {to} is not one of its sites; left where it is")
    want = Want(site=to, word=force, by=world.by)
    decisions = {name: _decide(world, name, want) for name in names}
    idle = dry_run or not any(decision.actions for decision in decisions.values())
    if idle or not yes:
        documents = {name: decision_document(topology, decision) for name, decision in decisions.items()}
        _show_decisions(session, documents, final=idle)
        if idle:
            return 1 if any(decision.refused for decision in decisions.values()) else 0
        ask(session, to, "site")
    results = {name: (decision.document(), 1) for name, decision in decisions.items() if decision.refused}
    moving = [name for name in names if name not in results]
    with careful(), live(session, world), ThreadPoolExecutor(max(1, len(moving)), thread_name_prefix="plan") as pool:
        # Each plan looks for itself, so that no plan decides on what another has just refreshed.
        futures = {
            name: pool.submit(_one_of_all, session, world, name, decisions[name], lambda w, n: run_plan(w, n, want))
            for name in moving
        }
        results |= {name: future.result() for name, future in futures.items()}
    ordered = {name: results[name][0] for name in names}
    _show_results(session, ordered)
    return 1 if any(status for _, status in results.values()) else 0


def _active(world: World, plan: str) -> str | None:
    return world.view(plan).active


def _one_of_all(
    session: Session, shared: World, plan: str, decision: Decision, work: Callable[[World, str], Outcome]
) -> tuple[dict[str, Any], int]:
    from dr_provider.reconcile.world import World

    world = World(shared.topology, shared.fleet, shared.by, shared.stack, shared.progress, shared.watch)
    try:
        return _run(session, world, plan, decision, lambda: work(world, plan))
    except BadInput as error:
        return _failed(session, world, plan, decision, error), 1


def _show_decisions(session: Session, documents: dict[str, dict[str, Any]], *, final: bool) -> None:
    if session.json and final:
        session.emit({"plans": documents}, lambda paper: None)
        return
    paper = session.out if final else session.err
    for document in documents.values():
        show_move.decision(paper, document, whole=final)
        paper.line()
    if not documents:
        paper.line("No plan is active at another site; nothing to do.")


def _show_results(session: Session, documents: dict[str, dict[str, Any]]) -> None:
    def show(paper: Any) -> None:
        for document in documents.values():
            if document.get("refused"):
                show_move.decision(paper, document, whole=False)
            else:
                show_move.outcome(paper, document)
            paper.line()

    session.emit({"plans": documents}, show)


def add(app: typer.Typer) -> None:
    for function in (failover, failback, rollback, commit, abort, resolve, restart, start):
        command(app, panel="Move")(function)
