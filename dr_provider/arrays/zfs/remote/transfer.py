"""A replication step on the arrays: how large it is, its begin and end at the destination, and the way of its bytes straight from the source.

The data itself flows outside the array's lock. Between begin and finish the destination is kept by `meta.taking`, which lives as long as
the connection over which the step was begun: whoever is cut off keeps nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

from . import arrivals, landings, resume
from .core import Context, Done, Fault, command, environment, fault_of, op
from .datasets import catalog, need_volume
from .hop import Shared, ended, hop_words, reaches
from .listing import values
from .meta import changing, reading, ready, taking
from .points import Points, need_point, points
from .pump import Stalled, pump
from .receiving import stop_receiving

__all__ = ["send_words"]

_PAUSE = 0.05
_AGAIN = 0.5  # seconds between two words to an older transfer that it is to end
_CONNECT = 5.0  # seconds
_TAIL = 60.0  # seconds that a receiver has after the last byte, while its connection lives

_begun: dict[str, contextlib.ExitStack] = {}
_shared = Shared()


# -- the source -------------------------------------------------------------------------------------


@op("transfer.describe")
def describe(ctx: Context, *, volume: str, base: str | None, snapshot: str) -> dict[str, Any]:
    """The step of `arrivals.describe`, with `total` (bytes of the step, mostly an estimate), `openzfs`, and `before`: the words that a command of zfs
    is to have before it where it is not this program that runs it."""
    with reading(ctx):
        step, known = arrivals.describe(ctx, volume, base, snapshot)
    total = _size(ctx, step["dataset"], base, snapshot, known)
    return {**step, "total": total, "openzfs": resume.open_zfs(ctx), "before": _before(ctx)}


def _before(ctx: Context) -> list[str]:
    return ["env", "LC_ALL=C", f"PATH={environment()['PATH']}", *command(ctx, [])]


@op("transfer.estimate")
def estimate(ctx: Context, *, volume: str, base: str | None, snapshot: str | None) -> int:
    """Bytes between a base and a snapshot (None: now). Nothing of the data is read for it."""
    with reading(ctx):
        mine = need_volume(ctx, catalog(ctx), volume)
        known = points(ctx, [mine])[mine.dataset]
    point = need_point(ctx, mine, known, snapshot) if snapshot is not None else None
    if base is not None and base == snapshot:
        return 0
    arrivals.older_point(ctx, mine, known, base, point)
    return _size(ctx, mine.dataset, base, snapshot, known)


def _size(ctx: Context, dataset: str, base: str | None, snapshot: str | None, known: Points) -> int:
    if resume.open_zfs(ctx):
        if snapshot is not None:
            told = resume.size(ctx, send_words(dataset, base, snapshot, compressed=False)[2:])
            if told is not None:
                return told
        elif base is not None:
            key = f"written@{base}"
            written = values(ctx, [dataset], [key]).get(dataset, {}).get(key, "-")
            if written.isdigit():
                return int(written)
    end = known.rows[dataset if snapshot is None else f"{dataset}@{snapshot}"]
    if base is None:
        return int(end["referenced"])
    # zfs-fuse sizes no send. What has grown, and what was freed since (it is used by the snapshots in between alone), is about what was
    # written; what older snapshots hold as well is not counted.
    first = known.all.index(f"{dataset}@{base}")
    last = len(known.all) if snapshot is None else known.all.index(f"{dataset}@{snapshot}")
    grown = int(end["referenced"]) - int(known.rows[f"{dataset}@{base}"]["referenced"])
    return max(0, grown) + sum(int(known.rows[name]["used"]) for name in known.all[first:last])


def send_words(
    dataset: str, base: str | None, snapshot: str, *, compressed: bool, token: str | None = None
) -> list[str]:
    """`zfs send` of a step; `token`: the rest of one that was cut."""
    if token is not None:
        return ["zfs", "send", "-t", token]
    words = ["zfs", "send", *(["-c"] if compressed else [])]
    return [*words, *(["-i", f"@{base}"] if base is not None else []), f"{dataset}@{snapshot}"]


@op("transfer.reach")
def reach(ctx: Context, *, to: Mapping[str, Mapping[str, Any]]) -> dict[str, bool]:
    """Which of the arrays (name -> address) this one reaches."""
    seconds = max(0.2, min(3.0, ctx.left() / (2 * max(1, len(to)))))
    return {name: reaches(address, seconds) for name, address in to.items()}


@op("transfer.connect")
def connect(ctx: Context, *, to: Mapping[str, Any]) -> None:
    """Have a shared connection to another array stand by for a small step. Why there can be none is said by the step itself."""
    _shared.master(to, environment(), min(ctx.left(), _CONNECT))


@op("transfer.direct")
def direct(
    ctx: Context,
    *,
    send: Sequence[str],
    receive: Sequence[str],
    to: Mapping[str, Any],
    idle: float,
    rate: int | None,
    small: bool,
) -> dict[str, Any]:
    """Send straight to another array: `zfs send | ssh zfs receive`. `small`: few bytes, so that a connection that is shared is cheaper;
    large steps have one each, since ssh ciphers with one processor a connection.

    The answer: bytes `moved`, and of `send` and `receive` the exit status (None: killed, after the other had failed) and last words. Whether
    the snapshot has arrived only the destination knows. Raises Unreachable where no byte moves for `idle` seconds, Stopped.
    """
    connect = min(idle, _CONNECT)
    master, said = _shared.master(to, environment(), connect) if small else (None, "")
    if said:
        return {"moved": 0, "send": (None, ""), "receive": (255, said)}
    with contextlib.ExitStack() as stack:
        sender = _Process(stack, command(ctx, send), stdout=subprocess.PIPE)
        receiver = _Process(stack, hop_words(to, receive, connect, master=master), stdin=subprocess.PIPE)
        assert sender.process.stdout is not None
        assert receiver.process.stdin is not None
        moved = 0

        def tell(count: int) -> None:
            nonlocal moved
            moved = count
            ctx.emit(count)

        try:
            pump(
                sender.process.stdout.fileno(),
                receiver.process.stdin.fileno(),
                idle=idle,
                rate=rate,
                tell=tell,
                stopped=ctx.cancelled,
            )
        except Stalled as stalled:
            what = "gave nothing more" if stalled.side == "source" else f"took nothing more on {to['host']}"
            if master is not None:
                _shared.lost(master)
            side = "zfs send" if stalled.side == "source" else "zfs receive"
            raise Fault("Unreachable", f"{ctx.where}: {side} {what} for {idle:g} s after {moved} bytes") from None
        except BrokenPipeError:
            pass  # the receiver has ended before all was sent: its words say why
        # Else the sender, which is not told that its reader is gone before it writes, holds up a receiver that has failed.
        sender.process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            receiver.process.stdin.close()
        until = time.monotonic() + idle + _TAIL
        while ended(receiver.process, _PAUSE) is None and not ctx.cancelled() and time.monotonic() < until:
            ctx.emit(moved)
        if ctx.cancelled():
            raise Fault("Stopped", f"{ctx.where}: the transfer was stopped after {moved} bytes")
        return {"moved": moved, "send": sender.end(), "receive": receiver.end()}


class _Process:
    """A process whose words on stderr are kept, and which does not outlive its stack."""

    def __init__(
        self, stack: contextlib.ExitStack, words: Sequence[str], *, stdin: int | None = None, stdout: int | None = None
    ) -> None:
        self._words: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # the stack closes it
        self.process = subprocess.Popen(
            list(words),
            stdin=stdin or subprocess.DEVNULL,
            stdout=stdout or subprocess.DEVNULL,
            stderr=self._words,
            env=environment(),
            start_new_session=True,
            bufsize=0,
        )
        stack.callback(self.end, 0.0)

    def end(self, wait: float = 2.0) -> tuple[int | None, str]:
        """Wait a little, then kill it; status and last words."""
        status = ended(self.process, wait)
        if status is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            ended(self.process, 1.0)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._words.seek(0)
        return status, " ".join(self._words.read().decode(errors="replace").split())[-2000:]


# -- the destination ----------------------------------------------------------------------------------


@op("transfer.begin")
def begin(
    ctx: Context,
    *,
    volume: str,
    stream: dict[str, Any],
    start: int,
    owner: list[str],
    group: str,
    guard: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Make ready for a step: {"have": True}, or the words to `receive` with, a `token` to resume with or None, and the `begun` to name later."""
    ready(ctx)
    with contextlib.ExitStack() as stack:
        _take(ctx, stack, volume)
        going_on = _going_on(ctx, volume, stream, start) if start else None
        answer = arrivals.begin(ctx, volume, stream, owner, group, guard, keep=going_on is not None)
        if answer.get("have"):
            return {"have": True}
        dataset = answer["dataset"]
        open_zfs = resume.open_zfs(ctx)
        if open_zfs and going_on is None:
            resume.abandon(ctx, dataset)
        options = ["-s", "-u"] if open_zfs else []
        begun = os.urandom(8).hex()
        _begun[begun] = stack.pop_all()
        name = f"{dataset}@{stream['snapshot']['name']}"
        return {
            "have": False,
            "begun": begun,
            "token": going_on,
            "openzfs": open_zfs,
            "receive": [*_before(ctx), "zfs", "receive", *options, name],
        }


def _take(ctx: Context, stack: contextlib.ExitStack, volume: str) -> None:
    """Keep the volume for this transfer. One that was begun before is told to end, by the end of its `zfs receive`: the newer one counts."""
    ended = 0.0
    while not stack.enter_context(taking(ctx, volume)):
        stack.close()
        if ctx.left() < 2.0:
            raise Fault("Busy", f"volume {volume} on {ctx.where}: another transfer comes in for it; wait for its end")
        if time.monotonic() - ended > _AGAIN:  # it may not have come to its receive yet
            ended = time.monotonic()
            with changing(ctx):
                mine = catalog(ctx).volumes.get(volume)
                stop_receiving(ctx, [f"{ctx.root}/incoming/{volume}", *([mine.dataset] if mine is not None else [])])
        time.sleep(_PAUSE)


def _going_on(ctx: Context, volume: str, stream: dict[str, Any], start: int) -> str:
    """The token of what arrived before, which must be what the step leaves out."""
    with reading(ctx):
        mine = catalog(ctx).volumes.get(volume)
    dataset = mine.dataset if mine is not None and stream["base"] is not None else f"{ctx.root}/incoming/{volume}"
    token = resume.token(ctx, dataset)
    part = resume.incoming(ctx, token) if token is not None else None
    base = stream["base"]["guid"] if stream["base"] is not None else None
    same = part is not None and (part["guid"], part["base"]) == (stream["snapshot"]["guid"], base)
    has = part["received"] if part is not None and same else 0
    if token is None or has != start:
        raise Fault(
            "Conflict",
            f"volume {volume} on {ctx.where} has the first {has} bytes of the step, not {start}; send it from there",
        )
    return token


@op("transfer.finish")
def finish(
    ctx: Context,
    *,
    volume: str,
    begun: str,
    stream: dict[str, Any],
    owner: list[str],
    group: str,
    status: int | None,
    said: str,
    guard: dict[str, Any] | None = None,
) -> None:
    """Take up what arrived. Where it did not, the words of `zfs receive` (`said`) decide the fault."""
    if begun not in _begun:
        raise Fault(
            "Unreachable",
            f"volume {volume} on {ctx.where}: the connection was cut while its transfer was under way; transfer it again",
        )
    try:
        landings.finish(ctx, volume, stream, group, guard)
    except Fault as fault:
        if fault.kind == "CorruptRecord" and status not in (0, None) and said:
            raise fault_of(ctx, ["zfs", "receive", volume], Done(status, "", said)) from None
        raise
    _begun.pop(begun).close()


@op("transfer.drop")
def drop(ctx: Context, *, volume: str, begun: str) -> None:
    """After a step that came to no end. What a later one can go on with stays."""
    stack = _begun.pop(begun, None)
    if stack is None:
        return
    with stack:
        if resume.open_zfs(ctx) and _kept(ctx, volume):
            return
        arrivals.drop(ctx, volume)


def _kept(ctx: Context, volume: str) -> bool:
    """Whether what arrived can be resumed. The receiver is ended first: only then does it leave its token."""
    with changing(ctx):
        mine = catalog(ctx).volumes.get(volume)
        datasets = [f"{ctx.root}/incoming/{volume}", *([mine.dataset] if mine is not None else [])]
        stop_receiving(ctx, datasets)
        return any(resume.token(ctx, dataset) is not None for dataset in datasets)
