"""What the soak (tests/soak) has found, each as small as it could be made."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model.errors import DeviceFault, DrError, Refused
from dr_provider.model.records import Owner
from dr_provider.reconcile import run as runs
from dr_provider.reconcile.actions import claims, reversing
from dr_provider.reconcile.context import Run
from dr_provider.reconcile.decision import Action
from dr_provider.reconcile.drills.begin import start_drill
from dr_provider.reconcile.drills.end import end_drill
from dr_provider.reconcile.lease import hold_lease
from dr_provider.reconcile.ownership import owner_of
from dr_provider.reconcile.provision_vms import release_vm
from dr_provider.reconcile.restore import restore_in_place
from tests.reconcile.conftest import Clock
from tests.support.kills import killed_at
from tests.support.lab import Lab
from tests.support.topologies import write_topology


def test_what_a_commit_could_not_tidy_is_let_go_when_the_way_back_is_protected(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hold on the point that a move has chosen stayed for ever where the run ended between its commit and its tidying."""

    def cut_off(*_: object) -> None:
        raise DeviceFault("array west-a could not do the call")

    lab.protect()
    monkeypatch.setattr(claims, "_tidy", cut_off)

    outcome = lab.move("west")

    assert outcome.failures == ()
    assert _holds(lab) == set()


def test_capacity_that_a_silent_host_kept_for_a_move_is_given_back_when_it_answers(lab: Lab) -> None:
    """Nothing looked for it: the host that was silent when the move ended kept the room for ever."""
    lab.protect()
    assert killed_at(lambda: lab.move("west"), 1, "after")
    lab.lose("host:west-1", running=True)
    lab.move(goal="abort")
    lab.heal("host:west-1")

    lab.move()

    hosts = [lab.view().seen.host(name) for name in lab.topology.hosts]
    assert [kept for host in hosts if host for kept in host.reservations] == []
    assert lab.decide().actions == ()


def test_holds_that_a_killed_run_left_are_let_go_by_the_next(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was killed after its point had arrived, and before it let go of the fork, left nothing that a later run would have done."""
    lab.protect()
    with monkeypatch.context() as ended_before:
        ended_before.setattr(reversing, "past_holds", lambda _view: {})
        lab.move("west")
    assert _holds(lab) == {"fork.e2"}

    lab.move()

    assert _holds(lab) == set()
    assert lab.decide().actions == ()


def test_a_copy_that_comes_back_in_a_cascade_gets_what_the_one_before_it_has(tmp_path: Path) -> None:
    """It was to be sent the newest point, which the copy that feeds it has not got yet: both transfers failed, or what was sent was an older point."""
    lab = Lab(
        tmp_path, sites=("east", "west", "south"), via={"south-a": "west-a"}, hosts_per_site=1, source_budget="300ms"
    )
    lab.protect()
    lab.lose("site:east")
    lab.move("south", word="1: power lost at east")
    lab.protect()
    lab.heal("site:east")

    outcome = lab.move()

    assert outcome.warnings == ()
    # The point that this run took, by way of west, which lacked nothing of what was before.
    newest = lab.view().points[-1]
    assert (newest.epoch, newest.complete_at("west"), newest.complete_at("east")) == (2, True, True)
    assert _holds(lab) == set()


def test_a_resolve_protects_all_that_it_keeps_and_not_the_lost_side_only(tmp_path: Path) -> None:
    """The third copy, which was in line, got its first point of the new epoch by yet another run."""
    lab = Lab(tmp_path, sites=("east", "west", "south"), hosts_per_site=1, source_budget="300ms")
    lab.protect()
    lab.lose("site:east", running=True)
    lab.move("west", word="1: east is cut off")
    lab.bench.write("db", 8, "west")
    lab.heal("site:east")
    lab.move()

    outcome = lab.move("west", goal="resolve")

    assert outcome.failures == ()
    assert lab.decide().actions == ()


def test_a_disk_that_was_just_declared_is_not_mapped_beside_the_running_vm(lab: Lab) -> None:
    """Its LUN was mapped again to a host whose VM does not know the disk."""
    document = json.loads(lab.path.read_text())
    document["vms"]["db"]["disks"]["more"] = {"volume": "vol-1", "size": "4MiB"}
    lab.path.write_text(json.dumps(document))
    lab.apply()

    assert lab.decide().actions == ()


def test_a_point_of_a_clock_that_is_ahead_is_no_loss_of_nothing(lab: Lab, clock: Clock) -> None:
    """The operator's clock was 20 minutes behind the one that stamped the point, and the loss was told as 0 seconds, which means nothing."""
    lab.protect()
    lab.write(24)
    lab.lose("site:east")
    clock.forward(-20)

    loss = lab.decide("west", word="1: power lost at east").loss

    assert loss.seconds is None
    assert "a clock that is ahead" in loss.statement


def test_a_move_between_two_sites_does_not_resync_a_third_that_has_been_written(tmp_path: Path) -> None:
    """Only the target was looked at: the third side, whose guests had run on, was turned into a copy without a word of a split."""
    lab = Lab(tmp_path, sites=("east", "west", "south"), hosts_per_site=1, source_budget="300ms")
    lab.protect()
    lab.lose("site:east", running=True)
    lab.move("west", word="1: east is cut off")
    lab.bench.write("db", 8, "east")
    lab.heal("site:east")

    with pytest.raises(Refused, match="east may have been written after west took over"):
        lab.move("south")


def _third_side_back_in_mid_move(folder: Path, *, running: bool) -> Lab:
    """West has taken over from east; a move from there to south is killed after its claim, and then east is seen again."""
    lab = Lab(folder, sites=("east", "west", "south"), hosts_per_site=1, source_budget="300ms")
    lab.protect()
    lab.lose("site:east", running=running)
    lab.move("west", word="1: east is cut off")
    lab.protect()
    assert killed_at(lambda: lab.move("south"), "claim", "after")
    lab.heal("site:east")
    return lab


def test_a_third_side_that_was_written_and_comes_back_in_mid_move_is_a_split_once_the_move_is_committed(
    tmp_path: Path,
) -> None:
    """The move that went on did not look at it: it was resynced under its running guests, with no word of a split."""
    lab = _third_side_back_in_mid_move(tmp_path, running=True)
    lab.bench.write("db", 8, "east")

    outcome = lab.move()

    view = lab.view()
    assert view.split is not None
    assert (view.active, set(view.split.sides)) == ("south", {"south", "east"})
    assert "dr resolve shop --keep SITE" in outcome.failures[-1]
    assert set(lab.running().values()) == {"south"}
    assert lab.move("south", goal="resolve").failures == ()
    assert 8 in {last for array, lasts in lab.safety_ledgers().items() if array == "east-a" for last in lasts}
    assert lab.decide().actions == ()


def test_a_third_side_that_comes_back_in_mid_move_holds_still_before_it_is_resynced(tmp_path: Path) -> None:
    lab = _third_side_back_in_mid_move(tmp_path, running=False)

    outcome = lab.move()

    assert outcome.failures == ()
    assert "fence:east-a" in [step["id"] for step in outcome.steps]
    assert lab.decide().actions == ()
    assert lab.status()["phase"] == "steady"


def test_a_copy_that_comes_back_is_fed_by_one_that_has_what_it_will_stand_at(tmp_path: Path) -> None:
    """The feeder was chosen by the newest snapshot of the copy, which is taken off it before anything is sent: the increment did not fit."""
    lab = Lab(tmp_path, sites=("east", "west", "south"), hosts_per_site=1, source_budget="300ms")
    lab.protect()
    lab.lose("site:east")
    lab.move("west", word="1: power lost at east")
    lab.heal("site:east")
    lab.protect(now=False)
    lab.lose("site:west")
    lab.move("south", word="2: power lost at west")
    lab.heal("site:west")

    outcome = lab.move()

    assert outcome.warnings == ()
    assert any(point.epoch == 3 and point.complete_at("west") for point in lab.view().points)
    assert lab.decide().actions == ()


def _with_logs(document: dict[str, Any]) -> None:
    document["volumes"]["logs"] = {**document["volumes"]["vol-1"]}
    document["vms"]["log"] = {"cpus": 1, "memory": "64MiB", "disks": {"root": {"volume": "logs", "size": "4MiB"}}}
    document["plans"]["shop"]["tiers"].append({"members": ["log"]})


def test_a_volume_that_was_added_while_a_side_was_away_comes_to_all_others_by_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third side, which lacked it too, got it by yet another run; and where other volumes came to the side on the way later than it,
    an older point was to be passed on, which it is no part of."""
    sites: dict[str, Any] = {"sites": ("east", "west", "south"), "hosts_per_site": 1, "source_budget": "300ms"}
    lab = Lab(tmp_path, **sites)
    lab.protect()
    lab.lose("site:east")
    lab.move("west", word="1: power lost at east")
    write_topology(tmp_path, change=_with_logs, **sites)
    lab.apply()
    lab.heal("site:east")
    passed_on, transfer = threading.Event(), vars(reversing)["transfer"]

    def in_order(run: Any, volume: str, source: str, target: str, **more: Any) -> str:
        if volume != "logs" and target == "east-a":
            assert passed_on.wait(10)
        try:
            sent: str = transfer(run, volume, source, target, **more)
            return sent
        finally:
            if (volume, source) == ("logs", "east-a"):
                passed_on.set()

    monkeypatch.setattr(reversing, "transfer", in_order)

    outcome = lab.move()

    assert passed_on.is_set(), "it goes by way of east"
    assert (outcome.failures, outcome.warnings) == ((), ())
    assert lab.decide().actions == ()
    view = lab.view()
    assert all(view.volume("logs", site) is not None for site in view.spec.sites)


def test_a_vm_that_is_being_set_back_is_not_mapped_with_another_of_its_volume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that was to be attached from one volume to one host was mapped by one call, its disks too, which were being written by the array."""
    lab = Lab(tmp_path, hosts_per_site=1, source_budget="300ms")
    lab.write(8)
    point = lab.protect().point
    assert point is not None
    lab.lose("host:east-1")
    lab.heal("host:east-1")
    perform = vars(runs)["perform"]
    detached, attached = threading.Event(), threading.Event()

    def ordered(run: Run, action: Action) -> str:
        if action.id == "attach:web":
            assert detached.wait(30)
        if action.verb == "set-back":
            assert attached.wait(30)
        said: str = perform(run, action)
        if action.verb == "detach":
            detached.set()
        if action.id == "attach:web":
            attached.set()
        return said

    monkeypatch.setattr(runs, "perform", ordered)

    outcome = restore_in_place(lab.world(), "db", point)

    assert outcome.failures == ()
    assert lab.last("db") == {"db": 8}


def test_a_restore_that_a_move_makes_void_is_ended_by_that_move(lab: Lab) -> None:
    """Its record, clones and holds stayed until yet another run."""
    point = lab.protect().point
    assert point is not None
    assert killed_at(lambda: restore_in_place(lab.world(), "db", point), "detach:db", "after")
    for host in ("east-1", "east-2"):
        lab.lose(f"host:{host}")

    outcome = lab.move("west", word="1: no host answers")

    assert outcome.failures == ()
    assert lab.view().restores == {}
    assert not any("restore" in hold for hold in _holds(lab))


def test_a_drill_is_at_one_site(lab: Lab) -> None:
    """One of the same name at another site took the VMs of the first for its own, and only one of the two was ended."""
    owner = Owner("shop-test", "", "i1")
    lab.protect()
    start_drill(lab.world(), "shop", "west", "d1", owner)

    with pytest.raises(Refused, match="drill d1 is at west, and its VMs carry its name; end it first"):
        start_drill(lab.world(), "shop", "east", "d1", owner)

    assert end_drill(lab.world(), "shop", "d1").removed["vms"] == 3


def test_of_two_drills_of_one_name_the_end_leaves_nothing(lab: Lab) -> None:
    """West was away when the one at east was made."""
    owner = Owner("shop-test", "", "i1")
    lab.protect()
    start_drill(lab.world(), "shop", "west", "d1", owner)
    lab.lose("site:west")
    start_drill(lab.world(), "shop", "east", "d1", owner)
    lab.heal("site:west")

    end_drill(lab.world(), "shop", "d1")

    view = lab.view()
    arrays = [state for name in view.topology.arrays if (state := view.seen.array(name)) is not None]
    assert view.drills == {}
    assert {volume.kind for state in arrays for volume in state.volumes.values()} == {"data"}


def _frozen(lab: Lab) -> set[str]:
    return {place.vm for place in lab.view().places if place.state.frozen}


def test_a_run_with_nothing_to_do_thaws_what_nobody_holds_frozen(lab: Lab) -> None:
    """Only the guest's own timer, or the next backup, ended it."""
    lab.protect()
    place = next(place for place in lab.view().places if place.vm == "db")
    lab.world().fleet.host(place.host).freeze("db", thaw_after=600)
    assert _frozen(lab) == {"db"}

    with hold_lease(lab.world(), "shop", "a backup"):
        assert lab.move().failures == ()
        assert _frozen(lab) == {"db"}, "it is another's backup that holds it"
    outcome = lab.move()

    assert (outcome.failures, outcome.decision.actions) == ((), ())
    assert _frozen(lab) == set()


def test_a_run_with_something_to_do_thaws_it_as_well(lab: Lab) -> None:
    lab.protect()
    place = next(place for place in lab.view().places if place.vm == "db")
    host = lab.world().fleet.host(place.host)
    host.freeze("db", thaw_after=600)
    other = next(place for place in lab.view().places if place.vm == "web")
    lab.world().fleet.host(other.host).stop("web", graceful=0)

    outcome = lab.move()

    assert (outcome.failures, [action.id for action in outcome.decision.actions]) == ((), ["attach:web", "start:web"])
    assert (_frozen(lab), set(lab.running())) == (set(), set(lab.topology.vms))


def _web_on_another_volume(document: dict[str, Any]) -> None:
    document["vms"]["web"]["disks"]["root"]["volume"] = "vol-2"


def test_a_name_that_is_used_again_on_another_volume_is_no_lost_disk(lab: Lab) -> None:
    """The LUN of the VM that was removed, which stays in its volume, made the new one look lost."""
    world = lab.world()
    arrays = world.topology.volumes["vol-1"].arrays
    owner = owner_of(world.look(), world.topology.name, "vm", "web", arrays)
    assert owner is not None
    release_vm(world, "shop", "web", arrays, owner)
    write_topology(lab.path.parent, source_budget="300ms", change=_web_on_another_volume)

    applied = lab.apply()

    assert [one for one in applied if isinstance(one, DrError) or one.pending] == []
    assert lab.running()["web"] == "east"
    seen = lab.view()
    assert all("web.root" in volume.luns for name in ("vol-1", "vol-2") if (volume := seen.volume(name, "east")))
    lab.protect()
    assert lab.move("west").failures == ()


def test_a_disk_is_not_moved_to_another_volume_by_a_word(lab: Lab) -> None:
    """An empty one would take its place at the VM's next start."""
    write_topology(lab.path.parent, source_budget="300ms", change=_web_on_another_volume)

    (refused,) = [one for one in lab.apply() if isinstance(one, DrError)]

    assert "VM web has it in volume vol-1 on east-1, and the topology wants it in vol-2" in str(refused)
    assert lab.running()["web"] == "east"


def _holds(lab: Lab) -> set[str]:
    """The holds of moves."""
    view = lab.view()
    volumes = [view.volume(name, site) for name in view.volume_names for site in view.spec.sites]
    holds = {hold for volume in volumes if volume for snapshot in volume.snapshots for hold in snapshot.holds}
    return {hold for hold in holds if not hold.startswith("common.")}


def test_a_point_from_before_a_disk_was_made_is_brought_up_without_that_disk(lab: Lab) -> None:
    """The LUNs that were taken offline and online were those of the newest snapshot, which the break takes off the copy."""
    lab.write(8)
    lab.protect()
    older = lab.view().points[-1].id
    document = json.loads(lab.path.read_text())
    document["vms"]["db"]["disks"]["more"] = {"volume": "vol-1", "size": "4MiB"}
    lab.path.write_text(json.dumps(document))
    lab.apply()
    lab.write(8)
    lab.protect()
    lab.lose("site:east")

    outcome = lab.move("west", word="1: power lost at east", point=older)

    assert outcome.decision.point == older
    assert not any("not on array" in failure for failure in outcome.failures), outcome.failures
    assert lab.running() == dict.fromkeys(("db", "app", "web"), "west")
    lab.heal("site:east")
    lab.move()
    assert lab.decide().actions == ()


@pytest.mark.parametrize("lost", [True, False], ids=["disaster", "planned"])
def test_a_disk_that_was_declared_and_never_made_does_not_keep_its_vm_from_starting(lab: Lab, lost: bool) -> None:
    """The topology was edited, and the move came before the `up` that would have made the disk."""
    lab.write(8)
    lab.protect()
    document = json.loads(lab.path.read_text())
    document["vms"]["db"]["disks"]["more"] = {"volume": "vol-1", "size": "4MiB"}
    lab.path.write_text(json.dumps(document))
    if lost:
        lab.lose("site:east")

    outcome = lab.move("west", word="1: power lost at east" if lost else None)

    assert outcome.failures == ()
    said = "VM db: its disk more was added after the recovery point of the move, and is made anew on west-a"
    assert said in outcome.remarks
    assert lab.running() == dict.fromkeys(("db", "app", "web"), "west")
    assert lab.last("db") == {"db": 8}
    if lost:
        lab.heal("site:east")
        lab.move()
    assert [(r.name, r.pending) for r in lab.apply() if r.pending] == []
    assert lab.decide().actions == ()


def test_apply_starts_no_vm_whose_restore_was_cut(lab: Lab) -> None:
    """What the VM wrote then was overwritten by the end of the restore, whose safety copy was older."""
    lab.write(8)
    lab.protect()
    point = lab.view().points[-1].id
    lab.write(8)
    assert killed_at(lambda: restore_in_place(lab.world(), "db", point), "end-restore:db", "before")

    lab.lose("site:west")  # so that no run finishes it first
    said = {result.name: result.pending for result in lab.apply()}["db"]

    assert said == f"VM db: its restore to {point} has not ended; dr protect shop finishes it and starts the VM"
    assert "db" not in lab.running()
    lab.heal("site:west")
    lab.protect()
    assert lab.running()["db"] == "east"
    assert lab.view().restores == {}
