"""The planner of transfers: the shortest path from the newest common snapshot, or the conflict with its evidence."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dr_provider.model.errors import Diverged, DrError, NoCommonSnapshot, NotFound, NothingToSend, Unreachable
from dr_provider.model.records import Guard
from dr_provider.model.state import Incoming
from dr_provider.protection.fleet import Fleet
from dr_provider.protection.replication import Arrived, Step, common_tag, move_holds, plan_steps
from tests.protection.samples import snap, volume


def part(snapshot: str, base: str | None, received: int = 8192) -> Incoming:
    return Incoming(snapshot, f"guid-{snapshot}", base, received)


@pytest.mark.parametrize(
    ("source", "target", "options", "steps"),
    [
        pytest.param("ABC", None, {}, [Step(None, "C")], id="no copy: the newest, whole"),
        pytest.param("ABC", "", {}, [Step(None, "C")], id="an empty destination is as none"),
        pytest.param("ABC", None, {"intermediate": True}, [Step(None, "C")], id="a first copy brings no history"),
        pytest.param("ABCD", "AB", {}, [Step("B", "D")], id="one increment"),
        pytest.param("ABCD", "B", {}, [Step("B", "D")], id="the target need not have all"),
        pytest.param("BCD", "AB", {}, [Step("B", "D")], id="nor the source"),
        pytest.param("ABCD", "A", {"intermediate": True}, [Step("A", "B"), Step("B", "C"), Step("C", "D")], id="all"),
        pytest.param("AbCD", "A", {"intermediate": True}, [Step("A", "C"), Step("C", "D")], id="only sealed ones"),
        pytest.param("ABCd", "A", {}, [Step("A", "C")], id="the newest sealed one is what is meant"),
        pytest.param("ABCd", "A", {"snapshot": "d"}, [Step("A", "d")], id="one that is named is taken as it is"),
        pytest.param("ABCD", "A", {"snapshot": "C"}, [Step("A", "C")], id="up to the named one"),
    ],
)
def test_shortest_path(source: str, target: str | None, options: dict[str, Any], steps: list[Step]) -> None:
    wanted = {"snapshot": None, "intermediate": False, **options}
    found = plan_steps(volume(source, writable=True), None if target is None else volume(target), **wanted)
    assert list(found.steps) == steps
    assert found.common == steps[0].base


@pytest.mark.parametrize(
    ("incoming", "steps"),
    [
        pytest.param(part("D", "B"), [Step("B", "D", 8192)], id="the same step goes on"),
        pytest.param(part("C", "B"), [Step("B", "C", 8192), Step("C", "D")], id="one on the way is finished first"),
        pytest.param(part("D", "A"), [Step("B", "D")], id="another base: begun anew"),
        pytest.param(part("X", "B"), [Step("B", "D")], id="gone from the source: begun anew"),
        pytest.param(Incoming("D", "other", "B", 8192), [Step("B", "D")], id="same name, other snapshot: begun anew"),
        pytest.param(part("D", None), [Step("B", "D")], id="a full copy that is no longer needed"),
    ],
)
def test_resume(incoming: Incoming, steps: list[Step]) -> None:
    assert list(plan_steps(volume("ABCD"), volume("AB", incoming=incoming), None).steps) == steps


def test_a_first_copy_is_resumed() -> None:
    found = plan_steps(volume("ABC"), volume("", incoming=part("B", None)), None)
    assert list(found.steps) == [Step(None, "B", 8192), Step("B", "C")]


@pytest.mark.parametrize(
    ("source", "target", "error", "evidence"),
    [
        pytest.param(volume("AB"), volume("AB"), NothingToSend, ["B already", "last common B"], id="up to date"),
        pytest.param(volume("ABc"), volume("AB"), NothingToSend, ["B already"], id="nothing sealed is newer"),
        pytest.param(volume("ab"), None, NothingToSend, ["no sealed snapshot", "a, b"], id="never sealed"),
        pytest.param(
            volume("AB"), volume("XY"), NoCommonSnapshot, ["source only: A, B", "target only: X, Y"], id="strangers"
        ),
        pytest.param(
            volume("ABC"), volume("ABX"), Diverged, ["last common: B", "source only: C", "target only: X"], id="forked"
        ),
        pytest.param(
            volume("ABC"), volume("AB", writable=True), Diverged, ["it is writable", "last common: B"], id="writable"
        ),
        pytest.param(volume("ABC"), volume("AB", changed=4096), Diverged, ["4096 bytes"], id="written"),
        pytest.param(volume("AB"), volume("", writable=True), Diverged, ["it is writable", "none"], id="empty, in use"),
        pytest.param(
            volume("ABCDEF"),
            volume("XYZUV"),
            NoCommonSnapshot,
            ["D, E, F and 3 older", "Z, U, V and 2 older"],
            id="many",
        ),
    ],
)
def test_conflicts_show_their_evidence(source: Any, target: Any, error: type[DrError], evidence: list[str]) -> None:
    with pytest.raises(error) as caught:
        plan_steps(source, target, None)
    for words in evidence:
        assert words in str(caught.value)


def test_a_named_snapshot_that_is_gone_is_no_success() -> None:
    with pytest.raises(NotFound, match="no snapshot Z"):
        plan_steps(volume("AB"), volume("A"), "Z")


letters = st.text(alphabet="ABCDEFGH", max_size=8).map(lambda text: "".join(sorted(set(text))))


@given(source=letters.filter(bool), target=letters, intermediate=st.booleans())
def test_every_path_starts_at_the_newest_common_one_and_only_goes_forward(
    source: str, target: str, intermediate: bool
) -> None:
    near, far = volume(source, writable=True), volume(target)
    try:
        found = plan_steps(near, far, None, intermediate=intermediate)
    except (Diverged, NoCommonSnapshot, NothingToSend):
        both = set(source) & set(target)
        assert (target and not both) or (both and (max(target) not in both or max(source) in both))
        return
    shared = sorted(set(source) & set(target))
    assert found.common == (shared[-1] if shared else None)
    at = found.common
    for step in found.steps:
        assert step.base == at
        assert at is None or step.snapshot > at
        at = step.snapshot
    assert at == source[-1]
    between = [letter for letter in source if found.common and found.common < letter]
    assert len(found.steps) == (len(between) if intermediate and found.common else 1)


@given(target=letters.filter(bool), renamed=st.booleans())
def test_names_alone_are_never_taken_for_a_common_snapshot(target: str, renamed: bool) -> None:
    near = volume([snap(letter, guid=f"elsewhere-{letter}") for letter in target + ("Z" if renamed else "")])
    with pytest.raises(NoCommonSnapshot):
        plan_steps(near, volume(target), None)


# -- holds ----------------------------------------------------------------------------------------


class _Noted:
    """A fleet whose arrays only note their calls; `deaf` refuses its holds."""

    def __init__(self, deaf: str = "") -> None:
        self.deaf = deaf
        self.calls: list[tuple[object, ...]] = []

    def array(self, name: str) -> Any:
        noted, deaf = self.calls, self.deaf

        class Noting:
            def hold(self, snapshots: dict[str, str], tag: str, _guard: Guard) -> None:
                if name == deaf:
                    raise Unreachable(f"{name} is silent")
                noted.append(("hold", name, dict(snapshots), tag))

            def release(self, volumes: list[str], tag: str, _guard: Guard) -> None:
                noted.append(("release", name, list(volumes), tag))

        return Noting()


def test_holds_of_volumes_move_together_and_nothing_is_let_go_before_both_sides_hold_the_new_one() -> None:
    def state(name: str, peer: str) -> Any:
        old = snap("p1", holds=(common_tag(peer, "p1"), "other"))
        return volume([old, snap("p2")], name=name)

    arrived = [Arrived(name, "east-a", "west-a", state(name, "west-a"), state(name, "east-a"), "p2") for name in "ab"]
    fleet = _Noted()
    move_holds(cast(Fleet, fleet), arrived, Guard())
    both = {"a": "p2", "b": "p2"}
    assert sorted(fleet.calls[:2]) == [
        ("hold", "east-a", both, "common.west-a.p2"),
        ("hold", "west-a", both, "common.east-a.p2"),
    ]
    assert sorted(fleet.calls[2:]) == [
        ("release", "east-a", ["a", "b"], "common.west-a.p1"),
        ("release", "west-a", ["a", "b"], "common.east-a.p1"),
    ]


@pytest.mark.parametrize("deaf", ["east-a", "west-a"])
def test_what_one_side_cannot_hold_the_other_does_not_let_go_for(deaf: str) -> None:
    near = volume([snap("p1", holds=[common_tag("west-a", "p1")]), snap("p2")])
    far = volume([snap("p1", holds=[common_tag("east-a", "p1")]), snap("p2")])
    fleet = _Noted(deaf)
    with pytest.raises(Unreachable):
        move_holds(cast(Fleet, fleet), [Arrived("a", "east-a", "west-a", near, far, "p2")], Guard())
    assert [call[0] for call in fleet.calls] == ["hold"]


def test_holds_that_stand_where_they_should_are_left_alone() -> None:
    held = volume([snap("p1", holds=[common_tag("west-a", "p1")])])
    there = volume([snap("p1", holds=[common_tag("east-a", "p1")])])
    fleet = _Noted()
    move_holds(cast(Fleet, fleet), [Arrived("a", "east-a", "west-a", held, there, "p1")], Guard())
    assert fleet.calls == []
