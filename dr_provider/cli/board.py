"""A move as it goes, on a terminal: what each phase, tier and VM has come to. Elsewhere a run says a line a step instead.

The picture is made of plain lines by pure functions; the terminal shows them anew some times a second, and nothing of it stays at the end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from textwrap import wrap
from typing import TYPE_CHECKING

from dr_provider.cli.paper import span
from dr_provider.cli.show_move import KINDS, way
from dr_provider.model import stopping

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dr_provider.cli.common import Session
    from dr_provider.model.topology import PlanSpec, Topology
    from dr_provider.reconcile.decision import Action, Decision
    from dr_provider.reconcile.graph import Event
    from dr_provider.reconcile.world import World

__all__ = ["Course", "lines", "live"]

_PER_SECOND = 4
_UNDER_WAY = 3
"""Steps under way that are named; of more the oldest."""
_WORDS = {"stop": ("stopping", "stopped"), "attach": ("mapping", "mapped"), "start": ("starting", "runs")}

Line = tuple[str, str]
"""A line and its style."""


@dataclass
class Course:
    """A run so far: of each step that has begun or ended, by id, what it came to and since when (monotonic seconds)."""

    decision: Decision
    began: float
    steps: dict[str, tuple[str, float]] = field(default_factory=dict)

    def ended(self, action: Action) -> bool:
        return self.what(action) not in ("", "start")

    def what(self, action: Action) -> str:
        return self.steps.get(action.id, ("", 0.0))[0]

    def since(self, action: Action) -> float:
        return self.steps[action.id][1]


def lines(course: Course, spec: PlanSpec, now: float, room: int, width: int) -> list[Line]:
    """The picture of one run in a terminal so high and wide: a VM each where there is room, else a tier each."""
    head = [_title(course, now), *_phases(course, width)]
    under_way = _under_way(course, now)[: max(0, room - len(head) - len(spec.tiers))]
    left = room - len(head) - len(under_way)
    each = _each(course, spec, now)
    return [*head, *(each if len(each) <= left else _tiers(course, spec)), *under_way]


def _title(course: Course, now: float) -> Line:
    decision = course.decision
    about = f" of about {span(decision.estimate)}" if decision.estimate is not None else ""
    return (
        f"{decision.plan}: {KINDS.get(decision.kind, decision.kind)}{way(decision.from_site, decision.to_site)}: {span(int(now - course.began))}{about}",
        "bold",
    )


def _phases(course: Course, width: int) -> list[Line]:
    """How far each group of steps is, in the order in which they come."""
    groups: dict[str, list[Action]] = {}
    for action in course.decision.actions:
        groups.setdefault(action.group, []).append(action)
    said = [
        f"{name} {sum(map(course.ended, actions))}/{len(actions)}"
        + (" FAILED" if any(course.what(action) == "failed" for action in actions) else "")
        for name, actions in groups.items()
    ]
    # A phase and its count stay together.
    rows = wrap(
        "  ".join(one.replace(" ", "\N{NO-BREAK SPACE}") for one in said), max(20, width - 2), break_on_hyphens=False
    )
    return [(f"  {row}", "") for row in rows]


def _each(course: Course, spec: PlanSpec, now: float) -> list[Line]:
    shown = []
    for number, tier in enumerate(spec.tiers, 1):
        lead = f"tier {number}"
        for vm in tier.members:
            told = _standing(course, vm, now)
            if told is not None:
                state, host, style = told
                shown.append((f"  {lead:<8} {vm:<20} {host:<12} {state}".rstrip(), style))
                lead = ""
    return shown


def _tiers(course: Course, spec: PlanSpec) -> list[Line]:
    shown = []
    for number, tier in enumerate(spec.tiers, 1):
        states: dict[str, list[str]] = {}
        for vm in tier.members:
            told = _standing(course, vm, None)
            if told is not None:
                states.setdefault(told[0], []).append(vm)
        if states:
            said = ", ".join(
                f"{len(vms)} {state}" + (f" ({', '.join(vms[:3])})" if state in ("FAILED", "starting") else "")
                for state, vms in states.items()
            )
            shown.append((f"  tier {number}   {said}", "red" if "FAILED" in states else ""))
    return shown


def _standing(course: Course, vm: str, now: float | None) -> tuple[str, str, str] | None:
    """What a VM has come to, on which host, and its style; None: nothing is to be done with it. `now` None: without seconds."""
    steps = {a.verb: a for a in course.decision.actions if a.of.get("vm") == vm and a.verb in _WORDS}
    if not steps:
        return None
    state, host, style = "waits", "", "dim"
    for verb, (doing, done) in _WORDS.items():
        action = steps.get(verb)
        what = course.what(action) if action is not None else ""
        if action is None or not what:
            continue
        host = action.of["host"]
        if what == "failed":
            return "FAILED", host, "red"
        if what == "skipped":
            return "not started" if verb != "stop" else "not stopped", host, "yellow"
        style = "green" if (verb, what) == ("start", "done") else ""
        state = done if what == "done" else doing
        if what == "start" and now is not None:
            seconds = int(now - course.since(action))
            state = f"{doing} {span(seconds)}" if seconds else doing
    return state, host, style


def _under_way(course: Course, now: float) -> list[Line]:
    running = [a for a in course.decision.actions if course.what(a) == "start" and a.verb not in _WORDS]
    running.sort(key=course.since)
    said = [(f"  now: {a.sentence} ({span(int(now - course.since(a)))})", "") for a in running[:_UNDER_WAY]]
    return said if len(running) <= _UNDER_WAY else [*said, (f"  and {len(running) - _UNDER_WAY} more steps", "")]


class _Board:
    def __init__(self, session: Session, topology: Topology, clock: Callable[[], float]) -> None:
        self._session = session
        self._topology = topology
        self._clock = clock
        self._lock = threading.Lock()
        self._courses: dict[str, Course] = {}

    def step(self, decision: Decision, event: Event, line: str) -> None:
        with self._lock:
            course = self._courses.get(decision.plan)
            if course is None or course.decision is not decision:
                # Leading back is a decision of its own.
                began = course.began if course is not None else self._clock()
                course = self._courses[decision.plan] = Course(decision, began)
            course.steps[event.action.id] = (event.what, self._clock())
        if line and (self._session.verbose or event.what != "done"):
            self._session.progress(line)

    def picture(self) -> RenderableType:
        from rich.text import Text

        console = self._session.err.console
        with self._lock:
            courses = list(self._courses.values())
            room = max(3, (console.height - 3) // max(1, len(courses)))
            shown = [
                line
                for course in courses
                for line in lines(
                    course, self._topology.plans[course.decision.plan], self._clock(), room, console.width
                )
            ]
        if shown and stopping.requested() is not None:
            shown.append(
                (f"  {stopping.requested()}: ending at the next safe action; once more ends at once", "yellow")
            )
        text = [Text(line, style=style) for line, style in _fit(shown, console.height - 2)]
        return Text("\n", no_wrap=True, overflow="ellipsis").join(text)


def _fit(shown: Sequence[Line], room: int) -> Sequence[Line]:
    return shown if len(shown) <= room else [*shown[: room - 1], (f"  and {len(shown) - room + 1} more lines", "dim")]


@contextmanager
def live(session: Session, *worlds: World, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """While this lasts, the steps of the worlds' runs are a picture on the terminal; where stderr is none, lines as ever."""
    console = session.err.console
    if not session.err.terminal or console.is_dumb_terminal:
        yield
        return
    from rich.live import Live

    board = _Board(session, worlds[0].topology, clock)
    for world in worlds:
        world.watch = board.step
    try:
        with Live(console=console, get_renderable=board.picture, refresh_per_second=_PER_SECOND, transient=True):
            yield
    finally:
        for world in worlds:
            world.watch = None
