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
from dr_provider.reconcile.leftovers import clear_leftovers
from dr_provider.reconcile.mending import mend_records
from dr_provider.reconcile.restart import evict
from dr_provider.reconcile.restoring import plan_restores
from dr_provider.reconcile.starts import add_starts, export_again, start_vms, unasked, waiting
from dr_provider.reconcile.steps import Steps
from dr_provider.reconcile.tombstones import clear_removed
from dr_provider.reconcile.view import PlanView, VmPlace
from dr_provider.reconcile.window import add_end, left_untouched, window_line
from dr_provider.reconcile.word import parse_word

__all__ = [
    "Stale",
    "at_site",
    "decide_repair",
    "fence_mapped",
    "hold_still",
    "level_copies",
    "look_at_stale",
    "restore_copies",
    "stop_stale",
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
    if unsure:
        starts, degraded = list[str](), waiting(view, epoch, unsure, restart=restart)
    else:
        evict(view, active, steps, after=before)
        export_again(view, active, steps, after=before)
        starts, degraded = start_vms(
            view, active, steps, after=before, last=steps.ids("split", "stop", "fence", "evict"), restart=restart
        )
        hosts, first, waits = plan_restores(view, active, steps, after=before)
        starts = add_starts(view, hosts, steps, after=before, first=first)
        degraded += waits
    notes: list[str] = []
    if not any(side.evidence for side in stale.values()):
        left = left_untouched(view) if want.goal != "commit" else None
        if left is None and (want.goal == "commit" or not unsure):
            before = [*before, *add_end(view, steps, after=before)]
        ready = [other for other, side in stale.items() if side.ready and other != left]
        warnings += restore_copies(view, active, ready, steps, after=before, last=starts)
        clear_leftovers(view, steps, starting_at=active if starts else None, after=before)
        # Where the other side cannot be asked this one might be the past one: then it is only said.
        notes = clear_removed(view, Steps() if unsure or left else steps, after=before)
        notes += [f"plan {plan}: {window_line(view)}"] if left else []
    if want.point is not None and want.site == active:
        notes.append(f"plan {plan}: a recovery point applies to a move only, and the plan is at {active} already")
    for name, reason in lost_here(view, active):
        warnings.append(f"volume {name}: {reason}")
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
    done = sorted({*behind, *view.leftover_claims})
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
    wait = list(after)
    written = [other for other, side in found.items() if side.evidence]
    if written:
        sides = " and ".join((epoch.site, *written))
        much = "both" if len(written) == 1 else "all"
        sentence = f"put on record that {sides} have {much} been written (split)"
        evidence = "\n".join(line for other in written for line in found[other].evidence)
        wait.append(
            steps.add("split", "+".join(written), sentence, after=wait, sites=",".join((epoch.site, *written)),
                      fork=epoch.point or "", evidence=evidence)
        )  # fmt: skip
    for other in found:
        why = f"{other} is past, the plan is active at {epoch.site}"
        hold_still(
            view, other, steps, why, [standing(view, n, epoch.site, other) for n in view.volume_names], after=wait
        )
    return found


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


# -- copies back in line --------------------------------------------------------------------------


def restore_copies(
    view: PlanView,
    active: str,
    others: Iterable[str],
    steps: Steps,
    *,
    after: Iterable[str],
    last: Iterable[str] = (),
    anew: bool = False,
) -> list[str]:
    """Make the copies at other sites destinations again, keep what is theirs alone, and send a new recovery point there (`anew`: to all that
    are reached, since a new epoch is about to begin). Warnings."""
    said: list[str] = []
    due: dict[str, list[str]] = {}
    if any(
        view.volume(name, active) is None and view.array_state(name, active) is not None for name in view.volume_names
    ):
        return []
    for other in others:
        copies = [standing(view, name, active, other) for name in view.volume_names]
        wrong = [copy for copy in copies if copy.standing not in ("mirrored", "unknown")]
        wrong = [c for c in wrong if not (c.standing == "absent" and not _established(view, c.volume, active))]
        if not wrong and not _unsent(view, active, other, copies, anew=anew):
            continue
        cut = [copy.volume for copy in wrong if not view.linked(copy.volume, active, other)]
        if cut:
            said.append(
                f"{other}: the link between the arrays of {', '.join(cut)} is cut, so {active} is not protected there until it is back"
            )
            continue
        due[other] = []
        for copy in wrong:
            due[other] += _turn(view, active, other, copy, steps, after)
            if copy.standing == "foreign":
                said.append(
                    f"volume {copy.volume}: the copy on {copy.array} has nothing in common with {active}, so all of it is sent again"
                )
    if due:
        _resend(view, active, due, steps, after=after, last=last)
    return said


def _turn(view: PlanView, active: str, other: str, copy: CopyStanding, steps: Steps, after: Iterable[str]) -> list[str]:
    """Make one copy a destination; what is its own is kept first. Ids of what is to be waited for."""
    subject = at_site(view, copy.volume, other)
    wait = [*after, *steps.ids("fence")]
    if copy.standing in ("diverged", "foreign"):
        assert view.epoch is not None
        label = f"e{view.epoch.number}"
        name = keys.safety_volume(copy.volume, label if len(view.spec.sites) == 2 else f"{label}.{other}")
        sentence = f"keep what {copy.volume} on {copy.array} alone holds as safety copy {name}"
        wait = [steps.add("keep", subject, sentence, after=wait, volume=copy.volume, array=copy.array, name=name)]
    if copy.standing in ("diverged", "clean"):
        sentence = f"make {copy.volume} on {copy.array} a destination again, at {copy.common}"
        return [steps.add("demote", subject, sentence, after=wait, group="reverse", volume=copy.volume, array=copy.array,
                          snapshot=str(copy.common))]  # fmt: skip
    if copy.standing == "foreign":
        sentence = (
            f"make {copy.volume} on {copy.array} a destination for a full copy (it has nothing in common with {active})"
        )
        return [steps.add("clear", subject, sentence, after=wait, group="reverse", volume=copy.volume, array=copy.array)]  # fmt: skip
    return wait


def at_site(view: PlanView, name: str, site: str) -> str:
    """What an action on another side's copy or VM is called: with two sites the name says enough."""
    return name if len(view.spec.sites) == 2 else f"{name}@{site}"


def _resend(
    view: PlanView,
    active: str,
    due: Mapping[str, list[str]],
    steps: Steps,
    *,
    after: Iterable[str],
    last: Iterable[str],
) -> None:
    """A new recovery point, sent to the sites by the way that each copy is fed, and checked to be whole there. `due`: by site the steps
    that make its copies destinations; one site's failure does not keep the point from the others."""
    turned = [step for ids in due.values() for step in ids]
    before, ended = ([*turned, *after], [*last]) if len(due) == 1 else ([*after], [*turned, *last])
    said = f"take a recovery point at {active}"
    backup = steps.add("backup", "", said, after=before, last=ended, group="reverse", needed=False, site=active)
    sends: dict[str, list[str]] = {site: [] for site in due}
    for name in view.volume_names:
        fed = view.feeders(name, active)
        by_array = {view.copy_array(name, site): site for site in sends}
        sent: dict[str, str] = {}
        for target in (*(a for a in fed if a in by_array), *(a for a in by_array if a not in fed)):
            source = fed.get(target, view.copy_array(name, active))
            wait = [sent[source]] if source in sent else [backup]
            wait += due[by_array[target]] if len(due) > 1 else []
            sent[target] = steps.add(
                "send", at_site(view, name, by_array[target]), f"send volume {name} from {source} to {target}", after=wait,
                group="reverse", needed=False, volume=name, source=source, target=target,
            )  # fmt: skip
            sends[by_array[target]].append(sent[target])
    for site, ids in sends.items():
        said = f"check that a recovery point of this epoch is whole at {site}"
        subject = "" if len(view.spec.sites) == 2 else site
        steps.add(
            "settle", subject, said, after=[backup], last=ids, group="reverse", needed=False, site=active, other=site
        )


def level_copies(view: PlanView, target: str, point: str, steps: Steps, *, after: Iterable[str]) -> list[str]:
    """Make copies at a site that are no destinations, and that nobody can be asked about, destinations that stand at a point they hold;
    what is beyond it is kept. Ids."""
    made: list[str] = []
    turned = {action.of["volume"] for action in steps.actions if action.verb in ("demote", "clear")}
    assert view.epoch is not None
    label = f"e{view.epoch.number}.{target}"
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


def _unsent(view: PlanView, active: str, other: str, copies: Iterable[CopyStanding], *, anew: bool) -> bool:
    """Whether the way back is a mirror again and no recovery point of this epoch has arrived there yet (a run ended before that)."""
    epoch = view.epoch
    assert epoch is not None
    if any(copy.standing != "mirrored" for copy in copies):
        return False
    if not all(view.linked(name, active, other) for name in view.volume_names):
        return False
    return anew or (epoch.number > 1 and not any(p.epoch == epoch.number and p.complete_at(other) for p in view.points))


def _established(view: PlanView, volume: str, active: str) -> bool:
    """Whether the volume has been in use: an absent copy of a volume that is only being made is its Mirror's work, not a repair."""
    source = view.volume(volume, active)
    assert view.epoch is not None
    return view.epoch.number > 1 and source is not None and bool(source.snapshots)
