"""What `dr doctor` says of the VMs that dr has on a host: their agents, and whether they would start by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from dr_provider.hypervisors.libvirt.agent import Agent, AgentRefused, AgentSilent
from dr_provider.hypervisors.libvirt.link import Work
from dr_provider.hypervisors.libvirt.quiesce import is_frozen
from dr_provider.hypervisors.libvirt.running import Running, look
from dr_provider.model.findings import Finding, VmUse, ok, problem, warning

__all__ = ["AGENT_SECONDS", "AT_ONCE", "AgentSeen", "Guest", "guest_findings", "read_guests"]

AT_ONCE = 8
AGENT_SECONDS = 4.0
"""Agents that are asked at once, and what one that hangs takes at most: two answers, or libvirt's greeting before one."""


@dataclass(frozen=True)
class AgentSeen:
    """`error` "": it answers. `commands` maps each command that it knows to whether it is allowed."""

    error: str = ""
    version: str = ""
    commands: Mapping[str, bool] | None = None
    frozen: str = ""


@dataclass(frozen=True)
class Guest:
    """A VM of ours on the host. `vm` is the topology's name; `agent` None: it was not asked, since the VM is off, paused or in our freeze."""

    name: str
    vm: str
    topology: str
    autostart: bool
    active: bool
    paused: str = ""
    agent: AgentSeen | None = None


def read_guests(work: Work, now: float) -> list[Guest]:
    """Every VM of ours, of whichever topology."""
    ours = look(work)[0]
    with ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="agents") as pool:
        return list(pool.map(lambda at: _guest(work, at, now), ours))


def _guest(work: Work, at: Running, now: float) -> Guest:
    definition = at.note.definition
    # In a freeze of ours the agent does little else, and must not be disturbed.
    asked = at.active and not at.paused and not is_frozen(at.note, now)
    return Guest(
        definition.name,
        definition.vm,
        definition.owner.topology,
        bool(at.domain.isPersistent()) and bool(at.domain.autostart()),
        at.active,
        at.detail if at.paused else "",
        _ask(Agent(work, at.domain)) if asked else None,
    )


def _ask(agent: Agent) -> AgentSeen:
    try:
        said: Mapping[str, Any] = agent.ask("guest-info")
        # An agent without the command says so, and the rest of what it said still holds.
        frozen = str(agent.ask("guest-fsfreeze-status")) if _allows(said, "guest-fsfreeze-status") else ""
    except (AgentSilent, AgentRefused) as error:
        return AgentSeen(str(error).rstrip("."))
    commands = {str(c["name"]): bool(c["enabled"]) for c in said.get("supported_commands", ())}
    return AgentSeen("", str(said.get("version", "")), commands, frozen)


def _allows(said: Mapping[str, Any], command: str) -> bool:
    return any(c["name"] == command and c["enabled"] for c in said.get("supported_commands", ()))


def guest_findings(host: str, guest: Guest, use: VmUse | None) -> list[Finding]:
    """`use` None: the topology knows no such VM for this host; only what could do harm is said of it."""
    subject = f"VM {guest.name}"
    found = []
    if guest.autostart:
        found.append(
            warning(
                subject,
                "autostart",
                f"It starts by itself with host {host}, though after a disaster only dr may say where it runs.",
                f"virsh autostart --disable {guest.name} there.",
            )
        )
    if use is None or not guest.active:
        return found
    if guest.paused:
        found.append(
            problem(
                subject,
                "guest",
                f"It runs on {host}, but stands still: {guest.paused}.",
                "See why, and make it go on or stop it.",
            )
        )
    elif guest.agent is not None:
        found += _agent(subject, guest.agent, use)
    return found


def _agent(subject: str, agent: AgentSeen, use: VmUse) -> list[Finding]:
    if agent.error:
        return [_silent(subject, agent, use)]
    if agent.frozen == "frozen":
        return [
            problem(
                subject,
                "agent",
                "Its file systems are frozen, and not by dr: the guest hangs in everything that it writes.",
                f"Find out who froze it, then virsh domfsthaw {subject.removeprefix('VM ')}.",
            )
        ]
    can_freeze = all(_can(agent, f"guest-fsfreeze-{what}") for what in ("freeze", "thaw", "status"))
    can_run = _can(agent, "guest-exec") and _can(agent, "guest-exec-status")
    found = [_freeze(subject, agent, use, can_freeze)]
    if not can_run and use.addresses:
        found.append(
            problem(
                subject,
                "guest-exec",
                "Its agent starts no programs, so its address cannot be set after a move to the other site.",
                "Allow guest-exec and guest-exec-status in the guest's /etc/qemu/qemu-ga.conf, or let it have its addresses by DHCP.",
            )
        )
    elif not can_run and use.application and can_freeze:
        found.append(
            warning(
                subject,
                "guest-exec",
                "Its agent starts no programs, so what thaws it if a backup dies is a process on the machine that runs dr, not one in the guest.",
                "Allow guest-exec and guest-exec-status in the guest's /etc/qemu/qemu-ga.conf, if its owner agrees.",
            )
        )
    elif can_run:
        found.append(
            ok(subject, "guest-exec", "Its agent starts programs, so the guest itself thaws if a backup dies.")
        )
    return found


def _silent(subject: str, agent: AgentSeen, use: VmUse) -> Finding:
    todo = "Install qemu-guest-agent in the guest and start it; if it is there, restart it."
    sentence = f"{agent.error[:1].upper()}{agent.error[1:]}"
    if use.health or use.addresses:
        what = (
            "without it nobody knows that the VM is well"
            if use.health
            else "without it its address is not set after a move"
        )
        return problem(subject, "agent", f"{sentence}; {what}.", todo)
    if use.application:
        return warning(
            subject, "agent", f"{sentence}, so its backups are crash-consistent, not application-consistent.", todo
        )
    return ok(subject, "agent", f"{sentence}; its plan does not need one.")


def _freeze(subject: str, agent: AgentSeen, use: VmUse, can: bool) -> Finding:
    if can or not use.application:
        return ok(subject, "agent", f"Its agent {agent.version} answers{' and can freeze' if can else ''}.")
    return warning(
        subject,
        "agent",
        f"Its agent {agent.version} answers, but may not freeze, so its backups are crash-consistent.",
        "Allow guest-fsfreeze-freeze, guest-fsfreeze-thaw and guest-fsfreeze-status in the guest's /etc/qemu/qemu-ga.conf.",
    )


def _can(agent: AgentSeen, command: str) -> bool:
    return (agent.commands or {}).get(command, False)
