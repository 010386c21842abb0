"""The remote program's ends: requests come in as lines of JSON on stdin, answers go out on stdout.

In:  {"id": N, "op": NAME, "args": {...}, "seconds": S, "idle": BOOL}   {"cancel": N}   {"ping": N}
Out: {"hello": {...}} once, then {"id": N, "done": RESULT}   {"id": N, "fault": [KIND, SENTENCE]}   {"id": N, "progress": BYTES}   {"pong": N}

`seconds` is how long the caller waits, counted from the request's arrival, so that the two clocks need not agree; with `idle` it counts
anew from each progress. The program ends, and its children before it, when stdin ends or nothing was heard for 10 s (five pings).
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from . import reserve
from .core import OPS, Context, Fault, configure

__all__ = ["main"]

SILENCE = 10.0
_EVERY = 0.1  # seconds between two words about progress


class Call(Context):
    """One request. With `idle`, its deadline moves with its progress."""

    def __init__(self, server: Server, message: Mapping[str, Any]) -> None:
        self.number = message["id"]
        self._server = server
        self._seconds = float(message["seconds"])
        self._idle = bool(message.get("idle"))
        self._told = 0.0
        self._cancel = threading.Event()
        super().__init__(deadline=time.monotonic() + self._seconds)

    def emit(self, count: int) -> None:
        now = time.monotonic()
        if self._idle:
            self.deadline = now + self._seconds
        if now - self._told >= _EVERY:
            self._told = now
            self._server.answer({"id": self.number, "progress": count})

    def cancelled(self) -> bool:
        return self._cancel.is_set()

    def cancel(self) -> None:
        self._cancel.set()


class Server:
    def __init__(self, source: BinaryIO, target: BinaryIO) -> None:
        self._source = source
        self._target = target
        self._writing = threading.Lock()
        self._calls: dict[int, Call] = {}
        self._heard = time.monotonic()

    def answer(self, message: dict[str, Any]) -> None:
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        with self._writing:
            try:
                self._target.write(data)
                self._target.flush()
            except OSError:
                leave()  # nobody reads any more

    def run(self) -> None:
        threading.Thread(target=self._watch, daemon=True).start()
        self.answer({"hello": {"pid": os.getpid(), "python": platform.python_version()}})
        for line in self._source:
            self._heard = time.monotonic()
            message = json.loads(line)
            if "ping" in message:
                self.answer({"pong": message["ping"]})
            elif "cancel" in message:
                given_up = self._calls.get(message["cancel"])
                if given_up is not None:
                    given_up.cancel()
            else:
                call = Call(self, message)
                self._calls[call.number] = call
                threading.Thread(target=self._serve, args=(call, message), daemon=True).start()

    def _serve(self, call: Call, message: Mapping[str, Any]) -> None:
        try:
            op = OPS.get(message["op"])
            if op is None:
                raise Fault("DeviceFault", f"the program on the array knows no call {message['op']!r}")
            answer = {"id": call.number, "done": reserve.carry_out(call, message["op"], op, message["args"])}
        except Fault as fault:
            answer = {"id": call.number, "fault": [fault.kind, str(fault)]}
        except Exception as error:  # noqa: BLE001  # it must become the caller's error, whatever it is
            at = traceback.extract_tb(error.__traceback__)[-1]
            text = f"{type(error).__name__}: {error} ({at.filename}, line {at.lineno})"
            answer = {
                "id": call.number,
                "fault": ["DeviceFault", f"{call.where}: the program on it failed: {text}"],
            }
        finally:
            self._calls.pop(call.number, None)
        self.answer(answer)

    def _watch(self) -> None:
        while True:
            left = self._heard + SILENCE - time.monotonic()
            if left <= 0:
                leave()
            time.sleep(max(left, 0.1))


def _children() -> list[int]:
    found = []
    for task in Path("/proc/self/task").iterdir():
        try:
            found += [int(word) for word in (task / "children").read_text().split()]
        except OSError:
            continue  # the thread has ended
    return found


def leave() -> None:
    """End this process, and what it has started before it: locks are let go only when nothing goes on under them."""
    until = time.monotonic() + 3.0
    while time.monotonic() < until:
        alive = False
        for child in _children():
            try:
                os.kill(child, signal.SIGKILL)
                # Whoever waits for it in another thread may have been first.
                os.waitpid(child, os.WNOHANG)
            except PermissionError:
                continue  # under sudo: it ends when its pipes do
            except (ProcessLookupError, ChildProcessError):
                continue
            alive = True
        if not alive:
            break
        time.sleep(0.01)
    os._exit(0)


def main(config: dict[str, Any]) -> None:
    source = sys.stdin.buffer
    target = os.fdopen(os.dup(1), "wb")
    # What anything prints by mistake must not stand between the answers; and no child may read the requests.
    os.dup2(2, 1)
    configure(config)
    Server(source, target).run()
    leave()
