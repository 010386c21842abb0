"""What the lab needs of this machine."""

from __future__ import annotations

import os
from pathlib import Path

from lab.layout import LabError
from lab.power import check_kernel

__all__ = ["check", "check_root", "install"]


def check_root() -> None:
    if os.geteuid() != 0:
        raise LabError("the lab makes namespaces, mounts and a bridge, and must be root: try again as root")


def check() -> None:
    """Raises LabError with the one sentence on what is missing."""
    check_root()
    check_kernel()
    for device in ("/dev/fuse", "/dev/net/tun"):
        if not Path(device).exists():
            raise LabError(f"this machine has no {device}, which the lab needs")


def install() -> int:
    raise LabError("not yet")
