"""The files of a machine, and the operator's keys: written before it is switched on the first time, kept until `down`."""

from __future__ import annotations

import json
import pwd
from collections.abc import Sequence
from pathlib import Path

from lab.layout import MachineSpec, Names, specs
from lab.run import run

__all__ = ["HOME", "write_cut", "write_keys", "write_machine"]

HOME = Path(pwd.getpwuid(0).pw_dir)

_SSHD = """\
ListenAddress {address}:22
HostKey {folder}/host_key
PidFile /run/sshd.pid
AuthorizedKeysFile {folder}/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
StrictModes no
MaxStartups 200:30:400
MaxSessions 100
ClientAliveInterval 2
ClientAliveCountMax 3
"""

_CLIENT = """\
Host *
    User root
    IdentityFile {identity}
    IdentitiesOnly yes
    UserKnownHostsFile {known_hosts}
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    BatchMode yes
    ConnectTimeout 5
"""

_LIBVIRTD = """\
host_uuid = "{uuid}"
listen_tls = 0
listen_tcp = 0
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_group = "root"
"""

# Guests run as root of their machine, without what a container's kernel may lack.
_QEMU = """\
user = "root"
group = "root"
dynamic_ownership = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
"""


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _key(path: Path, comment: str) -> str:
    """Make the key pair if it is not there; its public line, without the comment."""
    public = path.with_name(path.name + ".pub")
    if not public.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], what=f"key {path}")
    return " ".join(public.read_text().split()[:2])


def write_keys(names: Names) -> None:
    """All key pairs, who may log in where, and the operator's `ssh/config` (host names are the machines')."""
    machines = specs()
    operator = _key(names.ssh / "id_ed25519", "operator")
    array = _key(names.ssh / "array_ed25519", "array")
    known = "".join(
        f"{names.address(spec)},{spec.name} {_key(names.machine(spec.name) / 'host_key', spec.name)}\n"
        for spec in machines
    )
    _write(names.ssh / "known_hosts", known)
    hosts = "".join(f"Host {spec.name}\n    HostName {names.address(spec)}\n" for spec in machines)
    _write(
        names.ssh / "config",
        hosts + _CLIENT.format(identity=names.ssh / "id_ed25519", known_hosts=names.ssh / "known_hosts"),
    )
    for spec in machines:
        folder = names.machine(spec.name)
        allowed = [operator, array] if spec.role == "array" else [operator]
        _write(folder / "authorized_keys", "".join(f"{line}\n" for line in allowed), 0o600)
        if spec.role == "array":
            # Arrays send to each other, as the user of the machine: her key, and the other's host key known.
            home = folder / "dotssh"
            _write(home / "id_ed25519", (names.ssh / "array_ed25519").read_text(), 0o600)
            _write(home / "known_hosts", known)
            _write(home / "config", hosts + "Host *\n    StrictHostKeyChecking yes\n    BatchMode yes\n", 0o600)


def write_machine(names: Names, spec: MachineSpec, pool_size: int) -> None:
    """The machine's configuration; what its daemons made (pool, definitions of guests) stays as it is."""
    folder, address = names.machine(spec.name), names.address(spec)
    mounts = {"hosts": "/etc/hosts", "shadow": "/etc/shadow", "dotssh": str(HOME / ".ssh")}
    # Where resolv.conf is a link into /run, the machine's empty /run hides it already.
    if not Path("/etc/resolv.conf").is_symlink():
        mounts["resolv.conf"] = "/etc/resolv.conf"
    # What a login shell of this machine's root loads is none of the lab's.
    mounts |= {"bashrc": str(HOME / ".bashrc")} if (HOME / ".bashrc").is_file() else {}
    if spec.role == "array":
        mounts["var-lib-zfs"] = "/var/lib/zfs"
    else:
        mounts |= {
            f"{top}-libvirt": f"/{top.replace('-', '/')}/libvirt" for top in ("etc", "var-lib", "var-log", "var-cache")
        }
    folders = ("log", "disk", "dotssh", *(there for there in mounts if there.endswith(("-libvirt", "-zfs"))))
    for name in folders:
        (folder / name).mkdir(parents=True, exist_ok=True)
    if spec.role == "host":
        # Debian's package makes it in the folder that this one hides; libvirt itself would, but after a guest's console log is opened.
        (folder / "var-log-libvirt" / "qemu").mkdir(exist_ok=True)
    (folder / "dotssh").chmod(0o700)
    _write(folder / "nokvm", "")
    _write(folder / "resolv.conf", "")
    _write(folder / "bashrc", "")
    # A locked root account would be refused by sshd, key or no key.
    _write(folder / "shadow", "root:*:19000:0:99999:7:::\n", 0o600)
    lines = [f"{names.address(other)} {other.name}" for other in specs()]
    _write(folder / "hosts", "\n".join(["127.0.0.1 localhost", *lines, f"{names.operator} operator", ""]))
    _write(folder / "sshd_config", _SSHD.format(address=address, folder=folder))
    if spec.role == "host":
        _write(folder / "etc-libvirt" / "libvirtd.conf", _LIBVIRTD.format(uuid=names.uuid(spec)))
        _write(folder / "etc-libvirt" / "qemu.conf", _QEMU)
    _write(
        folder / "machine.json",
        json.dumps(
            {
                "name": spec.name,
                "role": spec.role,
                "address": address,
                "prefix": 16,
                "mac": names.mac(spec),
                "portal": f"{address}:3260",
                "drill": f"172.31.{names.k}.{spec.number}/24",
                "pool": {"image": str(folder / "disk" / "tank.img"), "size": pool_size},
                "mounts": mounts,
                "cut": _cut_before(folder / "machine.json"),
            },
            indent=1,
        ),
    )


def _cut_before(path: Path) -> list[str]:
    """A cut stays over a power failure; a file that a killed `up` left unfinished had none."""
    try:
        return list(json.loads(path.read_text())["cut"])
    except (OSError, ValueError, KeyError):
        return []


def write_cut(names: Names, spec: MachineSpec, others: Sequence[str]) -> None:
    """Which networks the machine does not hear, from its next start or `boot.py ... cut` on."""
    path = names.machine(spec.name) / "machine.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(json.loads(path.read_text()) | {"cut": list(others)}, indent=1))
    partial.replace(path)
