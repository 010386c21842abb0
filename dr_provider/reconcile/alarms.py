"""What is to be told of a status: alarms, and when each of them is told, again and no more. Pure.

Invariants:
1. An alarm is told once when it begins, once when it gets worse, once an interval while it lasts, and once when it is over.
2. It is over only after it has been well for `calm`: what comes and goes within that time is one alarm. So is a level that falls.
3. What is not known any more, because who could say it is silent, is neither new nor over.
4. Each receiver has its own account: one that could not be reached is told later, and the others are not told twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from dr_provider.model import keys
from dr_provider.model.problems import listed
from dr_provider.model.topology import AlertSpec, Topology
from dr_provider.model.units import span

__all__ = ["Alarm", "Known", "Told", "advance", "alarms_of", "due", "message_for", "settle", "unknown_of"]

Level = Literal["warning", "problem"]
Turn = Literal["new", "still", "over"]
_WORSE = {"warning": 0, "problem": 1}
_SHARED = ("room", "clock", "credential")
"""Of machines, not of plans: one alarm for all plans that it concerns."""
_UNFINISHED = 900.0
"""Seconds after which a move that has not ended is told: a move takes some time."""
_SENTENCES = 4


@dataclass(frozen=True)
class Alarm:
    """`key` is the same as long as it is the same thing. `plans`: whom it concerns; `found` and `todo` are sentences."""

    key: str
    check: str
    level: Level
    plans: tuple[str, ...]
    found: str
    todo: str = ""


@dataclass(frozen=True)
class Told:
    """What a receiver was told last, and when (RFC 3339)."""

    turn: Turn
    level: Level
    time: str


@dataclass(frozen=True)
class Known:
    """An alarm as it is remembered. `since`: when it was first seen; `bad`: when last; `high`: when last at its level; `over`: since when it counts as
    over. `told` by receiver."""

    alarm: Alarm
    since: str
    bad: str
    high: str
    over: str | None = None
    told: Mapping[str, Told] = field(default_factory=dict)


# -- what is wrong ----------------------------------------------------------------------------------------


def alarms_of(topology: Topology, document: Mapping[str, Any]) -> tuple[Alarm, ...]:
    """The alarms in a status document (`dr status --json`), each once, in a fixed order."""
    found: dict[str, Alarm] = {}
    for alarm in (*_silence(topology, document), *_of_plans(document)):
        known = found.get(alarm.key)
        found[alarm.key] = replace(alarm, plans=(*known.plans, *alarm.plans)) if known else alarm
    return tuple(found.values())


def _of_plans(document: Mapping[str, Any]) -> Iterator[Alarm]:
    for plan, status in document["plans"].items():
        yield from _of_plan(plan, status, document["time"])


def _of_plan(plan: str, status: Mapping[str, Any], now: str) -> Iterator[Alarm]:
    phase, claim = status["phase"], status["claim"]
    standing = next((item for item in status["readiness"] if item["check"] == "standing"), None)
    if phase == "split" and standing is not None:
        yield Alarm(f"{plan}/split", "split", "problem", (plan,), standing["found"], standing["todo"])
    elif claim is not None and standing is not None and _seconds(claim["since"], now) > _UNFINISHED:
        yield Alarm(f"{plan}/move", "move", "problem", (plan,), standing["found"], standing["todo"])
    for asked in status.get("prompts", ()):
        left = f"If nobody has given one by {asked['until']}: {asked['default']}."
        if not asked["waits"]:
            left = "No run waits for it now: the next one hears the answer, or asks again."
        found = f"It waits for an answer: {asked['text']} {left}"
        yield Alarm(f"{plan}/prompt/{asked['prompt']}", "prompt", "problem", (plan,), found, asked["answer"])
    # Under a move things are down because they are moved; a plan that was never made says so as an item.
    if status["degraded"] and phase not in ("split", "claimed", "moving") and status["activeSite"] is not None:
        said = status["degraded"]
        more = f", and {len(said) - _SENTENCES} more" if len(said) > _SENTENCES else ""
        todo = f"dr status {plan} shows all of it; dr protect {plan} mends what can be mended without a decision."
        yield Alarm(f"{plan}/degraded", "degraded", "problem", (plan,), f"{'; '.join(said[:_SENTENCES])}{more}.", todo)
    for item in status["readiness"]:
        level = item["level"]
        if item["check"] == "standing" or not (level == "problem" or (level == "warning" and item["check"] == "room")):
            continue
        yield Alarm(_key(plan, item), item["check"], level, (plan,), item["found"], item["todo"])


def _key(plan: str, item: Mapping[str, Any]) -> str:
    whose = "" if item["check"] in _SHARED else f"{plan}/"
    return f"{whose}{item['check']}{'/' if item['subject'] else ''}{item['subject']}"


def _silence(topology: Topology, document: Mapping[str, Any]) -> Iterator[Alarm]:
    """One alarm a site, however many of its machines are silent."""
    by_site: dict[str, list[str]] = {}
    for name in document["silent"]:
        machine = topology.arrays.get(name) or topology.hosts.get(name)
        if machine is not None:
            by_site.setdefault(machine.site, []).append(name)
    for site, names in sorted(by_site.items()):
        plans = tuple(plan for plan, spec in topology.plans.items() if site in spec.sites)
        reason = document["silent"][names[0]].rstrip(". ")
        found = f"{site}: no answer from {listed(names)} ({reason})."
        todo = "See whether the site, or the way to it, is down; dr doctor looks closer, dr whatif says what its loss would mean."
        yield Alarm(f"silent/{site}", "silent", "warning", plans, found, todo)


def unknown_of(document: Mapping[str, Any]) -> frozenset[str]:
    """Keys of alarms of which nothing can be said now; `PLAN/` stands for all of a plan's."""
    found = set()
    for plan, status in document["plans"].items():
        for item in status["readiness"]:
            if item["level"] == "unknown":
                found.add(f"{plan}/" if item["check"] == "made" else _key(plan, item))
    return frozenset(found)


# -- what is remembered -----------------------------------------------------------------------------------


def advance(
    known: Mapping[str, Known], alarms: Iterable[Alarm], unknown: frozenset[str], now: str, spec: AlertSpec
) -> dict[str, Known]:
    """What is remembered after a look."""
    seen = {alarm.key: alarm for alarm in alarms}
    found = {}
    for key, before in known.items():
        if key in seen:
            found[key] = _again(before, seen[key], now, spec.calm)
        elif key in unknown or f"{key.partition('/')[0]}/" in unknown:
            found[key] = replace(before, bad=now)
        elif before.over is None and _seconds(before.bad, now) >= spec.calm:
            found[key] = replace(before, over=now)
        else:
            found[key] = before
    for key, alarm in seen.items():
        found.setdefault(key, Known(alarm, now, now, now))
    return {key: each for key, each in found.items() if not _done(each, spec)}


def _again(before: Known, alarm: Alarm, now: str, calm: float) -> Known:
    if before.over is not None:
        return Known(alarm, now, now, now)
    if _WORSE[alarm.level] >= _WORSE[before.alarm.level]:
        return replace(before, alarm=alarm, bad=now, high=now)
    if _seconds(before.high, now) < calm:
        return replace(before, alarm=replace(alarm, level=before.alarm.level), bad=now)
    # It fell for good: should it rise again, that is told.
    told = {to: replace(each, level=alarm.level) for to, each in before.told.items()}
    return replace(before, alarm=alarm, bad=now, high=now, told=told)


def _done(known: Known, spec: AlertSpec) -> bool:
    """Whether it is over, and everybody who was told that it began was told that."""
    began = [known.told[to] for to in spec.notify if to in known.told]
    return known.over is not None and all(told.turn == "over" for told in began)


# -- what is told -----------------------------------------------------------------------------------------


def due(known: Mapping[str, Known], to: str, now: str, spec: AlertSpec) -> list[tuple[Turn, Known]]:
    """What a receiver is to be told now."""
    found: list[tuple[Turn, Known]] = []
    for each in known.values():
        told = each.told.get(to)
        if each.over is not None:
            if told is not None and told.turn != "over":
                found.append(("over", each))
        elif told is None or _WORSE[told.level] < _WORSE[each.alarm.level]:
            found.append(("new", each))
        elif _seconds(told.time, now) >= spec.remind:
            found.append(("still", each))
    order = ("new", "still", "over")
    return sorted(found, key=lambda pair: (order.index(pair[0]), -_WORSE[pair[1].alarm.level], pair[1].alarm.key))


def settle(known: Mapping[str, Known], to: str, now: str, spec: AlertSpec) -> dict[str, Known]:
    """What is remembered once the receiver has what was due."""
    found = dict(known)
    for turn, each in due(known, to, now, spec):
        told = {**each.told, to: Told(turn, each.alarm.level, now)}
        found[each.alarm.key] = replace(each, told=told)
    return {key: each for key, each in found.items() if not _done(each, spec)}


def message_for(
    topology: str, known: Mapping[str, Known], to: str, now: str, spec: AlertSpec
) -> tuple[str, str] | None:
    """Title and text for a receiver; None: there is nothing to tell."""
    pairs = due(known, to, now, spec)
    if not pairs:
        return None
    new = [each for turn, each in pairs if turn == "new"]
    still = [each for turn, each in pairs if turn == "still"]
    over = [each for turn, each in pairs if turn == "over"]
    parts = [(new, "new"), (still, "still so"), (over, "over")]
    title = f"dr, topology {topology}: {', '.join(f'{len(of)} {word}' for of, word in parts if of)}"
    return title, "\n\n".join(_told(turn, each, now) for turn, each in pairs)


def _told(turn: Turn, known: Known, now: str) -> str:
    """What, where, since when, what to do."""
    alarm = known.alarm
    whom = f"Plan{'s' if len(alarm.plans) > 1 else ''} {listed(alarm.plans)}" if alarm.plans else "All plans"
    if turn == "over":
        lasted = span(float(round(_seconds(known.since, known.bad))))
        return f"OVER: {whom}: {alarm.found}\n  It was so for {lasted}, until {known.bad}."
    word = {"problem": "PROBLEM", "warning": "WARNING"}[alarm.level]
    since = f"Since {known.since}" + (
        f", {span(float(round(_seconds(known.since, now))))} by now." if turn == "still" else "."
    )
    todo = f"\n  What to do: {alarm.todo}" if alarm.todo else ""
    return f"{'STILL ' if turn == 'still' else ''}{word}: {whom}: {alarm.found}\n  {since}{todo}"


def _seconds(since: str, until: str) -> float:
    return (keys.at(until) - keys.at(since)).total_seconds()
