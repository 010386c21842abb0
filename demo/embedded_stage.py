"""Embedded arrays and hosts, which are files of the demo's folder; `dr sim` makes the world's events."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from demo import database, folder, measure
from demo.commands import CommandFailed, Commands, environment
from demo.stage import Ledger, for_each

__all__ = ["EmbeddedStage"]

_ORDERS = 20_000


class EmbeddedStage:
    """`base`: the folder that the run has for itself."""

    name = "embedded"
    about = "embedded arrays and hosts"

    def __init__(self, base: Path, commands: type[Commands] = Commands) -> None:
        self._base, self._commands = base, commands

    def take(self, tell: Callable[[str], None]) -> None:
        self.folder = place = folder.prepare(self._base)
        self.run = self._commands(place.project, place.log, environment(place.home, place.state), tell)

    def prepare(self) -> None:
        shutil.copy(folder.SHOP, self.folder.topology)
        self._image = database.make(self.folder.topology.parent / "images" / "orders.db", _ORDERS)

    def close(self) -> None:
        folder.release(self._base)

    # -- guests ------------------------------------------------------------------------------------

    def write(self, counts: Mapping[str, int]) -> dict[str, Ledger]:
        first = next(iter(counts))
        self.run.show(f"dr sim write {first} --count {counts[first]}")
        # What a guest just wrote is not read back for this: the ledger is looked at where a fact is stated about it.
        return for_each(
            counts, lambda vm: _ledger({**self.run.dr("sim", "write", vm, "--count", str(counts[vm])), "intact": True})
        )

    def ledgers(self, vms: Iterable[str]) -> dict[str, Ledger]:
        return for_each(vms, lambda vm: _ledger(self.run.dr("sim", "ledger", vm)))

    def ledger_in(self, file: Path, vm: str) -> Ledger:
        last, intact = measure.ledger_of_file(file, vm)
        return Ledger(last, 0, intact)

    def database_in(self, vm: str, disk: str) -> tuple[database.Health, database.Health]:
        file = self.folder.out / f"{vm}-{disk}.img"
        self.run.dr("sim", "export", vm, disk, str(file))
        return database.look_into(file), self._image

    def unclean(self, site: str, point: str) -> dict[str, str]:
        raise CommandFailed("embedded guests have no file system, so none can be clean; say `only: lab`")

    # -- the world's events ------------------------------------------------------------------------

    def lose(self, kind: str, name: str) -> list[str]:
        self.run.show(f"dr sim lose {kind}:{name}")
        return [str(ended["vm"]) for ended in self.run.dr("sim", "lose", f"{kind}:{name}")["ended"]]

    def give_back(self, kind: str, name: str) -> None:
        self._heal(f"{kind}:{name}")

    def cut(self, one: str, other: str) -> None:
        self.run.show(f"dr sim lose link:{one}/{other}")
        self.run.dr("sim", "lose", f"link:{one}/{other}")

    def heal(self, one: str, other: str) -> None:
        self._heal(f"link:{one}/{other}")

    def _heal(self, target: str) -> None:
        self.run.show(f"dr sim heal {target}")
        self.run.dr("sim", "heal", target)

    # -- what stands -------------------------------------------------------------------------------

    def things(self) -> Mapping[str, int]:
        # Embedded devices have no account of their own beside what the drivers read.
        return {}


def _ledger(found: Mapping[str, Any]) -> Ledger:
    return Ledger(int(found["last"]), int(found["buffered"]), found["intact"] is True)
