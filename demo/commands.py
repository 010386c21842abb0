"""Running `pulumi` and `dr` as a person would, in the demo's own folder, with everything they said kept in a log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

__all__ = ["CommandFailed", "Commands", "Said", "environment"]

_LIMIT = 240.0
"""Seconds that a command may take before it counts as hung."""


class CommandFailed(Exception):
    """A command ended otherwise than it had to; the message is one sentence."""


@dataclass(frozen=True)
class Said:
    """What a command came to."""

    argv: tuple[str, ...]
    status: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """Its stdout as JSON. Raises CommandFailed."""
        try:
            document = json.loads(self.out)
        except ValueError as error:
            raise CommandFailed(f"{' '.join(self.argv)}: its output is not JSON ({error})") from error
        if not isinstance(document, dict):
            raise CommandFailed(f"{' '.join(self.argv)}: wanted a JSON object, found {type(document).__name__}")
        return document

    def last_line(self) -> str:
        """The line that says most about how it ended; of a document of `dr`, what it says went wrong."""
        if self.argv[:1] == ("dr",) and self.out.startswith("{"):
            document = self.json()
            wrong = [document.get("error"), *document.get("refused", ()), *document.get("failures", ())]
            if any(wrong):
                return "; ".join(str(sentence) for sentence in wrong if sentence)
        lines = [line.strip() for line in f"{self.out}\n{self.err}".splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("error:", "dr:"))]
        return (errors or lines or ["it said nothing"])[-1]


def environment(home: Path, state: Path) -> dict[str, str]:
    """The surroundings of each command: its own engine home and state, and nothing of the caller's own stacks."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PULUMI_", "DR_"))}
    return {
        **kept,
        "PATH": os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ.get("PATH", os.defpath)]),
        "PULUMI_HOME": str(home),
        "PULUMI_BACKEND_URL": state.as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": "demo",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "NO_COLOR": "1",
    }


@dataclass
class Commands:
    """`cwd`: where they run. `log`: the folder for what they say. `tell` gets each line while it runs, for the progress.

    `typed`: what a person would have typed for it, in short, since it was last emptied.
    """

    cwd: Path
    log: Path
    env: Mapping[str, str]
    tell: Callable[[str], None] = lambda _line: None
    count: int = field(default=0)
    typed: list[str] = field(default_factory=list)
    limit: float = _LIMIT

    def show(self, line: str) -> None:
        """Take a line down for the table; the same one only once."""
        if line not in self.typed:
            self.typed.append(line)

    def pulumi(self, *words: str, stack: str = "prod", well: bool = True) -> Said:
        """`pulumi WORDS` on a stack. Raises CommandFailed where it fails and had to end well."""
        return self._run(("pulumi", *words, "--stack", stack, "--non-interactive", "--color", "never"), well=well)

    def make_stack(self, stack: str, config: Mapping[str, str]) -> None:
        """A new stack with some config, which does not become the selected one unless it is the first."""
        extra = ("--no-select",) if stack != "prod" else ()
        self._run(("pulumi", "stack", "init", stack, *extra, "--non-interactive"), well=True)
        for key, value in config.items():
            self.set(key, value, stack=stack)

    def set(self, key: str, value: str, *, stack: str = "prod") -> None:
        """`pulumi config set --path KEY VALUE`."""
        self.pulumi("config", "set", "--path", key, value, stack=stack)

    def up(self, stack: str = "prod", *, well: bool = True) -> Said:
        return self.pulumi("up", "--yes", "--skip-preview", "--suppress-progress", stack=stack, well=well)

    def preview(self, *, stack: str = "prod") -> dict[str, Any]:
        """The preview's document: steps with states, and diagnostics."""
        return self.pulumi("preview", "--json", stack=stack).json()

    def outputs(self, stack: str = "prod") -> dict[str, Any]:
        return self.pulumi("stack", "output", "--json", stack=stack).json()

    def dr(self, *words: str, well: bool = True) -> dict[str, Any]:
        """`dr WORDS --json`, as its document."""
        return self.dr_said(*words, well=well).json()

    def dr_said(self, *words: str, well: bool = True) -> Said:
        """`dr WORDS --json`. Raises CommandFailed where it fails and had to end well."""
        return self._run(("dr", *words, "--json"), well=well)

    def _run(self, argv: tuple[str, ...], *, well: bool) -> Said:
        self.count += 1
        parts: tuple[list[str], list[str]] = ([], [])
        self.tell("")
        process = subprocess.Popen(
            argv, cwd=self.cwd, env=dict(self.env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, errors="replace",
        )  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            readers = [
                threading.Thread(target=self._read, args=(stream, into), daemon=True)
                for stream, into in zip((process.stdout, process.stderr), parts, strict=True)
            ]
            for reader in readers:
                reader.start()
            process.wait(timeout=self.limit)
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(f"{' '.join(argv)} did not end within {self.limit:.0f} s") from error
        finally:
            # Also when Ctrl-C ends the demo: nothing that it started goes on.
            if process.poll() is None:
                process.terminate()
                process.wait()
        for reader in readers:
            # What a command started may keep the pipe open after its end.
            reader.join(timeout=2)
        said = Said(argv, process.returncode, "".join(parts[0]), "".join(parts[1]))
        self._keep(said)
        if well and said.status != 0:
            raise CommandFailed(f"{' '.join(argv)} ended with status {said.status}: {said.last_line()}")
        return said

    def _read(self, stream: IO[str], into: list[str]) -> None:
        for line in stream:
            into.append(line)
            if line.strip() and not line.lstrip().startswith(("{", "}", '"', "[", "]")):
                self.tell(line.strip())

    def _keep(self, said: Said) -> None:
        self.log.mkdir(parents=True, exist_ok=True)
        name = "-".join(word for word in said.argv[:3] if word.replace("-", "").isalnum() and not word.startswith("-"))
        text = f"$ {' '.join(said.argv)}\n\n{said.out}\n{said.err}\nexit status {said.status}\n"
        (self.log / f"{self.count:03d}-{name}.txt").write_text(text, encoding="utf-8")
