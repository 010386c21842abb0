"""One thing at a time in a guest: a lock by host file and VM, over threads and processes, that a killed process lets go of.

A guest's disk I/O may wait for a silent array, so it must not happen inside a transaction of the host's file, where it would hold
up the whole host. Whoever holds this lock knows that no entry of this VM is on its way to a disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dr_provider.model.errors import Unreachable

__all__ = ["guest_lock"]

_POLL = 0.005
_guard = threading.Lock()
# The system drops all of a process's locks on a file when the process closes any descriptor of it, so each stays open.
_files: dict[tuple[int, Path], int] = {}
_threads: defaultdict[tuple[int, Path, str], threading.Lock] = defaultdict(threading.Lock)


@contextmanager
def guest_lock(path: Path, vm: str, timeout: float) -> Iterator[None]:
    """Hold the guest of a VM. Raises Unreachable when it is still held by another after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    pid, path = os.getpid(), path.resolve()
    with _guard:
        thread = _threads[pid, path, vm]
        descriptor = _files.get((pid, path))
        if descriptor is None:
            descriptor = os.open(path.with_name(path.name + "-guests"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            _files[pid, path] = descriptor
    busy = Unreachable(f"VM {vm}: its guest gave no answer within {timeout:g} s (it waits for its disks)")
    if not thread.acquire(timeout=max(0.0, timeout)):
        raise busy
    try:
        byte = int.from_bytes(hashlib.sha256(vm.encode()).digest()[:6], "big")
        while True:
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
                break
            except (BlockingIOError, PermissionError):
                if time.monotonic() >= deadline:
                    raise busy from None
                time.sleep(_POLL)
        try:
            yield
        finally:
            fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, byte)
    finally:
        thread.release()
