"""`dr plan`: what would happen to every plan if the stack's config, or what you say, were acted on now; for people, scripts and pull requests."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dr_provider.cli import show_move
from dr_provider.cli.common import Session, command
from dr_provider.cli.names import plan_named, site_named
from dr_provider.cli.paper import Paper, span
from dr_provider.cli.preview import Preview, read_preview
from dr_provider.model.errors import BadInput

if TYPE_CHECKING:
    from dr_provider.model.stack_config import StackWords
    from dr_provider.reconcile.decision import Decision

__all__ = ["add", "show_preview"]


@dataclass(frozen=True)
class _Asked:
    """What is asked of the plans. `stack`: whose declaration it is ("project/stack"); None: yours, which may always move."""

    words: StackWords
    stack: str | None


def plan(
    session: Session,
    plans: Annotated[
        list[str] | None, typer.Argument(metavar="PLAN...", help="These plans (else all of the topology).")
    ] = None,
    active: Annotated[
        list[str] | None,
        typer.Option("--active", metavar="PLAN=SITE", help="As if the stack declared this site; as often as you like."),
    ] = None,
    force: Annotated[
        list[str] | None, typer.Option("--force", metavar='PLAN="EPOCH: REASON"', help="As if your word were given.")
    ] = None,
    stack: Annotated[
        str | None, typer.Option("--stack", metavar="NAME", help="This stack's config (else the selected stack's).")
    ] = None,
    preview: Annotated[
        str | None,
        typer.Option(
            "--preview", metavar="FILE", help="Ask no machine: read what `pulumi preview --json` printed (-: stdin)."
        ),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="As Markdown, for a pull request.")] = False,
) -> int:
    """What would happen, plan by plan: each action, the recovery point, the loss and the time; or why it is refused. Nothing is done.

    Without more: what the selected stack's config asks for, as `pulumi up` would do it. With --topology or --from: what --active asks for.
    Exit status 1: something is refused, or would end red.

    \b
    dr plan
    dr plan --active shop=west
    dr plan --active shop=west --force 'shop=1: power lost at east' --markdown
    pulumi preview --json | dr plan --preview - --markdown
    """
    if markdown and session.json:
        raise BadInput("dr plan: say --markdown or --json, not both; nothing was looked at")
    if preview is not None:
        if plans or active or force or stack:
            raise BadInput(
                "dr plan --preview: the file says what was asked of which plans; leave out PLAN, --active, --force and --stack; nothing was done"
            )
        return show_preview(session, read_preview(_read(preview), preview), markdown=markdown)
    return show_preview(session, _decided(session, plans, active, force, stack), markdown=markdown)


def show_preview(session: Session, found: Preview, *, markdown: bool, stack: str = "") -> int:
    """Print it in the form that was asked for, and give the exit status."""
    if markdown:
        from dr_provider.cli.comment import comment

        print(comment(found, stack=stack), end="", flush=True)
    else:
        document = found.document()
        session.emit(document, lambda paper: _show(paper, document))
    return 0 if found.well else 1


def _read(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text("utf-8")
    except UnicodeDecodeError:
        raise BadInput(f"--preview {file}: it is not UTF-8 text; nothing was done") from None
    except OSError as error:
        raise BadInput(f"--preview {file}: it cannot be read ({error.strerror}); nothing was done") from None


# -- asking the machines ------------------------------------------------------------------------------


def _decided(
    session: Session, plans: list[str] | None, active: list[str] | None, force: list[str] | None, stack: str | None
) -> Preview:
    from dr_provider.reconcile.announce import ENDS_RED
    from dr_provider.reconcile.decision import Want
    from dr_provider.reconcile.remap import address_lines, decision_document
    from dr_provider.reconcile.run import decide_plan
    from dr_provider.reconcile.word import parse_word

    asked = _asked(session, stack)
    names = [plan_named(session, name, "plan").name for name in plans] if plans else list(session.topology().plans)
    sites = {**asked.words.active_sites, **_sites(session, active or [])}
    words = {**asked.words.force, **_pairs(session, force or [], "--force", "EPOCH: REASON")}
    for name, word in words.items():
        parse_word(name, word)
    world = session.world()
    decisions: dict[str, Decision] = {}
    for name in names:
        want = Want(
            site=sites.get(name),
            word=words.get(name),
            point=asked.words.recovery_points.get(name),
            by=world.by,
            # What is said on the command line is a wish of its own, whatever the stack has declared.
            stack=None if active and name in _sites(session, active) else asked.stack,
            adopt=asked.words.adopts(name),
        )
        decision = decide_plan(world, name, want)
        if decision.exit_bad and not decision.refused:
            decision = replace(decision, warnings=(*decision.warnings, ENDS_RED))
        decisions[name] = decision
    documents = {
        name: {
            **decision_document(world.topology, decision),
            "afterwards": address_lines(world.topology, decision),
        }
        for name, decision in decisions.items()
    }
    return Preview(documents, (), (), ())


def _asked(session: Session, stack: str | None) -> _Asked:
    """The stack's config, unless a topology was named beside it."""
    import os

    from dr_provider.cli.stack import selected_stack
    from dr_provider.model.stack_config import StackWords, read_words

    named = session.options.topology or session.options.source or os.environ.get("DR_TOPOLOGY")
    if named:
        if stack is not None:
            raise BadInput("dr plan: say --stack, or --topology or --from, not both; nothing was done")
        return _Asked(StackWords(), None)
    chosen = selected_stack(Path.cwd(), name=stack)
    if stack is not None:
        session.options = replace(session.options, topology=str(chosen.topology_file))
    words = read_words(session.topology(), lambda key: chosen.config.get(f"dr:{key}"))
    if words.mode == "drill":
        raise BadInput(
            f"stack {chosen.name} is a drill stack: it moves no plan; pulumi preview --stack {chosen.name} shows what it would do; nothing was done"
        )
    return _Asked(words, chosen.full_name)


def _sites(session: Session, given: list[str]) -> dict[str, str]:
    pairs = _pairs(session, given, "--active", "SITE")
    return {
        name: site_named(plan_named(session, name, "plan"), site, "plan", f"--active {name}=")
        for name, site in pairs.items()
    }


def _pairs(session: Session, given: list[str], option: str, what: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not value.strip():
            raise BadInput(f"dr plan: {option} {text!r}: wanted PLAN={what}; nothing was done")
        found[plan_named(session, name, "plan").name] = value.strip()
    return found


# -- for people -----------------------------------------------------------------------------------------


_WHAT = {"none": "stays as it is", "create": "is made", "planned": "planned move", "disaster": "move after a disaster"}


def _show(paper: Paper, document: Mapping[str, Any]) -> None:
    if document["errors"]:
        paper.line("The preview failed:", "bold red")
        paper.bullets(document["errors"], "red")
    if document["data"]:
        paper.line("Data is deleted or replaced:", "bold red")
        paper.bullets(document["data"], "red")
    plans = document["plans"].values()
    if plans:
        paper.table(("plan", "what happens", "from", "to", "loss", "takes", "actions"), [_row(plan) for plan in plans])
    for plan in plans:
        if plan["actions"] or plan["refused"] or plan["warnings"] or plan["notes"] or plan["degraded"]:
            paper.line()
            show_move.decision(paper, plan, whole=True)
            if "addresses" not in plan and plan["afterwards"]:
                paper.line("Afterwards:", "bold")
                paper.bullets(plan["afterwards"])
    if document["changes"]:
        paper.line()
        paper.line("Resources:", "bold")
        paper.table(("change", "kind", "name"), [(each["op"], each["kind"], each["name"]) for each in document["changes"]])  # fmt: skip
    paper.bullets(document["remarks"])
    if not plans and not document["changes"] and not document["errors"]:
        paper.line("Nothing to do.")


def _row(plan: Mapping[str, Any]) -> tuple[str, ...]:
    moves = plan["kind"] in ("planned", "disaster")
    what = "REFUSED" if plan["refused"] else _WHAT.get(plan["kind"], "repair")
    seconds = plan["loss"]["seconds"]
    stated = "none" if plan["loss"]["statement"].startswith("nothing is lost") else "see below"
    loss = (stated if seconds is None else "none" if seconds == 0 else span(seconds)) if moves else "-"
    takes = f"about {span(plan['estimateSeconds'])}" if plan["estimateSeconds"] is not None else "not known"
    return (
        plan["plan"],
        what,
        plan["from"] or "-",
        plan["to"] or "-",
        loss,
        takes if moves else "-",
        str(len(plan["actions"])) if plan["actions"] else "-",
    )


def add(app: typer.Typer) -> None:
    command(app, panel="Look")(plan)
