"""What OpenZFS can do that zfs-fuse cannot: sizes before a send, and receives that go on where they were cut.

Tested by transcripts of OpenZFS 2.1 and 2.2 (man zfs-send, zfs-receive; cmd/zfs/zfs_main.c; lib/libzfs/libzfs_sendrecv.c), since it needs
a kernel module. zfs-fuse 0.7.0 refuses these options, so a step that was cut starts over there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .core import Context, Fault, attempt

__all__ = ["abandon", "incoming", "open_zfs", "parts", "size", "token"]

_FIELDS = re.compile(r"^\s*(bytes|toguid|fromguid|toname) = (.*)$", re.MULTILINE)


def open_zfs(ctx: Context) -> bool:
    """Whether this is OpenZFS (0.8 or newer, which is where `zfs version` came with all that is used here)."""
    found: bool = ctx.memory.once("openzfs", lambda: attempt(ctx, ["zfs", "version"]).status == 0)
    return found


def size(ctx: Context, words: Sequence[str]) -> int | None:
    """Bytes that `zfs send` with these words will write, as it estimates them; None: it does not say."""
    done = attempt(ctx, ["zfs", "send", "-nP", *words])
    if done.status != 0:
        return None
    # The lines are on stdout, and on stderr in some versions; `err` has no line ends any more.
    found = re.search(r"(?:^|\s)size\s+(\d+)", f"{done.out} {done.err}")
    return int(found.group(1)) if found else None


def token(ctx: Context, dataset: str) -> str | None:
    """What a receive of the dataset that was cut can be gone on with."""
    if not open_zfs(ctx):
        return None
    done = attempt(ctx, ["zfs", "get", "-H", "-o", "value", "receive_resume_token", dataset])
    text = done.out.strip()
    return text if done.status == 0 and text not in ("", "-") else None


def parts(ctx: Context, datasets: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Dataset -> what arrived for it of a step that was cut (see `incoming`); those with nothing are left out."""
    if not datasets or not open_zfs(ctx):
        return {}
    done = attempt(ctx, ["zfs", "get", "-H", "-o", "name,value", "receive_resume_token", *datasets])
    tokens = dict(line.split("\t") for line in done.out.splitlines())
    told = {name: incoming(ctx, text) for name, text in tokens.items() if text not in ("", "-")}
    return {name: part for name, part in told.items() if part is not None}


def incoming(ctx: Context, told: str) -> dict[str, Any] | None:
    """What a token stands for: snapshot's name and guid, its base's guid (None: a full copy) and the bytes that have arrived."""
    done = attempt(ctx, ["zfs", "send", "-nvt", told])
    # Where the source's dataset is not on this machine it says so after the contents, with a status that is not 0.
    text = re.sub(r"\s(\w+ = )", r"\n\1", f"{done.out}\n{done.err}")
    fields = {key: value.strip().strip("'\"") for key, value in _FIELDS.findall(text)}
    try:
        return {
            "snapshot": fields["toname"].partition("@")[2],
            "guid": str(int(fields["toguid"], 0)),
            "base": str(int(fields["fromguid"], 0)) if int(fields.get("fromguid", "0"), 0) else None,
            "received": int(fields["bytes"], 0),
        }
    except (KeyError, ValueError):
        return None


def abandon(ctx: Context, dataset: str) -> None:
    """Drop what a receive that was cut has left, so that another can begin."""
    if token(ctx, dataset) is None:
        return
    done = attempt(ctx, ["zfs", "receive", "-A", dataset])
    if done.status != 0 and token(ctx, dataset) is not None:
        raise Fault(
            "Busy",
            f"{ctx.where}: what arrived for {dataset} cannot be dropped ({done.err[:300]}); see what uses it there",
        )
