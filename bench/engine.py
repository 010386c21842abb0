"""Projects of their own for the real engine: a file backend, a home and a stack each, beside what is measured."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from dr_provider.model.errors import DrError

__all__ = ["PULUMI", "Project"]

ROOT = Path(__file__).resolve().parents[1]
PULUMI = ROOT / ".venv" / "bin" / "pulumi"


@dataclass(frozen=True)
class Project:
    """`folder` gets Pulumi.yaml, the launcher and stacks/__main__.py with the given program."""

    folder: Path
    program: str

    def make(self, config: str = "") -> None:
        """Write the project and make its stack. `config`: what follows `config:` in the stack's file."""
        stacks = self.folder / "stacks"
        for folder in (stacks, self.folder / "backend", self.folder / "home"):
            folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "Pulumi.yaml", self.folder)
        (stacks / "__main__.py").write_text(self.program, encoding="utf-8")
        for name in ("plugins", ".venv"):
            (self.folder / name).symlink_to(ROOT / name)
        self.run("stack", "init", "bench")
        path = stacks / "Pulumi.bench.yaml"
        salt = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(f"{salt}config:\n{config}", encoding="utf-8")

    def run(self, *words: str, timeout: float = 240) -> str:
        """What the engine says; raises DrError where it fails."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PULUMI_")}
        done = subprocess.run(
            [str(PULUMI), *words, "--non-interactive", "--color", "never"],
            cwd=self.folder,
            env={
                **kept,
                "PATH": f"{PULUMI.parent}{os.pathsep}{kept.get('PATH', '')}",
                "PYTHONPATH": str(ROOT),
                "PULUMI_BACKEND_URL": (self.folder / "backend").absolute().as_uri(),
                "PULUMI_HOME": str((self.folder / "home").absolute()),
                "PULUMI_CONFIG_PASSPHRASE": "bench",
                "PULUMI_SKIP_UPDATE_CHECK": "true",
                "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
                "PULUMI_PYTHON_CMD": sys.executable,
                # Without them the first `up` writes the whole checkpoint again at every step.
                "PULUMI_EXPERIMENTAL": "1",
                "PULUMI_SKIP_CHECKPOINTS": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise DrError(f"pulumi {' '.join(words)}: status {done.returncode}\n{done.stdout[-4000:]}")
        return done.stdout

    def up(self) -> str:
        return self.run("up", "--yes", "--skip-preview", "--stack", "bench")

    def preview(self) -> str:
        """A preview that must find nothing to do."""
        return self.run("preview", "--expect-no-changes", "--stack", "bench")

    def dynamic_resources(self) -> int:
        """How many dynamic resources the stack holds."""
        state = json.loads(self.run("stack", "export", "--stack", "bench"))
        kinds = [resource["type"] for resource in state["deployment"]["resources"] if resource.get("custom")]
        return sum("dynamic" in kind and not kind.startswith("pulumi:providers:") for kind in kinds)
