"""Callouts and prompts of a plan as typed data. Durations in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["CalloutSpec", "Place", "PromptSpec", "RemoteSpec", "ScriptSpec"]


@dataclass(frozen=True)
class Place:
    """Where a callout or prompt hooks in: `phase` is "move" for the whole, else the phase; `tier` (from 1) or `vm`: only that one's part of it."""

    when: Literal["before", "after"]
    phase: str
    tier: int | None = None
    vm: str | None = None

    def __str__(self) -> str:
        """As a sentence says it: `before tier 1 starts`, `after the commit`."""
        if self.vm is None and self.tier is None:
            return f"{self.when} the {self.phase}"
        what = f"VM {self.vm}" if self.vm is not None else f"tier {self.tier}"
        if self.when == "before":
            return f"before {what} {'starts' if self.phase == 'start' else 'is stopped'}"
        return f"after {what} {'has started' if self.phase == 'start' else 'was stopped'}"


@dataclass(frozen=True)
class ScriptSpec:
    """A script's template, and the file that it came from (for messages)."""

    file: str
    text: str


@dataclass(frozen=True)
class RemoteSpec:
    """A machine that is reached over SSH. `host_key`: type and key, as known_hosts has them."""

    host: str
    host_key: str
    port: int = 22
    user: str = "root"


@dataclass(frozen=True)
class CalloutSpec:
    """A command that a move runs, or (`by` pulumi) the stack after it, on `remote` or where `up` runs; `at_first`: for the epoch in force when it is declared too.

    `environment`: references by variable; `values`: templates of what is no secret. Times in seconds.
    """

    name: str
    place: Place
    kinds: tuple[str, ...]
    command: tuple[str, ...]
    script: ScriptSpec | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60.0
    retries: int = 0
    retry_delay: float = 5.0
    on_error: Literal["stop", "continue"] = "stop"
    by: Literal["executor", "pulumi"] = "executor"
    at_first: bool = False
    remote: RemoteSpec | None = None


@dataclass(frozen=True)
class PromptSpec:
    """A question at which a move waits. `timeout` in seconds; `default`: what counts when nobody has answered by then."""

    name: str
    place: Place
    kinds: tuple[str, ...]
    text: str
    timeout: float = 900.0
    default: Literal["continue", "stop"] = "stop"
