"""The array's records: files, each written whole."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .core import Context, Fault, fault_of_os, op
from .meta import changing, folder, reading, settle_names, write_synced

__all__ = ["keys", "read", "under"]

_END = "="
_LONGEST = 250  # bytes of a part: a file's name has 255


def _path(ctx: Context, key: str) -> Path:
    parts = key.rstrip("/").split("/")
    if any(len(part) > _LONGEST for part in parts):
        raise Fault(
            "BadInput",
            f"record key {key!r}: a part has more than {_LONGEST} characters on {ctx.where}; nothing was done",
        )
    return folder(ctx).joinpath("records", *parts[:-1], parts[-1] + _END)


def keys(ctx: Context, prefix: str) -> list[str]:
    """Every key that begins with the prefix, in order."""
    base = folder(ctx) / "records"
    head, _, _ = prefix.rpartition("/")
    found = _walk(base / head if head else base, f"{head}/" if head else "")
    return sorted(key for key in found if key.startswith(prefix))


def _walk(place: Path, before: str) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(place), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.name.endswith(_END):
            yield before + entry.name[: -len(_END)]
        elif not entry.name.startswith("."):
            yield from _walk(Path(entry.path), f"{before}{entry.name}/")


def read(ctx: Context, key: str) -> str | None:
    try:
        # What is no UTF-8 was damaged: its reader says which record it is.
        return _path(ctx, key).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise fault_of_os(ctx, error, f"reading record {key}") from error


def under(ctx: Context, prefix: str) -> dict[str, str]:
    """The records under the prefix but for its blobs."""
    found = {}
    for key in keys(ctx, prefix):
        if not key.startswith(f"{prefix}blob/"):
            text = read(ctx, key)
            if text is not None:
                found[key] = text
    return found


def _write(ctx: Context, key: str, value: str) -> None:
    path = _path(ctx, key)
    draft = path.with_name(f".{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_synced(ctx, draft, value.encode())
            draft.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise
        settle_names(ctx, path.parent)
    except OSError as error:
        raise fault_of_os(ctx, error, f"writing record {key}") from error


@op("read_record")
def read_record(ctx: Context, *, key: str) -> str | None:
    with reading(ctx):
        return read(ctx, key)


@op("create_record")
def create_record(ctx: Context, *, key: str, value: str, guard: dict[str, Any] | None = None) -> bool:
    with changing(ctx, guard) as change:
        if read(ctx, key) is not None:
            return False
        change.touch()
        _write(ctx, key, value)
        return True


@op("put_record")
def put_record(ctx: Context, *, key: str, value: str, guard: dict[str, Any] | None = None) -> None:
    with changing(ctx, guard) as change:
        if read(ctx, key) != value:
            change.touch()
            _write(ctx, key, value)


@op("delete_record")
def delete_record(ctx: Context, *, key: str, guard: dict[str, Any] | None = None) -> None:
    with changing(ctx, guard) as change:
        if read(ctx, key) is None:
            return
        change.touch()
        path = _path(ctx, key)
        try:
            path.unlink()
            settle_names(ctx, path.parent)
        except OSError as error:
            raise fault_of_os(ctx, error, f"deleting record {key}") from error
