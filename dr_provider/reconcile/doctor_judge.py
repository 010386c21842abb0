"""What shows only when machines are seen side by side, or beside the topology. Pure.

Every judgement is a pair: the site under which it is listed ("": none), and the finding.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from dr_provider.model import credentials
from dr_provider.model.advice import advice
from dr_provider.model.errors import BadInput
from dr_provider.model.findings import ClockReading, Examination, Finding, Room, ok, problem, warning
from dr_provider.model.state import ArrayState, Observation
from dr_provider.model.topology import ArraySpec, Topology
from dr_provider.model.units import about
from dr_provider.reconcile.doctor_fencing import judge_fencing

__all__ = ["CHAP_LEAST", "CLOCK_PROBLEM", "CLOCK_WARNING", "judge"]

CLOCK_WARNING = 2.0
CLOCK_PROBLEM = 30.0
"""Seconds. Records and recovery points carry times of several machines; beyond these they mislead people, then retention."""

FREE_WARNING = 0.20
FREE_PROBLEM = 0.10
"""Of a pool. ZFS slows down and fragments as it fills, and what is written on top of snapshots needs room of its own."""

CHAP_LEAST = 12
"""Characters of a CHAP secret: 96 bits, the least that RFC 7143, 9.2.1 wants where IPsec is not used."""

Judged = Iterator[tuple[str, Finding]]


def judge(topology: Topology, seen: Observation, examined: Mapping[str, Examination]) -> list[tuple[str, Finding]]:
    """`examined` by key, "array NAME" or "host NAME"."""
    return [
        *_own(topology, examined),
        *_clocks(topology, examined),
        *_room(topology, seen, examined),
        *_identities(topology, seen),
        *_initiators(topology, seen),
        *_paths(topology, seen),
        *_credentials(topology),
        *_advice(topology),
        *judge_fencing(topology, seen),
    ]


def _site(topology: Topology, key: str) -> str:
    kind, _, name = key.partition(" ")
    return topology.arrays[name].site if kind == "array" else topology.hosts[name].site


def _own(topology: Topology, examined: Mapping[str, Examination]) -> Judged:
    for key, examination in examined.items():
        for finding in examination.findings:
            yield _site(topology, key), finding


def _advice(topology: Topology) -> Judged:
    for said in advice(topology):
        yield "", warning(said.path, "document", f"{said.message[:1].upper()}{said.message[1:]}.", "")


# -- clocks ----------------------------------------------------------------------------------------------


def _clocks(topology: Topology, examined: Mapping[str, Examination]) -> Judged:
    clocks = {key: e.clock for key, e in examined.items() if e.clock is not None}
    if not clocks:
        return
    first = min(clocks, key=lambda key: clocks[key].ahead)
    last = max(clocks, key=lambda key: clocks[key].ahead)
    apart = _beyond(_between(clocks[first], clocks[last]))
    own = min((_beyond(clock) for clock in clocks.values()), default=0.0)
    if len(clocks) > 1 and own > CLOCK_WARNING and apart <= CLOCK_WARNING:
        # All agree but us: theirs are right.
        mean = sum(clock.ahead for clock in clocks.values()) / len(clocks)
        yield "", _skew("this machine", own, f"Its clock is {_said(-mean)} those of all arrays and hosts, which agree.")
        return
    for key, clock in clocks.items():
        if abs(clock.ahead) <= clock.within:
            found = f"Its clock is the same as this machine's, as far as can be told{_give(clock)}."
        else:
            found = f"Its clock is {_said(clock.ahead)} this machine's{_give(clock)}."
        yield _site(topology, key), _skew(key, _beyond(clock), found)
    if apart > CLOCK_WARNING and max(_beyond(clock) for clock in clocks.values()) <= CLOCK_WARNING:
        found = f"Its clock is {_said(clocks[last].ahead - clocks[first].ahead)} that of {first}."
        yield _site(topology, last), _skew(last, apart, found, "clocks")


def _between(one: ClockReading, other: ClockReading) -> ClockReading:
    return ClockReading(other.ahead - one.ahead, one.within + other.within)


def _beyond(clock: ClockReading) -> float:
    """The least that the clocks are apart, whatever the reading's error."""
    return max(0.0, abs(clock.ahead) - clock.within)


def _said(ahead: float) -> str:
    return f"{abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'}"


def _give(clock: ClockReading) -> str:
    return f" (give or take {clock.within:.1f} s)" if clock.within >= 0.1 else ""


def _skew(subject: str, beyond: float, found: str, check: str = "clock") -> Finding:
    todo = "Keep it in time with the others: install chrony or turn systemd-timesyncd on, and see that it reaches a server."
    if beyond > CLOCK_PROBLEM:
        return problem(subject, check, found, todo)
    if beyond > CLOCK_WARNING:
        return warning(subject, check, found, todo)
    return ok(subject, check, found)


# -- room ------------------------------------------------------------------------------------------------


def _room(topology: Topology, seen: Observation, examined: Mapping[str, Examination]) -> Judged:
    for name, spec in topology.arrays.items():
        examination = examined.get(f"array {name}")
        if examination is not None and examination.room is not None:
            yield spec.site, _array_room(topology, spec, examination.room, seen.array(name))


def _array_room(topology: Topology, spec: ArraySpec, room: Room, state: ArrayState | None) -> Finding:
    subject = f"array {spec.name}"
    share = room.free / room.size if room.size else 0.0
    found = f"{about(room.free)} of {about(room.size)} are free ({share:.0%})."
    more = (
        "Make the pool larger, let fewer recovery points be kept (backup.keep), or drop safety copies (dr safety list)."
    )
    needed = _still_to_come(topology, spec.name, state)
    if not room.shared and share < FREE_PROBLEM:
        return problem(subject, "room", found, more)
    if room.shared and not room.free:
        return problem(subject, "room", found, "Make room on the disk that its file is on.")
    if needed > room.free:
        return warning(subject, "room", f"{found} The volumes that stand on it may still take {about(needed)}.", more)
    if not room.shared and share < FREE_WARNING:
        return warning(subject, "room", found, more)
    return ok(subject, "room", found)


def _still_to_come(topology: Topology, array: str, state: ArrayState | None) -> int:
    """Bytes that the topology's volumes on the array may take beyond what they take now, snapshots apart."""
    need = 0
    for volume in topology.volumes.values():
        if array in volume.arrays:
            there = state.volumes.get(volume.name) if state is not None else None
            need += max(0, volume.size - (there.used if there is not None else 0))
    return need


# -- identities and paths -----------------------------------------------------------------------------------


def _identities(topology: Topology, seen: Observation) -> Judged:
    by_id: dict[str, list[str]] = defaultdict(list)
    for name in topology.arrays:
        state = seen.array(name)
        if state is not None:
            by_id[state.own_id].append(name)
    for names in by_id.values():
        if len(names) > 1:
            yield (
                topology.arrays[names[0]].site,
                problem(
                    f"array {names[0]}",
                    "identity",
                    f"The same array answers under the names {', '.join(names)}.",
                    "Correct the endpoints in the topology, so that each name leads to an array of its own.",
                ),
            )


def _initiators(topology: Topology, seen: Observation) -> Judged:
    by_name: dict[str, list[str]] = defaultdict(list)
    for name in topology.hosts:
        state = seen.host(name)
        if state is not None:
            by_name[state.initiator].append(name)
    for initiator, names in by_name.items():
        subject, site = f"host {names[0]}", topology.hosts[names[0]].site
        if len(names) == 1:
            yield site, ok(subject, "initiator", f"Its initiator name is its own: {initiator}.")
            continue
        yield (
            site,
            problem(
                subject,
                "initiator",
                f"Hosts {', '.join(names)} have one initiator name, {initiator}, so a LUN mapped to one is open to the others.",
                "Correct the uri if they are one machine; else give each an initiator of its own in the topology, or a host_uuid of its own in /etc/libvirt/libvirtd.conf.",
            ),
        )


def _paths(topology: Topology, seen: Observation) -> Judged:
    for name, spec in topology.arrays.items():
        state = seen.array(name)
        if state is None:
            continue
        partners = {a for v in topology.volumes.values() if name in v.arrays for a in v.arrays} - {name}
        for other in sorted(partners):
            # One that is silent is said to be so already.
            if seen.array(other) is not None and state.peers.get(other) is False:
                yield (
                    spec.site,
                    problem(
                        f"array {name}",
                        "path",
                        f"There is no path between it and array {other}, so nothing is replicated between them.",
                        f"Mend the network between sites {spec.site} and {topology.arrays[other].site}, or the address under replication of {other}.",
                    ),
                )


# -- credentials ----------------------------------------------------------------------------------------------


def _credentials(topology: Topology) -> Judged:
    for section, things in (("array", topology.arrays), ("host", topology.hosts)):
        for name, spec in things.items():
            reference = spec.options.get("credentials")
            if isinstance(reference, str):
                yield spec.site, _resolved(f"{section} {name}", "credential", reference)[0]
            luns = spec.options.get("luns")
            chap = luns.get("chap") if isinstance(luns, Mapping) else None
            if isinstance(chap, Mapping):
                yield from ((spec.site, finding) for finding in _chap(f"{section} {name}", str(chap["password"])))


def _resolved(subject: str, check: str, reference: str) -> tuple[Finding, str]:
    try:
        secret = credentials.resolve(reference, "Its credential")
    except (BadInput, ValueError) as error:
        return problem(subject, check, f"{error}.", "Without it nothing can log in."), ""
    return ok(subject, check, f"Its credential is found ({reference})."), secret


def _chap(subject: str, reference: str) -> Iterator[Finding]:
    finding, secret = _resolved(subject, "chap", reference)
    if secret and len(secret) < CHAP_LEAST:
        yield warning(
            subject,
            "chap",
            f"Its CHAP password has {len(secret)} characters, and short ones are guessed from what goes over the wire.",
            f"Choose a random one of {CHAP_LEAST} to 16 characters: openssl rand -base64 12.",
        )
    else:
        yield finding
