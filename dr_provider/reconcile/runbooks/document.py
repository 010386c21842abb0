"""A plan's runbook as data: the move for people, in order, with the commands of dr and of Pulumi, and by hand where all software is gone.

Everything in it comes from the topology; what machines say (where the plan is, its last recovery point, which hosts) is put in where they answer, and named as not known where they do not. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dr_provider.model.remap import CardMove, addresses_after, names_after
from dr_provider.model.topology import Contact, Topology, VmSpec
from dr_provider.model.units import format_duration, format_size
from dr_provider.reconcile.runbooks.callouts import callouts_by_hand
from dr_provider.reconcile.runbooks.hands import Hands, by_hand, likely_hosts
from dr_provider.reconcile.runbooks.moves import Known, Moves, Section, address_of, move_like

__all__ = ["Known", "Runbook", "runbook"]


@dataclass(frozen=True)
class Runbook:
    """`not_known`: sentences on what nobody could say when it was made."""

    topology: str
    plan: str
    made: str
    source: str
    target: str
    known: Known
    not_known: tuple[str, ...]
    contacts: tuple[Contact, ...]
    facts: tuple[tuple[str, str], ...]
    tiers: tuple[Mapping[str, Any], ...]
    moves: tuple[CardMove, ...]
    credentials: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    hands: Hands | None
    no_hands: str
    checks: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """The shape of `dr runbook --json`, and what the templates are given."""
        hands = self.hands
        return {
            "topology": self.topology,
            "plan": self.plan,
            "made": self.made,
            "from": self.source,
            "to": self.target,
            "now": {
                "activeSite": self.known.active,
                "epoch": self.known.epoch,
                "since": self.known.since,
                "phase": self.known.phase,
                "protected": self.known.protected,
                "recoveryPoints": {
                    site: {"id": name, "time": time} for site, (name, time) in sorted(self.known.points.items())
                },
                "silent": dict(self.known.silent),
                "notKnown": list(self.not_known),
            },
            "contacts": [{"name": c.name, "role": c.role, "phone": c.phone, "mail": c.mail} for c in self.contacts],
            "facts": [{"name": name, "text": text} for name, text in self.facts],
            "tiers": [dict(tier) for tier in self.tiers],
            "addresses": [move.document() for move in self.moves],
            "names": [name.document() for name in names_after(self.moves)],
            "credentials": [{"reference": reference, "for": what} for reference, what in self.credentials],
            "moves": [
                {
                    "kind": section.kind,
                    "title": section.title,
                    "when": section.when,
                    "from": section.source,
                    "to": section.target,
                    "commands": {"dr": list(section.dr), "array": list(section.array), "pulumi": list(section.pulumi)},
                    "steps": [{"title": s.title, "says": s.says, "byHand": list(s.hands)} for s in section.steps],
                    "callouts": [dict(each) for each in section.callouts],
                }
                for section in self.sections
            ],
            "byHand": None
            if hands is None
            else {
                "from": hands.source,
                "to": hands.target,
                "hosts": dict(hands.hosts),
                **{
                    part: [
                        {
                            "key": step.key,
                            "title": step.title,
                            "only": step.only,
                            "blocks": [block.document() for block in step.blocks],
                        }
                        for step in steps
                    ]
                    for part, steps in (
                        ("steps", hands.steps),
                        ("back", hands.back),
                        ("after", hands.after),
                        ("afterBack", hands.after_back),
                    )
                },
            },
            "withoutHands": self.no_hands,
            "checks": list(self.checks),
        }


def runbook(topology: Topology, plan: str, target: str | None, known: Known, made: str) -> Runbook:
    """The runbook of a move from where the plan is (home, where nobody says) to `target` (None: its first other site). `made`: RFC 3339."""
    spec = topology.plans[plan]
    source = known.active or spec.home
    to = target or next(site for site in spec.sites if site != source)
    if to == source:
        source = next(site for site in spec.sites if site != to)
    hosts = likely_hosts(topology, plan, to, known.hosts)
    away = move_like(topology, plan, "disaster", source, to, known)
    home = move_like(topology, plan, "planned", to, source, known)
    hands = by_hand(
        topology,
        plan,
        source,
        to,
        known.hosts,
        callouts=callouts_by_hand(topology, plan, "disaster", away),
        callouts_back=callouts_by_hand(topology, plan, "planned", home, back=True),
    )
    book = Moves(topology, plan, source, to, known, by_hand=hands is not None)
    return Runbook(
        topology=topology.name,
        plan=plan,
        made=made,
        source=source,
        target=to,
        known=known,
        not_known=tuple(_not_known(known, spec.sites)),
        contacts=(*spec.contacts, *topology.contacts),
        facts=tuple(_facts(topology, plan)),
        tiers=tuple(_tiers(topology, plan, source, to, hosts)),
        moves=addresses_after(topology, plan, to, source),
        credentials=tuple(_credentials(topology, plan)),
        sections=(book.planned(), book.disaster(), book.back()),
        hands=hands,
        no_hands="" if hands else _no_hands(topology, plan),
        checks=tuple(_checks(topology, plan, to)),
    )


def _not_known(known: Known, sites: Sequence[str]) -> Iterator[str]:
    if known.active is None:
        yield f"where the plan is active: nobody who answers says so; it is written for a plan at {sites[0]}, its home"
    if known.epoch is None:
        yield "the number that the operator's word begins with: `dr status` shows it, and a refusal prints the whole line"
    for site in sites:
        if site not in known.points:
            yield f"the newest recovery point at {site}: see `dr points`, or look on its array by hand"
    for name, why in known.silent.items():
        yield why if name in why else f"{name}: {why}"


def _facts(topology: Topology, plan: str) -> Iterator[tuple[str, str]]:
    spec = topology.plans[plan]
    yield "sites", f"{', '.join(spec.sites)} (in order of preference; {spec.home} is home)"
    for site in spec.sites:
        arrays = sorted(
            {array for volume in topology.plan_volumes(plan) if (array := topology.copy_at(volume.name, site))}
        )
        hosts = [host.name for host in topology.plan_hosts(plan, site)]
        yield f"at {site}", f"{_places(topology, arrays)}; hosts {', '.join(hosts)}"
    volumes = topology.plan_volumes(plan)
    yield "volumes", ", ".join(f"{volume.name} ({format_size(volume.size)})" for volume in volumes)
    keep = f"backup every {format_duration(spec.backup.every)} ({spec.backup.consistency}), replication every {format_duration(spec.replicate_every)}"
    yield "protection", keep
    if spec.rpo is not None or spec.rto is not None:
        said = [f"{name} {format_duration(value)}" for name, value in (("RPO", spec.rpo), ("RTO", spec.rto)) if value]
        yield "promised", ", ".join(said)
    yield "fencing", _FENCING[spec.fencing]


_FENCING = {
    "operator": "the operator's word: a silent site may be running, and nothing but a person can say that it does not",
    "witness": "a guard at each site and a witness: a site that the witness does not hear stops its VMs by itself (docs/fencing.md)",
    "lease": "a guard at each site: one that reaches neither another site nor the witness stops its VMs by itself (docs/fencing.md)",
}


def _places(topology: Topology, arrays: Sequence[str]) -> str:
    return ", ".join(f"array {name} ({address_of(topology, name)})" for name in arrays)


def _tiers(
    topology: Topology, plan: str, source: str, target: str, hosts: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    spec = topology.plans[plan]
    for number, tier in enumerate(spec.tiers, 1):
        waits = tier.after if tier.after is not None else (spec.tiers[number - 2].members if number > 1 else ())
        yield {
            "tier": number,
            "after": list(waits),
            "onFailure": tier.on_failure,
            "vms": [_vm(topology.vms[vm], source, target, hosts[vm]) for vm in tier.members],
        }


def _vm(vm: VmSpec, source: str, target: str, host: str) -> dict[str, Any]:
    here, there = vm.there(source), vm.there(target)
    health = vm.health
    return {
        "vm": vm.name,
        "host": host,
        "cpus": there.cpus,
        "memory": format_size(there.memory),
        "was": None if (here.cpus, here.memory) == (there.cpus, there.memory) else {"cpus": here.cpus, "memory": format_size(here.memory)},
        "startDelay": format_duration(there.start_delay) if there.start_delay else None,
        "health": None if health is None else f"TCP port {health.tcp}" if health.tcp is not None else "guest agent",
        "within": None if health is None else format_duration(health.within),
        "disks": [{"role": disk.role, "volume": disk.volume, "size": format_size(disk.size)} for disk in vm.disks],
    }  # fmt: skip


def _credentials(topology: Topology, plan: str) -> Iterator[tuple[str, str]]:
    """References only: (reference, what it is for)."""
    spec = topology.plans[plan]
    machines = {f"array {name}": topology.arrays[name].options for name in topology.plan_arrays(plan)}
    machines |= {f"host {host.name}": host.options for site in spec.sites for host in topology.plan_hosts(plan, site)}
    users: dict[tuple[str, str], list[str]] = {}
    for name, options in machines.items():
        for each in _of_options(options):
            users.setdefault(each, []).append(name)
    for (reference, what), names in users.items():
        yield reference, f"{what} {', '.join(names)}"
    for callout in spec.callouts.values():
        for variable, reference in callout.environment.items():
            yield reference, f"callout {callout.name} ({variable})"
    if topology.witness is not None and spec.fencing != "operator":
        for reference, _ in _of_options(topology.witness.options):
            yield reference, "the witness"


def _of_options(options: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    ssh, luns, own = options.get("ssh"), options.get("luns"), options.get("credentials")
    if isinstance(ssh, Mapping):
        for key, what in (
            ("identity", "SSH key for"),
            ("knownHosts", "SSH host keys of"),
            ("config", "SSH configuration for"),
        ):
            if ssh.get(key):
                yield f"file:{ssh[key]}", what
    chap = luns.get("chap") if isinstance(luns, Mapping) else None
    if isinstance(chap, Mapping):
        yield str(chap["password"]), "CHAP password of"
    for reference in own.values() if isinstance(own, Mapping) else [own] if own else []:
        yield str(reference), "credential of"


def _no_hands(topology: Topology, plan: str) -> str:
    return (
        "Its arrays and hosts are embedded ones: files that nothing but dr can read. There is no way by hand; dr itself needs Python and one of the arrays' files, "
        "and `dr sim export VM DISK FILE` takes a disk out as a raw file."
    )


def _checks(topology: Topology, plan: str, target: str) -> Iterator[str]:
    yield f"`dr status`: plan {plan} is active at {target}, every VM runs, nothing is degraded."
    yield "`dr status` says `protected` as soon as another site answers; until then what is written now is at one site only."
    if any(vm.health is None for vm in (topology.vms[name] for name in topology.plans[plan].members)):
        bare = [name for name in topology.plans[plan].members if topology.vms[name].health is None]
        yield f"VMs without a health check ({', '.join(bare)}): that they run is all that dr knows; look at their applications yourself."
    yield "The DNS names above point to the new addresses, and clients find the applications."
    yield f"`dr history {plan}`: the move, its word and its loss are on record."
    yield "`dr safety list`: what was kept before it was overwritten; export what people ask for, drop the rest."
