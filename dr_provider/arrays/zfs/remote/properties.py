"""JSON in user properties of datasets and snapshots.

A property holds at most 8191 bytes (zfs-fuse's client aborts above that, and so does OpenZFS's limit ZAP_MAXVALUELEN), so that a
long text stands in several. Its head says how many there are and in which of two banks: a new text is written to the other bank,
and the head is set last, so that a reader finds the old text or the new one. zfs-fuse sets one property a command.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

__all__ = ["assignments", "decode", "rest", "unset"]

CHUNK = 6000
_MOST = 99


def _text(value: Any) -> str:
    plain = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(zlib.compress(plain, 9)).decode()


def assignments(name: str, value: Any, old: str = "") -> list[tuple[str, str]]:
    """What to set, in this order, so that `name` holds the value. `old`: the head that stands now."""
    text = _text(value)
    chunks = [text[at : at + CHUNK] for at in range(0, len(text), CHUNK)]
    if len(chunks) > _MOST:
        raise ValueError(f"{name}: {len(text)} bytes, and {CHUNK * _MOST} is the most that is kept in properties")
    bank = "b" if old.partition(":")[0].endswith("a") else "a"
    head = (name, f"{len(chunks)}{bank}:{chunks[0]}")
    return [*((f"{name}.{bank}{number}", chunk) for number, chunk in enumerate(chunks[1:], 1)), head]


@lru_cache(maxsize=512)
def _value(text: str) -> Any:
    """Kept, since all snapshots of a group say the same and texts never change; whoever gets it leaves it as it is."""
    return json.loads(zlib.decompress(base64.urlsafe_b64decode(text)))


def unset(text: str | None) -> bool:
    """Whether zfs says of a property that it is not there."""
    return text in (None, "", "-")


def rest(name: str, head: str) -> list[str]:
    """The properties that hold the rest of a long text."""
    size = head.partition(":")[0]
    return [f"{name}.{size[-1]}{number}" for number in range(1, int(size[:-1]))] if size[:-1].isdigit() else []


def decode(name: str, head: str, more: Callable[[list[str]], Mapping[str, str]]) -> Any:
    """The value. `more` fetches the properties that hold the rest of a long one. Raises ValueError where the text is not whole."""
    size, colon, text = head.partition(":")
    if not colon or not size[:-1].isdigit():
        raise ValueError(f"{name}: not a text of this program")
    parts = rest(name, head)
    if parts:
        found = more(parts)
        text += "".join(found[each] for each in parts if not unset(found.get(each)))
    try:
        return _value(text)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise ValueError(f"{name}: the text is not whole ({error})") from error
