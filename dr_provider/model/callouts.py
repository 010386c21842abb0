"""What callouts and prompts are told, and a callout as it would be run: rendered, and not run. Pure.

Templates get plain data only (text, numbers, lists and mappings), and no credential: those are put into the environment by whoever runs it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dr_provider.model.callout_specs import CalloutSpec, Place, PromptSpec
from dr_provider.model.remap import addresses_after, card_at, names_after
from dr_provider.model.topology import NicSpec, PlanSpec, Topology

__all__ = [
    "KINDS",
    "PHASES",
    "Move",
    "Rendered",
    "hooks_of",
    "is_for",
    "move_data",
    "render_callout",
    "render_prompt",
    "shown",
    "stack_callouts",
    "within",
]

PHASES = ("stop", "fence", "transfer", "break", "scan", "commit", "start")
"""The phases of a move, in their order."""
KINDS: Mapping[str, tuple[str, ...]] = {
    "planned": PHASES,
    "failback": PHASES,
    "disaster": PHASES,
    "rollback": ("stop", "fence", "commit", "start"),
    "resolve": ("stop", "fence", "commit", "start"),
    "abort": ("start",),
    "restart": ("start",),
    "drill": ("start",),
}
"""The kinds of move, each with its phases."""
_SHOWN = 120


@dataclass(frozen=True)
class Move:
    """What is known of a move. `hosts`: where each VM is to run, as far as that is settled; `point`: the chosen recovery point, once there is one."""

    kind: str
    from_site: str | None
    to_site: str
    epoch: int
    point: str | None = None
    hosts: Mapping[str, str] = field(default_factory=dict)
    drill: str | None = None
    network: int = 0
    """Which of the isolated networks a drill is on."""


@dataclass(frozen=True)
class Rendered:
    """A callout as it is run. `script`: the text whose file is added as the last argument; `environment`: variables with their values;
    `credentials`: variables whose value is behind a reference."""

    command: tuple[str, ...]
    script: str | None
    environment: Mapping[str, str]
    credentials: Mapping[str, str]


def is_for(hook: CalloutSpec | PromptSpec, kind: str) -> bool:
    """Whether a move of that kind has the hook's place, and the hook names it."""
    return kind in hook.kinds and hook.place.phase in ("move", *KINDS[kind])


# -- data -------------------------------------------------------------------------------------------


def move_data(topology: Topology, plan: str, move: Move, hook: CalloutSpec | PromptSpec) -> dict[str, Any]:
    """What a template of the hook sees; docs/callouts.md lists it."""
    spec = topology.plans[plan]
    vms = {vm: _vm(topology, spec, vm, move) for vm in spec.members}
    tiers = [{"number": number, "vms": list(tier.members)} for number, tier in enumerate(spec.tiers, 1)]
    place = hook.place
    return {
        "topology": topology.name,
        "plan": plan,
        "kind": move.kind,
        "from_site": move.from_site,
        "to_site": move.to_site,
        "epoch": move.epoch,
        "point": move.point,
        "drill": move.drill,
        "name": hook.name,
        "place": str(place),
        "sites": list(spec.sites),
        "vms": vms,
        "tiers": tiers,
        "names": _names(topology, plan, move),
        "vm": vms[place.vm] if place.vm is not None else None,
        "tier": tiers[place.tier - 1] if place.tier is not None else None,
    }


def _vm(topology: Topology, spec: PlanSpec, vm: str, move: Move) -> dict[str, Any]:
    nics = topology.vms[vm].nics
    isolated = move.network if move.kind == "drill" else None
    there = [_nic(topology, nic, move.to_site, isolated) for nic in nics]
    here = [_nic(topology, nic, move.from_site) for nic in nics] if move.from_site else []
    return {
        "name": vm,
        "tier": next(number for number, tier in enumerate(spec.tiers, 1) if vm in tier.members),
        "host": move.hosts.get(vm),
        "nics": there,
        "ip": next((nic["ip"] for nic in there if nic["ip"]), None),
        "from_ip": next((nic["ip"] for nic in here if nic["ip"]), None),
    }


def _nic(topology: Topology, nic: NicSpec, site: str, isolated: int | None = None) -> dict[str, Any]:
    """The card at the site; `isolated`: in a drill there, on that isolated network."""
    network = topology.networks[nic.network]
    at = card_at(network, nic, site, drill=isolated is not None)
    known = {"network": nic.network, "mac": nic.mac}
    if at is None:
        return {**known, "bridge": None, "address": None, "ip": None, "gateway": None, "dns": [], "names": []}
    # A topology may name fewer of them since the drill was made.
    bridge = at.bridge if isolated is None else dict(enumerate(network.isolated)).get(isolated)
    return {
        **known,
        "bridge": bridge,
        "address": at.address,
        "ip": at.ip,
        "gateway": at.gateway,
        "dns": list(at.dns),
        "names": list(at.names),
    }


def _names(topology: Topology, plan: str, move: Move) -> list[dict[str, Any]]:
    """Every DNS name of the VMs' cards, with the address that it points to before and afterwards."""
    moves = addresses_after(topology, plan, move.to_site, move.from_site, drill=move.kind == "drill")
    return [{"name": n.name, "vm": n.vm, "ip": n.after, "from_ip": n.before} for n in names_after(moves)]


# -- rendered ---------------------------------------------------------------------------------------


def render_callout(topology: Topology, plan: str, name: str, move: Move) -> Rendered:
    """The callout as it would be run in that move. Raises TemplateFault, and KeyError for a callout that is not the plan's."""
    from dr_provider.model.templates import render

    spec = topology.plans[plan].callouts[name]
    data, where = move_data(topology, plan, move, spec), f"callout {name} of plan {plan}"
    command = tuple(render(text, data, f"{where}, command[{index}]") for index, text in enumerate(spec.command))
    script = render(spec.script.text, data, spec.script.file) if spec.script else None
    values = {key: render(text, data, f"{where}, environment.{key}") for key, text in spec.values.items()}
    return Rendered(command, script, {**_facts(plan, move, name), **values}, spec.environment)


def _facts(plan: str, move: Move, name: str) -> dict[str, str]:
    """The variables that every callout gets."""
    given = {"DR_PLAN": plan, "DR_KIND": move.kind, "DR_FROM": move.from_site, "DR_TO": move.to_site, "DR_EPOCH": str(move.epoch),
             "DR_POINT": move.point, "DR_CALLOUT": name}  # fmt: skip
    return {key: value or "" for key, value in given.items()}


def render_prompt(topology: Topology, plan: str, name: str, move: Move) -> str:
    """The prompt's question in that move, on one line: it is read in the midst of lists. Raises TemplateFault."""
    from dr_provider.model.templates import render

    spec = topology.plans[plan].prompts[name]
    text = render(spec.text, move_data(topology, plan, move, spec), f"prompt {name} of plan {plan}")
    return " ".join(text.split())


def shown(spec: CalloutSpec) -> str:
    """The command as it stands in the topology, for people: arguments that need it in quotes, cut where it is long."""
    words = [*spec.command, *([spec.script.file] if spec.script else [])]
    text = " ".join(word if word and not _odd(word) else json.dumps(word, ensure_ascii=False) for word in words)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _odd(word: str) -> bool:
    return any(c.isspace() or c in "\"'\\" for c in word)


def hooks_of(spec: PlanSpec) -> Iterable[CalloutSpec | PromptSpec]:
    """What a move runs: callouts, then prompts, each by name."""
    return (*(each for each in spec.callouts.values() if each.by == "executor"), *spec.prompts.values())


def stack_callouts(spec: PlanSpec) -> Mapping[str, CalloutSpec]:
    """What the stack runs after a move, by name."""
    return {name: each for name, each in spec.callouts.items() if each.by == "pulumi"}


def within(place: Place, spec: PlanSpec) -> tuple[str, ...]:
    """The VMs of a tier's or VM's place."""
    if place.vm is not None:
        return (place.vm,)
    return spec.tiers[place.tier - 1].members if place.tier is not None else ()
