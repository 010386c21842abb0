"""Hosts that end or fall silent while guests boot or run on them, and two operators who both work on a plan."""

from __future__ import annotations

from tests.lab_stack.support.guests import Guest
from tests.lab_stack.support.machines import running, wait
from tests.lab_stack.support.shop import PLAN, VMS, Shop


def test_target_host_killed_while_its_guests_boot(shop: Shop) -> None:
    marks = shop.write()
    home, target = shop.here, shop.there
    run = shop.begin("failover", PLAN, "--to", target, "--yes")

    def booting() -> str | None:
        """The host of a guest that has been switched on there and has not come up yet."""
        for vm, names in running(shop.lab).items():
            for name in names:
                if name.startswith(f"{target}-") and not Guest(shop.lab.machine(name), vm).answers():
                    return name
        return None

    host = wait(f"a guest that boots at {target}", booting)
    lost = {vm for vm, names in running(shop.lab).items() if host in names}
    shop.lab.machine(host).kill()
    said = run.ended(ok=False)
    assert any(vm in sentence for sentence in said.json["failures"] for vm in lost), str(said)
    shop.here = target
    # The plan is over there, without what was lost; nothing of it is started while it cannot be known what runs.
    now = shop.status()
    assert (now["activeSite"], now["phase"]) == (target, "degraded"), now
    assert all(any(vm in sentence for sentence in now["degraded"]) for vm in lost), now
    found = running(shop.lab)
    assert set(VMS) - lost <= set(found) <= set(VMS), found
    assert not any(name.startswith(f"{home}-") for names in found.values() for name in names), found
    shop.lab.machine(host).start()
    shop.move(target)
    shop.well(marks)


def test_guests_outlive_their_libvirtd(shop: Shop) -> None:
    marks = shop.write()
    guest = shop.guest("db")
    boots = guest.ledger().boots
    guest.host.stop_service("libvirtd")
    try:
        now = shop.status()
        assert now["vms"]["db"]["state"] == "unknown", now
        assert any(guest.host.name in sentence for sentence in now["degraded"]), now
        assert now["activeSite"] == shop.here
        # What runs there goes on, and is backed up as it is.
        said = shop.protect(ok=None)
        assert said.json["plans"][PLAN]["level"] == "crash", str(said)
        assert guest.host.name in said.text, str(said)
        assert guest.host.exec(["pgrep", "-x", "qemu-system-x86"], check=False).rc == 0, "its guest runs on"
    finally:
        guest.host.start_service("libvirtd")
    shop.well(marks)
    assert shop.guest("db").ledger().boots == boots, "it was never started again"


def test_two_operators_who_protect_at_once(shop: Shop) -> None:
    marks = shop.write()
    both = [shop.begin("protect", PLAN, "--now") for _ in range(2)]
    said = [run.ended() for run in both]
    # One at a time takes the group: the other waits for nothing, or finds it free again.
    for one in said:
        assert one.status == 0 or "lease" in one.text, str(one)
    assert any(one.status == 0 for one in said), [str(one) for one in said]
    shop.well(marks)


def test_two_operators_who_move_at_once(shop: Shop) -> None:
    marks = shop.write()
    target, epoch = shop.there, shop.status()["epoch"]
    both = [shop.begin("failover", PLAN, "--to", target, "--yes") for _ in range(2)]
    said = [run.ended() for run in both]
    assert sorted(one.status for one in said) in ([0, 0], [0, 1]), [str(one) for one in said]
    for one in said:
        assert one.status == 0 or "lease" in one.text or "move" in one.text, str(one)
    shop.here = target
    assert shop.well(marks)["epoch"] == epoch + 1, "they made one move between them"
