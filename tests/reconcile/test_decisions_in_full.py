"""Every decision of the tables, word for word: which actions, what each waits for and is given, and what is said.

The tables of the other tests say what matters in a situation; this says that nothing else changed unnoticed. A wanted change is written anew with
DR_GOLDEN=write and read in the difference before it is committed.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model.errors import BadInput
from dr_provider.reconcile.decision import Decision
from dr_provider.reconcile.view import PlanView
from tests.reconcile.in_full import SITUATIONS
from tests.support.situations import answer

GOLDEN = Path(__file__).parent / "golden" / "decisions.txt"
HOW = {True: "", False: ", best effort"}


def written(decision: Decision) -> list[str]:
    loss = f"loss {decision.loss.seconds} s: {decision.loss.statement}"
    lines = [
        f"{decision.plan}: {decision.kind} {decision.from_site} -> {decision.to_site}, authority {decision.authority}, point {decision.point}, {loss}"
    ]
    lines += ["ends badly"] if decision.exit_bad else []
    for what in ("refused", "warnings", "notes", "degraded"):
        lines += [f"{what}: {sentence}" for sentence in getattr(decision, what)]
    for action in decision.actions:
        of = " ".join(f"{key}={value!r}" for key, value in action.of.items())
        lines.append(f"{action.id} ({action.verb}, {action.group}{HOW[action.needed]}): {action.sentence}")
        lines.append(f"    after {', '.join(action.after) or '-'}; last {', '.join(action.last) or '-'}; {of or '-'}")
    return lines


def said(seen: PlanView, want: dict[str, Any]) -> list[str]:
    try:
        return written(answer(seen, **want))
    except BadInput as error:
        return [f"bad input: {error}"]


@cache
def _golden() -> dict[str, list[str]]:
    sections = GOLDEN.read_text(encoding="utf-8").split("\n== ")[1:]
    return {lines[0]: lines[1:] for lines in (section.rstrip("\n").splitlines() for section in sections)}


def test_every_situation_is_written_down() -> None:
    if os.environ.get("DR_GOLDEN") == "write":
        sections = [
            "\n".join([f"\n== {name}", str(want), *said(seen, want)]) for name, (seen, want) in SITUATIONS.items()
        ]
        GOLDEN.write_text("\n".join(sections) + "\n", encoding="utf-8")
        _golden.cache_clear()
    assert list(_golden()) == list(SITUATIONS)


@pytest.mark.parametrize("name", SITUATIONS)
def test_word_for_word(name: str) -> None:
    seen, want = SITUATIONS[name]
    assert [str(want), *said(seen, want)] == _golden()[name]
