"""What `dr doctor` wants to know of an array: facts only, judged on the operator's machine (arrays/zfs/examine.py). Changes nothing.

Each part that cannot be found out is a fault of its own, [KIND, SENTENCE] under "fault", so that one that hangs or is refused does not
hide the others.
"""

from __future__ import annotations

import os
import platform
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import exports, meta, tgt
from .core import Context, Fault, attempt, environment, fault_of, op, run
from .hop import hop_words

__all__ = ["examine", "hello", "hop"]

_IQN = "iqn.2026-11.io.dr:"
_TGT_FILES = ("/etc/tgt/targets.conf", "/etc/tgt/conf.d")
_LIO_FILES = ("/etc/rtslib-fb-target/saveconfig.json", "/etc/target/saveconfig.json")
_UNITS = {"tgt": ("tgt", "tgtd"), "lio": ("rtslib-fb-targetctl", "target", "targetclid")}
_CONNECT = 2.0
_HOP = 5.0


@op("examine")
def examine(ctx: Context) -> dict[str, Any]:
    """Facts by part. `began` and `ended` are the machine's time of day, in seconds."""
    began = time.time()
    service = str((ctx.config.get("luns") or {}).get("service", "tgt"))
    found = {
        "machine": _machine(),
        "zfs": _part(lambda: _zfs(ctx)),
        "pool": _part(lambda: _pool(ctx)),
        "place": _part(lambda: _place(ctx)),
        "rights": _part(lambda: _rights(ctx, service)),
        "luns": _part(lambda: _luns(ctx, service)),
        "portal": _portal(str((ctx.config.get("luns") or {}).get("portal", ""))),
        "boot": _boot(ctx, service),
    }
    return {**found, "began": began, "ended": time.time()}


def _part(find: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return find()
    except Fault as fault:
        return {"fault": [fault.kind, str(fault)]}


def _machine() -> dict[str, Any]:
    names = {}
    try:
        for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition("=")
            names[key] = value.strip('"')
    except OSError:
        names = {}
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    return {
        "name": socket.gethostname(),
        "system": names.get("PRETTY_NAME", platform.system()),
        "python": platform.python_version(),
        "user": user,
        "ssh": shutil.which("ssh", path=environment()["PATH"]) is not None,
    }


def _zfs(ctx: Context) -> dict[str, Any]:
    done = attempt(ctx, ["zfs", "version"])
    if done.status == 0:
        # "zfs-2.1.11-1" and "zfs-kmod-2.1.11-1"; the second is absent where the module is not loaded.
        lines = done.out.split()
        user = next((line[4:] for line in lines if line.startswith("zfs-") and not line.startswith("zfs-kmod-")), "")
        kernel = next((line[9:] for line in lines if line.startswith("zfs-kmod-")), "")
        return {"kind": "openzfs", "version": user, "kernel": kernel}
    out = run(ctx, ["zpool", "upgrade", "-v"])
    # "This system is currently running ZFS pool version 23."
    words = out.split(" version ")
    return {"kind": "zfs-fuse", "version": words[1].split()[0].rstrip(".") if len(words) > 1 else "", "kernel": ""}


def _pool(ctx: Context) -> dict[str, Any]:
    pool = ctx.pool.partition("/")[0]
    words = ["zpool", "list", "-H", "-o", "health", pool]
    done = attempt(ctx, words)
    if done.status != 0:
        raise fault_of(ctx, words, done)
    health = done.out.strip()
    found: dict[str, Any] = {"health": health, "status": ""}
    status = attempt(ctx, ["zpool", "status", "-x", pool])
    if status.status == 0 and "is healthy" not in status.out:
        found["status"] = " ".join(
            line.strip() for line in status.out.splitlines() if line.strip().startswith(("status:", "errors:", "scan:"))
        )
    numbers = run(ctx, ["zfs", "get", "-Hp", "-o", "property,value", "used,available", ctx.pool])
    values = dict(line.split("\t")[:2] for line in numbers.splitlines() if line)
    found["used"], found["free"] = int(values["used"]), int(values["available"])
    return found


def _place(ctx: Context) -> dict[str, Any]:
    """Whether our dataset is there, and whether this account can write where the records are."""
    words = ["zfs", "get", "-H", "-o", "property,value", "mounted,mountpoint,recordsize", ctx.root]
    done = attempt(ctx, words)
    if done.status != 0:
        fault = fault_of(ctx, words, done)
        if fault.kind != "NotFound":
            raise fault
        return {"there": False}
    values = dict(line.split("\t")[:2] for line in done.out.splitlines() if line)
    folder = meta.mounts().get(f"{ctx.root}/meta")
    return {
        "there": True,
        "mountpoint": values.get("mountpoint", ""),
        "mounted": folder is not None,
        "writable": folder is not None and os.access(folder, os.W_OK),
    }


def _rights(ctx: Context, service: str) -> dict[str, Any]:
    """Which programs run with root's rights, tried with words that change nothing."""
    found: dict[str, Any] = {"root": os.geteuid() == 0, "sudo": ctx.sudo, "refused": {}}
    if not ctx.sudo:
        return found
    tries = {
        "zfs": ["zfs", "get", "-H", "-o", "value", "type", ctx.pool],
        "zpool": ["zpool", "list", "-H", "-o", "name"],
        "tgtadm" if service == "tgt" else "targetcli": ["tgtadm", "--version"]
        if service == "tgt"
        else ["targetcli", "version"],
    }
    for name, words in tries.items():
        refused = _refused(ctx, ["sudo", "-n", "--", *words])
        if refused:
            found["refused"][name] = refused
    chown = ["chown", "-R", f"{os.geteuid()}:{os.getegid()}", f"{_folder(ctx)}/vols"]
    refused = _refused(ctx, ["sudo", "-n", "-l", "--", *chown])
    if refused:
        found["refused"]["chown"] = refused
    return found


def _folder(ctx: Context) -> str:
    """Where our dataset is mounted, or will be."""
    for dataset, rest in ((ctx.root, ""), (ctx.pool, ctx.root[len(ctx.pool) :])):
        done = attempt(ctx, ["zfs", "get", "-H", "-o", "value", "mountpoint", dataset])
        if done.status == 0 and done.out.startswith("/"):
            return done.out.strip() + rest
    return f"/{ctx.root}"


def _refused(ctx: Context, words: list[str]) -> str:
    """What sudo says where it does not run the words; a program that runs and fails has been allowed."""
    try:
        done = ctx.execute(words, max(1.0, ctx.left() - 1.0))
    except FileNotFoundError:
        return "sudo is not installed"
    except subprocess.TimeoutExpired:
        return "sudo gave no answer in time"
    if done.status != 0 and ("sudo:" in done.err or "-l" in words or "not allowed" in done.err):
        return done.err[:200] or "sudo does not allow it"
    return ""


def _luns(ctx: Context, service: str) -> dict[str, Any]:
    targets = exports.open(ctx).show()
    # One that has ended offers nothing, which is an answer for all others but us.
    if service == "tgt" and not tgt.running("tgtd"):
        raise Fault("NotReady", f"{ctx.where}: its LUN service tgt does not run; start it there (systemctl start tgt)")
    words = ["tgtadm", "--version"] if service == "tgt" else ["targetcli", "version"]
    done = attempt(ctx, words)
    said = (done.out or done.err).split()
    return {
        "version": said[-1] if done.status == 0 and said else "",
        "targets": len(targets),
        "ours": sum(1 for iqn in targets if iqn.startswith(_IQN)),
    }


def _portal(portal: str) -> dict[str, Any]:
    host, _, port = portal.rpartition(":") if ":" in portal.rpartition("]")[2] else (portal, "", "3260")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT):
            return {"error": "", "refused": False}
    except ConnectionRefusedError as error:
        return {"error": error.strerror or "refused", "refused": True}
    except (OSError, ValueError) as error:
        return {"error": str(error), "refused": False}


def _boot(ctx: Context, service: str) -> dict[str, Any]:
    """Files from which the LUN service would offer our LUNs at boot by itself, and whether it starts at boot at all (None: not known)."""
    restores = []
    for name in _TGT_FILES if service == "tgt" else _LIO_FILES:
        path = Path(name)
        try:
            files = sorted(path.glob("*.conf")) if path.is_dir() else [path] if path.exists() else []
            restores += [str(file) for file in files if _IQN in file.read_text(encoding="utf-8", errors="replace")]
        except OSError:
            # Not for this account's eyes; nothing is known of it.
            continue
    starts: bool | None = None
    for unit in _UNITS.get(service, ()):
        try:
            # Through no sudo: anybody may ask.
            done = ctx.execute(["systemctl", "is-enabled", f"{unit}.service"], max(1.0, ctx.left() - 1.0))
        except (FileNotFoundError, subprocess.TimeoutExpired):
            break
        word = done.out.strip()
        if word in ("enabled", "enabled-runtime", "static", "alias", "indirect"):
            starts = True
        elif word in ("disabled", "masked") and starts is None:
            starts = False
    return {"restores": restores, "starts": starts}


@op("examine.hello")
def hello(ctx: Context) -> None:
    """Nothing but that this way works."""


@op("examine.hop")
def hop(ctx: Context, *, to: dict[str, Any]) -> dict[str, Any]:
    """Log in to another array as a direct transfer would, and do nothing there. `status` None: it did not end in time."""
    try:
        # Not through sudo: the account's own keys count, as for a transfer.
        done = ctx.execute(hop_words(to, ["true"], _CONNECT), max(1.0, min(_HOP, ctx.left() - 1.0)))
    except FileNotFoundError:
        return {"status": 127, "said": "there is no ssh program on it"}
    except subprocess.TimeoutExpired:
        return {"status": None, "said": ""}
    return {"status": done.status, "said": done.err}
