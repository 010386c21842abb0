"""Records to canonical JSON and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import cattrs

from dr_provider.model.errors import CorruptRecord

__all__ = ["canonical", "dump", "load", "load_all"]

T = TypeVar("T")

_converter = cattrs.Converter()
_converter.register_unstructure_hook(frozenset, lambda value: sorted(value))


def canonical(value: object) -> str:
    """Canonical JSON: keys sorted, no white space."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def dump(record: object) -> str:
    """Canonical JSON of a dataclass."""
    return canonical(_converter.unstructure(record))


def load(kind: type[T], text: str, where: str) -> T:
    """A dataclass from its JSON; `where` names the record in the error. Raises CorruptRecord."""
    try:
        value: Any = json.loads(text)
        return _converter.structure(value, kind)
    except Exception as error:  # cattrs and json raise many kinds; each means that the record cannot be read
        raise CorruptRecord(
            f"{where}: wanted a {kind.__name__} record, found text that is not one ({type(error).__name__}); it was written by a newer version or damaged"
        ) from error


def load_all(kind: type[T], records: Mapping[str, str], prefix: str, where: str) -> dict[str, T]:
    """Every record under the prefix, by the rest of its key."""
    return {
        key[len(prefix) :]: load(kind, text, f"{where}, record {key}")
        for key, text in records.items()
        if key.startswith(prefix)
    }
