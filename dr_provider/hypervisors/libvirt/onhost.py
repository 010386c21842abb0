"""What `dr doctor` looks at on a host beside libvirt: this file is run there, as text, with one word of JSON; it prints one line of JSON.

    python3 -c TEXT '{"portals": {ARRAY: "HOST:PORT"}, "files": [PATH, ...]}'

Standard library only, Python 3.8 and newer, and it changes nothing. Facts only; examine.py judges them.
"""

from __future__ import annotations

import json
import os
import platform
import pwd
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

SECONDS = 3.0
"""For one command, and for one connection."""


def said(words: list[str]) -> tuple[int | None, str]:
    """A command's exit status and what it wrote; status None: it is not there or did not end."""
    environment = {**os.environ, "LC_ALL": "C", "PATH": f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"}
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None, ""
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace").strip()


def table(words: list[str]) -> Any:
    """What a command prints as JSON; None: it prints none."""
    status, text = said(words)
    try:
        return json.loads(text) if status == 0 and text else None
    except ValueError:
        return None


def reach(portal: str) -> dict[str, Any]:
    host, _, port = portal.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS).close()
    except ConnectionRefusedError as error:
        return {"error": error.strerror or "refused", "refused": True}
    except (OSError, ValueError) as error:
        return {"error": str(error), "refused": False}
    return {"error": "", "refused": False}


def text_of(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def room(path: str) -> list[int] | None:
    """Bytes in all, and free."""
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return None
    return [usage.total, usage.free]


def main(asked: dict[str, Any]) -> None:
    began = time.time()
    portals: dict[str, Any] = {}

    def try_portal(name: str, portal: str) -> None:
        portals[name] = reach(portal)

    threads = [threading.Thread(target=try_portal, args=item, daemon=True) for item in asked["portals"].items()]
    for thread in threads:
        thread.start()
    found = {
        "python": platform.python_version(),
        "user": user(),
        "links": table(["ip", "-j", "-d", "link", "show"]),
        "addresses": table(["ip", "-j", "address", "show"]),
        "forwards": text_of("/proc/sys/net/ipv4/ip_forward").strip() == "1",
        # Nothing listens on port 1: a QEMU that knows iSCSI fails to connect, one that does not fails to know it.
        "iscsi": said(["qemu-img", "info", "iscsi://127.0.0.1:1/iqn.2026-11.io.dr:none/0"])[1],
        "initiator": text_of("/etc/iscsi/initiatorname.iscsi"),
        "iscsiadm": shutil.which("iscsiadm", path="/usr/sbin:/sbin:/usr/bin:/bin") is not None,
        "onBoot": text_of("/etc/default/libvirt-guests") or text_of("/etc/sysconfig/libvirt-guests"),
        "files": {path: Path(path).is_file() for path in asked["files"]},
        "room": room("/var/lib/libvirt"),
    }
    for thread in threads:
        thread.join(SECONDS + 1)
    print(json.dumps({"began": began, "ended": time.time(), **found, "portals": dict(portals)}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
