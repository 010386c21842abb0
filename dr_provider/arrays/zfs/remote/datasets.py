"""What datasets there are, and which of them is which volume.

    tank/dr/vols/<plan or ->/<volume>[.R<n>]    data volumes
    tank/dr/copies/<name>[.R<n>]                drill and safety clones
    tank/dr/incoming/<volume>                   a full copy on its way in

Each carries `dr:volume` (see `Volume`) and `dr:records`. Of several datasets of one volume's name, the one of the highest generation
is the volume; the others are *kept*, because clones depend on their history. Nothing that may have clones is ever renamed: libzfs
unmounts and mounts all clones of what it renames (changelist_gather with cl_alldependents), and fails where one of them is in use,
as a drill's is.

Snapshots carry `dr:point`, `dr:seal` and `dr:holds`; one without `dr:point` is nobody's (snapshots.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import properties
from .core import Context, Fault, zfs
from .listing import RECORDS, VOLUME, file_systems
from .meta import mounts
from .resume import open_zfs

__all__ = ["Catalog", "Volume", "assign", "catalog", "describe", "need_volume", "owner_said"]


@dataclass
class Lun:
    size: int
    image: int = 0
    online: bool = True
    wish: str | None = None
    """Whom it is mapped to while it is offline, and was mapped to when the array went down. What is mapped now, the LUN service says."""


@dataclass
class Volume:
    """A dataset of ours. `base`: the snapshot (full name) that the dataset is a clone of. `head`: the text of `dr:volume` as it stands, and
    `told`: what it says."""

    dataset: str
    name: str
    generation: int
    kind: str
    writable: bool
    size: int
    owner: list[str] | None
    luns: dict[str, Lun]
    origin: list[str] | None = None
    records: dict[str, str] = field(default_factory=dict)
    base: str | None = None
    mounted: str | None = None
    head: str = ""
    told: Mapping[str, Any] | None = None
    records_head: str = ""

    def text(self) -> dict[str, Any]:
        """What `dr:volume` says."""
        return {
            "name": self.name,
            "generation": self.generation,
            "kind": self.kind,
            "writable": self.writable,
            "size": self.size,
            "owner": self.owner,
            "luns": {
                name: {"size": lun.size, "image": lun.image, "online": lun.online, "wish": lun.wish}
                for name, lun in self.luns.items()
            },
            "origin": self.origin,
        }

    def file(self, lun: str) -> Path:
        """The LUN's file; only of a mounted volume."""
        assert self.mounted is not None
        return Path(self.mounted) / "luns" / f"{lun}.img"


@dataclass
class Catalog:
    """`volumes` by name; `kept`: older generations and deleted ones; `all`: every file system below tank/dr -> its base."""

    volumes: dict[str, Volume] = field(default_factory=dict)
    kept: list[Volume] = field(default_factory=list)
    all: dict[str, str | None] = field(default_factory=dict)
    incoming: dict[str, Volume] = field(default_factory=dict)

    def dependents(self, snapshot: str) -> list[str]:
        """Datasets that are clones of the snapshot (full name)."""
        return [dataset for dataset, base in self.all.items() if base == snapshot]

    def generation(self, name: str) -> int:
        """One that is above all of the name's."""
        known = [*self.volumes.values(), *self.kept]
        return max((v.generation for v in known if v.name == name), default=0) + 1


# -- reading --------------------------------------------------------------------------------------


def catalog(ctx: Context) -> Catalog:
    """The caller holds the array's lock."""
    found = Catalog()
    there = mounts()
    ours: dict[str, list[Volume]] = {}
    for name, row in file_systems(ctx).items():
        head, records = row[VOLUME], row[RECORDS]
        base = None if properties.unset(row["origin"]) else row["origin"]
        found.all[name] = base
        place = name[len(ctx.root) + 1 :].split("/")
        if properties.unset(head) or (place[0], len(place)) not in (("vols", 3), ("copies", 2), ("incoming", 2)):
            continue  # not ours, or below one of ours, whose properties it inherits
        text = describe(ctx, name, VOLUME, head, row)
        volume = Volume(
            dataset=name,
            name=text["name"],
            generation=text["generation"],
            kind=text["kind"],
            writable=text.get("writable", False),
            size=text.get("size", 0),
            owner=text.get("owner"),
            luns={lun: Lun(**told) for lun, told in text.get("luns", {}).items()},
            origin=text.get("origin"),
            records={} if properties.unset(records) else describe(ctx, name, RECORDS, records, row),
            base=base,
            mounted=there.get(name),
            head=head,
            told=text,
            records_head="" if properties.unset(records) else records,
        )
        if place[0] == "incoming":
            found.incoming[volume.name] = volume
        else:
            ours.setdefault(volume.name, []).append(volume)
    for name in sorted(ours):
        *older, newest = sorted(ours[name], key=lambda v: v.generation)
        found.kept += older
        if newest.kind == "kept":
            found.kept.append(newest)
        else:
            found.volumes[name] = newest
    return found


def describe(ctx: Context, name: str, key: str, head: str, row: Mapping[str, str]) -> Any:
    """What a property of ours says on a dataset or snapshot."""
    try:
        return properties.decode(key, head, lambda more: row)
    except ValueError as error:
        raise Fault(
            "CorruptRecord",
            f"{ctx.where}: property {key} of {name} cannot be read ({error}); it was written by a newer version or damaged",
        ) from error


# -- looking up -------------------------------------------------------------------------------------


def need_volume(ctx: Context, found: Catalog, name: str) -> Volume:
    volume = found.volumes.get(name)
    if volume is None:
        raise Fault("NotFound", f"volume {name} is not on {ctx.where}; see `dr status` for where its copies are")
    return volume


def need_lun(ctx: Context, volume: Volume, name: str) -> Lun:
    lun = volume.luns.get(name)
    if lun is None:
        raise Fault("NotFound", f"LUN {name} of volume {volume.name} is not on {ctx.where}; see what the volume holds")
    return lun


def refuse_unwritable(ctx: Context, volume: Volume, what: str) -> None:
    if not volume.writable:
        raise Fault(
            "Conflict",
            f"volume {volume.name} on {ctx.where} is a mirror's destination: it cannot {what} before it is promoted",
        )


def owner_said(owner: Sequence[str] | None) -> str:
    if owner is None:
        return "nobody"
    topology, stack = owner[0], owner[1]
    return f"stack {stack} of topology {topology}" if stack else f"topology {topology}"


# -- writing ----------------------------------------------------------------------------------------


def assign(ctx: Context, settings: Iterable[tuple[str, str]], names: Sequence[str]) -> None:
    """Set properties on datasets or snapshots: each on all of them at once, and in this order (zfs-fuse takes one property a command)."""
    pairs = [f"{key}={value}" for key, value in settings]
    for batch in [pairs] if open_zfs(ctx) else [[pair] for pair in pairs]:
        if batch:
            zfs(ctx, "set", *batch, *names)


def save(ctx: Context, volume: Volume) -> None:
    """Write `dr:volume` if it says something else now."""
    text = volume.text()
    if volume.told != text:
        settings = properties.assignments(VOLUME, text, volume.head)
        assign(ctx, settings, [volume.dataset])
        volume.head, volume.told = settings[-1][1], text


def options(settings: Mapping[str, str] | Iterable[tuple[str, str]]) -> list[str]:
    """As `-o key=value` of zfs create, clone and snapshot."""
    pairs = settings.items() if isinstance(settings, Mapping) else settings
    return [word for key, value in pairs for word in ("-o", f"{key}={value}")]
