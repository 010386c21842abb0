"""Where things are, and the commands' environment, for one checkout."""

import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Layout", "base_python"]


def base_python() -> str:
    """The interpreter behind a possibly active venv: a venv made from itself would be lost with it."""
    return str(getattr(sys, "_base_executable", "") or sys.executable)


@dataclass(frozen=True)
class Layout:
    """Paths of a checkout and of the cache that all checkouts of a user share."""

    root: Path
    cache: Path

    @classmethod
    def of(cls, root: Path) -> "Layout":
        base = os.environ.get("XDG_CACHE_HOME", "")
        # The XDG base directory specification: a relative value is to be ignored.
        cache = Path(base) if base.startswith("/") else Path.home() / ".cache"
        return cls(root.resolve(), cache / "dr-engine")

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def bin(self) -> Path:
        return self.venv / "bin"

    @property
    def python(self) -> Path:
        return self.bin / "python"

    @property
    def stamps(self) -> Path:
        return self.venv / ".setup"

    @property
    def logs(self) -> Path:
        return self.root / "build" / "setup"

    @property
    def platform(self) -> str:
        return f"{platform.system().lower()}-{platform.machine().lower()}"

    def outside_path(self) -> str:
        """PATH without this checkout's venv, where `pulumi` would be our own link."""
        ours = {self.bin, self.bin.resolve()}
        kept = [entry for entry in os.environ.get("PATH", os.defpath).split(os.pathsep) if Path(entry) not in ours]
        return os.pathsep.join(kept)
