"""A watchdog on this machine, for guests whose agent starts no programs: it thaws after some seconds, though whoever froze may be gone.

    python -m dr_provider.hypervisors.libvirt.watcher      with one line of JSON on its standard input

It thaws only the freeze whose token it was given. It has no output: what it could not do, the next run's thaw finds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from dr_provider.model.errors import DrError
from dr_provider.model.topology import HostSpec

__all__ = ["main", "watch"]


def watch(spec: HostSpec, timeout: float, vm: str, token: str, seconds: float) -> None:
    """Start one, in a session of its own, so that the end of this process is not its end."""
    order = {
        "name": spec.name,
        "site": spec.site,
        "options": dict(spec.options),
        "timeout": timeout,
        "vm": vm,
        "token": token,
        "seconds": seconds,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    assert process.stdin is not None
    with process.stdin:
        process.stdin.write(json.dumps(order) + "\n")


def main(order: dict[str, Any]) -> int:
    """Wait, then thaw. 1: the host or the guest gave no answer."""
    from dr_provider.hypervisors.libvirt.host import LibvirtHost

    time.sleep(float(order["seconds"]))
    spec = HostSpec(order["name"], order["site"], "libvirt", options=order["options"])
    host = LibvirtHost(spec, timeout=float(order["timeout"]))
    try:
        host.thaw_freeze(order["vm"], order["token"])
    except DrError:
        return 1
    finally:
        host.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.stdin.readline())))
