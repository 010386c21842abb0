"""Links that are cut: between the sites in a transfer, at the stop and at the commit of a move, and the operator's own."""

from __future__ import annotations

from typing import Any

from dr_provider.model.errors import MoveFailed
from dr_provider.reconcile.outcome import Outcome
from tests.lab_stack.support.machines import received, running, slow
from tests.lab_stack.support.shop import PLAN, VMS, Shop

MIB = 1 << 20


def test_link_between_the_sites_cut_in_a_transfer(shop: Shop) -> None:
    before = shop.points_at(shop.there)
    shop.ballast("db", 16)
    marks = shop.write()
    target = shop.array(shop.there)
    with slow(shop.lab, target):
        start = received(shop.lab, target)
        run = shop.begin("protect", PLAN, "--now")
        run.until("data under way", lambda: received(shop.lab, target) > start + 2 * MIB)
        shop.lab.cut(shop.here, shop.there)
        said = run.ended()
    point = said.json["plans"][PLAN]["point"]
    assert point, "the backup itself does not need the other site"
    assert "the transfer was cut" in said.text or "do not reach each other" in said.text, str(said)
    # Nothing of it is visible where it did not arrive whole, and who runs goes on.
    assert shop.points_at(shop.there) == before
    assert shop.mirrors() != {"synced"}
    shop.one_writer()
    shop.lab.heal()
    shop.well(marks)


def test_link_between_the_sites_cut_in_a_transfer_that_may_go_round(shop: Shop) -> None:
    def auto(document: dict[str, Any]) -> None:
        for array in document["arrays"].values():
            array["transfer"] = "auto"

    file = shop.write_topology(auto, "auto.yaml")
    shop.ballast("db", 8)
    marks = shop.write()
    target = shop.array(shop.there)
    with slow(shop.lab, target):
        start = received(shop.lab, target)
        run = shop.begin("protect", PLAN, "--now", file=file)
        run.until("data under way", lambda: received(shop.lab, target) > start + 2 * MIB)
        shop.lab.cut(shop.here, shop.there)
        assert "the transfer was cut" in str(run.ended())
    # The arrays do not reach each other any more; the operator reaches both.
    said = shop.dr("protect", PLAN, "--now", file=file)
    assert said.json["plans"][PLAN]["point"] in shop.points_at(shop.there), str(said)
    shop.lab.heal()
    shop.well(marks)


def test_link_between_the_sites_cut_at_the_stop_of_a_move_leads_back(shop: Shop) -> None:
    marks = shop.write()
    home, target = shop.here, shop.there
    ended = shop.move_struck(target, "stop", "before", lambda: shop.lab.cut(home, target))
    assert isinstance(ended, MoveFailed), ended
    assert f"the move was called off: plan {PLAN} is active at {home} as before" in str(ended)
    assert {name for names in running(shop.lab).values() for name in names} <= {m.name for m in shop.hosts(home)}
    assert shop.last() == marks
    shop.lab.heal()
    shop.well(marks)
    shop.move(target)
    shop.well(marks)


def test_link_between_the_sites_cut_at_the_commit_of_a_move(shop: Shop) -> None:
    marks = shop.write()
    home, target = shop.here, shop.there
    ended = shop.move_struck(target, "commit", "before", lambda: shop.lab.cut(home, target))
    # All that was needed has arrived, and the operator reaches both: the move ends, and only the way back waits for the link.
    assert isinstance(ended, Outcome), ended
    assert ended.failures == (), ended.failures
    assert shop.mirrors() != {"synced"}
    shop.one_writer()
    assert shop.last() == marks
    shop.lab.heal()
    shop.well(marks)


def test_operators_link_to_the_old_site_cut_at_the_stop_is_finished_by_the_next_run(shop: Shop) -> None:
    marks = shop.write()
    home, target = shop.here, shop.there
    ended = shop.move_struck(target, "stop", "before", lambda: shop.lab.cut("operator", home))
    assert isinstance(ended, MoveFailed), ended
    assert "run again" in str(ended) or "called off" in str(ended), ended
    # Nothing is started over there while nobody can say what runs here.
    assert {name for names in running(shop.lab).values() for name in names} <= {m.name for m in shop.hosts(home)}
    shop.lab.heal()
    shop.move(target)
    shop.well(marks)


def test_operators_link_to_the_old_site_cut_and_forced_ends_in_a_split(shop: Shop) -> None:
    marks = shop.write()
    shop.protect()
    home, target = shop.here, shop.there
    shop.lab.cut("operator", home)
    refused = shop.move(target, ok=False)
    assert "give your word" in refused.text, str(refused)
    assert set(running(shop.lab)) == set(VMS)
    assert {name.rpartition("-")[0] for names in running(shop.lab).values() for name in names} == {home}
    shop.move(target, *shop.word("the line is dead, and somebody said that they are too"))
    assert shop.last(target) == marks
    # Those who were given up write on; nobody has told them.
    alone = shop.write(7, home)
    assert alone == {vm: mark + 7 for vm, mark in marks.items()}
    kept = shop.write(4, target)
    shop.lab.heal()
    protect = shop.protect(ok=False)
    assert "split" in protect.text, str(protect)
    assert shop.status()["phase"] == "split"
    assert {name.rpartition("-")[0] for names in running(shop.lab).values() for name in names} == {target}
    shop.one_writer()
    assert shop.protect(ok=False).json["plans"][PLAN]["sent"] == []
    assert all(not shop.safety_copies(vm) for vm in VMS), (
        "nothing is overwritten before somebody says whose data counts"
    )
    shop.dr("resolve", PLAN, "--keep", target, "--yes")
    shop.well(kept)
    for vm in VMS:
        (copy,) = shop.safety_copies(vm)
        found = shop.ledger_of_safety(copy, vm)
        assert (found.last, found.intact) == (alone[vm], True), found
        shop.dr("safety", "drop", copy, "--yes")
