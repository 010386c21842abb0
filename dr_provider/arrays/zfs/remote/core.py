"""What every operation on a zfs array has in common: the registry of operations, faults, and running a command under a deadline.

An operation is a function `f(ctx, **args)` that takes and returns what JSON can say; `@op("name")` makes it known to the server.
A `Fault` names its kind by the class of `dr_provider.model.errors` that the operator's side raises ("NotReady:missing" for the
one that may be made).
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .listing import Listing

__all__ = [
    "OPS",
    "Context",
    "Done",
    "Fault",
    "Memory",
    "attempt",
    "command",
    "configure",
    "environment",
    "fault_of",
    "fault_of_os",
    "op",
    "run",
    "zfs",
]

BUSY_PATIENCE = 3.0  # seconds; zfs-fuse unmounts asynchronously, so that "dataset is busy" often ends within 0.1 s
_BUSY_PAUSE = 0.05
_GRACE = 1.0  # seconds kept back from a call's deadline, so that the sentence about it still arrives

_TELLING = ("get", "hold", "list", "mount", "release", "send", "umount", "version")
"""Commands of zfs that change nothing of what a listing says."""

OPS: dict[str, Callable[..., Any]] = {}


def op(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function known to the server as the operation `name`."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        OPS[name] = function
        return function

    return register


class Fault(Exception):
    """An operation ends without what was asked. `kind`: the name of a class of dr_provider.model.errors."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


class Done(NamedTuple):
    """A command that has ended. `err` is its stderr without line ends."""

    status: int
    out: str
    err: str


class Memory:
    """What one server process has found out about its array and need not ask again."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._known: dict[str, Any] = {}
        self.listing: Listing | None = None
        """See listing.py."""
        self.listing_turn = threading.Lock()

    def once(self, key: str, find: Callable[[], Any]) -> Any:
        with self._lock:
            if key not in self._known:
                self._known[key] = find()
            return self._known[key]

    def forget(self, key: str) -> None:
        with self._lock:
            self._known.pop(key, None)


class Context:
    """One call, as its operation sees it. The server and tests say how progress gets out and whether the caller has given up.

    `config`: the array's settings as the operator's side sent them (`_config` in arrays/zfs/array.py). `deadline`: of
    time.monotonic(), as is `came`: when the call was made. `execute` runs a command; tests put transcripts in its place.
    """

    def __init__(
        self,
        *,
        deadline: float,
        config: Mapping[str, Any] | None = None,
        memory: Memory | None = None,
        execute: Callable[[Sequence[str], float], Done] | None = None,
    ) -> None:
        config = _configured.config if config is None else config
        self.config = config
        self.memory = memory or _configured.memory
        self.came = time.monotonic()
        self.deadline = deadline
        self.execute = execute or _execute
        name, site = str(config["name"]), str(config.get("site", ""))
        self.where = f"array {name} at site {site}" if site else f"array {name}"
        self.pool = str(config["pool"])
        self.root = f"{self.pool}/{config['dataset']}"
        self.sudo = bool(config.get("sudo", False))

    def left(self) -> float:
        """Seconds until the call must have answered."""
        return self.deadline - time.monotonic()

    def emit(self, count: int) -> None:
        """Tell the caller how far the call has come; bytes so far."""

    def cancelled(self) -> bool:
        """Whether the caller has given the call up; an operation that can take long asks this between its steps."""
        return False


class _Configured:
    config: Mapping[str, Any] = {}
    memory = Memory()


_configured = _Configured()


def configure(config: Mapping[str, Any]) -> None:
    """Set what every call of this process is about; once, before the first."""
    _configured.config = config
    _configured.memory = Memory()


# -- commands ---------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """What commands run with: their words in English, and the folders where administrators' programs are."""
    kept = {name: os.environ[name] for name in ("HOME", "USER", "LOGNAME") if name in os.environ}
    path = os.environ.get("PATH", "/usr/bin:/bin")
    return {**kept, "LC_ALL": "C", "PATH": f"{path}:/usr/local/sbin:/usr/sbin:/sbin"}


def _execute(words: Sequence[str], seconds: float) -> Done:
    """Raises subprocess.TimeoutExpired, FileNotFoundError."""
    process = subprocess.Popen(
        list(words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        # Not waited for: a command of a suspended pool cannot be killed before the pool moves again.
        raise
    return Done(process.returncode, out.decode("utf-8", "replace"), _one_line(err.decode("utf-8", "replace")))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def command(ctx: Context, words: Sequence[str]) -> list[str]:
    """The words as they are run: through sudo where the array is set up so."""
    return ["sudo", "-n", "--", *words] if ctx.sudo else list(words)


def attempt(ctx: Context, words: Sequence[str]) -> Done:
    """Run a command to its end, whatever it ends with. Raises Fault where it does not end in time or cannot be started."""
    if words[0] == "zfs" and words[1] not in _TELLING:
        ctx.memory.listing = None  # whatever becomes of it: what was read before may be no longer so
    seconds = ctx.left() - _GRACE
    if seconds <= 0:
        raise Fault("Unreachable", f"{ctx.where} had no time left for {words[0]!r}; look at its load, then try again")
    try:
        return ctx.execute(command(ctx, words), seconds)
    except subprocess.TimeoutExpired:
        raise Fault(
            "Unreachable",
            f"{ctx.where}: `{_said(words)}` did not end within {seconds:.0f} s; see `zpool status {ctx.pool}` there: the pool may be suspended",
        ) from None
    except FileNotFoundError:
        missing = "sudo" if ctx.sudo else words[0]
        raise Fault(
            "NotReady", f"{ctx.where}: the program {missing!r} is not there; install it, or name the right machine"
        ) from None


def run(ctx: Context, words: Sequence[str], *, patience: float = BUSY_PATIENCE) -> str:
    """Run a command that must succeed; its stdout. What it says on stderr decides the kind of Fault.

    `patience`: seconds in which "busy" is tried again.
    """
    end = time.monotonic() + patience
    while True:
        done = attempt(ctx, words)
        if done.status == 0:
            return done.out
        fault = fault_of(ctx, words, done)
        if fault.kind != "Busy" or time.monotonic() >= end or ctx.left() < _GRACE + _BUSY_PAUSE:
            raise fault
        time.sleep(_BUSY_PAUSE)


def zfs(ctx: Context, *words: str, patience: float = BUSY_PATIENCE) -> str:
    return run(ctx, ["zfs", *words], patience=patience)


def _said(words: Sequence[str]) -> str:
    """The words for a sentence: long property values cut short, and passwords left out."""
    if "--password" in words:
        words = words[: words.index("--password")]
    return " ".join(word if len(word) <= 80 else f"{word[:60]}..." for word in words[:12])


# Words of zfs, zpool, sudo and the kernel (zfs-fuse 0.7.0; OpenZFS 2.x lib/libzfs/libzfs_util.c) -> kind and what to do. First match decides.
_WORDS = (
    ("a password is required", "NotReady", "let the account run it by sudo without a password"),
    ("is not allowed to execute", "NotReady", "let the account run it by sudo"),
    ("is not in the sudoers file", "NotReady", "let the account run it by sudo"),
    ("zfs-fuse daemon is running", "NotReady", "start zfs-fuse on that machine"),
    ("zfs modules are not loaded", "NotReady", "load the zfs kernel module on that machine"),
    ("/dev/zfs", "NotReady", "see that zfs runs there and that the account may use it (or set sudo: true)"),
    ("i/o is currently suspended", "NotReady", "mend its devices, then `zpool clear` it"),
    ("no such pool", "NotReady", "import the pool"),
    ("permission denied", "NotReady", "give the account the right to do it (zfs allow, or sudo: true)"),
    ("out of space", "ArrayFull", "delete snapshots or safety copies, or enlarge the pool or its quota"),
    ("no space left", "ArrayFull", "delete snapshots or safety copies, or enlarge the pool or its quota"),
    ("quota exceeded", "ArrayFull", "delete snapshots or safety copies, or enlarge the quota"),
    ("is busy", "Busy", "see what uses it there (a shell, an open file, a hold set by hand)"),
    ("resource busy", "Busy", "see what uses it there (a shell, an open file, a hold set by hand)"),
    ("dataset does not exist", "NotFound", "see `zfs list -t all` there"),
    ("could not find any snapshots", "NotFound", "see `zfs list -t all` there"),
    ("already exists", "Conflict", "see `zfs list -t all` there"),
    (
        "checksum mismatch",
        "CorruptRecord",
        "what arrived is not what was sent, and nothing of it appears; the next transfer sends it again",
    ),
    (
        "bad magic number",
        "CorruptRecord",
        "what arrived is no stream of zfs, and nothing of it appears; the next transfer sends it again",
    ),
    (
        "invalid backup stream",
        "DeviceFault",
        "the stream ended before its end, and nothing of it appears; the next transfer sends it again",
    ),
    ("name is too long", "BadInput", "choose shorter names for the plan, the volume or the dataset"),
)


def fault_of(ctx: Context, words: Sequence[str], done: Done) -> Fault:
    """What a command that failed means."""
    low = done.err.lower()
    for text, kind, advice in _WORDS:
        if text in low:
            return Fault(kind, f"{ctx.where}: `{_said(words)}` failed: {done.err[:500]}; {advice}")
    said = done.err[:500] or f"status {done.status} and no word"
    return Fault("DeviceFault", f"{ctx.where}: `{_said(words)}` failed: {said}; mend that, then try again")


def fault_of_os(ctx: Context, error: OSError, what: str) -> Fault:
    """What an error of the file system means: `what` (a clause: "writing the image of LUN x") failed."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Fault(
            "ArrayFull",
            f"{ctx.where} is full: {what} found no room; delete snapshots or safety copies, or enlarge the pool or its quota",
        )
    if error.errno in (errno.ENOTCONN, errno.EIO):
        return Fault(
            "NotReady",
            f"{ctx.where}: {what} failed ({error.strerror}): the file system of {ctx.root} does not answer; see `zpool status {ctx.pool}` there",
        )
    return Fault("DeviceFault", f"{ctx.where}: {what} failed ({error.strerror}); mend that, then try again")
