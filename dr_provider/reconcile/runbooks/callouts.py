"""The callouts and prompts of a plan in its runbook: in the order of their places, and as they are run by hand. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from dr_provider.model.byhand import Block
from dr_provider.model.callout_specs import CalloutSpec, Place, PromptSpec
from dr_provider.model.callouts import (
    PHASES,
    Move,
    hooks_of,
    is_for,
    render_callout,
    render_prompt,
    shown,
    stack_callouts,
)
from dr_provider.model.errors import DrError
from dr_provider.model.topology import Topology
from dr_provider.model.units import format_duration
from dr_provider.reconcile.callouts import kind_of

__all__ = ["callouts_by_hand", "callouts_of"]

Hook = CalloutSpec | PromptSpec


def _hooks(topology: Topology, plan: str, kind: str) -> list[Hook]:
    spec = topology.plans[plan]
    hooks: Iterable[Hook] = (*hooks_of(spec), *stack_callouts(spec).values())
    return sorted((hook for hook in hooks if is_for(hook, kind)), key=lambda hook: (_order(hook.place), hook.name))


def _order(place: Place) -> tuple[int, int]:
    """When it is reached: what is around the whole move first and last, what is around a phase around its tiers and VMs."""
    after = place.when == "after"
    if place.phase == "move":
        return (len(PHASES), 0) if after else (-1, 0)
    inner = place.tier is not None or place.vm is not None
    return PHASES.index(place.phase), (2 if inner else 3) if after else (1 if inner else 0)


def callouts_of(topology: Topology, plan: str, kind: str, move: Move) -> list[dict[str, Any]]:
    """What stands in a section on a move: a mapping each, in the order in which they are reached."""
    named = kind_of(topology.plans[plan], kind, move.to_site)
    return [_row(topology, plan, hook, move) for hook in _hooks(topology, plan, named)]


def _row(topology: Topology, plan: str, hook: Hook, move: Move) -> dict[str, Any]:
    known = {"name": hook.name, "place": str(hook.place), "timeout": format_duration(hook.timeout)}
    if isinstance(hook, CalloutSpec):
        if hook.by == "pulumi":
            where = f" on {hook.remote.user}@{hook.remote.host}" if hook.remote is not None else ""
            return {
                **known,
                "kind": "callout",
                "text": shown(hook),
                "otherwise": f"by the next pulumi up{where}, not by dr",
            }
        fails = "the move stops" if hook.on_error == "stop" else "the move goes on"
        return {**known, "kind": "callout", "text": shown(hook), "otherwise": f"if it fails {fails}"}
    try:
        text = render_prompt(topology, plan, hook.name, move)
    except DrError:
        text = hook.text
    answer = f"dr answer {plan} {hook.name} --continue"
    return {**known, "kind": "prompt", "text": text, "otherwise": f"{answer}, or --stop; nobody: {hook.default}"}


_STEPS: Mapping[str, tuple[str, str]] = {
    "stop": ("H1", "B1"), "fence": ("H2", "B1"), "transfer": ("H3", "B2"), "break": ("H4", "B2"), "scan": ("H5", "B3"), "commit": ("H5", "B3"),
    "start": ("H7", "B5"),
}  # fmt: skip
"""The step by hand that each phase is a part of, on the way there and back; what has none of its own, the step that it stands before."""
_NO_STEP = ("scan", "commit")


def callouts_by_hand(topology: Topology, plan: str, kind: str, move: Move, *, back: bool = False) -> tuple[Block, ...]:
    """Each of them as its executor would run it, with its secrets read from where they are referred to, and a question for each prompt."""
    named = kind_of(topology.plans[plan], kind, move.to_site)
    return tuple(_block(topology, plan, hook, move, back=back) for hook in _hooks(topology, plan, named))


def _by_hand(place: Place, *, back: bool) -> str:
    """Where it comes among the steps by hand: `before H5`, `in H7`."""
    if place.phase == "move":
        return f"after {_STEPS['start'][back]}" if place.when == "after" else f"before {'B1' if back else 'H1'}"
    step = _STEPS[place.phase][back]
    if place.tier is not None or place.vm is not None:
        return f"in {step}"
    return f"before {step}" if place.phase in _NO_STEP else f"{place.when} {step}"


def _block(topology: Topology, plan: str, hook: Hook, move: Move, *, back: bool) -> Block:
    when = f"{hook.place} ({_by_hand(hook.place, back=back)})"
    try:
        if isinstance(hook, PromptSpec):
            asked = render_prompt(topology, plan, hook.name, move)
            return Block(
                "your machine",
                (f"# {' '.join(asked.splitlines())}",),
                f"Prompt {hook.name}, {when}: ask before you go on.",
            )
        made = render_callout(topology, plan, hook.name, move)
    except DrError as error:
        return Block(
            "your machine",
            (f"# {' '.join(str(error).splitlines())}",),
            f"{hook.name}, {when}, cannot be written down here.",
        )
    lines = ['cd "$(mktemp -d)"', *_environment(made.environment)]
    for variable, reference in made.credentials.items():
        kind_, _, place = reference.partition(":")
        secret = f"$(cat {shlex.quote(place)})" if kind_ == "file" else f"${place}"
        lines.append(f'export {variable}="{secret}"')
    words = list(made.command)
    if made.script is not None:
        lines += ["cat > script <<'END-OF-SCRIPT'", *made.script.rstrip("\n").split("\n"), "END-OF-SCRIPT"]
        words.append("script")
    remote = hook.remote
    port = ["-p", str(remote.port)] if remote is not None and remote.port != 22 else []
    return Block(
        f"{remote.user}@{remote.host}" if remote is not None else "your machine",
        (*lines, shlex.join(words)),
        f"Callout {hook.name}, {when}. Its secrets are read from where the topology says that they are.",
        shlex.join(["ssh", *port, f"{remote.user}@{remote.host}"]) if remote is not None else "",
    )


def _environment(values: Mapping[str, str]) -> list[str]:
    return [f"export {name}={shlex.quote(value)}" for name, value in sorted(values.items())]
