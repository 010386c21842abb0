"""A run's own folder, build/demo or build/lab-demo: a project like the checkout's, with its own topology, devices, engine home and state.

Nothing of the user's is touched: neither stacks/, nor a stack's state, nor embedded devices beside a topology in the checkout.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SHOP", "Folder", "FolderInUse", "prepare", "release"]

ROOT = Path(__file__).resolve().parents[1]
SHOP = ROOT / "stacks" / "topology" / "shop.yaml"


class FolderInUse(Exception):
    """Another demo is at work in the folder; the message is one sentence."""


@dataclass(frozen=True)
class Folder:
    """`project` is where a person would stand: `pulumi` and `dr` run there."""

    base: Path

    @property
    def project(self) -> Path:
        return self.base / "project"

    @property
    def topology(self) -> Path:
        return self.project / "stacks" / "topology" / "shop.yaml"

    @property
    def home(self) -> Path:
        return self.base / "pulumi-home"

    @property
    def state(self) -> Path:
        return self.base / "pulumi-state"

    @property
    def log(self) -> Path:
        return self.base / "log"

    @property
    def out(self) -> Path:
        """What the demo takes off disks, to look at it."""
        return self.base / "taken"


def prepare(base: Path) -> Folder:
    """Empty the folder and lay out the project, but for its topology. Raises FolderInUse."""
    folder = Folder(base)
    base.mkdir(parents=True, exist_ok=True)
    _take(base / "in-use")
    for entry in base.iterdir():
        if entry.name == "in-use":
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    for made in (folder.home, folder.state, folder.log, folder.out, folder.topology.parent):
        made.mkdir(parents=True)
    shutil.copy(ROOT / "Pulumi.yaml", folder.project)
    shutil.copy(ROOT / "stacks" / "__main__.py", folder.project / "stacks")
    for shared in ("plugins", ".venv"):
        (folder.project / shared).symlink_to(ROOT / shared)
    return folder


def release(base: Path) -> None:
    """Let the next demo have the folder; what is in it stays, to be looked at."""
    (base / "in-use").unlink(missing_ok=True)


def _take(mark: Path) -> None:
    """Two demos at once would pull each other's devices away."""
    try:
        holder = int(mark.read_text())
    except (FileNotFoundError, ValueError):
        holder = 0
    if holder and holder != os.getpid() and Path(f"/proc/{holder}").exists():
        raise FolderInUse(f"another demo (process {holder}) is at work in {mark.parent}; wait for it, or end it")
    mark.write_text(str(os.getpid()))
