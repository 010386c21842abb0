"""What a machine does when it is switched on. Run inside its namespaces, with nothing but Debian's own Python.

    python3 -I boot.py FOLDER [mend|cut|start SERVICE|stop SERVICE]

FOLDER holds `machine.json` (see config.py) and the machine's files. Without more words everything is set up and every service
started; each is waited for until it answers. Ends with 1 and one sentence on stderr when something does not come up.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WITHIN = 20.0
"""Seconds in which a service must answer."""


class Failed(Exception):
    """A sentence for the person who wants the machine up."""


def run(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)
    if check and done.returncode:
        raise Failed(f"`{' '.join(words)}` ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-400:]}")
    return done


def answers(*words: str) -> Callable[[], bool]:
    return lambda: run(*words, check=False).returncode == 0


def write(path: Path, text: str) -> None:
    path.write_text(text)


class Machine:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.says: dict[str, Any] = json.loads((folder / "machine.json").read_text())
        self.address: str = self.says["address"]
        self.services: dict[str, Callable[[], None]] = (
            {"sshd": self.sshd, "zfs-fuse": self.zfs, "tgtd": self.tgtd}
            if self.says["role"] == "array"
            else {"sshd": self.sshd, "virtlogd": self.virtlogd, "libvirtd": self.libvirtd}
        )

    # -- set-up -------------------------------------------------------------------------------

    def mounts(self) -> None:
        if Path("/dev/kvm").exists():
            # A regular file that cannot be written: libvirt then knows at once that there is no KVM, and its cache of what
            # QEMU can do stays valid. With a device there it would ask QEMU anew at each define.
            run("mount", "--bind", str(self.folder / "nokvm"), "/dev/kvm")
            run("mount", "-o", "remount,ro,bind", "/dev/kvm")
        for there, here in self.says["mounts"].items():
            run("mount", "--bind", str(self.folder / there), here)
        run("mount", "-t", "sysfs", "sysfs", "/sys")  # of this network namespace: libvirt looks for bridges there
        run("mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "tmpfs", "/run")
        for name in ("sshd", "zfs", "libvirt", "lock", "tgtd", "lab"):
            Path("/run", name).mkdir(mode=0o755)

    def network(self) -> None:
        for key, value in (("ipv4/ip_forward", "0"), ("ipv6/conf/all/disable_ipv6", "1")):
            if Path("/proc/sys/net", key).exists():
                write(Path("/proc/sys/net", key), value)
        run("ip", "link", "set", "lo", "up")
        device = "eth0"
        if self.says["role"] == "host":
            device = "br-prod"
            # Its MAC is the port's own: fixed, else it would change with the guests that come and go.
            run("ip", "link", "add", device, "address", self.says["mac"], "type", "bridge", "forward_delay", "0")
            run("ip", "link", "set", "eth0", "master", device, "up")
            run("ip", "link", "add", "br-drill", "type", "bridge", "forward_delay", "0")
            run("ip", "addr", "add", self.says["drill"], "dev", "br-drill")
            run("ip", "link", "set", "br-drill", "up")
        run("ip", "addr", "add", f"{self.address}/{self.says['prefix']}", "dev", device)
        run("ip", "link", "set", device, "up")
        if self.says["cut"]:
            cut(self.says["cut"])

    def up(self) -> None:
        self.mounts()
        self.network()
        for start in self.services.values():
            start()

    def mend(self) -> None:
        for name, start in self.services.items():
            if not self.runs(name):
                self.stop(name)
                start()

    # -- services -----------------------------------------------------------------------------

    def spawn(self, name: str, *words: str) -> None:
        with (self.folder / "log" / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        write(Path("/run/lab", f"{name}.pid"), f"{process.pid}\n")

    def wait(self, name: str, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + WITHIN
        while not ready():
            if time.monotonic() > end:
                log = self.folder / "log" / f"{name}.log"
                lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
                raise Failed(f"{name} does not answer after {WITHIN:.0f} s; {log} ends: {' | '.join(lines[-5:])}")
            time.sleep(0.03)

    def sshd(self) -> None:
        self.spawn("sshd", "/usr/sbin/sshd", "-D", "-e", "-f", str(self.folder / "sshd_config"))
        self.wait("sshd", answers("nc", "-z", "-w", "1", self.address, "22"))

    def zfs(self) -> None:
        image = Path(self.says["pool"]["image"])
        made = image.with_suffix(".made")
        # Its own fork would lose its pid; the ARC is small, since the host's page cache is behind the file anyway.
        self.spawn("zfs-fuse", "zfs-fuse", "--no-daemon", "--no-kstat-mount", "-m", "64", "-a", "0", "-e", "0")
        self.wait("zfs-fuse", lambda: Path("/run/zfs/zfs_socket").exists() and answers("zpool", "list")())
        if not made.exists():
            # A creation that was cut short leaves half a pool and no mark: begin again with an empty file.
            image.unlink(missing_ok=True)
            with image.open("wb") as file:
                file.truncate(self.says["pool"]["size"])
            run("zpool", "create", "-f", "-O", "atime=off", "-m", "/run/tank", "tank", str(image))
            made.touch()
        elif run("zpool", "list", "tank", check=False).returncode:
            run("zpool", "import", "-d", str(image.parent), "tank")
        run("zfs", "mount", "-a")  # the daemon imports what is in its cache file, but mounts nothing

    def tgtd(self) -> None:
        self.spawn("tgtd", "tgtd", "-f", "--iscsi", f"portal={self.says['portal']}")
        self.wait("tgtd", answers("tgtadm", "--lld", "iscsi", "--op", "show", "--mode", "system"))

    def virtlogd(self) -> None:
        self.spawn("virtlogd", "virtlogd")
        self.wait("virtlogd", Path("/run/libvirt/virtlogd-sock").exists)

    def libvirtd(self) -> None:
        self.spawn("libvirtd", "libvirtd")
        self.wait("libvirtd", answers("virsh", "--quiet", "--connect", "qemu:///system", "version"))

    def runs(self, name: str) -> bool:
        try:
            pid = int(Path("/run/lab", f"{name}.pid").read_text())
            return Path("/proc", str(pid), "comm").read_text().strip() == name
        except (OSError, ValueError):
            return False

    def stop(self, name: str) -> None:
        """End a service as `kill -9` does, and wait until it is gone."""
        record = Path("/run/lab", f"{name}.pid")
        if not record.exists():
            return
        pid = int(record.read_text()) if self.runs(name) else 0
        if name == "zfs-fuse":
            for line in Path("/proc/mounts").read_text().splitlines():
                if line.split()[2] == "fuse.zfs":
                    run("umount", "-l", line.split()[1].encode().decode("unicode_escape"), check=False)
        if pid:
            os.kill(pid, signal.SIGKILL)
            end = time.monotonic() + WITHIN
            while self.runs(name):
                if time.monotonic() > end:
                    raise Failed(f"{name} (process {pid}) does not end {WITHIN:.0f} s after SIGKILL")
                time.sleep(0.01)
        record.unlink()
        if name == "zfs-fuse":
            for stale in ("/run/zfs-fuse.pid", "/run/zfs/zfs_socket"):
                Path(stale).unlink(missing_ok=True)


def cut(others: list[str]) -> None:
    """Drop what comes from and goes to these networks; of a host, what its guests send too. An empty list heals."""
    elements = f"elements = {{ {', '.join(others)} }};" if others else ""
    chains = "".join(
        f"chain {hook} {{ type filter hook {hook} priority 0; ip saddr @others drop; ip daddr @others drop; }}\n"
        for hook in ("input", "output", "forward")
    )
    rules = f"table inet cut {{}}\ndelete table inet cut\ntable inet cut {{ set others {{ type ipv4_addr; flags interval; {elements} }}\n{chains}}}\n"
    done = subprocess.run(["nft", "-f", "-"], input=rules, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"nft refused the rules of a cut: {done.stderr.strip()[-400:]}")


def main(arguments: list[str]) -> int:
    machine = Machine(Path(arguments[0]))
    try:
        match arguments[1:]:
            case []:
                machine.up()
            case ["mend"]:
                machine.mend()
            case ["start", name]:
                machine.services[name]()
            case ["stop", name]:
                machine.stop(name)
            case ["cut"]:
                cut(machine.says["cut"])
            case other:
                raise Failed(f"unknown words {other}")
    except (Failed, OSError, subprocess.TimeoutExpired) as problem:
        print(f"{machine.says['name']}: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
