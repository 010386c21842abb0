"""Arrays that are full, restarted, without their pool, or not what they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.machines import Machine
from lab.run import run
from tests.lab_stack.support.machines import exports, full_pool, running, wait
from tests.lab_stack.support.shop import PLAN, VMS, Shop

MIB = 1 << 20


def test_pool_of_the_copy_full(shop: Shop) -> None:
    before = shop.points_at(shop.there)
    shop.ballast("db", 12)
    marks = shop.write()
    with full_pool(shop.array(shop.there), left=2 * MIB):
        said = shop.protect(ok=False)
        assert f"{shop.there}-a" in said.text, str(said)
        # Which of them depends on what finds no room first: a record of the array, or zfs.
        assert any(words in said.text for words in ("out of space", "is full")), str(said)
        assert shop.points_at(shop.there) == before, "nothing is visible half"
        assert shop.last() == marks, "who runs goes on"
    shop.well(marks)


def test_pool_of_the_active_side_full(shop: Shop) -> None:
    """What its guests wrote before is still backed up, and brought to the other side: it can be moved away from."""
    marks = shop.write()
    full, other = shop.array(shop.here), shop.there
    with full_pool(full):
        said = shop.protect()
        assert f"array {full.name} is full" in said.text, str(said)
        assert set(running(shop.lab)) == set(VMS)
        # Nothing can be sent back to it as long as it is full.
        shop.move(other, ok=None)
        shop.here = other
        now = shop.status()
        assert (now["activeSite"], now["phase"]) == (other, "steady"), now
        assert shop.last() == marks, "nothing is lost"
        assert exports(full) == {}
    shop.protect(ok=None)
    shop.well(marks)


def test_array_restarted_under_guests_that_run(shop: Shop) -> None:
    marks = shop.write()
    boots = {vm: shop.guest(vm).ledger().boots for vm in VMS}
    array = shop.array(shop.here)
    array.kill()
    now = shop.status()
    assert any(array.name in sentence for sentence in now["degraded"]), now
    array.start()
    # An array exports nothing by itself, and looking changes nothing.
    assert exports(array) == {}
    shop.status()
    assert exports(array) == {}
    said = shop.protect()
    assert sum("again" in sentence for sentence in said.json["plans"][PLAN]["repaired"]) == len(VMS), str(said)
    assert len(exports(array)) == len(VMS)
    more = shop.write(3)
    assert more == {vm: mark + 3 for vm, mark in marks.items()}
    assert {vm: shop.guest(vm).ledger().boots for vm in VMS} == boots, "they ran on"
    shop.well(more)


def test_array_without_its_pool_after_a_restart(shop: Shop) -> None:
    marks = shop.write()
    array = shop.array(shop.here)
    array.kill()
    array.start()
    array.exec(["zfs", "umount", "-a"])
    wait("the pool to be let go", lambda: array.exec(["zpool", "export", "tank"], check=False).rc == 0, 20)
    assert "pool tank" in shop.silent()[array.name]
    assert shop.status()["phase"] == "degraded"
    said = shop.protect(ok=False)
    assert "pool tank" in said.text, str(said)
    # As after the loss of the array: guests can be stopped, but what was not sent is lost. Nobody has asked for it here.
    assert shop.foretold(shop.there)["kind"] == "disaster"
    assert exports(array) == {}
    array.exec(["zpool", "import", "-d", str(array.folder / "disk"), "tank"])
    array.exec(["zfs", "mount", "-a"])
    shop.protect()
    more = shop.write(2)
    assert more == {vm: mark + 2 for vm, mark in marks.items()}
    shop.well(more)


def test_copys_array_without_its_pool_does_not_stop_backups(shop: Shop) -> None:
    marks = shop.write()
    array = shop.array(shop.there)
    array.exec(["zfs", "umount", "-a"])
    wait("the pool to be let go", lambda: array.exec(["zpool", "export", "tank"], check=False).rc == 0, 20)
    said = shop.protect()
    assert said.json["plans"][PLAN]["point"] in shop.points_at(shop.here)
    assert any("pool tank" in sentence for sentence in said.json["plans"][PLAN]["warnings"]), str(said)
    assert shop.mirrors() != {"synced"}
    array.exec(["zpool", "import", "-d", str(array.folder / "disk"), "tank"])
    array.exec(["zfs", "mount", "-a"])
    shop.well(marks)


@contextmanager
def _another_host_key(array: Machine) -> Iterator[None]:
    """Something else answers at the array's address."""
    key = array.folder / "host_key"
    own = {path: path.read_bytes() for path in (key, key.with_name("host_key.pub"))}
    for path in own:
        path.unlink()
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], what="another host key")
    _restart_sshd(array)
    try:
        yield
    finally:
        for path, data in own.items():
            path.write_bytes(data)
        _restart_sshd(array)


@contextmanager
def _nobody_allowed(array: Machine) -> Iterator[None]:
    """The array takes nobody's key."""
    allowed = array.folder / "authorized_keys"
    text = allowed.read_text()
    allowed.write_text("")
    try:
        yield
    finally:
        allowed.write_text(text)


def _restart_sshd(array: Machine) -> None:
    array.stop_service("sshd")
    array.start_service("sshd")


REFUSALS = {"host key changed": (_another_host_key, "host key"), "key refused": (_nobody_allowed, "key was refused")}


@pytest.mark.parametrize("why", sorted(REFUSALS))
def test_array_that_is_not_to_be_trusted_is_not_ready(shop: Shop, why: str) -> None:
    marks = shop.write()
    home, target = shop.here, shop.there
    epoch = shop.status()["epoch"]
    refuse, sentence = REFUSALS[why]
    with refuse(shop.array(target)):
        said = shop.protect()
        assert any(sentence in warning for warning in said.json["plans"][PLAN]["warnings"]), str(said)
        assert sentence in shop.move(target, ok=False).text
        shop.one_writer()
    with refuse(shop.array(home)):
        assert sentence in shop.protect(ok=False).text
        assert sentence in shop.silent()[f"{home}-a"]
        assert shop.foretold(target)["kind"] == "disaster"
        assert {name.rpartition("-")[0] for names in running(shop.lab).values() for name in names} == {home}
    assert shop.well(marks)["epoch"] == epoch
