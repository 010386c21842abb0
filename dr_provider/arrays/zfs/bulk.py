"""Channels for many bytes to and from an array: a process of ssh each, whose stdin and stdout are the far command's.

They share one SSH connection (OpenSSH's ControlMaster), which is kept apart from the session's: data under way never stands in the way of
a call. Where it cannot be made, each channel makes its own. A shared connection ends some seconds after its last channel.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from dr_provider.arrays.zfs.connection import Tail, end_process
from dr_provider.arrays.zfs.remote.hop import private_folder, sweep
from dr_provider.arrays.zfs.ssh import Endpoint, SshOptions, explain, ssh_words
from dr_provider.model.errors import BadInput, Unreachable

__all__ = ["Bulk", "Master"]

_LINGER = 10  # seconds that a shared connection stays without a channel
_COUNT = itertools.count(1)


class Master:
    """A shared connection of this process to one array, made at the first channel."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._made: tuple[Endpoint, SshOptions] | None = None

    def path(self, endpoint: Endpoint, options: SshOptions, *, timeout: float) -> Path | None:
        """Its socket, with a connection behind it; None where there is to be none. Raises what ssh's failure to connect means."""
        deadline = time.monotonic() + timeout
        if not self._lock.acquire(timeout=timeout):
            raise Unreachable(f"{self.where} at {endpoint}: no connection for data in time")
        try:
            if self._path is None or self._made != (endpoint, options):
                folder = private_folder()
                if folder is None:
                    return None
                word = hashlib.sha256(f"{os.getpid()} {next(_COUNT)} {self.where}".encode()).hexdigest()[:12]
                self._path, self._made = folder / word, (endpoint, options)
            if not self._path.is_socket():
                sweep(self._path.parent)
                self._start(self._path, endpoint, options, max(1.0, deadline - time.monotonic()))
            return self._path
        finally:
            self._lock.release()

    def _start(self, path: Path, endpoint: Endpoint, options: SshOptions, left: float) -> None:
        words = ssh_words(endpoint, options, [], connect_timeout=left, bulk=True)
        # It goes to the background once it is connected, and holds its stderr open there: a file, for a pipe would have no end.
        with tempfile.TemporaryFile() as stderr:
            at = words.index("ControlPath=none") - 1
            persist = ["-o", f"ControlPath={path}", "-o", "ControlMaster=yes", "-o", f"ControlPersist={_LINGER}"]
            words[at : at + 4] = [*persist, "-N", "-f"]
            process = subprocess.Popen(
                words[:-1],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
            try:
                status: int | None = process.wait(left)
            except subprocess.TimeoutExpired:
                end_process(process)
                status = None
            if status != 0:
                stderr.seek(0)
                text = stderr.read().decode(errors="replace")
                raise explain(self.where, endpoint, options, text, status)

    def drop(self) -> None:
        """Use the connection no more (it was found dead); what still runs over it goes on."""
        with self._lock:
            if self._path is not None:
                self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """End the shared connection."""
        with self._lock:
            path, made, self._path = self._path, self._made, None
        if path is None or made is None or not path.is_socket():
            return
        endpoint, options = made
        words = [*options.program, "-o", f"ControlPath={path}", "-O", "exit", *endpoint.words]
        # What cannot be told to end does so by itself after its last channel.
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=2.0, check=False)


class Bulk:
    """A far command with its stdin (`input`) and stdout (`output`) as descriptors of pipes here."""

    def __init__(
        self,
        where: str,
        endpoint: Endpoint,
        options: SshOptions,
        words: Sequence[str],
        master: Master,
        *,
        timeout: float,
    ) -> None:
        self._master = master
        try:
            path = master.path(endpoint, options, timeout=timeout)
            self._process = subprocess.Popen(
                ssh_words(endpoint, options, words, connect_timeout=timeout, master=path, bulk=True),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            raise BadInput(
                f"{where}: {options.program[0]} cannot be started ({error.strerror}); install the OpenSSH client"
            ) from None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._input = self._process.stdin
        self._output = self._process.stdout
        self._tail = Tail(self._process.stderr)
        self.input = self._input.fileno()
        self.output = self._output.fileno()

    def finish(self, timeout: float) -> tuple[int | None, str]:
        """Close its stdin and wait: exit status (None: it did not end in time and was killed; 255: the channel broke) and its last words."""
        with contextlib.suppress(OSError):
            self._input.close()
        try:
            status: int | None = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            status = None
        self.kill()
        if status in (None, 255):
            self._master.drop()
        return status, " ".join(self._tail.text().split())

    def kill(self) -> None:
        """End it at once; the far command sees its stdin and stdout close."""
        with contextlib.suppress(OSError):
            self._input.close()
        end_process(self._process)
        self._output.close()
