"""A wide tier is waited for through its last VM, and the order stays what the tiers say."""

from __future__ import annotations

from pathlib import Path

import pytest

from dr_provider.model.loader import load
from dr_provider.resources.declared import _in_start_order, _waits
from tests.support.topologies import write_topology


@pytest.mark.parametrize("vms", [3, 24, 25, 60])
def test_every_vm_comes_after_the_whole_tier_before(tmp_path: Path, vms: int) -> None:
    plan = load(write_topology(tmp_path, vms=vms, volume_size="4GiB")).plans["shop"]
    waits = _waits(plan)
    order = _in_start_order(waits)
    assert sorted(order) == sorted(plan.members)

    def behind(vm: str) -> set[str]:
        return {other for direct in waits[vm] for other in (direct, *behind(direct))}

    for index, tier in enumerate(plan.tiers[1:]):
        for vm in tier.members:
            assert behind(vm) >= set(plan.tiers[index].members), vm
    for at, vm in enumerate(order):
        assert set(waits[vm]) <= set(order[:at])


def test_dependencies_grow_with_the_vms_and_not_with_their_square(tmp_path: Path) -> None:
    plan = load(write_topology(tmp_path, vms=300, volume_size="4GiB")).plans["shop"]
    assert sum(map(len, _waits(plan).values())) < 2 * len(plan.members)
