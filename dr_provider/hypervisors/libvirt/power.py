"""Starting a domain and asking it to stop: what libvirt and QEMU say, in words of ours."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

from dr_provider.hypervisors.libvirt import failures
from dr_provider.hypervisors.libvirt.agent import SOON, Agent, AgentRefused, AgentSilent
from dr_provider.hypervisors.libvirt.domain import disk_what, secret_name
from dr_provider.hypervisors.libvirt.iscsi import parse_target
from dr_provider.hypervisors.libvirt.link import Work
from dr_provider.model import credentials
from dr_provider.model.errors import Conflict, DeviceFault, DrError
from dr_provider.model.vm import VmDefinition

__all__ = ["START_SECONDS", "ask_to_stop", "end", "passwords", "power_on", "secrets_there"]

START_SECONDS = 30.0
"""A start that takes longer waits for a disk whose array is silent."""


def passwords(definition: VmDefinition) -> dict[str, str]:
    """CHAP passwords by disk role, from their references, on this machine. Raises BadInput naming the reference."""
    found = dict[str, str]()
    for disk in definition.disks:
        what = disk_what(definition, disk)
        target = parse_target(disk.target, what)
        if target.secret is not None:
            found[disk.role] = credentials.resolve(target.secret, what)
    return found


@contextlib.contextmanager
def secrets_there(work: Work, definition: VmDefinition, values: dict[str, str]) -> Iterator[None]:
    """The passwords as libvirt secrets, in the memory of its daemon only, for as long as QEMU needs them: it reads them when it starts."""
    made = list[Any]()
    try:
        for role, value in values.items():
            name = secret_name(definition.name, role)
            xml = (
                f"<secret ephemeral='yes' private='yes'><uuid>{uuid.uuid5(uuid.NAMESPACE_URL, name)}</uuid>"
                f"<usage type='iscsi'><target>{name}</target></usage></secret>"
            )
            work.go_on()
            secret = work.conn.secretDefineXML(xml, 0)
            made.append(secret)
            secret.setValue(value.encode(), 0)
        yield
    finally:
        for secret in made:
            # Another start of the same VM may have taken it away already.
            with contextlib.suppress(work.libvirt.libvirtError):
                secret.undefine()


def power_on(work: Work, domain: Any, definition: VmDefinition) -> None:
    """Start a domain, from cold: memory that was saved belongs to other disks. Raises Conflict naming the LUN that cannot be used."""
    libvirt = work.libvirt
    work.go_on()
    try:
        domain.createWithFlags(libvirt.VIR_DOMAIN_START_FORCE_BOOT)
    except libvirt.libvirtError as error:
        if not work.conn.isAlive() or domain.isActive():
            if work.conn.isAlive():
                return  # started by somebody else at the same time
            raise
        raise _explain(work, definition, failures.text(error)) from error


def _explain(work: Work, definition: VmDefinition, said: str) -> DrError:
    start = f"VM {definition.name} on {work.where}"
    targets = {f"{d.volume}/{d.lun}": parse_target(d.target, disk_what(definition, d)) for d in definition.disks}
    named = [lun for lun, target in targets.items() if _names(said, target.iqn) or target.device in said]
    if not named and "iscsi" in said.casefold():
        named = list(targets)
    if not named:
        return DeviceFault(f"{start} could not be started: {said}")
    luns = f"LUN {named[0]}" if len(named) == 1 else f"one of the LUNs {', '.join(named)}"
    return Conflict(
        f"{start}: {luns} cannot be opened (not mapped to this host, offline, not writable, its CHAP password refused, or its array is silent): {_short(said)}"
    )


def _names(said: str, iqn: str) -> bool:
    """Whether QEMU speaks of the target: one IQN may be the beginning of another."""
    at = said.find(iqn)
    while at >= 0:
        if said[at + len(iqn) : at + len(iqn) + 1] not in {*"abcdefghijklmnopqrstuvwxyz0123456789.:-"}:
            return True
        at = said.find(iqn, at + 1)
    return False


def _short(said: str) -> str:
    """QEMU repeats its whole argument before it says what is wrong."""
    return said.rpartition("}: ")[2] or said


def ask_to_stop(work: Work, domain: Any) -> None:
    """Ask the guest to shut down: its agent, and the power button where the agent is not there or does not do it."""
    libvirt = work.libvirt
    try:
        Agent(work, domain).ask("guest-shutdown", SOON, mode="powerdown")
    except AgentSilent:
        # It answers nothing when it does it, so this may be the silence of a guest that goes.
        if not domain.isActive():
            return
    except AgentRefused:
        pass
    work.go_on()
    try:
        domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
    except libvirt.libvirtError as error:
        # It went meanwhile, or it cannot be asked: then it is ended hard when its time is over.
        if failures.code(error) not in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN):
            raise


def end(work: Work, domain: Any) -> None:
    """End it at once. Raises DeviceFault where its process does not go."""
    libvirt = work.libvirt
    work.go_on()
    try:
        domain.destroy()
    except libvirt.libvirtError as error:
        if failures.code(error) == libvirt.VIR_ERR_NO_DOMAIN:
            return
        if not work.conn.isAlive() or domain.isActive():
            raise
