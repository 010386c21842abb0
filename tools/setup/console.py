"""Running commands for a person who waits: what is going on, for how long already, and what went wrong."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

__all__ = ["Gone", "SetupError", "held_by_children", "probe", "run", "say"]

PROGRESS_EVERY = 10.0
POLL = 0.2
LAST_LINES = 15

# File descriptors that every command inherits: the locks that it, too, is to hold.
held_by_children: list[int] = []


class SetupError(Exception):
    """Set-up cannot go on; the message is one sentence for the person who called make."""


class Gone(SetupError):
    """A command was ended because nothing came of it."""


def say(text: str) -> None:
    """One progress line. On stderr, so that what a make target prints on stdout stays what it is."""
    print(f"set-up: {text}", file=sys.stderr, flush=True)


def probe(
    argv: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None, timeout: float = 30.0
) -> str | None:
    """The stdout of a short command, or None when it fails, hangs or is not there."""
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
            text=True,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a command with everything it started (an installer runs curl, go runs compilers)."""
    for signal_number in (15, 9):
        try:
            os.killpg(process.pid, signal_number)
            process.wait(timeout=5)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def run(
    argv: Sequence[str],
    *,
    label: str,
    log: Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    progress: Callable[[str], str] | None = None,
    alive: Callable[[], int] | None = None,
    silence: float = 0.0,
    quiet: bool = False,
) -> None:
    """Run a command to its end, its output in `log`, with a line of progress every ten seconds.

    `progress` turns the log so far into a few words for that line. With `alive` and `silence`, the command is ended
    when the number that `alive` returns has not changed for `silence` seconds. Raises SetupError when the command fails
    (its last lines are shown unless `quiet`), Gone when it was ended.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    started = changed = shown = time.monotonic()
    last_sign = -1
    with log.open("wb") as output:
        # A session of its own: the whole group can be ended, and is, when set-up itself is interrupted.
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=held_by_children,
        )
        try:
            while True:
                try:
                    process.wait(timeout=POLL)
                    break
                except subprocess.TimeoutExpired:
                    pass
                now = time.monotonic()
                if alive is not None and (sign := alive()) != last_sign:
                    last_sign, changed = sign, now
                if alive is not None and now - changed > silence:
                    raise Gone(f"{label}: nothing came for {silence:.0f} s")
                if now - shown >= PROGRESS_EVERY:
                    shown = now
                    more = progress(log.read_text(errors="replace")) if progress is not None else ""
                    say(f"{label}: {now - started:.0f} s{', ' + more if more else ''}")
        finally:
            if process.poll() is None:
                _end_group(process)
    if process.returncode != 0:
        for line in [] if quiet else log.read_text(errors="replace").splitlines()[-LAST_LINES:]:
            print(f"    {line}", file=sys.stderr)
        raise SetupError(f"{label} failed (exit status {process.returncode}); the whole output is in {log}")
