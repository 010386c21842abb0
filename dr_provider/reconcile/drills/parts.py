"""What is there of a drill, as an observation shows it: VMs, clones, holds, capacity, records. Pure.

Invariant: nothing is taken to be gone because who would know it is silent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dr_provider.model import keys
from dr_provider.model.state import Silent, VmState
from dr_provider.reconcile.drills.evidence import drill_ends, has_expired
from dr_provider.reconcile.view import PlanView

__all__ = ["Parts", "drill_vms", "drills_to_end", "named_drills", "parts_of", "vm_states"]


@dataclass(frozen=True)
class Parts:
    """`vms`: (host, VM); `clones`: volumes by array; `held`: volumes whose snapshots carry the drill's hold, by array; `hosts`: those that
    keep capacity for it; `records`: arrays with its record; `asked`: arrays that know that its end was asked for. `silent`: who may hold
    more of it, with the reason.
    """

    vms: tuple[tuple[str, VmState], ...] = ()
    clones: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    held: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    silent: Mapping[str, str] = field(default_factory=dict)

    @property
    def things(self) -> bool:
        """Whether anything but records is there."""
        return bool(self.vms or self.clones or self.held or self.hosts)

    def __bool__(self) -> bool:
        return self.things or bool(self.records)


def drill_vms(view: PlanView, drill: str) -> dict[str, tuple[str, VmState]]:
    """The drill's VMs that are there, by VM of the topology, with their hosts."""
    return {
        state.definition.vm: (host, state)
        for host in sorted(view.topology.hosts)
        if (known := view.seen.host(host)) is not None
        for state in known.vms.values()
        if state.definition.owner.topology == view.topology.name
        and state.definition.plan == view.spec.name
        and state.name == keys.drill_vm(state.definition.vm, drill)
    }


def vm_states(view: PlanView, drill: str) -> dict[str, dict[str, str]]:
    """The drill's VMs as their hosts show them: {VM: {"host", "name", "state"}}."""
    return {
        vm: {"host": host, "name": state.name, "state": state.state}
        for vm, (host, state) in sorted(drill_vms(view, drill).items())
    }


def parts_of(view: PlanView, drill: str) -> Parts:
    topology, plan = view.topology, view.spec.name
    key, end = keys.drill_key(topology.name, plan, drill), keys.drill_end_key(topology.name, plan, drill)
    # What it was made of may be on arrays, and at a site, that are the plan's no more.
    arrays = {name: array.site for name, array in sorted(topology.arrays.items())}
    recorded = {array for array in arrays if key in _records(view, array)}
    asked = tuple(array for array in arrays if end in _records(view, array))
    clones: dict[str, tuple[str, ...]] = {}
    held: dict[str, tuple[str, ...]] = {}
    left = _left_since(view, drill)
    members = {keys.drill_volume(name, drill): name for name in (*view.volume_names, *left)}
    for array in arrays:
        state = view.seen.array(array)
        if state is None:
            continue
        found = [n for n, v in state.volumes.items() if v.kind == "drill" and n in members and v.owner is not None]
        holds = [
            volume
            for volume in members.values()
            if volume in state.volumes
            and any(keys.drill_hold(drill) in snapshot.holds for snapshot in state.volumes[volume].snapshots)
        ]
        clones |= {array: tuple(sorted(found))} if found else {}
        held |= {array: tuple(sorted(holds))} if holds else {}
    # A record that is seen says at which site all of it is (where a side was away when one of the same name was made at another, there are
    # two), and so may the one of its end; without them it may be anywhere.
    said = drill_ends(view).get(drill)
    where = {arrays[array] for array in recorded} or ({said.site} if said and said.site else set(view.spec.sites))
    silent = {
        name: reason
        for site in view.spec.sites
        if site in where
        for name, reason in (*view.silent_arrays(site).items(), *view.silent_hosts(site).items())
    }
    if left:
        silent |= {
            name: state.reason
            for name, state in view.seen.arrays.items()
            if arrays.get(name) in where and isinstance(state, Silent)
        }
    return Parts(
        vms=tuple(drill_vms(view, drill).values()),
        clones=clones,
        held=held,
        hosts=_keeping(view, drill),
        records=tuple(sorted(recorded)),
        asked=asked,
        silent=silent,
    )


def _left_since(view: PlanView, drill: str) -> list[str]:
    """Volumes that the drill was made of and that are none of the topology any more."""
    record, suffix = view.drills.get(drill), keys.drill_volume("", drill)
    names = [name.removesuffix(suffix) for name in (record.volumes if record is not None else ())]
    return [name for name in names if name not in view.topology.volumes]


def _records(view: PlanView, array: str) -> Mapping[str, str]:
    state = view.seen.array(array)
    return state.records if state is not None else {}


def _keeping(view: PlanView, drill: str) -> tuple[str, ...]:
    """Hosts that keep capacity for the drill."""
    tag = keys.drill_tag(view.topology.name, view.spec.name, drill)
    return tuple(
        host
        for host in sorted(view.topology.hosts)
        if (state := view.seen.host(host)) is not None and any(kept.tag == tag for kept in state.reservations)
    )


def drills_to_end(view: PlanView) -> dict[str, str]:
    """Drills that whoever holds the lease is to end now, each with the reason: those that have expired, and those whose end was asked for
    while a part of them was silent. Left out is one of which nothing more can be removed before somebody is back."""
    now = keys.at(view.seen.time)
    found = {
        name: f"it expired at {record.expires}" for name, record in view.drills.items() if has_expired(record, now)
    }
    found |= {name: f"{end.by} ended it while a part of it was silent" for name, end in drill_ends(view).items()}
    return {name: why for name, why in sorted(found.items()) if _worth_it(parts_of(view, name))}


def _worth_it(parts: Parts) -> bool:
    return parts.things or not parts.silent


def named_drills(view: PlanView) -> tuple[str, ...]:
    """Every drill of the plan that anything answering knows of, also one that has lost its record."""
    seen = {
        state.name.removeprefix(f"{state.definition.vm}.drill.")
        for host in view.topology.hosts
        if (known := view.seen.host(host)) is not None
        for state in known.vms.values()
        if state.definition.owner.topology == view.topology.name
        and state.definition.plan == view.spec.name
        and state.name.startswith(f"{state.definition.vm}.drill.")
    }
    return tuple(sorted({*view.drills, *seen}))
