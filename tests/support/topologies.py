"""Topologies for tests: some sites (east and west), one embedded array and some hosts each, one plan `shop`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from dr_provider.model.loader import load
from dr_provider.model.topology import Topology

__all__ = ["loaded", "topology_document", "vm_names", "write_topology"]

ROLES = ("db", "app", "web")


def vm_names(vms: int | Sequence[str]) -> list[list[str]]:
    """The VMs of the three tiers: db, app, web; or db-1, db-2, ... where there are more than three. Named ones are spread as they come."""
    if not isinstance(vms, int):
        names = list(vms)
    elif vms <= len(ROLES):
        names = list(ROLES[:vms])
    else:
        count = [len(range(tier, vms, len(ROLES))) for tier in range(len(ROLES))]
        return [[f"{role}-{n + 1}" for n in range(count[tier])] for tier, role in enumerate(ROLES)]
    size = -(-len(names) // len(ROLES))
    tiers = [names[i * size : (i + 1) * size] for i in range(len(ROLES))]
    return [tier for tier in tiers if tier]


def topology_document(
    *,
    name: str = "shop-test",
    sites: Sequence[str] = ("east", "west"),
    via: Mapping[str, str] | None = None,
    vms: int | Sequence[str] = 3,
    volumes: int | Sequence[str] = 2,
    hosts_per_site: int = 2,
    disk: str = "4MiB",
    volume_size: str = "64MiB",
    cpus: int = 1,
    memory: str = "64MiB",
    host_cpus: int | None = None,
    host_memory: str = "64GiB",
    latency: str | None = None,
    host_latency: str | None = None,
    width: int | None = None,
    host_width: int | None = None,
    capacity: str | None = None,
    source_budget: str = "1s",
    backup: Mapping[str, Any] | None = None,
    replicate_every: str = "5m",
    on_failure: str = "wait",
    images: Mapping[str, str] | None = None,
    nics: bool = True,
    health: Mapping[str, Any] | None = None,
    plan: Mapping[str, Any] | None = None,
    change: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """The document as plain data.

    `vms` and `volumes` are counts or names (volumes: vol-1, vol-2, ...); VM number i has its disk `root` on volume i modulo
    their number; the first of `sites` is home, and each other has a copy of every volume; `via` maps an array to the one that feeds it. `latency` and `width` are the arrays', `latency` the hosts' too unless `host_latency` is given. `images`
    maps VM to an image file; `plan` adds keys to the plan; `change` may alter the whole document before it is returned.
    """
    tiers = vm_names(vms)
    members = [vm for tier in tiers for vm in tier]
    volume_names = [f"vol-{n + 1}" for n in range(volumes)] if isinstance(volumes, int) else list(volumes)
    array_options = {"latency": latency, "width": width, "capacity": capacity}
    host_options = {"latency": host_latency or latency, "width": host_width}
    document: dict[str, Any] = {
        "version": 1,
        "name": name,
        "sourceBudget": source_budget,
        "sites": {site: {} for site in sites},
        "arrays": {
            f"{site}-a": _given({"site": site, "driver": "embedded", "path": f".dr/{site}-a.db", **array_options})
            for site in sites
        },
        "hosts": {
            f"{site}-{n + 1}": _given(
                {
                    "site": site,
                    "driver": "embedded",
                    "path": f".dr/{site}-{n + 1}.db",
                    "cpus": host_cpus or max(16, cpus * len(members)),
                    "memory": host_memory,
                    **host_options,
                }
            )
            for site in sites
            for n in range(hosts_per_site)
        },
        "networks": {"prod": {**dict.fromkeys(sites, "br-prod"), "drill": "br-isolated"}},
        "volumes": {
            volume: {"size": volume_size, "home": f"{sites[0]}-a", "copies": [_copy(f"{s}-a", via) for s in sites[1:]]}
            for volume in volume_names[: max(1, len(members))]
        },
        "vms": {
            vm: _given(
                {
                    "cpus": cpus,
                    "memory": memory,
                    "disks": {
                        "root": _given(
                            {
                                "volume": volume_names[number % len(volume_names)],
                                "size": disk,
                                "image": (images or {}).get(vm),
                            }
                        )
                    },
                    "nics": [_nic(number, sites)] if nics else None,
                    "health": dict(health) if health else None,
                }
            )
            for number, vm in enumerate(members)
        },
        "plans": {
            "shop": {
                "sites": list(sites),
                "tiers": [{"members": tier, "onFailure": on_failure} for tier in tiers],
                "backup": dict(backup or {"every": "15m", "consistency": "application", "keep": {"last": 8}}),
                "replicate": {"every": replicate_every},
                **(plan or {}),
            }
        },
    }
    if change is not None:
        change(document)
    return document


def write_topology(folder: Path, *, file: str = "topology.yaml", **options: Any) -> Path:
    """Write `topology_document(**options)` into the folder (made if need be); arrays and hosts live in its folder .dr. Returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file
    path.write_text(json.dumps(topology_document(**options), indent=2) + "\n", encoding="utf-8")
    return path


def loaded(path: Path) -> Topology:
    """The topology of a file, checked once as long as it says the same: a test asks for it a dozen times."""
    return _loaded(path, path.read_bytes())


@lru_cache(maxsize=64)
def _loaded(path: Path, _content: bytes) -> Topology:
    return load(path)


def _given(keys: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if value is not None}


def _copy(array: str, via: Mapping[str, str] | None) -> str | dict[str, str]:
    return {"array": array, "via": via[array]} if via and array in via else array


def _nic(number: int, sites: Sequence[str]) -> dict[str, Any]:
    third, fourth = divmod(number, 200)
    address = {site: f"10.{at + 1}.{third}.{fourth + 10}/16" for at, site in enumerate(sites)}
    return {"network": "prod", "address": address}
