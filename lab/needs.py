"""What the lab needs of this machine: Debian's packages, a kernel for the guests, and libvirt's Python binding."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.config import HOME
from lab.image import take_kernel
from lab.layout import CACHE, ROOT, LabError
from lab.power import check_kernel

__all__ = ["PACKAGES", "check", "check_root", "install", "kernel"]

PACKAGES = (
    *("iproute2", "nftables", "netcat-openbsd", "openssh-server", "openssh-client", "python3", "util-linux", "procps"),
    *("zfs-fuse", "tgt", "e2fsprogs", "rsync"),
    *("libvirt-daemon-system", "libvirt-clients", "qemu-system-x86", "qemu-utils", "qemu-block-extra"),
    *("qemu-guest-agent", "busybox-static"),
    *("libvirt-dev", "pkg-config", "gcc", "libc6-dev", "python3-dev"),
)
"""Network and shell; arrays; hosts; what goes into the guests; what builds the binding and the guests' program."""

KERNEL = "linux-image-cloud-amd64"
"""Debian's name for its current kernel without drivers for real machines."""

_BINDING = ROOT / "requirements-libvirt.txt"
_POLICY = Path("/usr/sbin/policy-rc.d")
_POLICY_TEXT = (
    "#!/bin/sh\n# Made by `python -m lab packages` for as long as it installs: nothing starts by itself.\nexit 101\n"
)


def check_root() -> None:
    """Raises LabError for anybody else."""
    if os.geteuid() != 0:
        raise LabError("the lab makes namespaces, mounts and a bridge, and must be root: try again as root")


def _check_debian() -> None:
    try:
        release = Path("/etc/os-release").read_text()
    except OSError:
        release = ""
    if not re.search(r"^ID=[\"']?debian[\"']?$", release, re.MULTILINE) or platform.machine() != "x86_64":
        found = re.search(r"^PRETTY_NAME=[\"']?([^\"'\n]*)", release, re.MULTILINE)
        raise LabError(
            f"the lab is made of Debian's packages for x86_64, and this is {found[1] if found else platform.system()} "
            f"on {platform.machine()}: use a Debian machine or container"
        )


def _missing() -> list[str]:
    # dpkg-query ends with 1 for a name that it has never heard of, and lists the others.
    words = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *PACKAGES]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    there = {line.split()[0] for line in said.splitlines() if line.endswith(" installed")}
    return [package for package in PACKAGES if package not in there]


def kernel() -> Path | None:
    """The folder with the guests' kernel and modules, if it is there."""
    found = sorted(CACHE.glob("kernel-*/vmlinuz"), key=lambda path: path.stat().st_mtime)
    return found[-1].parent if found else None


def check() -> Path:
    """Where the guests' kernel is. Raises LabError with the one sentence on what is missing."""
    check_root()
    _check_debian()
    check_kernel()
    for device in ("/dev/fuse", "/dev/net/tun"):
        if not Path(device).exists():
            raise LabError(f"this machine has no {device}: load its module, or give the container the device")
    found, missing = kernel(), _missing()
    if missing or found is None or not (HOME / ".ssh").is_dir():
        lacks = ", ".join(missing) or "a kernel for the guests"
        raise LabError(f"this machine lacks {lacks}; `make lab` (or: python -m lab packages) installs it")
    return found


def _say(text: str) -> None:
    print(f"lab: {text}", file=sys.stderr, flush=True)


def _apt(words: Sequence[str], cwd: Path | None = None) -> None:
    """Run apt-get; where it fails, update its lists once and try again: a fresh machine has none, an old one stale ones."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    lock = ["-o", "DPkg::Lock::Timeout=300"]
    for argv in (["apt-get", *lock, *words], ["apt-get", *lock, "update"], ["apt-get", *lock, *words]):
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment, cwd=cwd
        )
        if done.returncode == 0 and "update" not in argv:
            return
    said = (done.stderr.strip() or done.stdout.strip() or "nothing was said").splitlines()
    raise LabError(f"`{' '.join(argv)}` ended with {done.returncode}: {' | '.join(said[-5:])}")


@contextmanager
def _nothing_starts() -> Iterator[None]:
    """No daemon starts at its installation; a policy that this machine has already is its owner's, and stays."""
    if _POLICY.is_file() and _POLICY.read_text() == _POLICY_TEXT:
        _POLICY.unlink()  # of a run that was killed
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text(_POLICY_TEXT)
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)


def _fetch_kernel() -> None:
    """Download Debian's current cloud kernel and keep what the guests need of it. It is not installed here."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=CACHE) as name:
        place = Path(name)
        package = _download(place)
        tree, kept = place / "tree", place / "kept"
        kept.mkdir()
        subprocess.run(["dpkg-deb", "-x", str(package), str(tree)], check=True, stdin=subprocess.DEVNULL)
        take_kernel(tree, kept)
        wanted = CACHE / f"kernel-{package.name.split('_')[0].removeprefix('linux-image-')}"
        if not wanted.is_dir():
            kept.rename(wanted)


def _download(place: Path) -> Path:
    """The package that KERNEL stands for today, in `place`. Its name has a version, and changes with each update."""

    def current() -> str | None:
        said = subprocess.run(["apt-cache", "depends", KERNEL], capture_output=True, text=True, check=False).stdout
        found = re.search(r"Depends: (linux-image-[0-9]\S*)", said)
        return found[1] if found else None

    def fetch(package: str | None) -> bool:
        words = ["apt-get", "download", package or ""]
        return (
            package is not None and subprocess.run(words, cwd=place, capture_output=True, check=False).returncode == 0
        )

    if not fetch(current()):
        # The machine's lists are empty, or older than what their server still has.
        _apt(["update"])
        if (package := current()) is None:
            raise LabError(
                f"apt knows no package {KERNEL}: does this machine's list of sources name Debian's main archive?"
            )
        _apt(["download", package], cwd=place)
    (package_file,) = place.glob("linux-image-*.deb")
    return package_file


def _install_binding() -> None:
    words = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--require-hashes",
        "--no-deps",
        "--no-build-isolation",
        "-r",
        str(_BINDING),
    ]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise LabError(f"libvirt's Python binding from {_BINDING.name} could not be installed: {' | '.join(said[-5:])}")


def install() -> int:
    """Install what is missing, and say what; silent and quick when all is there."""
    check_root()
    _check_debian()
    if missing := _missing():
        _say(f"installing {len(missing)} packages: {', '.join(missing)}")
        with _nothing_starts():
            _apt(["install", "-y", "--no-install-recommends", *missing])
    # A place for each machine's own keys; it cannot be made when a machine starts, since that would leave it behind.
    (HOME / ".ssh").mkdir(mode=0o700, exist_ok=True)
    if kernel() is None:
        _say("fetching a kernel for the guests")
        _fetch_kernel()
    if importlib.util.find_spec("libvirt") is None:
        _say("building libvirt's Python binding")
        _install_binding()
    check()
    return 0
