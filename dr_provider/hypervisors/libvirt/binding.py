"""libvirt-python, brought in when a host first needs it, and its event loop.

libvirt-python is built against the machine's own libvirt and is no part of what the project must have installed; it has no types, so
what comes from it is `Any`, and goes no further than this package.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dr_provider.model.errors import BadInput

__all__ = ["Load", "Modules", "load"]

_lock = threading.Lock()
_loops: set[int] = set()


@dataclass(frozen=True)
class Modules:
    """`libvirt`, and `libvirt_qemu` for commands to the guest agent."""

    libvirt: Any
    qemu: Any


Load = Callable[[str], Modules]
"""(the host in sentences) -> libvirt-python."""


def load(where: str) -> Modules:
    """libvirt-python with its event loop running: without the loop there is no keepalive, and silence would last for ever. Raises BadInput."""
    libvirt = _module("libvirt", where)
    with _lock:
        # Before the first connection, and once: libvirt keeps one event loop a process.
        if id(libvirt) not in _loops:
            libvirt.registerErrorHandler(_quiet, None)
            libvirt.virEventRegisterDefaultImpl()
            threading.Thread(target=_turn, args=(libvirt,), name="libvirt-events", daemon=True).start()
            _loops.add(id(libvirt))
    return Modules(libvirt, _module("libvirt_qemu", where))


def _module(name: str, where: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BadInput(
            f"{where}: its driver needs the Python package libvirt-python, which cannot be loaded here ({error}); install it with "
            "`pip install 'dr-provider[libvirt]'` (the system needs libvirt's headers and pkg-config for that)"
        ) from None


def _quiet(_context: object, _error: object) -> None:
    """libvirt would print each error besides raising it."""


def _turn(libvirt: Any) -> None:
    while libvirt.virEventRunDefaultImpl() == 0:
        pass
