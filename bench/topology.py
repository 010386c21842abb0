"""The topology that is measured: two sites, some arrays and hosts each, VMs in three tiers with one LUN each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["PLAN", "SMALL", "TIERS", "WHOLE", "Size", "document", "tiers", "write"]

PLAN = "shop"
TIERS = ("db", "app", "web")


@dataclass(frozen=True)
class Size:
    """`arrays` and `hosts` are a site's; `array_width` and `host_width` are calls that one of them takes at once; `latency` is seconds a call."""

    vms: int = 200
    vms_a_volume: int = 20
    arrays: int = 2
    hosts: int = 4
    array_width: int = 16
    host_width: int = 8
    latency: float = 0.05

    @property
    def volumes(self) -> int:
        return -(-self.vms // self.vms_a_volume)


WHOLE = Size()
SMALL = Size(vms=6, vms_a_volume=2, arrays=2, hosts=2, array_width=2, host_width=2, latency=0.002)


def tiers(size: Size) -> list[list[str]]:
    """The VMs of each tier, as even as can be."""
    count = [len(range(tier, size.vms, len(TIERS))) for tier in range(len(TIERS))]
    return [[f"{role}-{n + 1}" for n in range(count[tier])] for tier, role in enumerate(TIERS) if count[tier]]


def document(size: Size, *, latency: bool) -> dict[str, Any]:
    """The topology as plain data; without `latency` on the same files at full speed, to make what is then measured."""

    def slow(width: int) -> dict[str, object]:
        return {"latency": f"{round(size.latency * 1000)}ms", "width": width} if latency else {}

    members = [vm for tier in tiers(size) for vm in tier]
    sites = ("east", "west")
    return {
        "version": 1,
        "name": "bench",
        "sourceBudget": "1s",
        "sites": {site: {} for site in sites},
        "arrays": {
            f"{site}-{chr(ord('a') + n)}": {
                "site": site,
                "driver": "embedded",
                "path": f".dr/{site}-{chr(ord('a') + n)}.db",
                **slow(size.array_width),
            }
            for site in sites
            for n in range(size.arrays)
        },
        "hosts": {
            f"{site}-{n + 1}": {
                "site": site,
                "driver": "embedded",
                "path": f".dr/{site}-{n + 1}.db",
                "cpus": size.vms,
                "memory": "1TiB",
                **slow(size.host_width),
            }
            for site in sites
            for n in range(size.hosts)
        },
        "networks": {"prod": {"east": "br-prod", "west": "br-prod", "drill": "br-isolated"}},
        "volumes": {
            f"vol-{n + 1}": {
                "size": "1GiB",
                "home": f"east-{chr(ord('a') + n % size.arrays)}",
                "copies": [f"west-{chr(ord('a') + n % size.arrays)}"],
            }
            for n in range(size.volumes)
        },
        "vms": {
            vm: {
                "cpus": 1,
                "memory": "1GiB",
                "disks": {"root": {"volume": f"vol-{number % size.volumes + 1}", "size": "4MiB"}},
                "nics": [{"network": "prod", "address": {site: _address(s, number) for s, site in enumerate(sites)}}],
                "health": {"tcp": 22, "within": "1m"},
            }
            for number, vm in enumerate(members)
        },
        "plans": {
            PLAN: {
                "sites": list(sites),
                "tiers": [{"members": tier} for tier in tiers(size)],
                "backup": {"every": "15m", "consistency": "application", "keep": {"last": 4}},
                "replicate": {"every": "5m"},
            }
        },
    }


def _address(site: int, number: int) -> str:
    third, fourth = divmod(number, 200)
    return f"10.{site + 1}.{third}.{fourth + 10}/16"


def write(folder: Path, size: Size, *, latency: bool) -> Path:
    """Write the document into the folder; arrays and hosts live in its folder .dr."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ("slow.yaml" if latency else "topology.yaml")
    path.write_text(json.dumps(document(size, latency=latency), indent=1) + "\n", encoding="utf-8")
    return path
