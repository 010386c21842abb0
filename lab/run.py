"""Running commands and waiting for conditions: bounded, and with a sentence when it does not come true."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from lab.layout import LabError

__all__ = ["ENVIRONMENT", "Result", "last_lines", "run", "wait_for"]

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}
"""For what runs inside machines and for the system's own tools: neither a venv nor a user's settings reach them."""

POLL = 0.02

T = TypeVar("T")


class Result(NamedTuple):
    """What a command ended with."""

    rc: int
    out: str
    err: str


def run(
    words: Sequence[str],
    *,
    what: str,
    input: str | None = None,  # noqa: A002
    timeout: float = 30.0,
    check: bool = True,
) -> Result:
    """Run a command to its end. Raises LabError when it is not there, takes too long, or fails while `check`."""
    try:
        done = subprocess.run(
            list(words),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            env=ENVIRONMENT,
            cwd="/",
        )
    except FileNotFoundError:
        raise LabError(
            f"{what}: there is no command {words[0]}: run `make lab`, which installs what is missing"
        ) from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{what}: `{' '.join(words)}` did not end within {timeout:.0f} s") from None
    if check and done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing was said").splitlines()[-1]
        raise LabError(f"{what}: `{' '.join(words)}` ended with {done.returncode}: {said}")
    return Result(done.returncode, done.stdout, done.stderr)


def wait_for(found: Callable[[], T | None], *, within: float, otherwise: Callable[[], str], poll: float = POLL) -> T:
    """The first value of `found` that is neither None nor False. Raises LabError with the sentence after `within` seconds."""
    end = time.monotonic() + within
    while True:
        value = found()
        if value is not None and value is not False:
            return value
        if time.monotonic() > end:
            raise LabError(otherwise())
        time.sleep(poll)


def last_lines(log: Path, count: int = 5) -> str:
    """The end of a log for a sentence, on one line."""
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return f"there is no {log}"
    return f"{log} ends: {' | '.join(lines[-count:])}" if lines else f"{log} is empty"
