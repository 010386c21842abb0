"""Records to canonical JSON and back."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

import cattrs

from dr_provider.model.errors import CorruptRecord
from dr_provider.model.records import Record

__all__ = ["CHECKSUM", "canonical", "damaged", "dump", "load", "load_all"]

CHECKSUM = "checksum"
"""The key beside a record's fields: the first 16 hexadecimal digits of the SHA-256 of its canonical JSON without this key."""

_ELSEWHERE = "another array usually holds the same record, and `dr status` and `dr protect` go on with that one"

_DIGEST = re.compile(r"[0-9a-f]{16}")

T = TypeVar("T")

_converter = cattrs.Converter()
_converter.register_unstructure_hook(frozenset, lambda value: sorted(value))


def canonical(value: object) -> str:
    """Canonical JSON: keys sorted, no white space."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def dump(record: object) -> str:
    """Canonical JSON of a dataclass; that of a `Record` with the checksum of its content."""
    value = _converter.unstructure(record)
    return canonical({**value, CHECKSUM: _checksum(value)} if isinstance(record, Record) else value)


def load(kind: type[T], text: str, where: str) -> T:
    """A dataclass from its JSON; `where` names the array and the record in the error. Raises CorruptRecord.

    Records that were written before there were checksums carry none, and are read as they are.
    """
    if damaged(text):
        raise CorruptRecord(
            f"{where}: wanted a {kind.__name__} record as it was written, found one whose checksum differs: it was damaged; "
            f"{_ELSEWHERE}"
        )
    try:
        return _converter.structure(json.loads(text), kind)
    except Exception as error:  # cattrs and json raise many kinds; each means that the record cannot be read
        raise CorruptRecord(
            f"{where}: wanted a {kind.__name__} record, found text that is not one ({type(error).__name__}); "
            f"it was written by a newer version or damaged; {_ELSEWHERE}"
        ) from error


@lru_cache(maxsize=2048)
def damaged(text: str) -> bool:
    """Whether a record's text is not what was written: it is no JSON object, or its checksum differs from its content."""
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return True
    if not isinstance(value, dict):
        return True
    if CHECKSUM in value:
        return bool(value.pop(CHECKSUM) != _checksum(value))
    # The checksum under another name: it is the name that was damaged.
    return any(told == _checksum({k: v for k, v in value.items() if k != key}) for key, told in _digests(value))


def _digests(value: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(key, told) for key, told in value.items() if isinstance(told, str) and _DIGEST.fullmatch(told)]


def _checksum(value: object) -> str:
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def load_all(kind: type[T], records: Mapping[str, str], prefix: str, where: str) -> dict[str, T]:
    """Every record under the prefix, by the rest of its key."""
    return {
        key[len(prefix) :]: load(kind, text, f"{where}, record {key}")
        for key, text in records.items()
        if key.startswith(prefix)
    }
