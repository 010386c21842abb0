"""`dr doctor` on real machines: all is well and stays as it is; harm of every kind is found; a dark site costs its budget once."""

from __future__ import annotations

import time

from tests.lab_stack.support.shop import BUDGET, Said, Shop

ARRAY = """zfs list -H -t all -o name,guid; zfs get -H -o name,property,value -s local,received all
tgtadm --lld iscsi --op show --mode target | grep -e ^Target -e 'Backing store path' -e iqn; cd /run/tank/dr/meta && find . -type f | sort | xargs md5sum"""
HOST = """virsh list --all --name | sort; for vm in $(virsh list --all --name | sort); do virsh dumpxml $vm; done
virsh secret-list; virsh net-list --all; virsh pool-list --all; ls -R /etc/libvirt"""


def _state(shop: Shop) -> dict[str, str]:
    """All of the machines that `dr` could have changed."""
    return {
        name: machine.exec(["sh", "-c", ARRAY if machine.role == "array" else HOST]).out
        for name, machine in shop.lab.machines.items()
    }


def _levels(said: Said) -> dict[tuple[str, str], str]:
    return {(f["subject"], f["check"]): f["level"] for f in said.json["findings"]}


def test_all_is_well_and_stays_as_it_is(shop: Shop) -> None:
    before = _state(shop)
    said = shop.dr("doctor")
    assert _state(shop) == before
    assert said.json["problems"] == 0
    found = _levels(said)
    # What a lab is, and no more: zfs-fuse and no KVM.
    assert {check for (_, check), level in found.items() if level == "warning"} == {"zfs", "kvm"}
    assert found["VM db", "agent"] == found["VM db", "guest-exec"] == "ok"
    assert found["array east-a", "transfer"] == found["array west-a", "transfer"] == "ok"
    assert {check for subject, check in found if subject == "host west-1"} >= {
        "network",
        "drill",
        "portal",
        "iscsi",
        "clock",
    }


def test_harm_of_every_kind_is_found(shop: Shop) -> None:
    db, web = shop.guest("db"), shop.guest("web")
    first, second = shop.hosts(shop.there)
    array = shop.array(shop.there)
    db.host.exec(["virsh", "autostart", "db"])
    db.host.exec(["virsh", "domfsfreeze", "db"])
    web.host.exec(["virsh", "suspend", "web"])
    array.stop_service("tgtd")
    first.exec(["ip", "link", "set", "br-drill", "down"])
    second.exec(["ip", "link", "add", "one", "master", "br-drill", "type", "veth", "peer", "name", "other"])
    second.exec(["ip", "link", "set", "other", "master", "br-prod"])
    try:
        said = shop.dr("doctor", ok=False)
    finally:
        second.exec(["ip", "link", "delete", "one"])
        first.exec(["ip", "link", "set", "br-drill", "up"])
        array.start_service("tgtd")
        web.host.exec(["virsh", "resume", "web"])
        db.host.exec(["virsh", "domfsthaw", "db"])
        db.host.exec(["virsh", "autostart", "--disable", "db"])
    bad = {place: level for place, level in _levels(said).items() if level != "ok" and place[1] not in ("zfs", "kvm")}
    assert bad == {
        ("VM db", "agent"): "problem",
        ("VM db", "autostart"): "warning",
        ("VM web", "guest"): "problem",
        (f"array {array.name}", "luns"): "problem",
        (f"array {array.name}", "portal"): "problem",
        (f"host {first.name}", "portal"): "problem",
        (f"host {second.name}", "portal"): "problem",
        (f"host {first.name}", "drill"): "problem",
        (f"host {second.name}", "drill"): "problem",
    }
    shop.dr("doctor")


def test_a_dark_site_costs_its_budget_once(shop: Shop) -> None:
    began = time.monotonic()
    shop.dr("doctor")
    well = time.monotonic() - began
    shop.lab.cut("operator", shop.there)
    try:
        began = time.monotonic()
        said = shop.dr("doctor", ok=False)
        dark = time.monotonic() - began
    finally:
        shop.lab.heal("operator", shop.there)
    found = _levels(said)
    silent = {subject for (subject, check), level in found.items() if (check, level) == ("reach", "problem")}
    assert silent == {f"array {shop.there}-a", *(f"host {host.name}" for host in shop.hosts(shop.there))}
    assert found[f"array {shop.here}-a", "pool"] == "ok"
    assert dark < well + float(BUDGET.removesuffix("s")) + 2
