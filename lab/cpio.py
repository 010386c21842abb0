"""Archives for the kernel's initramfs: cpio "newc" (Linux, Documentation/driver-api/early-userspace/buffer-format.rst), gzip.

Written here rather than by cpio(1), so that device nodes need no privilege and the same tree gives the same bytes.
"""

from __future__ import annotations

import gzip
import stat
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Entry", "archive"]


@dataclass(frozen=True)
class Entry:
    """A file, link, folder or device node; `mode` with its type bits."""

    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)

    @classmethod
    def file(cls, data: bytes, *, executable: bool = False) -> Entry:
        return cls(stat.S_IFREG | (0o755 if executable else 0o644), data)

    @classmethod
    def link(cls, target: str) -> Entry:
        return cls(stat.S_IFLNK | 0o777, target.encode())


def _record(number: int, name: str, entry: Entry) -> bytes:
    path = name.encode() + b"\0"
    fields = (
        *(number, entry.mode, 0, 0, 1, 0, len(entry.data)),
        *(0, 0, *entry.device, len(path), 0),
    )
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + path
    return head + b"\0" * (-len(head) % 4) + entry.data + b"\0" * (-len(entry.data) % 4)


def archive(tree: Mapping[str, Entry]) -> bytes:
    """The gzipped archive; folders above each path are made. Paths are relative (`bin/sh`)."""
    whole: dict[str, Entry] = {}
    for path, entry in tree.items():
        parts = path.split("/")
        for depth in range(1, len(parts)):
            whole.setdefault("/".join(parts[:depth]), Entry(stat.S_IFDIR | 0o755))
        whole[path] = entry
    records = [_record(number, *item) for number, item in enumerate(whole.items(), 1)]
    return gzip.compress(b"".join([*records, _record(0, "TRAILER!!!", Entry(0))]), 6, mtime=0)
