"""`disks: block`, by transcripts: no kernel initiator is at hand where the tests run, so libvirt's storage pools answer from here.

The calls and the XML are those that libvirt documents for pools of type iscsi (formatstorage, storage drivers).
"""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from dr_provider.hypervisors.libvirt import blocks
from dr_provider.hypervisors.libvirt.link import Work
from dr_provider.model.errors import Conflict
from dr_provider.model.records import Owner
from dr_provider.model.vm import DiskAttachment, VmDefinition
from tests.hypervisors.fake_libvirt import CODES, FakeError

IQN = "iqn.2026-11.io.dr:west-a:shop:db.root"
DEVICE = f"/dev/disk/by-path/ip-10.0.2.10:3260-iscsi-{IQN}-lun-1"
INITIATOR = "iqn.2026-11.org.example:west-1"


@dataclass
class Pool:
    """As virStoragePool; `offers`: the devices that the target shows when it is logged in to."""

    host: Pools
    xml: str
    offers: tuple[str, ...] = (DEVICE,)
    refuses: str | None = None
    active: bool = False

    def name(self) -> str:
        return str(ET.fromstring(self.xml).findtext("name"))

    def isActive(self) -> int:  # noqa: N802
        return int(self.active)

    def create(self, _flags: int) -> None:
        if self.refuses is not None:
            raise FakeError("VIR_ERR_INTERNAL_ERROR", self.refuses)
        self.host.did.append(f"log in {self.name()}")
        self.active = True

    def refresh(self, _flags: int) -> None:
        self.host.did.append(f"look again {self.name()}")

    def listAllVolumes(self, _flags: int) -> list[Any]:  # noqa: N802
        return [SimpleNamespace(path=lambda device=device: device) for device in self.offers]

    def destroy(self) -> None:
        self.host.did.append(f"log out {self.name()}")
        self.active = False

    def undefine(self) -> None:
        del self.host.pools[self.name()]


@dataclass
class Pools:
    """A connection, as far as pools go."""

    pools: dict[str, Pool] = field(default_factory=dict)
    did: list[str] = field(default_factory=list)
    how: dict[str, Any] = field(default_factory=dict)

    def isAlive(self) -> int:  # noqa: N802
        return 1

    def storagePoolDefineXML(self, xml: str, _flags: int) -> Pool:  # noqa: N802
        name = str(ET.fromstring(xml).findtext("name"))
        return self.pools.setdefault(name, Pool(self, xml, **self.how))

    def storagePoolLookupByName(self, name: str) -> Pool:  # noqa: N802
        if name not in self.pools:
            raise FakeError("VIR_ERR_NO_STORAGE_POOL", f"no pool {name}")
        return self.pools[name]

    def listAllStoragePools(self, _flags: int) -> list[Pool]:  # noqa: N802
        return list(self.pools.values())


def work(host: Pools) -> Work:
    return Work(host, SimpleNamespace(libvirtError=FakeError, **CODES), None, "host west-1", time.monotonic() + 60)


def vm(query: str = "", user: str = "") -> VmDefinition:
    target = f"iscsi://{user}10.0.2.10:3260/{IQN}/1{query}"
    disk = DiskAttachment("root", "shop", "db.root", 1 << 20, target)
    return VmDefinition("db", "db", "shop", "uuid", 1, 1 << 30, (disk,), (), Owner("shop", "", "1"))


def test_a_lun_is_logged_in_to_looked_at_again_and_logged_out_of() -> None:
    host = Pools()
    blocks.log_in(work(host), vm(), INITIATOR)
    source = ET.fromstring(host.pools["dr-provider:db:root"].xml).find("source")
    assert source is not None
    told = {element.tag: element.attrib for element in source.iter()}
    assert told["host"] == {"name": "10.0.2.10", "port": "3260"}
    assert told["device"] == {"path": IQN}
    assert told["iqn"] == {"name": INITIATOR}
    assert "auth" not in told
    blocks.log_in(work(host), vm(), INITIATOR)
    blocks.refresh(work(host))
    blocks.log_out(work(host), vm())
    blocks.log_out(work(host), vm())
    name = "dr-provider:db:root"
    assert host.did == [f"log in {name}", f"look again {name}", f"look again {name}", f"log out {name}"]
    assert host.pools == {}


def test_an_account_is_named_by_its_secret_never_by_its_password() -> None:
    host = Pools()
    blocks.log_in(work(host), vm("?secret=env:DR_CHAP", "dr@"), INITIATOR)
    auth = ET.fromstring(host.pools["dr-provider:db:root"].xml).find("source/auth")
    assert auth is not None
    assert (auth.get("type"), auth.get("username")) == ("chap", "dr")
    secret = auth.find("secret")
    assert secret is not None
    assert "DR_CHAP" not in host.pools["dr-provider:db:root"].xml


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"offers": ()}, f"LUN shop/db.root is not offered to {INITIATOR}"),
        ({"offers": (DEVICE[:-1] + "2",)}, "map it first"),
        ({"refuses": "iscsiadm: No records found"}, "cannot be reached at 10.0.2.10:3260: iscsiadm: No records found"),
    ],
)
def test_a_lun_that_is_not_there_is_named(how: dict[str, Any], said: str) -> None:
    with pytest.raises(Conflict, match="VM db on host west-1") as found:
        blocks.log_in(work(Pools(how=how)), vm(), INITIATOR)
    assert said in str(found.value)


def test_pools_of_others_are_left_alone() -> None:
    host = Pools()
    host.pools["images"] = Pool(host, "<pool><name>images</name></pool>", active=True)
    blocks.refresh(work(host))
    blocks.log_out(work(host), vm())
    assert host.did == []
    assert list(host.pools) == ["images"]
