"""Properties as the engine carries them, to and from dataclasses.

They cross as JSON: numbers arrive as floats, None is dropped, a tuple comes back as a list. Names are camelCase on that side.

The engine and its SDK pay for each property of each resource, at every preview. So what nobody looks at (`BACKGROUND` fields) crosses as
one string of canonical JSON under `context`; a state that has them one by one is read all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from functools import lru_cache
from typing import Any, TypeVar

from pulumi.dynamic import CheckFailure

__all__ = ["BACKGROUND", "CONTEXT", "camel", "key_of", "plain", "read", "renamed", "write"]

T = TypeVar("T")

PROVIDER_KEY = "__provider"
CONTEXT = "context"

BACKGROUND = {"background": True}
"""Metadata of a dataclass's field that crosses in the context."""


def key_of(each: Field[Any]) -> str:
    """The property that carries the field."""
    return CONTEXT if each.metadata.get("background") else camel(each.name)


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def plain(props: Mapping[str, Any]) -> dict[str, Any]:
    """The properties without the engine's own."""
    return {key: value for key, value in props.items() if key != PROVIDER_KEY}


def read(kind: type[T], props: Mapping[str, Any]) -> T:
    """A dataclass out of properties; what it does not name is left out. Raises KeyError for one that is missing."""
    values: dict[str, Any] = {}
    context = props.get(CONTEXT)
    if context:
        props = {**props, **_context(context)}
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
    found: dict[str, Any] = {}
    context: dict[str, Any] = {}
    for each in fields(value):
        item = getattr(value, each.name)
        if item is not None:
            into = context if each.metadata.get("background") else found
            into[camel(each.name)] = list(item) if isinstance(item, tuple) else item
    if context:
        found[CONTEXT] = json.dumps(context, sort_keys=True, separators=(",", ":"))
    return found


def renamed(name: str, olds: Mapping[str, Any], news: Mapping[str, Any]) -> list[CheckFailure]:
    """Why a resource whose topology is called otherwise than before is not touched: the engine would make a second one of everything, and
    then delete the first."""
    before, after = (_topology(props) for props in (olds, news))
    if not before or not after or before == after:
        return []
    return [
        CheckFailure(
            "topology",
            f"{name}: its topology was {before} and is called {after} now; a topology's name is its identity, so nothing is made, replaced "
            f"or deleted: set `name` back to {before}. (To begin anew under another name, destroy this stack first; its data is kept.)",
        )
    ]


def _topology(props: Mapping[str, Any]) -> str | None:
    context = props.get(CONTEXT)
    found = {**props, **(_context(context) if context else {})}.get("topology")
    return str(found) if found else None


@lru_cache(maxsize=1024)
def _context(text: str) -> Mapping[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found
