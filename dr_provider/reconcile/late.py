"""Volumes that came to the plan after the recovery point that it was moved at. Pure.

Such a volume was given up with that move, as what was written since was: no point holds it beside the others. It goes on all the same:
as of the newest that the active site has of it; else with all that another site has, which nothing else has been built upon; and where
nobody who answers has any of it, made anew and empty.

Invariant: only what the active site never had is dealt with so. What it has had and lacks is lost (`copies.lost_here`), and nothing is
made in its place. What another side holds of it is kept, as of every other volume.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from dr_provider.model.state import ArrayState, LunState, VolumeState
from dr_provider.protection.catalogue import RecoveryPoint
from dr_provider.protection.lines import meet
from dr_provider.reconcile.standing import taken_since
from dr_provider.reconcile.steps import Steps
from dr_provider.reconcile.view import PlanView

__all__ = ["LATE", "Late", "add_late", "as_if_there", "late_after", "late_volumes", "never_had"]

LATE = ("take-over", "bring-late", "make-late")
"""The verbs of `add_late`."""


@dataclass(frozen=True)
class Late:
    """`here`: a destination of the site is to be written; `elsewhere`: another site, `holder`, has it; `nowhere`: it is to be made anew."""

    volume: str
    how: Literal["here", "elsewhere", "nowhere"]
    holder: str = ""


def late_volumes(view: PlanView, site: str, *, spared: Collection[str | None] = ()) -> tuple[Late, ...]:
    """Those of a site that the plan goes on at as it stands there. `spared`: sites that nothing is to be taken from now."""
    names = _not_in(view, _stood_at(view, site))
    here = [Late(name, "here") for name in names if _waiting(view.volume(name, site))]
    return (*here, *_missing(view, site, never_had(view, site), spared))


def never_had(view: PlanView, site: str) -> tuple[str, ...]:
    """Those that no recovery point of the site holds since the plan was moved there."""
    stood = _stood_at(view, site)
    if stood is None:
        return ()
    since = {name for point in taken_since(view, site) if point.order > stood.order for name in point.intent.members}
    return tuple(name for name in _not_in(view, stood) if name not in since)


def _not_in(view: PlanView, point: RecoveryPoint | None) -> list[str]:
    return [name for name in view.volume_names if name not in point.intent.members] if point is not None else []


def late_after(
    view: PlanView, target: str, point: RecoveryPoint, *, spared: Collection[str | None] = ()
) -> tuple[Late, ...]:
    """Those of a move to the target that is about to break at a point."""
    names = _not_in(view, point)
    here = [Late(name, "here") for name in names if _waiting(view.volume(name, target))]
    return (*here, *_missing(view, target, names, spared))


def _stood_at(view: PlanView, site: str) -> RecoveryPoint | None:
    """The point that the plan was moved at last, of two moves of one number that to the site; a resolve has none of its own."""
    moves = sorted(
        (e for e in view.history if e.state == "committed" and e.point),
        key=lambda e: (e.number, e.site == site, e.time),
    )
    chosen = moves[-1].point if moves else None
    return next((point for point in view.points if point.id == chosen), None)


def _waiting(volume: VolumeState | None) -> bool:
    return volume is not None and not volume.writable and bool(volume.snapshots)


def _missing(view: PlanView, site: str, names: Iterable[str], spared: Collection[str | None]) -> list[Late]:
    found = []
    for name in names:
        there = view.volume(name, site)
        if view.array_state(name, site) is None or (there is not None and (there.writable or there.snapshots)):
            continue
        copies = {other: copy for other in view.others(site) if (copy := view.volume(name, other)) and _holds(copy)}
        # One that was written has more than a destination of it.
        holders = sorted(copies, key=lambda other: not copies[other].writable)
        reached = [h for h in holders if _meet(view, name, h, site)]
        if not holders:
            found.append(Late(name, "nowhere"))
        elif reached and reached[0] == holders[0] and reached[0] not in spared:
            found.append(Late(name, "elsewhere", reached[0]))
    return found


def _holds(volume: VolumeState) -> bool:
    return volume.writable or bool(volume.snapshots)


def _meet(view: PlanView, name: str, a: str, b: str) -> bool:
    return meet(view.seen, view.copy_array(name, a), view.copy_array(name, b))


def add_late(
    view: PlanView, late: Iterable[Late], site: str, steps: Steps, *, after: Iterable[str], last: Iterable[str] = ()
) -> dict[str, str]:
    """A step a volume; ids by volume."""
    ids = {}
    after, last = list(after), list(last)
    for one in late:
        name, array = one.volume, view.copy_array(one.volume, site)
        came = f"{name} came to the plan after the recovery point that it was moved at"
        of = {"volume": name, "array": array}
        if one.how == "here":
            verb, sentence = "take-over", f"make volume {name} on {array} writable at its newest: {came}"
        elif one.how == "elsewhere":
            of["source"] = view.copy_array(name, one.holder)
            verb, sentence = "bring-late", f"bring volume {name} from {of['source']} to {array}: {came}"
        else:
            verb, sentence = "make-late", f"make volume {name} on {array} anew, empty: {came}, and nobody has it"
        ids[name] = steps.add(verb, name, sentence, after=after, last=last, group="late", needed=False, **of)
    return ids


def as_if_there(view: PlanView, late: Iterable[Late], site: str) -> PlanView:
    """What will be seen once the steps of `add_late` are done."""
    arrays = dict(view.seen.arrays)

    def put(array: str, volume: VolumeState) -> None:
        state = arrays[array]
        assert isinstance(state, ArrayState)
        arrays[array] = replace(state, volumes={**state.volumes, volume.name: volume})

    for one in late:
        array = view.copy_array(one.volume, site)
        there = view.volume(one.volume, site)
        if one.how == "here":
            assert there is not None
            put(array, replace(there, writable=True, changed=0))
        elif one.how == "elsewhere":
            held = view.volume(one.volume, one.holder)
            assert held is not None
            luns = {name: replace(lun, mapped_to=None) for name, lun in held.luns.items()}
            put(array, replace(held, writable=True, changed=0, luns=luns))
            put(view.copy_array(one.volume, one.holder), replace(held, writable=False, changed=0, luns=luns))
        else:
            luns = dict[str, LunState]()
            size = view.topology.volumes[one.volume].size
            put(array, VolumeState(one.volume, size, "data", True, None, luns))
    return replace(view, seen=replace(view.seen, arrays=arrays)) if arrays != view.seen.arrays else view
