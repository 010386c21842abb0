"""What the lab's stage reads from real guests, without a lab: ledgers in disk images, and a topology that is one."""

from __future__ import annotations

import json
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest

from demo import folder
from demo.lab_guests import ledger_of_image, ledger_of_text
from demo.lab_topology import lab_shop
from dr_provider.model.loader import load
from lab.layout import Names
from lab.machines import Lab

NEEDS_E2FSPROGS = pytest.mark.skipif(
    not shutil.which("mkfs.ext4"), reason="there is no mkfs.ext4 here: install e2fsprogs"
)


def _lines(count: int) -> str:
    """As lab/guest/ledger.c writes them."""
    text, crc = "", 0
    for number in range(1, count + 1):
        crc = zlib.crc32(f"{number} 1a2b3c4d".encode(), crc)
        text += f"{number} {crc:08x} 1a2b3c4d\n"
    return text


def test_a_whole_ledger() -> None:
    found = ledger_of_text(_lines(12))
    assert (found.last, found.buffered, found.intact, found.problem) == (12, 0, True, "")
    assert ledger_of_text("").intact


@pytest.mark.parametrize(
    ("harm", "last", "problem"),
    [
        (lambda text: text[:-3], 11, ""),  # a crash in the middle of a write-out: never acknowledged
        (lambda text: text.replace("\n5 ", "\n6 "), 4, "stands where entry 5 should"),
        (lambda text: text.replace("1a2b3c4d\n7", "1a2b3c4e\n7"), 5, "entry 6 has a wrong checksum"),
        (lambda text: "\0" * 20 + "\n" + text, 0, "stands where entry 1 should"),
        (lambda text: "\n".join(text.split("\n")[1:]), 0, "stands where entry 1 should"),
    ],
)
def test_a_damaged_ledger_says_where(harm, last: int, problem: str) -> None:  # type: ignore[no-untyped-def]
    found = ledger_of_text(harm(_lines(12)))
    assert (found.last, found.intact) == (last, not problem)
    assert problem in found.problem


@NEEDS_E2FSPROGS
def test_a_ledger_in_a_disk(tmp_path: Path) -> None:
    tree, file = tmp_path / "tree", tmp_path / "db.img"
    tree.mkdir()
    (tree / "ledger").write_text(_lines(40))
    (tree / "ledger.boots").write_text("east-1 uuid 0\nwest-2 uuid 31\n")
    subprocess.run(["mkfs.ext4", "-q", "-d", str(tree), str(file), "4M"], check=True, capture_output=True)
    found = ledger_of_image(file, {"east-1": "east", "west-2": "west"})
    assert (found.last, found.intact, found.boots) == (40, True, ("east", "west"))
    file.write_bytes(bytes(4 << 20))
    assert "e2fsck ended with" in ledger_of_image(file, {}).problem


def test_the_lab_has_the_shop(tmp_path: Path) -> None:
    """The same VMs, tiers and volumes, so that the same scenarios can be played on it."""
    lab = Lab(Names(tmp_path / "lab", 7))
    lab.names.guest.mkdir(parents=True)
    image = lab.names.guest / "ledger.img"
    image.write_bytes(bytes(4096))
    file = tmp_path / "shop.yaml"
    file.write_text(json.dumps(lab_shop(lab, folder.SHOP, image)))
    made, embedded = load(file), load(_with_image(tmp_path))
    assert made.plans["shop"].tiers == embedded.plans["shop"].tiers
    assert set(made.volumes) == set(embedded.volumes)
    assert {host.driver for host in made.hosts.values()} == {"libvirt"}
    assert {array.driver for array in made.arrays.values()} == {"zfs"}
    assert all("ledger=idle" in str(host.options["boot"]) for host in made.hosts.values())


def _with_image(tmp_path: Path) -> Path:
    place = tmp_path / "embedded"
    shutil.copytree(folder.SHOP.parent, place)
    return place / folder.SHOP.name
