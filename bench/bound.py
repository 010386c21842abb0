"""The least time that a disaster failover can take, worked out from what the plan needs; the scheduler plays no part.

Every call takes the latency, and a device takes only as many at once as it is wide. The rules of a move (a claim before anything is
touched, a proof before the break, the commit before the first start, a tier before the next) are gates: nothing after a gate begins
before all that is ahead of it has ended. So the least time is the sum, over the stretches between gates, of the larger of

* the critical path: the longest chain of calls that wait for each other, times the latency; and
* the work over the width: for the busiest device its calls, in rounds of as many as it takes at once, times the latency.

After the commit all VMs are defined and mapped whenever there is room, so what follows it is one stretch for the work (all calls of a
host over its width), and a chain of tiers for the path. What the plan needs, call by call:

    look        one sweep: every device that answers
    lease       its record on the arrays, in their fixed order: one after the other
    reserve     capacity, on each host that gets VMs
    claim       on each array
    hold        the chosen point, on each array of the site
    prove       a sweep that shows what the source does, then the proof on each array
    break       each volume
    on/offline  each volume's LUNs offline, then online
    rescan      each host
    scan        a sweep: what is on the broken volumes
    commit      the epoch, on each array
    attach      each VM is defined on its host; LUNs are mapped, a call for a volume and a host; side by side
    start       each VM is started, then its health is looked at: two calls, tier after tier

Clearing up (old leases, the claim's end, the hold that becomes the fork's) is needed too, and holds nobody up: it is not in the bound.

`plain` is the same without gates: the larger of the whole critical path and the whole work over the width. Nothing that keeps the
rules can come near it, since most hosts have nothing to do before the commit; it is shown for comparison.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Bound", "Needs", "Stretch", "Vm", "failover_bound", "stretches"]


@dataclass(frozen=True)
class Vm:
    """Where a VM goes: its host and, for each of its LUNs, (array, volume). `tier` counts from 0; `checked`: it has a health check."""

    name: str
    tier: int
    host: str
    luns: tuple[tuple[str, str], ...]
    checked: bool = True


@dataclass(frozen=True)
class Needs:
    """What there is on the side that is moved to: arrays and hosts that answer, with the volumes of the plan by array, and the VMs."""

    arrays: tuple[str, ...]
    hosts: tuple[str, ...]
    volumes: Mapping[str, int]
    vms: tuple[Vm, ...]
    array_width: int
    host_width: int
    latency: float


@dataclass(frozen=True)
class Stretch:
    """Between two gates: `chain` is the longest chain in calls, `work` the calls by device."""

    name: str
    chain: int
    work: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Bound:
    """Seconds; `path` and `work` are of the whole without gates, `plain` the larger of them; `calls` is all that the plan needs."""

    seconds: float
    path: float
    work: float
    calls: int
    stretches: Mapping[str, float]

    @property
    def plain(self) -> float:
        return max(self.path, self.work)


def stretches(needs: Needs) -> list[Stretch]:
    """The move up to its commit."""

    def each(devices: Iterable[str], count: int = 1) -> dict[str, int]:
        return dict.fromkeys(devices, count)

    arrays, hosts = needs.arrays, needs.hosts
    used = sorted({vm.host for vm in needs.vms})
    volumes = dict(needs.volumes)
    return [
        Stretch("look", 1, each((*arrays, *hosts))),
        Stretch("lease", len(arrays), each(arrays)),
        Stretch("reserve", 1, each(used)),
        Stretch("claim", 1, each(arrays)),
        Stretch("hold", 1, each(volumes)),
        Stretch("prove: look", 1, each((*arrays, *hosts))),
        Stretch("prove: write", 1, each(arrays)),
        Stretch("break", 1, volumes),
        Stretch("offline, online", 2, {array: 2 * count for array, count in volumes.items()}),
        Stretch("rescan", 1, each(used)),
        Stretch("scan", 1, each(arrays)),
        Stretch("commit", 1, each(arrays)),
    ]


def failover_bound(needs: Needs) -> Bound:
    """The bound of a move of all VMs."""

    def rounds(device: str, calls: int) -> int:
        return -(-calls // (needs.array_width if device in needs.arrays else needs.host_width))

    def busiest(work: Mapping[str, int]) -> int:
        return max((rounds(device, calls) for device, calls in work.items()), default=0)

    before = stretches(needs)
    parts = {s.name: max(s.chain, busiest(s.work)) * needs.latency for s in before}
    after = _after(needs.vms)
    tiers = _tiers(needs.vms)
    # The first start waits for its VM to be attached; each tier is a gate for the next.
    path = 1 + sum(max(2 if any(vm.checked for vm in tier) else 1, busiest(_starts(tier))) for tier in tiers)
    parts["VMs"] = max(path, busiest(after)) * needs.latency
    total: Counter[str] = Counter(after)
    for stretch in before:
        total.update(stretch.work)
    chain = sum(s.chain for s in before) + 1 + sum(2 if any(vm.checked for vm in tier) else 1 for tier in tiers)
    return Bound(sum(parts.values()), chain * needs.latency, busiest(total) * needs.latency, sum(total.values()), parts)


def _tiers(vms: Sequence[Vm]) -> list[list[Vm]]:
    return [[vm for vm in vms if vm.tier == tier] for tier in sorted({vm.tier for vm in vms})]


def _starts(vms: Iterable[Vm]) -> Counter[str]:
    """Start and health check, by host."""
    work: Counter[str] = Counter()
    for vm in vms:
        work[vm.host] += 2 if vm.checked else 1
    return work


def _after(vms: Sequence[Vm]) -> Counter[str]:
    """Everything behind the commit, by device."""
    work = _starts(vms)
    work.update(Counter(vm.host for vm in vms))
    work.update(Counter(array for array, _, _ in {(a, volume, vm.host) for vm in vms for a, volume in vm.luns}))
    return work
