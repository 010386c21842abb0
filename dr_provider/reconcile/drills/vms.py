"""A drill's VMs: attached to their clones, started in tier order as a move does it, and looked at.

Invariant: what is wrong with one holds up only those that wait for it, since a drill is to show all that is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from dr_provider.arrays.base import Array
from dr_provider.model import keys, stopping
from dr_provider.model.drills import DrillRecord
from dr_provider.model.errors import DrError, Stopped
from dr_provider.model.records import Owner, Seal
from dr_provider.model.state import Reservation
from dr_provider.model.topology import VmSpec
from dr_provider.reconcile.decision import Action, Decision
from dr_provider.reconcile.definitions import vm_definition
from dr_provider.reconcile.drills.callouts import perform_callout, with_callouts
from dr_provider.reconcile.drills.outcome import DrillCheck
from dr_provider.reconcile.drills.parts import drill_vms
from dr_provider.reconcile.graph import Event, run_graph
from dr_provider.reconcile.health import pause, wait_until_well
from dr_provider.reconcile.journal import Lines
from dr_provider.reconcile.points import disks_since
from dr_provider.reconcile.steps import Steps, started_before, tier_of
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.world import World

__all__ = ["Drilling", "bring_up", "give_back", "keep_room"]


@dataclass
class Drilling:
    """A drill that is being run, and what it has shown so far."""

    world: World
    view: PlanView
    drill: str
    owner: Owner
    record: DrillRecord
    hosts: Mapping[str, str]
    seal: Seal | None
    started: float
    checks: dict[str, list[DrillCheck]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    """VMs that did not come up, with the reason."""
    astray: dict[str, str] = field(default_factory=dict)
    """VMs that run, and do not hold what they should."""
    notes: list[str] = field(default_factory=list)
    lines: Lines = field(default_factory=Lines)

    @property
    def tag(self) -> str:
        return keys.drill_tag(self.view.topology.name, self.view.spec.name, self.drill)

    def size(self, vm: str) -> VmSpec:
        """The VM as it is in a drill at this one's site."""
        return self.view.topology.vms[vm].there(self.record.site, drill=True)


def bring_up(held: Drilling) -> tuple[tuple[Mapping[str, object], ...], tuple[str, ...]]:
    """Attach all VMs at once and start them in tier order, as a move does."""
    drill, spec = held.drill, held.view.spec
    steps = Steps()
    members = [vm for vm in spec.members if vm in held.hosts]
    for vm in members:
        said = f"drill {drill}: map the clones of VM {vm} to {held.hosts[vm]} and define it there"
        steps.add("attach", vm, said, vm=vm, host=held.hosts[vm])
    for vm in members:
        before = [f"start:{other}" for other in started_before(spec, vm) if other in held.hosts]
        tier = tier_of(spec, vm)
        needed = spec.tiers[tier].on_failure != "continue"
        said = f"drill {drill}, tier {tier + 1} of {len(spec.tiers)}: start VM {vm} on {held.hosts[vm]}"
        steps.add("start", vm, said, after=[f"attach:{vm}", *before], needed=needed, vm=vm, host=held.hosts[vm])
    site = held.record.site
    actions = with_callouts(held.view, held.record, steps.done())
    decision = Decision(spec.name, "drill", site, site, site, held.record.point, actions=actions)
    told: list[Mapping[str, object]] = []
    outputs: dict[str, str] = {}

    def tell(event: Event) -> None:
        held.lines.event(event, outputs.get(event.action.id, ""))
        line = ""
        if event.what != "start":
            seconds = round(event.seconds, 3)
            step = {"event": event.what, "sentence": event.action.sentence, "seconds": seconds, "detail": event.detail}
            told.append({**step, "output": outputs[event.action.id]} if event.action.id in outputs else step)
        if event.what == "failed" or (event.what != "start" and event.action.verb == "start"):
            said = {"done": f"well after {event.seconds:.2f} s", "failed": "FAILED", "skipped": "skipped"}[event.what]
            line = f"plan {spec.name}: {event.action.sentence}: {said}{f' ({event.detail})' if event.detail else ''}"
        held.world.step(decision, event, line)

    try:
        result = run_graph(actions, lambda a: _perform(held, a, outputs), width=64, stop=stopping.requested, tell=tell)
    finally:
        give_back(held)
    if result.fatal is not None:
        raise result.fatal
    missed = [a for a in actions if a.id in result.failed and (a.needed or a.verb != "callout")]
    failures = [f"{a.sentence}: {result.failed[a.id]}" for a in missed]
    waits = {i: f"it waits ({why})" for i, why in result.skipped.items()}
    for action in (a for a in actions if "vm" in a.of and a.id in {*waits, *result.failed}):
        why = waits.get(action.id)
        if why is not None and action.verb == "start":
            failures.append(f"drill {drill}: VM {action.of['vm']} was not started: {why}")
        held.wrong.setdefault(action.of["vm"], why or str(result.failed[action.id]))
    failures += [f"drill {drill}: VM {vm}: {why}" for vm, why in held.astray.items()]
    return tuple(told), tuple(failures)


def keep_room(held: Drilling) -> None:
    """Keep CPUs and memory on the hosts for the VMs that do not run yet."""
    there = drill_vms(held.view, held.drill)
    running = {vm for vm, (_, state) in there.items() if state.state == "running"}
    for host in sorted(set(held.hosts.values())):
        wanted = [
            Reservation(held.tag, keys.drill_vm(vm, held.drill), (size := held.size(vm)).cpus, size.memory)
            for vm, at in sorted(held.hosts.items())
            if at == host and vm not in running
        ]
        held.world.fleet.host(host).reserve(held.tag, wanted)


def give_back(held: Drilling) -> None:
    """What was kept for it is free again; a host that is silent gives it back when the drill is ended."""
    for host in sorted(set(held.hosts.values())):
        try:
            held.world.fleet.host(host).release(held.tag)
        except DrError as error:
            said = f"what {host} keeps for drill {held.drill} goes with its end ({error})"
            held.world.progress(f"plan {held.view.spec.name}: {said}")


def _perform(held: Drilling, action: Action, outputs: dict[str, str]) -> str:
    if action.verb == "callout":
        return perform_callout(held.world, held.view, held.record, held.hosts, action, outputs)
    vm, view = action.of["vm"], held.view
    if action.verb == "start":
        return _start(held, action)
    host_name, spec = held.hosts[vm], view.topology.vms[vm]
    state = view.seen.host(host_name)
    if state is None:
        raise DrError(f"VM {vm}: host {host_name} fell silent; run the drill again to place it anew")
    for volume in spec.volumes():
        array = held.world.fleet.array(view.copy_array(volume, held.record.site))
        luns = [keys.lun_name(vm, disk.role) for disk in spec.disks if disk.volume == volume]
        _make_late(held, spec, volume, array)
        array.map_lun(keys.drill_volume(volume, held.drill), luns, state.initiator)
    fleet, record = held.world.fleet, held.record
    fleet.host(host_name).define(
        vm_definition(
            fleet, view.topology, vm, record.site, held.owner, held.drill,
            own_cards=record.own_cards, network=record.network, seen=view.seen,
        )
    )  # fmt: skip
    return ""


def _make_late(held: Drilling, vm: VmSpec, volume: str, array: Array) -> None:
    """Make the disks that were added after the point, as a move to it does."""
    point = next((point for point in held.view.points if point.id == held.record.point), None)
    if point is None or volume not in point.members:
        return  # there is no clone to make them on, which is said where they are mapped
    clone = keys.drill_volume(volume, held.drill)
    late = [disk for disk in disks_since(point, vm) if disk.volume == volume]
    # A VM that has not been started since knows nothing of a disk, and its LUN may be there all the same.
    there = array.state().volumes[clone].luns if late else {}
    for disk in late:
        lun = keys.lun_name(vm.name, disk.role)
        if lun not in there:
            array.create_lun(clone, lun, disk.size, image=disk.image)
            held.notes.append(
                f"VM {vm.name}: its disk {disk.role} was added after recovery point {point.id}, and is made anew for it"
            )


def _start(held: Drilling, action: Action) -> str:
    """Start the VM, wait until it is well, and look at its data."""
    vm = action.of["vm"]
    host_name, name, spec = held.hosts[vm], keys.drill_vm(vm, held.drill), held.size(vm)
    host = held.world.fleet.host(host_name)
    there = drill_vms(held.view, held.drill).get(vm)
    if held.record.kind != "beside" and (there is None or there[1].state != "running"):
        # As a move would: what is measured is the time that one takes.
        pause(spec.start_delay, stopping.requested)
    begun = time.monotonic()
    what = "running" if spec.health is None else f"tcp {spec.health.tcp}" if spec.health.tcp else "agent"
    looked = held.checks.setdefault(vm, [])
    try:
        host.start(name)
        held.lines.up(action)
        said = wait_until_well(held.world.fleet, host_name, name, spec, stopping.requested)
    except Stopped:
        raise
    except DrError as error:
        looked.append(DrillCheck(what, False, time.monotonic() - begun, str(error)))
        raise
    looked.append(DrillCheck(what, True, time.monotonic() - begun, said))
    data = _look_at_data(held, vm, host_name, begun)
    if data is not None:
        looked.append(data)
        said = "; ".join(part for part in (said, data.detail) if part)
    held.seconds[vm] = time.monotonic() - held.started
    return said


def _look_at_data(held: Drilling, vm: str, host: str, begun: float) -> DrillCheck | None:
    """What the guest makes of its data, against what the seal of the point says; None: it has no way to say. What is wrong with it holds up
    nobody: a drill is to show all that is wrong."""
    report = held.world.fleet.host(host).read_data(keys.drill_vm(vm, held.drill))
    if report is None:
        return None
    level = held.seal.levels.get(vm) if held.seal is not None else None
    mark = level.mark if level is not None else None
    whole = report.last is None or mark is None or report.last >= mark
    found = "" if report.last is None else f"{report.last} entries"
    promised = "" if mark is None else f", {mark} in the recovery point"
    said = f"data intact: {found}{promised}" if report.intact else f"data NOT intact: {report.detail}"
    if report.intact and not whole:
        said = f"data NOT whole: {found}{promised}"
    if not report.intact or not whole:
        held.astray[vm] = said
    return DrillCheck("data", report.intact and whole, time.monotonic() - begun, said)
