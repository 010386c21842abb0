"""Whole moves on the embedded drivers, one kind of loss a test: what was lost, what came up, and what the ledgers say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dr_provider.arrays.embedded.array import EmbeddedArray
from dr_provider.model import keys, stopping
from dr_provider.model.errors import ArrayFull, BadInput, DeviceFault, DrError, LeaseHeld, MoveFailed, Refused, Stopped
from dr_provider.model.records import Owner
from dr_provider.reconcile import run
from dr_provider.reconcile.decision import Want
from dr_provider.reconcile.drills.begin import start_drill
from dr_provider.reconcile.drills.end import end_drill
from dr_provider.reconcile.lease import hold_lease
from dr_provider.reconcile.provision_vms import ensure_vm
from dr_provider.reconcile.run import run_plan, start_plan
from dr_provider.reconcile.safety import drop_safety, export_safety, list_safety
from tests.support.kills import failing
from tests.support.lab import Lab

VMS = ("db", "app", "web")
WORD = "1: power lost at east"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """Three VMs at east, 20 entries protected at west and 13 written since."""
    made = Lab(tmp_path, source_budget="300ms")
    made.write(20)
    made.protect()
    made.write(13)
    return made


def everywhere(site: str) -> dict[str, str]:
    return dict.fromkeys(VMS, site)


def test_a_planned_move_loses_nothing_and_the_way_back_is_protected(lab: Lab) -> None:
    outcome = lab.move("west")
    assert (outcome.failures, outcome.decision.kind, outcome.loss.seconds) == ((), "planned", 0.0)
    assert lab.running() == everywhere("west")
    assert set(lab.last().values()) == {33}
    assert lab.status()["protected"] is True
    assert lab.decide().actions == ()

    back = lab.move("east")
    assert (back.failures, back.decision.kind) == ((), "planned")
    assert lab.running() == everywhere("east")
    assert set(lab.last().values()) == {33}


def test_a_lost_site_needs_the_word_and_the_refusal_names_the_line(lab: Lab) -> None:
    lab.lose("site:east")
    with pytest.raises(Refused, match="silence proves nothing") as refusal:
        lab.move("west")
    assert 'dr:force: {shop: "1: <reason>"}' in str(refusal.value)
    assert lab.view().epochs["west-a"][-1].number == 1, "a refusal writes nothing"
    assert lab.view().claims == {}

    outcome = lab.move("west", word=WORD)
    assert outcome.failures == ()
    assert lab.running() == everywhere("west")
    assert set(lab.last().values()) == {20}, "each ledger ends at the entry that its seal names"
    point = next(p for p in lab.view().points if p.id == outcome.point)
    assert point.seal is not None
    assert {level.mark for level in point.seal.levels.values()} == {20}
    assert lab.decide().actions == (), "nothing to do with east still dark"


def test_a_move_that_was_to_lose_nothing_is_not_made_with_a_loss_that_nobody_saw(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the question and the answer to it the source may fall silent."""
    lab.protect()
    lab.write(5)

    def hold(*args: Any, **more: Any) -> Any:
        lab.lose("array:east-a")
        return hold_lease(*args, **more)

    with monkeypatch.context() as late:
        late.setattr(run, "hold_lease", hold)
        with pytest.raises(Refused) as refused:
            lab.move("west")
    for words in ("by now it does not (array east-a", "what was written at east after e1-s", "run it again to decide"):
        assert words in str(refused.value)
    assert lab.running() == everywhere("east")
    assert (lab.view().claims, lab.view().active) == ({}, "east")
    assert lab.move("west").decision.kind == "disaster"


@pytest.mark.parametrize("error", [DeviceFault, ArrayFull])
def test_an_array_that_is_left_and_takes_no_record_holds_up_no_move(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, error: type[DrError]
) -> None:
    """It answers, and its data can be read; a claim, an epoch or a declaration it writes down no more, nor what every run leaves there."""
    put, create, delete = EmbeddedArray.put_record, EmbeddedArray.create_record, EmbeddedArray.delete_record
    lab.move("east", stack="dr/prod")

    def unless_broken(call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(self: EmbeddedArray, key: str, *more: Any) -> Any:
            # It may have the lease: who holds it nowhere changes nothing.
            if self.path.stem == "east-a" and (call is put or "/lease/" not in key):
                raise error("array east-a takes no record")
            return call(self, key, *more)

        return checked

    with monkeypatch.context() as broken:
        for name, call in (("put_record", put), ("create_record", create), ("delete_record", delete)):
            broken.setattr(EmbeddedArray, name, unless_broken(call))
        outcome = lab.move("west", stack="dr/prod")
    assert outcome.failures == ()
    assert lab.running() == everywhere("west")
    assert set(lab.last().values()) == {33}
    assert "the move goes on without its claim on array east-a: array east-a takes no record" in outcome.remarks
    assert "left to the next run: array east-a takes no record" in outcome.remarks
    again = lab.move()
    assert again.failures == ()
    assert lab.view().epochs["east-a"][-1].site == "west"
    assert lab.decide().actions == ()


@pytest.mark.parametrize("broken", [("west-a",), ("east-a", "west-a")])
def test_where_a_record_is_needed_or_nobody_takes_it_the_run_says_so(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, broken: tuple[str, ...]
) -> None:
    put = EmbeddedArray.put_record

    def refuse(self: EmbeddedArray, key: str, *more: Any) -> None:
        if self.path.stem in broken and "/epoch/" in key:
            raise DeviceFault(f"array {self.path.stem} takes no record")
        put(self, key, *more)

    monkeypatch.setattr(EmbeddedArray, "put_record", refuse)
    with pytest.raises(MoveFailed) as raised:
        lab.move("west")
    assert "array west-a takes no record" in raised.value.reasons[0]
    done = raised.value.reasons[-1].startswith("the move was called off")
    assert done is (len(broken) == 1), "an end that is on record nowhere is no end"


def test_a_past_word_is_void_and_an_unneeded_one_is_ignored(lab: Lab) -> None:
    lab.lose("site:east")
    with pytest.raises(Refused):
        lab.move("west", word="7: of another time")
    lab.heal("site:east")
    assert "ignored" in lab.decide(None, word=WORD).notes[0]
    with pytest.raises(BadInput, match="EPOCH: REASON"):
        lab.decide("west", word="because")


def test_a_returned_side_that_was_off_is_kept_and_resynced(lab: Lab, tmp_path: Path) -> None:
    lab.lose("site:east")
    lab.move("west", word=WORD)
    lab.write(4)
    lab.heal("site:east")
    outcome = lab.move()
    assert outcome.failures == ()
    assert lab.status()["protected"] is True
    copies = list_safety(lab.world())
    assert {copy["volume"] for copy in copies} == {"vol-1", "vol-2"}
    file = tmp_path / "db.img"
    size = export_safety(lab.world(), "vol-1.safety.e2", "db.root", file)
    assert file.stat().st_size == size
    with pytest.raises(BadInput, match="already"):
        export_safety(lab.world(), "vol-1.safety.e2", "db.root", file)
    lab.move("east")
    assert set(lab.last().values()) == {24}
    drop_safety(lab.world(), "vol-1.safety.e2")
    assert [copy["name"] for copy in list_safety(lab.world())] == ["vol-2.safety.e2"]


def test_hosts_lost_with_their_array_alive_lose_nothing_that_was_on_disk(lab: Lab) -> None:
    before = lab.last()
    lab.lose("host:east-1")
    lab.lose("host:east-2")
    outcome = lab.move("west")
    assert (outcome.failures, outcome.loss.seconds) == ((), 0.0)
    assert lab.running() == everywhere("west")
    assert lab.last() == before, "the storage fence and the final snapshot bring all that was written out"


def test_hosts_that_come_back_running_on_taken_luns_are_stopped_without_a_split(lab: Lab) -> None:
    lab.lose("host:east-1", running=True)
    lab.lose("host:east-2", running=True)
    lab.move("west")
    lab.heal("host:east-1")
    lab.heal("host:east-2")
    assert lab.move().failures == ()
    assert lab.running() == everywhere("west")
    assert lab.view().split is None


def test_a_lost_array_with_its_hosts_answering_needs_no_word(lab: Lab) -> None:
    lab.lose("array:east-a")
    outcome = lab.move("west")
    assert outcome.failures == ()
    assert set(lab.last().values()) == {20}
    lab.heal("array:east-a")
    assert lab.move().failures == ()
    assert len(list_safety(lab.world())) == 2


def test_a_cut_link_alone_moves_only_by_the_word_for_what_is_not_sent(lab: Lab) -> None:
    lab.lose("link:east/west")
    with pytest.raises(Refused, match="link between the arrays is cut"):
        lab.move("west")
    assert lab.running() == everywhere("east"), "a refused move stops nothing"
    outcome = lab.move("west", word=WORD)
    assert outcome.failures == ()
    assert set(lab.last().values()) == {20}


def test_a_side_that_ran_on_is_a_split_until_it_is_resolved(lab: Lab) -> None:
    lab.lose("site:east", running=True)
    lab.move("west", word=WORD)
    lab.heal("site:east")
    outcome = lab.move()
    assert any("split" in sentence for sentence in outcome.failures)
    assert lab.running() == everywhere("west"), "what ran at the stale side is stopped"
    assert lab.status()["phase"] == "split"
    with pytest.raises(Refused, match="dr resolve shop --keep SITE"):
        lab.move("east")
    assert list_safety(lab.world()) == []

    resolved = lab.move("east", goal="resolve")
    assert resolved.failures == ()
    assert lab.running() == everywhere("east")
    assert set(lab.last().values()) == {33}
    assert lab.status()["phase"] == "steady"


@pytest.mark.parametrize(
    "action", ["stop:app", "fence:east-a", "prove", "final", "bring:vol-2", "choose", "break:vol-2", "scan", "commit"]
)
def test_a_planned_move_that_cannot_finish_leads_back(lab: Lab, action: str) -> None:
    lab.move("east", stack="dr/prod")
    with failing(action), pytest.raises(MoveFailed, match="active at east as before"):
        lab.move("west", stack="dr/prod")
    assert lab.running() == everywhere("east")
    assert {entry.last + entry.buffered for entry in map(lab.ledger, VMS)} == {33}
    assert lab.view().claims == {}
    assert lab.move("west", stack="dr/prod").failures == (), "the same declaration may try again"


def test_a_stop_request_ends_at_a_safe_action_and_the_move_can_be_called_off(lab: Lab) -> None:
    world = lab.world()

    def when_stopped(line: str) -> None:
        if "stop VM app" in line:
            stopping.request("Ctrl-C")

    world.progress = when_stopped
    try:
        with pytest.raises(Stopped, match="claimed and not committed"):
            run_plan(world, "shop", Want(site="west"))
    finally:
        stopping.clear()
    assert lab.status()["phase"] in ("claimed", "moving")
    with pytest.raises(Refused, match="dr abort shop"):
        lab.move("east")
    outcome = lab.move(goal="abort")
    assert outcome.failures == ()
    assert lab.running() == everywhere("east")
    assert lab.view().claims == {}
    with pytest.raises(Refused, match="nothing to call off"):
        lab.move(goal="abort")


def test_the_lease_keeps_a_second_reconciler_out(lab: Lab) -> None:
    with hold_lease(lab.world(), "shop", "a test"), pytest.raises(LeaseHeld, match="doing: a test"):
        lab.move("west")
    assert lab.move("west").failures == ()


def test_an_older_point_is_restored_whole_and_what_is_newer_is_kept(lab: Lab) -> None:
    first = lab.view().points[0].id
    lab.protect()
    outcome = lab.move("west", point=first)
    assert outcome.failures == ()
    assert set(lab.last().values()) == {20}
    names = {str(copy["name"]) for copy in list_safety(lab.world())}
    assert {"vol-1.safety.e2.west", "vol-2.safety.e2.west"} <= names
    with pytest.raises(BadInput, match="recovery point 'nonsense'"):
        lab.decide("east", point="nonsense")


def test_intent_a_stack_moves_only_when_it_declares_something_new(lab: Lab) -> None:
    stack = "dr/prod"
    lab.move("east", stack=stack)
    assert lab.move("west", stack=stack).failures == ()
    lab.move("east")
    same = lab.decide("west", stack=stack)
    assert (same.actions, same.exit_bad) == ((), True)
    assert "set dr:activeSites.shop to east" in same.warnings[0]
    other = lab.decide("west", stack="dr/second")
    assert other.exit_bad
    assert "for the first time" in other.warnings[0]
    lab.move("east", stack=stack)
    assert lab.move("west", stack=stack).failures == ()


def test_the_stack_that_makes_a_plan_has_declared_its_home(tmp_path: Path) -> None:
    lab = Lab(tmp_path, made=False)
    lab.move(stack="dr/prod")
    lab.apply()
    lab.write(5)
    lab.protect()
    assert lab.decide("west", stack="dr/second").exit_bad
    assert lab.move("west", stack="dr/prod").failures == ()
    assert lab.running() == everywhere("west")


def test_a_moved_vm_keeps_the_owner_that_took_it_over(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.write(5)
    lab.protect()
    lab.move("west")
    lab.move("east")
    newest = Owner("shop-test", "dr/second", keys.new_incarnation())
    ensure_vm(lab.world("dr/second"), "db", newest, adopt=True)
    lab.move("west")
    place = lab.view().place("db", "west")
    assert place is not None
    assert place.state.definition.owner == newest


def test_a_host_that_comes_later_is_made_and_one_that_was_lost_is_not(tmp_path: Path) -> None:
    Lab(tmp_path, hosts_per_site=1).write(5)
    lab = Lab(tmp_path, hosts_per_site=2, made=False)
    assert [a.id for a in lab.decide().actions] == ["create-host:east-2", "create-host:west-2"]
    assert lab.move().failures == ()
    assert lab.decide().actions == ()
    Path(str(lab.topology.hosts["east-2"].options["path"])).unlink()
    assert lab.decide().actions == (), "an empty host would say of the lost one's VMs that they are off"


def test_a_drill_runs_beside_production_and_leaves_nothing(lab: Lab) -> None:
    before = lab.view()
    outcome = start_drill(lab.world(), "shop", None, "d1", Owner("shop-test", "dr/drill", "i1"))
    assert outcome.failures == ()
    assert {at.state for at in outcome.vms.values()} == {"running"}
    assert lab.ledger("db.drill.d1").last == 20
    lab.protect()
    assert lab.running() == everywhere("east")
    assert end_drill(lab.world(), "shop", "d1").removed == {"vms": 3, "volumes": 2, "holds": 2}
    after = lab.view()
    for array in ("east-a", "west-a"):
        was, now = before.seen.array(array), after.seen.array(array)
        assert was is not None
        assert now is not None
        assert set(now.volumes) == set(was.volumes)
        assert {h for v in now.volumes.values() for s in v.snapshots for h in s.holds if h.startswith("drill")} == set()
    assert after.drills == {}
    assert end_drill(lab.world(), "shop", "d1").removed == {"vms": 0, "volumes": 0, "holds": 0}


def test_a_real_move_ends_a_drill_only_for_its_room(tmp_path: Path) -> None:
    lab = Lab(tmp_path, source_budget="300ms", hosts_per_site=1, host_cpus=4)
    lab.write(20)
    lab.protect()
    start_drill(lab.world(), "shop", None, "d1", Owner("shop-test", "dr/drill", "i1"))
    outcome = lab.move("west")
    assert outcome.failures == ()
    assert any("drill d1 was ended" in remark for remark in outcome.remarks)
    assert lab.running() == everywhere("west")


def test_a_vm_that_fails_holds_up_only_those_that_wait_for_it(lab: Lab) -> None:
    lab.lose("site:east")
    with failing("start:db"):
        outcome = lab.move("west", word=WORD)
    assert outcome.failures[0].startswith("start VM db on ")
    assert lab.running() == {}, "the tiers after it wait"
    assert outcome.status["activeSite"] == "west"
    again = lab.move()
    assert again.failures == ()
    assert lab.running() == everywhere("west")


def test_start_without_a_move_asks_the_other_side_or_needs_the_word(lab: Lab) -> None:
    lab.lose("host:east-1")
    lab.lose("host:east-2")
    lab.heal("host:east-1")
    lab.heal("host:east-2")
    lab.lose("site:west")
    with pytest.raises(Refused, match="cannot be asked"):
        start_plan(lab.world(), "shop", None)
    assert start_plan(lab.world(), "shop", WORD).failures == ()
    assert lab.running() == everywhere("east")


def test_unknown_plan_and_site_are_the_users_fault(lab: Lab) -> None:
    with pytest.raises(BadInput, match="not one of its sites"):
        lab.decide("north")
    with pytest.raises(BadInput, match="its plans: shop"):
        lab.world().view("store")


def test_the_word_stands_for_silence_and_not_for_a_vm_that_is_seen_running(lab: Lab) -> None:
    lab.lose("array:east-a")
    with failing("stop:web"), pytest.raises(MoveFailed, match=r"web runs on east-\d at east and could not be stopped"):
        lab.move("west", word=WORD)
    assert lab.running() == {"web": "east"}
    assert lab.status()["activeSite"] == "east"
    outcome = lab.move("west", word=WORD)
    assert (outcome.failures, lab.running()) == ((), everywhere("west"))


def test_a_last_transfer_over_its_time_leads_back(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: object, stop: Callable[[], str | None], **__: object) -> None:
        raise Stopped(str(stop()))

    monkeypatch.setattr("dr_provider.protection.replication.send_volume", cut)
    with pytest.raises(MoveFailed, match=r"did not end within lastTransfer \(1800 s\)"):
        lab.move("west")
    assert lab.running() == everywhere("east")
