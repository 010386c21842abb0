"""One VM back from a recovery point: beside the running one, or in its place with all its neighbours untouched."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model import keys
from dr_provider.model.errors import BadInput, MoveInProgress, Refused
from dr_provider.reconcile.outcome import Outcome
from dr_provider.reconcile.restore import decide_restore, remove_restored, restore_beside, restore_in_place
from dr_provider.reconcile.safety import export_safety, list_safety
from tests.reconcile.protecting import claim, newest, put
from tests.support.kills import failing, killed_at
from tests.support.lab import Lab
from tests.support.situations import split

VMS = ("db", "app", "web")
ACTIONS = 8


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return prepared(tmp_path)


def prepared(folder: Path) -> Lab:
    """db and web share vol-1. 20 entries are in the first point, 64 more on the disks and 13 in the second point since."""
    made = Lab(folder, source_budget="300ms")
    made.write(20)
    made.protect()
    made.write(64)
    made.protect()
    made.write(13)
    return made


def first(lab: Lab) -> str:
    return lab.view().points[0].id


def restore(lab: Lab, vm: str = "db", **more: Any) -> Outcome:
    return restore_in_place(lab.world(), vm, more.pop("point", first(lab)), **more)


def taken(lab: Lab) -> dict[str, int]:
    """Every entry that each application has taken, on its disk or not."""
    return {vm: report.last + report.buffered for vm in VMS for report in [lab.ledger(vm)]}


def volumes(lab: Lab, array: str = "east-a") -> set[str]:
    state = lab.view().seen.array(array)
    assert state is not None
    return set(state.volumes)


def holds(lab: Lab) -> set[str]:
    found = lab.view()
    return {
        tag for name in found.volume_names if (v := found.volume(name, "east")) for s in v.snapshots for tag in s.holds
    }


def restored(lab: Lab, before: dict[str, int]) -> None:
    """db stands at the first point's mark, the others where they were; nothing is left of the restore."""
    assert taken(lab) == {**before, "db": 20}
    assert all(lab.ledger(vm).intact for vm in VMS)
    assert lab.running() == dict.fromkeys(VMS, "east")
    assert not any("restore" in name for name in volumes(lab))
    assert not any(tag.startswith("restore") for tag in holds(lab))
    assert lab.view().restores == {}
    assert lab.decide().actions == (), "a second run has nothing to do"


# -- in its place ---------------------------------------------------------------------------------------


def test_one_vm_is_set_back_and_its_neighbours_go_on(lab: Lab) -> None:
    before = taken(lab)
    outcome = restore(lab)
    assert outcome.failures == ()
    restored(lab, before)
    assert not any(a.of.get("vm") in ("app", "web") for a in outcome.decision.actions)

    lab.write(5, "db")
    lab.protect()
    assert lab.last() == {**before, "db": 25}


def test_what_the_disks_held_is_kept_and_can_be_read(lab: Lab, tmp_path: Path) -> None:
    lab.protect()
    now = tmp_path / "now.img"
    lab.bench.export("db", "root", now)
    outcome = restore(lab)
    (kept,) = [name for name in outcome.safety if name.startswith("vol-1.safety.db.")]
    assert [copy["name"] for copy in list_safety(lab.world())] == [kept]
    file = tmp_path / "kept.img"
    export_safety(lab.world(), kept, "db.root", file)
    assert digest(file) == digest(now)


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_mirror_goes_on_incrementally_and_a_move_brings_the_restored_vm(lab: Lab) -> None:
    before = taken(lab)
    restore(lab)
    outcome = lab.protect()
    assert (outcome.failures, outcome.warnings) == ((), ())
    sent = {transfer.volume: transfer.bytes for transfer in outcome.sent}
    assert 0 < sent["vol-1"] < 64 << 10, "what differed, and not the disk"
    lab.move("west")
    assert taken(lab) == {**before, "db": 20}


def test_restored_again_it_starts_from_what_is_there_by_then(lab: Lab) -> None:
    restore(lab)
    lab.write(7, "db")
    lab.protect()
    second = restore(lab, point=newest(lab).id)
    assert second.failures == ()
    assert lab.ledger("db").last == 27
    assert len(list_safety(lab.world())) == 2, "each restore keeps what it replaces"


def test_a_vm_whose_disk_is_lost_is_made_whole(lab: Lab) -> None:
    before = taken(lab)
    place = lab.view().place("db", "east")
    assert place is not None
    lab.world().fleet.host(place.host).stop("db", graceful=0)
    array = lab.world().fleet.array("east-a")
    array.unmap_luns({"vol-1": ["db.root"]})
    array.delete_lun("vol-1", "db.root")
    assert restore(lab).failures == ()
    restored(lab, before)


def test_it_comes_up_on_the_host_that_is_named(lab: Lab) -> None:
    before, view = taken(lab), lab.view()
    place = view.place("db", "east")
    assert place is not None
    other = "east-2" if place.host == "east-1" else "east-1"
    assert restore(lab, host=other).failures == ()
    moved = lab.view().place("db", "east")
    assert moved is not None
    assert moved.host == other
    restored(lab, before)


def test_a_point_is_named_by_its_time_too(lab: Lab) -> None:
    before = taken(lab)
    assert restore(lab, point=lab.view().points[0].time).failures == ()
    restored(lab, before)


# -- cut short --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["restore", "repair"])
@pytest.mark.parametrize("at", range(ACTIONS))
def test_a_killed_restore_is_finished_by_the_next_run(tmp_path: Path, at: int, by: str) -> None:
    lab = prepared(tmp_path)
    assert len(decide_restore(lab.world(), "db", first(lab)).actions) == ACTIONS
    before, point = taken(lab), first(lab)
    assert killed_at(lambda: restore(lab), at, "before" if at % 2 else "after")
    if by == "repair" or not lab.view().restores:
        outcome = lab.move()
    else:
        outcome = restore(lab, point=point)
    assert outcome.failures == ()
    restored(lab, before)
    assert len(list_safety(lab.world())) == 1


def test_a_vm_that_is_half_set_back_is_not_started_and_not_moved(lab: Lab) -> None:
    before = taken(lab)
    with failing("set-back:vol-1.db"):
        outcome = restore(lab)
    assert any(said.startswith("set db.root on east-a back") for said in outcome.failures)
    assert set(lab.running()) == {"app", "web"}
    with pytest.raises(Refused, match=r"its restore to e1-s.* has not ended"):
        lab.move("west")
    with pytest.raises(Refused, match="before it is restored to"):
        restore(lab, point=newest(lab).id)
    assert lab.move().failures == ()
    restored(lab, before)


def test_it_waits_while_the_vm_may_run_on_a_silent_host(lab: Lab) -> None:
    place = lab.view().place("db", "east")
    assert place is not None
    lab.lose(f"host:{place.host}", running=True)
    with pytest.raises(Refused, match=f"{place.host} is silent, and it may run there"):
        restore(lab)
    assert lab.view().restores == {}


def test_a_restore_is_void_once_the_plan_has_moved(lab: Lab) -> None:
    with failing("set-back:vol-1.db"):
        restore(lab)
    lab.lose("site:east")
    outcome = lab.move("west", word="1: power lost at east")
    assert outcome.failures == ()
    assert lab.running() == dict.fromkeys(VMS, "west")
    lab.heal("site:east")
    lab.move()
    lab.move("east")
    lab.move()
    assert lab.view().restores == {}
    assert lab.running() == dict.fromkeys(VMS, "east")
    assert lab.decide().actions == ()


# -- refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "keep", "last"),
    [("east", "east", 84), ("east", "west", 84), ("west", "west", 84), ("west", "east", 97)],
)
def test_a_resolve_goes_on_with_the_restore_of_the_side_that_it_keeps(lab: Lab, at: str, keep: str, last: int) -> None:
    """East is cut off, goes on writing, and comes back; at one side db was about to be set back. It starts there as of the point, and at
    the other side, where that restore is void, as it was."""
    point = lab.view().points[-1].id

    def restored() -> None:
        assert killed_at(lambda: restore_in_place(lab.world(), "db", point), "set-back:vol-1.db", "before")

    if at == "east":
        restored()
    lab.lose("site:east", running=True)
    lab.move("west", word="1: east is cut off")
    if at == "west":
        restored()
    lab.bench.write("web", 3, "east")
    lab.heal("site:east")
    lab.move()
    assert lab.view().split is not None

    outcome = lab.move(keep, goal="resolve")

    assert outcome.failures == ()
    assert lab.running() == dict.fromkeys(("db", "app", "web"), keep)
    assert lab.last("db") == {"db": last}
    assert lab.view().restores == {}
    assert lab.decide().actions == ()


def test_a_point_at_another_site_only_is_named_with_its_sites(lab: Lab) -> None:
    point = first(lab)
    array = lab.world().fleet.array("east-a")
    for volume in ("vol-1", "vol-2"):
        array.delete_snapshots({volume: [point]})
    with pytest.raises(Refused, match=f"recovery point {point} is whole at west only, and plan shop is active at east"):
        restore(lab, point=point)


@pytest.mark.parametrize(
    ("vm", "wish", "host", "sentence"),
    [
        ("dbb", None, None, "there is no VM 'dbb'"),
        ("db", "nonsense", None, "there is none of that name"),
        ("db", "2001-01-01T00:00:00Z", None, "no whole point at east is that old"),
        ("db", None, "west-1", "is no host that plan shop allows at east"),
        ("db", None, "east-1; reboot", "is no host that plan shop allows at east"),
    ],
)
def test_wrong_words_change_nothing(lab: Lab, vm: str, wish: str | None, host: str | None, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        restore_in_place(lab.world(), vm, wish or first(lab), host)
    assert lab.view().restores == {}


def test_a_point_from_before_a_disk_is_refused(lab: Lab) -> None:
    document, point = json.loads(lab.path.read_text()), first(lab)
    for role in ("more", "logs"):
        document["vms"]["db"]["disks"][role] = {"volume": "vol-1", "size": "4MiB"}
    lab.path.write_text(json.dumps(document))
    lab.apply()
    with pytest.raises(Refused) as raised:
        restore_in_place(lab.world(), "db", point)
    assert raised.value.reasons == (
        f"VM db: recovery point {point} is from before its disks logs and more came into use; choose a newer one (dr points shop)",
    )


def test_under_a_claim_or_a_split_nothing_is_restored(lab: Lab) -> None:
    point = first(lab)
    put(lab, keys.split_key("shop-test", "shop"), split("west", "east"))
    for attempt in (lambda: restore(lab, point=point), lambda: restore_beside(lab.world(), "db", point, "copy")):
        with pytest.raises(Refused, match="dr resolve shop --keep SITE"):
            attempt()
    for array in ("east-a", "west-a"):
        lab.world().fleet.array(array).delete_record(keys.split_key("shop-test", "shop"))
    put(lab, keys.claim_key("shop-test", "shop"), claim(lab))
    for attempt in (lambda: restore(lab, point=point), lambda: restore_beside(lab.world(), "db", point, "copy")):
        with pytest.raises(MoveInProgress, match="a move to west is under way"):
            attempt()
    assert "no VM is restored at east" in lab.decide(goal="restore").refused[0]


@pytest.mark.parametrize(
    ("kind", "how"), [("resolve", "dr resolve shop --keep west"), ("rollback", "dr rollback shop")]
)
def test_what_is_open_is_called_by_its_name_with_how_it_ends(lab: Lab, kind: str, how: str) -> None:
    point = first(lab)
    put(lab, keys.claim_key("shop-test", "shop"), replace(claim(lab), kind=kind))
    with pytest.raises(MoveInProgress, match=f"a {kind} to west is under way .*finish it with {how},"):
        restore(lab, point=point)


# -- beside -----------------------------------------------------------------------------------------------------


def test_a_vm_is_restored_beside_the_running_one_and_removed_without_a_trace(lab: Lab) -> None:
    before, there = taken(lab), volumes(lab)
    outcome = restore_beside(lab.world(), "db", first(lab), "before")
    assert outcome.failures == ()
    assert set(outcome.vms) == {"db"}
    twin = lab.bench.ledger("db.drill.before")
    assert (twin.last, twin.intact) == (20, True)
    assert volumes(lab) - there == {"vol-1.drill.before"}, "of the volumes, only those with its disks"

    host = lab.view().seen.host(outcome.vms["db"].host)
    assert host is not None
    mine, original = host.vms["db.drill.before"].definition, lab.view().place("db", "east")
    assert original is not None
    theirs = original.state.definition
    assert mine.uuid != theirs.uuid
    assert {n.mac for n in mine.nics}.isdisjoint({n.mac for n in theirs.nics})
    assert {n.bridge for n in mine.nics} == {"br-isolated"}

    again = restore_beside(lab.world(), "db", first(lab), "before")
    assert (again.vms["db"].host, again.vms["db"].state) == (outcome.vms["db"].host, "running"), "it is the same one"
    lab.protect()
    assert remove_restored(lab.world(), "before").removed == {"vms": 1, "volumes": 1, "holds": 1}
    assert volumes(lab) == there
    assert taken(lab) == before
    with pytest.raises(BadInput, match="there is none of that name; there are: none"):
        remove_restored(lab.world(), "before")


def test_a_name_that_is_taken_is_not_given_to_another(lab: Lab) -> None:
    restore_beside(lab.world(), "db", first(lab), "before")
    with pytest.raises(BadInput, match="there is another of that name"):
        restore_beside(lab.world(), "app", first(lab), "before")
    with pytest.raises(BadInput, match="there is another of that name"):
        restore_beside(lab.world(), "db", newest(lab).id, "before")
