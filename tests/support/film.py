"""A run on film: what is on every device and in the journal after each change that the run made last, in the order in which it made them.

A process that is killed leaves exactly what it had committed by then: nothing that its `finally` would have done, and no lock. So the
frames of one undisturbed run are the states that a kill at any moment of it leaves: before and after each action and each call of a
driver, between the chunks of a transfer, before, after and in the middle of each line of the journal.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from dr_provider.arrays.embedded import extents
from dr_provider.arrays.embedded.store import Store
from dr_provider.hypervisors.embedded.store import HostFile
from dr_provider.reconcile import lease
from dr_provider.reconcile.journal import Journal

__all__ = ["Frame", "film", "process", "put_back"]

_CHUNK = 4
"""Blocks that a transfer takes in at a time while it is filmed, so that what the tests send has a middle."""
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Frame:
    """`after` says what had just been made last; `files` maps each device's file, and the journal's, to its bytes."""

    number: int
    after: str
    files: Mapping[Path, bytes]


@dataclass(frozen=True)
class Machine(lease.Machine):
    """A process of its own, as leases know it: every other one is dead, those of another machine by their silence."""

    def alive(self, pid: int, start: float) -> bool:
        return False


@contextmanager
def process(journals: Path, *, elsewhere: bool = False) -> Iterator[None]:
    """What runs in here is a process that no other knows; `elsewhere`: on a machine of its own, so that its lease must be watched."""
    number = next(_numbers)
    clock = itertools.count()
    boot = f"boot-{number}" if elsewhere else "boot"
    machine = Machine(boot, number, float(number), lambda: float(next(clock)), lambda _s: None)
    with patch.object(lease, "this_machine", lambda: machine), patch.dict(os.environ, DR_STATE_HOME=str(journals)):
        yield


def film(folder: Path, work: Callable[[], object]) -> list[Frame]:
    """Run `work`, a process of its own on the devices and journals under the folder, and give a frame for each lasting change."""
    lock = threading.RLock()
    files: dict[Path, bytes] = {path: _content(path) for path in _files(folder)}
    frames = [Frame(0, "nothing", dict(files))]

    def note(path: Path, after: str) -> None:
        content = _content(path)
        if files.get(path) != content:
            files[path] = content
            frames.append(Frame(len(frames), after, dict(files)))

    def transaction(original: Any, path: Callable[[Any], Path]) -> Any:
        @contextmanager
        def alone(self: Any, *args: Any) -> Iterator[Any]:
            # Alone up to its frame: no other change may come between a commit and the picture of it.
            with lock:
                with original(self, *args) as db:
                    yield db
                note(path(self), f"a change on {path(self).stem}")

        return alone

    def making(original: Any) -> Any:
        def alone(self: Any, *args: Any) -> None:
            with lock:
                original(self, *args)
                note(self.path, f"{self.path.stem} was made")

        return alone

    def writing(original: Any) -> Any:
        def alone(self: Journal, line: dict[str, object]) -> None:
            with lock:
                original(self, line)
                assert self.path is not None
                whole, before = _content(self.path), files.get(self.path, b"")
                said = f"journal: {line['event']} {line.get('id', '')}".rstrip()
                files[self.path] = before + whole[len(before) : (len(before) + len(whole)) // 2]
                frames.append(Frame(len(frames), f"half of {said}", dict(files)))
                note(self.path, said)

        return alone

    with ExitStack() as stack:
        stack.enter_context(process(folder / "journals"))
        stack.enter_context(patch.object(extents, "_STEP", _CHUNK))
        for owner, name, wrapped in (
            (Store, "writing", transaction(Store.writing, lambda store: store.path)),
            (HostFile, "_transaction", transaction(HostFile._transaction, lambda host: host.path)),
            (Store, "create", making(Store.create)),
            (HostFile, "create", making(HostFile.create)),
            (Journal, "write", writing(Journal.write)),
        ):
            stack.enter_context(patch.object(owner, name, wrapped))
        work()
    return frames


def put_back(folder: Path, frame: Frame) -> None:
    """Make the devices and journals under the folder what they were at the frame."""
    for part in (".dr", "journals"):
        shutil.rmtree(folder / part, ignore_errors=True)
    for path, content in frame.files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _files(folder: Path) -> list[Path]:
    return [*(folder / ".dr").glob("*.db"), *(folder / "journals").rglob("*.jsonl")]


def _content(path: Path) -> bytes:
    if path.suffix != ".db":
        return path.read_bytes()
    # By SQLite itself: what is in the log belongs to it, and a file that is opened and closed would drop this process's locks.
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        return db.serialize()
