"""Every decision of the tables, word for word: which actions, what each waits for and is given, and what is said.

The tables of test_decide.py say what matters in a situation; this says that nothing else changed unnoticed. A wanted change is written anew with
DR_GOLDEN=write and read in the difference before it is committed.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model.errors import BadInput
from dr_provider.reconcile.decision import Decision
from dr_provider.reconcile.view import PlanView
from tests.reconcile.test_decide import DONE, WHY_NOT
from tests.support.situations import (
    ABSENT,
    ACTIVE,
    LEFT,
    P1,
    P2,
    REPLICA,
    RETURNED,
    VMS,
    Point,
    Side,
    answer,
    claim,
    declared,
    drill,
    epoch,
    moved,
    reserved,
    shop,
    split,
    view,
)

GOLDEN = Path(__file__).parent / "golden" / "decisions.txt"
THREE = shop(sites=["east", "west", "south"])
CASCADE = shop(sites=["east", "west", "south"], via={"south-a": "west-a"})
WORD = "1: power lost at east"
BEHIND = replace(REPLICA, points=(P1,))
PARTLY = replace(REPLICA, points=(P1, replace(P2, lacking=("vol-2",))))
TWINS = {"west-a": [epoch(2, "west", id="b")], "south-a": [epoch(2, "south", id="c")], "east-a": [epoch()]}
NEW = (P1, P2, Point(1, 2, "west"))
FORCED = (epoch(), epoch(2, "west", kind="disaster", word=WORD, point=P2.id))

MORE: dict[str, tuple[PlanView, dict[str, Any]]] = {
    "three: planned": (view(THREE), {"site": "west"}),
    "three: planned to the end of a cascade": (view(CASCADE), {"site": "south"}),
    "three: planned over a relay": (view(THREE, cut=["east-a/south-a"]), {"site": "south"}),
    "three: planned, the third dark": (view(THREE, silent=["south"]), {"site": "west"}),
    "three: disaster": (view(THREE, silent=["east"]), {"site": "west", "word": WORD}),
    "three: disaster, a part fetched": (view(THREE, silent=["east"], west=PARTLY), {"site": "west", "word": WORD}),
    "three: disaster, all fetched": (view(THREE, silent=["east"], west=ABSENT), {"site": "west", "word": WORD}),
    "three: disaster, a part not to be had": (view(THREE, silent=["east", "south"], west=PARTLY), {"site": "west", "word": WORD}),
    "three: a claimed point not to be had any more": (
        view(THREE, silent=["east", "south"], west=PARTLY, claim=claim(point=P2.id, word=WORD, proof=VMS)), {}),
    "three: both survivors forced": (view(THREE, epochs_at=TWINS, west=ACTIVE, south=ACTIVE), {}),
    "three: resolved": (view(THREE, epochs_at=TWINS, split=split("west", "south"), west=ACTIVE, south=ACTIVE), {"site": "south", "goal": "resolve"}),
    "three: two copies out of line": (
        moved(THREE, east=RETURNED, south=replace(RETURNED, vms="none", mapped=False, last_write=None)), {}),
    "three: one out of line, a link cut": (moved(THREE, east=RETURNED, cut=["east-a/west-a", "east-a/south-a"]), {}),
    "three: a foreign copy": (moved(THREE, south=Side("foreign")), {}),
    "three: the new epoch's point not sent": (moved(CASCADE, points=(P1, P2)), {}),
    "returned": (moved(east=RETURNED), {}),
    "returned and running": (moved(east=replace(RETURNED, vms="running")), {}),
    "returned, no peer for the active side": (moved(east=RETURNED, silent=["west"]), {}),
    "stale side dark": (moved(silent=["east"]), {}),
    "VMs off": (view(east=replace(ACTIVE, vms="off")), {}),
    "VMs off, the other side dark": (view(east=replace(ACTIVE, vms="off"), silent=["west"]), {}),
    "VMs off, the other side dark, the word": (view(east=replace(ACTIVE, vms="off"), silent=["west"]), {"word": WORD}),
    "VMs off after a disaster": (view(epochs=FORCED, east=RETURNED, west=replace(ACTIVE, vms="off"), silent=["east"]), {}),
    "one VM off": (view(east=replace(ACTIVE, vms={"db": "running", "app": "off", "web": "running"})), {}),
    "LUNs not offered": (view(east=replace(ACTIVE, mapped=False)), {}),
    "a VM runs twice": (view(twice=["db"]), {"site": "west"}),
    "an epoch that one array lacks": (moved(epochs_at={"east-a": [epoch()], "west-a": [epoch(), epoch(2, "west")]}), {}),
    "a claim left over": (moved(claim_at={"east-a": claim()}), {}),
    "an array not pinned": (view(unpinned=["west-a"]), {}),
    "a volume lost where the plan is": (view(east=replace(ACTIVE, at={"vol-2": "absent"})), {}),
    "a stack that declares another site": (view(), {"site": "west", "stack": "dr/prod", "word": WORD}),
    "a stack that declares it anew": (view(declared={"dr/prod": declared("east")}), {"site": "west", "stack": "dr/prod"}),
    "a stack that declared it before": (moved(declared={"dr/prod": declared("east")}), {"site": "east", "stack": "dr/prod"}),
    "no room, planned": (view(reservations={h: [reserved(16, 1)] for h in ("west-1", "west-2")}), {"site": "west"}),
    "no room, disaster": (view(silent=["east"], reservations={h: [reserved(16, 1)] for h in ("west-1", "west-2")}), {"site": "west", "word": WORD}),
    "a drill in the way": (
        view(drills={"d1": drill("d1", *VMS)}, reservations={"west-1": [reserved(14, 1)], "west-2": [reserved(15, 1)]}), {"site": "west"}),
    "an older point": (view(), {"site": "west", "point": P1.id}),
    "a point while it stays": (view(), {"site": "east", "point": P1.id}),
    "a word that is not needed": (view(), {"site": "west", "word": WORD}),
    "a word of the past": (moved(), {"word": WORD}),
    "abort, the target dark": (view(claim=claim(), silent=["west"]), {"goal": "abort"}),
    "abort, the target dark, the word": (view(claim=claim(point=P2.id), silent=["west-a"]), {"goal": "abort", "word": WORD}),
    "abort of a resolve": (moved(split=split(), claim=claim("west", 3, kind="resolve"), east=LEFT), {"goal": "abort"}),
    "an array that is silent under the plan": (view(silent=["east-a"]), {}),
    "points with a VM less": (view(silent=["east"], west=replace(REPLICA, points=(replace(P2, definitions=("db",)),))), {"site": "west", "word": WORD}),
    "new points at the new side": (moved(points=NEW, east=replace(LEFT, points=(P1, P2))), {}),
}  # fmt: skip


def written(decision: Decision) -> list[str]:
    loss = f"loss {decision.loss.seconds} s: {decision.loss.statement}"
    lines = [
        f"{decision.kind} {decision.from_site} -> {decision.to_site}, authority {decision.authority}, point {decision.point}, {loss}"
    ]
    lines += ["ends badly"] if decision.exit_bad else []
    for what in ("refused", "warnings", "notes", "degraded"):
        lines += [f"{what}: {sentence}" for sentence in getattr(decision, what)]
    for action in decision.actions:
        of = " ".join(f"{key}={value!r}" for key, value in action.of.items())
        lines.append(
            f"{action.id} ({action.verb}, {action.group}{'' if action.needed else ', best effort'}): {action.sentence}"
        )
        lines.append(f"    after {', '.join(action.after) or '-'}; last {', '.join(action.last) or '-'}; {of or '-'}")
    return lines


def said(seen: PlanView, want: dict[str, Any]) -> list[str]:
    try:
        return written(answer(seen, **want))
    except BadInput as error:
        return [f"bad input: {error}"]


SITUATIONS: dict[str, tuple[PlanView, dict[str, Any]]] = {
    **{f"done {number}": (seen, want) for number, (seen, want, _, _) in enumerate(DONE)},
    **{f"why not {number}": (seen, want) for number, (seen, want, _) in enumerate(WHY_NOT)},
    **MORE,
}


def _golden() -> dict[str, list[str]]:
    sections = GOLDEN.read_text(encoding="utf-8").split("\n== ")[1:]
    return {lines[0]: lines[1:] for lines in (section.rstrip("\n").splitlines() for section in sections)}


def test_every_situation_is_written_down() -> None:
    if os.environ.get("DR_GOLDEN") == "write":
        sections = [
            "\n".join([f"\n== {name}", str(want), *said(seen, want)]) for name, (seen, want) in SITUATIONS.items()
        ]
        GOLDEN.write_text("\n".join(sections) + "\n", encoding="utf-8")
    assert list(_golden()) == list(SITUATIONS)


@pytest.mark.parametrize("name", SITUATIONS)
def test_word_for_word(name: str) -> None:
    seen, want = SITUATIONS[name]
    assert [str(want), *said(seen, want)] == _golden()[name]
