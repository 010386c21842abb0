"""LUNs mapped together: one call for all that a run attaches from one volume to one host, whichever VM comes first.

A VM whose own LUNs are well must not suffer from another's: where the one call is refused, each VM maps its own.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from dr_provider.model import keys
from dr_provider.model.errors import Conflict, NotFound
from dr_provider.reconcile.context import Run

__all__ = ["LunMapping", "begin_mapping"]

_lock = threading.Lock()


@dataclass(frozen=True)
class LunMapping:
    """LUNs of a VM on their way to its host. `done` waits for them; raises what the array raises."""

    run: Run
    initiator: str
    site: str
    groups: tuple[tuple[str, Future[None], tuple[str, ...]], ...]

    def done(self) -> None:
        for volume, group, own in self.groups:
            try:
                group.result()
            except (NotFound, Conflict):
                _map(self.run, volume, self.site, own, self.initiator)


def begin_mapping(run: Run, vm: str, host: str, site: str, initiator: str) -> LunMapping:
    """Begin to map the VM's LUNs, with those of the others that go to the same host from the same volumes."""
    groups = []
    own = _luns(run, vm)
    for volume, names in own.items():
        key = (volume, host)
        with _lock:
            group = run.mapping.get(key)
            if group is None or names[0] not in group[1]:
                every = tuple(lun for other in _together(run, vm, host) for lun in _luns(run, other).get(volume, ()))
                group = (run.aside(partial(_map, run, volume, site, every, initiator)), frozenset(every))
                run.mapping[key] = group
        groups.append((volume, group[0], names))
    return LunMapping(run, initiator, site, tuple(groups))


def _together(run: Run, vm: str, host: str) -> list[str]:
    """The VM, and those whose disks may be mapped as well by now: their own steps wait for nothing that this one's did not."""
    found = {a.of["vm"]: a for a in run.decision.actions if a.verb == "attach" and a.of["host"] == host}
    if vm not in found:
        return [vm]
    over = {*found[vm].after, *found[vm].last}
    return [other for other, action in found.items() if {*action.after, *action.last} <= over]


def _luns(run: Run, vm: str) -> dict[str, tuple[str, ...]]:
    """The VM's LUNs by volume."""
    found: dict[str, list[str]] = {}
    for disk in run.view.topology.vms[vm].disks:
        found.setdefault(disk.volume, []).append(keys.lun_name(vm, disk.role))
    return {volume: tuple(names) for volume, names in found.items()}


def _map(run: Run, volume: str, site: str, luns: Sequence[str], initiator: str) -> None:
    array = run.array(run.view.copy_array(volume, site))
    before = run.view.volume(volume, site)
    known = before.luns if before else {}
    elsewhere = [lun for lun in luns if lun in known and known[lun].mapped_to not in (None, initiator)]
    if elsewhere:
        array.unmap_luns({volume: sorted(elsewhere)}, run.guard)
    array.map_lun(volume, luns, initiator, run.guard)
