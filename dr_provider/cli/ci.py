"""`dr ci`: what the CI of every forge does, so that its own file only says when: preview a change, carry the plan to the merge, run it.

Invariants:
1. The engine runs a saved plan, and refuses what differs from it: what was shown is what is run, or nothing.
2. A saved plan is good for one content of the repository (git's tree) and one stack. For any other it is made anew, and what is made anew
   is approved anew, if it does anything at all.
3. A move, and whatever takes data or a VM away, is not applied without somebody's name.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from dr_provider.cli.comment import comment
from dr_provider.cli.common import Session, command
from dr_provider.cli.preview import Preview, read_preview
from dr_provider.cli.stack import selected_stack
from dr_provider.model.errors import BadInput, DrError
from dr_provider.model.plain import plain

__all__ = ["Carried", "app"]

app = typer.Typer(
    name="ci",
    help="The steps that CI takes: preview a change, carry its plan to the merge, run it.",
    no_args_is_help=True,
)

_VERSION = 1
_VIOLATED = "violates plan"
_BEGINS = "Updating ("
"""What the engine says when its own preview is over."""
_LONGEST_NAME = 500
"""Of who approved, who may be several."""

StackOption = Annotated[
    str | None, typer.Option("--stack", metavar="NAME", help="The stack (else PULUMI_STACK, else the selected one).")
]
FolderOption = Annotated[
    str, typer.Option("--dir", metavar="FOLDER", help="Where the plan, its comment and what they are of are kept.")
]


@dataclass(frozen=True)
class Carried:
    """What a saved plan is of: manifest.json beside it. `approval`: why somebody has to say yes; `anew`: made at the merge, seen by nobody before."""

    stack: str
    tree: str
    commit: str
    anew: bool
    approval: tuple[str, ...]
    version: int = _VERSION


@dataclass(frozen=True)
class _Folder:
    path: Path

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    def carried(self) -> Carried | None:
        """None: there is no plan in the folder, or none of ours."""
        try:
            found = json.loads((self.path / "manifest.json").read_text("utf-8"))
            if found.pop("version") != _VERSION or not self.plan.is_file():
                return None
            return Carried(**{**found, "approval": tuple(found["approval"])})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, carried: Carried, text: str) -> None:
        (self.path / "comment.md").write_text(text, "utf-8")
        # For shells: one word.
        (self.path / "approval").write_text("needed\n" if carried.approval else "none\n", "utf-8")
        (self.path / "manifest.json").write_text(json.dumps(asdict(carried), indent=2) + "\n", "utf-8")


# -- the commands ---------------------------------------------------------------------------------------


def preview(session: Session, stack: StackOption = None, folder: FolderOption = "dr-ci") -> int:
    """Of a pull request: save the engine's plan of what is committed here, and write the comment for it. Nothing is changed.

    FOLDER gets plan.json (what `pulumi up --plan` may do), comment.md, and manifest.json (the tree and the stack that they are for).
    Exit status 1: the preview failed, or something is refused; the comment is there and says so.

    \b
    dr ci preview --stack prod
    """
    return _preview(session, stack, folder, anew=False)


def prepare(
    session: Session,
    stack: StackOption = None,
    folder: FolderOption = "dr-ci",
    anew: Annotated[bool, typer.Option("--anew", help="Preview anew in any case, and ask for approval anew.")] = False,
) -> int:
    """At the merge: take the plan of the pull request if it is in FOLDER and of this very tree, else preview anew. Nothing is changed.

    FOLDER/approval then holds `needed` or `none`. A plan that is made anew needs an approval, unless there is nothing to do.

    \b
    dr ci prepare --stack prod
    dr ci prepare --stack prod --anew
    """
    there = _Folder(Path(folder).absolute())
    carried = there.carried()
    name, tree = selected_stack(Path.cwd(), name=stack).name, _tree()
    if anew:
        why = "it was asked for"
    elif carried is None:
        why = f"there is no plan in {folder}"
    elif (carried.stack, carried.tree) != (name, tree):
        why = f"the plan in {folder} is for stack {carried.stack} of tree {carried.tree[:12]}, and this is {name} of {tree[:12]}: the branch has moved since it was previewed"
    else:
        session.progress(f"the plan of the pull request is of this tree ({tree[:12]}); it is what will be run")
        _emit(session, there, carried)
        return 0
    session.progress(f"previewing anew: {why}")
    return _preview(session, stack, folder, anew=True)


def apply(
    session: Session,
    stack: StackOption = None,
    folder: FolderOption = "dr-ci",
    approved_by: Annotated[
        str,
        typer.Option(
            "--approved-by", metavar="NAME", help="Who approved it; needed for a move, and where data or VMs go."
        ),
    ] = "",
) -> int:
    """Run the plan in FOLDER: exactly what it says, or nothing. It must be of this tree, and approved where it has to be.

    If the arrays or hosts have changed since it was previewed, and something else would be done now, the engine refuses before it begins.

    \b
    dr ci apply --stack prod
    dr ci apply --stack prod --approved-by "$APPROVER"
    """
    approver = approved_by.strip()
    if not approver.isprintable() or len(approver) > _LONGEST_NAME:
        raise BadInput(
            f"dr ci apply: --approved-by {approver[:80]!r}: wanted a name, one line of at most {_LONGEST_NAME} characters; nothing was done"
        )
    there = _Folder(Path(folder).absolute())
    carried, name, tree = there.carried(), selected_stack(Path.cwd(), name=stack).name, _tree()
    if carried is None:
        raise BadInput(f"dr ci apply: there is no plan in {folder}; dr ci prepare puts one there; nothing was done")
    if (carried.stack, carried.tree) != (name, tree):
        raise BadInput(
            f"dr ci apply: the plan in {folder} is for stack {carried.stack} of tree {carried.tree[:12]}, and this is {name} of {tree[:12]}; "
            "dr ci prepare makes one for this tree; nothing was done"
        )
    if carried.approval and not approver:
        raise DrError(
            "dr ci apply: this needs an approval, and nobody has given one:\n"
            + "\n".join(f"  {reason}" for reason in carried.approval)
            + "\n  say --approved-by NAME; in CI it comes from who approved the job. On GitHub: does the environment have required reviewers?"
            + " Nothing was done"
        )
    if approver:
        session.progress(f"approved by {approver}")
    session.progress("the engine looks whether what it would do now is what was previewed")
    ended = _run_up(session, ["up", "--yes", "--plan", str(there.plan), "--stack", name], approver)
    if ended.violated:
        said = _why_violated(name, ended)
        # Before the engine's own words, which are long, and after them: where a log is opened.
        session.progress(said)
        ended.tell(session)
        raise DrError(f"dr ci apply: {said}")
    ended.tell(session)
    document = {"stack": name, "tree": tree, "approvedBy": approver or None, "applied": ended.status == 0}
    session.emit(document, lambda paper: None)
    return 1 if ended.status else 0


# -- the engine -----------------------------------------------------------------------------------------


def _preview(session: Session, stack: str | None, folder: str, *, anew: bool) -> int:
    there = _Folder(Path(folder).absolute())
    there.path.mkdir(parents=True, exist_ok=True)
    # It is never committed, whoever adds everything.
    (there.path / ".gitignore").write_text("*\n", "utf-8")
    # First of all: what an earlier run left must not be taken for this one's, whatever becomes of it.
    for left in ("plan.json", "manifest.json", "comment.md", "approval", "preview.json"):
        (there.path / left).unlink(missing_ok=True)
    chosen, tree = selected_stack(Path.cwd(), name=stack), _tree()
    words = ["preview", "--stack", chosen.name, "--json", "--save-plan", str(there.plan), "--non-interactive"]
    done = subprocess.run([_pulumi(), *words], stdout=subprocess.PIPE, text=True, check=False)
    (there.path / "preview.json").write_text(done.stdout, "utf-8")
    found = _read(done, str(there.path / "preview.json"))
    carried = Carried(chosen.name, tree, _git("rev-parse", "HEAD"), anew, _approval(found, anew=anew))
    there.write(carried, comment(found, stack=chosen.name, footer=_footer(carried, found)))
    if found.errors or done.returncode:
        there.plan.unlink(missing_ok=True)
    _emit(session, there, carried)
    for reason in (*found.errors, *found.refused):
        session.progress(f"dr ci: {reason}")
    return 0 if found.well and not done.returncode else 1


def _read(done: subprocess.CompletedProcess[str], source: str) -> Preview:
    try:
        found = read_preview(done.stdout, source)
    except BadInput:
        if done.returncode == 0:
            raise
        # It ended before there was anything to report; what it said on stderr has been shown.
        return Preview({}, (), (f"pulumi preview ended with status {done.returncode}; its log says why",), ())
    if done.returncode and not found.errors:
        return Preview(
            found.plans, found.changes, (f"pulumi preview ended with status {done.returncode}",), found.remarks
        )
    return found


def _approval(found: Preview, *, anew: bool) -> tuple[str, ...]:
    seen = ("it was previewed anew at the merge, so nobody has seen it yet",) if anew and _busy(found) else ()
    return (*seen, *found.approval)


def _busy(found: Preview) -> bool:
    return bool(found.changes) or any(plan["actions"] for plan in found.plans.values())


def _footer(carried: Carried, found: Preview) -> str:
    if found.errors:
        return ""
    runs = f"`pulumi up --plan` runs exactly this or nothing. Tree `{carried.tree[:12]}`, stack `{carried.stack}`."
    if not found.well:
        return f"As it stands `pulumi up` would end red. Tree `{carried.tree[:12]}`, stack `{carried.stack}`."
    return f"{runs} It needs an approval." if carried.approval else runs


@dataclass(frozen=True)
class _Ended:
    """How `up` ended. `violated`: the engine said that the plan was; `begun`: it had begun to change things; `held`: what it said before that,
    where it did not come so far."""

    status: int
    violated: bool
    begun: bool
    held: tuple[str, ...]

    def tell(self, session: Session) -> None:
        for line in self.held:
            _say(session, line)


def _say(session: Session, line: str) -> None:
    print(plain(line), file=sys.stderr if session.json else sys.stdout, flush=True)


def _why_violated(stack: str, ended: _Ended) -> str:
    """One sentence for people, and what to do."""
    anew = "start the pipeline again by hand on this branch: it previews anew, and asks anew"
    if ended.begun:
        return f"the engine stopped in the middle, since what was left to do was no more what was approved; dr status says what stands; then {anew}"
    if _nothing_left(stack):
        return "this plan was applied already: nothing of what it says is left to do. Nothing was changed; for the next change make a new one by a pull request"
    return f"what would be done now is not what was approved: the stack, or its arrays or hosts, have changed since the preview. Nothing was changed; {anew}"


def _nothing_left(stack: str) -> bool:
    """Whether a preview of the same content finds nothing to do."""
    words = ["preview", "--stack", stack, "--json", "--non-interactive"]
    done = subprocess.run(
        [_pulumi(), *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
    )
    try:
        found = read_preview(done.stdout, "the preview")
    except BadInput:
        return False
    return done.returncode == 0 and found.well and not _busy(found)


def _run_up(session: Session, words: Sequence[str], approver: str) -> _Ended:
    """Run it, and show what the engine says from the moment on in which it begins to change things."""
    environment = {**os.environ, "DR_APPROVED_BY": approver}
    violated = begun = False
    held: list[str] = []
    with subprocess.Popen(
        [_pulumi(), *words, "--non-interactive"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    ) as engine:
        assert engine.stdout is not None
        for line in engine.stdout:
            violated = violated or _VIOLATED in line
            begun = begun or line.startswith(_BEGINS)
            held.append(line.rstrip("\n"))
            while begun and held:
                _say(session, held.pop(0))
    return _Ended(engine.returncode, violated and engine.returncode != 0, begun, tuple(held))


def _pulumi() -> str:
    from shutil import which

    found = which("pulumi")
    if found is None:
        raise BadInput(
            "dr ci: there is no pulumi on PATH; put the engine there (`make setup`, then .venv/bin on PATH); nothing was done"
        )
    return found


def _tree() -> str:
    """The content that is checked out. Raises BadInput where it is not exactly what is committed: a plan is of a commit's content."""
    changed = _git("status", "--porcelain", "--untracked-files=no")
    if changed:
        raise BadInput(
            f"dr ci: what is here differs from the commit, and a plan is of what is committed; commit it, or put it back; nothing was done\n{changed}"
        )
    return _git("rev-parse", "HEAD^{tree}")


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise BadInput("dr ci: there is no git on PATH; nothing was done") from None
    if done.returncode:
        raise BadInput(f"dr ci: git {' '.join(words)}: {done.stderr.strip() or 'it failed'}; nothing was done")
    return done.stdout.rstrip("\n")


def _emit(session: Session, there: _Folder, carried: Carried) -> None:
    text = (there.path / "comment.md").read_text("utf-8") if (there.path / "comment.md").is_file() else ""
    document: Mapping[str, Any] = {**asdict(carried), "approval": list(carried.approval), "comment": text}
    session.emit(document, lambda paper: print(text, end="", flush=True))


for _function in (preview, prepare, apply):
    command(app)(_function)
