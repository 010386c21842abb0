"""A VM set back, in its place, to a recovery point, while the others that share its volumes go on. Pure.

Invariants:
1. The record of a restore stands before anything is stopped and goes when all disks are set back: in between the VM is not started, and
   whichever run comes next finishes it.
2. What the disks hold is kept as a safety copy of their volume before a byte of them changes; only the VM's own LUNs change.
3. A restore is void once its plan has moved: it was meant for the data of before. A resolve that keeps its side moves nothing, and goes on
   with it: the VM's disks may be set back in part.
"""

from __future__ import annotations

from collections.abc import Iterable

from dr_provider.model import keys
from dr_provider.model.records import RestoreRecord
from dr_provider.model.topology import VmSpec
from dr_provider.reconcile.placement import place
from dr_provider.reconcile.restart import may_run_unseen
from dr_provider.reconcile.standing import arrival
from dr_provider.reconcile.steps import Steps
from dr_provider.reconcile.view import PlanView

__all__ = ["end_void", "kept_as", "open_restores", "plan_restores", "record_array", "unfinished"]


def open_restores(view: PlanView, site: str | None = None) -> dict[str, RestoreRecord]:
    """The restores under way at a site (the active one, unless it is said), by VM."""
    at = site or view.active
    moved = arrival(view, at) if at is not None else None
    return {
        vm: record
        for vm, record in sorted(view.restores.items())
        if record.site == at and record.epoch >= (moved.number if moved else 0) and vm in view.spec.members
    }


def end_void(view: PlanView, steps: Steps, *, after: Iterable[str]) -> None:
    """End every restore of before: the epoch that it was meant for is about to be past."""
    for vm in sorted(view.restores.keys() & view.topology.vms.keys()):
        _end_void(vm, view.restores[vm], steps, after)


def _end_void(vm: str, record: RestoreRecord, steps: Steps, after: Iterable[str]) -> None:
    void = f"end the restore of VM {vm} to {record.point}, which is void by now"
    steps.add("end-restore", vm, void, after=after, needed=False, vm=vm, site=record.site)


def record_array(view: PlanView, vm: str, site: str) -> str:
    """The one array on which a restore's record stands: with two, one that was away could call for it again when it is back."""
    return view.copy_array(view.topology.vms[vm].volumes()[0], site)


def kept_as(record: RestoreRecord, volume: str) -> str:
    """The name of the safety copy that a restore makes of a volume."""
    return keys.safety_volume(volume, f"{record.vm}.{record.id}")


def unfinished(view: PlanView) -> list[str]:
    """Sentences on restores that a move would leave half done."""
    return [
        f"VM {vm}: its restore to {record.point} has not ended, so its disks may be set back in part; finish it first with dr protect {view.spec.name}"
        for vm, record in open_restores(view).items()
    ]


def plan_restores(
    view: PlanView, site: str, steps: Steps, *, after: Iterable[str], split: bool = False
) -> tuple[dict[str, str], dict[str, list[str]], list[str]]:
    """The steps that set VMs back, up to their start: hosts by VM, what each start waits for, and sentences on those that must wait.

    `split`: another side may still be the one that is kept, so that a restore there is not ended.
    """
    hosts: dict[str, str] = {}
    ended: dict[str, list[str]] = {}
    said: list[str] = []
    wait, under_way = list(after), open_restores(view, site)
    for vm, record in sorted(view.restores.items()):
        spec = view.topology.vms.get(vm)
        if spec is None:
            continue  # its record goes with the array's
        if vm not in under_way:
            if not split or record.site == site:
                _end_void(vm, record, steps, wait)
            continue
        host, why = _host(view, site, spec, record)
        why = why or _cannot(view, site, spec, record)
        if why:
            said.append(f"VM {vm}: its restore to {record.point} waits: {why}")
            continue
        hosts[vm] = host
        ended[vm] = _set_back(view, site, spec, record, host, steps, wait)
    return hosts, ended, said


def _host(view: PlanView, site: str, spec: VmSpec, record: RestoreRecord) -> tuple[str, str]:
    if record.host and view.seen.host(record.host) is not None:
        return record.host, ""
    placement = place(view, site, (spec,))
    return placement.hosts.get(spec.name, ""), placement.unplaced.get(spec.name, "")


def _cannot(view: PlanView, site: str, spec: VmSpec, record: RestoreRecord) -> str:
    """Why it cannot be set back now; empty: it can."""
    if may_run_unseen(view, spec, site):
        return f"{', '.join(sorted(view.silent_hosts(site)))} is silent, and it may run there"
    for name in spec.volumes():
        array, volume = view.copy_array(name, site), view.volume(name, site)
        there = view.seen.array(array)
        if there is None:
            return f"array {array} is silent"
        if volume is None:
            return f"volume {name} is not on {array}"
        if volume.snapshot(record.point) is None and keys.restore_volume(name, spec.name) not in there.volumes:
            return f"{record.point} is not on {array} any more"
    return ""


def _set_back(
    view: PlanView, site: str, spec: VmSpec, record: RestoreRecord, host: str, steps: Steps, wait: list[str]
) -> list[str]:
    vm, held, done = spec.name, list(wait), list[str]()
    at = [p for p in view.places if p.vm == vm and p.site == site]
    for p in at:
        if p.running:
            said = f"stop VM {vm} on {p.host}, to set its disks back to {record.point}"
            held.append(steps.add("stop", vm, said, after=wait, vm=vm, host=p.host))
    for p in at:
        if p.host != host:
            said = f"forget VM {vm} on {p.host}: it is restored on {host}"
            held.append(steps.add("evict", f"{vm}@{p.host}", said, after=held, vm=vm, host=p.host))
    said = f"unmap the LUNs of VM {vm} and read back that they are"
    held.append(steps.add("detach", vm, said, after=held, group="fence", vm=vm, site=site))
    for name in spec.volumes():
        array, clone, safety = view.copy_array(name, site), keys.restore_volume(name, vm), kept_as(record, name)
        luns = ",".join(keys.lun_name(vm, disk.role) for disk in spec.disks if disk.volume == name)
        said = f"clone volume {name} at {record.point} on {array}, to read the disks of VM {vm} from"
        copied = steps.add(
            "copy", f"{name}.{vm}", said, after=wait, volume=name, array=array, snapshot=record.point, name=clone
        )
        said = f"keep what {name} on {array} holds now as safety copy {safety}"
        kept = steps.add("set-aside", f"{name}.{vm}", said, after=held, volume=name, array=array, name=safety)
        said = f"set {luns} on {array} back to {record.point}; nothing else of volume {name} changes"
        done.append(
            steps.add(
                "set-back", f"{name}.{vm}", said, after=[copied, kept], volume=name, array=array, name=clone, luns=luns
            )
        )
    said = f"the disks of VM {vm} are as in {record.point}: clear what the restore needed"
    return [steps.add("end-restore", vm, said, after=done, vm=vm, site=site)]
