"""Measurements that no command prints: what stands on arrays and hosts, and ledgers in an exported LUN. Only reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dr_provider.hypervisors.embedded import ledger
from dr_provider.model.loader import load
from dr_provider.model.state import Observation
from dr_provider.reconcile.world import open_world

__all__ = ["Inventory", "inventory", "ledger_of_file", "marks", "pending_actions", "remarks"]

Inventory = Mapping[str, int]
"""How many there are of each kind of thing, all devices together."""


class _FileDisk:
    """An exported LUN, as the ledger reads a disk."""

    def __init__(self, file: Path, role: str) -> None:
        self.name = role  # the ledger names the disks that it is on by their roles
        self._file = file

    def read(self, offset: int, length: int) -> bytes:
        with self._file.open("rb") as stream:
            stream.seek(offset)
            return stream.read(length).ljust(length, b"\0")

    def write(self, offset: int, data: bytes) -> None:
        raise NotImplementedError("an exported LUN is only read")


def ledger_of_file(file: Path, vm: str, role: str = "root") -> tuple[int, bool]:
    """The last entry of a VM's ledger in an exported LUN (the disk of that role) that has no image, and whether all of it is intact."""
    size = file.stat().st_size // ledger.BLOCK * ledger.BLOCK
    found = ledger.read([ledger.Region(_FileDisk(file, role), 0, size)], vm)
    return found.last, found.intact


def inventory(topology: Path) -> Inventory:
    """Count what stands on every array and host. What does not answer counts as `silent`."""
    world = open_world(load(topology))
    try:
        return count(world.look())
    finally:
        world.close()


def count(seen: Observation) -> Inventory:
    found: Counter[str] = Counter()
    for name in seen.arrays:
        array = seen.array(name)
        if array is None:
            found["silent"] += 1
            continue
        for volume in array.volumes.values():
            found[f"{volume.kind} volumes"] += 1
            found["maps"] += sum(lun.mapped_to is not None for lun in volume.luns.values())
            found["drill holds"] += sum(tag.startswith("drill.") for s in volume.snapshots for tag in s.holds)
            found["other holds"] += sum(not tag.startswith("drill.") for s in volume.snapshots for tag in s.holds)
        found["drill records"] += sum("/drill/" in key for key in array.records)
    for name in seen.hosts:
        host = seen.host(name)
        if host is None:
            found["silent"] += 1
            continue
        found["VMs"] += len(host.vms)
        found["VMs that run"] += sum(vm.state == "running" for vm in host.vms.values())
        found["reservations"] += len(host.reservations)
    return dict(found)


def marks(points: Mapping[str, Any], point: str | None) -> dict[str, int | None]:
    """The entry at which each VM's ledger stood in a recovery point, by its seal; out of `dr points PLAN --json`."""
    for listed in points["points"]:
        if listed["id"] == point:
            return {vm: at["mark"] for vm, at in listed["vms"].items()}
    return {}


def pending_actions(preview: Mapping[str, Any], kind: str = "dr:DrPlan") -> list[str]:
    """What a preview says that would be done, in order; out of `pulumi preview --json`."""
    for step in preview.get("steps", []):
        state = step.get("newState") or {}
        if str(state.get("type", "")).endswith(kind):
            return [str(sentence) for sentence in (state.get("inputs") or {}).get("pendingActions") or []]
    return []


def remarks(preview: Mapping[str, Any], about: Callable[[str], bool]) -> list[str]:
    """The lines under a preview that are about something."""
    said = [str(line.get("message", "")).strip() for line in preview.get("diagnostics") or []]
    lines = [part.strip() for text in said for part in text.splitlines()]
    return list(dict.fromkeys(line for line in lines if line and about(line)))
