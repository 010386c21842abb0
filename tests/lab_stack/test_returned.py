"""A site that was lost and given up comes back with guests that somebody starts by hand."""

from __future__ import annotations

from lab.machines import Machine
from tests.lab_stack.support.guests import Guest
from tests.lab_stack.support.machines import disk_file, exports, running, wait
from tests.lab_stack.support.shop import PLAN, VMS, Shop


def _lost(shop: Shop) -> dict[str, int]:
    """The active site loses power, and the plan goes to the other by the word; the last entry of each that was protected."""
    home, target = shop.here, shop.there
    marks = shop.write()
    shop.protect()
    shop.write(5)
    shop.lab.lose_site(home)
    refused = shop.move(target, ok=False)
    assert "give your word" in refused.text, str(refused)
    shop.move(target, *shop.word())
    assert shop.last() == marks
    return marks


def test_site_that_returns_is_protected_to_and_what_it_had_alone_is_kept(shop: Shop) -> None:
    home = shop.here
    marks = _lost(shop)
    shop.lab.return_site(home)
    assert exports(shop.array(home)) == {}
    assert set(running(shop.lab)) == set(VMS), "nobody starts by itself"
    shop.well(marks)
    for vm in VMS:
        (copy,) = shop.safety_copies(vm)
        found = shop.ledger_of_safety(copy, vm)
        assert (found.last, found.intact) == (marks[vm] + 5, True), found
        shop.dr("safety", "drop", copy, "--yes")
    shop.move(home)
    shop.well(marks)


def test_guests_started_by_hand_at_a_returned_site(shop: Shop) -> None:
    home, target = shop.here, shop.there
    where = {vm: shop.guest(vm).host for vm in VMS}
    marks = _lost(shop)
    kept = shop.write(3)
    shop.lab.return_site(home)
    array = shop.array(home)
    for vm in VMS:
        _export_by_hand(array, vm, where[vm])
        where[vm].exec(["virsh", "-q", "start", vm])
    for vm in VMS:
        guest = Guest(where[vm], vm)
        wait(f"guest {vm} to come up at {home}", guest.answers)
        wait(f"the ledger of {vm}", guest.has_ledger)
    alone = shop.write(4, home)
    assert alone == {vm: mark + 9 for vm, mark in marks.items()}

    said = shop.protect(ok=False)
    assert "split" in said.text, str(said)
    now = shop.status()
    assert (now["phase"], now["activeSite"]) == ("split", target), now
    # The side that is past is stopped and fenced, and nothing of it is overwritten before somebody says so.
    shop.one_writer()
    assert shop.last() == kept
    assert all(not shop.safety_copies(vm) for vm in VMS)
    again = shop.protect(ok=False)
    assert again.json["plans"][PLAN]["sent"] == [], str(again)

    shop.dr("resolve", PLAN, "--keep", target, "--yes")
    shop.well(kept)
    for vm in VMS:
        (copy,) = shop.safety_copies(vm)
        found = shop.ledger_of_safety(copy, vm)
        assert (found.last, found.intact) == (alone[vm], True), found
        assert found.boots[-1] == home
        shop.dr("safety", "drop", copy, "--yes")


def test_array_restarted_under_guests_of_a_side_that_was_given_up(shop: Shop) -> None:
    home, target = shop.here, shop.there
    marks = shop.write()
    shop.protect()
    shop.lab.cut("operator", home)
    shop.lab.cut(home, target)
    shop.move(target, *shop.word("the line is dead"))
    array = shop.array(home)
    array.kill()
    array.start()
    shop.lab.heal()
    kept = shop.write(3, target)
    # Guests run on over there, without disks; they do not get them again.
    assert {name.rpartition("-")[0] for names in running(shop.lab).values() for name in names} == {"east", "west"}
    shop.protect(ok=None)
    assert exports(array) == {}
    shop.one_writer()
    if shop.status()["phase"] == "split":
        shop.dr("resolve", PLAN, "--keep", target, "--yes")
    shop.well(kept)
    assert kept == {vm: mark + 3 for vm, mark in marks.items()}
    for vm in VMS:
        for copy in shop.safety_copies(vm):
            shop.dr("safety", "drop", copy, "--yes")


def _export_by_hand(array: Machine, vm: str, host: Machine) -> None:
    """As somebody would who wants the guest to run again: the target that its definition names, for anybody."""
    # After a restart of the array nothing of it is mounted until it is asked for.
    volumes = array.exec(["zfs", "list", "-H", "-o", "name,mounted", "-r", "tank/dr/vols"]).out.splitlines()
    mine = [
        name for name, mounted in map(str.split, volumes) if name.split("/")[-1].split(".")[0] == vm and mounted == "no"
    ]
    for name in mine:
        array.exec(["zfs", "mount", name])
    definition = host.exec(["virsh", "dumpxml", vm]).out
    target = definition.split("protocol='iscsi' name='")[1].split("/")[0]
    tgt = ["tgtadm", "--lld", "iscsi", "--mode"]
    number = str(900 + VMS.index(vm))
    array.exec([*tgt, "target", "--op", "new", "--tid", number, "-T", target])
    array.exec(
        [
            *tgt,
            "logicalunit",
            "--op",
            "new",
            "--tid",
            number,
            "--lun",
            "1",
            "--bstype",
            "rdwr",
            "-b",
            disk_file(array, vm),
        ]
    )
    array.exec([*tgt, "target", "--op", "bind", "--tid", number, "-I", "ALL"])
