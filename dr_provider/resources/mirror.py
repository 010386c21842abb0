"""A mirror: a pair of copies of a volume. Creating it makes the first full copy; its direction is state, not declared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.dynamic import Resource

from dr_provider.resources import props as bag
from dr_provider.resources.kind import Kind, KindProps

if TYPE_CHECKING:
    from dr_provider.model.records import Owner
    from dr_provider.reconcile.world import World

__all__ = ["Mirror", "MirrorProps", "MirrorProvider"]


@dataclass(frozen=True, kw_only=True)
class MirrorProps(KindProps):
    """The pair: the volume's `home` and its `copy`, both arrays."""

    volume: str
    home: str
    copy: str
    delete_data: bool = field(default=False, metadata=bag.BACKGROUND)


class MirrorProvider(Kind[MirrorProps]):
    props = MirrorProps
    replaced_by = ("topology", "stack", "volume", "home", "copy")

    def ensure(self, world: World, props: MirrorProps, owner: Owner) -> dict[str, Any]:
        from dr_provider.reconcile.provision_mirrors import ensure_mirror

        made = ensure_mirror(world, props.volume, props.copy, owner, adopt=props.adopt)
        return {"source": made.source, "target": made.target, "state": made.state, "pending": made.pending}

    def release(self, world: World, props: MirrorProps, owner: Owner) -> tuple[str, ...]:
        from dr_provider.reconcile.provision_mirrors import release_mirror

        pair = (props.home, props.copy)
        return release_mirror(
            world, props.plan, props.volume, props.copy, pair, owner, delete_data=props.delete_data
        ).notes

    def look(self, world: World, props: MirrorProps) -> tuple[MirrorProps, dict[str, Any]] | None:
        from dr_provider.reconcile.survey import mirror_there

        return (props, {}) if mirror_there(world, props.volume, (props.home, props.copy)) else None


class Mirror(Resource, module="dr", name="Mirror"):
    """`source` and `target`: its direction when it was made or last changed."""

    source: pulumi.Output[str | None]
    target: pulumi.Output[str | None]
    state: pulumi.Output[str | None]
    pending: pulumi.Output[str | None]

    def __init__(self, name: str, props: MirrorProps, opts: pulumi.ResourceOptions | None = None) -> None:
        outputs = {"source": None, "target": None, "state": None, "pending": None}
        super().__init__(MirrorProvider(), name, {**bag.write(props), **outputs}, opts)
