"""What holds of every decision, whatever was observed: situations that no one would think of, drawn at random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dr_provider.model.errors import BadInput
from dr_provider.reconcile.copies import standing
from dr_provider.reconcile.decide import decide
from dr_provider.reconcile.decision import Action, Decision, Want
from dr_provider.reconcile.view import PlanView
from dr_provider.reconcile.window import window_of
from tests.support.situations import (
    P1,
    P2,
    VMS,
    Copies,
    Point,
    Side,
    claim,
    declared,
    drill,
    epoch,
    minute,
    shop,
    split,
    view,
)

SITES = ("east", "west")
DEVICES = ("east-a", "east-1", "east-2", "west-a", "west-1", "west-2")
POINTS = (P1, P2, Point(3, kind="final.id-2"), Point(1, 2, "west"), Point(2, 2, "west"), Point(9, 9, "west"))
WORDS = (None, "1: a", "2: b", "3: c")
AFTER_A_SPLIT_IS_SEEN = {
    "create-array", "create-host", "record", "split", "stop", "fence", "evict", "reserve", "isolate", "attach", "export", "start",
}  # fmt: skip
SHOPS = (
    shop(),
    shop(memory="2GiB", host_memory="4GiB"),
    shop(plan={"restart": "in-site"}),
    shop(plan={"commitWindow": "1h"}),
)

copies: st.SearchStrategy[Copies] = st.sampled_from(["writable", "replica", "foreign", "absent", "empty"])
points = st.lists(st.sampled_from(POINTS), unique=True).map(
    lambda found: tuple(sorted(found, key=lambda p: (p.epoch, p.sequence)))
)


@st.composite
def sides(draw: st.DrawFn) -> Side:
    found = draw(points)
    flawed = tuple(
        draw(st.sampled_from([replace(point, unsealed=("vol-1",)), replace(point, lacking=("vol-1",))]))
        if draw(st.integers(0, 9)) == 0
        else point
        for point in found
    )
    states = {vm: draw(st.sampled_from(["running", "running", "off", "failed", "none"])) for vm in VMS}
    return Side(
        draw(copies),
        flawed,
        draw(st.sampled_from(["running", "off", "none", states])),
        {"vol-2": draw(copies)} if draw(st.booleans()) else {},
        draw(st.sampled_from([None, None, True, False, ("db",)])),
        draw(st.sampled_from([0, 512])),
        draw(st.sampled_from([None, minute(150), minute(590)])),
        draw(st.sampled_from([(), (), ("web.root",)])),
    )


@st.composite
def views(draw: st.DrawFn, *, silent: frozenset[str] = frozenset()) -> PlanView:
    number = draw(st.integers(0, 3))
    known = [
        epoch(n, draw(st.sampled_from(SITES)), kind=draw(st.sampled_from(["planned", "disaster", "resolve", "rollback"])),
              word=draw(st.sampled_from([None, f"{n - 1}: x"])), from_site=draw(st.sampled_from([None, *SITES])),
              window_until=draw(st.sampled_from([None, None, minute(590), minute(700)])), window_closed=draw(st.integers(0, 4)) == 0)
        for n in range(1, number + 1)
    ]  # fmt: skip
    if draw(st.integers(0, 5)) == 0:
        known.append(epoch(number + 1, "west", state="aborted"))
    there = {
        a: known[: draw(st.integers(0, len(known)))] if draw(st.integers(0, 3)) == 0 else known
        for a in ("east-a", "west-a")
    }
    if known and draw(st.integers(0, 9)) == 0:
        there["west-a"] = [*there["west-a"], replace(known[-1], id="another", site=draw(st.sampled_from(SITES)))]
    open_claim = claim(
        draw(st.sampled_from(SITES)),
        number + 1 - draw(st.sampled_from([0, 0, 0, 1])),
        id=draw(st.sampled_from(["id-2", "id-8"])),
        kind=draw(st.sampled_from(["planned", "planned", "disaster", "resolve", "rollback"])),
        point=draw(st.sampled_from([None, P2.id, POINTS[2].id])),
        word=draw(st.sampled_from([None, f"{number}: x"])),
        proof=draw(st.sampled_from([(), VMS, ("db",)])),
        aborting=draw(st.integers(0, 4)) == 0,
    )
    claims = draw(
        st.sampled_from(
            [{}, {}, {"west-a": open_claim}, {"west-a": open_claim, "east-a": replace(open_claim, point=None)}]
        )
    )
    quiet = draw(st.sets(st.sampled_from(DEVICES), max_size=4) | st.sampled_from([{"east"}, {"west"}]) | st.just(set()))
    return view(
        draw(st.sampled_from(SHOPS)),
        east=draw(sides()),
        west=draw(sides()),
        epochs_at=there,
        claim_at=claims,
        split=draw(st.sampled_from([None, None, None, None, split()])),
        declared=draw(st.sampled_from([{}, {"dr/prod": declared("east")}, {"dr/prod": declared("west")}])),
        drills=draw(st.sampled_from([{}, {"d1": drill("d1", "db", "app")}])),
        unmade=draw(st.sampled_from([(), ("web",)])),
        silent={*silent, *quiet},
        missing=draw(st.sampled_from([(), (), ("west-a",), ("east-2",)])),
        unpinned=draw(st.sampled_from([(), (), ("west-a",)])),
        cut=draw(st.integers(0, 3)) == 0,
        twice=draw(st.sampled_from([(), (), ("db",)])),
    )


wants = st.builds(
    Want,
    site=st.sampled_from([None, "east", "west", "west"]),
    word=st.sampled_from(WORDS),
    point=st.sampled_from([None, None, P1.id, P2.id, minute(103)]),
    stack=st.sampled_from([None, None, "dr/prod"]),
    goal=st.sampled_from(["move", "move", "move", "move", "abort", "resolve", "restart", "commit", "rollback"]),
)
often = settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def decided(seen: PlanView, want: Want) -> Decision | None:
    """None: the user's words were wrong. Anything else that is raised fails the test."""
    try:
        return decide(seen, want)
    except BadInput:
        return None


def before(actions: tuple[Action, ...]) -> Mapping[str, frozenset[str]]:
    """All that must have ended before each action starts; fails where an id is unknown, comes later, or is there twice."""
    found: dict[str, frozenset[str]] = {}
    for action in actions:
        assert action.id not in found, f"{action.id} is there twice"
        waits = (*action.after, *action.last)
        assert set(waits) <= set(found), f"{action.id} waits for {set(waits) - set(found)}"
        found[action.id] = frozenset(waits).union(*(found[i] for i in waits))
    return found


@given(views(), wants)
@often
def test_every_decision(seen: PlanView, want: Want) -> None:
    decision = decided(seen, want)
    if decision is None:
        return
    assert decided(seen, want) == decision, "asked twice, it answers the same"
    if decision.refused:
        assert decision.actions == ()
        assert all(decision.refused)
    waits = before(decision.actions)
    of: dict[str, list[Action]] = {}
    for action in decision.actions:
        assert action.sentence
        of.setdefault(action.verb, []).append(action)
    nothing_is_broken_without_proof(seen, decision, of, waits)
    commit_stands_between_breaks_and_starts(decision, of, waits)
    own_data_is_kept_first(seen, decision, of, waits)
    a_split_stays_as_it_is(seen, want, decision, of)
    no_vm_is_started_beside_a_host_that_may_run_it(seen, want, decision, of, waits)
    what_a_window_leaves_untouched_is_changed_only_after_its_end(seen, want, decision, of, waits)


Verbs = Mapping[str, list[Action]]
Waits = Mapping[str, frozenset[str]]


def nothing_is_broken_without_proof(seen: PlanView, decision: Decision, of: Verbs, waits: Waits) -> None:
    proved = {a.id for a in of.get("prove", [])}
    for action in of.get("break", []):
        assert proved <= waits[action.id]
        if not proved:
            open_claim = seen.claim
            assert open_claim is not None
            assert open_claim.point is not None
            assert any((v := seen.volume(name, open_claim.site)) and v.writable for name in seen.volume_names)
    for action in of.get("final", []):
        assert proved
        assert proved <= waits[action.id]


def commit_stands_between_breaks_and_starts(decision: Decision, of: Verbs, waits: Waits) -> None:
    if "commit" not in of:
        assert "break" not in of
        return
    (commit,) = of["commit"]
    for verb in ("claim", "prove", "break", "online", "rescan", "scan"):
        assert {a.id for a in of.get(verb, [])} <= waits[commit.id]
        assert all(a.needed for a in of.get(verb, []))
    for verb in ("attach", "start", "reverse", "protect"):
        assert all(commit.id in waits[a.id] for a in of.get(verb, []))
    for claimed in of.get("claim", []):
        unclaimed = {
            "reserve",
            "stop",
            "fence",
            "keep",
            "demote",
            "clear",
            "backup",
            "send",
            "settle",
            "end-drill",
            "end-window",
            "create-array",
            "create-host",
        }
        assert {a.verb for a in decision.actions if a.id in waits[claimed.id]} <= unclaimed
        origin = str(decision.from_site)
        held = [a for a in decision.actions if a.verb in ("stop", "fence") and "@" not in a.id]
        arrays = {seen for a in held if a.verb == "fence" for seen in [a.of["array"]]}
        assert all(claimed.id in waits[a.id] for a in held if a.verb == "stop")
        assert f"{origin}-a" not in arrays or claimed.id in waits[f"fence:{origin}-a"]


def own_data_is_kept_first(seen: PlanView, decision: Decision, of: Verbs, waits: Waits) -> None:
    active = decision.to_site if decision.kind in ("repair", "resolve") else decision.from_site
    for action in (*of.get("demote", []), *of.get("clear", [])):
        name, site = action.of["volume"], action.of["array"].removesuffix("-a")
        keeps = [
            k
            for k in of.get("keep", [])
            if k.of["volume"] == name and k.of["array"] == action.of["array"] and k.id in waits[action.id]
        ]
        copy = standing(seen, name, str(active), site)
        if copy.standing in ("diverged", "foreign"):
            assert keeps, f"{action.id} without a safety copy"
        there = seen.volume(name, site)
        assert there is not None
        if action.verb == "demote" and (there.changed or there.snapshots[-1].name != action.of["snapshot"]):
            assert keeps
        assert all(k.needed for k in keeps)


def a_split_stays_as_it_is(seen: PlanView, want: Want, decision: Decision, of: Verbs) -> None:
    if seen.split is not None and want.goal == "move":
        # Nothing moves; at most a VM that runs twice is stopped on all sides but one.
        assert decision.refused or set(of) <= {"split", "stop", "fence"}
        assert "dr resolve shop --keep SITE" in (*decision.refused, *decision.degraded)[0]
    if "split" in of:
        assert set(of) <= AFTER_A_SPLIT_IS_SEEN
    for action in (a for a in of.get("stop", []) if "@" in a.id):
        assert all(s.id in action.after for s in of.get("split", []))


def no_vm_is_started_beside_a_host_that_may_run_it(
    seen: PlanView, want: Want, decision: Decision, of: Verbs, waits: Waits
) -> None:
    if decision.kind != "repair":
        assert "isolate" not in of
        return
    assert "isolate" not in of or seen.spec.restart == "in-site" or want.goal == "restart"
    site = str(decision.to_site)
    for action in of.get("start", []):
        for name in seen.topology.vms[action.of["vm"]].volumes():
            volume = seen.volume(name, site)
            assert volume is not None
            owner = volume.luns[f"{action.of['vm']}.root"].mapped_to
            hosts = {f"iqn.{host}": host for host in seen.silent_hosts(site)}
            if owner in hosts:
                fences = {a.id for a in of["isolate"] if action.of["vm"] in a.of["vms"].split(",")}
                assert fences
                assert fences <= waits[action.id]


def what_a_window_leaves_untouched_is_changed_only_after_its_end(
    seen: PlanView, want: Want, decision: Decision, of: Verbs, waits: Waits
) -> None:
    window = window_of(seen)
    if window is None or seen.split is not None or seen.claim is not None or window.site == seen.active:
        return
    ends = {a.id for a in of.get("end-window", [])}
    assert not ends or window.over or want.goal == "commit" or decision.to_site == window.site
    if "commit" in of:
        return  # a move or a rollback has its own epoch
    for action in decision.actions:
        if action.verb in ("keep", "demote", "clear", "send") and window.site in str(
            action.of.get("target", action.of.get("array"))
        ):
            assert ends
            assert ends <= waits[action.id]


@given(views(silent=frozenset({"east"})), wants)
@often
def test_a_wholly_silent_source_is_left_only_by_the_word(seen: PlanView, want: Want) -> None:
    decision = decided(seen, replace(want, word=None))
    if decision is not None and seen.active == "east" and decision.kind == "disaster" and decision.actions:
        assert seen.claim is not None
        assert seen.claim.word or set(seen.claim.proof) >= set(VMS)


@given(views(), wants)
@often
def test_silence_starts_nothing_elsewhere_and_ends_nothing_that_may_be_active(seen: PlanView, want: Want) -> None:
    decision = decided(seen, replace(want, word=None, goal="move"))
    epoch_now = seen.epoch
    if (
        decision is None
        or epoch_now is None
        or decision.kind != "repair"
        or epoch_now.kind == "disaster"
        or epoch_now.word
    ):
        return
    other = "west" if epoch_now.site == "east" else "east"
    state: Any = seen.seen.arrays[f"{other}-a"]
    if seen.seen.array(f"{other}-a") is None and not state.missing:
        assert {a.verb for a in decision.actions} <= {"create-array", "create-host", "record"}
