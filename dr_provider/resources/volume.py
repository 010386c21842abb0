"""A volume: made where its plan is active, kept when it is deleted unless the topology says otherwise."""

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

__all__ = ["Volume", "VolumeProps", "VolumeProvider"]


@dataclass(frozen=True, kw_only=True)
class VolumeProps(KindProps):
    """`size` in bytes; `arrays`: every array with a copy, home first."""

    size: int
    arrays: tuple[str, ...] = field(metadata=bag.BACKGROUND)
    delete_data: bool = field(default=False, metadata=bag.BACKGROUND)


class VolumeProvider(Kind[VolumeProps]):
    props = VolumeProps

    def ensure(self, world: World, props: VolumeProps, owner: Owner) -> dict[str, Any]:
        from dr_provider.reconcile.provision import ensure_volume

        made = ensure_volume(world, props.name, owner, adopt=props.adopt)
        return {"site": made.site, "array": made.array, "pending": made.pending}

    def release(self, world: World, props: VolumeProps, owner: Owner) -> tuple[str, ...]:
        from dr_provider.reconcile.provision import release_volume

        return release_volume(world, props.plan, props.name, props.arrays, owner, delete_data=props.delete_data).notes

    def look(self, world: World, props: VolumeProps) -> tuple[VolumeProps, dict[str, Any]] | None:
        from dr_provider.reconcile.survey import active_volume

        site, array, found = active_volume(world, props.plan, props.arrays, props.name)
        if found is None:
            return None
        return replace(props, size=found.size), {"site": site, "array": array}


class Volume(Resource, module="dr", name="Volume"):
    """`site` and `array`: where it is worked with, as of its last change."""

    site: pulumi.Output[str | None]
    array: pulumi.Output[str | None]
    pending: pulumi.Output[str | None]

    def __init__(self, name: str, props: VolumeProps, opts: pulumi.ResourceOptions | None = None) -> None:
        outputs = {"site": None, "array": None, "pending": None}
        super().__init__(VolumeProvider(), name, {**bag.write(props), **outputs}, opts)
