"""The lab's topology file: build/lab/NAME/lab.yaml, ready for `dr` and for a stack."""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML

from lab.layout import SITES, Names
from lab.options import options

__all__ = ["GUESTS", "PLAN", "document", "write"]

PLAN = "shop"

HEALTH_PORT = 7
"""Where the guests' ledger answers."""

GUESTS: dict[str, tuple[str, str]] = {
    "db": ("data", "agent"),
    "queue": ("data", "tcp"),
    "app-1": ("apps", "tcp"),
    "app-2": ("apps", "agent"),
    "web-1": ("webs", "tcp"),
    "web-2": ("webs", "tcp"),
}
"""Guest -> its volume, and how its health is seen. The first has a second disk."""

_TIERS = (["db", "queue"], ["app-1", "app-2"], ["web-1", "web-2"])


def _guest(names: Names, name: str, number: int) -> dict[str, Any]:
    volume, health = GUESTS[name]
    disk = {"volume": volume, "size": "48MiB", "image": "guest/ledger.img"}
    addresses = {site: f"{names.guest_address(site, 100 + number)}/16" for site in SITES}
    return {
        "cpus": 1,
        "memory": "192MiB",
        "disks": {"root": disk} | ({"orders": dict(disk)} if name == "db" else {}),
        "nics": [{"network": "prod", "address": addresses | {"drill": f"172.31.{names.k}.{100 + number}/24"}}],
        "health": ({"tcp": HEALTH_PORT} if health == "tcp" else {"agent": True}) | {"within": "2m"},
    }


def document(names: Names) -> dict[str, Any]:
    """Both sites' machines, six guests in three tiers on three volumes, and the plan `shop`, at home in the east."""
    machines = options(names)
    volume = {"size": "512MiB", "home": "east-a", "copies": ["west-a"]}
    return {
        "version": 1,
        "name": f"lab-{names.folder.name}"[:31].rstrip("-"),
        "sourceBudget": "10s",
        "sites": {site: {} for site in SITES},
        "arrays": {name: keys for name, keys in machines.items() if keys["driver"] == "zfs"},
        "hosts": {name: keys for name, keys in machines.items() if keys["driver"] == "libvirt"},
        "networks": {"prod": dict.fromkeys(SITES, "br-prod") | {"drill": "br-drill"}},
        "volumes": {name: dict(volume) for name in dict.fromkeys(volume for volume, _ in GUESTS.values())},
        "vms": {name: _guest(names, name, number) for number, name in enumerate(GUESTS, 1)},
        "plans": {
            PLAN: {
                "sites": list(SITES),
                "tiers": [{"members": _TIERS[0]}, {"members": _TIERS[1], "after": ["db"]}, {"members": _TIERS[2]}],
                "backup": {"every": "5m", "consistency": "application", "keep": {"last": 8}},
                "replicate": {"every": "5m"},
                "rpo": "10m",
                "rto": "5m",
            }
        },
    }


def write(names: Names) -> None:
    """Write it; the same lab gives the same bytes."""
    path = names.folder / "lab.yaml"
    partial = path.with_suffix(".partial")
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 160
    # Anchors would hide that two keys only happen to be equal.
    yaml.representer.ignore_aliases = lambda _data: True
    with partial.open("w") as file:
        file.write("# Made by `python -m lab up`, and made anew by the next: copy it before you change it.\n")
        yaml.dump(document(names), file)
    partial.replace(path)
