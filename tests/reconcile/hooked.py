"""Labs whose plan has callouts and prompts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dr_provider.reconcile.outcome import Outcome
from tests.support.lab import Lab

Hooks = dict[str, dict[str, Any]]
Bench = Callable[..., Lab]


def sh(script: str, **keys: Any) -> dict[str, Any]:
    return {"command": ["sh", "-c", script], **keys}


def step(outcome: Outcome, name: str) -> dict[str, Any]:
    (found,) = [line for line in outcome.steps if line["id"] == name]
    return dict(found)
