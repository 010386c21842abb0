"""The step journal: a line of JSON an event, in a local file and (at its end) on the recovery array; for people and for estimates.

`decide` never needs it. A folder that cannot be written costs the local copy and a warning, never the move.
"""

from __future__ import annotations

import json
import os
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from dr_provider.model import keys
from dr_provider.reconcile.callout_places import HOOKS
from dr_provider.reconcile.decision import Action, Decision
from dr_provider.reconcile.fencing import MARGIN, TTL
from dr_provider.reconcile.graph import Event, critical_path

__all__ = ["Journal", "Lines", "estimate", "journal_folder", "state_folder"]

_DEFAULT_SECONDS = 0.5
_ROUGH = {"wait-fence": TTL + MARGIN}
"""What takes longer than a step does mostly, and is known before it was ever measured."""
_READ_LAST = 5
_KEPT = 200
"""Journals of a plan that stay on this machine: what a run came to is in its report, step by step."""


def journal_folder(topology: str, plan: str) -> Path:
    """Where a plan's journals are."""
    return state_folder(topology) / plan


def state_folder(topology: str) -> Path:
    """Where this machine keeps what it knows of a topology: $DR_STATE_HOME, else the user's state folder (XDG base directories)."""
    home = os.environ.get("DR_STATE_HOME")
    if home is None:
        base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        home = str(Path(base) / "dr")
    return Path(home) / topology


class Lines:
    """One run's events, kept in memory. `began`: the monotonic time that `at`, in seconds, counts from."""

    def __init__(self, began: float | None = None) -> None:
        self.lines: list[dict[str, object]] = []
        self._began = time.monotonic() if began is None else began
        self._lock = threading.Lock()

    def event(self, event: Event, output: str = "") -> None:
        """`output`: what a callout wrote, masked and bounded."""
        action = event.action
        line: dict[str, object] = {"event": event.what, "id": action.id, "verb": action.verb}
        if event.what in ("start", "skipped"):
            line |= {"sentence": action.sentence, "group": action.group}
            line |= {name: action.of[name] for name in ("vm", "host") if name in action.of}
        if event.what != "start":
            line["seconds"] = round(event.seconds, 3)
        if event.detail:
            line["detail"] = event.detail
        if output:
            line["output"] = output
        self.write(line)

    def up(self, action: Action) -> None:
        """The host has started the action's VM: whether it is well is looked at from now on."""
        self.write({"event": "up", "id": action.id, "verb": action.verb})

    def write(self, line: dict[str, object]) -> None:
        with self._lock:
            self._keep(line)

    def _keep(self, line: dict[str, object]) -> dict[str, object]:
        whole = {"time": keys.stamp(keys.now()), "at": round(time.monotonic() - self._began, 3), **line}
        self.lines.append(whole)
        return whole


class Journal(Lines):
    """The same, appended to a file as they come."""

    def __init__(
        self, decision: Decision, topology: str, by: str, warn: Callable[[str], None], began: float | None = None
    ) -> None:
        super().__init__(began)
        self.path: Path | None = None
        self._file: TextIO | None = None
        self._warn = warn
        started = keys.now()
        folder = journal_folder(topology, decision.plan)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.path = folder / f"{started:%Y%m%dT%H%M%S}-{keys.new_id()}.jsonl"
            self._file = self.path.open("a", encoding="utf-8")
            for old in sorted(folder.glob("*.jsonl"))[:-_KEPT]:
                with suppress(OSError):  # one that stays takes a little room, and is tried again next time
                    old.unlink()
        except OSError as error:
            self.path = None
            warn(f"the journal cannot be kept in {folder} ({error.strerror}); the move goes on without a local copy")
        self.write({"event": "run", "by": by, "decision": decision.document()})

    def write(self, line: dict[str, object]) -> None:
        with self._lock:
            whole = self._keep(line)
            if self._file is None:
                return
            try:
                self._file.write(json.dumps(whole, ensure_ascii=False) + "\n")
                self._file.flush()
            except OSError as error:
                # A full disk, say: what is not written out yet goes with the file.
                lost, self._file = self._file, None
                with suppress(OSError):
                    lost.close()
                self._warn(
                    f"the journal {self.path} ends here ({error.strerror}); the move goes on without a local copy"
                )

    def close(self) -> None:
        """No more lines are for the local file."""
        with self._lock:
            if self._file is not None:
                ended, self._file = self._file, None
                with suppress(OSError):
                    ended.close()

    def text(self) -> str:
        with self._lock:
            return "\n".join(json.dumps(line, ensure_ascii=False) for line in self.lines)


def _measured(topology: str, plan: str) -> dict[str, float]:
    """Mean seconds of each verb, and of each callout and prompt, over the last runs on this machine."""
    seen: dict[str, list[float]] = {}
    folder = journal_folder(topology, plan)
    files = sorted(folder.glob("*.jsonl"))[-_READ_LAST:] if folder.is_dir() else []
    for file in files:
        try:
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # the last line of a run that was killed
            if isinstance(entry, dict) and entry.get("event") == "done":
                seen.setdefault(_alike(str(entry.get("verb")), str(entry.get("id"))), []).append(
                    float(entry.get("seconds", 0.0))
                )
    return {verb: statistics.fmean(values) for verb, values in seen.items()}


def _alike(verb: str, action_id: str) -> str:
    """Under what an action is measured: one callout says nothing of another."""
    return action_id if verb in HOOKS else verb


def estimate(topology: str, plan: str, actions: Sequence[Action]) -> float | None:
    """Seconds that the actions will take, by the last runs on this machine, else by a rough figure a step; None: nothing to do."""
    if not actions:
        return None
    measured = _measured(topology, plan)
    return round(
        critical_path(
            actions,
            lambda action: measured.get(_alike(action.verb, action.id), _ROUGH.get(action.verb, _DEFAULT_SECONDS)),
        ),
        1,
    )
