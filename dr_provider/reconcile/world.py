"""What every command and resource starts from: a topology, its fleet, who acts, and where progress goes."""

from __future__ import annotations

import getpass
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from dr_provider.arrays.base import Fabric
from dr_provider.arrays.embedded.blocks import connect
from dr_provider.arrays.registry import open_array
from dr_provider.arrays.witness import open_witness
from dr_provider.hypervisors.registry import open_host
from dr_provider.model.errors import BadInput
from dr_provider.model.plain import plain
from dr_provider.model.state import Observation
from dr_provider.model.topology import Topology
from dr_provider.protection.fleet import Fleet
from dr_provider.reconcile.stored import stored_differs
from dr_provider.reconcile.view import PlanView, plan_view

if TYPE_CHECKING:
    from dr_provider.reconcile.decision import Decision
    from dr_provider.reconcile.graph import Event

__all__ = ["World", "open_world", "who"]

Progress = Callable[[str], None]
Watch = Callable[["Decision", "Event", str], None]
Typed = Callable[[], Literal["continue", "stop"] | None]
"""What was typed since, if anything."""
Asking = Callable[[str], AbstractContextManager[Typed]]
"""Ask for an answer to the prompt ("PLAN PROMPT"), until the context is left."""


def who() -> str:
    """The operator as records name them: user@machine, and who approved it where that was a matter of its own (DR_APPROVED_BY, set by CI)."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    approver = " ".join(plain(os.environ.get("DR_APPROVED_BY", "")).split())[:100]
    return f"{user}@{socket.gethostname()}{f', approved by {approver}' if approver else ''}"


def _quiet(_line: str) -> None:
    return None


@contextmanager
def _nobody_here(_prompt: str) -> Iterator[Typed]:
    yield lambda: None


@dataclass
class World:
    """`by` names who acts in records; `stack` is "project/stack", or "" without Pulumi.

    One observation is shared until `refresh`; those who were silent stay silent for the life of the process (SPEC.md, silence).
    """

    topology: Topology
    fleet: Fleet
    by: str
    stack: str = ""
    progress: Progress = _quiet
    watch: Watch | None = None
    """Told of every step of a run, with the line on it for people (empty: none) in the place of `progress`."""
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    asking: Asking = field(default=_nobody_here)
    """How a prompt is asked on the terminal where the move runs."""
    reported: dict[str, str] = field(default_factory=dict)
    """The page of the last report that was written on a plan."""
    _seen: Observation | None = None
    _at: float = 0.0
    _changed: dict[str, bool] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def look(self, *, refresh: bool = False, younger: float | None = None) -> Observation:
        """The shared observation; a new one with `refresh`, or where it is not `younger` than so many seconds (of those who have answered so far)."""
        with self._lock:
            if self._seen is None or refresh or (younger is not None and self.monotonic() - self._at >= younger):
                self._at = self.monotonic()
                self._seen = self.fleet.observe()
            return self._seen

    def view(self, plan: str, *, refresh: bool = False) -> PlanView:
        """The plan in the shared observation. Raises BadInput for a plan that is not in the topology."""
        if plan not in self.topology.plans:
            known = ", ".join(sorted(self.topology.plans)) or "none"
            raise BadInput(
                f"plan {plan!r} is not in topology {self.topology.name}; its plans: {known}; nothing was done"
            )
        return plan_view(self.topology, plan, self.look(refresh=refresh))

    def topology_changed(self, plan: str) -> bool:
        """Whether the plan's answering arrays store another topology than this one; asked once a process (a call an array)."""
        if plan not in self._changed:
            arrays = self.topology.plan_arrays(plan)
            self._changed[plan] = stored_differs(self.topology, self.fleet, self.look(), arrays)
        return self._changed[plan]

    def step(self, decision: Decision, event: Event, line: str) -> None:
        if self.watch is not None:
            self.watch(decision, event, line)
        elif line:
            self.progress(line)

    def close(self) -> None:
        self.fleet.close()


def open_world(
    topology: Topology,
    *,
    stack: str = "",
    progress: Progress = _quiet,
    pins: Mapping[str, str] | None = None,
    by: str | None = None,
    vantage: str = "",
) -> World:
    """A world on the topology's own drivers. `pins`: own ids of arrays that a stack's state remembers. `vantage`: the site that is looked
    from, which decides what embedded drivers reach ("": the operator's place)."""
    fabric = Fabric.of(topology, vantage)
    fleet = Fleet(
        topology,
        lambda spec, timeout: open_array(spec, timeout=timeout, fabric=fabric),
        lambda spec, timeout: open_host(spec, connect=connect, timeout=timeout, vantage=vantage),
        pins,
        lambda spec, timeout, array: open_witness(spec, timeout=timeout, array=array, vantage=vantage),
    )
    actor = by or (f"stack {stack} ({who()})" if stack else f"dr ({who()})")
    return World(topology, fleet, actor, stack, progress)
