"""The selected Pulumi stack and its topology, found in files alone: the engine is not started."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dr_provider.model.errors import BadInput
from dr_provider.model.problems import did_you_mean

__all__ = [
    "SelectedStack",
    "backend_in_use",
    "project_file",
    "project_of",
    "remote_of",
    "selected_stack",
    "selected_topology",
    "stack_file",
    "stacks_of",
]

_HOW = "say --topology FILE, set DR_TOPOLOGY, or select a stack"


@dataclass(frozen=True)
class SelectedStack:
    """A stack as its files describe it. `folder` is the project's; `config` has the plain values, without what is encrypted."""

    project: str
    name: str
    folder: Path
    config_file: Path
    topology_file: Path
    config: Mapping[str, object]

    @property
    def full_name(self) -> str:
        """What the arrays' records name the stack by."""
        return f"{self.project}/{self.name}"


def selected_topology(start: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """The topology file that the selected stack names. Raises BadInput saying which link of the chain is missing."""
    return selected_stack(start, environment).topology_file


def selected_stack(
    start: Path, environment: Mapping[str, str] = os.environ, *, name: str | None = None
) -> SelectedStack:
    """The selected stack, or the one of this name. Raises BadInput saying which link of the chain is missing."""
    file, project, main = project_of(start)
    stack = name or _selected(project, file, environment)
    if stack is None:
        raise BadInput(
            f"no topology is given, and no stack of project {project} ({file}) is selected; {_HOW} "
            "(pulumi stack select NAME); nothing was done"
        )
    config_file = stack_file(file, stack)
    if not config_file.is_file():
        chosen = "is asked for" if name else "is selected"
        near = did_you_mean(stack, stacks_of(file))
        raise BadInput(
            f"stack {stack} {chosen}, but there is no {config_file}{near}; wanted its config with dr:topology; {_HOW}; nothing was done"
        )
    config = _yaml(config_file).get("config")
    value = config.get("dr:topology") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(value, str) or not value:
        raise BadInput(f"{config_file}: it has no dr:topology; {_HOW}; nothing was done")
    plain = {str(key): found for key, found in config.items() if not (isinstance(found, dict) and "secure" in found)}
    return SelectedStack(project, stack, file.parent, config_file, file.parent / main / value, plain)


def project_of(start: Path) -> tuple[Path, str, str]:
    """The project's file, its name, and the folder of its program. Raises BadInput where there is none."""
    file = project_file(start)
    if file is None:
        raise BadInput(
            f"no topology is given, and neither {start} nor a folder above it has a Pulumi.yaml; {_HOW}; nothing was done"
        )
    project = _yaml(file)
    name = project.get("name")
    if not isinstance(name, str):
        raise BadInput(f"{file}: it names no project, so its selected stack cannot be found; {_HOW}")
    return file, name, str(project.get("main") or "")


def stacks_of(file: Path) -> list[str]:
    """The stacks of a project (its Pulumi.yaml) that have a config."""
    found = stack_file(file, "*")
    return sorted(each.name[len("Pulumi.") : -len(".yaml")] for each in found.parent.glob(found.name))


def stack_file(file: Path, stack: str) -> Path:
    """Where a stack's config is, beside the project's file."""
    return file.parent / str(_yaml(file).get("stackConfigDir") or "") / f"Pulumi.{stack}.yaml"


def project_file(start: Path) -> Path | None:
    """The nearest Pulumi.yaml, here or above."""
    for folder in (start, *start.parents):
        for name in ("Pulumi.yaml", "Pulumi.yml"):
            if (folder / name).is_file():
                return folder / name
    return None


def _selected(project: str, project_file: Path, environment: Mapping[str, str]) -> str | None:
    """The engine's own order: PULUMI_STACK overrides what `pulumi stack select` wrote."""
    stack = environment.get("PULUMI_STACK") or _workspace(project, project_file, environment)
    # Written as organization/project/stack where the backend has organizations.
    return stack.rpartition("/")[2] if stack else None


def _workspace(project: str, project_file: Path, environment: Mapping[str, str]) -> str | None:
    """What `pulumi stack select` wrote: <home>/workspaces/<project>-<sha1 of Pulumi.yaml's path>-workspace.json
    (sdk/go/common/workspace/workspace.go)."""
    home = Path(environment.get("PULUMI_HOME") or Path.home() / ".pulumi")
    # The engine hashes the path as its shell wrote it, symbolic links included.
    for path in dict.fromkeys((str(project_file), str(_as_in_shell(project_file, environment)))):
        digest = hashlib.sha1(path.encode(), usedforsecurity=False).hexdigest()
        try:
            settings = json.loads((home / "workspaces" / f"{project}-{digest}-workspace.json").read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if not isinstance(settings, dict):
            continue
        # One a backend; engines before they kept several wrote one for all.
        by_backend = settings.get("stacks")
        stack = by_backend.get(_logged_in(home, environment)) if isinstance(by_backend, dict) else None
        stack = stack or settings.get("stack")
        if isinstance(stack, str) and stack:
            return stack
    return None


def backend_in_use(start: Path, environment: Mapping[str, str] = os.environ) -> str | None:
    """The address of the state backend, in the engine's order: PULUMI_BACKEND_URL, the project's own, else the one that was logged in
    to. None: no project, or none of these says it. It may hold a credential."""
    file = project_file(start)
    if file is None:
        return None
    own = _yaml(file).get("backend")
    named = own.get("url") if isinstance(own, dict) else None
    home = Path(environment.get("PULUMI_HOME") or Path.home() / ".pulumi")
    if not environment.get("PULUMI_BACKEND_URL") and isinstance(named, str):
        return named
    return _logged_in(home, environment)


def remote_of(start: Path) -> str | None:
    """The address of the remote `origin` of the git repository that a folder is in; None: there is none. It may hold a credential."""
    config = next(
        (folder / ".git" / "config" for folder in (start, *start.parents) if (folder / ".git").exists()), None
    )
    if config is None:
        return None
    within = False
    try:
        for line in config.read_text("utf-8").splitlines():
            words = line.strip()
            if words.startswith("["):
                within = words.replace(" ", "") == '[remote"origin"]'
            elif within and words.partition("=")[0].strip() == "url":
                return words.partition("=")[2].strip()
    except (OSError, UnicodeDecodeError):
        pass
    return None


def _logged_in(home: Path, environment: Mapping[str, str]) -> str | None:
    """The backend in use: PULUMI_BACKEND_URL, else the one that was logged in to."""
    if environment.get("PULUMI_BACKEND_URL"):
        return environment["PULUMI_BACKEND_URL"]
    try:
        known = json.loads((home / "credentials.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    current = known.get("current") if isinstance(known, dict) else None
    return current if isinstance(current, str) else None


def _as_in_shell(project_file: Path, environment: Mapping[str, str]) -> Path:
    """The same file by way of $PWD, where that is the current folder under another name."""
    written = Path(environment.get("PWD") or "/")
    try:
        levels = len(Path.cwd().relative_to(project_file.parent).parts)
        if written.is_absolute() and written.samefile(Path.cwd()) and levels <= len(written.parts) - 1:
            shell = (written, *written.parents)[levels] / project_file.name
            return shell if shell.samefile(project_file) else project_file
    except (OSError, ValueError):
        pass
    return project_file


def _yaml(path: Path) -> dict[str, Any]:
    from dr_provider.model.document import read
    from dr_provider.model.problems import Report

    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: it cannot be read ({type(error).__name__}); {_HOW}; nothing was done") from error
    data = read(text, str(path), Report()).data
    if not isinstance(data, dict):
        raise BadInput(f"{path}: wanted a mapping, found something else; {_HOW}; nothing was done")
    return data
