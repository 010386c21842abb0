"""Some VMs cannot be restored: the others run, those that depend on them wait and say for what, and after mending only the rest is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dr_provider.model import keys
from dr_provider.model.codec import dump
from dr_provider.model.records import Owner
from dr_provider.model.state import Reservation
from dr_provider.model.vm import VmDefinition
from dr_provider.reconcile.outcome import Outcome
from tests.support.kills import watched
from tests.support.lab import Lab
from tests.support.situations import ACTIVE, NAME, P1, P2, Point, Side, answer, epoch, ids, moved, shop, view
from tests.support.situations import tree as by_id

WORD = "1: power lost at east"
GIB = 1 << 30
ANOTHER = Owner("another", "", "i1")
HOSTS = ("west-1", "west-2")
TOO_LARGE, REFUSED, ROTTEN, WAITS = "db-3", "db-2", "web-5", "app-13"


def _tiers(document: dict[str, Any]) -> None:
    """The last app waits for one database, the other apps for another, the webs for an app."""
    plan = document["plans"]["shop"]
    db, app, web = (tier["members"] for tier in plan["tiers"])
    plan["tiers"] = [
        {"members": db},
        {"members": app[:-1], "after": ["db-1"]},
        {"members": app[-1:], "after": [REFUSED]},
        {"members": web, "after": ["app-1"]},
    ]
    document["vms"][TOO_LARGE]["memory"] = "40GiB"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """East is lost; of forty VMs west has no room for one, its hosts refuse one, and the disk of one has rotted there."""
    made = Lab(
        tmp_path, vms=40, volumes=5, disk="1MiB", volume_size="16MiB", source_budget="300ms",
        health={"agent": True, "within": "200ms"}, change=_tiers,
    )  # fmt: skip
    made.write(8)
    made.protect()
    for name in HOSTS:
        host = made.world().fleet.host(name)
        host.define(VmDefinition(REFUSED, REFUSED, "another", "uuid", 1, 64 << 20, (), (), ANOTHER))
        host.reserve("another", [Reservation("another", "large", 1, 30 * GIB)])
    made.bench.corrupt(ROTTEN, "root", "west", None, unnoticed=False)
    made.lose("site:east")
    return made


def _mend(lab: Lab) -> None:
    lab.bench.corrupt(ROTTEN, "root", "west", None, unnoticed=False)
    at = lab.view().place(ROTTEN, "west")
    assert at is not None
    lab.world().fleet.host(at.host).stop(ROTTEN, graceful=0)
    for name in HOSTS:
        host = lab.world().fleet.host(name)
        host.undefine(REFUSED, ANOTHER)
        host.release("another")


def _said(lab: Lab, outcome: Outcome) -> dict[str, str]:
    """The failures, by the VM that each is about."""
    return {
        next(vm for vm in lab.topology.vms if f"VM {vm} " in line or f"VM {vm}:" in line): line
        for line in outcome.failures
    }


def test_three_of_forty_hold_up_only_those_that_wait_for_them(lab: Lab) -> None:
    outcome = lab.move("west", word=WORD)
    said = _said(lab, outcome)
    assert len(outcome.failures) == 4
    assert set(said) == {TOO_LARGE, REFUSED, ROTTEN, WAITS}
    assert "wanted 1 CPU and 40 GiB at west" in said[TOO_LARGE]
    assert "another" in said[REFUSED]
    assert "is not well after 0.2 s" in said[ROTTEN]
    assert said[WAITS].startswith(f"VM {WAITS} was not started: it waits (map the LUNs of VM {REFUSED} to ")
    assert set(lab.running()) == set(lab.topology.vms) - {TOO_LARGE, REFUSED, WAITS}
    assert outcome.status["phase"] in ("committed", "degraded")

    lab.write(3, *(set(lab.running()) - {ROTTEN}))
    _mend(lab)
    with watched() as seen:
        again = lab.move()
    assert again.failures == ()
    done = {action.split(":")[1] for action in seen if action.startswith(("attach:", "start:"))}
    assert done == {TOO_LARGE, REFUSED, ROTTEN, WAITS}, "only the rest"
    assert set(lab.running()) == set(lab.topology.vms)
    assert {lab.ledger(vm).buffered for vm in set(lab.topology.vms) - done} == {3}, "what ran was not touched"
    assert lab.move().decision.actions == ()


# -- decided ------------------------------------------------------------------------------------------


def _shop(on_failure: str = "wait", **options: Any) -> Any:
    return shop(on_failure=on_failure, **options)


FULL = {"memory": "2GiB", "host_memory": "4GiB"}
LOST = Side(vms={"app": "off", "web": "off"}, points=(P1, P2, Point(1, 2, "west")), at={"vol-1": "absent"})


@pytest.mark.parametrize(
    ("on_failure", "started", "waits"),
    [
        ("wait", [], ["VM app is not started: it waits for db", "VM web is not started: it waits for app"]),
        ("retry", [], ["VM app is not started: it waits for db", "VM web is not started: it waits for app"]),
        ("continue", ["start:app"], []),
    ],
)
def test_a_vm_whose_volume_is_lost_is_waited_for(on_failure: str, started: list[str], waits: list[str]) -> None:
    """db and web are on vol-1, app is on vol-2."""
    decision = answer(moved(_shop(on_failure), west=LOST))
    assert [action for action in ids(decision) if action.startswith("start:")] == started
    assert [line for line in decision.degraded if "it waits for" in line] == waits[:1], "web has its own reason"


@pytest.mark.parametrize(("on_failure", "started"), [("wait", []), ("continue", ["start:app", "start:web"])])
def test_a_vm_whose_disk_is_lost_is_waited_for(on_failure: str, started: list[str]) -> None:
    """In the first epoch, too: what was made and is missing was not added after any recovery point."""
    made = {keys.owner_key(NAME, "lun", "db.root"): dump(Owner(NAME, "", "i1"))}
    decision = answer(
        view(_shop(on_failure), east=Side(vms="off", no_luns=("db.root",)), records={"east-a": made}),
    )
    assert [action for action in ids(decision) if action.startswith("start:")] == started
    assert "its disk root is lost" in decision.degraded[0]
    assert "dr restore db --point POINT" in decision.degraded[0]


def test_a_vm_without_room_is_waited_for() -> None:
    """Room for one of three: the first tier's does not fit, so nobody is started; the next run says the same."""

    def change(document: dict[str, Any]) -> None:
        document["vms"]["db"]["memory"] = "8GiB"

    large = shop(change, host_memory="16GiB")
    taken = {host: [Reservation("another", "large", 1, 12 * GIB)] for host in HOSTS}
    decision = answer(view(large, silent=["east"], reservations=taken), "west", word=WORD)
    assert decision.degraded == (
        "VM db: wanted 1 CPU and 8 GiB at west, and none of west-1, west-2 has that left",
        "VM app is not started: it waits for db",
        "VM web is not started: it waits for app",
    )
    assert "commit" in ids(decision)
    assert not [action for action in ids(decision) if action.startswith(("attach:", "start:"))]


HEALTHY = {"health": {"agent": True, "within": "1s"}}
PART = Side(vms={"db": "running", "app": "off", "web": "off"}, mapped=True)


@pytest.mark.parametrize(("on_failure", "checked"), [("wait", True), ("retry", True), ("continue", False)])
def test_what_runs_is_seen_to_be_well_before_others_start(on_failure: str, checked: bool) -> None:
    """An earlier run may have found that it is not, and left it running."""
    decision = answer(view(_shop(on_failure, **HEALTHY), east=PART, epochs=(epoch(),)))
    done = by_id(decision)
    assert ("check:db" in done) == checked
    assert ("check:db" in done["start:app"].after) == checked
    assert "start:app" in done["start:web"].after
    assert "check:app" not in done
    assert "check:db" not in by_id(answer(view(_shop(on_failure), east=PART)))
    assert answer(view(_shop(on_failure, **HEALTHY), east=ACTIVE)).actions == ()


# -- health -------------------------------------------------------------------------------------------


def _rotten(folder: Path, on_failure: str) -> Lab:
    """One VM a tier; the first one's disk has rotted at west, and east is lost."""
    made = Lab(folder, source_budget="300ms", on_failure=on_failure, health={"agent": True, "within": "200ms"})
    made.write(8)
    made.protect()
    made.bench.corrupt("db", "root", "west", None, unnoticed=False)
    made.lose("site:east")
    return made


@pytest.mark.parametrize(
    ("on_failure", "running", "tries"),
    [("wait", {"db"}, 1), ("retry", {"db"}, 3), ("continue", {"db", "app", "web"}, 1)],
)
def test_a_health_check_that_fails_follows_its_tiers_on_failure(
    tmp_path: Path, on_failure: str, running: set[str], tries: int
) -> None:
    lab = _rotten(tmp_path, on_failure)
    outcome = lab.move("west", word=WORD)
    assert "is not well after 0.2 s" in outcome.failures[0]
    assert set(lab.running()) == running
    assert sum("trying again" in line for line in outcome.remarks) == (1 if tries > 1 else 0), (
        "the same remark is made once"
    )
    assert sum("trying again" in line for line in lab.lines) == tries - 1
    assert ("(tried 3 times, as its tier's onFailure says)" in outcome.failures[0]) == (tries == 3)

    if on_failure == "continue":
        return
    again = lab.move()
    assert again.failures[0].startswith("see that VM db on west-"), "it runs, and is not well still"
    assert set(lab.running()) == running
    lab.bench.corrupt("db", "root", "west", None, unnoticed=False)
    at = lab.view().place("db", "west")
    assert at is not None
    lab.world().fleet.host(at.host).stop("db", graceful=0)
    assert lab.move().failures == ()
    assert set(lab.running()) == {"db", "app", "web"}
