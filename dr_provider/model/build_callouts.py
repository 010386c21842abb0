"""Callouts and prompts of a plan out of plain data, and the text of their scripts, which is part of the topology.

A move runs on whatever machine is left, with the topology as an array has stored it: so a script's text is read where the topology's file
is, and stored with it.
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dr_provider.model import units
from dr_provider.model.callout_specs import CalloutSpec, Place, PromptSpec, RemoteSpec, ScriptSpec

__all__ = ["MOVES", "callouts", "prompts", "with_scripts"]

Data = Mapping[str, Any]

MOVES = ("planned", "failback", "disaster", "rollback", "resolve")
"""The kinds that a callout or prompt is for where it names none."""
_LARGEST = 64 << 10


def with_scripts(plan: dict[str, Any], base: Path) -> None:
    """Put the text of each callout's script beside its path. One that cannot be read stays a path, which the checks report."""
    named = plan.get("callouts")
    for callout in named.values() if isinstance(named, dict) else ():
        script = callout.get("script") if isinstance(callout, dict) else None
        if isinstance(script, str) and script:
            path = os.path.normpath(base / script)
            try:
                with Path(path).open("rb") as file:
                    text = file.read(_LARGEST + 1).decode("utf-8")
            except (OSError, ValueError):
                continue
            if len(text.encode()) <= _LARGEST:
                callout["script"] = {"file": script, "text": text}


def callouts(data: Data) -> dict[str, CalloutSpec]:
    return {name: _callout(name, each) for name, each in sorted(data.items())}


def prompts(data: Data) -> dict[str, PromptSpec]:
    return {
        name: PromptSpec(
            name,
            _place(each),
            tuple(each.get("kinds", MOVES)),
            each["text"],
            units.duration(each.get("timeout", "15m")),
            each.get("default", "stop"),
        )
        for name, each in sorted(data.items())
    }


def _callout(name: str, data: Data) -> CalloutSpec:
    variables = data.get("environment", {})
    return CalloutSpec(
        name,
        _place(data),
        tuple(data.get("kinds", MOVES)),
        tuple(data["command"]),
        _script(name, data.get("script")),
        {key: value for key, value in sorted(variables.items()) if isinstance(value, str)},
        {key: value["value"] for key, value in sorted(variables.items()) if not isinstance(value, str)},
        units.duration(data.get("timeout", "1m")),
        data.get("retries", 0),
        units.delay(data.get("retryDelay", "5s")),
        data.get("onError", "stop"),
        data.get("by", "executor"),
        data.get("atFirst", False),
        _remote(data.get("remote")),
    )


def _remote(given: Any) -> RemoteSpec | None:
    if given is None:
        return None
    return RemoteSpec(given["host"], given["hostKey"], given.get("port", 22), given.get("user", "root"))


def _script(name: str, given: Any) -> ScriptSpec | None:
    """None where there is none; one without text where its file could not be read."""
    if given is None:
        return None
    if isinstance(given, str):
        return ScriptSpec(given, "")
    return ScriptSpec(given.get("file", f"the script of callout {name}"), given["text"])


def _place(data: Data) -> Place:
    when: Any = "before" if "before" in data else "after"
    where = data[when]
    if isinstance(where, str):
        return Place(when, where)
    return Place(when, where.get("phase", "start"), where.get("tier"), where.get("vm"))
