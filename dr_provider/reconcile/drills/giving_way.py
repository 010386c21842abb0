"""Which drills give way to a real move, or to VMs that are started again where they were. Pure.

Invariants: a drill is ended only where a VM finds no room beside it, and no more drills than that takes; those of the plan itself go
first, then the oldest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from dr_provider.model import keys
from dr_provider.model.state import HostState, VmState
from dr_provider.model.topology import VmSpec
from dr_provider.reconcile.placement import Placement, place
from dr_provider.reconcile.steps import Steps
from dr_provider.reconcile.view import PlanView

__all__ = ["Way", "end_drills", "make_room", "without_drills"]


@dataclass(frozen=True)
class Way:
    """A drill that gives way: of which plan, and its VMs' names on the hosts of the target."""

    plan: str
    drill: str
    vms: frozenset[str]


def make_room(
    view: PlanView, target: str, members: tuple[VmSpec, ...], *, near: Mapping[str, frozenset[str]] | None = None
) -> tuple[Placement, tuple[Way, ...]]:
    """Where each VM goes at the target (`near`: as for `place`), and the drills that are ended for it."""

    def without(ways: list[Way]) -> Placement:
        return place(view, target, members, ended=frozenset(vm for way in ways for vm in way.vms), near=near)

    chosen: list[Way] = []
    best = without(chosen)
    for way in _drills(view, target) if best.unplaced else ():
        if not best.unplaced:
            break
        chosen.append(way)
        best = without(chosen)
    # One that was taken before another made more room may not be needed any more; one whose end brings nothing stays up.
    for way in reversed(list(chosen)):
        others = [other for other in chosen if other != way]
        if len((placed := without(others)).unplaced) <= len(best.unplaced):
            chosen, best = others, placed
    return best, tuple(chosen)


def end_drills(
    ways: Iterable[Way], plan: str, site: str, steps: Steps, *, after: Iterable[str] = (), whose: str = "the move"
) -> list[str]:
    """A step for each drill that gives way; ids. A drill that cannot be ended holds up nobody: there may be room all the same."""
    ids, wait = [], list(after)
    for way in ways:
        own = way.plan == plan
        said = f"end drill {way.drill}{'' if own else f' of plan {way.plan}'} at {site}, whose room {whose} needs"
        name, of = (way.drill, {}) if own else (f"{way.plan}.{way.drill}", {"of": way.plan})
        ids.append(steps.add("end-drill", name, said, after=wait, group="claim", needed=False, drill=way.drill, **of))
    return ids


def without_drills(topology: str, state: HostState) -> HostState:
    """A host as it is when every drill of the topology has given way."""
    vms = {name: vm for name, vm in state.vms.items() if _drill_of(topology, vm) is None}
    kept = tuple(r for r in state.reservations if keys.drill_of_tag(topology, r.tag) is None)
    return replace(state, vms=vms, reservations=kept)


def _drill_of(topology: str, vm: VmState) -> tuple[str, str] | None:
    """Plan and drill of a drill's VM; None: it is none, or another topology's."""
    prefix = keys.drill_vm(vm.definition.vm, "")
    if vm.definition.owner.topology != topology or not vm.name.startswith(prefix):
        return None
    return vm.definition.plan, vm.name.removeprefix(prefix)


def _drills(view: PlanView, target: str) -> list[Way]:
    """Every drill of the topology that takes room on hosts that the plan may use at the target, in the order in which they give way."""
    found: dict[tuple[str, str], set[str]] = {}
    for host in view.topology.plan_hosts(view.spec.name, target):
        state = view.seen.host(host.name)
        if state is None:
            continue
        for vm in state.vms.values():
            if (whose := _drill_of(view.topology.name, vm)) is not None:
                found.setdefault(whose, set()).add(vm.name)
        for kept in state.reservations:
            if (whose := keys.drill_of_tag(view.topology.name, kept.tag)) is not None:
                found.setdefault(whose, set()).add(kept.vm)
    began = {name: record.time for name, record in view.drills.items()}
    ways = [Way(plan, drill, frozenset(vms)) for (plan, drill), vms in found.items()]
    own = view.spec.name
    return sorted(
        ways,
        key=lambda way: (way.plan != own, began.get(way.drill, "") if way.plan == own else "", way.plan, way.drill),
    )
