"""The shop's topology for a lab: the same plan and tiers as stacks/topology/shop.yaml, on the lab's arrays and hosts."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dr_provider.model import document
from dr_provider.model.problems import Report
from lab.machines import Lab

__all__ = ["lab_shop"]

_FIRST_ADDRESS = 100


def lab_shop(lab: Lab, shop: Path, image: Path) -> dict[str, Any]:
    """The document as plain data. `shop` is the embedded one, `image` what every disk starts from."""
    data: dict[str, Any] = copy.deepcopy(document.read(shop.read_text(encoding="utf-8"), str(shop), Report()).data)
    # The default: a machine that is busy with a dozen guests is slow, and not silent.
    del data["sourceBudget"]
    devices = lab.topology_options()
    data |= {
        "name": "shop-lab",
        "arrays": {name: keys for name, keys in devices.items() if keys["driver"] == "zfs"},
        "hosts": {name: _idle(keys) for name, keys in devices.items() if keys["driver"] == "libvirt"},
        "networks": {"prod": {"east": "br-prod", "west": "br-prod", "drill": "br-drill"}},
        "volumes": {name: {"size": "1GiB", "home": "east-a", "copies": ["west-a"]} for name in data["volumes"]},
    }
    data["vms"] = {
        name: _guest(lab, number, vm, image) for number, (name, vm) in enumerate(data["vms"].items(), _FIRST_ADDRESS)
    }
    return data


def _idle(host: Mapping[str, Any]) -> dict[str, Any]:
    """Guests write only what they are asked for, so that each fact about it is exact."""
    boot = host["boot"]
    return {**host, "boot": {**boot, "cmdline": f"{boot['cmdline']} ledger=idle"}}


def _guest(lab: Lab, number: int, vm: Mapping[str, Any], image: Path) -> dict[str, Any]:
    address = {site: f"{lab.names.guest_address(site, number)}/16" for site in ("east", "west")}
    return {
        "cpus": 1,
        "memory": "192MiB",
        "disks": {"root": {"volume": vm["disks"]["root"]["volume"], "size": "64MiB", "image": str(image)}},
        "nics": [{"network": "prod", "address": {**address, "drill": f"172.31.{lab.names.k}.{number}/24"}}],
        "health": {"agent": True, "within": "2m"},
    }
