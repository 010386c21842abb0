"""The side that a move leaves: what of it answers, what can be proved, and whether its last state can still be brought over. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dr_provider.model.records import Claim
from dr_provider.protection.catalogue import RecoveryPoint
from dr_provider.reconcile.view import PlanView

__all__ = ["Source", "final_kind", "look_at_source"]


@dataclass(frozen=True)
class Source:
    """`unproved`: VMs that neither a hypervisor nor an array can be made to say are stopped. `cut`: volumes whose array answers and cannot
    send. `final`: the last state can be brought over. `final_point`: it has been taken already, under this claim."""

    site: str
    kind: Literal["planned", "disaster"]
    final: bool
    unproved: tuple[str, ...]
    silence: tuple[str, ...]
    cut: tuple[str, ...]
    final_point: RecoveryPoint | None
    warnings: tuple[str, ...]


def final_kind(claim_id: str) -> str:
    """The kind that a claim's final snapshot carries in its intent; an earlier, aborted move's is another."""
    return f"final.{claim_id}"


def look_at_source(view: PlanView, site: str, target: str, claim: Claim | None) -> Source:
    """What can be had of the side that the plan leaves."""
    arrays, hosts = view.silent_arrays(site), view.silent_hosts(site)
    linked = {name: view.linked(name, site, target) for name in view.volume_names}
    cut = tuple(name for name, ok in linked.items() if not ok and view.array_state(name, site) is not None)
    present = all(view.volume(name, site) is not None for name in view.volume_names)
    taken = None
    if claim is not None:
        wanted = final_kind(claim.id)
        taken = next(
            (p for p in view.points if p.intent.kind == wanted and (p.complete_at(site) or p.complete_at(target))), None
        )
    brought = taken is not None and taken.complete_at(target)
    final = brought or (not arrays and not cut and present)
    return Source(
        site,
        "disaster" if arrays or hosts or (cut and not brought) else "planned",
        final,
        _unproved(view, site, bool(hosts)),
        (*arrays.values(), *hosts.values()),
        cut if not arrays and not brought else (),
        taken,
        tuple(f"{site}: {reason}" for reason in (*arrays.values(), *hosts.values())),
    )


def _unproved(view: PlanView, site: str, hosts_silent: bool) -> tuple[str, ...]:
    """A VM is provable where every host answers (it can be seen off), or where the arrays of all its disks do (its LUNs can be unmapped)."""
    if not hosts_silent:
        return ()
    return tuple(vm.name for vm in view.vms if any(view.array_state(volume, site) is None for volume in vm.volumes()))
