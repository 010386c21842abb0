"""The session with an array: calls by name over one SSH connection, made when needed, shared by threads, replaced when dead.

Every call has a deadline that holds whatever the network does. What the program on the array answers as a fault is raised as the error
of that name; silence, a cut and a refused connection are Unreachable; an answer that is not the array's is NotReady (see ssh.py).
"""

from __future__ import annotations

import itertools
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dr_provider.arrays.zfs.bootstrap import BOOTSTRAP, payload
from dr_provider.arrays.zfs.bulk import Bulk, Master
from dr_provider.arrays.zfs.connection import Connection
from dr_provider.arrays.zfs.ssh import Endpoint, SshOptions, explain, ssh_words
from dr_provider.model import errors
from dr_provider.model.errors import BadInput, DeviceFault, DrError, NotReady, Stopped, Unreachable

__all__ = ["Session"]

_SILENT = 7.0  # seconds without any word, pings included, after which a connection is not used for another call
_ASK = 0.2  # seconds between two questions whether to stop
_PARTED = (
    3.0  # seconds without any word (pings come every 2 s) after which another node of the array may be asked instead
)
_GIVE_UP = 5.0  # seconds that a call which was told to stop has for ending in order


class Session:
    """A session with one array, named `where` in messages. Nothing is done until the first call.

    `config`: what the remote program is told when it starts. `width`: calls at once; further ones wait within their own deadline.
    """

    def __init__(
        self,
        where: str,
        endpoints: Sequence[Endpoint],
        options: SshOptions,
        *,
        timeout: float,
        width: int = 16,
        config: Mapping[str, object] | None = None,
        sources: Mapping[str, str] | None = None,
    ) -> None:
        if not endpoints:
            raise BadInput(f"{where}: wanted at least one address to reach it by; nothing was done")
        self.where = where
        self.timeout = timeout
        self.options = options
        self._endpoints = tuple(endpoints)
        self._payload = payload(config or {}, sources)
        self._slots = threading.BoundedSemaphore(width)
        self._numbers = itertools.count(1)
        self._state = threading.Condition()
        self._connection: Connection | None = None
        self._endpoint: Endpoint | None = None
        self._avoid: Endpoint | None = None
        self._attempt: _Attempt | None = None
        self._master = Master(where)
        self._pid = os.getpid()

    # -- calls --------------------------------------------------------------------------------------------

    def call(
        self,
        op: str,
        args: Mapping[str, Any],
        *,
        timeout: float | None = None,
        idle: bool = False,
        progress: Callable[[int], None] | None = None,
        stop: Callable[[], str | None] | None = None,
    ) -> Any:
        """Ask the array for `op`; its result.

        `timeout`: seconds for the whole call, connecting included (None: the session's); with `idle` it counts anew from each progress.
        Where the node that was asked falls silent or is cut off and the array has others, one of them is asked again within the same time (every
        call can be repeated), but not where `idle` says that there is progress to lose. `progress` gets counts in the caller's thread. `stop` is asked now and then; the reason it gives becomes a Stopped with no more words.
        Raises Unreachable, NotReady, Stopped, and what the array answers.
        """
        allowed = self.timeout if timeout is None else timeout
        deadline = time.monotonic() + allowed
        if not self._slots.acquire(timeout=allowed):
            raise Unreachable(f"{self.where}: too many calls were under way for {allowed:g} s, so {op} was not asked")
        try:
            while True:
                connection = self._connect(deadline)
                try:
                    return self._ask(connection, op, args, deadline, allowed if idle else None, progress, stop)
                except Unreachable:
                    others = len(self._endpoints) > 1 and not idle and connection.dead is not None
                    if not others or time.monotonic() >= deadline:
                        raise
                    self._pass_over(connection)
        finally:
            self._slots.release()

    def _ask(
        self,
        connection: Connection,
        op: str,
        args: Mapping[str, Any],
        deadline: float,
        idle: float | None,
        progress: Callable[[int], None] | None,
        stop: Callable[[], str | None] | None,
    ) -> Any:
        number = next(self._numbers)
        left = max(0.0, deadline - time.monotonic())
        # The array gives up a little earlier, so that its own sentence ("the lock is held by ...") is the one that is seen.
        seconds = idle or left - min(0.5, left / 10)
        answers = connection.open(number, {"op": op, "args": args, "seconds": seconds, "idle": idle is not None})
        finished = False
        reason: str | None = None
        patience = max(self.timeout, _SILENT)
        if len(self._endpoints) > 1 and idle is None:
            patience = min(patience, max(_PARTED, left / len(self._endpoints)))
        began = time.monotonic()
        try:
            while True:
                now = time.monotonic()
                if reason is None and stop is not None and (reason := stop()) is not None:
                    connection.cancel(number)
                    deadline = min(deadline, now + _GIVE_UP) if idle is None else now + _GIVE_UP
                if now >= deadline or now - max(connection.heard, began) >= patience:
                    raise self._silence(connection, op, idle, reason)
                try:
                    answer = answers.get(timeout=min(deadline - now, _ASK if stop is not None else 1.0))
                except queue.Empty:
                    continue
                if isinstance(answer, DrError):
                    finished = True
                    raise type(answer)(str(answer)) from None
                if "progress" in answer:
                    if idle is not None and reason is None:
                        deadline = time.monotonic() + idle
                    if progress is not None:
                        progress(answer["progress"])
                    continue
                finished = True
                if "fault" in answer:
                    raise Stopped(reason) if reason is not None else _error(*answer["fault"])
                return answer["done"]
        finally:
            connection.forget(number, cancel=not finished)

    def _silence(self, connection: Connection, op: str, idle: float | None, reason: str | None) -> DrError:
        if reason is not None:
            return Stopped(reason)
        heard = time.monotonic() - connection.heard
        what = f"no progress of {op}" if idle is not None else f"no answer to {op}"
        if heard < min(_SILENT, 3.0):
            return Unreachable(
                f"{self.where} at {self._endpoint}: {what} in time, though the machine answers; it is busy or stuck"
            )
        error = Unreachable(
            f"{self.where} at {self._endpoint}: {what} in time, and not a word from it for {heard:.1f} s"
        )
        connection.close(error)
        return error

    # -- the connection -----------------------------------------------------------------------------------

    def _connect(self, deadline: float) -> Connection:
        """The connection, made anew where it is dead; threads that come meanwhile wait for the one that makes it."""
        with self._state:
            self._after_fork()
            while True:
                connection = self._connection
                if connection is not None and connection.dead is None:
                    if time.monotonic() - connection.heard < _SILENT:
                        return connection
                    connection.close(
                        Unreachable(f"{self.where} at {self._endpoint}: not a word from it for {_SILENT:g} s")
                    )
                attempt = self._attempt
                if attempt is None:
                    attempt = self._attempt = _Attempt(deadline)
                    break
                if not attempt.wait(self._state, deadline):
                    raise Unreachable(f"{self.where}: no connection in time")
                # An attempt that had as long as this call would have is as good as its own.
                if attempt.error is not None and attempt.deadline >= deadline - 1.0:
                    raise type(attempt.error)(str(attempt.error)) from None
                if time.monotonic() >= deadline:
                    raise Unreachable(f"{self.where}: no connection in time")
        try:
            self._connection = self._dial(deadline)
        except DrError as error:
            attempt.error = error
            raise
        finally:
            with self._state:
                attempt.done = True
                self._attempt = None
                self._state.notify_all()
        return self._connection

    def _pass_over(self, connection: Connection) -> None:
        """The node behind a connection that died is asked last when another one is made."""
        with self._state:
            if self._connection is connection:
                self._connection = None
                self._avoid, self._endpoint = self._endpoint, None

    def _dial(self, deadline: float) -> Connection:
        """Try the endpoints in order, the one that answered last time first, the one that fell silent last; all within the deadline."""
        order = sorted(self._endpoints, key=lambda endpoint: (endpoint == self._avoid, endpoint != self._endpoint))
        failed: list[DrError] = []
        for number, endpoint in enumerate(order):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            share = left / (len(order) - number)
            words = ssh_words(endpoint, self.options, ["python3", "-ISu", "-c", BOOTSTRAP], connect_timeout=share)
            connection = self._start(words, endpoint)
            error = connection.wait_hello(time.monotonic() + share)
            if error is None:
                self._endpoint = endpoint
                return connection
            failed.append(error)
        if not failed:
            raise Unreachable(f"{self.where}: no time was left to connect")
        # What answers, but not as it should, says more than silence does.
        failed.sort(key=lambda error: isinstance(error, Unreachable))
        raise type(failed[0])("; ".join(dict.fromkeys(str(error) for error in failed)))

    def _start(self, words: Sequence[str], endpoint: Endpoint) -> Connection:
        def why(stderr: str, status: int | None, started: bool) -> DrError:
            return explain(self.where, endpoint, self.options, stderr, status, started=started)

        try:
            return Connection(words, self._payload, why)
        except OSError as error:
            raise BadInput(
                f"{self.where}: {words[0]} cannot be started ({error.strerror}); install the OpenSSH client"
            ) from None

    def _after_fork(self) -> None:
        """A forked child has no threads of its parent's connection, and must not speak on it."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._connection = None
            self._attempt = None

    def close(self) -> None:
        """End the connection; the next call makes another."""
        with self._state:
            self._after_fork()
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(Unreachable(f"{self.where}: the connection was closed"))
        self._master.close()

    # -- bulk data ------------------------------------------------------------------------------------------

    def bulk(self, words: Sequence[str]) -> Bulk:
        """Run words on the array with stdin and stdout as a channel for many bytes, over a connection of its own (shared by bulk channels)."""
        if self._endpoint is None:
            self._connect(time.monotonic() + self.timeout)
        assert self._endpoint is not None
        return Bulk(self.where, self._endpoint, self.options, words, self._master, timeout=self.timeout)


class _Attempt:
    """A connection being made: who waits for it shares its failure."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.done = False
        self.error: DrError | None = None

    def wait(self, state: threading.Condition, deadline: float) -> bool:
        """Whether it has ended by then; the lock of `state` is held by the caller."""
        return state.wait_for(lambda: self.done, max(0.0, deadline - time.monotonic()))


def _error(kind: str, sentence: str) -> DrError:
    """The error that the array names; one that is not known here is a DeviceFault."""
    name, _, mark = kind.partition(":")
    found = getattr(errors, name, None)
    if found is NotReady:
        return NotReady(sentence, missing=mark == "missing")
    if isinstance(found, type) and issubclass(found, DrError) and found.__init__ is DrError.__init__:
        return found(sentence)
    return DeviceFault(sentence)
