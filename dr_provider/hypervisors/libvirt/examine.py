"""What `dr doctor` says of a libvirt host: facts through the driver's own connections (libvirt, and ssh where the URI has it), then judged.

The judging is pure: `host_findings` of `HostSeen`, which tests make by hand.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from dr_provider.hypervisors.libvirt import failures
from dr_provider.hypervisors.libvirt.bridges import Network, Wires, network_findings
from dr_provider.hypervisors.libvirt.facts import read_facts
from dr_provider.hypervisors.libvirt.guests import AGENT_SECONDS, AT_ONCE, Guest, guest_findings, read_guests
from dr_provider.hypervisors.libvirt.link import Link, Work
from dr_provider.hypervisors.libvirt.ssh import is_local, over_ssh
from dr_provider.model.errors import DrError, NotReady
from dr_provider.model.findings import ClockReading, Examination, Finding, HostUse, ok, problem, warning
from dr_provider.model.topology import HostSpec

__all__ = ["HostSeen", "examine", "host_findings"]

_OLD_LIBVIRT = (8, 0, 0)
_OLD_QEMU = (6, 2, 0)
"""What Ubuntu 22.04 has; the driver is tested with Debian 12's, 9.0 and 7.2."""
_LEAST_ROOM = 1 << 30


@dataclass(frozen=True)
class HostSeen:
    """What was found. `there`: what onhost.py printed; None: the URI carries no commands, or the host did not run it (`unseen` says why)."""

    libvirt: tuple[int, int, int]
    qemu: tuple[int, int, int] | None
    kind: str
    memory: int
    fault: str = ""
    lists: Mapping[str, str] = field(default_factory=dict)
    networks: Mapping[str, Network] = field(default_factory=dict)
    guests: tuple[Guest, ...] = ()
    there: Mapping[str, Any] | None = None
    unseen: str = ""


def examine(spec: HostSpec, link: Link, use: HostUse) -> Examination:
    """Raises what a call of the driver raises, where libvirt itself gives no answer."""
    seen = link.call(lambda w: _look(w, spec), wanted="be looked at", seconds=_seconds(link, use))
    sent = time.time()
    there, unseen = _on_host(spec, link, use)
    got = time.time()
    seen = HostSeen(**{**seen.__dict__, "there": there, "unseen": unseen})
    clock = None if there is None else ClockReading.of(sent, got, float(there["began"]), float(there["ended"]))
    return Examination(tuple(host_findings(spec, use, seen)), clock)


def _seconds(link: Link, use: HostUse) -> float:
    return link.timeout + AGENT_SECONDS * (1 + len(use.vms) // AT_ONCE)


# -- facts -------------------------------------------------------------------------------------------------


def _look(work: Work, spec: HostSpec) -> HostSeen:
    fault, kind = "", ""
    try:
        kind = read_facts(work, spec.options, work.where).kind
    except NotReady as error:
        fault = str(error)
    _, mebibytes, *_ = work.conn.getInfo()
    lists = {
        what: said
        for what, call in {"secrets": work.conn.listAllSecrets, "networks": work.conn.listAllNetworks}.items()
        if (said := _refused(work, call))
    }
    return HostSeen(
        _version(work.conn.getLibVersion()),
        _qemu(work),
        kind,
        int(mebibytes) << 20,
        fault,
        lists,
        {} if "networks" in lists else {n.name: n for n in map(_network, work.conn.listAllNetworks(0))},
        tuple(read_guests(work, time.time())),
    )


def _refused(work: Work, call: Callable[[int], object]) -> str:
    try:
        call(0)
    except work.libvirt.libvirtError as error:
        if not work.conn.isAlive():
            raise
        return failures.text(error)
    return ""


def _version(number: int) -> tuple[int, int, int]:
    return number // 1_000_000, number // 1000 % 1000, number % 1000


def _qemu(work: Work) -> tuple[int, int, int] | None:
    try:
        return _version(work.conn.getVersion())
    except work.libvirt.libvirtError:
        if not work.conn.isAlive():
            raise
        # libvirt finds no emulator to ask; `kind` says the same in a sentence.
        return None


def _network(network: Any) -> Network:
    root = ET.fromstring(network.XMLDesc(0))
    bridge, forward = root.find("bridge"), root.find("forward")
    return Network(
        str(network.name()),
        bool(network.isActive()),
        bool(network.autostart()),
        str(bridge.get("name") or "") if bridge is not None else "",
        str(forward.get("mode") or "nat") if forward is not None else "",
    )


def _on_host(spec: HostSpec, link: Link, use: HostUse) -> tuple[Mapping[str, Any] | None, str]:
    """What onhost.py printed, or why it did not."""
    text = resources.files("dr_provider.hypervisors.libvirt").joinpath("onhost.py").read_text(encoding="utf-8")
    boot = spec.options.get("boot")
    files = [str(boot[key]) for key in ("kernel", "initrd") if boot.get(key)] if isinstance(boot, Mapping) else []
    words = ["python3", "-c", text, json.dumps({"portals": dict(use.portals), "files": files})]
    try:
        if over_ssh(link.uri):
            done = link.ssh.run(words, link.where)
        elif is_local(link.uri):
            done = subprocess.run(
                [sys.executable, *words[1:]],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=link.timeout,
                check=False,
            )
        else:
            return None, ""
    except subprocess.TimeoutExpired:
        return None, f"It gave no answer within {link.timeout:g} s"
    except DrError as error:
        return None, str(error)
    if done.returncode == 0:
        try:
            found = json.loads(done.stdout.strip().splitlines()[-1])
        except (ValueError, IndexError):
            return None, "What it answered cannot be read"
        if isinstance(found, dict):
            return found, ""
    last = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
    return None, f"python3 ended with status {done.returncode} there ({last[:200]})"


# -- judging -------------------------------------------------------------------------------------------------


def host_findings(spec: HostSpec, use: HostUse, seen: HostSeen) -> list[Finding]:
    subject = f"host {spec.name}"
    there = seen.there
    wires = (
        Wires(seen.networks)
        if there is None
        else Wires(seen.networks, there["links"], there["addresses"], bool(there["forwards"]))
    )
    found = [
        _way(subject, str(spec.options["uri"]), seen),
        *_versions(subject, seen),
        *_lists(subject, seen),
        *_size(subject, spec, seen),
        *network_findings(subject, use, wires),
    ]
    for guest in seen.guests:
        mine = use.vms.get(guest.vm) if guest.name == guest.vm else None
        found += guest_findings(spec.name, guest, mine)
    return [*found, *(_seen_there(subject, spec, use, there) if there is not None else ())]


def _way(subject: str, uri: str, seen: HostSeen) -> Finding:
    if seen.unseen:
        return warning(
            subject,
            "reach",
            f"libvirt answers, but its machine could not be looked at: {seen.unseen}.",
            "Install python3 there and let the account have a shell; clock, bridges and the way to the LUNs were not checked.",
        )
    if seen.there is not None:
        key = "" if is_local(uri) else ", its host key known"
        return ok(
            subject,
            "reach",
            f"libvirt answers with read and write{key} (account {seen.there['user']}, Python {seen.there['python']}).",
        )
    if "+tcp" in uri:
        return warning(
            subject,
            "reach",
            "libvirt answers over plain TCP: anybody on that network may read along, and perhaps command it.",
            "Use a qemu+ssh or qemu+tls URI; with qemu+ssh dr doctor also sees its clock, its bridges and its way to the LUNs.",
        )
    return ok(
        subject,
        "reach",
        "libvirt answers with read and write; through this URI its clock, bridges and way to the LUNs cannot be seen.",
    )


def _versions(subject: str, seen: HostSeen) -> list[Finding]:
    if seen.fault:
        return [problem(subject, "qemu", f"{seen.fault}.", "Without it no VM can run there.")]
    libvirt, qemu = _dotted(seen.libvirt), _dotted(seen.qemu) if seen.qemu else "unknown"
    said = f"It has libvirt {libvirt} and QEMU {qemu}"
    if seen.libvirt < _OLD_LIBVIRT or (seen.qemu is not None and seen.qemu < _OLD_QEMU):
        found = [
            warning(
                subject,
                "versions",
                f"{said}, older than what dr was tried with.",
                f"Update it to libvirt {_dotted(_OLD_LIBVIRT)} and QEMU {_dotted(_OLD_QEMU)} or newer.",
            )
        ]
    else:
        found = [ok(subject, "versions", f"{said}.")]
    if seen.kind == "kvm":
        return [*found, ok(subject, "kvm", "Its guests run on KVM.")]
    return [
        *found,
        warning(
            subject,
            "kvm",
            "It has no KVM, so its guests run emulated, many times slower.",
            "Turn virtualization on in the firmware (or nested, on a VM), and see that /dev/kvm is there.",
        ),
    ]


def _dotted(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))


def _lists(subject: str, seen: HostSeen) -> list[Finding]:
    """dr keeps reservations and passwords as libvirt secrets, and may put guests on libvirt networks."""
    daemons = {"secrets": "virtsecretd", "networks": "virtnetworkd"}
    found = [
        problem(
            subject,
            "rights",
            f"libvirt does not show its {what} ({said}).",
            f"Let the account manage libvirt (the group libvirt, or the polkit rule of docs/zfs-libvirt.md), and see that {daemons[what]} runs where libvirt is modular.",
        )
        for what, said in seen.lists.items()
    ]
    return found or [ok(subject, "rights", "The account may see VMs, secrets and networks.")]


def _size(subject: str, spec: HostSpec, seen: HostSeen) -> list[Finding]:
    """More CPUs than there are is a choice; more memory than there is ends guests."""
    wanted = spec.options.get("memory")
    if not isinstance(wanted, int) or wanted <= seen.memory:
        return []
    return [
        warning(
            subject,
            "memory",
            f"The topology lets its VMs have {wanted >> 20} MiB of memory, and the machine has {seen.memory >> 20} MiB.",
            "Lower the host's memory in the topology, or leave it out.",
        )
    ]


def _seen_there(subject: str, spec: HostSpec, use: HostUse, there: Mapping[str, Any]) -> list[Finding]:
    found = [_portal(subject, array, use, there["portals"].get(array)) for array in sorted(use.portals)]
    found += _iscsi(subject, spec, there) if use.portals else []
    for path, is_there in there["files"].items():
        if not is_there:
            found.append(
                problem(
                    subject,
                    "boot",
                    f"The file {path}, which its VMs boot from, is not there.",
                    "Put it there, or correct boot in the topology.",
                )
            )
    if re.search(r"^\s*ON_BOOT\s*=\s*['\"]?start", str(there["onBoot"]), re.MULTILINE):
        found.append(
            warning(
                subject,
                "autostart",
                "Its libvirt-guests service starts the VMs that ran before a reboot, though only dr may say where they run.",
                "Set ON_BOOT=ignore in /etc/default/libvirt-guests there.",
            )
        )
    if there["room"] is not None and int(there["room"][1]) < _LEAST_ROOM:
        found.append(
            warning(
                subject,
                "room",
                f"Only {int(there['room'][1]) >> 20} MiB are free where libvirt keeps what it needs (/var/lib/libvirt).",
                "Make room there: with none left, no VM starts.",
            )
        )
    return found


def _portal(subject: str, array: str, use: HostUse, reached: Mapping[str, Any] | None) -> Finding:
    at = use.portals[array]
    if reached is not None and not reached["error"]:
        return ok(subject, "portal", f"It reaches the LUNs of array {array} at {at}.")
    if reached is not None and reached["refused"] and array in use.quiet:
        return ok(subject, "portal", f"It reaches array {array} at {at}, which listens only while it offers something.")
    return problem(
        subject,
        "portal",
        f"It does not reach the LUNs of array {array} at {at} ({reached['error'] if reached else 'no answer in time'}).",
        "Mend the network between them, let port 3260 through, and see that the LUN service runs.",
    )


def _iscsi(subject: str, spec: HostSpec, there: Mapping[str, Any]) -> list[Finding]:
    if spec.options.get("disks") == "block":
        return [_open_iscsi(subject, spec, there)]
    said = str(there["iscsi"])
    if "Unknown protocol" in said or "module" in said:
        return [
            problem(
                subject,
                "iscsi",
                "Its QEMU cannot reach LUNs by iSCSI: that driver is not installed.",
                "Install it there: apt-get install qemu-block-extra.",
            )
        ]
    if not said:
        return [
            warning(
                subject,
                "iscsi",
                "Whether its QEMU can reach LUNs by iSCSI is not known, since there is no qemu-img.",
                "Install qemu-utils there, and qemu-block-extra.",
            )
        ]
    return [ok(subject, "iscsi", "Its QEMU has the iSCSI driver.")]


def _open_iscsi(subject: str, spec: HostSpec, there: Mapping[str, Any]) -> Finding:
    if not there["iscsiadm"]:
        return problem(
            subject,
            "iscsi",
            "With disks: block it needs open-iscsi, which is not installed.",
            "Install it there: apt-get install open-iscsi.",
        )
    names = re.findall(r"^\s*InitiatorName\s*=\s*(\S+)", str(there["initiator"]), re.MULTILINE)
    wanted = spec.options.get("initiator")
    if names and wanted is not None and str(wanted) not in names:
        return problem(
            subject,
            "iscsi",
            f"Its open-iscsi logs in as {names[0]}, and the topology maps its LUNs to {wanted}.",
            "Set initiator in the topology to the name in /etc/iscsi/initiatorname.iscsi there.",
        )
    return ok(subject, "iscsi", f"Its open-iscsi is there{f', as {names[0]}' if names else ''}.")
