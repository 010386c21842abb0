"""A lab's machines as a topology file names them."""

from __future__ import annotations

from typing import Any

from lab.layout import MachineSpec, Names, specs

__all__ = ["options"]


def _ssh(names: Names) -> dict[str, str]:
    return {
        "identity": str(names.ssh / "id_ed25519"),
        "knownHosts": str(names.ssh / "known_hosts"),
        "config": str(names.ssh / "config"),
    }


def _array(names: Names, spec: MachineSpec) -> dict[str, Any]:
    address = names.address(spec)
    return {
        "site": spec.site,
        "driver": "zfs",
        "endpoints": [f"ssh://root@{address}"],
        "pool": "tank",
        "ssh": _ssh(names),
        "luns": {"service": "tgt", "portal": f"{address}:3260"},
        "replication": f"ssh://root@{address}",
    }


def _host(names: Names, spec: MachineSpec) -> dict[str, Any]:
    return {
        "site": spec.site,
        "driver": "libvirt",
        "uri": f"qemu+ssh://root@{names.address(spec)}/system",
        "ssh": _ssh(names),
        "cluster": spec.site,
        "cpus": 16,
        "memory": "8GiB",
        "boot": {
            "kernel": str(names.guest / "vmlinuz"),
            "initrd": str(names.guest / "initrd.gz"),
            # The guest notes with each boot where it booted: the ledger's own evidence of a move.
            "cmdline": f"console=ttyS0 quiet panic=-1 lab.host={spec.name}",
        },
    }


def options(names: Names) -> dict[str, dict[str, Any]]:
    """Machine name -> its keys under `arrays:` or `hosts:`."""
    return {spec.name: (_array if spec.role == "array" else _host)(names, spec) for spec in specs()}
