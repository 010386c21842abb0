"""A record that was damaged at rest on one array: the plan goes on with what the others hold, says so, and mends it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dr_provider.arrays.embedded.sim import damage_record
from dr_provider.model import keys
from dr_provider.model.codec import damaged
from dr_provider.model.errors import CorruptRecord
from tests.support.lab import Lab

T = "shop-test"


def path_of(lab: Lab, array: str) -> Path:
    return Path(str(lab.topology.arrays[array].options["path"]))


def epoch_key(lab: Lab) -> str:
    epoch = lab.view().epoch
    assert epoch is not None
    return keys.epoch_key(T, "shop", epoch.number, epoch.id)


RECORDS: dict[str, Callable[[Lab], str]] = {
    "epoch": epoch_key,
    "pin": lambda lab: keys.pin_key(T),
    "peers": lambda lab: keys.peers_key(T),
    "owner": lambda lab: keys.owner_key(T, "volume", lab.view().volume_names[0]),
}


@pytest.mark.parametrize("array", ["east-a", "west-a"])
@pytest.mark.parametrize("record", RECORDS)
def test_one_damaged_record_stops_nothing_and_is_mended(lab: Lab, record: str, array: str) -> None:
    lab.write()
    lab.protect()
    before = lab.status()
    key = RECORDS[record](lab)
    text = lab.world().fleet.array(array).read_record(key)
    damage_record(path_of(lab, array), key)

    found = lab.status()
    assert (found["activeSite"], found["epoch"], found["phase"]) == (before["activeSite"], before["epoch"], "steady")
    assert f"array {array}: record {key} was damaged" in "\n".join(found["warnings"])

    assert not lab.protect().failures
    assert not [said for said in lab.status()["warnings"] if "damaged" in said]
    if record in ("epoch", "owner"):
        assert lab.world().fleet.array(array).read_record(key) == text
    outcome = lab.move("west")
    assert not outcome.failures
    assert set(lab.running().values()) == {"west"}


def test_a_damaged_record_does_not_hold_up_a_failover(lab: Lab) -> None:
    lab.write()
    lab.protect()
    damage_record(path_of(lab, "west-a"), epoch_key(lab))
    damage_record(path_of(lab, "west-a"), keys.pin_key(T))
    assert not lab.move("west").failures
    assert lab.status()["activeSite"] == "west"


def test_what_only_one_array_knew_is_not_guessed(lab: Lab) -> None:
    lab.protect()
    key = epoch_key(lab)
    damage_record(path_of(lab, "east-a"), key)
    lab.lose("site:west")
    with pytest.raises(CorruptRecord, match=r"array east-a.*checksum differs.*another array"):
        lab.status()


def test_an_array_whose_pin_is_damaged_and_that_nobody_remembers_is_not_ready(lab: Lab) -> None:
    damage_record(path_of(lab, "west-a"), keys.pin_key(T))
    lab.lose("array:east-a")
    silent = lab.world().look().arrays["west-a"]
    assert "checksum differs" in str(silent)
    assert lab.world().look().array("west-a") is None


def test_a_damaged_stored_topology_is_stored_anew(lab: Lab) -> None:
    key = keys.topology_key(T)
    damage_record(path_of(lab, "west-a"), key)
    assert lab.world().topology_changed("shop")
    lab.move()
    assert not lab.world().topology_changed("shop")
    assert not damaged(str(lab.world().fleet.array("west-a").read_record(key)))
