"""The kinds of move in a runbook, each with its commands and its steps in order. Pure.

The steps are those of `decide`: each names the verbs of the actions that it stands for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dr_provider.model.callouts import Move
from dr_provider.model.topology import Topology
from dr_provider.model.units import format_duration
from dr_provider.reconcile.callouts import kind_of
from dr_provider.reconcile.runbooks.callouts import callouts_of
from dr_provider.reconcile.runbooks.hands import likely_hosts

__all__ = ["Known", "Moves", "Section", "Step", "address_of", "move_like"]


@dataclass(frozen=True)
class Known:
    """What the machines said when the runbook was made. `active` None: nobody said where the plan is; `epoch` None: nor which number would be left.
    `points`: the newest whole recovery point at each site as (id, time); `hosts`: VM -> host where it is or would be put; `silent`: name -> why."""

    active: str | None = None
    epoch: int | None = None
    since: str | None = None
    phase: str | None = None
    protected: bool | None = None
    points: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """`verbs`: the verbs of a decision's actions that it stands for; `hands`: keys of the steps by hand ("H4")."""

    title: str
    says: str
    verbs: tuple[str, ...] = ()
    hands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """A kind of move: when, with which commands, and what happens, in order."""

    kind: str
    title: str
    when: str
    source: str
    target: str
    dr: tuple[str, ...]
    array: tuple[str, ...]
    pulumi: tuple[str, ...]
    steps: tuple[Step, ...]
    callouts: tuple[Mapping[str, object], ...] = ()


def address_of(topology: Topology, array: str) -> str:
    """What `--from` takes for an array."""
    spec = topology.arrays[array]
    if spec.driver == "embedded":
        return f"embedded:{spec.options['path']}"
    endpoints = spec.options["endpoints"]
    assert isinstance(endpoints, Sequence)
    dataset = "" if spec.options["dataset"] == "dr" else f":{spec.options['dataset']}"
    return f"zfs:{str(endpoints[0]).rstrip('/')}/{spec.options['pool']}{dataset}"


def move_like(topology: Topology, plan: str, kind: str, source: str, target: str, known: Known) -> Move:
    """A move as callouts are told of it, with words where nobody can know yet."""
    spec = topology.plans[plan]
    named = kind_of(spec, kind, target)
    return Move(
        named, source, target, (known.epoch or 0) + 1, "POINT", likely_hosts(topology, plan, target, known.hosts)
    )


class Moves:
    """The three moves of a plan between two sites."""

    def __init__(self, topology: Topology, plan: str, source: str, target: str, known: Known, *, by_hand: bool) -> None:
        self._topology, self._plan = topology, plan
        self._source, self._target, self._known = source, target, known
        self._by_hand = by_hand

    def planned(self) -> Section:
        source, target = self._source, self._target
        return Section(
            "planned",
            f"Planned move, {source} to {target}",
            f"All of {source} answers and is to be left on purpose: maintenance, a flood that is announced. Nothing is lost.",
            source,
            target,
            *self._commands(target, word=False),
            tuple(self._steps(source, target, planned=True)),
            self._callouts("planned", source, target),
        )

    def disaster(self) -> Section:
        source, target = self._source, self._target
        return Section(
            "disaster",
            f"After a disaster, {source} to {target}",
            f"{source} or a part of it is silent or lost. What was written at {source} after the last whole recovery point at {target} is lost, but for what can still be brought over.",
            source,
            target,
            *self._commands(target, word=True),
            tuple(self._steps(source, target, planned=False)),
            self._callouts("disaster", source, target),
        )

    def back(self) -> Section:
        source, target = self._source, self._target
        return Section(
            "failback",
            f"Back again, {target} to {source}",
            f"{source} answers again and `dr status` says `protected`: a planned move in the other direction. Nothing is lost. There is no hurry: {source} is brought up to date by itself.",
            target,
            source,
            *self._commands(source, word=False, back=True),
            tuple(self._steps(target, source, planned=True, back=True)),
            self._callouts("planned", target, source),
        )

    def _callouts(self, kind: str, source: str, target: str) -> tuple[Mapping[str, object], ...]:
        move = move_like(self._topology, self._plan, kind, source, target, self._known)
        return tuple(callouts_of(self._topology, self._plan, kind, move))

    def _commands(
        self, target: str, *, word: bool, back: bool = False
    ) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        plan = self._plan
        known = self._known.epoch
        number = "EPOCH" if known is None else str(known)
        said = f' --force "{number}: REASON"' if word else ""
        home = self._topology.plans[plan].home
        move = f"dr failback {plan}" if back and target == home else f"dr failover {plan} --to {target}"
        arrays = sorted(
            {a for v in self._topology.plan_volumes(plan) if (a := self._topology.copy_at(v.name, target)) is not None}
        )
        at = f" --from {address_of(self._topology, arrays[0])}" if arrays else ""
        named = " # + --name NAME where the array serves several topologies" if at else ""
        pulumi = [f"pulumi config set --path dr:activeSites.{plan} {target}"]
        if word:
            pulumi.append(f'pulumi config set --path dr:force.{plan} "{number}: REASON"')
        return (
            ("dr status", f"{move} --dry-run", f"{move}{said}"),
            (f"dr status{at}{named}", f"dr failover {plan} --to {target}{said}{at}"),
            (*pulumi, "pulumi preview --diff", "pulumi up"),
        )

    def _hands(self, *keys: str, back: bool = False) -> tuple[str, ...]:
        if not self._by_hand:
            return ()
        ways = {"H0": "H0", "H1": "B1", "H2": "B1", "H3": "B2", "H4": "B2", "H5": "B3", "H6": "B4", "H7": "B5"}
        return tuple(dict.fromkeys(ways[key] for key in keys)) if back else keys

    def _steps(self, source: str, target: str, *, planned: bool, back: bool = False) -> Iterator[Step]:
        topology, plan = self._topology, self._topology.plans[self._plan]
        volumes = ", ".join(volume.name for volume in topology.plan_volumes(plan.name))

        def hands(*keys: str) -> tuple[str, ...]:
            return self._hands(*keys, back=back)

        if not planned:
            yield Step(
                f"Make sure that {source} is stopped",
                f"Phone, power, hands. A silent site may be running, and two sides that both write are the worst that can happen. Whoever has made sure gives the word; reason and name go on record. By hand the same holds: no VM is started at {target} before {source} is known to be off.",
            )
        yield Step(
            "Keep room", f"CPUs and memory are kept on the hosts of {target} for every VM.", ("end-drill", "reserve")
        )
        yield Step(
            "Claim", "The next epoch is claimed on every array that answers, before anything is changed. Until the commit `dr abort` calls all of it off. By hand: agree by phone that nobody else is at it, with dr, Pulumi or by hand.",
            ("claim",), hands("H0"),
        )  # fmt: skip
        reverse = " then ".join(", ".join(reversed(tier.members)) for tier in reversed(plan.tiers))
        yield Step(
            f"Stop the VMs at {source}",
            f"In reverse tier order: {reverse}. " + ("Each is asked first, then ended." if planned else "Only where hosts answer."),
            ("stop",), hands("H1"),
        )  # fmt: skip
        yield Step(
            f"Take the LUNs away at {source}",
            "They are unmapped and that is read back: the proof that nothing can write there." if planned else "Where an array answers: what is unmapped cannot be written, whatever its hosts do.",
            ("fence", "prove"), hands("H2"),
        )  # fmt: skip
        yield Step(
            "Bring over the last state",
            f"A final snapshot of {volumes}, sent to {target}." if planned else "Where array and path still live: a final snapshot, and nothing is lost. Else the newest recovery point that is whole on any copy that answers.",
            ("final", "bring", "choose"), hands("H3"),
        )  # fmt: skip
        yield Step(
            "Break the mirrors at one recovery point",
            f"{volumes}: all at the same point. What is newer on some of them is kept as safety copies. Then their LUNs are online at {target}, and the hosts look at their storage again.",
            ("break", "online", "rescan"), hands("H4"),
        )  # fmt: skip
        yield Step("Find the backups", "Every VM's record and disks are found on the broken volumes. Host names in them play no part.", ("scan",))  # fmt: skip
        yield Step("Commit", f"From here on {target} counts, and {source} is stale: it may not start anything. No abort any more: forward, or a new move back.", ("commit",))  # fmt: skip
        yield Step(
            "Map the LUNs and define the VMs",
            f"Each to its host at {target}, with the size, bridges and addresses of {target}, without autostart.",
            ("attach",), hands("H5", "H6"),
        )  # fmt: skip
        for number, tier in enumerate(plan.tiers, 1):
            yield Step(
                f"Start tier {number}: {', '.join(tier.members)}",
                _starting(topology, plan.name, number - 1, target),
                ("start", "check") if number == 1 else (),
                hands("H7"),
            )
        yield Step(
            "Point DNS names and clients to the new addresses",
            "See the tables of addresses and names: dr changes no DNS by itself.",
        )
        yield Step(
            "Protect the other way",
            f"Mirrors are turned: {target} to {source}" + (", and a first recovery point is taken and sent." if planned else f", as soon as {source} answers again; what it alone has is kept as safety copies."),
            ("reverse", "protect"),
        )  # fmt: skip


def _starting(topology: Topology, plan: str, number: int, target: str) -> str:
    tier = topology.plans[plan].tiers[number]
    said = []
    waits = tier.after if tier.after is not None else (topology.plans[plan].tiers[number - 1].members if number else ())
    if waits:
        said.append(f"After {', '.join(waits)}.")
    for vm in (topology.vms[name].there(target) for name in tier.members):
        parts = []
        if vm.start_delay:
            parts.append(f"{format_duration(vm.start_delay)} after its turn has come")
        if vm.health is not None:
            what = f"TCP port {vm.health.tcp} answers" if vm.health.tcp is not None else "its guest agent answers"
            parts.append(f"well when {what}, within {format_duration(vm.health.within)}")
        if parts:
            said.append(f"{vm.name}: {', '.join(parts)}.")
    failing = {
        "wait": "If one does not come up, those that wait for it are not started.",
        "retry": "If one does not come up it is started anew, twice.",
        "continue": "If one does not come up, the others go on.",
    }
    return " ".join([*said, failing[tier.on_failure]])
