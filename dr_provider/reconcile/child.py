"""A command run to its end or its time-out, with everything that it starts; what it wrote is kept, up to a bound and without secrets."""

from __future__ import annotations

import base64
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from dr_provider.model.plain import plain

__all__ = ["KEPT", "Ended", "Mask", "run_child"]

KEPT = 8 << 10
"""Bytes of output that are kept: the last ones."""
_LATE = 15.0
"""Seconds after its time-out in which the supervisor must have ended a command."""
_BEGAN = "began "
_SUPERVISOR = Path(__file__).with_name("supervisor.py")


@dataclass(frozen=True)
class Ended:
    """How it ended: `exit` and `signal` with their number, `timeout`, `missing` (it could not be started; why), `lost` (its supervisor is gone)."""

    how: Literal["exit", "signal", "timeout", "missing", "lost"]
    number: int = 0
    why: str = ""
    output: str = ""

    @property
    def well(self) -> bool:
        return self.how == "exit" and self.number == 0


class Mask:
    """Takes secrets out of text: as they are, line by line, and as JSON, URLs and Base64 write them."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms: set[str] = set()
        for secret in secrets:
            for part in {secret, *secret.splitlines()}:
                forms |= {part, part.strip(), json.dumps(part)[1:-1], quote(part, safe=""), quote(part)}
            forms.add(base64.b64encode(secret.encode()).decode().rstrip("="))
        # The longest first: one secret may be the beginning of another.
        self._forms = sorted((form for form in forms if form), key=lambda form: (-len(form), form))
        self.margin = max((len(form.encode()) for form in self._forms), default=0)

    def text(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, "***")
        return text


def run_child(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, seconds: float, mask: Mask
) -> Ended:
    """Run it in `folder` with just this environment, for so many seconds at most. Its standard input is empty."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        words = [sys.executable, "-I", "-S", str(_SUPERVISOR), str(theirs.fileno()), str(seconds), *command]
        try:
            process = subprocess.Popen(
                words,
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return Ended("missing", why=mask.text(str(getattr(error, "strerror", None) or error)))
        theirs.close()
        assert process.stdout is not None
        with process.stdout as stream:
            until = time.monotonic() + seconds + _LATE
            how, output = _listen(process.pid, ours, stream.fileno(), until, KEPT + mask.margin)
            process.wait()
    return _ended(how, _kept(output, mask), mask)


def _listen(supervisor: int, status: socket.socket, stream: int, until: float, most: int) -> tuple[str, bytearray]:
    """How the supervisor says that the command ended (empty: it cannot say any more, and both were killed), and the last bytes of the output,
    with one more where there were others."""
    told, output = "", bytearray()
    with selectors.DefaultSelector() as watched:
        watched.register(status, selectors.EVENT_READ)
        watched.register(stream, selectors.EVENT_READ)
        while watched.get_map():
            ready = watched.select(max(0.0, until - time.monotonic()))
            if not ready:
                # In the kernel's hands: nothing can be waited for any longer.
                if status in watched.get_map():
                    _kill(supervisor, told)
                break
            for key, _ in ready:
                if key.fileobj == stream:
                    chunk = os.read(stream, 1 << 16)
                    output += chunk
                    del output[: max(0, len(output) - most - 1)]
                    if not chunk:
                        watched.unregister(stream)
                elif chunk := status.recv(1 << 12):
                    told += chunk.decode("utf-8", "replace")
                else:
                    watched.unregister(status)
                    if not _end(told):
                        _kill(supervisor, told)
                    # All who could write are gone; what they wrote stands in the pipe.
                    until = min(until, time.monotonic() + 1.0)
    return _end(told), output


def _end(told: str) -> str:
    """Of the supervisor's lines the one on how the command ended; empty: there is none."""
    return next((line for line in told.splitlines() if not line.startswith(_BEGAN)), "")


def _kill(supervisor: int, told: str) -> None:
    """The supervisor, and the process group of its command: nobody else would end that any more."""
    began = [int(line.removeprefix(_BEGAN)) for line in told.splitlines() if line.startswith(_BEGAN)]
    for group in (supervisor, *began):
        with suppress(OSError):
            os.killpg(group, signal.SIGKILL)


def _kept(output: bytearray, mask: Mask) -> str:
    """As text without secrets. Where the beginning is lost, so is as much of it as could be the rest of a secret."""
    cut = len(output) > KEPT + mask.margin
    text = mask.text(output.decode("utf-8", "replace"))
    if cut:
        text = f"[...]{text[mask.margin + 1 :]}"
    return plain(text.strip())


def _ended(line: str, output: str, mask: Mask) -> Ended:
    how, _, rest = line.partition(" ")
    if how == "exit" or how == "signal":
        return Ended("exit" if how == "exit" else "signal", int(rest), output=output)
    if how == "missing":
        return Ended("missing", why=mask.text(rest), output=output)
    return Ended("timeout" if how == "timeout" else "lost", output=output)
