"""What the steady state needs: VMs that should run, copies that should be mirrors again, stale sides that must hold still. Pure.

Invariants, in this order:
1. A stale side (its epoch is past) runs nothing: what runs there is stopped. If it may have written after the commit, that is put on
   record as a split *before* it is stopped, and nothing is resynced until an operator says which side to keep.
2. A diverged copy is kept as a safety copy before it becomes a destination again.
3. VMs that run at the active side are left running.
4. The way back is protected by a new recovery point that has arrived there, not by the mirror's being pointed that way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dr_provider.model import keys
from dr_provider.model.records import Epoch
from dr_provider.model.state import ArrayState, Silent
from dr_provider.model.topology import VmSpec
from dr_provider.reconcile.copies import CopyStanding, standing, wrote_after
from dr_provider.reconcile.decision import Decision, Want
from dr_provider.reconcile.placement import place
from dr_provider.reconcile.steps import Steps, started_before, tier_of
from dr_provider.reconcile.view import PlanView

__all__ = ["Stale", "decide_repair", "restore_copies", "start_vms", "stop_stale"]


@dataclass
class Stale:
    """What was found at a stale site. `evidence` of writing after the commit makes a split."""

    evidence: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    ready: bool = True
    """Whether its copies may be brought back in line (nothing of it is silent that counts, no split)."""


def decide_repair(view: PlanView, want: Want) -> Decision:
    """What is left to do for a plan to run where it is and to be protected; no actions: nothing to do."""
    epoch = view.epoch
    assert epoch is not None
    active, plan = epoch.site, view.spec.name
    steps = Steps()
    warnings: list[str] = []
    degraded: list[str] = []
    notes: list[str] = []

    before = _records(view, epoch, steps)
    warnings += _silent_side(view, active, active=True)
    # Stale sides hold still before anything starts here.
    stale: dict[str, Stale] = {}
    for other in view.spec.sites:
        if other != active:
            stale[other] = stop_stale(view, epoch, other, steps, before)
            warnings += stale[other].warnings
    starts, said = start_vms(view, active, steps, after=before, last=steps.ids("split", "stop", "fence"))
    degraded += said
    if not any(side.evidence for side in stale.values()):
        for other, side in stale.items():
            if side.ready:
                warnings += restore_copies(view, active, other, steps, after=before, last=starts)
    if want.point is not None and want.site == active:
        notes.append(f"plan {plan}: a recovery point applies to a move only, and the plan is at {active} already")
    for name, reason in _newer_elsewhere(view, active):
        warnings.append(f"volume {name}: {reason}")
    actions = steps.done()
    return Decision(
        plan,
        "repair" if actions else "none",
        from_site=None,
        to_site=active,
        authority=active,
        actions=actions,
        warnings=tuple(warnings),
        notes=tuple(notes),
        degraded=tuple(degraded),
    )


def _records(view: PlanView, epoch: Epoch, steps: Steps) -> list[str]:
    """Arrays that lack the epoch in force, still hold an ended claim, or were never pinned."""
    ids = []
    for array in view.topology.plan_arrays(view.spec.name):
        state = view.seen.arrays[array]
        if isinstance(state, Silent):
            if state.missing:
                ids.append(steps.add("create-array", array, f"make array {array} and pin it", array=array))
        elif keys.pin_key(view.topology.name) not in state.records:
            ids.append(steps.add("create-array", array, f"pin array {array}", array=array))
    behind = [a for a in sorted(view.epochs) if not any(e.id == epoch.id for e in view.epochs[a])]
    done = sorted({*behind, *view.leftover_claims})
    if done:
        said = f"write epoch {epoch.number} ({epoch.site}) to {', '.join(done)}"
        ids.append(steps.add("record", "", said, group="records", arrays=",".join(done)))
    return ids


def _silent_side(view: PlanView, site: str, *, active: bool) -> list[str]:
    said = []
    for name, reason in {**view.silent_arrays(site), **view.silent_hosts(site)}.items():
        if not isinstance((view.seen.arrays.get(name) or view.seen.hosts.get(name)), ArrayState):
            what = "where the plan is active" if active else "so the plan is not protected there"
            said.append(f"{site}: {reason} ({what})")
    return said


# -- the stale side -----------------------------------------------------------------------------


def stop_stale(view: PlanView, epoch: Epoch, other: str, steps: Steps, after: Iterable[str]) -> Stale:
    """Stop and unmap what a stale site still runs; put a split on record first where it may have written."""
    side = Stale()
    side.warnings += _silent_side(view, other, active=False)
    copies = [standing(view, name, epoch.site, other) for name in view.volume_names]
    running = view.running_at(other)
    for place_ in running:
        if _could_write(view, place_.vm, copies, other):
            side.evidence.append(
                f"VM {place_.vm} was seen running on {place_.host} at {other} after epoch {epoch.number} had been committed at {epoch.site}"
            )
    side.evidence += [
        f"volume {copy.volume} on {copy.array} was written at {copy.last_write}, after epoch {epoch.number} had been committed at {epoch.site} ({epoch.time})"
        for copy in copies
        if wrote_after(copy, epoch.time)
    ]
    wait = list(after)
    if side.evidence:
        side.ready = False
        wait.append(
            steps.add(
                "split",
                other,
                f"put on record that {epoch.site} and {other} have both been written (split)",
                after=wait,
                site=other,
                fork=epoch.point or "",
                evidence="\n".join(side.evidence),
            )
        )
    for place_ in running:
        steps.add(
            "stop",
            f"{place_.vm}@{other}",
            f"stop VM {place_.vm} on {place_.host}: {other} is past, the plan is active at {epoch.site}",
            after=wait,
            needed=False,
            vm=place_.vm,
            host=place_.host,
        )
    fence_mapped(copies, steps, after=wait, last=steps.ids("stop"))
    if any(copy.standing == "unknown" for copy in copies):
        side.ready = False
    return side


def _could_write(view: PlanView, vm: str, copies: list[CopyStanding], other: str) -> bool:
    """A VM that runs on LUNs that were taken from it writes nothing; with a silent array nobody can say that."""
    volumes = view.topology.vms[vm].volumes()
    for copy in copies:
        if copy.volume not in volumes:
            continue
        if view.array_state(copy.volume, other) is None:
            return True
        if any(lun.partition(".")[0] == vm for lun in copy.mapped):
            return True
    return False


def fence_mapped(
    copies: Iterable[CopyStanding], steps: Steps, *, after: Iterable[str], last: Iterable[str] = (), needed: bool = True
) -> list[str]:
    """Unmap, per array, every LUN that is still mapped."""
    by_array: dict[str, list[str]] = {}
    for copy in copies:
        if copy.mapped:
            by_array.setdefault(copy.array, []).append(copy.volume)
    return [
        steps.add(
            "fence",
            array,
            f"unmap the LUNs of {', '.join(sorted(volumes))} on {array} and read back that they are",
            after=after,
            last=last,
            group="fence",
            needed=needed,
            array=array,
            volumes=",".join(sorted(volumes)),
        )
        for array, volumes in sorted(by_array.items())
    ]


# -- copies back in line --------------------------------------------------------------------------


def restore_copies(
    view: PlanView, active: str, other: str, steps: Steps, *, after: Iterable[str], last: Iterable[str] = ()
) -> list[str]:
    """Make the copies at another site destinations again, keep what is theirs alone, and send a new recovery point there."""
    copies = [standing(view, name, active, other) for name in view.volume_names]
    wrong = [copy for copy in copies if copy.standing not in ("mirrored", "unknown")]
    wrong = [c for c in wrong if not (c.standing == "absent" and not _established(view, c.volume, active))]
    unsent = _unsent(view, active, other, copies)
    if not wrong and not unsent:
        return []
    if any(view.volume(copy.volume, active) is None for copy in copies):
        return []
    cut = [copy.volume for copy in wrong if not view.linked(copy.volume, active, other)]
    if cut:
        return [
            f"{other}: the link between the arrays of {', '.join(cut)} is cut, so {active} is not protected there until it is back"
        ]
    label = f"e{view.epoch.number}" if view.epoch else "e0"
    turned: list[str] = []
    for copy in wrong:
        wait = [*after, *steps.ids("fence")]
        if copy.standing in ("diverged", "foreign"):
            name = keys.safety_volume(copy.volume, label)
            wait = [
                steps.add(
                    "keep",
                    copy.volume,
                    f"keep what {copy.volume} on {copy.array} alone holds as safety copy {name}",
                    after=wait,
                    volume=copy.volume,
                    array=copy.array,
                    name=name,
                )
            ]
        if copy.standing in ("diverged", "clean"):
            turned.append(
                steps.add(
                    "demote",
                    copy.volume,
                    f"make {copy.volume} on {copy.array} a destination again, at {copy.common}",
                    after=wait,
                    group="reverse",
                    volume=copy.volume,
                    array=copy.array,
                    snapshot=str(copy.common),
                )
            )
        elif copy.standing == "foreign":
            turned.append(
                steps.add(
                    "clear",
                    copy.volume,
                    f"make {copy.volume} on {copy.array} a destination for a full copy (it has nothing in common with {active})",
                    after=wait,
                    group="reverse",
                    volume=copy.volume,
                    array=copy.array,
                )
            )
        else:
            turned += wait
    backup = steps.add(
        "backup",
        "",
        f"take a recovery point at {active}",
        after=[*turned, *after],
        last=last,
        group="reverse",
        needed=False,
        site=active,
    )
    for name in view.volume_names:
        source, target = view.copy_array(name, active), view.copy_array(name, other)
        steps.add(
            "send",
            name,
            f"send volume {name} from {source} to {target}",
            after=[backup],
            group="reverse",
            needed=False,
            volume=name,
            source=source,
            target=target,
        )
    return []


def _unsent(view: PlanView, active: str, other: str, copies: Iterable[CopyStanding]) -> bool:
    """Whether the way back is a mirror again and no recovery point of this epoch has arrived there yet (a run ended before that)."""
    epoch = view.epoch
    if epoch is None or epoch.number == 1 or any(copy.standing != "mirrored" for copy in copies):
        return False
    linked = all(view.linked(name, active, other) for name in view.volume_names)
    return linked and not any(p.epoch == epoch.number and p.complete_at(other) for p in view.points)


def _established(view: PlanView, volume: str, active: str) -> bool:
    """Whether the volume has been in use: an absent copy of a volume that is only being made is its Mirror's work, not a repair."""
    source = view.volume(volume, active)
    return source is not None and view.epoch is not None and view.epoch.number > 1 and bool(source.snapshots)


# -- VMs ------------------------------------------------------------------------------------------


def start_vms(
    view: PlanView, site: str, steps: Steps, *, after: Iterable[str], last: Iterable[str] = ()
) -> tuple[list[str], list[str]]:
    """Attach and start, in tier order, each VM that should run at the site and does not; ids, and sentences on those that cannot."""
    missing, said = _not_running(view, site)
    placement = place(view, site, missing)
    return add_starts(view, placement.hosts, steps, after=after, last=last), said + list(placement.unplaced.values())


def add_starts(
    view: PlanView, hosts: Mapping[str, str], steps: Steps, *, after: Iterable[str], last: Iterable[str] = ()
) -> list[str]:
    """Two steps a VM: all are attached at once, and each starts when those before it are up."""
    wait, ended = list(after), list(last)
    ordered = [vm for vm in view.spec.members if vm in hosts]
    attached = {
        vm: steps.add(
            "attach",
            vm,
            f"map the LUNs of VM {vm} to {hosts[vm]} and define it there",
            after=wait,
            last=ended,
            group="attach",
            vm=vm,
            host=hosts[vm],
        )
        for vm in ordered
    }
    for vm in ordered:
        first = [f"start:{other}" for other in started_before(view.spec, vm) if other in hosts]
        steps.add(
            "start",
            vm,
            f"start VM {vm} on {hosts[vm]}",
            after=[attached[vm], *first],
            group="start",
            needed=view.spec.tiers[tier_of(view.spec, vm)].on_failure != "continue",
            vm=vm,
            host=hosts[vm],
        )
    return steps.ids("start")


def _not_running(view: PlanView, site: str) -> tuple[tuple[VmSpec, ...], list[str]]:
    """VMs that have data at the site and do not run there, and sentences on those of which too little is known."""
    epoch = view.epoch
    silent = view.silent_hosts(site)
    missing: list[VmSpec] = []
    said: list[str] = []
    for vm in view.vms:
        known = view.place(vm.name, site)
        if known is not None and known.running:
            continue
        if silent and known is None:
            said.append(
                f"VM {vm.name}: not seen at {site}, and {', '.join(sorted(silent))} is silent; it may run there"
            )
            continue
        fresh = known is None and ((epoch is not None and epoch.number == 1) or view.never_made("vm", vm.name))
        if fresh:
            continue  # never made yet: its own resource makes it
        lacking = _lacking(view, vm, site)
        if lacking:
            said.append(lacking)
        else:
            missing.append(vm)
    return tuple(missing), said


def _lacking(view: PlanView, vm: VmSpec, site: str) -> str:
    """Why the VM cannot be started on the site's data; empty: it can."""
    for disk in vm.disks:
        array = view.copy_array(disk.volume, site)
        if view.array_state(disk.volume, site) is None:
            return f"VM {vm.name}: it does not run, and array {array} with its disk {disk.role} is silent"
        volume = view.volume(disk.volume, site)
        if volume is None:
            return (
                f"VM {vm.name}: it does not run, and volume {disk.volume} with its disk {disk.role} is not on {array}"
            )
        if keys.lun_name(vm.name, disk.role) not in volume.luns:
            return f"VM {vm.name}: its disk {disk.role} is not in volume {disk.volume} at {site} (added after the recovery point); `up` makes it"
    return ""


def _newer_elsewhere(view: PlanView, active: str) -> list[tuple[str, str]]:
    """Volumes that are missing where the plan is active while another answering copy holds data."""
    found = []
    for name in view.volume_names:
        if view.array_state(name, active) is None or view.volume(name, active) is not None:
            continue
        holders = [s for s in view.spec.sites if s != active and (v := view.volume(name, s)) is not None and v.used]
        if holders:
            array = view.copy_array(name, active)
            found.append(
                (
                    name,
                    f"it is lost at {active} (not on {array}) while {', '.join(holders)} holds a copy; it is not made anew",
                )
            )
    return found
