"""Freeze and thaw by the guest agent, with a watchdog that thaws though nobody may be there to ask for it.

Order of a freeze: the guest's own watchdog is started; the freeze is noted on the running domain; the agent freezes (and runs the
guest's freeze hooks); the count of file systems is noted. Whoever finds the note can thaw, also after this process was killed.

The proof: a thaw's answer counts the file systems that were frozen until now. Thawed by the watchdog, or by anybody else, they are
not counted, so a count as large as the freeze's says that they were frozen all along.

The watchdog thaws through the kernel, not through the agent, which then still believes that it is frozen and does little else. So a
freeze that is over by its time is first settled by a thaw (`settle`), before anything else is asked of the agent.
"""

from __future__ import annotations

import contextlib
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from dr_provider.hypervisors.base import FreezeReport
from dr_provider.hypervisors.libvirt import metadata
from dr_provider.hypervisors.libvirt.agent import SOON, Agent, AgentRefused, AgentSilent
from dr_provider.hypervisors.libvirt.link import Work
from dr_provider.hypervisors.libvirt.metadata import Freeze, Note
from dr_provider.model.errors import DeviceFault, DrError

__all__ = ["FREEZE_SECONDS", "THAW_SECONDS", "Quiesce", "is_frozen"]

FREEZE_SECONDS = 30
"""A guest that takes longer to write out is not held up any more."""
THAW_SECONDS = 10

# A process in the guest: sleeps, then thaws every file system of a device; last the kernel's own way, where `fsfreeze` is not there.
# It needs no disk for what it does after the freeze but `fsfreeze` itself, and a frozen file system can be read.
_SLEEPER = """sleep "$1" & s=$!; trap 'kill $s; exit 0' TERM; wait $s
while read -r device folder rest; do case $device in /dev/*) fsfreeze --unfreeze "$folder";; esac; done </proc/mounts 2>/dev/null
echo j >/proc/sysrq-trigger"""


def is_frozen(note: Note, now: float) -> bool:
    """Whether the guest is held by a freeze of ours, as far as its time tells."""
    return note.freeze is not None and now < note.freeze.until


@dataclass(frozen=True)
class Quiesce:
    """One running domain of ours. `watch` starts a watchdog on this machine, for a guest that cannot have one: (VM, token, seconds)."""

    work: Work
    domain: Any
    note: Note
    watch: Callable[[str, str, float], None]
    now: Callable[[], float]

    @property
    def agent(self) -> Agent:
        return Agent(self.work, self.domain)

    def freeze(self, thaw_after: float) -> FreezeReport:
        """Freeze, and say what was reached; what cannot be frozen is left as it is, at crash level. Raises Unreachable."""
        try:
            held = self.agent.ask("guest-fsfreeze-status") == "frozen"
            if held and is_frozen(self.note, self.now()):
                # Frozen all along for both who asked. Its watchdog cannot be told to wait longer; thaw says what came of it.
                return FreezeReport("application")
            if held and self.note.freeze is None:
                return FreezeReport("crash", reason="its file systems were frozen already, by somebody else")
            note = self._settled()
            return self._freeze(note, thaw_after)
        except (AgentSilent, AgentRefused) as error:
            return FreezeReport("crash", reason=_why(error))

    def thaw(self) -> bool:
        """Thaw; True: every file system had been frozen until now. Raises DeviceFault where it cannot be known, since the agent is silent."""
        freeze = self.note.freeze
        try:
            count = int(self.agent.ask("guest-fsfreeze-thaw", THAW_SECONDS))
        except (AgentSilent, AgentRefused) as error:
            if freeze is None:
                return False
            raise DeviceFault(f"VM {self.domain.name()}: it could not be thawed: {_why(error)}") from error
        if freeze is None:
            return False
        self._note(replace(self.note, freeze=None))
        self._end(freeze)
        return freeze.count is not None and count >= freeze.count > 0

    def settle(self) -> None:
        """Before something else is asked of the agent: end a freeze. An agent that is silent is left to whoever asks it next."""
        if self.note.freeze is not None:
            with contextlib.suppress(AgentSilent, AgentRefused):
                self._settled()

    # -- parts of them ---------------------------------------------------------------------------

    def _settled(self) -> Note:
        """The note without a freeze; one that was there is over."""
        if self.note.freeze is None:
            return self.note
        self.agent.ask("guest-fsfreeze-thaw", THAW_SECONDS)
        note = replace(self.note, freeze=None)
        self._note(note)
        self._end(self.note.freeze)
        return note

    def _freeze(self, note: Note, thaw_after: float) -> FreezeReport:
        seconds = max(1, math.ceil(thaw_after))
        freeze = Freeze(uuid.uuid4().hex, self.now() + seconds, self._sleeper(seconds))
        if freeze.sleeper is None:
            self.watch(self.domain.name(), freeze.token, float(seconds))
        self._note(replace(note, freeze=freeze))
        try:
            count = int(self.agent.ask("guest-fsfreeze-freeze", min(FREEZE_SECONDS, max(SOON, seconds))))
            if count > 0:
                self._note(replace(note, freeze=replace(freeze, count=count)))
                return FreezeReport("application")
        except DrError as error:
            # It may be frozen all the same, or be in the middle of it.
            self._undo(note, freeze)
            if not isinstance(error, AgentSilent | AgentRefused):
                raise
            return FreezeReport("crash", reason=_why(error))
        self._undo(note, freeze)
        return FreezeReport("crash", reason="its guest agent found no file system that it can freeze")

    def _undo(self, note: Note, freeze: Freeze) -> None:
        with contextlib.suppress(AgentSilent, AgentRefused):
            self.agent.ask("guest-fsfreeze-thaw", THAW_SECONDS)
            self._note(note)
            self._end(freeze)

    def _sleeper(self, seconds: int) -> int | None:
        """Start the watchdog in the guest; None where the agent starts no programs (or the guest has no shell)."""
        try:
            pid = self.agent.spawn("/bin/sh", ["-c", _SLEEPER, "thaw", str(seconds)])
            return None if self.agent.ends(pid) else pid
        except AgentRefused:
            return None

    def _end(self, freeze: Freeze) -> None:
        """Its watchdog must not end a later freeze. One that has ended is left alone: its number may be another's by now."""
        if freeze.sleeper is None:
            return
        with contextlib.suppress(AgentSilent, AgentRefused):
            if not self.agent.ends(freeze.sleeper):
                self.agent.spawn("/bin/sh", ["-c", 'kill "$1"', "thaw", str(freeze.sleeper)])

    def _note(self, note: Note) -> None:
        metadata.write(self.work, self.domain, note, live=True, config=False)


def _why(error: DrError) -> str:
    return str(error).rstrip(".")
