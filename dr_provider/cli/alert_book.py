"""What was told to whom, on this machine, and the round that reads it: look, remember, tell, remember."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dr_provider.cli import notify
from dr_provider.model import credentials, keys
from dr_provider.model.codec import dump, load
from dr_provider.model.errors import BadInput, CorruptRecord
from dr_provider.model.topology import AlertSpec, Topology
from dr_provider.reconcile.alarms import Known, advance, alarms_of, due, message_for, settle, unknown_of
from dr_provider.reconcile.journal import state_folder

__all__ = ["Round", "look_and_tell", "tell_each"]


@dataclass(frozen=True)
class _Book:
    alarms: Mapping[str, Known] = field(default_factory=dict)


@dataclass(frozen=True)
class Round:
    """`standing`: alarms that stand; `over`: that ended now. `told`: how many were told, by receiver. `failures`: who could not be told, and why."""

    standing: tuple[Known, ...]
    over: tuple[Known, ...]
    told: Mapping[str, int]
    failures: tuple[str, ...]


def look_and_tell(topology: Topology, document: Mapping[str, Any], *, tell: bool = True) -> Round:
    """One round over a status document. With `tell` False nobody is told and nothing is remembered.

    Two processes of one machine take turns, so that nothing is told twice. Never raises for a receiver or the book: that is a failure.
    """
    spec = topology.alerts or AlertSpec(())
    failures: list[str] = []
    with _opened(state_folder(topology.name) / "alerts.json", failures) as (before, write):
        now = keys.stamp(keys.now())
        known = advance(before, alarms_of(topology, document), unknown_of(document), now, spec)
        over = tuple(each for key, each in known.items() if each.over == now)
        standing = tuple(each for each in known.values() if each.over is None)
        told: dict[str, int] = {}
        if tell:
            # Since when it is so is remembered before anybody is waited for.
            write(known)
            letters = {
                to: m for to in spec.notify if (m := message_for(topology.name, known, to, now, spec)) is not None
            }
            bad = any(each.alarm.level == "problem" for each in standing)
            for to, reason in tell_each(letters, problem=bad).items():
                if reason is not None:
                    failures.append(reason)
                    continue
                told[to] = len(due(known, to, now, spec))
                known = settle(known, to, now, spec)
            write(known)
    return Round(standing, over, told, tuple(failures))


def tell_each(letters: Mapping[str, tuple[str, str]], *, problem: bool) -> dict[str, str | None]:
    """Send each receiver (a reference) its title and text, all at once; by receiver None, or a sentence why it has not got it."""

    def one(item: tuple[str, tuple[str, str]]) -> tuple[str, str | None]:
        to, (title, text) = item
        try:
            address = credentials.resolve(to, f"alerts, {to}")
        except BadInput as error:
            return to, str(error)
        reason = notify.send(address, title, text, problem=problem, deadline=notify.DEADLINE)
        return to, None if reason is None else f"alerts: {to} could not be told: {reason}"

    if not letters:
        return {}
    with ThreadPoolExecutor(max_workers=len(letters), thread_name_prefix="notify") as pool:
        return dict(pool.map(one, letters.items()))


@contextmanager
def _opened(
    path: Path, failures: list[str]
) -> Iterator[tuple[Mapping[str, Known], Callable[[Mapping[str, Known]], None]]]:
    """What is remembered, and how to write it, while no other process does."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        failures.append(_unwritable(path, error))
        yield {}, lambda _known: None
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield _read(path, failures), lambda known: _write(path, known, failures)
    finally:
        os.close(lock)


def _read(path: Path, failures: list[str]) -> Mapping[str, Known]:
    try:
        return load(_Book, path.read_text("utf-8"), str(path)).alarms
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, CorruptRecord) as error:
        failures.append(
            f"alerts: what was told cannot be read from {path} ({type(error).__name__}), so it is told again"
        )
        return {}


def _write(path: Path, known: Mapping[str, Known], failures: list[str]) -> None:
    new = path.with_suffix(".new")
    try:
        new.write_text(dump(_Book(known)), "utf-8")
        new.replace(path)
    except OSError as error:
        sentence = _unwritable(path, error)
        if sentence not in failures:
            failures.append(sentence)


def _unwritable(path: Path, error: OSError) -> str:
    return f"alerts: what was told cannot be kept in {path} ({error.strerror}), so it will be told again; set DR_STATE_HOME to a folder that can be written"
