"""Which drills give way to a real move. Pure.

Invariants: a drill is ended only where a VM of the move finds no room beside it, and no more drills than that takes; those of the moving
plan go first, then the oldest.
"""

from __future__ import annotations

from dataclasses import dataclass

from dr_provider.model import keys
from dr_provider.model.topology import VmSpec
from dr_provider.reconcile.placement import Placement, place
from dr_provider.reconcile.view import PlanView

__all__ = ["Way", "make_room"]


@dataclass(frozen=True)
class Way:
    """A drill that gives way: of which plan, and its VMs' names on the hosts of the target."""

    plan: str
    drill: str
    vms: frozenset[str]


def make_room(view: PlanView, target: str, members: tuple[VmSpec, ...]) -> tuple[Placement, tuple[Way, ...]]:
    """Where each VM goes at the target, and the drills that are ended for it."""

    def without(ways: list[Way]) -> Placement:
        return place(view, target, members, ended=frozenset(vm for way in ways for vm in way.vms))

    chosen: list[Way] = []
    best = without(chosen)
    for way in _drills(view, target):
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


def _drills(view: PlanView, target: str) -> list[Way]:
    """Every drill of the topology that takes room on hosts that the plan may use at the target, in the order in which they give way."""
    found: dict[tuple[str, str], set[str]] = {}
    for host in view.topology.plan_hosts(view.spec.name, target):
        state = view.seen.host(host.name)
        if state is None:
            continue
        for vm in state.vms.values():
            prefix = keys.drill_vm(vm.definition.vm, "")
            if vm.definition.owner.topology == view.topology.name and vm.name.startswith(prefix):
                found.setdefault((vm.definition.plan, vm.name.removeprefix(prefix)), set()).add(vm.name)
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
