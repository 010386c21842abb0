"""A plan's move without any of this software: what is typed on arrays, hosts and in guests, in order, each step with a number. Pure.

zfs arrays with libvirt hosts can be moved by hand; embedded ones are files that nothing but dr can read. It runs on clones of a recovery point, so that dr can go on afterwards (arrays/zfs/byhand.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from dr_provider.arrays.zfs.byhand import HandLun, HandZfs
from dr_provider.hypervisors.libvirt.byhand import HandHost
from dr_provider.model import keys
from dr_provider.model.byhand import Block
from dr_provider.model.records import Owner
from dr_provider.model.remap import card_at
from dr_provider.model.topology import HostSpec, Topology
from dr_provider.model.units import format_duration
from dr_provider.model.vm import DiskAttachment, NicDefinition, VmDefinition

__all__ = ["HandStep", "Hands", "by_hand", "can_be_moved_by_hand", "likely_hosts"]


@dataclass(frozen=True)
class HandStep:
    """`key` is what steps of a move refer to ("H4"); `only` says when it is done, where not always."""

    key: str
    title: str
    blocks: tuple[Block, ...]
    only: str = ""


@dataclass(frozen=True)
class Hands:
    """The move from `source` to `target` by hand, the way back, and what is done when dr can be run again: `after` while it runs at `target` by
    hand, `after_back` once it runs at `source` by hand again. `hosts`: by VM, those that the commands name."""

    source: str
    target: str
    steps: tuple[HandStep, ...]
    back: tuple[HandStep, ...]
    after: tuple[HandStep, ...]
    after_back: tuple[HandStep, ...]
    hosts: Mapping[str, str] = field(default_factory=dict)


def can_be_moved_by_hand(topology: Topology, plan: str) -> bool:
    """Whether its arrays and hosts have programs of their own."""
    arrays = {topology.arrays[name].driver for name in topology.plan_arrays(plan)}
    hosts = {host.driver for site in topology.plans[plan].sites for host in topology.plan_hosts(plan, site)}
    return arrays <= {"zfs"} and hosts <= {"libvirt"}


def likely_hosts(topology: Topology, plan: str, site: str, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """A host at the site for each VM: the known one, else that with the most memory left by what the topology says (one that says nothing has room for all)."""
    hosts = topology.plan_hosts(plan, site)
    left = {host.name: _memory(host) for host in hosts}
    chosen: dict[str, str] = {}
    for name in topology.plans[plan].members:
        given = (known or {}).get(name)
        host = given if given in left else max(left, key=lambda each: left[each])
        assert host is not None
        left[host] -= topology.vms[name].there(site).memory
        chosen[name] = host
    return chosen


def _memory(host: HostSpec) -> int:
    memory = host.options.get("memory")
    return memory if isinstance(memory, int) else 1 << 50


def by_hand(
    topology: Topology,
    plan: str,
    source: str,
    target: str,
    known: Mapping[str, str] | None = None,
    *,
    callouts: tuple[Block, ...] = (),
    callouts_back: tuple[Block, ...] = (),
) -> Hands | None:
    """None: it cannot be done. `known`: VM -> host, where hosts have been asked; `callouts`: those of the move, and of the way back."""
    if not can_be_moved_by_hand(topology, plan):
        return None
    here, there = _Side(topology, plan, source, known), _Side(topology, plan, target, known)
    sure = f"only when {source} is known to be stopped: H1 and H2 are done, or somebody there has seen that its power is off; two sides that both write are the worst that can happen"
    steps = [
        HandStep("H0", "Switch off what of dr works by itself", (_SERVICES_OFF,), f"also on machines of {source} that are dark now, before they are given power again: dr knows nothing of a move by hand, and would start the VMs at {source}"),
        HandStep("H1", f"Stop the VMs at {source}", tuple(here.stop()), f"only where hosts of {source} answer"),
        HandStep("H2", f"Take the LUNs away at {source}", tuple(here.take_away()), f"only where an array of {source} answers"),
        HandStep("H3", f"Bring the last state from {source} to {target}", tuple(here.send(there)), f"only after H1 and H2, and where the arrays of {source} reach those of {target}"),
        HandStep("H4", "Choose the recovery point, and open it for writing", tuple(there.open()), there.one_point()),
        HandStep("H5", f"Offer the LUNs to the hosts of {target}", tuple(there.offer())),
        HandStep("H6", f"Define the VMs at {target}", tuple(there.define())),
        HandStep("H7", f"Start the VMs at {target}, tier by tier", tuple(there.start()), sure),
    ]  # fmt: skip
    if callouts:
        steps.append(HandStep("H8", "Callouts and prompts, each at its place among the steps above", callouts))
    back = [
        HandStep("B1", f"End what was started by hand at {target}", tuple(there.end())),
        HandStep("B2", f"Send what was written at {target} to {source}", tuple(there.send_back(here))),
        HandStep("B3", f"Offer the LUNs to the hosts of {source}", tuple(here.offer())),
        HandStep("B4", f"Define the VMs at {source}", tuple(here.define())),
        HandStep("B5", f"Start the VMs at {source}, tier by tier", tuple(here.start()), f"only when B1 and B2 have ended well: nothing of the plan runs at {target}"),
    ]  # fmt: skip
    if callouts_back:
        back.append(HandStep("B6", "Callouts and prompts, each at its place among the steps above", callouts_back))
    word = '--force "EPOCH: REASON"'
    forward = Block(
        "your machine",
        (
            f"dr failover {plan} --to {target} --point POINT {word}        # POINT as chosen in H4; after H3 leave --point out",
        ),
        "The same move by dr: it takes the plan to where it runs, and starts its VMs from the recovery point.",
    )
    on = Block(
        "your machine",
        (
            f"dr start {plan}        # while the other site is silent: {word}, with EPOCH as dr status says it now",
            f"dr protect {plan} --now",
            "dr status",
        ),
        "Start the VMs with what was written by hand, and protect that. Then switch on what H0 has switched off.",
    )
    after = [
        HandStep("A1", f"End what was started by hand at {target}, before dr starts anything", tuple(there.end())),
        HandStep("A2", f"Let dr take the plan to {target}, and shut down what it has started: the disks are about to be exchanged", (forward, *there.stop())),
        HandStep("A3", "Put the disks that were written by hand in the place of dr's", (*there.copy_into(), on)),
        HandStep("A4", "Remove the clones, when nobody needs them any more", (*there.remove(), *here.remove())),
    ]  # fmt: skip
    after_back = [
        HandStep("C1", f"End what was started by hand at {source}, before dr starts anything", tuple(here.end())),
        HandStep("C2", "Put the disks that were written by hand in the place of dr's", (*here.copy_into(set_aside=True), on)),
        HandStep("C3", "Remove the clones, when nobody needs them any more", (*here.remove(), *there.remove())),
    ]  # fmt: skip
    return Hands(source, target, tuple(steps), tuple(back), tuple(after), tuple(after_back), there.hosts)


_SERVICES_OFF = Block(
    "every machine that has a service or a schedule of dr's",
    (
        "systemctl list-unit-files 'dr-*'",
        "systemctl disable --now dr-protect        # dr protect --watch; schedules of CI and cron, too",
    ),
    "`dr protect --watch` and schedules in CI (protect, drift, drill, apply) repair what they find, and would start VMs that were stopped by hand. A guard (`dr guard`) only stops VMs: leave it.",
)


class _Side:
    """The plan at one site."""

    def __init__(self, topology: Topology, plan: str, site: str, known: Mapping[str, str] | None) -> None:
        self._topology, self._plan, self._site = topology, topology.plans[plan], site
        self.hosts = likely_hosts(topology, plan, site, known)
        self._volumes: dict[str, list[str]] = {}
        for volume in topology.plan_volumes(plan):
            array = topology.copy_at(volume.name, site)
            if array is not None:
                self._volumes.setdefault(array, []).append(volume.name)

    # -- arrays ---------------------------------------------------------------------------------------

    def _arrays(self) -> Iterator[tuple[HandZfs, list[str]]]:
        for name in sorted(self._volumes):
            yield HandZfs(self._topology.arrays[name]), self._volumes[name]

    def _luns(self, volumes: list[str]) -> list[tuple[HandLun, str]]:
        """LUNs on these volumes, with their VMs, in tier order."""
        return [
            (HandLun(disk.volume, keys.lun_name(vm, disk.role)), vm)
            for vm in self._plan.members
            for disk in self._topology.vms[vm].disks
            if disk.volume in volumes
        ]

    def take_away(self) -> Iterator[Block]:
        for array, volumes in self._arrays():
            yield array.take_away([lun for lun, _ in self._luns(volumes)])

    def send(self, to: _Side) -> Iterator[Block]:
        for array, volumes in self._arrays():
            yield array.functions()
            yield array.snapshot(volumes)
            for peer, theirs in to._arrays():
                if both := [volume for volume in volumes if volume in theirs]:
                    yield array.send(both, peer)

    def open(self) -> Iterator[Block]:
        for array, volumes in self._arrays():
            yield array.functions()
            yield array.choose_point(volumes)
            yield array.open(volumes)

    def one_point(self) -> str:
        """What must be seen to where the volumes stand on several arrays."""
        names = sorted(self._volumes)
        return f"the same POINT on each of {', '.join(names)}: one that all of them list" if len(names) > 1 else ""

    def offer(self) -> Iterator[Block]:
        for array, volumes in self._arrays():
            luns = self._luns(volumes)
            initiators = {lun: self._host(vm).initiator for lun, vm in luns}
            yield array.offer([lun for lun, _ in luns], initiators)

    def send_back(self, to: _Side) -> Iterator[Block]:
        for array, volumes in self._arrays():
            for peer, theirs in to._arrays():
                if both := [volume for volume in volumes if volume in theirs]:
                    yield array.send_back(both, peer)

    def copy_into(self, *, set_aside: bool = False) -> Iterator[Block]:
        for array, volumes in self._arrays():
            yield array.functions()
            if set_aside:
                yield array.set_aside(volumes)
            yield array.copy_into([lun for lun, _ in self._luns(volumes)])

    def remove(self) -> Iterator[Block]:
        for array, volumes in self._arrays():
            yield array.functions()
            yield array.remove(volumes)

    # -- hosts ----------------------------------------------------------------------------------------

    def _host(self, vm: str) -> HandHost:
        return HandHost(self._topology.hosts[self.hosts[vm]])

    def _by_host(self) -> dict[str, list[str]]:
        """Host -> its VMs, in tier order."""
        found: dict[str, list[str]] = {}
        for vm in self._plan.members:
            found.setdefault(self.hosts[vm], []).append(vm)
        return found

    def stop(self) -> Iterator[Block]:
        """On every host that the plan may use: where each VM runs is what the list says."""
        for host in self._topology.plan_hosts(self._plan.name, self._site):
            yield HandHost(host).stop(tuple(reversed(self._plan.members)))

    def define(self) -> Iterator[Block]:
        for vm in self._plan.members:
            yield self._host(vm).define(self._definition(vm))

    def start(self) -> Iterator[Block]:
        """VM by VM in tier order, each with its addresses and its health: those behind it wait for it."""
        for number, vm in ((number, vm) for number, tier in enumerate(self._plan.tiers, 1) for vm in tier.members):
            host, definition, spec = self._host(vm), self._definition(vm), self._topology.vms[vm].there(self._site)
            delay = f", {format_duration(spec.start_delay)} after its turn has come" if spec.start_delay else ""
            yield host.start(vm, f", of tier {number}{delay}")
            if (address := host.address(vm, definition.nics)) is not None:
                yield address
            yield host.look(vm, definition.nics, spec.health)

    def end(self) -> Iterator[Block]:
        for name, vms in self._by_host().items():
            yield HandHost(self._topology.hosts[name]).end([self._definition(vm) for vm in reversed(vms)])
        for array, volumes in self._arrays():
            yield array.take_away([lun for lun, _ in self._luns(volumes)], by_hand=True)

    def _definition(self, vm: str) -> VmDefinition:
        """As `definitions.vm_definition`, on LUNs that are offered by hand."""
        spec = self._topology.vms[vm].there(self._site)
        disks = []
        for disk in spec.disks:
            array = self._topology.copy_at(disk.volume, self._site)
            assert array is not None
            lun = HandLun(disk.volume, keys.lun_name(vm, disk.role))
            target = HandZfs(self._topology.arrays[array]).target(lun)
            disks.append(DiskAttachment(disk.role, disk.volume, lun.lun, disk.size, target))
        nics = []
        for nic in spec.nics:
            card = card_at(self._topology.networks[nic.network], nic, self._site)
            assert card is not None
            nics.append(NicDefinition(card.bridge, nic.mac, card.address, card.gateway, card.dns))
        uuid = keys.vm_uuid(self._topology.name, f"{vm}-byhand")
        owner = Owner(self._topology.name, "", "by hand")
        return VmDefinition(
            f"{vm}-byhand", vm, self._plan.name, uuid, spec.cpus, spec.memory, tuple(disks), tuple(nics), owner
        )
