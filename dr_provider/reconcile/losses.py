"""What may be lost, by name, and how a topology would be seen without it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from dr_provider.model.errors import BadInput
from dr_provider.model.problems import did_you_mean
from dr_provider.model.state import ArrayState, Observation, Silent
from dr_provider.model.topology import Topology

__all__ = ["Lost", "every_loss", "every_pair", "parse_loss", "without"]

KINDS = ("site", "array", "host", "link")


@dataclass(frozen=True)
class Lost:
    """One thing that is lost. `names`: one, or for a link the two sites or arrays at its ends."""

    kind: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind}:{'/'.join(self.names)}"


def parse_loss(topology: Topology, text: str) -> Lost:
    """`site:S`, `array:A`, `host:H` or `link:A/B` (two sites or two arrays; `A-B` where that can be meant one way only). Raises BadInput."""
    kind, colon, name = text.partition(":")
    if not colon or kind not in KINDS:
        raise BadInput(
            f"--lose {text!r}: wanted site:NAME, array:NAME, host:NAME or link:A/B{did_you_mean(kind, KINDS)}; nothing was looked at"
        )
    if kind == "link":
        return Lost(kind, _ends(topology, text, name))
    known = {"site": topology.sites, "array": topology.arrays, "host": topology.hosts}[kind]
    if name not in known:
        raise BadInput(
            f"--lose {text!r}: topology {topology.name} has no {kind} {name!r}{did_you_mean(name, known)}; nothing was looked at"
        )
    return Lost(kind, (name,))


def _ends(topology: Topology, text: str, name: str) -> tuple[str, str]:
    """Both ends, in the order of their names."""
    known = (set(topology.sites), set(topology.arrays))
    marks = [i for i, mark in enumerate(name) if mark == ("/" if "/" in name else "-")]
    found = {
        tuple(sorted((a, b)))
        for a, b in ((name[:at], name[at + 1 :]) for at in marks)
        for names in known
        if a in names and b in names and a != b
    }
    if len(found) == 1:
        a, b = found.pop()
        return a, b
    if found:
        raise BadInput(f"--lose {text!r}: it can be meant in several ways; write link:A/B; nothing was looked at")
    parts = name.split("/") if "/" in name else name.split("-")
    unknown = next((part for part in parts if part not in known[0] | known[1]), name)
    raise BadInput(
        f"--lose {text!r}: wanted two sites or two arrays of topology {topology.name}, as link:A/B"
        f"{did_you_mean(unknown, known[0] | known[1])}; nothing was looked at"
    )


def without(topology: Topology, seen: Observation, lost: Iterable[Lost]) -> Observation:
    """What would be seen: those that are lost are silent, and nothing passes a link that is."""
    arrays, hosts = dict(seen.arrays), dict(seen.hosts)
    for each in lost:
        silent = Silent(f"lost with {each}")
        name = each.names[0]
        if each.kind in ("site", "array"):
            arrays |= {
                a: silent for a, spec in topology.arrays.items() if name == (spec.site if each.kind == "site" else a)
            }
        if each.kind in ("site", "host"):
            hosts |= {
                h: silent for h, spec in topology.hosts.items() if name == (spec.site if each.kind == "site" else h)
            }
        if each.kind == "link":
            arrays |= _cut(topology, arrays, each.names)
    return replace(seen, arrays=arrays, hosts=hosts)


def _cut(
    topology: Topology, arrays: dict[str, ArrayState | Silent], ends: tuple[str, ...]
) -> dict[str, ArrayState | Silent]:
    def at(array: str, end: str) -> bool:
        return end in (array, topology.arrays[array].site if array in topology.arrays else None)

    a, b = ends
    found: dict[str, ArrayState | Silent] = {}
    for name, state in arrays.items():
        if isinstance(state, ArrayState):
            peers = {
                peer: reached and not any(at(name, x) and at(peer, y) for x, y in ((a, b), (b, a)))
                for peer, reached in state.peers.items()
            }
            found[name] = replace(state, peers=peers)
    return found


def every_loss(topology: Topology) -> Iterator[tuple[Lost, ...]]:
    """Each single loss: sites, arrays, hosts, and the links between sites that share a plan."""
    for kind, names in (("site", topology.sites), ("array", topology.arrays), ("host", topology.hosts)):
        for name in names:
            yield (Lost(kind, (name,)),)
    linked = {pair for plan in topology.plans.values() for pair in combinations(sorted(plan.sites), 2)}
    for pair in sorted(linked):
        yield (Lost("link", pair),)


def every_pair(topology: Topology) -> Iterator[tuple[Lost, ...]]:
    """Each two losses of which neither is part of the other."""
    singles = [lost for (lost,) in every_loss(topology)]
    for one, other in combinations(singles, 2):
        if not (_within(topology, one, other) or _within(topology, other, one)):
            yield one, other


def _within(topology: Topology, part: Lost, whole: Lost) -> bool:
    if whole.kind != "site":
        return False
    site = whole.names[0]
    if part.kind == "link":
        return site in part.names
    if part.kind == "array":
        return topology.arrays[part.names[0]].site == site
    return part.kind == "host" and topology.hosts[part.names[0]].site == site
