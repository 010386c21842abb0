"""`dr init-ci`: the file by which a forge's CI previews, approves and applies changes of a stack, rendered from cli/templates/ci."""

from __future__ import annotations

import difflib
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from dr_provider.cli.common import Session, command
from dr_provider.cli.stack import SelectedStack, project_file, selected_stack, stacks_of
from dr_provider.cli.templates import environment
from dr_provider.model.credentials import parse
from dr_provider.model.errors import BadInput
from dr_provider.model.problems import did_you_mean

__all__ = ["FORGES", "add", "render"]

FORGES: Mapping[str, tuple[str, str]] = {
    "github": ("ci/github.yml.j2", ".github/workflows/dr.yml"),
    "gitlab": ("ci/gitlab.yml.j2", ".gitlab-ci.yml"),
    "jenkins": ("ci/Jenkinsfile.j2", "Jenkinsfile"),
}
"""Each with its template, and its place from the root of the repository."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_PATH = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_./-]{0,199}")


@dataclass(frozen=True)
class _Words:
    """What a template is told: names that are checked. `folder`: the project's, from the root of the repository."""

    forge: str
    stack: str
    drill_stack: str | None
    branch: str
    runner: str
    folder: str
    setup: str | None
    secrets: tuple[str, ...]


def init_ci(
    session: Session,
    forge: Annotated[str | None, typer.Argument(metavar="github|gitlab|jenkins", show_default=False)] = None,
    stack: Annotated[
        str | None,
        typer.Option("--stack", metavar="NAME", help="The stack that a merge applies (else the selected one)."),
    ] = None,
    drill_stack: Annotated[
        str | None,
        typer.Option(
            "--drill-stack",
            metavar="NAME",
            help="The stack that is drilled on a schedule (else the one whose dr:mode is drill).",
        ),
    ] = None,
    branch: Annotated[str, typer.Option("--branch", metavar="NAME", help="The branch that is applied.")] = "main",
    runner: Annotated[
        str,
        typer.Option("--runner", metavar="LABEL", help="Label or tag of the runner that reaches the arrays and hosts."),
    ] = "dr",
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FILE", help="Where to write it (else where the forge looks)."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    to_stdout: Annotated[bool, typer.Option("--print", help="Print it, and write nothing.")] = False,
) -> int:
    """Write the CI file for failovers by pull request: preview, comment, approval, apply, and what runs on a schedule.

    A file that is there is left as it is, and the difference is shown; --force writes over it.

    \b
    dr init-ci github
    dr init-ci gitlab --stack prod --runner recovery-site
    dr init-ci jenkins --print
    """
    if forge is None or forge not in FORGES:
        said = "say which forge" if forge is None else f"there is no forge {forge!r}{did_you_mean(forge, FORGES)}"
        raise BadInput(f"dr init-ci: {said}; there are templates for {', '.join(FORGES)}; nothing was written")
    file = project_file(Path.cwd())
    if file is None:
        raise BadInput(
            f"dr init-ci: this is no Pulumi project: neither {Path.cwd()} nor a folder above it has a Pulumi.yaml; nothing was written"
        )
    root = _root(file.parent)
    text = render(_words(forge, file, root, stack, drill_stack, branch, runner))
    path = Path(output) if output is not None else root / FORGES[forge][1]
    document: dict[str, Any] = {
        "forge": forge,
        "file": None if to_stdout else str(path),
        "written": False,
        "text": text,
    }
    if to_stdout:
        session.emit(document, lambda paper: print(text, end="", flush=True))
        return 0
    before = _existing(path)
    if before is not None and before != text and not force:
        _refuse(path, before, text)
    if before != text:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        except OSError as error:
            raise BadInput(
                f"dr init-ci: {path} cannot be written ({error.strerror}); -o FILE writes elsewhere; nothing was written"
            ) from error
    document["written"] = before != text
    said = "is written" if before != text else "is there, as it would be written"
    session.emit(
        document,
        lambda paper: paper.line(
            f"{path} {said}. Its head says what to set up once; docs/gitops.md says more.", "green"
        ),
    )
    return 0


def render(words: _Words) -> str:
    """The file's text."""
    templates = environment()
    templates.filters |= {"q": json.dumps, "sq": lambda text: f"'{text}'"}
    prefix = "" if words.folder == "." else f"{words.folder}/"
    return templates.get_template(FORGES[words.forge][0]).render(
        **{name: getattr(words, name) for name in words.__dataclass_fields__ if name != "secrets"},
        secrets=list(words.secrets),
        lock=f"dr-{words.stack}",
        prefix=prefix,
    )


def _words(
    forge: str, file: Path, root: Path, stack: str | None, drill: str | None, branch: str, runner: str
) -> _Words:
    chosen = _chosen(file, stack)
    folder = file.parent.relative_to(root).as_posix()
    drilled = drill or _drilled(file, chosen)
    if drilled is not None and selected_stack(file.parent, name=drilled).config.get("dr:mode") != "drill":
        raise BadInput(
            f"dr init-ci: stack {drilled} is no drill stack: its config has no dr:mode: drill; nothing was written"
        )
    for what, value, allowed in (
        ("--stack", chosen.name, _NAME),
        ("--drill-stack", drilled or chosen.name, _NAME),
        ("--branch", branch, _PATH),
        ("--runner", runner, _NAME),
        ("the project's folder in the repository", folder, _PATH),
    ):
        if not allowed.fullmatch(value):
            raise BadInput(
                f"dr init-ci: {what}: {value!r}: wanted letters, digits, dots, hyphens and underscores"
                f"{', and slashes between' if allowed is _PATH else ''}, since it becomes part of scripts; nothing was written"
            )
    return _Words(forge, chosen.name, drilled, branch, runner, folder, _setup(file.parent), _secrets(chosen))


def _chosen(file: Path, stack: str | None) -> SelectedStack:
    try:
        chosen = selected_stack(file.parent, name=stack)
    except BadInput:
        others = stacks_of(file)
        if stack is not None or not others:
            raise
        raise BadInput(
            f"dr init-ci: no stack is selected; say --stack NAME ({', '.join(others)}), or pulumi stack select NAME; nothing was written"
        ) from None
    if chosen.config.get("dr:mode") == "drill":
        raise BadInput(
            f"dr init-ci: stack {chosen.name} is a drill stack; --stack takes the one that a merge applies, --drill-stack this one; nothing was written"
        )
    return chosen


def _drilled(file: Path, chosen: SelectedStack) -> str | None:
    """The stack that drills the same topology, where there is just one."""
    found = []
    for name in stacks_of(file):
        try:
            other = selected_stack(file.parent, name=name)
        except BadInput:  # no config of ours
            continue
        if other.config.get("dr:mode") == "drill" and other.topology_file.resolve() == chosen.topology_file.resolve():
            found.append(name)
    return found[0] if len(found) == 1 else None


def _setup(folder: Path) -> str | None:
    """What puts dr and the engine into .venv, where the project has it; else they are on the runner's PATH."""
    makefile = folder / "Makefile"
    return (
        "make setup"
        if makefile.is_file() and re.search(r"^setup\s*:", makefile.read_text("utf-8"), re.MULTILINE)
        else None
    )


def _secrets(chosen: SelectedStack) -> tuple[str, ...]:
    """The environment variables that the topology's credentials refer to."""
    from dr_provider.model.document import read
    from dr_provider.model.problems import Report

    try:
        text = chosen.topology_file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"dr init-ci: stack {chosen.name}: its topology {chosen.topology_file} cannot be read ({type(error).__name__}); nothing was written"
        ) from None
    found: set[str] = set()

    def walk(value: object) -> None:
        if isinstance(value, dict):
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)
        elif isinstance(value, str) and value.startswith("env:"):
            try:
                found.add(parse(value)[1])
            except ValueError:
                return  # text that only begins like a reference; `dr validate` says where one is wrong

    walk(read(text, str(chosen.topology_file), Report()).data)
    return tuple(sorted(found))


def _root(folder: Path) -> Path:
    """The root of the repository; the project's folder where there is none yet."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--show-toplevel"], cwd=folder, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return folder
    top = Path(done.stdout.strip()) if done.returncode == 0 else folder
    # The same folder by the name that the shell has for it.
    return next((each for each in (folder, *folder.parents) if each.samefile(top)), folder)


def _existing(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"dr init-ci: {path} cannot be read ({type(error).__name__}); nothing was written") from None


def _refuse(path: Path, before: str, text: str) -> None:
    difference = difflib.unified_diff(
        before.splitlines(keepends=True), text.splitlines(keepends=True), str(path), f"{path} as it would be written"
    )
    sys.stderr.writelines(difference)
    raise BadInput(
        f"dr init-ci: {path} is there and differs, as shown above; --force writes over it, -o FILE writes elsewhere; nothing was written"
    )


def add(app: typer.Typer) -> None:
    command(app, "init-ci", panel="GitOps")(init_ci)
