"""Checks of callouts and prompts: places that there are, kinds that have them, scripts, and templates that can be rendered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from dr_provider.model.build import Draft
from dr_provider.model.build_callouts import MOVES
from dr_provider.model.callout_specs import CalloutSpec, PromptSpec
from dr_provider.model.callouts import KINDS, Move, hooks_of, is_for, move_data, stack_callouts
from dr_provider.model.problems import Path, Report, did_you_mean, listed
from dr_provider.model.topology import PlanSpec, Topology

if TYPE_CHECKING:
    from dr_provider.model.templates import TemplateFault

__all__ = ["check", "check_templates", "unaddressed"]


def check(draft: Draft, report: Report) -> None:
    """What can be said of each by itself and beside its plan."""
    for plan in draft.plans.values():
        if plan is None:
            continue
        for name in sorted(plan.callouts.keys() & plan.prompts.keys()):
            at: Path = ("plans", plan.name, "prompts", name)
            report.add(at, f"a callout is called {name} too; give the prompt a name of its own")
        for hook in _all(plan):
            _place(draft, plan, hook, report)
            _kinds(plan, hook, report)
        for callout in plan.callouts.values():
            _by(plan, callout, report)
            if callout.script is not None and not callout.script.text:
                report.add(
                    (*_path(plan, callout), "script"),
                    f"{callout.script.file} cannot be read as a script from the topology's folder; wanted a file of UTF-8 text, "
                    "not empty and of 64KiB at most",
                )


def _all(plan: PlanSpec) -> tuple[CalloutSpec | PromptSpec, ...]:
    return (*hooks_of(plan), *stack_callouts(plan).values())


def _by(plan: PlanSpec, callout: CalloutSpec, report: Report) -> None:
    """What the stack cannot do, and what only it does."""
    path = _path(plan, callout)
    if callout.by == "executor":
        for key, given in (("remote", callout.remote is not None), ("atFirst", callout.at_first)):
            if given:
                report.add((*path, key), "only a callout with by: pulumi has this; leave it out, or say by: pulumi")
        return
    if str(callout.place) != "after the move":
        report.add(
            (*path, callout.place.when),
            f"with by: pulumi it runs when the move is over; wanted after: move, found {callout.place}",
        )
    if not set(callout.kinds) <= set(MOVES):
        report.add((*path, "kinds"), f"with by: pulumi it runs for a new epoch; those that have one: {listed(MOVES)}")
    for key, wrong in (("retries", callout.retries > 0), ("onError", callout.on_error != "stop")):
        if wrong:
            report.add(
                (*path, key), "with by: pulumi a failure ends the up red, and the next up runs it again; leave this out"
            )
    for name in callout.environment:
        report.add(
            (*path, "environment", name),
            "with by: pulumi a credential's value would stand in the stack's state; have the command read it where it runs, or say {value: TEMPLATE} for what is no secret",
        )


def _path(plan: PlanSpec, hook: CalloutSpec | PromptSpec) -> Path:
    return ("plans", plan.name, "callouts" if isinstance(hook, CalloutSpec) else "prompts", hook.name)


def _place(draft: Draft, plan: PlanSpec, hook: CalloutSpec | PromptSpec, report: Report) -> None:
    place, path = hook.place, (*_path(plan, hook), hook.place.when)
    if place.tier is not None and place.tier > len(plan.tiers):
        count = len(plan.tiers)
        known = "its only tier is 1" if count == 1 else f"its tiers are 1 to {count}"
        report.add((*path, "tier"), f"plan {plan.name} has no tier {place.tier}; {known}")
    if place.vm is not None and place.vm not in plan.members:
        known = f"the VMs of plan {plan.name}: {listed(plan.members)}"
        if place.vm in draft.vms:
            report.add((*path, "vm"), f"VM {place.vm} is not in this plan; {known}")
        else:
            report.add((*path, "vm"), f"there is no VM {place.vm}{did_you_mean(place.vm, plan.members)}")


def _kinds(plan: PlanSpec, hook: CalloutSpec | PromptSpec, report: Report) -> None:
    """A kind that has not the phase is passed over in silence only where another one of those named has it."""
    if any(is_for(hook, kind) for kind in hook.kinds):
        return
    having = [kind for kind, phases in KINDS.items() if hook.place.phase in phases]
    report.add(
        (*_path(plan, hook), "kinds"),
        f"{listed(dict.fromkeys(hook.kinds), 'or')} has no phase {hook.place.phase}, so it would never run; those that have it: {listed(having)}",
    )


# -- templates --------------------------------------------------------------------------------------


def check_templates(topology: Topology, report: Report) -> None:
    """Every template of a topology that is good otherwise: its syntax, its names in every branch, and whether it can be rendered for
    each kind of move to each site."""
    for plan in topology.plans.values():
        for hook in _all(plan):
            for path, source, text in _templates(plan, hook):
                _template(topology, plan, hook, path, source, text, report)


def _templates(plan: PlanSpec, hook: CalloutSpec | PromptSpec) -> list[tuple[Path, str, str]]:
    """(path, file or "", text) of each template."""
    path = _path(plan, hook)
    if isinstance(hook, PromptSpec):
        return [((*path, "text"), "", hook.text)]
    found: list[tuple[Path, str, str]] = [
        ((*path, "command", index), "", text) for index, text in enumerate(hook.command)
    ]
    found += [((*path, "environment", name, "value"), "", text) for name, text in hook.values.items()]
    if hook.script is not None:
        found.append(((*path, "script"), hook.script.file, hook.script.text))
    return found


def _template(
    topology: Topology,
    plan: PlanSpec,
    hook: CalloutSpec | PromptSpec,
    path: Path,
    source: str,
    text: str,
    report: Report,
) -> None:
    # Where there is no template, nobody pays for the library.
    from dr_provider.model.templates import TemplateFault, faults, render

    samples = [move_data(topology, plan.name, move, hook) for move in _samples(plan, hook)]
    found = list(faults(text, samples[0], source))
    if not found:
        for data in samples:
            try:
                render(text, data, source)
            except TemplateFault as error:
                found.append(error)
                break
    for fault in found:
        # The line of a text in the topology itself is known from its path.
        report.add(path, str(fault) if source else _in_place(text, fault))


def _in_place(text: str, fault: TemplateFault) -> str:
    return f"line {fault.line} of it: {fault.reason}" if "\n" in text.strip() else fault.reason


def unaddressed(topology: Topology) -> Iterator[tuple[Path, str]]:
    """Where a template would write the word None for an address that a VM has not: (path, what is so)."""
    for plan in topology.plans.values():
        for hook in _all(plan):
            for path, source, text in _templates(plan, hook):
                lacking: dict[str, dict[str, None]] = {}
                for vm, site in _unaddressed(topology, plan, hook, source, text):
                    lacking.setdefault(site, {})[vm] = None
                for site, vms in lacking.items():
                    what = f"VM {listed(vms)} has" if len(vms) == 1 else f"VMs {listed(vms)} have"
                    yield (
                        path,
                        f"{what} no static address at {site}, so the word None would stand there; give it one, or ask for it: {{% if ... %}}",
                    )


def _unaddressed(
    topology: Topology, plan: PlanSpec, hook: CalloutSpec | PromptSpec, source: str, text: str
) -> Iterator[tuple[str, str]]:
    """(VM, site): with an address there, the template would say None less often than it does."""
    from dr_provider.model.templates import TemplateFault, render

    told = set[tuple[str, str]]()
    for move in _samples(plan, hook):
        try:
            nothings = render(text, move_data(topology, plan.name, move, hook), source).count("None")
            for site, keys in ((move.to_site, ("ip", "address")), (str(move.from_site), ("from_ip",))):
                for vm in plan.members if nothings else ():
                    data = move_data(topology, plan.name, move, hook)
                    if (vm, site) in told or not _fill(data, vm, keys):
                        continue
                    if render(text, data, source).count("None") < nothings:
                        told.add((vm, site))
                        yield vm, site
        except TemplateFault:
            return  # of a stored topology; a file's templates can be rendered


def _fill(data: dict[str, Any], vm: str, keys: Iterable[str]) -> bool:
    """Put an address where the VM has none; whether there was such a place."""
    there = data["vms"][vm]
    lacking = [
        (each, key)
        for each in (there, *there["nics"], *(name for name in data["names"] if name["vm"] == vm))
        for key in keys
        if each.get(key, "") is None
    ]
    for each, key in lacking:
        each[key] = "192.0.2.1"
    return bool(lacking)


def _samples(plan: PlanSpec, hook: CalloutSpec | PromptSpec) -> list[Move]:
    """A move of each kind that it is for, to each site that such a move can be to; as little known as can be."""
    moves = []
    for kind in hook.kinds:
        for to in plan.sites:
            others = [site for site in plan.sites if site != to]
            home = to == plan.home
            if not is_for(hook, kind) or (kind == "failback" and not home) or (kind == "planned" and home):
                continue
            came_from = to if kind == "restart" else others[0]
            moves.append(Move(kind, came_from, to, 2, drill="drill" if kind == "drill" else None))
    return moves
