"""A runner that was paused past its lease while another took over: when it wakes it changes nothing on any array, and starts no VM that could write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dr_provider.model.state import ArrayState
from dr_provider.reconcile import lease as leases
from dr_provider.reconcile.lease import TTL, this_machine
from tests.support.guards import fenced_lab_options
from tests.support.kills import paused_at
from tests.support.lab import Lab

Work = Callable[[Lab], object]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """This process is on another machine than its children, so that it can only watch their heartbeats; its time passes by itself."""
    slept = [0.0]

    def sleep(seconds: float) -> None:
        slept[0] += seconds

    me = replace(this_machine(), boot="another", monotonic=lambda: slept[0], sleep=sleep)
    monkeypatch.setattr(leases, "this_machine", lambda: me)
    return slept


def arrays(lab: Lab) -> dict[str, ArrayState]:
    """All that an array says of itself but the time, its count of changes included."""
    seen = lab.world().look()
    found = {name: seen.array(name) for name in lab.topology.arrays}
    return {name: replace(state, clock="") for name, state in found.items() if state is not None}


def finished(lab: Lab) -> None:
    lab.move("west")


def called_off(lab: Lab) -> None:
    lab.move(goal="abort")


def there_and_back(lab: Lab) -> None:
    lab.move("west")
    lab.move("east")


@pytest.mark.parametrize(
    ("action", "then", "ends"),
    [
        ("stop:db", called_off, "east"),
        ("fence:east-a", called_off, "east"),
        ("prove", finished, "west"),
        ("grant", called_off, "east"),
        ("final", called_off, "east"),
        ("bring:vol-1", finished, "west"),
        ("choose", finished, "west"),
        ("break:vol-1", called_off, "east"),
        ("online:vol-1", there_and_back, "east"),
        ("commit", called_off, "east"),
        ("commit", there_and_back, "east"),
        ("attach:db", there_and_back, "east"),
        ("start:db", there_and_back, "east"),
        ("reverse:vol-1", finished, "west"),
        ("protect", there_and_back, "east"),
    ],
)
def test_who_was_overtaken_changes_nothing(
    action: str, then: Work, ends: str, tmp_path: Path, elsewhere: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(tmp_path, **fenced_lab_options("witness", vms=1, hosts_per_site=1))
    lab.write(20)
    lab.protect()
    me, leases.this_machine = leases.this_machine, this_machine
    monkeypatch.setattr(leases, "FRESH", 0.0)  # a pause of this test is shorter than a second
    with paused_at(lambda: lab.move("west"), action) as said:
        leases.this_machine = me
        then(lab)
        assert elsewhere[0] >= TTL, "its heartbeat was watched"
        assert set(lab.running().values()) == {ends}
        before, last = arrays(lab), lab.last()
    assert len(said) == 1
    assert said[0], "it was told"
    assert arrays(lab) == before
    assert lab.last() == last
    assert set(lab.running().values()) == {ends}, "and no VM of it runs a second time"
    witness = lab.world().look().witness
    grant = [key for key in getattr(witness, "records", {}) if "/grant/" in key]
    assert len(grant) == {"east": 0 if then is called_off else 2, "west": 1}[ends]
    assert lab.move().failures == ()
    lab.write(9)
    lab.protect()
    assert lab.status()["phase"] == "steady"
    assert lab.status()["protected"]
