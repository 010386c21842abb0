"""A LUN: one disk of a VM in its volume; it starts from an image once, when it is first made."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.dynamic import Resource

from dr_provider.resources import props as bag
from dr_provider.resources.kind import Kind, KindProps

if TYPE_CHECKING:
    from dr_provider.model.records import Owner
    from dr_provider.reconcile.world import World

__all__ = ["Lun", "LunProps", "LunProvider"]


@dataclass(frozen=True, kw_only=True)
class LunProps(KindProps):
    """`size` in bytes; `arrays`: every array with a copy of the volume, home first; `delete_data` is the volume's."""

    vm: str = field(metadata=bag.BACKGROUND)
    role: str = field(metadata=bag.BACKGROUND)
    volume: str
    size: int
    arrays: tuple[str, ...] = field(metadata=bag.BACKGROUND)
    delete_data: bool = field(default=False, metadata=bag.BACKGROUND)


class LunProvider(Kind[LunProps]):
    props = LunProps
    replaced_by = ("topology", "stack", "volume")

    def ensure(self, world: World, props: LunProps, owner: Owner) -> dict[str, Any]:
        from dr_provider.reconcile.provision import ensure_lun

        made = ensure_lun(world, props.vm, props.role, owner, adopt=props.adopt)
        return {"site": made.site, "array": made.array, "pending": made.pending}

    def release(self, world: World, props: LunProps, owner: Owner) -> tuple[str, ...]:
        from dr_provider.reconcile.provision import release_lun

        return release_lun(
            world, props.plan, props.volume, props.name, props.arrays, owner, delete_data=props.delete_data
        ).notes

    def look(self, world: World, props: LunProps) -> tuple[LunProps, dict[str, Any]] | None:
        from dr_provider.reconcile.survey import active_volume

        site, array, found = active_volume(world, props.plan, props.arrays, props.volume)
        lun = found.luns.get(props.name) if found else None
        return (replace(props, size=lun.size), {"site": site, "array": array}) if lun else None


class Lun(Resource, module="dr", name="Lun"):
    """Where it is worked with, and what is pending, stand in its state (`site`, `array`, `pending`) and are no outputs of a program:
    there are as many LUNs as disks, and each output costs."""

    def __init__(self, name: str, props: LunProps, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(LunProvider(), name, bag.write(props), opts)
