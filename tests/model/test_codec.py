"""Records as they stand on arrays: damage is told from what was written, and old records are read."""

from __future__ import annotations

import dataclasses
import json

import pytest

from dr_provider.model import records
from dr_provider.model.codec import CHECKSUM, damaged, dump, load
from dr_provider.model.errors import CorruptRecord
from dr_provider.model.records import Claim, Epoch, Intent, Lease, Pin, Record, Seal, VmLevel

EPOCH = Epoch(
    "shop",
    3,
    "1f2e3d4c",
    "west",
    "committed",
    "2026-03-02T08:00:00.000Z",
    "disaster",
    "dr (an operator)",
    loss_seconds=12.5,
)
SEAL = Seal("1f2e3d4c", "2026-03-02T08:00:00.000Z", "application", {"db": VmLevel("application", 42)})
CLAIM = Claim(
    "shop", 4, "aaaaaaaa", "east", "west", "planned", "2026-03-02T08:00:00.000Z", "dr", "1f2e3d4c", stopped=("db",)
)

# As `dr` wrote them before records carried checksums.
OLD = {
    Epoch: '{"by":"dr","from_site":null,"id":"1f2e3d4c","kind":"create","loss_seconds":null,"loss_statement":"","number":1,"plan":"shop","point":null,"previous":null,"proof":[],"site":"east","state":"committed","time":"2026-03-02T08:00:00.000Z","word":null}',
    Seal: '{"consistency":"application","group":"1f2e3d4c","levels":{"db":{"level":"application","mark":42,"reason":""}},"time":"2026-03-02T08:00:00.000Z"}',
    Intent: '{"definitions":{},"epoch":1,"epoch_id":"1f2e3d4c","group":"aa","hosts":{},"kind":"backup","members":["shop"],"plan":"shop","sequence":7,"site":"east","time":"2026-03-02T08:00:00.000Z","topology":"shop-test"}',
    Lease: '{"beat":3,"boot":"b","doing":"backup","holder":"dr","n":2,"pid":1,"plan":"shop","released":true,"since":"2026-03-02T08:00:00.000Z","start":0.5}',
    Pin: '{"array":"east-a","own_id":"x","site":"east","time":"2026-03-02T08:00:00.000Z","topology":"shop-test"}',
}  # fmt: skip


@pytest.mark.parametrize("kind", OLD, ids=lambda kind: kind.__name__)
def test_old_records_are_read(kind: type[Record]) -> None:
    found = load(kind, OLD[kind], "array a, a record")
    plain = json.loads(dump(found))
    assert plain.pop(CHECKSUM)
    old = json.loads(OLD[kind])
    assert {name: plain[name] for name in old} == old, "fields are added, with defaults, and never changed"


@pytest.mark.parametrize("record", [EPOCH, SEAL, CLAIM], ids=lambda record: type(record).__name__)
def test_a_flipped_bit_anywhere_is_noticed(record: Record) -> None:
    text = dump(record)
    assert load(type(record), text, "here") == record
    for at in range(len(text)):
        for bit in (1, 2, 4, 16):
            flipped = text[:at] + chr(ord(text[at]) ^ bit) + text[at + 1 :]
            with pytest.raises(CorruptRecord, match="array a, a record"):
                load(type(record), flipped, "array a, a record")


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '"x"', "null", "[" * 5000])
def test_what_is_no_record_is_damaged(text: str) -> None:
    assert damaged(text)


def test_a_newer_versions_record_is_read_and_its_content_is_checked() -> None:
    newer = json.loads(dump(EPOCH)) | {"addedLater": "0123456789abcdef"}
    del newer[CHECKSUM]
    assert load(Epoch, json.dumps(newer), "here") == EPOCH
    with pytest.raises(CorruptRecord, match="checksum differs"):
        load(Epoch, json.dumps(newer | {CHECKSUM: "0123456789abcdef"}), "here")


def test_everything_that_stands_under_a_key_of_its_own_carries_a_checksum() -> None:
    parts = {"Guard", "PeerPin", "VmLevel"}  # told to an array, or inside a record
    kinds = {name for name in records.__all__ if dataclasses.is_dataclass(getattr(records, name))}
    assert {name for name in kinds if not issubclass(getattr(records, name), Record)} == parts
