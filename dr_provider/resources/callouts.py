"""Callouts that the stack runs (`by: pulumi`): commands of pulumi-command, one a callout, for a new committed epoch and for nothing else.

Invariants:
1. `triggers` is the id of the epoch in force, and nothing else replaces the resource, so that only a new epoch runs the command.
   What changes besides (a template, an address) is an update, and an update does nothing.
2. The plan's output says, a callout, which epoch was in force when it was declared: for that one nothing is run, unless `atFirst`.
   So neither the first `up` nor a state that was lost runs anything.
3. No credential is in the resource: it would stand in the state. The key of a remote command comes from the SSH agent.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pulumi

from dr_provider.model.callout_specs import CalloutSpec
from dr_provider.model.callouts import Move, is_for, render_callout, stack_callouts
from dr_provider.model.errors import BadInput
from dr_provider.model.topology import Topology

if TYPE_CHECKING:
    from dr_provider.reconcile.world import World

__all__ = ["Command", "check_callouts", "command_of", "declare_callouts", "stack_hooks"]

_NOTHING = ":"
"""To a shell: do nothing, well."""


@dataclass(frozen=True)
class Command:
    """What a command resource is told. `stdin`: the script."""

    create: str
    trigger: str
    stdin: str | None = None


def stack_hooks(world: World, plan: str, olds: Mapping[str, Any]) -> dict[str, Any]:
    """The plan's output for its callouts: the epoch in force, as it was when it was first seen, and which one each was declared in."""
    from dr_provider.reconcile.callouts import kind_of

    spec, view = world.topology.plans[plan], world.view(plan)
    hooks, epoch = stack_callouts(spec), view.epoch
    if not hooks or epoch is None:
        return {}
    known: dict[str, Any] = json.loads(olds.get("callouts") or "{}")
    now = known.get("epoch") or {}
    if now.get("id") != epoch.id:
        now = {
            "id": epoch.id,
            "number": epoch.number,
            "kind": kind_of(spec, epoch.kind, epoch.site),
            "from": epoch.from_site,
            "to": epoch.site,
            "point": epoch.point,
            "hosts": {place.vm: place.host for place in view.running_at(epoch.site)},
        }
    before = str(olds.get("epochId") or epoch.id)
    since = {name: known.get("since", {}).get(name, "" if hook.at_first else before) for name, hook in hooks.items()}
    return {"callouts": json.dumps({"epoch": now, "since": since}, sort_keys=True, separators=(",", ":"))}


def command_of(topology: Topology, plan: str, hook: CalloutSpec, told: str | None) -> Command:
    """The command for what the plan's output says. Raises TemplateFault."""
    known = json.loads(told or "{}")
    epoch = known.get("epoch") or {}
    trigger = str(epoch.get("id", ""))
    if known.get("since", {}).get(hook.name, trigger) == trigger or not is_for(hook, str(epoch["kind"])):
        return Command(_NOTHING, trigger)
    move = Move(
        epoch["kind"], epoch.get("from"), epoch["to"], int(epoch["number"]), epoch.get("point"), epoch.get("hosts", {})
    )
    rendered = render_callout(topology, plan, hook.name, move)
    # The one line that a shell reads is ours; what comes from the topology is quoted, and the script goes by way of a file.
    variables = [f"{name}={value}" for name, value in sorted(rendered.environment.items())]
    words = shlex.join(["env", *variables, *rendered.command])
    if rendered.script is None:
        return Command(f"exec {words}", trigger)
    return Command(f'f=$(mktemp) && trap \'rm -f "$f"\' EXIT && cat >"$f" && {words} "$f"', trigger, rendered.script)


def check_callouts(topology: Topology) -> None:
    """Raise BadInput, before any resource is declared, where callouts need a package that is not there."""
    from importlib.util import find_spec

    needing = {f"{plan}.{name}" for plan, spec in topology.plans.items() for name in stack_callouts(spec)}
    if needing and find_spec("pulumi_command") is None:
        raise BadInput(
            f"callouts that say by: pulumi ({', '.join(sorted(needing))}) need the package pulumi-command, which is not there; "
            "install it (pip install 'dr-provider[callouts]'), or say by: executor; nothing was done"
        )


def declare_callouts(
    topology: Topology, plan: str, told: pulumi.Output[str | None], opts: pulumi.ResourceOptions
) -> None:
    """A command resource for each callout that the stack runs; nothing, and nothing imported, where there is none."""
    hooks = stack_callouts(topology.plans[plan])
    if not hooks:
        return
    from pulumi_command import local, remote

    for name, hook in hooks.items():
        command = told.apply(partial(command_of, topology, plan, hook))
        timeout = f"{max(1, round(hook.timeout))}s"
        options = pulumi.ResourceOptions.merge(
            opts, pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(create=timeout, update=timeout))
        )
        common: dict[str, Any] = {
            "create": command.apply(lambda found: found.create),
            "update": _NOTHING,
            "stdin": command.apply(lambda found: found.stdin or ""),
            "triggers": [command.apply(lambda found: found.trigger)],
            "add_previous_output_in_env": False,
            "opts": options,
        }
        if hook.remote is None:
            local.Command(f"{plan}-{name}", **common)
            continue
        connection = remote.ConnectionArgs(
            host=hook.remote.host,
            port=float(hook.remote.port),
            user=hook.remote.user,
            host_key=hook.remote.host_key,
            dial_error_limit=3,
        )
        remote.Command(f"{plan}-{name}", connection=connection, **common)
