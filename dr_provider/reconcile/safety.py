"""Safety copies: what a side held alone before it was overwritten. Listed, read out, and dropped by name only."""

from __future__ import annotations

from pathlib import Path

from dr_provider.model.errors import BadInput, Conflict, DrError
from dr_provider.model.records import Owner
from dr_provider.model.state import VolumeState
from dr_provider.reconcile.world import World

__all__ = ["drop_safety", "export_safety", "list_safety"]


def _copies(world: World) -> list[tuple[str, VolumeState]]:
    """(array, volume) of every safety copy of this topology on arrays that answer."""
    seen = world.look()
    return [
        (name, volume)
        for name in sorted(world.topology.arrays)
        if (state := seen.array(name)) is not None
        for volume in sorted(state.volumes.values(), key=lambda v: v.name)
        if volume.kind == "safety" and volume.owner is not None and volume.owner.topology == world.topology.name
    ]


def list_safety(world: World) -> list[dict[str, object]]:
    """Each copy: its name, the volume and plan that it is of, array, site, LUNs with sizes, bytes of data in it, and the snapshot that it forked at."""
    listed: list[dict[str, object]] = []
    for array, volume in _copies(world):
        of = volume.name.partition(".")[0]
        plan = world.topology.plan_of_volume(of) if of in world.topology.volumes else None
        listed.append(
            {
                "name": volume.name,
                "volume": of,
                "plan": plan.name if plan else None,
                "array": array,
                "site": world.topology.arrays[array].site,
                "luns": {lun.name: lun.size for lun in volume.luns.values()},
                "bytes": world.fleet.array(array).estimate(volume.name, None, None),
                "fork": volume.origin[1] or None if volume.origin else None,
                "lastWrite": volume.last_write,
            }
        )
    return listed


def _find(world: World, name: str) -> tuple[str, VolumeState]:
    found = _copies(world)
    for array, volume in found:
        if volume.name == name:
            return array, volume
    known = ", ".join(volume.name for _, volume in found) or "none"
    raise BadInput(f"safety copy {name!r}: not on the arrays that answer; there are: {known}; nothing was done")


def export_safety(world: World, name: str, lun: str, path: Path) -> int:
    """Write a LUN of a safety copy to a file, sparse; its size in bytes. A file that is there is not overwritten."""
    array_name, volume = _find(world, name)
    if lun not in volume.luns:
        raise BadInput(
            f"safety copy {name}: it has no LUN {lun!r}; it has: {', '.join(sorted(volume.luns))}; nothing was done"
        )
    if path.exists():
        raise BadInput(f"{path}: there is a file of that name already; nothing was done")
    array = world.fleet.array(array_name)
    snapshot = volume.snapshots[-1].name if volume.snapshots and not volume.changed else "export"
    if snapshot == "export":
        array.snapshot([name], snapshot)
    size = volume.luns[lun].size
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.truncate(size)
            for extent in array.send(name, None, snapshot):
                if extent.lun == lun and extent.data is not None:
                    file.seek(extent.offset)
                    file.write(extent.data)
        part.rename(path)
    except OSError as error:
        raise DrError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        part.unlink(missing_ok=True)
    return size


def drop_safety(world: World, name: str) -> dict[str, object]:
    """Destroy a safety copy for good."""
    array, volume = _find(world, name)
    owner = volume.owner or Owner(world.topology.name, "", "")
    for held in {tag for snapshot in volume.snapshots for tag in snapshot.holds}:
        world.fleet.array(array).release([name], held)
    if not world.fleet.array(array).delete_volume(name, owner):
        raise Conflict(
            f"safety copy {name} on {array}: it was changed or dropped by another at the same moment; look again with dr safety list"
        )
    return {"dropped": name, "array": array, "bytes": volume.used}
