"""Moves that are called off before their commit, by a person or because they cannot finish: forty VMs on five volumes, as before."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from dr_provider.arrays.embedded.array import EmbeddedArray
from dr_provider.model import stopping
from dr_provider.model.errors import DeviceFault, MoveFailed, Refused, Stopped
from dr_provider.model.records import Guard
from dr_provider.protection import replication
from dr_provider.reconcile.decision import Action
from dr_provider.reconcile.steps import tier_of
from tests.support.kills import failing, killed_at, watched
from tests.support.lab import Lab

SITES = {"two": ("east", "west"), "three": ("east", "west", "south")}
COUNT = 40
WORD = "1: the array at west will not be asked for long"


Made = Callable[..., Lab]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Forty VMs that have written 8 entries and hold 3 in memory; 8 of them protected everywhere. They are made once, and put back."""
    kept: dict[str, Path] = {}

    def lab(sites: str = "two") -> Lab:
        options: dict[str, Any] = {"sites": SITES[sites], "vms": COUNT, "volumes": 5, "disk": "1MiB"}
        options |= {"volume_size": "16MiB", "source_budget": "300ms"}
        if sites not in kept:
            folder = tmp_path_factory.mktemp(sites)
            first = Lab(folder / "lab", **options)
            first.write(8)
            first.protect()
            first.write(3)
            kept[sites] = folder
            shutil.copytree(folder / "lab", folder / "kept")
        # Disks are found by absolute paths, so it is always in the same place.
        place = kept[sites] / "lab"
        shutil.rmtree(place)
        shutil.copytree(kept[sites] / "kept", place)
        return Lab(place, made=False, **options)

    return lab


def in_tier_order(lab: Lab, seen: list[str]) -> bool:
    """Whether no VM was started before all that its tier waits for, of those that were started, were up."""
    spec = lab.topology.plans[lab.plan]
    begun = {action.removeprefix("start:"): n for n, action in enumerate(seen) if action.startswith("start:")}
    up = {action.removeprefix("/start:"): n for n, action in enumerate(seen) if action.startswith("/start:")}
    return all(
        up[earlier] < begun[vm] for vm in begun for earlier in begun if tier_of(spec, earlier) < tier_of(spec, vm)
    )


def as_before(lab: Lab, seen: list[str]) -> None:
    """The plan runs at home as it did, is protected, and nothing of the move is left anywhere."""
    view = lab.view()
    members = view.spec.members
    assert lab.running() == dict.fromkeys(members, "east")
    ledgers = [lab.ledger(vm) for vm in members]
    assert [entry.intact for entry in ledgers] == [True] * COUNT
    assert min(entry.last + entry.buffered for entry in ledgers) == 11, (
        "what guests held in memory is written out as they stop"
    )
    assert in_tier_order(lab, seen)
    assert view.epoch is not None
    assert (view.epoch.number, view.claim, view.claims, view.split) == (1, None, {}, None)
    hosts = [state for host in lab.topology.hosts if (state := view.seen.host(host)) is not None]
    assert [kept for host in hosts for kept in host.reservations] == []
    for site in view.others("east"):
        for name in view.volume_names:
            copy = view.volume(name, site)
            assert copy is not None
            assert not copy.writable, f"{name} at {site} is a destination again"
            assert [lun.name for lun in copy.luns.values() if lun.mapped_to] == []
            assert [hold for s in copy.snapshots for hold in s.holds if hold.startswith("point.")] == []
    assert {mirror["state"] for mirror in lab.status()["mirrors"]} <= {"synced", "lagging"}
    assert lab.status()["protected"] is True
    assert lab.decide().actions == (), "a second run has nothing to do"


# -- by a person --------------------------------------------------------------------------------------

PLACES = ["claim", "stop:app-7", "final", "bring:vol-3", "break:vol-3", "scan"]


def once(lab: Lab, action: str) -> list[str]:
    """Ctrl-C while the action is under way: it ends, and nothing more is begun."""

    def press(at: Action) -> None:
        if at.id == action:
            stopping.request("Ctrl-C")

    try:
        with (
            watched(press) as seen,
            pytest.raises(Stopped, match="claimed and not committed: run again to finish it, or dr abort"),
        ):
            lab.move("west")
    finally:
        stopping.clear()
    assert f"/{action}" in seen or action.startswith("bring:"), "but a transfer, which is cut"
    return seen


def twice(lab: Lab, action: str) -> list[str]:
    """The second Ctrl-C: the process ends in the middle of it."""
    assert killed_at(lambda: lab.move("west"), action, "after")
    return []


@pytest.mark.parametrize("action", PLACES)
@pytest.mark.parametrize("press", [once, twice])
def test_what_a_person_calls_off(made: Made, press: Callable[[Lab, str], list[str]], action: str) -> None:
    lab = made()
    press(lab, action)
    with watched() as seen:
        outcome = lab.move(goal="abort")
    assert outcome.failures == ()
    as_before(lab, seen)
    with pytest.raises(Refused, match="nothing to call off"):
        lab.move(goal="abort")


def test_an_abort_that_is_cut_is_finished_by_any_run(made: Made) -> None:
    lab = made()
    twice(lab, "break:vol-3")
    assert killed_at(lambda: lab.move(goal="abort"), "remirror:vol-3", "after")
    assert lab.decide("west").kind == "abort", "it cannot become a move again"
    with watched() as seen:
        assert lab.move().failures == ()
    as_before(lab, seen)
    assert lab.move("west").failures == ()


def test_after_the_commit_the_way_is_forward(made: Made) -> None:
    lab = made()
    assert killed_at(lambda: lab.move("west"), "commit", "after")
    with pytest.raises(
        Refused, match=r"nothing to call off \(it is active at west since epoch 2\); after a commit the way is forward"
    ):
        lab.move(goal="abort")
    assert lab.move().failures == ()
    assert set(lab.running().values()) == {"west"}


# -- because it cannot finish -------------------------------------------------------------------------


def dying(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line goes dead when a part of the third volume's last transfer has arrived, and is back a moment later."""
    send, line = replication.send_volume, "link:east-a/west-a"
    left = ["vol-3"]

    def cut(*of: Any, **more: Any) -> Any:
        if of[1] not in left:
            return send(*of, **more)
        left.remove(of[1])
        try:
            return send(*of, **{**more, "progress": lambda *_: lab.lose(line)})
        finally:
            assert lab.view().volume("vol-3", "west").incoming is not None  # type: ignore[union-attr]
            lab.heal(line)

    monkeypatch.setattr(replication, "send_volume", cut)


def unwritten(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The array at the target refuses the record of the epoch, once."""
    put, left = EmbeddedArray.put_record, ["west-a.db"]

    def refuse(self: EmbeddedArray, key: str, value: str, guard: Guard = Guard()) -> None:  # noqa: B008
        if self.path.name in left and "/epoch/" in key:
            left.remove(self.path.name)
            raise DeviceFault(f"array {self.path.stem}: the record {key} was not written")
        put(self, key, value, guard)

    monkeypatch.setattr(EmbeddedArray, "put_record", refuse)


@pytest.mark.parametrize("sites", SITES)
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("stop:app-9", id="the 26th VM does not stop"),
        pytest.param("break:vol-3", id="the third of five breaks fails"),
        pytest.param(dying, id="the last transfer dies in the middle"),
        pytest.param("scan", id="the scan fails"),
        pytest.param(unwritten, id="the commit cannot be written at the target"),
    ],
)
def test_a_move_that_cannot_finish_leads_back(
    made: Made, monkeypatch: pytest.MonkeyPatch, sites: str, fault: str | Callable[[Lab, pytest.MonkeyPatch], None]
) -> None:
    lab = made(sites)
    if not isinstance(fault, str):
        fault(lab, monkeypatch)
    with (
        failing(fault) if isinstance(fault, str) else nullcontext(),
        watched() as seen,
        pytest.raises(MoveFailed, match="the move was called off: plan shop is active at east as before"),
    ):
        lab.move("west")
    stopped = {at.removeprefix("/stop:") for at in seen if at.startswith("/stop:")}
    started = {at.removeprefix("/start:") for at in seen if at.startswith("/start:")}
    assert stopped == started, "what was stopped is started, and nothing else"
    if fault == "stop:app-9":
        assert 0 < len(stopped) < COUNT
        assert {lab.ledger(vm).buffered for vm in lab.topology.plans["shop"].members if vm not in stopped} == {3}, (
            "what runs is not touched"
        )
    as_before(lab, seen)
    assert lab.move("west").failures == (), "it can be made again"
    assert set(lab.running().values()) == {"west"}


def test_a_target_that_falls_silent_at_the_commit_is_not_guessed_about(made: Made) -> None:
    """Its commit may have been written: nothing is started at the source before the target can be asked, or without the word."""
    lab = made()

    def lose(action: Action) -> None:
        if action.id == "commit":
            lab.lose("array:west-a")

    with watched(lose), pytest.raises(MoveFailed, match="claimed for west, not committed; run again to finish it"):
        lab.move("west")
    assert lab.running() == {}
    with pytest.raises(Refused, match="might have been committed there"):
        lab.move(goal="abort")
    lab.heal("array:west-a")
    with watched() as seen:
        assert lab.move(goal="abort").failures == ()
    as_before(lab, seen)
