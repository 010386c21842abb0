"""What the steady state needs: VMs that should run, copies that should be mirrors again, stale sides that must hold still. Pure.

Invariants, in this order:
1. A stale side (its epoch is past) runs nothing: what runs there is stopped. If it may have written after the commit, that is put on
   record as a split *before* it is stopped, and nothing is resynced until an operator says which side to keep.
2. A diverged copy is kept as a safety copy before it becomes a destination again.
3. VMs that run at the active side are left running; one of a silent host is restarted on another only where the plan or an operator says so.
4. The way back is protected by a new recovery point that has arrived there, not by the mirror's being pointed that way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dr_provider.model import keys
from dr_provider.model.records import Epoch
from dr_provider.model.state import Silent
from dr_provider.reconcile.copies import CopyStanding, lost_here, standing, wrote_after
from dr_provider.reconcile.decision import Decision, Want
from dr_provider.reconcile.fencing import pin_steps
from dr_provider.reconcile.late import add_late, as_if_there, late_volumes, never_had
from dr_provider.reconcile.leftovers import clear_leftovers
from dr_provider.reconcile.mending import mend_records
from dr_provider.reconcile.restart import evict
from dr_provider.reconcile.restoring import plan_restores
from dr_provider.reconcile.resync import restore_copies
from dr_provider.reconcile.starts import add_starts, export_again, start_vms, unasked, waiting
from dr_provider.reconcile.steps import Steps
from dr_provider.reconcile.tombstones import clear_removed
from dr_provider.reconcile.view import PlanView, VmPlace
from dr_provider.reconcile.window import add_end, left_untouched, window_line
from dr_provider.reconcile.word import parse_word

__all__ = [
    "Stale",
    "decide_repair",
    "fence_mapped",
    "hold_still",
    "look_at_stale",
    "split_off",
    "stop_stale",
    "stop_third",
]


@dataclass
class Stale:
    """What was found at a stale site. `evidence` of writing after the commit makes a split."""

    evidence: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    ready: bool = False
    """Whether its copies may be brought back in line (nothing of it is silent that counts, no split)."""


def decide_repair(view: PlanView, want: Want) -> Decision:
    """What is left to do for a plan to run where it is and to be protected; no actions: nothing to do."""
    epoch = view.epoch
    assert epoch is not None
    active, plan = epoch.site, view.spec.name
    steps = Steps()
    before = _records(view, epoch, steps)
    mend_records(view, steps, after=before)
    warnings = _silent_side(view, active, active=True)
    word = parse_word(plan, want.word)
    unsure = () if word is not None and word.epoch == epoch.number else unasked(view, epoch)
    # Stale sides hold still before anything starts here. A side that cannot be asked is not known to be stale.
    others = view.others(active)
    stale = (
        {other: _left_alone(view, other) for other in others}
        if unsure
        else stop_stale(view, epoch, others, steps, before)
    )
    warnings += [sentence for side in stale.values() for sentence in side.warnings]
    restart = view.spec.restart == "in-site" or want.goal == "restart"
    written = any(side.evidence for side in stale.values())
    left = left_untouched(view) if want.goal != "commit" else None
    late: Mapping[str, str] = {}
    if not unsure and not written:
        came = late_volumes(view, active, spared={left, *(o for o in others if not stale[o].ready)})
        late = add_late(view, came, active, steps, after=before, last=steps.ids("stop", "fence"))
        view = as_if_there(view, came, active)
    if unsure:
        starts, degraded = list[str](), waiting(view, epoch, unsure, restart=restart)
    else:
        evict(view, active, steps, after=before)
        export_again(view, active, steps, after=before)
        starts, degraded = start_vms(
            view,
            active,
            steps,
            after=before,
            last=steps.ids("split", "stop", "fence", "evict"),
            restart=restart,
            late=late,
        )
        hosts, first, waits = plan_restores(view, active, steps, after=before, split=written)
        starts = add_starts(view, hosts, steps, after=before, first=first)
        degraded += waits
    notes: list[str] = []
    if not written:
        if left is None and (want.goal == "commit" or not unsure):
            before = [*before, *add_end(view, steps, after=before)]
        ready = [other for other, side in stale.items() if side.ready and other != left]
        warnings += restore_copies(view, active, ready, steps, after=before, last=[*starts, *late.values()])
        clear_leftovers(view, steps, starting_at=active if starts else None, after=before)
        # Where the other side cannot be asked this one might be the past one: then it is only said.
        notes = clear_removed(view, Steps() if unsure or left else steps, after=before)
        notes += [f"plan {plan}: {window_line(view)}"] if left else []
    if want.point is not None and want.site == active:
        notes.append(f"plan {plan}: a recovery point applies to a move only, and the plan is at {active} already")
    came_late = never_had(view, active)
    for name, reason in lost_here(view, active):
        not_yet = f"it came to the plan after the recovery point that it was moved at, and is not at {active} yet"
        warnings.append(f"volume {name}: {not_yet if name in came_late else reason}")
    actions = steps.done()
    return Decision(
        plan,
        "repair" if actions else "none",
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
    pin_steps(view, steps, after=ids)
    known = (epoch.id, epoch.window_closed)
    behind = [a for a in sorted(view.epochs) if not any((e.id, e.window_closed) == known for e in view.epochs[a])]
    done = sorted({*behind, *view.leftover_claims, *view.leftover_splits})
    if done:
        said = f"write epoch {epoch.number} ({epoch.site}) to {', '.join(done)}"
        ids.append(steps.add("record", "", said, group="records", arrays=",".join(done)))
    return ids


def _silent_side(view: PlanView, site: str, *, active: bool = False) -> list[str]:
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
    return Stale(warnings=[*_silent_side(view, other), *said])


def stop_stale(
    view: PlanView, epoch: Epoch, others: Iterable[str], steps: Steps, after: Iterable[str]
) -> dict[str, Stale]:
    """Stop and unmap what stale sites still run; put a split on record first where one may have written. By site."""
    found = {other: look_at_stale(view, epoch, other) for other in others}
    wait, written = list(after), {other: side.evidence for other, side in found.items() if side.evidence}
    if written:
        wait = _on_record(epoch.site, written, epoch.point or "", steps, wait)
    _stop_past(view, epoch.site, found, steps, wait)
    return found


def stop_third(view: PlanView, epoch: Epoch, others: Iterable[str], steps: Steps) -> dict[str, list[str]]:
    """The same for third sides that came back in the middle of a move, which has to go on. The evidence of those that were written, by site:
    they are for `split_off`, since a split on record before the commit would be over with it."""
    found = {other: look_at_stale(view, epoch, other).evidence for other in others}
    _stop_past(view, epoch.site, [other for other in found if not found[other]], steps, ())
    return {other: evidence for other, evidence in found.items() if evidence}


def split_off(
    view: PlanView, target: str, written: Mapping[str, list[str]], fork: str, steps: Steps, *, after: Iterable[str]
) -> None:
    """Put third sides that were written on record once the target's epoch is committed, and stop them then."""
    if written:
        _stop_past(view, target, written, steps, _on_record(target, written, fork, steps, after))


def _on_record(
    active: str, written: Mapping[str, list[str]], fork: str, steps: Steps, after: Iterable[str]
) -> list[str]:
    """Put a split on record; ids of what is to be waited for."""
    wait, sides = list(after), (active, *written)
    much = "both" if len(written) == 1 else "all"
    sentence = f"put on record that {' and '.join(sides)} have {much} been written (split)"
    evidence = "\n".join(line for lines in written.values() for line in lines)
    put = steps.add(
        "split", "+".join(written), sentence, after=wait, sites=",".join(sides), fork=fork, evidence=evidence
    )
    return [*wait, put]


def _stop_past(view: PlanView, active: str, others: Iterable[str], steps: Steps, after: Iterable[str]) -> None:
    wait = list(after)
    for other in others:
        why = f"{other} is past, the plan is active at {active}"
        hold_still(view, other, steps, why, [standing(view, n, active, other) for n in view.volume_names], after=wait)


def hold_still(
    view: PlanView, site: str, steps: Steps, why: str, copies: Iterable[CopyStanding], *, after: Iterable[str]
) -> None:
    """Stop every VM of the plan that runs at a site, and unmap its LUNs there."""
    wait = list(after)
    stops = [
        steps.add("stop", f"{at.vm}@{site}", f"stop VM {at.vm} on {at.host}: {why}", after=wait, needed=False,
                  vm=at.vm, host=at.host)
        for at in view.running_at(site)
    ]  # fmt: skip
    fence_mapped(copies, steps, after=wait, last=stops)


def look_at_stale(view: PlanView, epoch: Epoch, other: str) -> Stale:
    """What a site that is past shows: whether it may have written since, and whether its copies may be brought back in line."""
    side = Stale(warnings=_silent_side(view, other))
    copies = [standing(view, name, epoch.site, other) for name in view.volume_names]
    for place_ in view.running_at(other):
        if _could_write(view, place_, copies, other):
            side.evidence.append(
                f"VM {place_.vm} was seen running on {place_.host} at {other} after epoch {epoch.number} had been committed at {epoch.site}"
            )
    side.evidence += [
        f"volume {copy.volume} on {copy.array} was written at {copy.last_write}, after epoch {epoch.number} had been committed at {epoch.site} ({epoch.time})"
        for copy in copies
        if wrote_after(view, copy, epoch)
    ]
    side.ready = not side.evidence and not any(copy.standing == "unknown" for copy in copies)
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
        if any(lun.startswith(keys.lun_name(at.vm, "")) for lun in copy.mapped):
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
            needed=needed,
            array=array,
            volumes=",".join(sorted(volumes)),
        )
        for array, volumes in sorted(by_array.items())
    ]
