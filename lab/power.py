"""A machine's power switch: one `unshare` process, and the PID namespace behind it.

Killing the namespace's PID 1 ends every daemon and guest in it, and the kernel drops its mounts, its network and its end of
the veth: a power failure, and the tear-down, at once. What is killed is only ever a pid whose start time is the recorded one.
The record is written by the process that is to become the machine, before it makes anything: a killed `up` leaves no machine
that nobody knows.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.layout import LabError
from lab.run import ENVIRONMENT, last_lines, wait_for

__all__ = ["Power", "Process", "boot_id", "check_kernel"]

# Field 22 of stat is the start time: the 20th after the name, which may hold anything and ends with the last ")".
_SWITCH = """
read -r stat < "/proc/$$/stat"
set -- ${stat##*) }
echo "$$ ${20} $BOOT_ID" > "$RECORD"
exec unshare --mount --net --uts --ipc --pid --fork --kill-child --mount-proc --propagation private -- \\
  bash -c 'hostname "$NAME"; trap "" TERM HUP INT; while :; do sleep 100000 & wait $!; done' init
"""

_spawned: list[subprocess.Popen[bytes]] = []
"""Kept so that those which ended are reaped by the next call."""


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _stat(pid: int) -> tuple[str, int] | None:
    """State letter and start time of a process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, UnicodeDecodeError):
        return None
    return fields[0], int(fields[19])


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@dataclass(frozen=True)
class Process:
    """A process by pid and start time, which together name it for as long as this machine runs."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        found = _stat(pid)
        return cls(pid, found[1]) if found and found[0] not in "ZX" else None

    @property
    def alive(self) -> bool:
        return self.of(self.pid) == self

    def kill(self) -> None:
        """SIGKILL, through a file descriptor of the very process: a pid that was given out again is never hit."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.alive:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)


class Power:
    """The switch of the machine whose files are in `folder`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._record = folder / "power"
        self._log = folder / "log" / "power.log"

    def _outer(self) -> Process | None:
        """The recorded `unshare`, if it lives."""
        try:
            pid, started, boot = self._record.read_text().split()
        except (OSError, ValueError):
            return None
        process = Process(int(pid), int(started))
        return process if boot == boot_id() and process.alive else None

    def init(self) -> Process | None:
        """The machine's PID 1 as this namespace sees it; None: the machine is off."""
        outer = self._outer()
        if outer is None:
            return None
        children = _children(outer.pid)
        return Process.of(children[0]) if children else None

    def on(self) -> Process:
        """Switch on; returns the machine's PID 1, with its namespaces made. Raises LabError when it does not come up."""
        self._record.unlink(missing_ok=True)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            _spawned.append(
                subprocess.Popen(
                    ["bash", "-c", _SWITCH, "switch"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    cwd="/",
                    env=ENVIRONMENT | {"RECORD": str(self._record), "BOOT_ID": boot_id(), "NAME": self.name},
                )
            )

        def ready() -> Process | None:
            # PID 1 waits for a child once it is ready: from then on all its namespaces are there, and its name is set.
            found = self.init()
            return found if found is not None and _children(found.pid) else None

        return wait_for(
            ready,
            within=10,
            otherwise=lambda: f"machine {self.name} did not get its namespaces within 10 s; {last_lines(self._log)}",
        )

    def off(self) -> None:
        """Power failure, now. Nothing when it is off. Raises LabError when the kernel does not let go of it."""
        for ended in [spawned for spawned in _spawned if spawned.poll() is not None]:
            with contextlib.suppress(ValueError):  # another machine's switch, used at the same time, was quicker
                _spawned.remove(ended)
        init, outer = self.init(), self._outer()
        for process in (init, outer):
            if process is not None:
                process.kill()
        wait_for(
            lambda: not ((init and init.alive) or (outer and outer.alive)),
            within=20,
            otherwise=lambda: f"machine {self.name} (process {init or outer}) does not end 20 s after SIGKILL",
            poll=0.005,
        )
        self._record.unlink(missing_ok=True)


def check_kernel() -> None:
    """Raises LabError where the kernel does not show a process's children, which finds a machine's PID 1."""
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        raise LabError("this kernel has no /proc/PID/task/TID/children (CONFIG_PROC_CHILDREN); the lab needs it")
