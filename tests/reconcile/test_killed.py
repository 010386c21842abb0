"""Killed anywhere: another run ends where an undisturbed one would, nothing doubled, nothing orphaned.

Each kind of run is filmed once, undisturbed; then each frame, which is what a kill at that moment leaves, is put back and finished by
another process: by `dr failover` and its like, or by `up`, in turn. A new action or call is covered without a new test. DR_KILL=all
walks every frame; without it as many, evenly spread, as there is time for: a few of each kind, in the long cases more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model.errors import MoveFailed, Refused
from dr_provider.model.records import Owner
from dr_provider.reconcile.decision import Action
from dr_provider.reconcile.drills.begin import run_drill, start_drill
from dr_provider.reconcile.drills.end import end_drill
from dr_provider.reconcile.journal import estimate
from dr_provider.reconcile.outcome import Outcome
from dr_provider.reconcile.restore import restore_in_place
from tests.support.film import Frame, film, process, put_back
from tests.support.kills import failing, killed_at
from tests.support.lab import Lab
from tests.support.standing import standing

WRITTEN, LATER = 20, 13
WORD = "1: power lost at east"
STACK = "project/stack"
FEW, MANY = 8, 24
THREE: dict[str, Any] = {"sites": ("east", "west", "south"), "hosts_per_site": 1}

CALLED: dict[str, Any] = {
    "a": {"before": "move"}, "b": {"after": "stop"}, "c": {"before": "commit", "onError": "continue"}, "d": {"after": {"tier": 1}},
    "e": {"before": {"vm": "web"}}, "f": {"after": "move"},
}  # fmt: skip


def calling(document: dict[str, Any]) -> None:
    """Callouts at every kind of place, one of which fails."""
    document["plans"]["shop"]["callouts"] = {
        name: {**place, "command": ["false" if name == "c" else "true"]} for name, place in CALLED.items()
    }


Step = Callable[[Lab], object]


@dataclass(frozen=True)
class Kind:
    """What is lost before, the run itself, and how it is finished: by a stack's `up` (None: not), and by a command (None: as the run itself).
    `begun`: whether there is anything yet that it could finish."""

    run: Step
    up: Step | None = None
    prepare: Step = lambda lab: None
    topology: dict[str, Any] = field(default_factory=dict)
    made: bool = True
    finish: Step | None = None
    begun: Callable[[Lab], bool] | None = None


def move(site: str | None = None, **want: Any) -> Step:
    return lambda lab: lab.move(site, **want)


def up(site: str | None = None, **want: Any) -> Step:
    return lambda lab: lab.move(site, stack=STACK, **want)


def lose(*targets: str) -> Step:
    def step(lab: Lab) -> None:
        for target in targets:
            lab.lose(target)

    return step


def returned(lab: Lab) -> None:
    lab.lose("site:east")
    lab.move("west", word=WORD)
    lab.heal("site:east")


def split(lab: Lab) -> None:
    lab.lose("site:east", running=True)
    lab.move("west", word=WORD)
    lab.heal("site:east")
    lab.move()


def claimed(lab: Lab) -> None:
    """A move that got as far as its breaks and not to its commit."""
    lab.lose("site:east")
    with failing("scan"), pytest.raises(MoveFailed):
        lab.move("west", word=WORD)
    lab.heal("site:east")


def behind_at_west(lab: Lab) -> None:
    """South alone has the newest point of vol-2's."""
    lab.lose("link:east-a/west-a")
    lab.write(5)
    lab.protect()
    lab.heal("link:east-a/west-a")
    lab.lose("site:east")


def drilled(lab: Lab) -> None:
    start_drill(lab.world(), "shop", "west", "rehearsal", OWNER)


OWNER = Owner("shop-test", STACK, "one")


def run_to_its_end(lab: Lab) -> None:
    assert run_drill(lab.world(), "shop", "west", "rehearsal", OWNER).left == ()


def restore(lab: Lab) -> object:
    return restore_in_place(lab.world(), "db", lab.view().points[0].id)


def abort(lab: Lab) -> object:
    try:
        return lab.move(goal="abort")
    except Refused as error:
        assert "nothing to call off" in str(error)  # noqa: PT017 - what was killed had ended it
        return lab.move()


def called_off(lab: Lab) -> None:
    """A planned move that cannot be finished, and leads back."""
    with failing("scan"), pytest.raises(MoveFailed, match="called off"):
        lab.move("west")


def was_claimed(lab: Lab) -> bool:
    view = lab.view()
    return view.claim is not None or len(view.history) > 1


KINDS = {
    "create": Kind(lambda lab: lab.apply(), made=False),
    "protect": Kind(lambda lab: lab.protect()),
    "planned": Kind(move("west"), up("west")),
    "site lost": Kind(move("west", word=WORD), up("west", word=WORD), lose("site:east")),
    "hosts lost": Kind(move("west"), up("west"), lose("host:east-1", "host:east-2")),
    "returned": Kind(move(), up("west"), returned),
    "split resolved": Kind(move("east", goal="resolve"), None, split),
    "aborted": Kind(abort, None, claimed),
    "led back": Kind(called_off, finish=abort, begun=was_claimed),
    "restarted": Kind(move(goal="restart"), None, lose("host:east-1")),
    "restored": Kind(restore),
    "drill": Kind(drilled),
    "drill cut short": Kind(run_to_its_end, finish=lambda lab: end_drill(lab.world(), "shop", "rehearsal")),
    "drill ended": Kind(lambda lab: end_drill(lab.world(), "shop", "rehearsal"), None, drilled),
    "callouts": Kind(move("west"), up("west"), topology={"change": calling}),
    "three sites": Kind(move("west"), up("west"), topology=THREE),
    "three sites, fetched": Kind(move("west", word=WORD), up("west", word=WORD), behind_at_west, THREE),
}


def prepared(folder: Path, kind: Kind) -> Lab:
    lab = Lab(folder, made=kind.made, **{"source_budget": "300ms", **kind.topology})
    if kind.made:
        lab.move("east", stack=STACK)
        lab.write(WRITTEN)
        lab.protect()
        lab.write(LATER)
        kind.prepare(lab)
    return lab


def chosen(frames: list[Frame], count: int) -> list[Frame]:
    """Some `count` of them; and all of those in which the final snapshot is on its way, or of a few every third: it is the one thing that no
    later run can take again."""
    if os.environ.get("DR_KILL") == "all":
        return frames
    said = [frame.after for frame in frames]
    first, last = (said.index(text) if text in said else 0 for text in ("journal: start final", "journal: done final"))
    every, dense = max(1, len(frames) // count), 1 if count == MANY else 3
    return [frame for at, frame in enumerate(frames) if at % every == 0 or (first < at < last and at % dense == 0)]


@pytest.mark.parametrize("count", [pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=pytest.mark.long)])
@pytest.mark.parametrize("name", KINDS)
def test_a_killed_run_is_finished_by_the_next(tmp_path: Path, name: str, count: int) -> None:
    kind = KINDS[name]
    lab = prepared(tmp_path, kind)
    frames = film(tmp_path, lambda: kind.run(lab))
    wanted = standing(lab)
    assert wanted["left"] == []
    wrong = []
    for number, frame in enumerate(chosen(frames, count)):
        put_back(tmp_path, frame)
        elsewhere = number % 8 == 7
        if kind.begun is not None and not kind.begun(lab):
            continue
        finish = kind.up if number % 2 and kind.up else kind.finish or kind.run
        with process(tmp_path / "journals", elsewhere=elsewhere):
            unfinished = left_unfinished(lab)
            outcome = finish(lab)
        found = standing(lab)
        if elsewhere and found["left"] == []:
            # Where nothing is left to do nobody watches another machine's lease until it is over.
            found["unreleased"] = []
        # What has arrived for a move that is called off stays for the next transfer, which takes it up or throws it away.
        said = [line for line in differences(wanted, found) if not (kind.finish is abort and "/incoming: " in line)]
        if isinstance(outcome, Outcome) and outcome.decision.actions and (outcome.resumed is not None) != unfinished:
            said.append(f"resumed: wanted {unfinished}, found {outcome.resumed}")
        if said:
            wrong.append(f"{frame.number}, after {frame.after}: {said}")
        readable(tmp_path / "journals")
    assert not wrong, "\n".join([f"{len(wrong)} of {len(frames)} frames:", *wrong])


def left_unfinished(lab: Lab) -> bool:
    """Whether a run left a claim or a lease behind, so that the next must say that it resumes."""
    view = lab.view()
    leases = sorted((x for of in view.leases.values() for x in of), key=lambda x: (x.n, x.released))
    return view.claim is not None or any(not lease.released for lease in leases[-1:])


def readable(journals: Path) -> None:
    """Every line but the last of a run that was killed, and those of the run that finished all."""
    files = sorted(journals.rglob("*.jsonl"), key=lambda file: file.stat().st_mtime_ns)
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines()[:-1]:
            json.loads(line)
    assert estimate("shop-test", "shop", ACTIONS) is not None


ACTIONS = (Action("commit", "commit", "commit"),)


@pytest.mark.parametrize(("at", "when"), [("claim", "after"), ("final", "before"), ("bring:vol-1", "after"),
                                          ("break:vol-2", "after"), ("commit", "before"), ("commit", "after"),
                                          ("start:app", "after"), ("reverse:vol-1", "after")])  # fmt: skip
def test_a_real_kill_leaves_what_the_film_shows(tmp_path: Path, at: str, when: Any) -> None:
    kind = KINDS["planned"]
    undisturbed, lab = prepared(tmp_path / "one", kind), prepared(tmp_path / "two", kind)
    kind.run(undisturbed)
    assert killed_at(lambda: kind.run(lab), at, when)
    outcome = lab.move("west")
    assert outcome.resumed is not None
    assert differences(standing(undisturbed), standing(lab)) == []
    assert any(line.startswith("plan shop: resumed: an earlier run by dr") for line in lab.lines)
    assert outcome.document()["resumed"] == {"since": outcome.resumed.since, "by": outcome.resumed.by}


def differences(wanted: Any, found: Any, path: str = "") -> list[str]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        keys = sorted({*wanted, *found}, key=str)
        return [line for k in keys for line in differences(wanted.get(k), found.get(k), f"{path}/{k}")]
    return [] if wanted == found else [f"{path}: wanted {wanted!r}, found {found!r}"]
