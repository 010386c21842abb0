"""The guest agent (qemu-ga) of a running domain: every command with a limit, every failure one of two kinds.

Commands and their answers: https://qemu.readthedocs.io/en/latest/interop/qemu-ga-ref.html
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dr_provider.hypervisors.libvirt import failures
from dr_provider.hypervisors.libvirt.link import Work
from dr_provider.model.errors import DeviceFault, Unreachable

__all__ = ["SOON", "Agent", "AgentRefused", "AgentSilent", "Done"]

SOON = 2
"""Seconds for a command that any agent answers at once."""
_POLL = 0.05


class AgentSilent(DeviceFault):
    """No agent is connected, or it does not answer: missing, not up yet, or hung."""


class AgentRefused(DeviceFault):
    """The agent answered that it does not do the command."""


@dataclass(frozen=True)
class Done:
    """What a program in the guest ended with."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Agent:
    """The agent of a domain that runs. Raises AgentSilent and AgentRefused, and Unreachable where the host itself is silent."""

    work: Work
    domain: Any

    def ask(self, command: str, seconds: int = SOON, **arguments: object) -> Any:
        """Send a command; its `return` value."""
        work, libvirt = self.work, self.work.libvirt
        work.go_on()
        request = {"execute": command} | ({"arguments": arguments} if arguments else {})
        try:
            # libvirt greets the agent before each command, and waits 5 s for that unless told otherwise.
            self.domain.agentSetResponseTimeout(SOON, 0)
            answer = work.qemu.qemuAgentCommand(self.domain, json.dumps(request), seconds, 0)
        except libvirt.libvirtError as error:
            if not work.conn.isAlive():
                raise Unreachable(f"{work.where} fell silent: {failures.text(error)}") from error
            raise self._explain(command, error) from error
        return json.loads(answer).get("return")

    def run(self, path: str, words: Sequence[str], seconds: float = 5.0) -> Done:
        """Run a program in the guest to its end. AgentSilent where it does not end in time."""
        pid = self.spawn(path, words, capture=True)
        until = time.monotonic() + seconds
        while True:
            found = self.ask("guest-exec-status", pid=pid)
            if found["exited"]:
                return Done(int(found.get("exitcode", -1)), _text(found, "out-data"), _text(found, "err-data"))
            if time.monotonic() > until:
                raise AgentSilent(f"a program in the guest did not end within {seconds:g} s")
            time.sleep(_POLL)

    def spawn(self, path: str, words: Sequence[str], *, capture: bool = False) -> int:
        """Start a program in the guest; its process number there."""
        arguments: dict[str, Any] = {"path": path, "arg": list(words), "capture-output": capture}
        return int(self.ask("guest-exec", **arguments)["pid"])

    def ends(self, pid: int) -> bool:
        """Whether a program that this agent started has ended. True for one that it does not know (any more)."""
        try:
            return bool(self.ask("guest-exec-status", pid=pid)["exited"])
        except AgentRefused:
            return True

    def _explain(self, command: str, error: Any) -> AgentSilent | AgentRefused:
        libvirt, said = self.work.libvirt, failures.text(error)
        if failures.code(error) in (
            libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
            libvirt.VIR_ERR_AGENT_UNSYNCED,
            libvirt.VIR_ERR_OPERATION_INVALID,
            libvirt.VIR_ERR_OPERATION_TIMEOUT,
        ):
            return AgentSilent(f"its guest agent does not answer ({said})")
        return AgentRefused(f"its guest agent does not do {command} ({said})")


def _text(found: dict[str, Any], key: str) -> str:
    return base64.b64decode(found.get(key, "")).decode("utf-8", "replace")
