"""LUNs by the kernel's target LIO: changes by targetcli's words, all of a change in one run of it, and what is so read from configfs.

Written by targetcli-fb 2.1 and its configshell (commands are taken from stdin), rtslib-fb's names in configfs, and the kernel's
drivers/target/iscsi/iscsi_target_configfs.c; there was no kernel of this kind to try it on: it is tested by transcripts of these.

A target is enabled as the last step, has no demo mode (generate_node_acls=0), and one ACL with the LUN mapped. The backstore is the file
without a write cache (write_back=false), so that what a guest was told is written survives the array. targetcli would save its state when
it ends, and a boot service would offer it all again before anyone asked: saving is switched off. A CHAP secret goes in by stdin.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .core import Context, Done, Fault, command, environment
from .exports import LUN, Export

__all__ = ["Lio", "offering", "taking_away"]

_CONFIGFS = "/sys/kernel/config/target"


def offering(iqn: str, path: str, initiator: str, portal: tuple[str, str], chap: Mapping[str, Any] | None) -> list[str]:
    """targetcli's lines that offer a file to one initiator at a portal (host, port). Raises Fault (BadInput)."""
    group, name = f"/iscsi/{iqn}/tpg1", _backstore(iqn)
    lines = [
        "set global auto_save_on_exit=false",
        "set global auto_add_default_portal=false",
        "set global auto_add_mapped_luns=false",
        f"/backstores/fileio create name={name} file_or_dev={_word(path)} write_back=false sparse=true",
        f"/iscsi create {_word(iqn)}",
        f"{group} set attribute generate_node_acls=0 demo_mode_write_protect=1 authentication={1 if chap else 0}",
        f"{group}/luns create storage_object=/backstores/fileio/{name} lun={LUN} add_mapped_luns=false",
        f"{group}/acls create wwn={_word(initiator)} add_mapped_luns=false",
        f"{group}/acls/{_word(initiator)} create mapped_lun={LUN} tpg_lun_or_backstore={LUN}",
    ]
    if chap:
        user, password = _word(str(chap["user"])), _word(str(chap["password"]))
        lines.append(f"{group}/acls/{_word(initiator)} set auth userid={user} password={password}")
    host, port = portal
    return [*lines, f"{group}/portals create ip_address={_word(host)} ip_port={_word(port)}", f"{group} enable"]


def taking_away(iqn: str) -> list[str]:
    """targetcli's lines that end a target. Raises Fault (BadInput)."""
    return [
        "set global auto_save_on_exit=false",
        f"/iscsi/{_word(iqn)}/tpg1 disable",  # ends its sessions, and waits for what they write
        f"/iscsi delete {_word(iqn)}",
        f"/backstores/fileio delete {_backstore(iqn)}",
    ]


class Lio:
    """`feed` runs targetcli with lines on stdin (tests: a transcript); `configfs`: where the kernel's state is."""

    def __init__(
        self,
        ctx: Context,
        settings: Mapping[str, Any],
        *,
        configfs: str = _CONFIGFS,
        feed: Callable[[Context, Sequence[str]], Done] | None = None,
    ) -> None:
        self._ctx = ctx
        self._root = Path(configfs)
        self._feed = feed or _targetcli
        self._chap = settings.get("chap") or None
        host, _, port = str(settings.get("portal") or "0.0.0.0:3260").rpartition(":")
        self._portal = host.strip("[]"), port

    def show(self) -> dict[str, Export]:
        if not self._root.is_dir():
            raise Fault(
                "NotReady",
                f"{self._ctx.where}: its LUN service LIO is not there ({self._root} is missing); load target_core_mod and mount configfs there",
            )
        found = {}
        try:
            for target in sorted(self._root.glob("iscsi/iqn.*")):
                export = self._read(target)
                found[export.iqn] = export
        except OSError as error:
            raise Fault(
                "NotReady",
                f"{self._ctx.where}: {self._root} cannot be read ({error.strerror}); let the account read it, or run as root",
            ) from None
        return found

    def export(self, iqn: str, path: str, initiator: str) -> None:
        there = self.show().get(iqn)
        if there is not None:
            if (there.path, there.initiators) == (path, (initiator,)) and self._settled(iqn, initiator):
                return
            self.unexport(iqn)
        done = self._feed(self._ctx, offering(iqn, path, initiator, self._portal, self._chap))
        there = self.show().get(iqn)
        if there is None or (there.path, there.initiators) != (path, (initiator,)) or not self._settled(iqn, initiator):
            raise self._fault(f"offering {path} as {iqn}", done)

    def unexport(self, iqn: str) -> None:
        stores = list(self._root.glob(f"core/fileio_*/{_backstore(iqn)}"))
        if iqn not in self.show() and not stores:
            return
        done = self._feed(self._ctx, taking_away(iqn))
        if iqn in self.show() or any(store.exists() for store in stores):
            raise self._fault(f"taking {iqn} away", done)

    # -- what is so ---------------------------------------------------------------------------------------

    def _read(self, target: Path) -> Export:
        group = target / "tpgt_1"
        path = ""
        for link in (group / "lun" / f"lun_{LUN}").glob("*"):
            if link.is_symlink() and (link / "udev_path").exists():
                path = (link / "udev_path").read_text().strip()
        acls = [acl for acl in sorted(group.glob("acls/*")) if acl.is_dir()]
        # A group that is not enabled, or an initiator without the LUN, is offered to nobody yet.
        enabled = _line(group / "enable") == "1"
        able = [acl.name for acl in acls if enabled and (acl / f"lun_{LUN}").is_dir()]
        sessions = [acl.name for acl in acls if "InitiatorName:" in _line(acl / "info")]
        return Export(target.name, path, tuple(able), tuple(sessions))

    def _settled(self, iqn: str, initiator: str) -> bool:
        """Whether who may log in, and with which secret, is as it is set up here."""
        group = self._root / "iscsi" / iqn / "tpgt_1"
        wanted = "1" if self._chap else "0"
        if (_line(group / "attrib/generate_node_acls"), _line(group / "attrib/authentication")) != ("0", wanted):
            return False
        if not self._chap:
            return True
        auth = group / "acls" / initiator / "auth"
        pair = (_line(auth / "userid"), _line(auth / "password"))
        return pair == (str(self._chap["user"]), str(self._chap["password"]))

    def _fault(self, what: str, done: Done) -> Fault:
        said = f"{done.out} {done.err}"
        if self._chap:
            said = said.replace(str(self._chap["password"]), "...")
        said = " ".join(said.split())[-400:]
        return Fault("DeviceFault", f"{self._ctx.where}: {what} by targetcli failed: {said or 'not a word'}")


def _line(path: Path) -> str:
    """A configfs file's text; "" where it is not there."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""


def _backstore(iqn: str) -> str:
    """The backstore's name: made of the IQN, since every target has its own, and short (the kernel takes 512 characters, INQUIRY shows 16)."""
    return "dr-" + hashlib.sha256(iqn.encode()).hexdigest()[:24]


def _word(text: str) -> str:
    """A word that configshell takes as it is; raises Fault for one that could be read as more."""
    if not re.fullmatch(r"[A-Za-z0-9._:/@%+,~*!?$^&#-]+", text):
        raise Fault(
            "BadInput",
            "targetcli cannot be given a name, path or secret with blanks, quotes or brackets; choose another for luns.chap or the dataset",
        )
    return text


def _targetcli(ctx: Context, lines: Sequence[str]) -> Done:
    seconds = max(0.1, ctx.left() - 1.0)
    try:
        done = subprocess.run(
            command(ctx, ["targetcli"]),
            input="\n".join([*lines, "exit", ""]).encode(),
            capture_output=True,
            timeout=seconds,
            env=environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Fault(
            "Unreachable", f"{ctx.where}: targetcli did not end within {seconds:.0f} s; look at it there"
        ) from None
    except FileNotFoundError:
        raise Fault("NotReady", f"{ctx.where}: the program 'targetcli' is not there; install targetcli-fb") from None
    return Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
