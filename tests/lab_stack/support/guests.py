"""A guest, asked through its agent inside its own host; whatever the product does, it is not asked."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import dataclass
from typing import Any

from lab.layout import LabError
from lab.machines import Machine
from tests.lab_stack.support.machines import wait

__all__ = ["Guest", "Ledger"]


@dataclass(frozen=True)
class Ledger:
    """`last`: number of the last entry on the disk; `boots`: hosts on which the guest has booted with this disk, in order."""

    last: int
    buffered: int
    intact: bool
    boots: tuple[str, ...]
    frozen: bool = False
    problem: str = ""


@dataclass(frozen=True)
class Guest:
    """The guest of that name on that host."""

    host: Machine
    name: str

    def agent(self, command: str, **arguments: Any) -> Any:
        """Raises LabError where the agent does not answer, or does not do it."""
        request = json.dumps({"execute": command, **({"arguments": arguments} if arguments else {})})
        return json.loads(
            self.host.exec(["virsh", "-q", "qemu-agent-command", "--timeout", "10", self.name, request]).out
        )["return"]

    def start(self, *words: str) -> int:
        """Start a program in the guest; its process number there."""
        return int(self.agent("guest-exec", path=words[0], arg=list(words[1:]), **{"capture-output": True})["pid"])

    def run(self, *words: str) -> str:
        """Run a program in the guest; what it printed. Fails where it does."""
        pid = self.start(*words)
        ended = wait(f"{words} in guest {self.name}", lambda: self._ended(pid))
        out, err = (b64decode(ended.get(f"{stream}-data", "")).decode(errors="replace") for stream in ("out", "err"))
        assert ended["exitcode"] == 0, f"guest {self.name}: {words} ended with {ended['exitcode']}: {err or out}"
        return out

    def _ended(self, pid: int) -> dict[str, Any] | None:
        found: dict[str, Any] = self.agent("guest-exec-status", pid=pid)
        return found if found["exited"] else None

    def ledger(self, *words: str) -> Ledger:
        """Say something to the guest's application; how its ledger stands then."""
        said = json.loads(self.run("/bin/ledger", *(words or ("state",))))
        return Ledger(
            said["last"],
            said["buffered"],
            said["intact"] is True,
            tuple(name for name in said["boots"].split(",") if name),
            said["frozen"],
            said["problem"],
        )

    def answers(self) -> bool:
        try:
            self.agent("guest-ping")
        except LabError:
            return False
        return True

    def has_ledger(self) -> bool:
        """Whether its application is up; the agent is a little earlier."""
        return "ledger.sock" in self.run("/bin/ls", "/run").split()

    def thawed(self) -> bool:
        return bool(self.agent("guest-fsfreeze-status") == "thawed")

    def writable(self) -> bool:
        """Whether the file system takes a write at once: the kernel's word, which an agent that believes otherwise cannot turn."""
        self.run("/bin/sh", "-c", "echo yes > /data/probe && sync")
        return True
