"""One SSH connection to the remote program of an array: requests out, answers in, by threads of its own so that no caller waits on a pipe."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from dr_provider.model.errors import DrError, Unreachable

__all__ = ["Connection", "Tail", "end_process"]

PING_EVERY = 2.0


class Tail:
    """The last words of a process on stderr, read by a thread."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._lines: deque[bytes] = deque(maxlen=60)
        self._stream = stream
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(ValueError), self._stream:
            for line in self._stream:
                self._lines.append(line[:2000])

    def text(self, wait: float = 0.5) -> str:
        """What was said so far; waits a little for the stream's end."""
        self._thread.join(wait)
        return b"".join(list(self._lines)).decode(errors="replace")


def end_process(process: subprocess.Popen[bytes]) -> None:
    """End a process of ours that was started as the head of its own group (its ProxyCommand with it), and wait for it."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    # A process in the kernel's hands (a hung network file system under its files) is left to it.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(2.0)


class Connection:
    """`explain(stderr, status, started)` makes the error of its end. Everything that comes for a call is put into that call's queue:
    the answer's dictionary, or the DrError that ended the connection."""

    def __init__(
        self, words: Sequence[str], payload: bytes, explain: Callable[[str, int | None, bool], DrError]
    ) -> None:
        self._explain = explain
        self._calls: dict[int, queue.SimpleQueue[Mapping[str, Any] | DrError]] = {}
        self._lock = threading.Lock()
        self._out: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._greeted = threading.Event()
        self.dead: DrError | None = None
        self.heard = time.monotonic()
        self.hello: Mapping[str, Any] = {}
        # A session of its own: Ctrl-C at the terminal is for the caller, who ends what is under way in order.
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stderr is not None
        self._tail = Tail(self._process.stderr)
        self._out.put(payload)
        for work in (self._read, self._write):
            threading.Thread(target=work, daemon=True).start()

    def wait_hello(self, deadline: float) -> DrError | None:
        """Wait until the program on the array answers; the error where it does not by then (and the connection is ended)."""
        self._greeted.wait(max(0.0, deadline - time.monotonic()))
        with self._lock:
            if self.hello and self.dead is None:
                threading.Thread(target=self._ping, daemon=True).start()
                return None
        if self.dead is None:
            self.close(self._explain(self._tail.text(0.0), None, False))
        return self.dead

    def open(self, number: int, request: Mapping[str, Any]) -> queue.SimpleQueue[Mapping[str, Any] | DrError]:
        """Send a request; its answers come in the queue."""
        answers: queue.SimpleQueue[Mapping[str, Any] | DrError] = queue.SimpleQueue()
        with self._lock:
            if self.dead is not None:
                answers.put(self.dead)
                return answers
            self._calls[number] = answers
        self._send({"id": number, **request})
        return answers

    def forget(self, number: int, *, cancel: bool) -> None:
        """The caller waits no longer; `cancel`: the array is told to give it up."""
        with self._lock:
            self._calls.pop(number, None)
        if cancel:
            self.cancel(number)

    def cancel(self, number: int) -> None:
        self._send({"cancel": number})

    def close(self, reason: DrError | None = None) -> None:
        """End it at once; what waits on it gets the reason."""
        self._end(reason or Unreachable("the connection was closed"))
        end_process(self._process)

    # -- its threads ------------------------------------------------------------------------------------

    def _send(self, message: Mapping[str, Any]) -> None:
        self._out.put(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    def _end(self, reason: DrError) -> None:
        with self._lock:
            if self.dead is None:
                self.dead = reason
            calls, self._calls = self._calls, {}
        self._out.put(None)
        self._greeted.set()
        for answers in calls.values():
            answers.put(self.dead)

    def _write(self) -> None:
        stream = self._process.stdin
        assert stream is not None
        # A closed pipe is the reader's to explain: it sees the process end.
        with contextlib.suppress(OSError), stream:
            while (data := self._out.get()) is not None:
                stream.write(data)
                stream.flush()

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        with stream:
            for line in stream:
                self.heard = time.monotonic()
                message = _message(line)
                if not self.hello:
                    if "hello" in message:
                        self.hello = message["hello"] or {"pid": 0}
                        self._greeted.set()
                    continue
                self._take(message)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._end(self._explain(self._tail.text(), self._process.poll(), bool(self.hello)))
        end_process(self._process)

    def _take(self, message: Mapping[str, Any]) -> None:
        number = message.get("id")
        if not isinstance(number, int):
            return
        with self._lock:
            answers = self._calls.get(number)
        if answers is not None:
            answers.put(message)

    def _ping(self) -> None:
        count = 0
        while self.dead is None:
            count += 1
            self._send({"ping": count})
            time.sleep(PING_EVERY)


def _message(line: bytes) -> Mapping[str, Any]:
    """A line of the program; anything else (a login shell's greeting) is an empty message."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
