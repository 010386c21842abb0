"""What people read about a lab."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lab.machines import Lab

__all__ = ["facts", "made", "status"]


def _short(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def facts(lab: Lab) -> dict[str, Any]:
    """For `status --json`: every machine with its address, role, whether it is on, and what it is cut off from."""
    return {
        "name": lab.name,
        "folder": str(lab.folder),
        "bridge": lab.names.bridge,
        "operator": lab.names.operator,
        "machines": {
            name: {
                "site": machine.site,
                "role": machine.role,
                "address": machine.address,
                "on": machine.alive,
                "cutFrom": machine.cut_from(),
            }
            for name, machine in lab.machines.items()
        },
    }


def status(said: dict[str, Any]) -> None:
    print(f"lab {said['name']} on bridge {said['bridge']}; the operator is {said['operator']}")
    for name, machine in said["machines"].items():
        cut = f"  cut off from {', '.join(machine['cutFrom'])}" if machine["cutFrom"] else ""
        print(f"  {name:8} {machine['role']:6} {machine['address']:14} {'on' if machine['on'] else 'off'}{cut}")


def made(lab: Lab, seconds: float) -> None:
    """After `up`: what there is, and the first commands."""
    status(facts(lab))
    folder, name = _short(lab.folder), "" if lab.name == "lab" else f" --name {lab.name}"
    print(f"up in {seconds:.1f} s. Now:")
    print(f"  dr --topology {folder}/lab.yaml validate   (plan shop: 6 guests in 3 tiers, home in the east)")
    print(f"  ssh -F {folder}/ssh/config east-a zfs list")
    print(f"  python -m lab status{name}   (exec, lose, return, kill, start, cut, heal: python -m lab --help)")
    print(f"  python -m lab down{name}")
