"""Callouts and prompts in decisions: which are for a move, and where they stand in it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

import pytest

from dr_provider.model import keys
from dr_provider.model.callout_records import Answer, Asked, Callouts
from dr_provider.model.codec import dump
from dr_provider.reconcile.callout_places import Moving, weave_into
from dr_provider.reconcile.callouts import answered, due_at_end, left_open, past_answers, waiting
from dr_provider.reconcile.decision import Action, Decision
from dr_provider.reconcile.graph import critical_path
from dr_provider.reconcile.view import PlanView
from tests.support.situations import (
    ACTIVE,
    LEFT,
    NAME,
    PLAN,
    RETURNED,
    Side,
    answer,
    claim,
    declared,
    epoch,
    moved,
    shop,
    split,
    tree,
    view,
)

WORD = "1: power lost at east"
NONE_RUN = replace(ACTIVE, vms="off", mapped=False)
Hooks = dict[str, dict[str, Any]]


def at(when: str, where: object, **more: Any) -> dict[str, Any]:
    return {when: where, "command": ["true"], **more}


def before(where: object, **more: Any) -> dict[str, Any]:
    return at("before", where, **more)


def after(where: object, **more: Any) -> dict[str, Any]:
    return at("after", where, **more)


def having(callouts: Hooks, prompts: Hooks | None = None) -> Any:
    return shop(plan={"callouts": callouts, "prompts": prompts or {}})


def logged(kind: str = "planned", claim_id: str = "id-2", **more: Any) -> dict[str, dict[str, str]]:
    """A record of callouts on both arrays."""
    text = dump(Callouts(PLAN, claim_id, kind, **more))
    return {array: {keys.callouts_key(NAME, PLAN): text} for array in ("east-a", "west-a")}


def hooks(decision: Decision) -> dict[str, tuple[set[str], set[str]]]:
    """By callout and prompt: what it waits for, and what waits for it; of the starts and attaches each verb once."""
    found = {}
    for action in decision.actions:
        if action.verb in ("callout", "prompt"):
            behind = {a.id for a in decision.actions if action.id in (*a.after, *a.last)}
            found[action.id] = (set(action.after) | set(action.last), behind)
    return found


def sound(actions: tuple[Action, ...]) -> bool:
    """Each stands after what it waits for, and waits for what is there."""
    seen: set[str] = set()
    for action in actions:
        if not {*action.after, *action.last} <= seen:
            return False
        seen.add(action.id)
    return len(seen) == len(actions)


ATTACHED = {"attach:db", "attach:app", "attach:web"}
STARTED = {"start:db", "start:app", "start:web"}

# fmt: off
MOVE: list[tuple[str, dict[str, Any], set[str], set[str]]] = [
    ("before the move", before("move"), {"claim"}, {"stop:web"}),
    ("after the move", after("move"), {"commit", *ATTACHED, *STARTED}, set()),
    ("before the stop", before("stop"), {"claim"}, {"stop:web"}),
    ("after the stop", after("stop"), {"stop:web", "stop:app", "stop:db"}, {"fence:east-a", "prove"}),
    ("before the fence", before("fence"), {"claim", "stop:web", "stop:app", "stop:db"}, {"fence:east-a"}),
    ("after the fence", after("fence"), {"fence:east-a", "prove"}, {"final"}),
    ("before the transfer", before("transfer"), {"prove"}, {"final"}),
    ("after the transfer", after("transfer"), {"final", "bring:vol-1", "bring:vol-2", "choose"}, {"break:vol-1", "break:vol-2"}),
    ("before the break", before("break"), {"choose"}, {"break:vol-1", "break:vol-2"}),
    ("after the break", after("break"), {"break:vol-1", "break:vol-2"}, {"online:vol-1", "online:vol-2"}),
    ("before the scan", before("scan"), {"break:vol-1", "break:vol-2"}, {"online:vol-1", "online:vol-2"}),
    ("after the scan", after("scan"), {"online:vol-1", "online:vol-2", "rescan:west-1", "rescan:west-2", "scan"}, {"commit"}),
    ("before the commit", before("commit"), {"scan"}, {"commit"}),
    ("after the commit", after("commit"), {"commit"}, ATTACHED),
    ("before the start", before("start"), {"commit"}, ATTACHED),
    ("after the start", after("start"), {"commit", *ATTACHED, *STARTED}, set()),
    ("before tier 2", before({"tier": 2}), {"attach:app", "start:db"}, {"start:app"}),
    ("after tier 2", after({"tier": 2}), {"start:app"}, {"start:web"}),
    ("before VM db", before({"vm": "db"}), {"attach:db"}, {"start:db"}),
    ("after VM db", after({"vm": "db"}), {"start:db"}, {"start:app"}),
    ("before VM app is stopped", before({"vm": "app", "phase": "stop"}), {"claim", "stop:web"}, {"stop:app"}),
    ("after tier 3 is stopped", after({"tier": 3, "phase": "stop"}), {"stop:web"}, {"stop:app", "fence:east-a", "prove"}),
]
# fmt: on


@pytest.mark.parametrize(("hook", "waits", "behind"), [case[1:] for case in MOVE], ids=[case[0] for case in MOVE])
def test_where_it_stands_in_a_planned_move(hook: dict[str, Any], waits: set[str], behind: set[str]) -> None:
    topology = having({"a": {**hook, "onError": "continue"}})
    decision = answer(view(topology), site="west")
    assert hooks(decision) == {"callout:a": (waits, behind)}
    assert sound(decision.actions)
    # But for what waits for it, the move is as it would be without it.
    plain = answer(view(), site="west")
    bare = [
        replace(
            a,
            after=tuple(i for i in a.after if i != "callout:a"),
            last=tuple(i for i in a.last if i != "callout:a"),
        )
        for a in decision.actions
        if a.id != "callout:a"
    ]
    assert bare == list(plain.actions)


def test_what_it_is_told_and_what_people_read() -> None:
    topology = having(
        {"dns": after("move", command=["nsupdate", "-k", "a key", "{{ vms.db.ip }}"], onError="continue")},
        {"go": {"before": "commit", "text": "Is {{ to_site }}\nready?" + " really" * 20}},
    )
    actions = tree(answer(view(topology), site="west"))
    said, asked = actions["callout:dns"], actions["prompt:go"]
    assert said.sentence == 'run callout dns, after the move: nsupdate -k "a key" "{{ vms.db.ip }}"'
    assert asked.sentence.startswith("ask go, before the commit: Is {{ to_site }} ready? really")
    assert asked.sentence.endswith("...")
    told = {"kind": "planned", "from": "east", "to": "west", "epoch": "2"}
    assert dict(said.of) == {**told, "name": "dns", "key": "dns"}
    assert (said.needed, asked.needed, said.group, asked.group) == (False, True, "callout", "callout")


def test_of_one_place_side_by_side_and_then_who_is_asked_one_at_a_time() -> None:
    topology = having(
        {"a": before("commit"), "b": before("commit")},
        {"p": {"before": "commit", "text": "p?"}, "q": {"before": "commit", "text": "q?"}},
    )
    found = hooks(answer(view(topology), site="west"))
    assert [found[f"callout:{name}"][0] for name in "ab"] == [{"scan"}, {"scan"}]
    assert found["prompt:p"][0] == {"scan", "callout:a", "callout:b"}
    assert found["prompt:q"][0] == {"scan", "callout:a", "callout:b", "prompt:p"}
    topology = having({"a": after("scan"), "b": after("scan")}, {"p": {"after": "scan", "text": "p?"}})
    found = hooks(answer(view(topology), site="west"))
    assert {"callout:a", "callout:b"} < found["prompt:p"][0]
    assert "commit" in found["prompt:p"][1]


def test_around_a_phase_is_around_its_tiers_and_vms() -> None:
    topology = having(
        {
            "a-move": before("move"), "b-stop": before("stop"), "c-web": before({"vm": "web", "phase": "stop"}),
            "d-start": before("start"), "e-tier": before({"tier": 1}), "f-db": before({"vm": "db"}),
            "g-db": after({"vm": "db"}), "h-tier": after({"tier": 1}), "i-start": after("start"), "j-move": after("move"),
        }
    )  # fmt: skip
    decision = answer(view(topology), site="west")
    order = [action.id for action in decision.actions]
    wanted = [
        "callout:a-move", "callout:b-stop", "callout:c-web", "stop:web", "commit", "callout:d-start", "attach:db", "callout:e-tier",
        "callout:f-db", "start:db", "callout:g-db", "callout:h-tier", "start:app", "callout:i-start", "callout:j-move",
    ]  # fmt: skip
    waits = {a.id: {*a.after, *a.last} for a in decision.actions}

    def leads(first: str, then: str) -> bool:
        return first in waits[then] or any(leads(first, other) for other in waits[then])

    assert [pair for pair in pairwise(wanted) if not leads(*pair)] == []
    assert sound(decision.actions)
    assert order.index("start:web") < order.index("callout:j-move") < order.index("reverse:vol-1")


# -- what its failure keeps back --------------------------------------------------------------------


def kept_back(decision: Decision, failed: str) -> set[str]:
    """The actions that are not begun when that one fails, as the executor has it (graph.py)."""
    blocked = {failed}
    for action in decision.actions:
        if any(i in blocked and (i == failed or tree(decision)[i].needed) for i in action.after):
            blocked.add(action.id)
    return blocked - {failed}


# fmt: off
FAILS: list[tuple[str, PlanView, dict[str, Any], dict[str, Any], set[str]]] = [
    ("best effort before the commit", view(silent=["east-a"]), {"site": "west"}, before("stop"), {"claim", "reserve", "callout:a"}),
    ("before the first stop", view(), {"site": "west"}, before("move"), {"claim", "reserve", "callout:a"}),
    ("after the first tier", view(), {"site": "west"}, after({"tier": 1}),
     {"start:app", "start:web"}),
    ("before the start", view(), {"site": "west"}, before("start"), {*ATTACHED, *STARTED}),
]
# fmt: on


@pytest.mark.parametrize(
    ("seen", "want", "hook", "wanted"), [case[1:] for case in FAILS], ids=[case[0] for case in FAILS]
)
def test_where_it_may_stop_the_move_nothing_behind_it_begins(
    seen: PlanView, want: dict[str, Any], hook: dict[str, Any], wanted: set[str]
) -> None:
    topology = having({"a": hook})
    seen = replace(seen, topology=topology, spec=topology.plans[PLAN])
    decision = answer(seen, **want)
    found = kept_back(decision, "callout:a")
    if "claim" in wanted:  # all the rest of the move
        assert found == {action.id for action in decision.actions} - wanted
    else:
        assert found == wanted


def test_a_tier_that_may_fail_lets_no_failed_callout_pass() -> None:
    topology = shop(on_failure="continue", plan={"callouts": {"a": before({"vm": "db"})}})
    decision = answer(view(topology), site="west")
    assert kept_back(decision, "callout:a") == {"start:db", "start:app", "start:web"}


# -- for which moves --------------------------------------------------------------------------------

EVERY = [*("planned", "failback", "disaster", "rollback", "resolve"), "abort", "restart", "drill"]
BACK = moved(east=replace(LEFT, vms="off"))
SPLIT = moved(split=split(), east=replace(RETURNED, vms="running"))
WINDOW = (epoch(), epoch(2, "west", window_until="2030-01-01T00:00:00.000Z", from_site="east"))
UNTOUCHED: dict[str, Any] = {"east": Side(vms="off", mapped=False), "west": replace(ACTIVE)}

# fmt: off
KINDS: list[tuple[str, dict[str, Any], dict[str, Any], str, set[str]]] = [
    ("planned", {}, {"site": "west"}, "planned", {"move", "commit", "start"}),
    ("disaster", {"silent": ["east"]}, {"site": "west", "word": WORD}, "disaster", {"move", "commit", "start"}),
    ("claimed", {"claim": claim()}, {}, "planned", {"move", "commit", "start"}),
    ("aborted", {"claim": claim(), "east": NONE_RUN}, {"goal": "abort"}, "abort", {"move", "start"}),
    ("aborting", {"claim": claim(aborting=True), "east": NONE_RUN}, {"goal": "abort"}, "abort", {"move", "start"}),
    ("restart", {"east": NONE_RUN}, {}, "restart", {"move", "start"}),
]
# fmt: on


@pytest.mark.parametrize(
    ("situation", "want", "kind", "there"), [case[1:] for case in KINDS], ids=[case[0] for case in KINDS]
)
def test_the_kinds_of_move(situation: dict[str, Any], want: dict[str, Any], kind: str, there: set[str]) -> None:
    named = {
        f"{place}-{k}": after(place, kinds=[k])
        for k in EVERY
        for place in ("move", "commit", "start")
        if place != "commit" or k not in ("abort", "restart", "drill")
    }
    decision = answer(view(having(named), **situation), **want)
    assert {i.removeprefix("callout:") for i in hooks(decision)} == {f"{place}-{kind}" for place in there}
    assert sound(decision.actions)
    if kind == "abort":
        assert not any(action.needed for action in decision.actions if action.verb == "callout")


def test_a_planned_move_home_is_a_failback() -> None:
    topology = having({"a": after("move", kinds=["failback"]), "b": after("move", kinds=["planned"])})
    assert list(hooks(answer(moved(topology), site="east"))) == ["callout:a"]
    assert list(hooks(answer(view(topology), site="west"))) == ["callout:b"]


def test_a_rollback_and_a_resolve_have_theirs() -> None:
    topology = having(
        {
            "a": before("stop", kinds=["rollback", "resolve"], onError="continue"),
            "b": after("break", kinds=["planned", "rollback"]),
        }
    )
    back = answer(moved(topology, epochs=WINDOW, **UNTOUCHED), goal="rollback")
    assert (back.refused, hooks(back)) == ((), {"callout:a": ({"claim"}, {"stop:web"})})
    two = moved(topology, split=split(), east=replace(RETURNED, vms="running"))
    kept = answer(two, goal="resolve", site="east")
    assert hooks(kept)["callout:a"][0] == {"claim"}
    begun = moved(topology, claim=claim("west", 3, kind="resolve"), east=replace(RETURNED, mapped=False))
    assert hooks(answer(begun, goal="resolve", site="west"))["callout:a"] == (set(), {"prove"})


NOTHING: list[tuple[PlanView, dict[str, Any]]] = [
    (view(), {}),
    (view(silent=["east"]), {"site": "west"}),
    (view(epochs=[], west=Side("empty", points=())), {}),
    (view(declared={"p/s": declared("west")}), {"site": "west", "stack": "p/s"}),
    (moved(split=split(), east=replace(RETURNED, vms="running")), {}),
]


@pytest.mark.parametrize(("seen", "want"), NOTHING)
def test_nothing_is_run_where_nothing_is_moved(seen: PlanView, want: dict[str, Any]) -> None:
    topology = having({"a": before("move"), "b": after("move", kinds=EVERY)})
    with_them = answer(replace(seen, topology=topology, spec=topology.plans[PLAN]), **want)
    assert with_them == answer(seen, **want)


# -- resumed ----------------------------------------------------------------------------------------


def test_what_has_ended_in_this_claim_is_not_run_again() -> None:
    topology = having({"a": before("move"), "b": before("commit"), "c": after("move")})
    for ended, left in [({}, "abc"), ({"a": "done"}, "bc"), ({"a": "failed", "b": "done"}, "c")]:
        seen = view(topology, claim=claim(), records=logged(ended=ended))
        assert list(hooks(answer(seen))) == [f"callout:{name}" for name in left]
    another = view(topology, claim=claim(), records=logged(claim_id="id-of-another", ended={"a": "done"}))
    assert list(hooks(answer(another))) == ["callout:a", "callout:b", "callout:c"]


def test_what_any_array_knows_to_have_ended_has() -> None:
    topology = having({"a": before("move"), "b": before("commit")})
    records = logged(ended={"b": "done"}, failed={"a": "it failed"})
    records["east-a"] = logged(ended={"a": "done"})["east-a"]
    seen = view(topology, claim=claim(), records=records)
    assert hooks(answer(seen)) == {}


STOPPED = claim(stopped=("db", "app", "web"))
# fmt: off
PASSED: list[tuple[str, dict[str, Any], dict[str, Any], tuple[set[str], set[str]] | None]] = [
    ("a phase without anything to do comes before the next", before("stop"), {}, ({"reserve"}, {"prove"})),
    ("the same, after it", after("stop"), {}, ({"reserve"}, {"prove"})),
    ("a VM that the claim found running was stopped", after({"vm": "db", "phase": "stop"}), {"claim": STOPPED}, ({"reserve"}, {"prove"})),
    ("a VM that did not run was not", after({"vm": "db", "phase": "stop"}), {"claim": claim(stopped=("app",))}, None),
    ("before a VM that is off there is nothing", before({"vm": "db", "phase": "stop"}), {"claim": STOPPED}, None),
]
# fmt: on


@pytest.mark.parametrize(
    ("hook", "situation", "wanted"), [case[1:] for case in PASSED], ids=[case[0] for case in PASSED]
)
def test_a_part_of_the_move_that_is_over(
    hook: dict[str, Any], situation: dict[str, Any], wanted: tuple[set[str], set[str]] | None
) -> None:
    topology = having({"a": {**hook, "onError": "continue"}})
    decision = answer(view(topology, **{"claim": claim(), "east": NONE_RUN, **situation}))
    assert hooks(decision) == ({} if wanted is None else {"callout:a": wanted})


# -- after the commit, in whichever run -------------------------------------------------------------

THERE: dict[str, Any] = {"epochs": (epoch(), epoch(2, "west", from_site="east"))}
DUE = ("a",)
ONE_RUNS = replace(ACTIVE, vms={"db": "running", "app": "off", "web": "off"})

# fmt: off
REST: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], tuple[set[str], set[str]] | None]] = [
    ("all runs: what tells of it is left", after("move"), {}, {"due": DUE}, (set(), set())),
    ("it has ended", after("move"), {}, {"due": DUE, "ended": {"a": "done"}}, None),
    ("it came to the topology later", after("move"), {}, {"due": ()}, None),
    ("the move of another epoch", after("move"), {}, {"due": DUE, "claim_id": "id-1"}, None),
    ("nothing is started: nothing comes before it", before("start"), {}, {"due": DUE}, None),
    ("the commit is past", after("commit"), {}, {"due": DUE}, (set(), set())),
    ("the commit is past, and VMs start", after("commit"), {"west": NONE_RUN}, {"due": DUE}, (set(), ATTACHED)),
    ("VMs start", before("start"), {"west": NONE_RUN}, {"due": DUE}, (set(), ATTACHED)),
    ("a tier that runs", after({"tier": 1}), {}, {"due": DUE}, (set(), set())),
    ("a tier of which one is started", after({"tier": 2}), {"west": ONE_RUNS},
     {"due": DUE}, ({"start:app"}, {"start:web"})),
    ("a tier that runs, and later ones do not: they wait for it", after({"tier": 1}), {"west": ONE_RUNS}, {"due": DUE}, (set(), {"start:app", "start:web"})),
    ("a VM that runs, and later tiers do not", after({"vm": "db"}), {"west": ONE_RUNS}, {"due": DUE}, (set(), {"start:app", "start:web"})),
    ("one whose VM cannot be placed", after({"vm": "db"}), {"west": NONE_RUN, "silent": ["west-1", "west-2"]}, {"due": DUE}, None),
]
# fmt: on


@pytest.mark.parametrize(
    ("hook", "situation", "log", "wanted"), [case[1:] for case in REST], ids=[case[0] for case in REST]
)
def test_what_is_due_after_the_commit(
    hook: dict[str, Any], situation: dict[str, Any], log: dict[str, Any], wanted: tuple[set[str], set[str]] | None
) -> None:
    topology = having({"a": {**hook, "onError": "continue"}})
    decision = answer(moved(topology, **{**THERE, **situation, "records": logged(**log)}))
    assert hooks(decision) == ({} if wanted is None else {"callout:a": wanted})
    if wanted is not None:
        assert decision.kind == "repair"
        of = tree(decision)["callout:a"].of
        assert dict(of) == {
            "kind": "planned",
            "from": "east",
            "to": "west",
            "epoch": "2",
            "claim": "id-2",
            "name": "a",
            "key": "a",
        }


def test_what_waits_for_a_callout_that_stopped_the_move_waits_for_it_in_the_next_run_too() -> None:
    """All of its tier runs already: neither a later tier nor what tells that all has started gets past it."""
    topology = having(
        {"a": after({"tier": 1}), "b": after("start"), "c": before({"tier": 2}), "d": after({"vm": "db"})}
    )
    log = logged(due=("a", "b", "c", "d"), failed={"a": "callout a: it failed"})
    rest = tree(answer(moved(topology, **THERE, west=ONE_RUNS, records=log)))
    assert rest["callout:a"].after == ("callout:d",)
    assert "callout:a" in rest["callout:c"].after
    assert {"callout:a", "callout:c"} <= set(rest["start:app"].after)
    assert rest["callout:b"].after == ("callout:c",)
    told = tree(answer(moved(topology, **THERE, records=log)))
    assert "start:app" not in told
    assert "callout:a" in told["callout:b"].after


def test_a_tier_that_is_not_whole_is_not_told_of() -> None:
    """One of its VMs cannot be started: what comes after the tier stays due."""
    tiers = [{"members": ["db", "app"]}, {"members": ["web"]}]
    topology = shop(plan={"tiers": tiers, "callouts": {"a": after({"tier": 1})}})
    log = logged(due=DUE)
    whole = answer(moved(topology, **THERE, west=NONE_RUN, records=log))
    assert hooks(whole)["callout:a"][0] == {"start:db", "start:app"}
    torn = answer(moved(topology, **THERE, west=replace(NONE_RUN, at={"vol-2": "absent"}), records=log))
    assert "start:db" in tree(torn)
    assert hooks(torn) == {}


def test_what_comes_after_the_end_of_a_claim() -> None:
    named = {
        "a": before("move"), "b": after("move"), "c": before("commit"), "d": after("commit"), "e": before("start"), "f": after("scan"),
        "g": after({"tier": 1}), "h": before({"vm": "db", "phase": "stop"}), "i": after("start", kinds=["disaster"]),
        "j": before({"vm": "db"}, kinds=["abort"]), "k": before("move", kinds=["abort"]),
    }  # fmt: skip
    spec = having(named, {"p": {"after": "commit", "text": "p?"}}).plans[PLAN]
    assert due_at_end(spec, "planned") == ("b", "d", "e", "g", "p")
    assert due_at_end(spec, "disaster") == ("b", "d", "e", "g", "i", "p")
    assert due_at_end(spec, "abort") == ("abort.j",)


def test_what_is_due_and_has_nowhere_to_stand_is_in_nobodys_way() -> None:
    topology = having({"a": after({"vm": "web"}), "b": after("start", kinds=["restart"])})
    west = replace(ACTIVE, vms={"db": "off", "app": "running", "web": "off"}, no_luns=("web.root",))
    seen = moved(topology, **THERE, west=west, records=logged(due=("a", "gone-since")))
    assert list(hooks(answer(seen))) == ["callout:b"]


def test_nobody_tells_of_a_move_where_the_other_side_may_have_taken_over() -> None:
    topology = having({"a": after("move")})
    log = logged(due=DUE)
    situation: dict[str, Any] = {**THERE, "silent": ["east"], "records": log}
    assert hooks(answer(moved(topology, **situation))) == {}
    assert list(hooks(answer(moved(topology, **situation), word="2: east is dark"))) == ["callout:a"]


def test_what_is_left_of_leading_back() -> None:
    topology = having({"a": after("move", kinds=["abort"]), "b": after("move")})
    over = epoch(2, "west", state="aborted", from_site="east")
    seen = view(topology, epochs=(epoch(), over), records=logged("abort", due=("abort.a",)))
    decision = answer(seen)
    assert list(hooks(decision)) == ["callout:a"]
    of = tree(decision)["callout:a"].of
    assert (of["kind"], of["from"], of["to"], of["key"]) == ("abort", "west", "east", "abort.a")


# -- what is said of them ---------------------------------------------------------------------------

ASKED = {"p": Asked("go?", "since", "until", "stop")}
ASKING = having({}, {"p": {"before": "commit", "text": "go?"}})


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (view(ASKING), []),
        (view(ASKING, records=logged()), []),
        (view(ASKING, claim=claim(), records=logged(asked=ASKED)), ["p"]),
        (view(ASKING, claim=claim(), records=logged(asked=ASKED, ended={"p": "continue"})), []),
        (view(ASKING, claim=claim(), records=logged(claim_id="id-1", asked=ASKED)), []),
        (moved(ASKING, records=logged(asked=ASKED)), ["p"]),
        (moved(records=logged(asked=ASKED)), []),
        (view(ASKING, epochs=[], records=logged(asked=ASKED)), []),
    ],
)
def test_prompts_that_wait(seen: PlanView, wanted: list[str]) -> None:
    assert [(claim_id, name) for claim_id, name, _ in waiting(seen)] == [("id-2", name) for name in wanted]


def said(word: Literal["continue", "stop"], at: str = "since", claim_id: str = "id-2") -> dict[str, str]:
    return {keys.answer_key(NAME, PLAN, claim_id, "p"): dump(Answer(PLAN, claim_id, "p", word, "me", "t", asked=at))}


UNREADABLE = {keys.answer_key(NAME, PLAN, "id-2", "p"): "not a record"}
# fmt: off
ANSWERS: list[tuple[str, dict[str, Any], dict[str, str], dict[str, str], list[str], list[str]]] = [
    ("one array has it", {"asked": ASKED}, said("continue"), {}, ["continue"], []),
    ("two say different things", {"asked": ASKED}, said("continue"), said("stop"), ["stop"], []),
    ("to an earlier question", {"asked": ASKED}, said("stop", "before"), said("continue"), ["continue"], ["east-a"]),
    ("the prompt is over", {"ended": {"p": "continue"}}, said("continue"), said("continue"), [], ["east-a", "west-a"]),
    ("to a move that nobody knows", {}, said("continue", claim_id="id-9"), {}, [], []),
    ("to a move that is past", {}, said("continue", claim_id="id-1"), {}, [], ["east-a"]),
    ("one that cannot be read may be meant for the question", {"asked": ASKED}, UNREADABLE, {}, [], []),
    ("one that cannot be read, to what is over", {}, UNREADABLE, {}, [], ["east-a"]),
]
# fmt: on


@pytest.mark.parametrize(
    ("log", "east", "west", "counts", "past"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS]
)
def test_which_answer_counts_and_which_are_past(
    log: dict[str, Any], east: dict[str, str], west: dict[str, str], counts: list[str], past: list[str]
) -> None:
    records = logged(**log)
    seen = view(ASKING, claim=claim(), records={"east-a": records["east-a"] | east, "west-a": records["west-a"] | west})
    found = [answered(seen, *prompt) for prompt in waiting(seen)]
    assert [answer.answer for answer in found if answer is not None] == counts
    assert sorted(past_answers(seen)) == past


FAILED = {"a": "callout a: it failed", "b": "callout b: it failed"}
FAILING = having({"a": after("start"), "b": after("start")})


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (moved(FAILING, records=logged(due=("a",), failed=FAILED)), ["callout a: it failed (epoch 2); the next run of plan shop runs it again, and what waits for it"]),
        (moved(records=logged(due=("a",), failed=FAILED)), []),
        (moved(FAILING, records=logged(due=("a",), failed=FAILED, ended={"a": "done"})), []),
        (moved(FAILING, claim=claim("east", 3), records=logged(due=("a",), failed=FAILED)), []),
        (view(FAILING, records=logged(due=("a",), failed=FAILED)), []),
        (view(FAILING, epochs=[], records=logged(due=("a",), failed=FAILED)), []),
    ],
)  # fmt: skip
def test_what_keeps_the_rest_of_a_move_from_being_done(seen: PlanView, wanted: list[str]) -> None:
    assert list(left_open(seen)) == wanted


# -- by itself --------------------------------------------------------------------------------------


def test_a_drill_has_its_start() -> None:
    spec = having(
        {"a": before("move", kinds=["drill"]), "b": after({"vm": "db"}, kinds=["drill"]), "c": after("move")}
    ).plans[PLAN]
    actions = [
        Action("attach:db", "attach", "", of={"vm": "db"}),
        Action("start:db", "start", "", after=("attach:db",), of={"vm": "db"}),
    ]
    woven = weave_into(spec, actions, Moving("drill", {}))
    assert [action.id for action in woven] == ["callout:a", "attach:db", "start:db", "callout:b"]
    assert sound(woven)
    assert critical_path(woven, lambda _action: 1.0) == 4.0


# -- in full (test_decisions_in_full.py) --------------------------------------------------------------

_ALL = having(
    {
        "a": before("move", onError="continue"), "b": after("stop"), "c": before("commit", command=["check", "{{ to_site }}"]),
        "d": after({"tier": 1}), "e": before({"vm": "web"}), "f": after("move", onError="continue"), "g": after("move", kinds=["abort", "restart"]),
    },
    {"p": {"before": "commit", "text": "go?"}},
)  # fmt: skip
IN_FULL: dict[str, tuple[PlanView, dict[str, Any]]] = {
    "callouts: planned": (view(_ALL), {"site": "west"}),
    "callouts: disaster": (view(_ALL, silent=["east"]), {"site": "west", "word": WORD}),
    "callouts: claimed": (view(_ALL, claim=claim(), records=logged(ended={"a": "done", "b": "done"})), {}),
    "callouts: aborted": (view(_ALL, claim=claim(), east=NONE_RUN), {"goal": "abort"}),
    "callouts: restart": (view(_ALL, east=NONE_RUN), {}),
    "callouts: the rest": (
        moved(_ALL, **THERE, west=NONE_RUN, records=logged(due=("d", "e", "f"), ended={"d": "done"})),
        {},
    ),
    "callouts: refused": (view(_ALL, silent=["east"]), {"site": "west"}),
}
