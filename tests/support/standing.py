"""What stands in a lab, in a form in which two ways to the same end can be compared: ids, times and what only grows are left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from dr_provider.model import keys
from dr_provider.model.state import ArrayState, HostState
from tests.support.lab import Lab

__all__ = ["standing"]

_ID = re.compile(r"(e\d+-s\d+-)?\b[0-9a-f]{8}\b")
# Points and what drills have shown may be more, leases are counted on, journals are for people, and what a stack declares depends on who finished.
_LEFT_OUT = ("lease/", "declared/", "known/", "epoch/", "drill-result/")


def standing(lab: Lab) -> dict[str, Any]:
    """The lab as it is, faults and silence left aside: every device is read as its file is."""
    view = lab.view()
    arrays = {name: state for name in lab.topology.arrays if (state := view.seen.array(name)) is not None}
    hosts = {name: found for name in lab.topology.hosts if (found := view.seen.host(name)) is not None}
    decision = lab.decide()
    leases = sorted((lease for of in view.leases.values() for lease in of), key=lambda lease: (lease.n, lease.released))
    return {
        "epochs": {name: sorted((e.number, e.site, e.kind) for e in of if e.state == "committed") for name, of in view.epochs.items()},
        "aborted": [(e.number, e.site, e.kind) for e in view.history if e.state == "aborted"],
        "claims": sorted(view.claims),
        "split": view.split and view.split.sides,
        "unreleased": [lease.n for lease in leases[-1:] if not lease.released],
        "drills": sorted(view.drills),
        "records": {name: _records(lab, state) for name, state in arrays.items()},
        "volumes": {name: _volumes(state) for name, state in arrays.items()},
        "hosts": _hosts(lab, hosts),
        "ledgers": {vm: (r.site, r.last + r.buffered, r.intact) for vm in lab.topology.plans[lab.plan].members if (r := lab.ledger(vm))},
        "protected": lab.status()["protected"],
        "left": [action.id for action in decision.actions],
        "said": sorted(_ID.sub("ID", line) for line in (*decision.refused, *decision.degraded)),
    }  # fmt: skip


def _records(lab: Lab, state: ArrayState) -> dict[str, int]:
    """How many records there are of each kind of key, with ids left out."""
    prefix = f"{lab.topology.name}/"
    found = [key.removeprefix(prefix) for key in state.records]
    return dict(Counter(_ID.sub("ID", key) for key in found if not key.startswith(_LEFT_OUT)))


def _volumes(state: ArrayState) -> dict[str, Any]:
    return {
        _ID.sub("ID", name): {
            "kind": volume.kind,
            "writable": volume.writable,
            "luns": {lun.name: (lun.online, lun.size, _short(lun.mapped_to)) for lun in volume.luns.values()},
            "holds": sorted({_tag(tag) for snapshot in volume.snapshots for tag in snapshot.holds}),
            "incoming": volume.incoming is not None,
            "strange": sorted(s.name for s in volume.snapshots if keys.point_order(s.name) is None and not s.name.startswith("init-")),
        }
        for name, volume in sorted(state.volumes.items())
    }  # fmt: skip


def _short(initiator: str | None) -> str | None:
    """The site of an embedded host, by its initiator: which of its hosts a VM is on is left to the run."""
    return initiator.partition(":")[2].partition("-")[0] if initiator else None


def _tag(tag: str) -> str:
    """What a move has chosen is the fork once it is committed; a killed run may leave it held as the one or the other, or both."""
    return "fork" if tag.startswith(("fork.", "point.")) else _ID.sub("ID", tag)


def _hosts(lab: Lab, hosts: Mapping[str, HostState]) -> dict[str, Any]:
    """By site: how often each VM is there, in which state, and what is kept for whom."""
    found: dict[str, Any] = {}
    for name, state in hosts.items():
        at = found.setdefault(lab.topology.hosts[name].site, {"vms": Counter(), "reserved": []})
        at["vms"].update((vm.name, vm.state, vm.frozen) for vm in state.vms.values())
        at["reserved"] += [(kept.tag, kept.vm) for kept in state.reservations]
    return found
