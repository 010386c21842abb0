"""Where callouts and prompts stand in a graph of actions: what they wait for, and what waits for them. Pure.

Invariants:
1. What is around a phase is around what stands before and after its VMs, too; what is around the move is around all of it.
2. Callouts of one place run side by side; prompts of that place are asked after them, one at a time.
3. A place whose part of the move is empty, or over, comes before what follows it; before a VM that is not to be started there is nothing.
4. Where one that may stop the move fails, nothing begins that comes after it, best effort or not: before the commit that is the commit and
   all behind it, after it the VMs that are still to be started. The way back (mirrors, the next recovery point) waits for none of them.
5. Leading back is stopped by none: there they are best effort.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush

from dr_provider.model.callout_specs import CalloutSpec, Place, PromptSpec
from dr_provider.model.callouts import KINDS, PHASES, hooks_of, is_for, shown, within
from dr_provider.model.topology import PlanSpec
from dr_provider.reconcile.decision import Action

__all__ = ["HOOKS", "Hook", "Moving", "key_of", "weave_into"]

Hook = CalloutSpec | PromptSpec

HOOKS = frozenset({"callout", "prompt"})
"""Their verbs."""
_VERBS: Mapping[str, frozenset[str]] = {
    "stop": frozenset({"stop"}),
    "fence": frozenset({"fence", "wait-fence", "prove", "grant"}),
    "transfer": frozenset({"final", "bring", "fetch", "choose"}),
    "break": frozenset({"keep", "break"}),
    "scan": frozenset({"online", "rescan", "scan"}),
    "commit": frozenset({"commit"}),
    "start": frozenset({"attach", "check", "start"}),
}
_RESTART = frozenset({"reserve", "isolate", *_VERBS["start"]})
_SHOWN = 80


@dataclass(frozen=True)
class Moving:
    """The move that callouts are for. `of`: what their actions are told; `ended`: keys that are over; `due`: only these (None: all that are for the
    kind); `running`: VMs that run already where the move goes to; `stopped`: those that it found running where it comes from and that are off."""

    kind: str
    of: Mapping[str, str]
    ended: frozenset[str] = frozenset()
    due: frozenset[str] | None = None
    running: frozenset[str] = frozenset()
    stopped: frozenset[str] = frozenset()


def key_of(kind: str, hook: Hook) -> str:
    return f"abort.{hook.name}" if kind == "abort" else hook.name


def weave_into(spec: PlanSpec, actions: Sequence[Action], move: Moving) -> tuple[Action, ...]:
    """The actions with those callouts and prompts that are for the move, in an order in which each stands after what it waits for."""
    chosen = [
        hook
        for hook in hooks_of(spec)
        if is_for(hook, move.kind)
        and key_of(move.kind, hook) not in move.ended
        and (move.due is None or key_of(move.kind, hook) in move.due)
    ]
    loom = _Loom(spec, move, list(actions))
    # From the inside out: what is around a phase is around what stands before and after its VMs, too.
    for place in sorted({hook.place for hook in chosen}, key=_from_inside):
        here = [hook for hook in chosen if hook.place == place]
        callouts = [hook for hook in here if isinstance(hook, CalloutSpec)]
        rounds: list[list[Hook]] = [list[Hook](callouts)] if callouts else []
        # Side by side; who is asked has seen what they came to, and is asked one thing at a time.
        rounds += [[hook] for hook in here if isinstance(hook, PromptSpec)]
        for hooks in rounds:
            loom.add(place, hooks)
    loom.halt()
    return loom.ordered()


def _from_inside(place: Place) -> tuple[int, int, str, int, str]:
    inside = 0 if place.vm is not None else 1 if place.tier is not None else 3 if place.phase == "move" else 2
    phase = PHASES.index(place.phase) if place.phase in PHASES else len(PHASES)
    return inside, phase, place.vm or "", place.tier or 0, place.when


@dataclass
class _Loom:
    spec: PlanSpec
    move: Moving
    actions: list[Action]
    places: dict[str, Place] = field(default_factory=dict)
    """By the id of a hook's action."""
    ahead: frozenset[str] = frozenset()
    """What leads to the commit, and the commit."""
    inside: frozenset[str] = frozenset()
    """What the move does under its claim."""

    def __post_init__(self) -> None:
        commit = [action.id for action in self.actions if action.verb == "commit"]
        self.ahead = self._upstream(commit)
        # What was there before the claim stays out of it.
        gate = [a.id for a in self.actions if a.verb == ("aborting" if self.move.kind == "abort" else "claim")]
        gate = gate or [a.id for a in self.actions if a.verb == "reserve" and a.id in self.ahead]
        self.inside = self._downstream(gate) if gate else frozenset(action.id for action in self.actions)

    # -- where ------------------------------------------------------------------------------------

    def add(self, place: Place, hooks: Sequence[Hook]) -> None:
        found = self._members(place)
        if place.when == "before":
            found = found or self._next(place)
            if found:
                self._before(hooks, found)
        elif found and self._whole(place):
            self._after(hooks, found)
        elif not found and self._passed(place):
            following = self._next(place)
            if following:
                self._before(hooks, following)
            else:
                self._after(hooks, frozenset(self._inner(place)))

    def _members(self, place: Place) -> frozenset[str]:
        """The actions that the place is around, with the callouts that are within it."""
        vms = within(place, self.spec)
        if place.phase == "move":
            real = {a.id for a in self.actions if a.id in self.inside and self._is_of_move(a)}
            return frozenset(real | self._inner(place))
        part = {
            action.id
            for action in self.actions
            if action.id in self.inside
            and (place.phase == "start" or action.id in self.ahead)
            and (
                action.verb == place.phase and action.of.get("vm") in vms if vms else action.verb in _VERBS[place.phase]
            )
        }
        return frozenset(part | self._inner(place)) if part else frozenset()

    def _inner(self, place: Place) -> set[str]:
        """The callouts within it. Of those of the same place, those that come after it: who is asked then has seen what they came to."""
        vms = set(within(place, self.spec) or self.spec.members)
        return {
            action_id
            for action_id, at in self.places.items()
            if place.phase in ("move", at.phase)
            and set(within(at, self.spec)) <= vms
            and (at != place or place.when == "after")
        }

    def _is_of_move(self, action: Action) -> bool:
        return action.verb in _RESTART if self.move.kind == "restart" else True

    def _next(self, place: Place) -> frozenset[str]:
        """The first phase behind an empty one that has anything to do."""
        if place.phase == "move" or (place.when == "before" and within(place, self.spec)):
            return frozenset()
        for phase in PHASES[PHASES.index(place.phase) + 1 :]:
            if phase in KINDS[self.move.kind] and (found := self._members(Place("before", phase))):
                return found
        return frozenset()

    def _whole(self, place: Place) -> bool:
        """Whether all of a tier is among the actions, or up already."""
        if place.phase != "start":
            return True
        starting = {action.of["vm"] for action in self.actions if action.verb == "start"}
        return set(within(place, self.spec)) <= starting | self.move.running

    def _passed(self, place: Place) -> bool:
        """Whether what the place comes after is over already: an earlier run did it, or there was nothing to do."""
        vms = set(within(place, self.spec))
        if not vms:
            return True
        return vms <= self.move.running if place.phase == "start" else vms <= self.move.stopped

    # -- how --------------------------------------------------------------------------------------

    def _before(self, hooks: Sequence[Hook], members: frozenset[str]) -> None:
        members = self._convex(members)
        inner = [action for action in self.actions if action.id in members]
        wait = tuple(dict.fromkeys(i for a in inner for i in (*a.after, *a.last) if i not in members))
        made = [self._action(hook, after=wait) for hook in hooks]
        roots = {a.id for a in inner if not members & {*a.after, *a.last}}
        self._wait_for(made, roots)
        at = next(index for index, action in enumerate(self.actions) if action.id in members)
        self.actions[at:at] = made

    def _after(self, hooks: Sequence[Hook], members: frozenset[str]) -> None:
        place = hooks[0].place
        members = self._convex(members)
        over = [action for action in self.actions if action.id in members]
        if place.phase in ("start", "move") and not within(place, self.spec):
            # A VM that does not come up keeps nobody from being told of the others.
            ended = tuple(a.id for a in self.actions if a.verb in ("commit", "withdraw"))
            wait = tuple(a.id for a in over if a.verb in _VERBS["start"] or self._is_late(a))
            made = [self._action(hook, after=ended, last=wait) for hook in hooks]
        else:
            made = [self._action(hook, after=tuple(action.id for action in over)) for hook in hooks]
        late = place.phase in ("start", "move", "commit")
        behind = {
            action.id
            for action in self.actions
            if action.id not in members
            and members & {*action.after, *action.last}
            and (not late or action.verb in _VERBS["start"] | HOOKS)
        }
        self._wait_for(made, behind | self._later(place))
        before = {i for action in made for i in (*action.after, *action.last)}
        at = max(
            (index for index, action in enumerate(self.actions) if action.id in before), default=len(self.actions) - 1
        )
        self.actions[at + 1 : at + 1] = made

    def _later(self, place: Place) -> set[str]:
        """What is still to be started of the tiers behind one of which nothing is left to start: the rest of a move that stopped there."""
        vms = set(within(place, self.spec))
        if place.phase != "start" or not vms or not vms <= self.move.running:
            return set()
        last = max(number for number, tier in enumerate(self.spec.tiers, 1) if vms & set(tier.members))
        found = set[str]()
        for number in range(last + 1, len(self.spec.tiers) + 1):
            found |= self._members(Place("before", "start", tier=number))
        return found

    def _is_late(self, action: Action) -> bool:
        """Whether it is a callout or prompt of the phase that follows the commit."""
        return action.id in self.places and self.places[action.id].phase == "start"

    def _action(self, hook: Hook, *, after: tuple[str, ...] = (), last: tuple[str, ...] = ()) -> Action:
        verb = "callout" if isinstance(hook, CalloutSpec) else "prompt"
        if isinstance(hook, CalloutSpec):
            sentence, stops = f"run callout {hook.name}, {hook.place}: {shown(hook)}", hook.on_error == "stop"
        else:
            text = " ".join(hook.text.split())
            text = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
            sentence, stops = f"ask {hook.name}, {hook.place}: {text}", True
        of = {**self.move.of, "name": hook.name, "key": key_of(self.move.kind, hook)}
        made = Action(
            f"{verb}:{hook.name}", verb, sentence, after, last, of, "callout", stops and self.move.kind != "abort"
        )
        self.places[made.id] = hook.place
        return made

    def _wait_for(self, made: Sequence[Action], waiting: Iterable[str]) -> None:
        ids, those = tuple(action.id for action in made), set(waiting)
        self.actions = [
            replace(a, after=tuple(dict.fromkeys((*a.after, *ids)))) if a.id in those else a for a in self.actions
        ]

    def halt(self) -> None:
        """See that the failure of one that may stop the move keeps back all that it should, past what is best effort."""
        for stop in [a for a in self.actions if a.id in self.places and a.needed]:
            reached = self._downstream([stop.id])
            behind = [action for action in self.ordered() if action.id in reached]
            if all(action.verb != "commit" for action in behind):
                behind = [action for action in behind if action.verb in _VERBS["start"] | HOOKS]
            blocking, loose = {stop.id}, set[str]()
            for action in behind:
                if not blocking & set(action.after):
                    loose.add(action.id)
                if action.needed:
                    blocking.add(action.id)
            self._wait_for([stop], loose)

    # -- the graph --------------------------------------------------------------------------------

    def _upstream(self, ids: Iterable[str]) -> frozenset[str]:
        """These, and all that they wait for."""
        before = {action.id: (*action.after, *action.last) for action in self.actions}
        return _reached(ids, lambda i: before.get(i, ()))

    def _downstream(self, ids: Iterable[str]) -> frozenset[str]:
        """All that waits for these, without them."""
        behind: dict[str, list[str]] = {}
        for action in self.actions:
            for other in (*action.after, *action.last):
                behind.setdefault(other, []).append(action.id)
        given = list(ids)
        return _reached(given, lambda i: behind.get(i, ())) - frozenset(given)

    def _convex(self, members: frozenset[str]) -> frozenset[str]:
        """With what stands between two of them."""
        return members | (self._downstream(members) & (self._upstream(members)))

    def ordered(self) -> tuple[Action, ...]:
        """As they stand, but each after what it waits for."""
        at = {action.id: index for index, action in enumerate(self.actions)}
        waits = {a.id: {i for i in (*a.after, *a.last) if i in at} for a in self.actions}
        behind: dict[str, list[str]] = {}
        for action_id, before in waits.items():
            for other in before:
                behind.setdefault(other, []).append(action_id)
        ready = [at[i] for i, before in waits.items() if not before]
        heapify(ready)
        done: list[Action] = []
        while ready:
            action = self.actions[heappop(ready)]
            done.append(action)
            for other in behind.get(action.id, ()):
                waits[other].discard(action.id)
                if not waits[other]:
                    heappush(ready, at[other])
        assert len(done) == len(self.actions), "callouts made a circle"
        return tuple(done)


def _reached(start: Iterable[str], following: Callable[[str], Iterable[str]]) -> frozenset[str]:
    found, left = set(start), list(start)
    while left:
        for other in following(left.pop()):
            if other not in found:
                found.add(other)
                left.append(other)
    return frozenset(found)
