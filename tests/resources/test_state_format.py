"""What stands in the state of stacks that were made before: provider classes by their place and name, and properties as JSON."""

from __future__ import annotations

import base64
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from pulumi.dynamic import ResourceProvider
from pulumi.dynamic.dynamic import serialize_provider

from dr_provider.resources import props as bag
from dr_provider.resources.dr_plan import DrPlanProvider
from dr_provider.resources.drill import DrillProvider
from dr_provider.resources.lun import LunProvider
from dr_provider.resources.mirror import MirrorProvider
from dr_provider.resources.readiness import ReadinessProvider
from dr_provider.resources.virtual_machine import VirtualMachineProvider
from dr_provider.resources.volume import VolumeProps, VolumeProvider
from tests.resources.local_engine import crossed

GOLDEN = Path(__file__).parent / "golden"
KINDS = (
    DrPlanProvider,
    DrillProvider,
    LunProvider,
    MirrorProvider,
    ReadinessProvider,
    VirtualMachineProvider,
    VolumeProvider,
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_old_states_find_their_provider(kind: type[ResourceProvider]) -> None:
    golden = (GOLDEN / f"{kind.__name__}.pickle").read_bytes()
    assert type(pickle.loads(golden)) is kind
    now = base64.b64decode(serialize_provider(kind()))
    assert now == golden, "another text in the state is a difference of every resource of every stack"
    assert len(now) < 200, "by reference: no code is in the state"
    assert kind.serialize_as_secret_always is False


def test_resource_types_are_format() -> None:
    from dr_provider.resources import dr_plan, drill, lun, mirror, readiness, virtual_machine, volume

    kinds = (dr_plan.DrPlan, drill.Drill, lun.Lun, mirror.Mirror, readiness.Readiness, virtual_machine.VirtualMachine)
    assert [kind._resource_type_name for kind in (*kinds, volume.Volume)] == [
        f"dynamic/dr:{name}" for name in ("DrPlan", "Drill", "Lun", "Mirror", "Readiness", "VirtualMachine", "Volume")
    ]


@dataclass(frozen=True)
class _Sample:
    some_count: int
    names: tuple[str, ...]
    ratio: float = 0.5
    is_on: bool = False
    note: str | None = None


def test_properties_come_back_as_they_went() -> None:
    for sample in (_Sample(3, ("a", "b")), _Sample(2**50, (), 2.0, True, "x")):
        there = crossed(bag.write(sample))
        assert bag.read(_Sample, there) == sample
    assert bag.write(_Sample(1, ())) == {"someCount": 1, "names": [], "ratio": 0.5, "isOn": False}
    with pytest.raises(KeyError, match="someCount"):
        bag.read(_Sample, {"names": []})


def test_sizes_stay_whole_numbers() -> None:
    props = VolumeProps(
        topology="t", stack="s", plan="p", name="v", reach="{}", size=20 << 30, arrays=("a", "b"), delete_data=True
    )
    back = bag.read(VolumeProps, crossed(bag.write(props)))
    assert back == props
    assert isinstance(back.size, int)


def test_loading_a_provider_loads_no_drivers() -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys\nfrom dr_provider.resources import dr_plan, drill, lun, mirror, readiness, virtual_machine, volume\n"
            "print([m for m in sys.modules if m.startswith('dr_provider.') and not m.startswith('dr_provider.resources')])",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "[]"
