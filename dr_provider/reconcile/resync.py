"""Copies of other sites back in line with the active one, and level with each other. Pure.

Invariant: a diverged copy is kept as a safety copy before it becomes a destination again; the way back counts as protected once a new
recovery point has arrived there, not by the mirror's being pointed that way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dr_provider.model import keys
from dr_provider.reconcile.copies import CopyStanding, standing
from dr_provider.reconcile.steps import Steps
from dr_provider.reconcile.view import PlanView

__all__ = ["at_site", "level_copies", "restore_copies"]


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
    first: list[str] = []
    if any(
        view.volume(name, active) is None and view.array_state(name, active) is not None for name in view.volume_names
    ):
        return []
    for other in others:
        copies = [standing(view, name, active, other) for name in view.volume_names]
        wrong = [copy for copy in copies if copy.standing not in ("mirrored", "unknown")]
        wrong = [c for c in wrong if not (c.standing == "absent" and not _established(view, c.volume, active))]
        if not wrong and not _unsent(view, active, other, copies, anew=anew):
            absent = [copy.volume for copy in copies if copy.standing == "absent"]
            if absent and all(view.linked(name, active, other) for name in view.volume_names):
                first.append(other)
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
    assert view.epoch is not None
    if due and (anew or view.epoch.number > 1):
        # The point that is about to be taken is the first of a volume that they lack: from then on it is in use.
        due.update({other: [] for other in first})
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
        on_the_way = _on_the_way(fed, by_array)
        for target in (*(a for a in fed if a in by_array or a in on_the_way), *(a for a in by_array if a not in fed)):
            source = fed.get(target, view.copy_array(name, active))
            wait = [sent[source]] if source in sent else [backup]
            site = view.topology.arrays[target].site
            if target in by_array and len(due) > 1:
                wait += due[site]
            sent[target] = steps.add(
                "send", at_site(view, name, site), f"send volume {name} from {source} to {target}", after=wait,
                group="reverse", needed=False, volume=name, source=source, target=target,
            )  # fmt: skip
            if target in by_array:
                sends[site].append(sent[target])
    for site, ids in sends.items():
        said = f"check that a recovery point of this epoch is whole at {site}"
        subject = "" if len(view.spec.sites) == 2 else site
        steps.add(
            "settle", subject, said, after=[backup], last=ids, group="reverse", needed=False, site=active, other=site
        )


def _on_the_way(fed: Mapping[str, str], targets: Iterable[str]) -> set[str]:
    """Arrays by way of which the targets are fed: whole as they may be, the new point reaches a target only through them."""
    found: set[str] = set()
    for each in targets:
        while (each := fed.get(each, "")) in fed:
            found.add(each)
    return found


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
