"""VMs that should run at a site and do not, and the steps that start them. Pure.

Invariants: what runs is left running. A VM is started only where it is known that no other side has taken over: by asking it, or by the
operator's word ("starting asks, running does not").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dr_provider.model import keys
from dr_provider.model.records import Epoch
from dr_provider.model.state import Silent
from dr_provider.model.topology import VmSpec
from dr_provider.reconcile.drills.giving_way import end_drills, make_room
from dr_provider.reconcile.fencing import taken_over, witness_vouches
from dr_provider.reconcile.givenup import given_up, is_lost
from dr_provider.reconcile.held import check_running, hold_up
from dr_provider.reconcile.restart import isolate, may_run_unseen, same_cluster, unseen
from dr_provider.reconcile.restoring import open_restores
from dr_provider.reconcile.steps import Steps, started_before, tier_of
from dr_provider.reconcile.view import PlanView, VmPlace
from dr_provider.reconcile.word import ask_for_word

__all__ = ["add_room", "add_starts", "add_stops", "export_again", "not_running", "start_vms", "unasked", "waiting"]


def unasked(view: PlanView, epoch: Epoch) -> tuple[str, ...]:
    """Why it is not known that the plan is still active where the epoch says: another side is silent, and may have taken over. Empty: known.

    The witness is asked in the place of silent sides, where the plan has one.

    A side that was given up when the epoch was made (in a disaster, or by the word) is not asked until that move has come to its end:
    while some of its VMs run, or no recovery point of the epoch is there yet.
    """
    given_up = epoch.kind == "disaster" or epoch.word is not None
    ended = any(point.epoch == epoch.number for point in view.points) and not view.running_at(epoch.site)
    if given_up and not ended:
        return ()
    elsewhere = taken_over(view, epoch)
    if elsewhere or witness_vouches(view, epoch):
        return elsewhere
    silent: list[str] = []
    for site in view.others(epoch.site):
        # An array that was never made has taken nothing over.
        states = [view.seen.arrays[array] for array in view.site_arrays(site)]
        reasons = [state.reason for state in states if isinstance(state, Silent) and not state.missing]
        if not reasons:
            return ()  # a peer that can be asked is enough: who takes over tells all that it reaches
        silent += reasons
    return tuple(silent)


def waiting(view: PlanView, epoch: Epoch, reasons: Iterable[str], *, restart: bool = False) -> list[str]:
    """Sentences on the VMs that are not started because another side cannot be asked."""
    # A copy that is still to be broken is so once the word is given.
    missing, lost, said = not_running(view, epoch.site, restart=restart, broken=False)
    missing += lost
    if missing:
        plan, names = view.spec.name, ", ".join(vm.name for vm in missing)
        said.append(
            f"plan {plan}: {names} not running at {epoch.site}, and not started: another side might have taken over and cannot be asked "
            f"({'; '.join(reasons)}); {ask_for_word(plan, epoch.number)}"
        )
    return said


def start_vms(
    view: PlanView,
    site: str,
    steps: Steps,
    *,
    after: Iterable[str],
    last: Iterable[str] = (),
    restart: bool = False,
    late: Mapping[str, str] | None = None,
) -> tuple[list[str], list[str]]:
    """Attach and start, in tier order, each VM that should run at the site and does not; ids, and sentences on those that cannot. Drills
    that have the room give way.

    `restart`: those that a silent host may run too, once their disks are taken from it. `late`: steps that bring a volume, by volume.
    """
    missing, lost, said = not_running(view, site, restart=restart)
    placement, ways = make_room(view, site, missing + lost, near=same_cluster(view, site, lost))
    after = [*after, *end_drills(ways, view.spec.name, site, steps, after=after, whose="a VM that is to run there")]
    unable = {vm.name: why for vm in view.vms if (why := placement.unplaced.get(vm.name) or _gone(view, vm, site))}
    hosts, held = hold_up(view, placement.hosts, unable)
    first, coming = isolate(view, site, hosts, lost, steps, after=after), late or {}
    for vm in hosts:
        brought = [coming[name] for name in view.topology.vms[vm].volumes() if name in coming]
        first[vm] = [*first.get(vm, ()), *brought]
    starts = add_starts(view, hosts, steps, after=after, last=last, first=first)
    return starts, [*said, *placement.unplaced.values(), *held]


def export_again(view: PlanView, site: str, steps: Steps, *, after: Iterable[str]) -> list[str]:
    """Map to its host what a VM that runs has lost: an array that was restarted exports nothing until it is asked to. Ids."""
    return [
        steps.add(
            "export",
            vm.name,
            f"map {', '.join(lost)} to {at.host} again: VM {vm.name} runs there, and its array does not offer them",
            after=after,
            needed=False,
            vm=vm.name,
            host=at.host,
        )
        for vm in view.vms
        if (at := view.place(vm.name, site)) is not None and view.runs_at(at) and (lost := _unmapped(view, vm, at))
    ]


def _unmapped(view: PlanView, vm: VmSpec, at: VmPlace) -> list[str]:
    """The LUNs of the VM as it runs that are there, on a volume that may be written, and mapped to nobody. A disk that was declared since
    is its resource's to attach."""
    names = []
    running = {disk.lun for disk in at.state.definition.disks}
    for disk in vm.disks:
        volume, lun = view.volume(disk.volume, at.site), keys.lun_name(vm.name, disk.role)
        if lun not in running or volume is None or not volume.writable or lun not in volume.luns:
            continue
        if volume.luns[lun].mapped_to is None:
            names.append(lun)
    return names


def add_room(site: str, hosts: Mapping[str, str], steps: Steps, *, after: Iterable[str]) -> str:
    """Keep CPUs and memory on the hosts (by VM) for a move to the site."""
    used = sorted(set(hosts.values()))
    said = "; ".join(f"{h}: {', '.join(sorted(vm for vm, at in hosts.items() if at == h))}" for h in used)
    return steps.add(
        "reserve", "", f"keep CPUs and memory at {site} ({said})", after=after, group="claim",
        hosts=";".join(f"{vm}={host}" for vm, host in sorted(hosts.items())),
    )  # fmt: skip


def add_stops(view: PlanView, site: str, steps: Steps, *, after: Iterable[str], needed: bool) -> list[str]:
    """Stop what runs at the site that a move leaves, in reverse tier order, on every host that runs it. Ids."""
    wait, places = list(after), view.running_at(site)
    running = {place_.vm for place_ in places}
    stops = []
    for vm in reversed(view.spec.members):
        for host in [place_.host for place_ in places if place_.vm == vm]:
            later = [f"stop:{w}" for w in view.spec.members if vm in started_before(view.spec, w) and w in running]
            sentence = f"stop VM {vm} on {host}"
            stops.append(steps.add("stop", vm, sentence, after=[*wait, *later], needed=needed, vm=vm, host=host))
    return stops


def add_starts(
    view: PlanView,
    hosts: Mapping[str, str],
    steps: Steps,
    *,
    after: Iterable[str],
    last: Iterable[str] = (),
    first: Mapping[str, Iterable[str]] | None = None,
) -> list[str]:
    """Two steps a VM: all are attached at once (after what `first` names for them), and each starts when those before it are up."""
    wait, ended = list(after), list(last)
    ordered = [vm for vm in view.spec.members if vm in hosts]
    attached = {
        vm: steps.add(
            "attach",
            vm,
            f"map the LUNs of VM {vm} to {hosts[vm]} and define it there",
            after=[*wait, *(first or {}).get(vm, ())],
            last=ended,
            group="attach",
            vm=vm,
            host=hosts[vm],
        )
        for vm in ordered
    }
    for vm in ordered:
        before = [f"start:{other}" for other in started_before(view.spec, vm) if other in hosts]
        before += check_running(view, vm, hosts, steps, wait)
        steps.add(
            "start",
            vm,
            f"start VM {vm} on {hosts[vm]}",
            after=[attached[vm], *before],
            group="start",
            needed=view.spec.tiers[tier_of(view.spec, vm)].on_failure != "continue",
            vm=vm,
            host=hosts[vm],
        )
    return steps.ids("start")


def not_running(
    view: PlanView, site: str, *, restart: bool = False, broken: bool = True
) -> tuple[tuple[VmSpec, ...], tuple[VmSpec, ...], list[str]]:
    """VMs that have data at the site and do not run there; with `restart`, those that only a silent host may run; and sentences on those
    of which too little is known. `broken`: what is a copy still is one that nothing will break before they start."""
    epoch = view.epoch
    missing: list[VmSpec] = []
    lost: list[VmSpec] = []
    said: list[str] = []
    restoring = open_restores(view, site)
    for vm in view.vms:
        if vm.name in restoring:
            continue  # it is started when its disks are set back
        known = view.place(vm.name, site)
        if known is not None and view.runs_at(known):
            continue
        if may_run_unseen(view, vm, site):
            why = unseen(view, vm, site, allowed=restart) or _lacking(view, vm, site, broken=broken)
            if why:
                said.append(why)
            else:
                lost.append(vm)
            continue
        fresh = known is None and ((epoch is not None and epoch.number == 1) or view.never_made("vm", vm.name))
        if fresh:
            continue  # never made yet: its own resource makes it
        lacking = _lacking(view, vm, site, broken=broken)
        if lacking:
            said.append(lacking)
        else:
            missing.append(vm)
    return tuple(missing), tuple(lost), said


def _gone(view: PlanView, vm: VmSpec, site: str) -> str:
    """Why the VM cannot be started where its array, its volume or a disk in it is not there; one that runs, may run unseen or is still to be made
    is not meant, nor a disk that is being set back."""
    known = view.place(vm.name, site)
    if (known is not None and view.runs_at(known)) or may_run_unseen(view, vm, site) or view.never_made("vm", vm.name):
        return ""
    lost = any(view.volume(name, site) is None for name in vm.volumes())
    if not lost and vm.name not in open_restores(view, site):
        lost = any(is_lost(view, vm, disk, site) for disk in vm.disks)
    return _lacking(view, vm, site) if lost else ""


def _lacking(view: PlanView, vm: VmSpec, site: str, *, broken: bool = True) -> str:
    """Why the VM cannot be started on the site's data; empty: it can."""
    anew = given_up(view, vm, site)
    for disk in vm.disks:
        array = view.copy_array(disk.volume, site)
        if view.array_state(disk.volume, site) is None:
            return f"VM {vm.name}: it does not run, and array {array} with its disk {disk.role} is silent"
        volume = view.volume(disk.volume, site)
        if volume is None:
            return (
                f"VM {vm.name}: it does not run, and volume {disk.volume} with its disk {disk.role} is not on {array}"
            )
        if broken and not volume.writable:
            return f"VM {vm.name}: it does not run, and volume {disk.volume} with its disk {disk.role} is a copy on {array} that nothing may write to yet"
        if keys.lun_name(vm.name, disk.role) not in volume.luns and disk not in anew:
            if is_lost(view, vm, disk, site):
                return (
                    f"VM {vm.name}: it does not run, and its disk {disk.role} is lost: it was made in volume {disk.volume} and is missing there on {array}; "
                    f"it is not made anew, since that would hide the loss: dr restore {vm.name} --point POINT sets it back (dr points lists them)"
                )
            return f"VM {vm.name}: its disk {disk.role} is not in volume {disk.volume} at {site} (added after the recovery point); `up` makes it"
    return ""
