"""Changes of the topology that users make while the plan lives; each raises LookupError where there is nothing left to change.

Each takes the document and a number that no other edit of the game has: a name is not used again, since `dr apply` makes and does not delete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["EDITS"]

Document = dict[str, Any]
_MOST = 4


def _add_vm(document: Document, number: int) -> None:
    if len(document["vms"]) >= _MOST:
        raise LookupError
    name, web = f"app-{number}", document["vms"]["web"]
    volume = sorted(document["volumes"])[number % len(document["volumes"])]
    document["vms"][name] = {
        **{k: v for k, v in web.items() if k != "nics"},
        "disks": {"root": {"volume": volume, "size": "1MiB"}},
    }
    document["plans"]["shop"]["tiers"].append({"members": [name]})


def _remove_vm(document: Document, number: int) -> None:
    name = max(vm for vm in document["vms"] if vm.startswith("app-")) if len(document["vms"]) > 2 else None
    if name is None:
        raise LookupError
    del document["vms"][name]
    tiers = document["plans"]["shop"]["tiers"]
    tiers[:] = [tier for tier in tiers if name not in tier["members"]]
    used = {disk["volume"] for vm in document["vms"].values() for disk in vm["disks"].values()}
    for volume in set(document["volumes"]) - used:
        del document["volumes"][volume]


def _add_volume(document: Document, number: int) -> None:
    """With a VM on it: a volume without one belongs to no plan."""
    if len(document["volumes"]) >= _MOST:
        raise LookupError
    document["volumes"][f"vol-{number}"] = dict(document["volumes"]["vol-1"])
    _add_vm(document, number)
    document["vms"][f"app-{number}"]["disks"]["root"]["volume"] = f"vol-{number}"


def _add_disk(document: Document, number: int) -> None:
    """With an image on it: a guest keeps its ledger on the disks that have none."""
    disks = document["vms"]["web"]["disks"]
    if "more" in disks:
        raise LookupError
    disks["more"] = {"volume": "vol-1", "size": "1MiB", "image": "seed.img"}


def _remove_disk(document: Document, number: int) -> None:
    del document["vms"]["web"]["disks"]["more"]


def _grow_volume(document: Document, number: int) -> None:
    volume = document["volumes"]["vol-1"]
    if volume["size"] == "128MiB":
        raise LookupError
    volume["size"] = "128MiB"


def _grow_disk(document: Document, number: int) -> None:
    disk = document["vms"]["web"]["disks"]["root"]
    if disk["size"] == "2MiB":
        raise LookupError
    disk["size"] = "2MiB"


EDITS: Mapping[str, Callable[[Document, int], None]] = {
    "add a VM": _add_vm,
    "remove a VM": _remove_vm,
    "add a volume": _add_volume,
    "add a disk": _add_disk,
    "remove a disk": _remove_disk,
    "grow a volume": _grow_volume,
    "grow a disk": _grow_disk,
}
