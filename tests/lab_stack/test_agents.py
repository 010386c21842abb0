"""Guest agents that are missing, hung, or frozen by somebody else; and a run that is killed between freeze and thaw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from lab.run import run
from tests.lab_stack.support.guests import Guest
from tests.lab_stack.support.machines import unclean, wait
from tests.lab_stack.support.shop import PLAN, Said, Shop

DOOR = "99"
"""Port of the guest at which it is told that its agent may go on: without an agent, nothing else is heard there."""


@contextmanager
def _without_agent(shop: Shop, guest: Guest, before: str, after: str) -> Iterator[None]:
    """Run `before` in the guest, and `after` when this ends, by a shell that needs no agent."""
    script = f"sleep 0.2; {before}; nc -l -p {DOOR} >/dev/null; {after}"
    guest.start("/bin/sh", "-c", f"({script}) >/dev/null 2>&1 </dev/null &")
    wait("the agent to be gone", lambda: not guest.answers())
    address = shop.address(guest.name)
    try:
        yield
    finally:
        run(["nc", "-w", "5", "-N", address, DOOR], what=f"the door of guest {guest.name}", input="go on\n")
        wait("the agent to be back", guest.answers)


@contextmanager
def _stopped_qemu(guest: Guest) -> Iterator[None]:
    """The guest stands still, and so does everything that asks it."""
    pid = guest.host.exec(["cat", f"/run/libvirt/qemu/{guest.name}.pid"]).out.strip()
    guest.host.exec(["kill", "-STOP", pid])
    try:
        yield
    finally:
        guest.host.exec(["kill", "-CONT", pid])
        wait("the agent to answer again", guest.answers)


AGENT = "qemu-ga -d -m virtio-serial -p /dev/virtio-ports/org.qemu.guest_agent.0 -t /run -f /run/qga.pid -F/etc/qemu/fsfreeze-hook -l /run/qga.log"
WAYS = {
    "missing": ("kill -9 $(cat /run/qga.pid)", f"/bin/{AGENT}"),
    "hung": ("kill -STOP $(cat /run/qga.pid)", "kill -CONT $(cat /run/qga.pid)"),
}


def _level(shop: Shop, said: Said, vm: str) -> dict[str, str]:
    """What the newest point says of a VM."""
    newest = said.json["plans"][PLAN]["point"]
    (point,) = (p for p in shop.dr("points", PLAN).json["points"] if p["id"] == newest)
    found: dict[str, str] = point["vms"][vm]
    return found


@pytest.mark.parametrize("how", [*WAYS, "qemu"])
def test_agent_that_does_not_answer(shop: Shop, how: str) -> None:
    marks = shop.write()
    guest = shop.guest("db")
    with _stopped_qemu(guest) if how == "qemu" else _without_agent(shop, guest, *WAYS[how]):
        said = shop.protect()
        plan = said.json["plans"][PLAN]
        assert plan["level"] == "crash", str(said)
        found = _level(shop, said, "db")
        assert found["level"] == "crash", found
        assert "agent" in found["reason"], found
        assert _level(shop, said, "web")["level"] == "application"
        assert shop.guest("web").thawed()
    assert guest.thawed()
    assert guest.writable()
    assert shop.protect().json["plans"][PLAN]["level"] == "application"
    shop.well(marks)


def test_guest_that_somebody_else_has_frozen(shop: Shop) -> None:
    marks = shop.write()
    guest = shop.guest("db")
    guest.agent("guest-fsfreeze-freeze")
    try:
        said = shop.protect()
        found = _level(shop, said, "db")
        assert (found["level"], "somebody else" in found["reason"]) == ("crash", True), found
        assert _level(shop, said, "web")["level"] == "application"
        assert shop.guest("web").thawed()
    finally:
        guest.agent("guest-fsfreeze-thaw")
    assert guest.writable()
    assert shop.protect().json["plans"][PLAN]["level"] == "application"
    shop.well(marks)


def test_run_killed_between_freeze_and_thaw(shop: Shop) -> None:
    marks = shop.write()
    dying = shop.begin("protect", PLAN, "--now", program="tests.lab_stack.support.strikes")
    assert dying.ended().status == -9
    guests = [shop.guest(vm) for vm in marks]
    assert not any(guest.thawed() for guest in guests), "it died with its guests frozen"
    array = shop.array(shop.here)
    for guest in guests:
        # Its agent still believes that it is frozen, so the disk is asked.
        wait(f"guest {guest.name} to thaw by itself", partial(unclean, array, guest.name))
    # The next run finds the lease of a dead holder, and agents that believe that they are frozen still.
    assert shop.protect().json["plans"][PLAN]["level"] == "application"
    shop.well(marks)


def test_run_killed_between_freeze_and_thaw_and_run_again_at_once(shop: Shop) -> None:
    marks = shop.write()
    dying = shop.begin("protect", PLAN, "--now", program="tests.lab_stack.support.strikes")
    assert dying.ended().status == -9
    assert shop.protect().json["plans"][PLAN]["level"] == "application"
    assert all(shop.guest(vm).thawed() and shop.guest(vm).writable() for vm in marks)
    shop.well(marks)
