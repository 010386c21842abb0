"""A VM as domain XML: what stands in it, what is escaped, and what no domain can be made of."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dr_provider.hypervisors.libvirt.domain import render
from dr_provider.hypervisors.libvirt.facts import Facts
from dr_provider.hypervisors.libvirt.iscsi import IscsiTarget, parse_target
from dr_provider.hypervisors.libvirt.metadata import NAMESPACE
from dr_provider.hypervisors.room import Size
from dr_provider.model.errors import BadInput
from dr_provider.model.vm import DiskAttachment, NicDefinition, VmDefinition
from tests.hypervisors.libvirt_fake_bench import OWNER, vm

IQN = "iqn.2026-11.io.dr:east-a:shop:db.root"
FACTS = Facts("iqn.2026-11.io.dr:host-1", Size(4, 8 << 30), "kvm", "x86_64", "q35", "Westmere")


def disk(role: str = "root", target: str = f"iscsi://10.0.1.1:3260/{IQN}/1") -> DiskAttachment:
    return DiskAttachment(role, "shop", f"db.{role}", 1 << 30, target)


def made(definition: VmDefinition, options: dict[str, Any] | None = None, **changes: Any) -> ET.Element:
    networks = changes.pop("networks", ())
    log = changes.pop("log", False)
    return ET.fromstring(render(definition, replace(FACTS, **changes), options or {}, networks, log=log).xml)


def test_a_domain_has_what_its_definition_says() -> None:
    root = made(vm(cpus=3, memory=5 << 30))
    assert root.get("type") == "kvm"
    assert root.findtext("uuid") == vm().uuid
    assert (root.findtext("vcpu"), root.findtext("memory")) == ("3", str(5 << 30))
    kind = root.find("os/type")
    assert kind is not None
    assert (kind.get("machine"), kind.get("arch")) == ("q35", "x86_64")
    assert root.findtext("cpu/model") == "Westmere"
    assert root.find("devices/channel/target[@name='org.qemu.guest_agent.0']") is not None


def test_disks_stand_in_their_order_each_with_its_role_as_serial() -> None:
    root = made(vm(disks=(disk("root"), disk("data"))))
    disks = root.findall("devices/disk")
    assert [d.findtext("serial") for d in disks] == ["root", "data"]
    assert [d.find("target").get("dev") for d in disks] == ["vda", "vdb"]  # type: ignore[union-attr]
    assert [d.find("boot").get("order") for d in disks] == ["1", "2"]  # type: ignore[union-attr]
    driver, source = disks[0].find("driver"), disks[0].find("source")
    assert driver is not None
    assert source is not None
    assert driver.attrib == {
        "name": "qemu",
        "type": "raw",
        "cache": "none",
        "error_policy": "report",
        "rerror_policy": "report",
        "discard": "unmap",
    }
    assert source.attrib == {"protocol": "iscsi", "name": f"{IQN}/1"}
    assert source.find("host").attrib == {"name": "10.0.1.1", "port": "3260"}  # type: ignore[union-attr]
    assert source.find("initiator/iqn").get("name") == FACTS.initiator  # type: ignore[union-attr]
    assert source.find("auth") is None


def test_the_27th_disk_has_two_letters() -> None:
    root = made(vm(disks=tuple(disk(f"d{n}") for n in range(28))))
    assert [t.get("dev") for t in root.findall("devices/disk/target")][25:] == ["vdz", "vdaa", "vdab"]


def test_a_password_is_named_and_never_there(tmp_path: Path) -> None:
    (tmp_path / "chap").write_text("hunter2secret")
    target = f"iscsi://dr%40east@10.0.1.1:3260/{IQN}/1?secret=file:{tmp_path}/chap"
    xml = render(vm(disks=(disk(target=target),)), FACTS, {}, (), log=False).xml
    auth = ET.fromstring(xml).find("devices/disk/source/auth")
    assert auth is not None
    assert auth.get("username") == "dr@east"
    assert auth.find("secret").attrib == {"type": "iscsi", "usage": "dr-provider:chap:db:root"}  # type: ignore[union-attr]
    assert "hunter2" not in xml


def test_disks_may_be_block_devices_of_the_host() -> None:
    source = made(vm(disks=(disk(),)), {"disks": "block"}).find("devices/disk[@type='block']/source")
    assert source is not None
    assert source.get("dev") == f"/dev/disk/by-path/ip-10.0.1.1:3260-iscsi-{IQN}-lun-1"


def test_a_card_goes_to_the_network_of_that_name_or_else_to_the_bridge() -> None:
    nics = (NicDefinition("prod", "02:00:00:00:00:01"), NicDefinition("br-prod", "02:00:00:00:00:02"))
    one, two = made(vm(nics=nics), networks={"prod"}).findall("devices/interface")
    assert (one.get("type"), one.find("source").attrib) == ("network", {"network": "prod"})  # type: ignore[union-attr]
    assert (two.get("type"), two.find("source").attrib) == ("bridge", {"bridge": "br-prod"})  # type: ignore[union-attr]


def test_a_kernel_of_the_host_is_booted_without_a_second_time() -> None:
    root = made(vm(), {"boot": {"kernel": "/boot/k", "initrd": "/boot/i", "cmdline": "a=<1> & quiet"}})
    assert [root.findtext(f"os/{part}") for part in ("kernel", "initrd", "cmdline")] == [
        "/boot/k",
        "/boot/i",
        "a=<1> & quiet",
    ]
    assert root.findtext("on_reboot") == "destroy"
    assert made(vm()).findtext("on_reboot") == "restart"


def test_what_is_in_a_definition_cannot_leave_its_place() -> None:
    sly = vm(
        owner=replace(OWNER, stack='</metadata><devices>"\u2028é'),
        nics=(NicDefinition('a"/><x y="', "02:00:00:00:00:01"),),
    )
    root = made(sly)
    note = root.find(f"metadata/{{{NAMESPACE}}}vm")
    assert note is not None
    assert json.loads(note.text or "")["owner"]["stack"] == sly.owner.stack
    assert root.find("devices/interface/source").get("bridge") == 'a"/><x y="'  # type: ignore[union-attr]
    assert len(root.findall("devices")) == 1


def test_the_digest_is_of_the_machine_and_not_of_its_owner() -> None:
    one = render(vm(), FACTS, {}, (), log=False).digest
    assert render(vm(owner=replace(OWNER, incarnation="two")), FACTS, {}, (), log=False).digest == one
    assert render(vm(cpus=2), FACTS, {}, (), log=False).digest != one
    assert render(vm(), replace(FACTS, kind="qemu"), {}, (), log=False).digest != one


def test_a_uuid_that_is_none_is_refused() -> None:
    with pytest.raises(BadInput, match="uuid 'u' is not one"):
        render(vm(uuid="u"), FACTS, {}, (), log=False)


@pytest.mark.parametrize(
    ("options", "log"),
    [({}, True), ({"disks": "block", "boot": {"kernel": "/k", "initrd": None, "cmdline": None}}, False)],
)
def test_libvirts_own_schema_takes_it(options: dict[str, Any], log: bool) -> None:
    libvirt: Any = pytest.importorskip("libvirt")
    target = f"iscsi://u@[fd00::1]:3260/{IQN}/7?secret=env:CHAP"
    definition = vm(disks=(disk(), disk("data", target)), nics=(NicDefinition("br0", "02:00:00:00:00:01"),))
    networks = {"br0"} if log else set[str]()
    conn = libvirt.open("test:///default")
    try:
        facts = replace(FACTS, kind="test", arch="i686", machine="", model=None)
        text = render(definition, facts, options, networks, log=log).xml
        made = conn.defineXMLFlags(text, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
        assert made.name() == "db"
        with pytest.raises(libvirt.libvirtError):
            conn.defineXMLFlags(text.replace('bus="virtio"', 'bus="sly"'), libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    finally:
        conn.close()


# -- addresses of LUNs ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (f"iscsi://10.0.1.1:3261/{IQN}/1", IscsiTarget("10.0.1.1", 3261, IQN, 1)),
        (f"iscsi://array.example/{IQN}/12", IscsiTarget("array.example", 3260, IQN, 12)),
        (f"iscsi://[fd00::1]:3260/{IQN}/0", IscsiTarget("fd00::1", 3260, IQN, 0)),
        (f"iscsi://u@h:3260/{IQN}/1?secret=env:X", IscsiTarget("h", 3260, IQN, 1, "u", "env:X")),
    ],
)
def test_a_target_is_read(text: str, wanted: IscsiTarget) -> None:
    assert parse_target(text, "disk") == wanted


@pytest.mark.parametrize(
    "text",
    [
        "embedded:array.db#shop/db.root",
        f"iscsi://10.0.1.1:x/{IQN}/1",
        f"iscsi://10.0.1.1:3260/{IQN}",
        f"iscsi://10.0.1.1:3260/{IQN}/one",
        "iscsi://10.0.1.1:3260/iqn.x y/1",
        f"iscsi://u@10.0.1.1:3260/{IQN}/1",
        f"iscsi://10.0.1.1:3260/{IQN}/1?secret=env:X",
    ],
)
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="VM db, disk root"):
        parse_target(text, "VM db, disk root")


def test_an_ipv6_portal_has_brackets() -> None:
    assert parse_target(f"iscsi://[fd00::1]:3260/{IQN}/3", "").device.startswith("/dev/disk/by-path/ip-[fd00::1]:3260-")
