"""What a forge does with its CI file, as far as the files of `dr init-ci` go: which jobs run, in which order, and what goes from one to the next.

The steps themselves are run as they stand in the file, by the shell that the forge would use, in one workspace that is checked out anew
for each job. What is a service of the forge (artifacts, comments, who approved) is kept here in its place.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.engine.bench import Project

__all__ = ["Forge"]


@dataclass
class Forge(ABC):
    """A repository with the embedded shop in it, on `main`; `folder` is the forge's own. `log` is what the steps of the last run said."""

    project: Project
    folder: Path
    name: str = ""
    file: str = ""
    log: str = ""
    approver: str = ""
    steps: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        (self.folder / "artifacts").mkdir()
        here = self.project.folder
        (here / "Makefile").write_text("setup:\n\t@test -x .venv/bin/dr\n")
        (here / ".gitignore").write_text("/.venv\n/backend/\n/home/\n/dr-ci/\n.dr/\n")
        done = self.shell(f"{here}/.venv/bin/dr init-ci {self.name} --stack prod")
        assert done.returncode == 0, done.stdout
        self.git("init", "--quiet", "--initial-branch", "main")
        self.commit("The shop")

    # -- git ----------------------------------------------------------------------------------------

    @property
    def text(self) -> str:
        return (self.project.folder / self.file).read_text()

    def git(self, *words: str) -> str:
        identity = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.com"]
        done = subprocess.run(
            ["git", *identity, *words], cwd=self.project.folder, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def branch(self, name: str) -> None:
        self.git("checkout", "--quiet", "--force", "-b", name, "main")

    def merge(self, name: str) -> None:
        self.git("checkout", "--quiet", "--force", "main")
        self.git("merge", "--quiet", "--no-ff", "--no-edit", name)

    # -- steps --------------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        """The runner's: no `dr` and no engine on its PATH but by the steps' own doing."""
        kept = self.project.environment
        path = [part for part in kept["PATH"].split(os.pathsep) if not Path(part, "dr").exists()]
        settings = {"PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_SKIP_UPDATE_CHECK"}
        return {
            **{name: value for name, value in kept.items() if name not in settings and not name.startswith("GIT")},
            "PATH": os.pathsep.join(path),
            "HOME": str(self.folder),
        }

    def shell(self, script: str, environment: Mapping[str, str] | None = None, *shell: str) -> Any:
        """Run a script as the forge would, stdout and stderr together."""
        words = list(shell) or ["bash", "-e", "-o", "pipefail"]
        done = subprocess.run(
            [*words, "-c", script],
            cwd=self.project.folder,
            env={**self.environment, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=180,
            check=False,
        )
        self.log += done.stdout
        return done

    def _kept(self, name: str) -> Path:
        return self.folder / "artifacts" / name

    def _take_away(self) -> None:
        """A job finds nothing of another job's in its workspace, and what is committed as it was."""
        self.git("checkout", "--quiet", "--force", "HEAD")
        shutil.rmtree(self.project.folder / "dr-ci", ignore_errors=True)

    def _keep(self, name: str, path: str) -> None:
        there = self.project.folder / path.rstrip("/")
        shutil.rmtree(self._kept(name), ignore_errors=True)
        if there.is_dir():
            shutil.copytree(there, self._kept(name))
        elif there.exists():
            self._kept(name).mkdir()
            shutil.copy(there, self._kept(name))

    # -- what happens -------------------------------------------------------------------------------

    def pull_request(self, branch: str) -> tuple[bool, str]:
        """Whether its jobs were green, and the comment. The merge of the branch into main is what is checked out."""
        self.git("checkout", "--quiet", "--force", "--detach", "main")
        self.git("merge", "--quiet", "--no-ff", "--no-edit", branch)
        green = self._run({"event": "pull_request"})
        return green, self._comment()

    def merged(self, *, by_hand: bool = False) -> bool:
        """Whether main was applied. `by_hand`: started again by a person."""
        self.git("checkout", "--quiet", "--force", "main")
        return self._run({"event": "by hand" if by_hand else "push"})

    def scheduled(self, task: str) -> bool:
        self.git("checkout", "--quiet", "--force", "main")
        return self._run({"event": "schedule", "task": task})

    @abstractmethod
    def _run(self, event: Mapping[str, str]) -> bool: ...

    @abstractmethod
    def _comment(self) -> str: ...
