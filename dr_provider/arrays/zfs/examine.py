"""What `dr doctor` says of a zfs array: judged here from the facts that remote/examine.py brings; pure but for the calls in `examine`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from dr_provider.arrays.zfs.session import Session
from dr_provider.arrays.zfs.ssh import Endpoint, SshOptions, explain, parse_endpoint
from dr_provider.model.errors import DrError
from dr_provider.model.findings import ClockReading, Examination, Finding, Room, ok, problem, warning
from dr_provider.model.topology import ArraySpec

__all__ = ["Hop", "examine", "findings_of", "hops_of"]

_OLDEST = (2, 0)
"""Of OpenZFS: what the driver's use of it was written for."""


@dataclass(frozen=True)
class Hop:
    """How data goes from this array to another: `way` is direct or auto, `to` the other's address for arrays."""

    peer: str
    way: str
    to: Endpoint


def hops_of(spec: ArraySpec, peers: Mapping[str, ArraySpec], names: Sequence[str]) -> list[Hop]:
    """Those of the arrays to which data may go straight from this one."""
    found = []
    for name in names:
        peer = peers.get(name)
        if peer is None or peer.driver != "zfs":
            continue
        ways = {str(each.options.get("transfer") or "auto") for each in (spec, peer)}
        if "relay" not in ways:
            endpoints = peer.options["endpoints"]
            assert isinstance(endpoints, Sequence)
            address = parse_endpoint(str(peer.options.get("replication") or endpoints[0]))
            found.append(Hop(name, "direct" if "direct" in ways else "auto", address))
    return found


def examine(
    spec: ArraySpec,
    session: Session,
    endpoints: Sequence[Endpoint],
    single: Callable[[Endpoint], Session],
    hops: Sequence[Hop] = (),
) -> Examination:
    """Ask the array through its session; `single` makes a session with one endpoint, which is closed again. Raises what a call raises."""
    sent = time.time()
    facts = session.call("examine", {})
    got = time.time()
    ways = _endpoints(spec, endpoints, single) if len(endpoints) > 1 else []
    ways += _hops(spec, session, hops) if facts["machine"]["ssh"] else []
    return Examination(
        (*ways, *findings_of(spec, facts)),
        ClockReading.of(sent, got, float(facts["began"]), float(facts["ended"])),
        _room(facts["pool"]),
    )


def _hops(spec: ArraySpec, session: Session, hops: Sequence[Hop]) -> list[Finding]:
    """Whether this array can log in to the others, as a direct transfer does."""
    subject = f"array {spec.name}"

    def one(hop: Hop) -> Finding:
        try:
            told = session.call("examine.hop", {"to": {"host": hop.to.host, "user": hop.to.user, "port": hop.to.port}})
        except DrError as error:
            return warning(
                subject,
                "transfer",
                f"Whether it logs in to array {hop.peer} is not known: {error}.",
                "Run dr doctor again.",
            )
        if told["status"] == 0:
            return ok(subject, "transfer", f"It logs in to array {hop.peer} at {hop.to}, so data goes straight there.")
        why = explain(f"array {hop.peer}", hop.to, SshOptions(), str(told["said"]), told["status"])
        if hop.way == "direct":
            return problem(
                subject,
                "transfer",
                f"It cannot log in to array {hop.peer}, and its transfers are to be direct. {why}.",
                f"Mend that on {spec.name} itself: its account's key, known_hosts and way to the other.",
            )
        return warning(
            subject,
            "transfer",
            f"It cannot log in to array {hop.peer}, so data goes through the machine that runs dr. {why}.",
            f"Mend that on {spec.name} itself (its account's key, known_hosts and way to the other), or set transfer: relay.",
        )

    if not hops:
        return []
    with ThreadPoolExecutor(max_workers=len(hops)) as pool:
        return list(pool.map(one, hops))


def _endpoints(spec: ArraySpec, endpoints: Sequence[Endpoint], single: Callable[[Endpoint], Session]) -> list[Finding]:
    """Each address by itself: the session takes the first that answers, and the others are for the day on which it does not."""

    def one(endpoint: Endpoint) -> Finding:
        session = single(endpoint)
        try:
            session.call("examine.hello", {})
        except DrError as error:
            return warning(
                f"array {spec.name}",
                "endpoint",
                f"It is reached, but not at {endpoint}: {error}.",
                "Mend that way, or take it out of the endpoints.",
            )
        finally:
            session.close()
        return ok(f"array {spec.name}", "endpoint", f"It answers at {endpoint}.")

    with ThreadPoolExecutor(max_workers=len(endpoints)) as pool:
        return list(pool.map(one, endpoints))


def _room(pool: Mapping[str, Any]) -> Room | None:
    return None if "fault" in pool else Room(int(pool["used"]) + int(pool["free"]), int(pool["free"]))


def findings_of(spec: ArraySpec, facts: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Every part of the facts, judged."""
    subject = f"array {spec.name}"
    service = _service_of(spec)
    return (
        *_machine(subject, facts["machine"]),
        *_zfs(subject, facts["zfs"]),
        *_pool(subject, facts["pool"]),
        *_place(subject, spec, facts["place"]),
        *_rights(subject, facts["rights"], facts["machine"]),
        *_service(subject, service, facts["luns"]),
        *_portal(subject, spec, facts),
        *_boot(subject, service, facts["boot"]),
    )


def _luns(spec: ArraySpec) -> Mapping[str, Any]:
    luns = spec.options["luns"]
    assert isinstance(luns, Mapping)
    return luns


def _service_of(spec: ArraySpec) -> str:
    return str(_luns(spec).get("service", "tgt"))


def _fault(subject: str, check: str, part: Mapping[str, Any]) -> list[Finding]:
    """A part that could not be found out: its sentence says what to do."""
    found, _, todo = str(part["fault"][1]).rpartition("; ")
    if not found:
        return [problem(subject, check, f"{todo}.", "Mend that on the machine, then run dr doctor again.")]
    return [problem(subject, check, f"{found}.", f"{todo[:1].upper()}{todo[1:]}.")]


def _machine(subject: str, machine: Mapping[str, Any]) -> list[Finding]:
    found = [
        ok(
            subject,
            "reach",
            f"{machine['name']} answers as {machine['user']}, its host key known ({machine['system']}, Python {machine['python']}).",
        )
    ]
    if not machine["ssh"]:
        found.append(
            warning(
                subject,
                "ssh",
                "It has no ssh program, so it cannot send to other arrays directly.",
                "Install openssh-client there, or set transfer: relay.",
            )
        )
    return found


def _zfs(subject: str, part: Mapping[str, Any]) -> list[Finding]:
    if "fault" in part:
        return _fault(subject, "zfs", part)
    version, kernel = str(part["version"]), str(part["kernel"])
    if part["kind"] == "zfs-fuse":
        return [
            warning(
                subject,
                "zfs",
                f"It has zfs-fuse (pool version {version}), which nobody maintains: no resumed transfers, no size estimates, slow commands.",
                "Use it for labs only; install OpenZFS (zfsutils-linux) where data counts.",
            )
        ]
    if _numbers(version) < _OLDEST:
        return [
            warning(
                subject,
                "zfs",
                f"It has OpenZFS {version}, and dr is written for {'.'.join(map(str, _OLDEST))} and newer.",
                "Update it on a quiet day.",
            )
        ]
    if kernel and _numbers(kernel) != _numbers(version):
        return [
            warning(
                subject,
                "zfs",
                f"Its commands are of OpenZFS {version}, and its kernel module is of {kernel}.",
                "Restart the machine, so that both are of one version.",
            )
        ]
    return [ok(subject, "zfs", f"It has OpenZFS {version}.")]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _pool(subject: str, part: Mapping[str, Any]) -> list[Finding]:
    if "fault" in part:
        return _fault(subject, "pool", part)
    health, said = str(part["health"]), str(part["status"])
    if health == "ONLINE" and not said:
        return [ok(subject, "pool", "Its pool is imported and healthy.")]
    sentence = f"Its pool is {health}{f' ({said})' if said else ''}."
    todo = "See zpool status -v there, and replace what is broken before more breaks."
    if health in ("ONLINE", "DEGRADED"):
        return [warning(subject, "pool", sentence, todo)]
    return [problem(subject, "pool", sentence, todo)]


def _place(subject: str, spec: ArraySpec, part: Mapping[str, Any]) -> list[Finding]:
    root = f"{spec.options['pool']}/{spec.options['dataset']}"
    if "fault" in part:
        return _fault(subject, "dataset", part)
    if not part["there"]:
        return [ok(subject, "dataset", f"Dataset {root} is not there yet; dr apply or pulumi up makes it.")]
    if not str(part["mountpoint"]).startswith("/"):
        return [
            problem(
                subject,
                "dataset",
                f"Dataset {root} has the mountpoint {part['mountpoint']}, so nothing of it can be used.",
                f"Give it a folder: zfs set mountpoint=/{root} {root}.",
            )
        ]
    if part["mounted"] and not part["writable"]:
        return [
            problem(
                subject,
                "dataset",
                f"This account cannot write to dataset {root}/meta, where the records are.",
                "Connect as the account that made it, or give it to this one with chown -R.",
            )
        ]
    return [ok(subject, "dataset", f"Dataset {root} is there{'' if part['mounted'] else ', not mounted yet'}.")]


def _rights(subject: str, part: Mapping[str, Any], machine: Mapping[str, Any]) -> list[Finding]:
    if "fault" in part:
        return _fault(subject, "rights", part)
    if part["root"]:
        return [ok(subject, "rights", "The account is root.")]
    user = machine["user"]
    if not part["sudo"]:
        return [
            problem(
                subject,
                "rights",
                f"The account {user} is not root; on Linux only root may mount, whatever zfs allow says, and only root reaches the LUN service.",
                "Set sudo: true in the topology, and install the sudoers file of docs/zfs-libvirt.md there.",
            )
        ]
    refused = part["refused"]
    if refused:
        said = "; ".join(f"{name}: {why}" for name, why in sorted(refused.items()))
        return [
            problem(
                subject,
                "rights",
                f"The account {user} may not run everything that dr needs by sudo ({said}).",
                "Install the sudoers file of docs/zfs-libvirt.md there, with this account's name in it.",
            )
        ]
    return [ok(subject, "rights", f"The account {user} may run what dr needs by sudo.")]


def _service(subject: str, service: str, part: Mapping[str, Any]) -> list[Finding]:
    if "fault" in part:
        return _fault(subject, "luns", part)
    version = f" {part['version']}" if part["version"] else ""
    return [
        ok(
            subject,
            "luns",
            f"Its LUN service {service}{version} answers, with {part['targets']} targets, {part['ours']} of them dr's.",
        )
    ]


def _portal(subject: str, spec: ArraySpec, facts: Mapping[str, Any]) -> list[Finding]:
    portal, service = _luns(spec)["portal"], _service_of(spec)
    found = facts["portal"]
    if not found["error"]:
        return [ok(subject, "portal", f"Something listens at its portal {portal}.")]
    if service == "lio" and found["refused"] and not facts["luns"].get("targets"):
        return [
            ok(subject, "portal", f"Nothing listens at its portal {portal}: LIO does only while it offers something.")
        ]
    return [
        problem(
            subject,
            "portal",
            f"The machine does not reach its own portal {portal} ({found['error']}).",
            "Correct luns.portal, or let the LUN service listen there.",
        )
    ]


def _boot(subject: str, service: str, part: Mapping[str, Any]) -> list[Finding]:
    found = []
    if part["restores"]:
        found.append(
            warning(
                subject,
                "exports",
                f"{', '.join(part['restores'])} brings dr's LUNs back at boot, before anyone has asked who may write to them.",
                "Take dr's targets out of it: dr exports what is needed, when it is needed.",
            )
        )
    else:
        found.append(ok(subject, "exports", "No file brings dr's LUNs back at boot by itself."))
    # LIO lives in the kernel and needs no daemon of its own.
    if part["starts"] is False and service == "tgt":
        found.append(
            warning(
                subject,
                "service",
                f"The LUN service {service} does not start with the machine.",
                f"Turn it on there: systemctl enable {service}.",
            )
        )
    return found
