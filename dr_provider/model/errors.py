"""The one tree of errors.

Every message names the object, what was wanted, what was found and what to do next, in plain
sentences that a tired operator understands. `exit_status` is what the `dr` command ends with: 2 where
the user's files or words are wrong and nothing was done, 1 for all else.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ArrayFull",
    "BadInput",
    "Busy",
    "Conflict",
    "CorruptRecord",
    "DeviceFault",
    "Diverged",
    "DrError",
    "HostFull",
    "LeaseHeld",
    "LeaseLost",
    "MoveFailed",
    "MoveInProgress",
    "NoCommonSnapshot",
    "NotFound",
    "NotReady",
    "NothingToSend",
    "Problem",
    "Refused",
    "Stopped",
    "TopologyInvalid",
    "Unreachable",
]


class DrError(Exception):
    """Root of all errors of this project."""

    exit_status = 1


# -- the user's files and words ---------------------------------------------------------------


class BadInput(DrError):
    """A file, an option or a config value is wrong; nothing was done."""

    exit_status = 2


@dataclass(frozen=True)
class Problem:
    """One fault of a document: where it is, what is wrong, and what would be right."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class TopologyInvalid(BadInput):
    """A topology document has faults; `problems` lists every one."""

    def __init__(self, source: str, problems: tuple[Problem, ...]) -> None:
        self.source = source
        self.problems = problems
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        super().__init__(f"{source}: {count}; nothing was done.\n" + "\n".join(f"  {p}" for p in problems))


# -- the other side ---------------------------------------------------------------------------


class Unreachable(DrError):
    """An array or a host gave no answer. It is not gone: nothing is known about it."""


class NotReady(DrError):
    """Something answers in an array's or a host's place, but not as the one that was pinned; treated as unreachable.

    `missing`: nothing at all is in its place, and `create()` may make it (where nothing holds a pin for it).
    """

    def __init__(self, message: str, *, missing: bool = False) -> None:
        self.missing = missing
        super().__init__(message)


class DeviceFault(DrError):
    """An array or a host answered that it could not do the call; doing it again may work."""


class NotFound(DrError):
    """A positive answer: the object is not there."""


class Conflict(DrError):
    """The object is there and is another's, or is not in the state that the call needs."""


class Busy(Conflict):
    """The object is in use (a mapped LUN, a held snapshot, a clone that depends on it)."""


class ArrayFull(DrError):
    """The array has no room for what the call would write."""


class HostFull(DrError):
    """The host has not the CPUs or the memory that the call would take."""


class CorruptRecord(DrError):
    """A record or a file cannot be read as what it should be."""


# -- replication conflicts, typed -------------------------------------------------------------


class NoCommonSnapshot(Conflict):
    """Two copies of a volume have no snapshot in common: only a full copy brings them together."""


class Diverged(Conflict):
    """The destination holds data newer than the newest common snapshot."""


class NothingToSend(Conflict):
    """The destination has all that the source has."""


# -- the reconciler ---------------------------------------------------------------------------


class Refused(DrError):
    """A move or another change is refused; `reasons` holds a sentence each."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        self.reasons = reasons
        super().__init__("\n".join(reasons))


class MoveFailed(DrError):
    """A move did not get to its commit, or a plan was not made; `reasons` holds what failed, and last what stands now."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        self.reasons = reasons
        super().__init__("\n".join(reasons))


class LeaseHeld(DrError):
    """Another reconciler works on the plan."""


class LeaseLost(DrError):
    """Another reconciler has taken the plan over while this one was not looking; it must change nothing more."""


class MoveInProgress(DrError):
    """The plan has an open claim: a move is under way, and this call must wait for its end."""


class Stopped(DrError):
    """The run was asked to stop (Ctrl-C, or the engine is gone) and ended at a safe action."""
