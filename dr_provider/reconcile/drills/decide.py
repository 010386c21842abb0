"""Where a drill would run, from which point and on which hosts; or the reason why not. Nothing is made here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dr_provider.model import keys
from dr_provider.model.errors import BadInput, Refused, Unreachable
from dr_provider.model.problems import did_you_mean
from dr_provider.model.remap import address_key
from dr_provider.model.topology import VmSpec
from dr_provider.model.units import counted
from dr_provider.protection.catalogue import RecoveryPoint, choose_point, newest
from dr_provider.reconcile.drills.parts import drill_vms
from dr_provider.reconcile.placement import Placement, place, room_of
from dr_provider.reconcile.terms import not_known
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.world import World

__all__ = ["DrillPlace", "NoRoom", "decide_drill", "drill_site", "lacking"]

_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


class NoRoom(Refused):
    """There is no room for it now, beside what runs there; there may be later."""


@dataclass(frozen=True)
class DrillPlace:
    """Where a drill runs. `network`: on which of the isolated networks that the topology names; `own_cards`: with MAC addresses of its own,
    since another drill of the plan is on the same one."""

    site: str
    point: RecoveryPoint
    placement: Placement
    network: int = 0
    own_cards: bool = False


def drill_site(view: PlanView, site: str | None) -> str:
    """The site that is asked for, else the first recovery site. Raises BadInput for one that is not the plan's."""
    if site is not None:
        if site not in view.spec.sites:
            near = did_you_mean(site, view.spec.sites)
            raise BadInput(f"plan {view.spec.name}: {site!r} is not one of its sites{near}; nothing was done")
        return site
    return next((name for name in view.spec.sites if name != view.active), view.spec.home)


def decide_drill(
    world: World,
    plan: str,
    site: str | None,
    drill: str,
    wish: str | None,
    *,
    only: str | None = None,
    host: str | None = None,
    stack: str | None = None,
) -> DrillPlace:
    """Where, from which point and on which hosts a drill would run; `only`: of this VM, on `host` where it fits. `stack`: who asks ("": `dr`;
    None: whoever). Raises Refused, Unreachable or BadInput with the reason."""
    if not _ID.fullmatch(drill):
        raise BadInput(f"drill {drill!r}: wanted lower-case letters, digits and -, at most 32; nothing was done")
    view = world.view(plan)
    at = drill_site(view, site)
    if view.epoch is None:
        raise not_known(view, "there is nothing to drill")
    if view.split is not None:
        raise Refused(
            (f"plan {plan} is split; a drill would rehearse on data in doubt: dr resolve {plan} --keep SITE first",)
        )
    silent = view.silent_arrays(at)
    if silent:
        raise Unreachable(f"plan {plan}: no drill at {at} while {'; '.join(silent.values())}")
    known = view.drills.get(drill)
    if known is not None and known.site != at:
        raise Refused(
            (
                f"plan {plan}: drill {drill} is at {known.site}, and its VMs carry its name; end it first, or give the one at {at} another name",
            )
        )
    if known is not None and stack is not None and known.stack != stack:
        whose = f"stack {known.stack}" if known.stack else "dr, without a stack"
        raise Refused((f"plan {plan}: there is a drill {drill} already, made by {whose}; choose another name",))
    if known is not None:
        point = next((p for p in view.points if p.id == known.point), None)
    else:
        point = choose_point(view.points, at, wish) if wish else newest(view.points, at)
    if point is None:
        raise Refused(
            (
                f"plan {plan}: no recovery point is whole at {at}, so there is nothing to drill with; run dr protect {plan} first",
            )
        )
    members = tuple(vm for vm in view.vms if vm.name in point.intent.definitions and only in (None, vm.name))
    done = {vm: on for vm, (on, _) in drill_vms(view, drill).items() if vm in {m.name for m in members}}
    rest = tuple(vm for vm in members if vm.name not in done)
    tag = keys.drill_tag(view.topology.name, plan, drill)
    placed = place(view, at, rest, tag=tag, anew=True, near={only: frozenset({host})} if only and host else None)
    # A run that was killed has mapped clones to the hosts that its record names, before it defined the VMs there.
    begun = {vm: on for vm, on in (known.vms if known else {}).items() if vm in placed.hosts and view.seen.host(on)}
    placement = Placement({**placed.hosts, **begun, **done}, placed.unplaced)
    if known is not None:
        return DrillPlace(at, point, placement, known.network, known.own_cards)
    return DrillPlace(at, point, placement, *_network(view, at, members, beside=only is not None))


def _network(view: PlanView, site: str, members: tuple[VmSpec, ...], *, beside: bool) -> tuple[int, bool]:
    """Which of the isolated networks is free, and whether the cards need MAC addresses of their own. With static addresses two drills of a
    plan on one network would answer for each other; one VM beside the running one is looked at by hand."""
    plan, topology = view.spec.name, view.topology
    names = sorted({nic.network for vm in members for nic in vm.nics})
    if not names:
        return 0, beside
    others = {name: record for name, record in sorted(view.drills.items()) if record.site == site}
    taken = {record.network for record in others.values()}
    fewest = min(names, key=lambda name: len(topology.networks[name].isolated))
    isolated = topology.networks[fewest].isolated
    free = next((number for number in range(len(isolated)) if number not in taken), None)
    if free is not None:
        return free, beside
    static = [vm.name for vm in members for nic in vm.nics if address_key(nic, site, drill=True) is not None]
    if static and not beside:
        raise NoRoom(
            (
                f"plan {plan}: drill {', '.join(others)} is on {', '.join(isolated)} at {site}, where a second one's VMs would have the same "
                f"addresses ({', '.join(dict.fromkeys(static))}); end it first, or name another isolated network: "
                f"networks.{fewest}.drill: {{bridge: {isolated[0]}, more: [ANOTHER]}}",
            )
        )
    return 0, True


def lacking(view: PlanView, site: str, placement: Placement) -> NoRoom:
    """Which VMs are without room, and what each host has left."""
    plan, left = view.spec.name, []
    for host in view.topology.plan_hosts(plan, site):
        state = view.seen.host(host.name)
        if state is None:
            left.append(f"{host.name} is silent")
            continue
        room = room_of(state, "")
        left.append(
            f"{host.name} has {counted(max(0, room.cpus), 'CPU')} and {max(0, room.memory) / 2**30:.3g} GiB left"
        )
    said = (
        f"plan {plan}: there is no room for this drill at {site}: {'; '.join(left)} before it; end another drill (dr drill list), "
        "or drill at another site"
    )
    return NoRoom((*placement.unplaced.values(), said))
