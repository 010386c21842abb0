"""What `dr doctor` can say of an embedded device's file; both embedded drivers share it, since neither may import the other."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from dr_provider.model.findings import Finding, Room, ok, problem

__all__ = ["file_finding", "room_of"]


def file_finding(subject: str, path: Path) -> Finding:
    """Whether the file is there and this account can use it; where it is not there yet, whether it could be made."""
    if path.exists():
        # SQLite's write-ahead log stands beside the file, so the folder must be writable too.
        if os.access(path, os.R_OK | os.W_OK) and os.access(path.parent, os.W_OK):
            return ok(subject, "file", f"Its file {path} can be read and written.")
        return problem(
            subject,
            "file",
            f"This account may not write its file {path}, or the folder that it is in.",
            "Run dr as the account that the file belongs to, or give this one the right to write both.",
        )
    folder = _existing(path.parent)
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return problem(
            subject,
            "file",
            f"Its file {path} is not there, and this account cannot make it in {folder}.",
            "Give the account the right to write there, or correct the path in the topology.",
        )
    return ok(subject, "file", f"Its file {path} is not there yet, and can be made.")


def room_of(path: Path) -> Room | None:
    """The disk that the file is on, or would be on; None where that cannot be said."""
    try:
        usage = shutil.disk_usage(_existing(path.parent))
    except OSError:
        return None
    return Room(usage.total, usage.free, shared=True)


def _existing(folder: Path) -> Path:
    return next((each for each in (folder, *folder.parents) if each.exists()), folder)
