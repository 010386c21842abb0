"""Properties as the engine carries them, to and from dataclasses.

They cross as JSON: numbers arrive as floats, None is dropped, a tuple comes back as a list. Names are camelCase on that side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar

__all__ = ["camel", "plain", "read", "write"]

T = TypeVar("T")

PROVIDER_KEY = "__provider"


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def plain(props: Mapping[str, Any]) -> dict[str, Any]:
    """The properties without the engine's own."""
    return {key: value for key, value in props.items() if key != PROVIDER_KEY}


def read(kind: type[T], props: Mapping[str, Any]) -> T:
    """A dataclass out of properties; what it does not name is left out. Raises KeyError for one that is missing."""
    values: dict[str, Any] = {}
    for each in fields(kind):  # type: ignore[arg-type]
        value = props.get(camel(each.name))
        if value is None:
            if each.default is MISSING and each.default_factory is MISSING:
                raise KeyError(camel(each.name))
            continue
        values[each.name] = _value(each, value)
    return kind(**values)


def _value(each: Field[Any], value: Any) -> Any:
    kind = str(each.type)
    if kind.startswith("int"):
        return int(value)
    if kind.startswith("tuple"):
        return tuple(value)
    return value


def write(value: Any) -> dict[str, Any]:
    """Properties of a dataclass; None left out."""
    found = {camel(each.name): getattr(value, each.name) for each in fields(value)}
    return {key: list(item) if isinstance(item, tuple) else item for key, item in found.items() if item is not None}
