"""Where a scenario is played: what embedded and real sites have in common for it, and what each does in its own way.

All that a person would do with `pulumi` and `dr` is the same on every stage (demo/operators.py); so is what is read through the
drivers (demo/measure.py). A stage does the rest: the world's events, and what the guests themselves wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from demo.commands import Commands
from demo.database import Health
from demo.folder import Folder

__all__ = ["Ledger", "Stage", "for_each"]

T = TypeVar("T")


@dataclass(frozen=True)
class Ledger:
    """What a guest's application wrote. `last`: the last entry on its disk; `buffered`: entries after that, still in memory.

    `intact`: no entry is missing, torn or out of place; `problem` says which is. `boots`: the sites at which the guest booted, oldest
    first, as it wrote them down itself; empty where guests write nothing at boot.
    """

    last: int
    buffered: int
    intact: bool
    boots: tuple[str, ...] = ()
    problem: str = ""

    @property
    def taken(self) -> int:
        """The last entry that the application took."""
        return self.last + self.buffered


class Stage(Protocol):
    """Methods raise CommandFailed, with one sentence, where they cannot do what they are asked."""

    name: str
    about: str
    """What it is made of, in half a sentence."""
    folder: Folder
    run: Commands
    """The user's commands, run where a person would stand. Set by `take`, as `folder` is."""

    def take(self, tell: Callable[[str], None]) -> None:
        """Take the run's own folder, emptied; nothing is held where it raises FolderInUse. `tell` gets the progress of all that follows."""

    def prepare(self) -> None:
        """Lay out the topology, and whatever it stands on; nothing of an earlier run is left."""

    def close(self) -> None:
        """Let go of all that was taken, however far `prepare` came; files for people to look at stay."""

    # -- guests ------------------------------------------------------------------------------------

    def write(self, counts: Mapping[str, int]) -> dict[str, Ledger]:
        """Each VM's application writes so many entries; its ledger after that."""

    def ledgers(self, vms: Iterable[str]) -> dict[str, Ledger]:
        """Of running VMs, by the names that their hosts know."""

    def ledger_in(self, file: Path, vm: str) -> Ledger:
        """Of a VM, in its disk `root` that was written to a file. The file may be changed."""

    def database_in(self, vm: str, disk: str) -> tuple[Health, Health]:
        """The SQLite database on a disk of a running VM, and the one that the disk started from."""

    def unclean(self, site: str, point: str) -> dict[str, str]:
        """Of each VM whose disk at the site, as of a recovery point, is not as a clean unmount or a freeze leaves it: what it is then."""

    # -- the world's events ------------------------------------------------------------------------

    def lose(self, kind: str, name: str) -> list[str]:
        """Power loss of a site or host (`kind`); the VMs that ended with it."""

    def give_back(self, kind: str, name: str) -> None:
        """A lost site or host is there again, its guests off."""

    def cut(self, one: str, other: str) -> None:
        """Cut the link between two sites, or a site and `operator`."""

    def heal(self, one: str, other: str) -> None: ...

    # -- what stands -------------------------------------------------------------------------------

    def things(self) -> Mapping[str, int]:
        """What stands on the sites by the components' own account, counted by kind; all that a drill may leave shows here."""


def for_each(names: Iterable[str], ask: Callable[[str], T], *, at_once: int = 2) -> dict[str, T]:
    """Ask for each name, some at a time."""
    listed = list(names)
    with ThreadPoolExecutor(at_once) as pool:
        return dict(zip(listed, pool.map(ask, listed), strict=True))
