"""What the steady state needs: VMs that should run, copies that should be mirrors again, stale sides that must hold still. Pure.

Invariants, in this order:
1. A stale side (its epoch is past) runs nothing: what runs there is stopped. If it may have written after the commit, that is put on
   record as a split *before* it is stopped, and nothing is resynced until an operator says which side to keep.
2. A diverged copy is kept as a safety copy before it becomes a destination again.
3. VMs that run at the active side are left running; one of a silent host is restarted on another only where the plan or an operator says so.
4. The way back is protected by a new recovery point that has arrived there, not by the mirror's being pointed that way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dr_provider.model import keys
from dr_provider.model.records import Epoch
from dr_provider.model.state import Silent
from dr_provider.reconcile.copies import CopyStanding, standing, wrote_after
from dr_provider.reconcile.decision import Decision, Want
from dr_provider.reconcile.mending import mend_records
from dr_provider.reconcile.restart import evict
from dr_provider.reconcile.starts import export_again, start_vms, unasked, waiting
from dr_provider.reconcile.steps import Steps
from dr_provider.reconcile.tombstones import clear_removed
from dr_provider.reconcile.view import PlanView, VmPlace
from dr_provider.reconcile.word import parse_word

__all__ = ["Stale", "decide_repair", "fence_mapped", "level_copies", "restore_copies", "stop_stale"]


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
    mend_records(view, steps, after=before)
    warnings += _silent_side(view, active, active=True)
    word = parse_word(plan, want.word)
    unsure = () if word is not None and word.epoch == epoch.number else unasked(view, epoch)
    # Stale sides hold still before anything starts here. A side that cannot be asked is not known to be stale.
    stale: dict[str, Stale] = {}
    for other in view.spec.sites:
        if other != active:
            stale[other] = _left_alone(view, other) if unsure else stop_stale(view, epoch, other, steps, before)
            warnings += stale[other].warnings
    starts: list[str] = []
    restart = view.spec.restart == "in-site" or want.goal == "restart"
    if unsure:
        degraded += waiting(view, epoch, unsure, restart=restart)
    else:
        evict(view, active, steps, after=before)
        export_again(view, active, steps, after=before)
        starts, said = start_vms(
            view, active, steps, after=before, last=steps.ids("split", "stop", "fence", "evict"), restart=restart
        )
        degraded += said
    if not any(side.evidence for side in stale.values()):
        for other, side in stale.items():
            if side.ready:
                warnings += restore_copies(view, active, other, steps, after=before, last=starts)
        # Where the other side cannot be asked this one might be the past one: then it is only said.
        notes += clear_removed(view, Steps() if unsure else steps, after=before)
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
    for host in view.new_hosts:
        steps.add("create-host", host, f"make host {host}", group="create", needed=False, host=host)
    behind = [a for a in sorted(view.epochs) if not any(e.id == epoch.id for e in view.epochs[a])]
    done = sorted({*behind, *view.leftover_claims})
    if done:
        said = f"write epoch {epoch.number} ({epoch.site}) to {', '.join(done)}"
        ids.append(steps.add("record", "", said, group="records", arrays=",".join(done)))
    return ids


def _silent_side(view: PlanView, site: str, *, active: bool) -> list[str]:
    said = []
    what = "where the plan is active" if active else "so the plan is not protected there"
    for reason in (*view.silent_arrays(site).values(), *view.silent_hosts(site).values()):
        said.append(f"{site}: {reason} ({what})")
    return said


# -- the stale side -----------------------------------------------------------------------------


def _left_alone(view: PlanView, other: str) -> Stale:
    """A side of which it cannot be known whether it is past: what runs there goes on."""
    said = [
        f"VM {place_.vm} runs on {place_.host} at {other}, which may have taken over and cannot be asked; it is left running"
        for place_ in view.running_at(other)
    ]
    return Stale(warnings=[*_silent_side(view, other, active=False), *said], ready=False)


def stop_stale(view: PlanView, epoch: Epoch, other: str, steps: Steps, after: Iterable[str]) -> Stale:
    """Stop and unmap what a stale site still runs; put a split on record first where it may have written."""
    side = Stale()
    side.warnings += _silent_side(view, other, active=False)
    copies = [standing(view, name, epoch.site, other) for name in view.volume_names]
    running = view.running_at(other)
    for place_ in running:
        if _could_write(view, place_, copies, other):
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


def _could_write(view: PlanView, at: VmPlace, copies: list[CopyStanding], other: str) -> bool:
    """A VM that runs on LUNs that were taken from it writes nothing; with a silent array nobody can say that."""
    spec = view.topology.vms.get(at.vm)  # None: taken out of the topology while this side was away
    volumes = spec.volumes() if spec else tuple(disk.volume for disk in at.state.definition.disks)
    for copy in copies:
        if copy.volume not in volumes:
            continue
        if view.array_state(copy.volume, other) is None:
            return True
        if any(lun.partition(".")[0] == at.vm for lun in copy.mapped):
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
        said = f"send volume {name} from {source} to {target}"
        steps.add(
            "send", name, said, after=[backup], group="reverse", needed=False, volume=name, source=source, target=target
        )
    said, sends = f"check that a recovery point of this epoch is whole at {other}", steps.ids("send")
    steps.add("settle", "", said, after=[backup], last=sends, group="reverse", needed=False, site=active, other=other)
    return []


def level_copies(view: PlanView, target: str, point: str, steps: Steps, *, after: Iterable[str]) -> list[str]:
    """Make copies at a site that are no destinations, and that nobody can be asked about, destinations that stand at a point they hold;
    what is beyond it is kept. Ids."""
    made: list[str] = []
    turned = {action.of["volume"] for action in steps.actions if action.verb in ("demote", "clear")}
    label = f"e{view.epoch.number}.{target}" if view.epoch else f"e0.{target}"
    for name in view.volume_names:
        copy, array = view.volume(name, target), view.copy_array(name, target)
        if copy is None or not copy.writable or name in turned or copy.snapshot(point) is None:
            continue
        wait = list(after)
        if copy.changed or copy.snapshots[-1].name != point:
            safety = keys.safety_volume(name, label)
            sentence = f"keep what {name} on {array} holds beyond {point} as safety copy {safety}"
            wait = [steps.add("keep", name, sentence, after=wait, volume=name, array=array, name=safety)]
        sentence = f"make {name} on {array} a destination, at {point}"
        wait = [
            steps.add("demote", name, sentence, after=wait, group="reverse", volume=name, array=array, snapshot=point)
        ]
        made += wait
    return made


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
