"""Runs a decision's actions as a graph, as wide as their dependencies allow; arrays and hosts bound their own width.

Of those that could start, the one with the longest chain behind it goes first: a VM of the first tier is started before one of the
last is attached.

Invariants: an action starts only when all before it have ended; what waits for a failed needed action is skipped, with the reason; a
request to stop (or a lost lease) starts nothing more, lets what runs end, and says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Literal

from dr_provider.model.errors import DrError, LeaseLost, MoveInProgress, Stopped
from dr_provider.reconcile.decision import Action

__all__ = ["Event", "GraphResult", "critical_path", "run_graph"]


@dataclass(frozen=True)
class Event:
    """What happened to an action. `seconds` is how long it took; `detail` what it says of itself, or why it failed or was skipped."""

    what: Literal["start", "done", "failed", "skipped"]
    action: Action
    seconds: float = 0.0
    detail: str = ""


@dataclass
class GraphResult:
    done: list[str] = field(default_factory=list)
    failed: dict[str, DrError] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    fatal: DrError | None = None


def run_graph(
    actions: Sequence[Action],
    perform: Callable[[Action], str],
    *,
    width: int,
    stop: Callable[[], str | None],
    tell: Callable[[Event], None],
    clock: Callable[[], float] = time.monotonic,
) -> GraphResult:
    """Run them all. `perform` does one action and returns a remark (often empty); a DrError from it is that action's failure."""
    result = GraphResult()
    width = max(1, width)
    by_id = {action.id: action for action in actions}
    waits = {action.id: {i for i in (*action.after, *action.last) if i in by_id} for action in actions}
    order = _order(actions, waits)
    dependants: dict[str, list[str]] = {action.id: [] for action in actions}
    for action_id, before in waits.items():
        for other in before:
            dependants[other].append(action_id)
    ready = [i for i, before in waits.items() if not before]
    running: dict[Future[str], tuple[Action, float]] = {}
    over: SimpleQueue[Future[str]] = SimpleQueue()

    def ended(action_id: str, *, blocks: str) -> None:
        """Let dependants go on, or skip them and theirs where `blocks` says why."""
        for other in dependants[action_id]:
            if other in result.skipped:
                continue
            if blocks and action_id in by_id[other].after:
                result.skipped[other] = blocks
                tell(Event("skipped", by_id[other], detail=blocks))
                ended(other, blocks=blocks if by_id[other].needed else "")
            else:
                waits[other].discard(action_id)
                if not waits[other]:
                    ready.append(other)

    with ThreadPoolExecutor(max_workers=width, thread_name_prefix="action") as pool:
        while ready or running:
            reason = stop() if result.fatal is None else None
            if reason is not None:
                result.fatal = Stopped(reason)
            if result.fatal is None:
                ready.sort(key=order.__getitem__)
                now, ready[:] = ready[: width - len(running)], ready[width - len(running) :]
                for action_id in now:
                    action = by_id[action_id]
                    tell(Event("start", action))
                    future = pool.submit(perform, action)
                    running[future] = (action, clock())
                    future.add_done_callback(over.put)
            else:
                ready.clear()
            if not running:
                break
            for future in _some(over):
                action, started = running.pop(future)
                seconds = clock() - started
                try:
                    remark = future.result()
                except DrError as error:
                    tell(Event("failed", action, seconds, str(error)))
                    result.failed[action.id] = error
                    if isinstance(error, LeaseLost | MoveInProgress | Stopped):
                        result.fatal = error
                    ended(action.id, blocks=f"{action.sentence}: failed" if action.needed else "")
                else:
                    tell(Event("done", action, seconds, remark))
                    result.done.append(action.id)
                    ended(action.id, blocks="")
    return result


def _some(over: SimpleQueue[Future[str]]) -> list[Future[str]]:
    """Those that are over, in the order in which they ended; none after half a second, so that a request to stop is heard."""
    found: list[Future[str]] = []
    try:
        found.append(over.get(timeout=0.5))
        while True:
            found.append(over.get_nowait())
    except Empty:
        return found


def _order(actions: Sequence[Action], waits: Mapping[str, set[str]]) -> dict[str, tuple[int, int, int]]:
    """What goes first: the longest chain behind, then what is furthest on its way, then as decided. Actions stand after what they wait for."""
    depth: dict[str, int] = {}
    behind = dict.fromkeys(waits, 0)
    for action in actions:
        depth[action.id] = 1 + max((depth.get(i, 0) for i in waits[action.id]), default=0)
    for action in reversed(actions):
        for other in waits[action.id]:
            behind[other] = max(behind[other], behind[action.id] + 1)
    return {action.id: (-behind[action.id], -depth[action.id], index) for index, action in enumerate(actions)}


def critical_path(actions: Sequence[Action], seconds: Callable[[Action], float]) -> float:
    """Seconds of the longest chain; actions stand after what they wait for."""
    end: dict[str, float] = {}
    for action in actions:
        before = (*action.after, *action.last)
        end[action.id] = max((end.get(i, 0.0) for i in before), default=0.0) + seconds(action)
    return max(end.values(), default=0.0)
