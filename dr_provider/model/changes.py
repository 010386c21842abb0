"""What differs between two topologies, as short texts for previews."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

from dr_provider.model.callout_specs import CalloutSpec, Place, PromptSpec
from dr_provider.model.topology import Topology
from dr_provider.model.units import format_duration, format_size

__all__ = ["describe_changes"]

_SECTIONS = {
    "arrays": "array",
    "hosts": "host",
    "networks": "network",
    "volumes": "volume",
    "vms": "vm",
    "plans": "plan",
}
_SIZES = {"size", "memory", "capacity"}
_DURATIONS = {
    "calm",
    "commit_window",
    "every",
    "last_transfer",
    "latency",
    "remind",
    "replicate_every",
    "retry_delay",
    "rpo",
    "rto",
    "source_budget",
    "start_delay",
    "stay",
    "timeout",
    "within",
}
_LABELS = {
    "after": "after",
    "at_first": "atFirst",
    "commit_window": "commitWindow",
    "delete_data": "deleteData",
    "host_key": "hostKey",
    "last_transfer": "lastTransfer",
    "on_error": "onError",
    "on_failure": "onFailure",
    "replicate_every": "replicate.every",
    "retry_delay": "retryDelay",
    "start_delay": "startDelay",
    "stay": "for",
    "values": "environment",
}
_LONGEST = 200
"""Characters of a text that is shown; of a longer one, or one of several lines (a script), it is only said that it changed."""


def describe_changes(old: Topology, new: Topology) -> list[str]:
    """One text a change, such as `vm db: memory 8GiB -> 16GiB` or `volume logs: added`; in a fixed order."""
    changes = [f"topology: {what}" for what in _values("name", old.name, new.name, "")]
    changes += (
        [
            f"topology: sourceBudget {_leaf('source_budget', old.source_budget)} -> "
            f"{_leaf('source_budget', new.source_budget)}"
        ]
        if old.source_budget != new.source_budget
        else []
    )
    changes += [f"site {name}: removed" for name in old.sites if name not in new.sites]
    changes += [f"site {name}: added" for name in new.sites if name not in old.sites]
    for section in ("witness", "alerts"):
        before, after = getattr(old, section), getattr(new, section)
        if (before is None) != (after is None):
            changes.append(f"{section}: {'removed' if after is None else 'added'}")
        else:
            changes += [f"{section}: {what}" for what in _values("", before, after, "")]
    changes += [f"state: {what}" for what in _values("", old.kept, new.kept, "")]
    changes += [f"topology: {what}" for what in _values("contacts", old.contacts, new.contacts, "contacts")]
    for section, kind in _SECTIONS.items():
        was: Mapping[str, object] = getattr(old, section)
        now: Mapping[str, object] = getattr(new, section)
        for name in sorted({*was, *now}):
            if name not in now:
                changes.append(f"{kind} {name}: removed")
            elif name not in was:
                changes.append(f"{kind} {name}: added")
            else:
                changes += [f"{kind} {name}: {what}" for what in _values("", was[name], now[name], "")]
    return changes


def _values(key: str, old: object, new: object, label: str) -> Iterator[str]:
    """Go down as far as both sides have the same shape; then say what was and what is."""
    if old == new:
        return
    if isinstance(old, Place) and isinstance(new, Place):
        yield f"{label.removesuffix('.place')} {old} -> {new}"
    elif isinstance(old or new, CalloutSpec | PromptSpec) and (old is None or new is None):
        yield f"{label} {'added' if old is None else 'removed'}"
    elif is_dataclass(old) and type(old) is type(new):
        for each in fields(old):
            inner = "" if each.name == "options" else _LABELS.get(each.name, each.name)
            yield from _values(each.name, getattr(old, each.name), getattr(new, each.name), _join(label, inner))
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*old, *new}):
            yield from _values(name if not label else key, old.get(name), new.get(name), _join(label, str(name)))
    elif isinstance(old, tuple) and isinstance(new, tuple) and _named(old) and _named(new):
        before, after = _by_name(old), _by_name(new)
        for name in [*before, *(n for n in after if n not in before)]:
            if name not in after:
                yield f"{label}{name} removed"
            elif name not in before:
                yield f"{label}{name} added"
            else:
                yield from _values(key, before[name], after[name], f"{label}{name}")
    else:
        leaves = _leaf(key, old), _leaf(key, new)
        long = any(isinstance(value, str) and len(value) > _LONGEST for value in (old, new))
        shown = not long and not any("\n" in leaf for leaf in leaves)
        yield f"{label or key} {' -> '.join(leaves) if shown else 'changed'}"


def _join(label: str, part: str) -> str:
    return f"{label}.{part}" if label and part else label or part


def _named(items: tuple[object, ...]) -> bool:
    return all(is_dataclass(item) for item in items)


def _by_name(items: tuple[object, ...]) -> dict[str, object]:
    """Disks by their role, all else by its place."""
    return {
        f".{role}" if (role := getattr(item, "role", None)) else f"[{index}]": item for index, item in enumerate(items)
    }


def _leaf(key: str, value: object) -> str:
    if value is None or value in ((), {}, ""):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and key in _SIZES:
        return format_size(value)
    if isinstance(value, int | float) and key in _DURATIONS:
        return format_duration(float(value))
    if isinstance(value, tuple):
        return "[" + ", ".join(_leaf(key, item) for item in value) + "]"
    if is_dataclass(value):
        parts = ((each.name, getattr(value, each.name)) for each in fields(value))
        return "{" + ", ".join(f"{_LABELS.get(n, n)} {_leaf(n, v)}" for n, v in parts if v not in (None, {}, ())) + "}"
    return str(value)
