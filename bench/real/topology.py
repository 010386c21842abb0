"""What is measured on the lab's machines: a plan of 8 guests in three tiers, a volume each, on one pool a site and two hosts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab.machines import Lab

__all__ = ["BUDGET", "GUESTS", "PLAN", "TIERS", "plan_of_guests", "volume_of"]

PLAN = "shop"
TIERS = {"db": 2, "app": 3, "web": 3}
"""Guests of each tier, the first to start first."""
GUESTS = tuple(f"{role}-{n + 1}" for role, count in TIERS.items() for n in range(count))
BUDGET = 10.0
"""Seconds: the sourceBudget."""
_SITES = ("east", "west")
_FIRST_ADDRESS = 100


def volume_of(guest: str) -> str:
    return f"vol-{guest}"


def _devices(lab: Lab, driver: str) -> dict[str, Any]:
    return {name: keys for name, keys in lab.topology_options().items() if keys["driver"] == driver}


def _write(path: Path, document: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # JSON is YAML too.
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path


def plan_of_guests(lab: Lab, path: Path, consistency: str = "application") -> Path:
    """The plan; its guests write only what they are asked for, so that hardly anything changes between two cycles."""
    hosts = _devices(lab, "libvirt")
    for host in hosts.values():
        host["boot"]["cmdline"] += " ledger=idle"
    return _write(
        path,
        {
            "version": 1,
            "name": "bench",
            "sourceBudget": f"{BUDGET:g}s",
            "sites": {site: {} for site in _SITES},
            "arrays": _devices(lab, "zfs"),
            "hosts": hosts,
            "networks": {"prod": {"east": "br-prod", "west": "br-prod", "drill": "br-drill"}},
            "volumes": {volume_of(guest): {"size": "1GiB", "home": "east-a", "copies": ["west-a"]} for guest in GUESTS},
            "vms": {guest: _guest(lab, guest, number) for number, guest in enumerate(GUESTS, _FIRST_ADDRESS)},
            "plans": {
                PLAN: {
                    "sites": list(_SITES),
                    "tiers": [
                        {"members": [guest for guest in GUESTS if guest.startswith(f"{role}-")]} for role in TIERS
                    ],
                    "backup": {"every": "15m", "consistency": consistency, "keep": {"last": 3}},
                    "replicate": {"every": "5m"},
                }
            },
        },
    )


def _guest(lab: Lab, guest: str, number: int) -> dict[str, Any]:
    address = {site: f"{lab.names.guest_address(site, number)}/16" for site in _SITES}
    return {
        "cpus": 1,
        "memory": "192MiB",
        "disks": {
            "root": {"volume": volume_of(guest), "size": "64MiB", "image": str(lab.names.guest / "ledger.img")},
        },
        "nics": [{"network": "prod", "address": {**address, "drill": f"172.31.{lab.names.k}.{number}/24"}}],
        "health": {"agent": True, "within": "2m"},
    }
