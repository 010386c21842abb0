"""What `dr doctor` says of a libvirt host: each judgement both ways, and what is asked of a real (test) libvirt."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from dr_provider.hypervisors.libvirt import onhost
from dr_provider.hypervisors.libvirt.bridges import Network
from dr_provider.hypervisors.libvirt.examine import HostSeen, examine, host_findings
from dr_provider.hypervisors.libvirt.guests import AgentSeen, Guest, guest_findings
from dr_provider.model.findings import Finding, HostUse, VmUse
from dr_provider.model.topology import HostSpec

GIB = 1 << 30
KNOWS = "qemu-img: Could not open 'iscsi://...': iSCSI: Failed to connect to LUN"
USE = HostUse({"prod": "br-prod"}, {"prod": "br-drill"}, {"east-a": "10.0.1.10:3260"})


def link(name: str, kind: str = "", *, up: bool = True, **more: Any) -> dict[str, Any]:
    """As `ip -j -d link` prints it."""
    info = {"linkinfo": {"info_kind": kind}} if kind else {}
    return {"ifname": name, "flags": ["BROADCAST", *(["UP"] if up else [])], **info, **more}


PRODUCTION = [link("eth0", master="br-prod"), link("br-prod", "bridge"), link("vnet0", "tun", master="br-prod")]
LINKS = [*PRODUCTION, link("br-drill", "bridge"), link("vnet1", "tun", master="br-drill")]

THERE: dict[str, Any] = {
    "began": 0.0,
    "ended": 0.0,
    "python": "3.11.2",
    "user": "root",
    "links": LINKS,
    "addresses": [],
    "forwards": False,
    "iscsi": KNOWS,
    "initiator": "",
    "iscsiadm": False,
    "onBoot": "#ON_BOOT=start\n",
    "files": {},
    "room": [100 * GIB, 50 * GIB],
    "portals": {"east-a": {"error": "", "refused": False}},
}


def seen(there: Mapping[str, Any] | None = MappingProxyType({}), **more: Any) -> HostSeen:
    """`there`: changes of what was found beside libvirt; None: nothing was."""
    known: dict[str, Any] = {"libvirt": (9, 0, 0), "qemu": (7, 2, 22), "kind": "kvm", "memory": 16 * GIB}
    return HostSeen(**{**known, "there": None if there is None else {**THERE, **there}, **more})


def judged(host: HostSeen, use: HostUse = USE, **options: Any) -> dict[str, Finding]:
    """Findings by check; what is not well must come with what to do."""
    spec = HostSpec("east-1", "east", "libvirt", None, {"uri": "qemu+ssh://root@e1/system", **options})
    findings = host_findings(spec, use, host)
    assert all(bool(f.todo) == (f.level != "ok") for f in findings)
    by_check = {finding.check: finding for finding in findings}
    assert len(by_check) == len(findings), "two findings for one check"
    return by_check


def test_a_host_that_is_well() -> None:
    assert {f.level for f in judged(seen()).values()} == {"ok"}


UNKNOWN = "qemu-img: Could not open 'iscsi://...': Unknown protocol 'iscsi'"
REFUSED = {"east-a": {"error": "Connection refused", "refused": True}}
DRILL = [*PRODUCTION, link("br-drill", "bridge")]

WRONG: dict[str, tuple[str, HostSeen, dict[str, Any], str, str]] = {
    # name: (check, what was seen, options, level, words)
    "no commands on it": ("reach", seen(None, unseen="python3: not found"), {}, "warning", "python3: not found"),
    "old libvirt": ("versions", seen(libvirt=(6, 0, 0)), {}, "warning", "libvirt 6.0.0"),
    "old QEMU": ("versions", seen(qemu=(4, 2, 1)), {}, "warning", "QEMU 4.2.1"),
    "no KVM": ("kvm", seen(kind="qemu"), {}, "warning", "emulated"),
    "no hypervisor": ("qemu", seen(fault="no hypervisor for x86_64 guests"), {}, "problem", "no hypervisor"),
    "no secrets": ("rights", seen(lists={"secrets": "access denied"}), {}, "problem", "secrets (access denied)"),
    "too much memory promised": ("memory", seen(), {"memory": 17 * GIB}, "warning", "16384 MiB"),
    "no bridge": (
        "network",
        seen({"links": LINKS[3:]}),
        {},
        "problem",
        "neither a bridge nor a libvirt network br-prod",
    ),
    "no drill bridge": ("drill", seen({"links": PRODUCTION}), {}, "problem", "br-drill"),
    "no bridge but a card": (
        "drill",
        seen({"links": [*PRODUCTION, link("br-drill")]}),
        {},
        "problem",
        "no Linux bridge",
    ),
    "bridge down": (
        "drill",
        seen({"links": [*PRODUCTION, link("br-drill", "bridge", up=False)]}),
        {},
        "problem",
        "is down",
    ),
    "drill joined to production by veth": (
        "drill",
        seen(
            {
                "links": [
                    *DRILL,
                    link("va", "veth", master="br-drill", link="vb"),
                    link("vb", "veth", master="br-prod", link="va"),
                ]
            }
        ),
        {},
        "problem",
        "joined to br-prod by va",
    ),
    "drill with a card": (
        "drill",
        seen({"links": [*DRILL, link("eth1", master="br-drill")]}),
        {},
        "warning",
        "behind eth1",
    ),
    "drill that is routed": (
        "drill",
        seen(
            {
                "forwards": True,
                "addresses": [{"ifname": "br-drill", "addr_info": [{"family": "inet", "scope": "global"}]}],
            }
        ),
        {},
        "warning",
        "forwards packets",
    ),
    "drill network that forwards": (
        "drill",
        seen({"links": PRODUCTION}, networks={"br-drill": Network("br-drill", True, True, "virbr1", "nat")}),
        {},
        "warning",
        "forwards to the outside (nat)",
    ),
    "network not started": (
        "network",
        seen(networks={"br-prod": Network("br-prod", False, True)}),
        {},
        "problem",
        "is not started",
    ),
    "network not at boot": (
        "network",
        seen(networks={"br-prod": Network("br-prod", True, False, "virbr0")}),
        {},
        "warning",
        "does not start with the host",
    ),
    "drill network on production's bridge": (
        "drill",
        seen(networks={"br-drill": Network("br-drill", True, True, "br-prod")}),
        {},
        "problem",
        "where production is",
    ),
    "portal": (
        "portal",
        seen({"portals": {"east-a": {"error": "timed out", "refused": False}}}),
        {},
        "problem",
        "timed out",
    ),
    "portal that was never answered": ("portal", seen({"portals": {}}), {}, "problem", "no answer in time"),
    "no iSCSI in QEMU": ("iscsi", seen({"iscsi": UNKNOWN}), {}, "problem", "not installed"),
    "no qemu-img": ("iscsi", seen({"iscsi": ""}), {}, "warning", "not known"),
    "no open-iscsi": ("iscsi", seen(), {"disks": "block"}, "problem", "open-iscsi"),
    "another initiator name": (
        "iscsi",
        seen({"iscsiadm": True, "initiator": "InitiatorName=iqn.x:mine\n"}),
        {"disks": "block", "initiator": "iqn.x:wanted"},
        "problem",
        "iqn.x:mine",
    ),
    "no kernel to boot": ("boot", seen({"files": {"/boot/k": False}}), {}, "problem", "/boot/k"),
    "VMs at boot": ("autostart", seen({"onBoot": "URIS=x\nON_BOOT='start'\n"}), {}, "warning", "libvirt-guests"),
    "full disk": ("room", seen({"room": [GIB, 1 << 20]}), {}, "warning", "1 MiB"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(name: str) -> None:
    check, host, options, level, words = WRONG[name]
    finding = judged(host, **options)[check]
    assert finding.level == level
    assert words in finding.found
    assert [f.check for f in judged(host, **options).values() if f.level != "ok"] == [check]


def test_what_is_no_fault() -> None:
    vlan = [*DRILL, link("eth0.99", "vlan", master="br-drill", link="eth0")]
    assert "cpus" not in judged(seen(), cpus=1000)
    assert judged(seen({"links": vlan}))["drill"].level == "ok"
    assert judged(seen({"forwards": True}))["drill"].level == "ok"
    assert judged(seen({"iscsiadm": True}), disks="block")["iscsi"].level == "ok"
    quiet = HostUse(USE.networks, USE.drills, USE.portals, frozenset({"east-a"}))
    assert judged(seen({"portals": REFUSED}), quiet)["portal"].level == "ok"
    assert judged(seen({"portals": REFUSED}))["portal"].level == "problem"
    assert judged(seen({"iscsi": ""}), HostUse())["reach"].level == "ok"
    assert "iscsi" not in judged(seen({"iscsi": ""}), HostUse())


@pytest.mark.parametrize(("uri", "level"), [("qemu+tls://e1/system", "ok"), ("qemu+tcp://e1/system", "warning")])
def test_a_uri_that_carries_no_commands(uri: str, level: str) -> None:
    found = judged(seen(None), uri=uri)
    assert found["reach"].level == level
    assert found["network"].level == "ok"
    assert "cannot be seen" in found["network"].found
    assert "portal" not in found


# -- guests -------------------------------------------------------------------------------------------------------

ALL = dict.fromkeys(
    ("guest-fsfreeze-freeze", "guest-fsfreeze-thaw", "guest-fsfreeze-status", "guest-exec", "guest-exec-status"), True
)
NO_EXEC = {**ALL, "guest-exec": False}
NO_FREEZE = {**ALL, "guest-fsfreeze-freeze": False}


def guest(agent: AgentSeen | None = None, *, active: bool = True, autostart: bool = False, paused: str = "") -> Guest:
    return Guest("db", "db", "shop", autostart, active, paused, agent)


def said(at: Guest, *, application: bool = True, health: bool = False, addresses: bool = False) -> dict[str, str]:
    findings = guest_findings("east-1", at, VmUse(application, health, addresses))
    assert all(bool(f.todo) == (f.level != "ok") for f in findings)
    assert {f.subject for f in findings} <= {"VM db"}
    return {f.check: f.level for f in findings}


SILENT = AgentSeen("its guest agent does not answer (not connected)")


def test_an_agent_that_can_all() -> None:
    assert said(guest(AgentSeen("", "7.2", ALL, "thawed"))) == {"agent": "ok", "guest-exec": "ok"}


def test_an_agent_that_is_silent() -> None:
    assert said(guest(SILENT)) == {"agent": "warning"}
    assert said(guest(SILENT), application=False) == {"agent": "ok"}
    assert said(guest(SILENT), health=True) == {"agent": "problem"}
    assert said(guest(SILENT), addresses=True, application=False) == {"agent": "problem"}


def test_an_agent_that_may_not_freeze() -> None:
    assert said(guest(AgentSeen("", "7.2", NO_FREEZE)))["agent"] == "warning"
    assert said(guest(AgentSeen("", "7.2", NO_FREEZE)), application=False)["agent"] == "ok"


def test_an_agent_that_starts_no_programs() -> None:
    at = guest(AgentSeen("", "7.2", NO_EXEC))
    assert said(at) == {"agent": "ok", "guest-exec": "warning"}
    assert said(at, addresses=True) == {"agent": "ok", "guest-exec": "problem"}
    assert said(at, application=False) == {"agent": "ok"}


def test_a_guest_that_somebody_else_froze() -> None:
    assert said(guest(AgentSeen("", "7.2", ALL, "frozen"))) == {"agent": "problem"}


def test_a_guest_that_stands_still_or_is_off() -> None:
    assert said(guest(paused="paused by somebody")) == {"guest": "problem"}
    assert said(guest(active=False)) == {}
    assert said(guest()) == {}, "in a freeze of ours its agent is not asked"


def test_autostart_is_said_of_any_vm_of_ours() -> None:
    at = guest(active=False, autostart=True)
    assert said(at) == {"autostart": "warning"}
    assert [f.check for f in guest_findings("east-1", at, None)] == ["autostart"]
    assert guest_findings("east-1", guest(SILENT), None) == []


# -- the program that runs on the host, and a libvirt that is there -----------------------------------------------------


def test_what_runs_on_the_host_says_facts_on_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        portals = {"open": f"127.0.0.1:{server.getsockname()[1]}", "shut": "127.0.0.1:1", "wrong": "nonsense"}
        order = {"portals": portals, "files": [str(tmp_path), __file__]}
        words = [sys.executable, "-c", Path(onhost.__file__).read_text(encoding="utf-8"), json.dumps(order)]
        before = time.time()
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
        after = time.time()
    found = json.loads(done.stdout)
    assert before <= found["began"] <= found["ended"] <= after
    assert found["portals"]["open"] == {"error": "", "refused": False}
    assert found["portals"]["shut"]["refused"] is True
    assert found["portals"]["wrong"]["error"]
    assert found["files"] == {str(tmp_path): False, __file__: True}
    assert set(found) == set(THERE)


def test_a_libvirt_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("libvirt")
    from dr_provider.hypervisors.libvirt.link import Link

    spec = HostSpec("east-1", "east", "libvirt", None, {"uri": "test:///default"})
    link_there = Link("test:///default", {}, where="host east-1", timeout=10)
    try:
        examination = examine(spec, link_there, USE)
    finally:
        link_there.close()
    found = {finding.check: finding for finding in examination.findings}
    # libvirt's driver for tests has networks, keeps no secrets, and says so.
    assert (found["rights"].level, "secrets" in found["rights"].found) == ("problem", True)
    assert found["reach"].level == "ok"
    assert examination.clock is not None
    assert abs(examination.clock.ahead) <= examination.clock.within
