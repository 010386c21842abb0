"""The bound of a failover, worked out by hand for small moves."""

from __future__ import annotations

import pytest

from bench.bound import Needs, Vm, failover_bound, stretches


def _needs(vms: list[Vm], **changes: int) -> Needs:
    arrays = sorted({array for vm in vms for array, _ in vm.luns})
    volumes = {array: len({v for vm in vms for a, v in vm.luns if a == array}) for array in arrays}
    hosts = tuple(sorted({vm.host for vm in vms}))
    widths = {"array_width": 16, "host_width": 8, **changes}
    return Needs(tuple(arrays), hosts, volumes, tuple(vms), latency=1.0, **widths)


def _vm(number: int, tier: int = 0, *, checked: bool = True, host: str = "h", volume: str = "v") -> Vm:
    return Vm(f"vm-{number}", tier, host, (("a", volume),), checked)


def test_one_vm_is_a_chain_of_calls() -> None:
    bound = failover_bound(_needs([_vm(1)]))
    before = sum(stretch.chain for stretch in stretches(_needs([_vm(1)])))
    assert before == 13, "look, lease, reserve, claim, hold, prove twice, break, offline, online, rescan, scan, commit"
    assert bound.seconds == bound.path == before + 1 + 2, "attached, started, looked at"
    # A sweep is a call to the array and one to the host, twice; define, map, start and check are four.
    assert bound.calls == 15 + 4


def test_a_vm_without_a_health_check_needs_a_call_less() -> None:
    checked, plain = failover_bound(_needs([_vm(1)])), failover_bound(_needs([_vm(1, checked=False)]))
    assert (checked.seconds - plain.seconds, checked.calls - plain.calls) == (1, 1)


def test_each_tier_waits_for_the_one_before() -> None:
    together = failover_bound(_needs([_vm(1), _vm(2)]))
    after = failover_bound(_needs([_vm(1), _vm(2, tier=1)]))
    assert after.seconds == together.seconds + 2
    assert after.calls == together.calls


@pytest.mark.parametrize(("width", "rounds"), [(1, 12), (2, 6), (4, 3), (8, 3)])
def test_a_narrow_host_takes_its_calls_in_rounds(width: int, rounds: int) -> None:
    """Four VMs are twelve calls: define, start, check; and never fewer than the three of the chain."""
    bound = failover_bound(_needs([_vm(n) for n in range(4)], host_width=width))
    assert bound.stretches["VMs"] == rounds


def test_luns_of_a_volume_are_mapped_to_a_host_in_one_call() -> None:
    one = failover_bound(_needs([_vm(1), _vm(2)]))
    two = failover_bound(_needs([_vm(1), _vm(2, host="g")]))
    # The other host is seen twice, keeps capacity, scans its storage, and has a mapping of its own.
    assert two.calls == one.calls + 2 + 1 + 1 + 1


def test_without_gates_the_bound_is_never_higher() -> None:
    vms = [_vm(n, tier=n % 3, host=f"h{n % 4}", volume=f"v{n % 10}") for n in range(200)]
    bound = failover_bound(_needs(vms))
    assert bound.plain == max(bound.path, bound.work) <= bound.seconds
    assert bound.seconds == sum(bound.stretches.values())
