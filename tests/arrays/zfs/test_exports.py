"""LUN services by transcripts: tgtadm's words as tgt 1.0.85 printed them, targetcli's with the tree that the kernel shows in configfs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dr_provider.arrays.zfs.calls import Calls
from dr_provider.arrays.zfs.remote import exports, lio, lunservice, tgt
from dr_provider.arrays.zfs.remote.core import Context, Done, Fault
from dr_provider.arrays.zfs.remote.datasets import Volume
from dr_provider.arrays.zfs.remote.exports import Export
from dr_provider.model.topology import ArraySpec

IQN = "iqn.2026-11.io.dr:east-a:shop:db.root"
OTHER = "iqn.2001-04.com.example:backup"
HOST = "iqn.2026-11.io.dr:host-1"
FILE = "/run/tank/dr/vols/shop/shop/luns/db.img"

SHOWN = f"""Target 1: {OTHER}
    System information:
        Driver: iscsi
        State: ready
    I_T nexus information:
    LUN information:
        LUN: 0
            Type: controller
            Backing store path: None
            Backing store flags: 
    Account information:
    ACL information:
        ALL
Target 3: {IQN}
    System information:
        Driver: iscsi
        State: ready
    I_T nexus information:
        I_T nexus: 3
            Initiator: {HOST} alias: none
            Connection: 0
                IP Address: 10.100.0.254
    LUN information:
        LUN: 0
            Type: controller
            SCSI ID: IET     00010000
            Backing store type: null
            Backing store path: None
            Backing store flags: 
        LUN: 1
            Type: disk
            SCSI ID: 0123456789abcdef0123
            Size: 8 MB, Block size: 512
            Backing store type: rdwr
            Backing store path: {FILE}
            Backing store flags: 
    Account information:
    ACL information:
        {HOST}
"""  # noqa: W291


class Tgtd:
    """tgtd as far as its words show it: targets and accounts."""

    def __init__(self) -> None:
        self.targets: dict[int, dict[str, Any]] = {}
        self.accounts: dict[str, str] = {}
        self.asked: list[list[str]] = []
        self.active = 0
        self.rival: str | None = None

    def context(self, chap: dict[str, str] | None = None, service: str = "tgt") -> Context:
        config = {"name": "east-a", "site": "east", "pool": "tank", "dataset": "dr"}
        luns = {"service": service, "portal": "10.0.0.1:3260", **({"chap": chap} if chap else {})}
        return Context(deadline=time.monotonic() + 5, config={**config, "luns": luns}, execute=self.run)

    def run(self, words: Sequence[str], seconds: float) -> Done:
        assert words[:4] == ["tgtadm", "--lld", "iscsi", "--op"]
        op, mode, rest = words[4], words[6], list(words[7:])
        self.asked.append([op, mode, *rest])
        take = {key: rest[at + 1] for at, key in enumerate(rest) if key.startswith("--") and key != "--force"}
        return getattr(self, f"{op}_{mode}")(take)  # type: ignore[no-any-return]

    def show_target(self, take: dict[str, str]) -> Done:
        lines = []
        for tid, has in sorted(self.targets.items()):
            lines += [f"Target {tid}: {has['iqn']}", "    System information:", "    I_T nexus information:"]
            lines += ["    LUN information:", "        LUN: 0", "            Backing store path: None"]
            if "path" in has:
                lines += ["        LUN: 1", f"            Backing store path: {has['path']}"]
            lines += ["    Account information:", *(f"        {name}" for name in has["accounts"])]
            lines += ["    ACL information:", *(f"        {name}" for name in has["acl"])]
        return Done(0, "\n".join(lines), "")

    def show_account(self, take: dict[str, str]) -> Done:
        return Done(0, "\n".join(["Account list:", *(f"    {name}" for name in self.accounts)]), "")

    def new_target(self, take: dict[str, str]) -> Done:
        if self.rival:
            self.targets[int(take["--tid"])] = {"iqn": self.rival, "accounts": [], "acl": []}
            self.rival = None
        if int(take["--tid"]) in self.targets:
            return Done(22, "", "tgtadm: this target already exists")
        self.targets[int(take["--tid"])] = {"iqn": take["--targetname"], "accounts": [], "acl": []}
        return Done(0, "", "")

    def new_logicalunit(self, take: dict[str, str]) -> Done:
        if "none" in take["--backing-store"]:
            return Done(22, "", "tgtadm: invalid request")
        self.targets[int(take["--tid"])]["path"] = take["--backing-store"]
        return Done(0, "", "")

    def update_logicalunit(self, take: dict[str, str]) -> Done:
        return Done(0, "", "")

    def bind_target(self, take: dict[str, str]) -> Done:
        self.targets[int(take["--tid"])]["acl"].append(take["--initiator-name"])
        return Done(0, "", "")

    def bind_account(self, take: dict[str, str]) -> Done:
        self.targets[int(take["--tid"])]["accounts"].append(take["--user"])
        return Done(0, "", "")

    def new_account(self, take: dict[str, str]) -> Done:
        if take["--user"] in self.accounts:
            return Done(22, "", "tgtadm: this account already exists")
        self.accounts[take["--user"]] = take["--password"]
        return Done(0, "", "")

    def delete_account(self, take: dict[str, str]) -> Done:
        del self.accounts[take["--user"]]
        for has in self.targets.values():
            was = list(has["accounts"])
            has["accounts"] = [name for name in was if name != take["--user"]]
            assert has["accounts"] or not was, "a target that asked for a secret asks for none any more"
        return Done(0, "", "")

    def delete_target(self, take: dict[str, str]) -> Done:
        if self.active:
            self.active -= 1
            return Done(22, "", "tgtadm: this target is still active")
        del self.targets[int(take["--tid"])]
        return Done(0, "", "")


def test_what_tgt_shows_is_read() -> None:
    tgtd = Tgtd()
    tgtd.show_target = lambda take: Done(0, SHOWN, "")  # type: ignore[method-assign]
    assert exports.open(tgtd.context()).show() == {
        OTHER: Export(OTHER, "", ("ALL",), ()),
        IQN: Export(IQN, FILE, (HOST,), (HOST,)),
    }


def test_a_lun_is_offered_to_one_initiator_and_taken_away() -> None:
    tgtd = Tgtd()
    tgtd.targets[1] = {"iqn": OTHER, "accounts": [], "acl": ["ALL"]}
    tgtd.rival = "iqn.2001-04.com.example:faster"
    service = exports.open(tgtd.context())
    service.export(IQN, FILE, HOST)
    assert service.show()[IQN] == Export(IQN, FILE, (HOST,), ())
    assert tgtd.targets[3]["iqn"] == IQN, "1 and 2 are taken, 2 by who was faster"
    assert tgtd.asked[-2][:2] == ["bind", "target"], "nobody can log in before all else is done"
    tgtd.asked.clear()
    service.export(IQN, FILE, HOST)
    assert tgtd.asked == [["show", "target"]], "again: nothing is done"
    service.export(IQN, FILE, "iqn.2026-11.io.dr:host-2")
    assert service.show()[IQN].initiators == ("iqn.2026-11.io.dr:host-2",)
    tgtd.active = 2
    service.unexport(IQN)
    assert (IQN in service.show(), OTHER in service.show()) == (False, True)
    service.unexport(IQN)


def test_a_half_made_target_is_made_anew() -> None:
    tgtd = Tgtd()
    tgtd.targets[1] = {"iqn": IQN, "accounts": [], "acl": []}
    service = exports.open(tgtd.context())
    service.export(IQN, FILE, HOST)
    assert service.show() == {IQN: Export(IQN, FILE, (HOST,), ())}


def test_a_chap_secret_is_set_once_and_changed_without_an_open_moment() -> None:
    tgtd = Tgtd()
    first = exports.open(tgtd.context({"user": "dr", "password": "one two;three"}))
    first.export(IQN, FILE, HOST)
    assert tgtd.accounts["dr"] == "one two;three"
    assert tgtd.targets[1]["accounts"] == ["dr"]
    tgtd.asked.clear()
    first.export(IQN, FILE, HOST)
    first.export(f"{IQN}.log", FILE, HOST)
    assert not [words for words in tgtd.asked if "--password" in words]
    second = exports.open(tgtd.context({"user": "dr", "password": "another"}))
    second.export(IQN, FILE, HOST)
    assert tgtd.accounts["dr"] == "another"
    assert [has["accounts"] for has in tgtd.targets.values()] == [["dr"], ["dr"]]
    assert len(tgtd.accounts) == 2, "the account and the mark of its secret"
    assert not [name for name in tgtd.accounts if "another" in name or "one" in name]
    exports.open(tgtd.context()).export(IQN, FILE, HOST)
    assert tgtd.targets[1]["accounts"] == [], "where none is set up, none is asked for"


@pytest.mark.parametrize(
    ("done", "kind", "words"),
    [
        (
            Done(107, "", "tgtadm: failed to send request hdr to tgt daemon, Transport endpoint is not connected"),
            "NotReady",
            "start tgtd",
        ),
        (Done(1, "", "sudo: a password is required"), "NotReady", "sudo"),
        (Done(22, "", "tgtadm: out of memory"), "DeviceFault", "out of memory"),
    ],
)
def test_what_tgtadm_says_is_told_apart(done: Done, kind: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tgt, "running", lambda program: True)
    tgtd = Tgtd()
    tgtd.show_target = lambda take: done  # type: ignore[method-assign]
    with pytest.raises(Fault, match=words) as caught:
        exports.open(tgtd.context()).show()
    assert caught.value.kind == kind


def test_a_tgtd_that_has_ended_offers_nothing_and_one_that_hangs_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    tgtd = Tgtd()
    silent = Done(107, "", "tgtadm: failed to send request hdr to tgt daemon, Transport endpoint is not connected")
    tgtd.show_target = lambda take: silent  # type: ignore[method-assign]
    service = exports.open(tgtd.context())
    left = [True]
    monkeypatch.setattr(tgt, "running", lambda program: program == "tgtd" and left[0])
    for call in (service.show, lambda: service.unexport(IQN), lambda: service.export(IQN, FILE, HOST)):
        with pytest.raises(Fault, match="start tgtd"):
            call()
    left[0] = False
    assert service.show() == {}
    service.unexport(IQN)
    with pytest.raises(Fault, match="start tgtd"):
        service.export(IQN, FILE, HOST)


def test_no_secret_is_in_a_sentence() -> None:
    tgtd = Tgtd()
    tgtd.new_account = lambda take: Done(22, "", "tgtadm: out of memory")  # type: ignore[method-assign]
    with pytest.raises(Fault) as caught:
        exports.open(tgtd.context({"user": "dr", "password": "hidden"})).export(IQN, FILE, HOST)
    assert "hidden" not in str(caught.value)


def test_a_file_that_is_not_there_is_a_fault() -> None:
    tgtd = Tgtd()
    with pytest.raises(Fault, match="invalid request"):
        exports.open(tgtd.context()).export(IQN, "/none", HOST)


# -- LIO ----------------------------------------------------------------------------------------------


class Kernel:
    """Does what targetcli is told in a tree as configfs has it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.fed: list[str] = []
        (root / "core").mkdir(parents=True)
        (root / "iscsi").mkdir()
        self.deaf = False

    def open(self, chap: dict[str, str] | None = None) -> lio.Lio:
        ctx = Tgtd().context(chap, "lio")
        return lio.Lio(ctx, ctx.config["luns"], configfs=str(self.root), feed=self.feed)

    def feed(self, ctx: Context, lines: Sequence[str]) -> Done:
        self.fed += lines
        if self.deaf:
            return Done(0, "Could not create backstore: no such file; password=hidden", "")
        for line in lines:
            words = line.split()
            take = dict(word.partition("=")[::2] for word in words if "=" in word)
            if words[:2] == ["/backstores/fileio", "create"]:
                store = self.root / "core" / "fileio_0" / take["name"]
                store.mkdir(parents=True)
                (store / "udev_path").write_text(f"{take['file_or_dev']}\n")
                assert take["write_back"] == "false"
            elif words[:2] == ["/iscsi", "create"]:
                group = self.root / "iscsi" / words[2] / "tpgt_1"
                for folder in ("lun", "acls", "attrib"):
                    (group / folder).mkdir(parents=True)
                (group / "enable").write_text("0\n")
            elif words[1] == "set" and words[2] == "attribute":
                for key, value in take.items():
                    (self.group(words[0]) / "attrib" / key).write_text(f"{value}\n")
            elif words[0].endswith("/luns"):
                lun = self.group(words[0]) / "lun" / f"lun_{take['lun']}"
                lun.mkdir()
                name = take["storage_object"].rpartition("/")[2]
                (lun / "abc").symlink_to(self.root / "core" / "fileio_0" / name)
            elif words[0].endswith("/acls"):
                acl = self.group(words[0]) / "acls" / take["wwn"]
                (acl / "auth").mkdir(parents=True)
                (acl / "info").write_text("No active iSCSI Session for Initiator Endpoint: x\n")
            elif "/acls/" in words[0] and words[1] == "create":
                (self.group(words[0]) / "acls" / words[0].rpartition("/")[2] / f"lun_{take['mapped_lun']}").mkdir()
            elif "/acls/" in words[0] and words[1:3] == ["set", "auth"]:
                for key, value in take.items():
                    (self.group(words[0]) / "acls" / words[0].rpartition("/")[2] / "auth" / key).write_text(value)
            elif words[1] in ("enable", "disable"):
                (self.group(words[0]) / "enable").write_text("1\n" if words[1] == "enable" else "0\n")
            elif words[1] == "delete":
                place = "iscsi" if words[0] == "/iscsi" else "core/fileio_0"
                self.remove(self.root / place / words[2])
        return Done(0, "", "")

    def group(self, path: str) -> Path:
        return self.root / "iscsi" / path.split("/")[2] / "tpgt_1"

    def remove(self, folder: Path) -> None:
        for path in sorted(folder.rglob("*"), reverse=True):
            path.unlink() if path.is_symlink() or path.is_file() else path.rmdir()
        folder.rmdir()


def test_lio_offers_a_lun_and_takes_it_away(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path / "target")
    service = kernel.open()
    service.export(IQN, FILE, HOST)
    assert service.show() == {IQN: Export(IQN, FILE, (HOST,), ())}
    assert kernel.fed[0] == "set global auto_save_on_exit=false", "no boot may offer it again"
    assert kernel.fed[-1].endswith("enable"), "nobody can log in before all else is done"
    assert any("generate_node_acls=0" in line and "authentication=0" in line for line in kernel.fed)
    group = kernel.root / "iscsi" / IQN / "tpgt_1"
    (group / "acls" / HOST / "info").write_text(f"InitiatorName: {HOST}\nInitiatorAlias: \n")
    assert service.show()[IQN].sessions == (HOST,)
    kernel.fed.clear()
    service.export(IQN, FILE, HOST)
    assert kernel.fed == []
    service.export(IQN, FILE, "iqn.2026-11.io.dr:host-2")
    assert service.show()[IQN].initiators == ("iqn.2026-11.io.dr:host-2",)
    service.unexport(IQN)
    assert service.show() == {}
    assert not list(kernel.root.glob("core/fileio_0/*"))
    kernel.fed.clear()
    service.unexport(IQN)
    assert kernel.fed == []


def test_lio_asks_for_the_secret_and_changes_it(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path / "target")
    kernel.open({"user": "dr", "password": "one"}).export(IQN, FILE, HOST)
    assert any("authentication=1" in line for line in kernel.fed)
    changed = kernel.open({"user": "dr", "password": "two"})
    changed.export(IQN, FILE, HOST)
    assert (kernel.root / "iscsi" / IQN / "tpgt_1/acls" / HOST / "auth/password").read_text() == "two"
    kernel.fed.clear()
    changed.export(IQN, FILE, HOST)
    assert kernel.fed == []


def test_what_targetcli_did_not_do_is_a_fault_without_the_secret(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path / "target")
    kernel.deaf = True
    with pytest.raises(Fault, match="Could not create backstore") as caught:
        kernel.open({"user": "dr", "password": "hidden"}).export(IQN, FILE, HOST)
    assert "hidden" not in str(caught.value)
    with pytest.raises(Fault, match="blanks, quotes") as caught:
        kernel.open({"user": "dr", "password": "two words"}).export(IQN, FILE, HOST)
    assert "two words" not in str(caught.value)


def test_lio_without_its_kernel_part_is_not_ready(tmp_path: Path) -> None:
    ctx = Tgtd().context(service="lio")
    with pytest.raises(Fault, match="target_core_mod") as caught:
        lio.Lio(ctx, ctx.config["luns"], configfs=str(tmp_path / "none")).show()
    assert caught.value.kind == "NotReady"


def test_an_array_without_a_service_says_so() -> None:
    with pytest.raises(Fault, match=r"luns\.service"):
        exports.open(Tgtd().context(service=""))
    assert isinstance(exports.open(Tgtd().context()), tgt.Tgt)


def test_an_array_known_by_its_address_only_shows_no_luns_and_offers_none() -> None:
    context = Context(
        deadline=time.monotonic() + 60, config={"name": "from", "pool": "tank", "dataset": "dr", "luns": {}}
    )
    service = exports.open(context)
    assert service.show() == {}
    with pytest.raises(Fault, match="LUN service is not known"):
        service.export(IQN, FILE, HOST)
    with pytest.raises(Fault, match="LUN service is not known"):
        service.unexport(IQN)


@pytest.mark.parametrize(
    ("luns", "told"),
    [
        ({"portal": "10.0.1.10"}, {"service": "tgt", "portal": "10.0.1.10:3260"}),
        ({"portal": "[fd00::1]:3261", "service": "lio"}, {"service": "lio", "portal": "[fd00::1]:3261"}),
        ({}, {}),
    ],
)
def test_what_the_topology_leaves_out_of_luns(luns: dict[str, str], told: dict[str, str]) -> None:
    options = {"endpoints": ["ssh://root@a"], "pool": "tank", "luns": luns}
    assert Calls(ArraySpec("east-a", "east", "zfs", options), timeout=5)._config()["luns"] == told


def test_an_account_without_its_password_here_is_asked_for_where_a_lun_is_offered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DR_CHAP", raising=False)
    luns = {"portal": "10.0.2.10", "chap": {"user": "dr", "password": "env:DR_CHAP"}}
    spec = ArraySpec("east-a", "east", "zfs", {"endpoints": ["ssh://root@a"], "pool": "tank", "luns": luns})
    chap = Calls(spec, timeout=5)._config()["luns"]["chap"]  # type: ignore[index]
    tgtd = Tgtd()
    ctx = tgtd.context(chap)
    assert lunservice.offered(ctx) == {}
    volume = Volume("tank/dr/vols/-/shop", "shop", 1, "data", True, 1, None, {}, mounted="/tank")
    with pytest.raises(Fault, match="DR_CHAP is not set") as caught:
        lunservice.offer(ctx, volume, "db", HOST)
    assert caught.value.kind == "BadInput"
    assert tgtd.asked == [["show", "target"]]
