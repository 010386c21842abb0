"""What tests of protection ask of a lab."""

from __future__ import annotations

import pytest

from dr_provider.arrays.embedded import extents, sending
from dr_provider.model.codec import dump
from dr_provider.model.records import Claim
from dr_provider.model.state import VolumeState
from dr_provider.protection.catalogue import RecoveryPoint
from tests.support.lab import Lab

__all__ = ["claim", "copy", "destroy", "levels", "newest", "put", "small_steps", "whole"]


def newest(lab: Lab) -> RecoveryPoint:
    return lab.view().points[-1]


def levels(point: RecoveryPoint) -> dict[str, tuple[str, int | None]]:
    assert point.seal is not None
    return {vm: (level.level, level.mark) for vm, level in point.seal.levels.items()}


def whole(lab: Lab, site: str) -> list[str]:
    return [p.id for p in lab.view().points if p.complete_at(site)]


def copy(lab: Lab, array: str, volume: str = "vol-1") -> VolumeState:
    state = lab.world().look().array(array)
    assert state is not None
    return state.volumes[volume]


def destroy(lab: Lab, name: str, volume: str) -> None:
    """Take a copy away, as somebody at the array's own console would."""
    array, state = lab.world().fleet.array(name), copy(lab, name, volume)
    array.unmap_luns({volume: sorted(state.luns)})
    for tag in {tag for snapshot in state.snapshots for tag in snapshot.holds}:
        array.release([volume], tag)
    assert state.owner is not None
    assert array.delete_volume(volume, state.owner)


def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transfers of a few blocks a step, so that little data takes many."""
    monkeypatch.setattr(extents, "_STEP", 8)
    monkeypatch.setattr(sending, "_READ", 8)


def put(lab: Lab, key: str, record: object) -> None:
    for array in ("east-a", "west-a"):
        lab.world().fleet.array(array).put_record(key, dump(record))


def claim(lab: Lab) -> Claim:
    epoch = lab.view().epoch
    assert epoch is not None
    return Claim("shop", 2, "claimid", "west", "east", "planned", epoch.time, "someone", epoch.id)
