"""LUNs by the user-space target tgt: tgtadm's words, and what it prints (tgt 1.0.85, usr/tgtadm.c, usr/target.c).

A target is open to the initiator names that are bound to it, and to none before. tgtd forgets all targets when it ends.

A CHAP secret comes here over the session. tgtadm knows no way to be told one but its command line, so while it runs (a few milliseconds,
once for each secret and start of tgtd) it can be read in the process list of the array.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .core import Context, Done, Fault, attempt, fault_of
from .exports import LUN, Export

__all__ = ["Tgt", "command", "making", "offering", "taking_away"]

_TARGET = re.compile(r"Target (\d+): (\S+)")
_TRIES = 20  # targets that others may make between our look and our word
_PAUSE = 0.05


class _Seen:
    """A target in the words of `--op show`."""

    def __init__(self, tid: int, iqn: str) -> None:
        self.tid = tid
        self.iqn = iqn
        self.path = ""
        self.accounts: list[str] = []
        self.acl: list[str] = []
        self.sessions: list[str] = []


def parse(text: str) -> list[_Seen]:
    """Targets from `tgtadm --op show --mode target`."""
    found: list[_Seen] = []
    part, lun = "", -1
    for line in text.splitlines():
        head = _TARGET.fullmatch(line.strip())
        if head:
            found.append(_Seen(int(head.group(1)), head.group(2)))
            part, lun = "", -1
            continue
        if not found:
            continue
        seen, word = found[-1], line.strip()
        indent = len(line) - len(line.lstrip())
        if indent == 4 and word.endswith(":"):
            part = word[:-1]
        elif part == "LUN information" and word.startswith("LUN: "):
            lun = int(word[5:])
        elif part == "LUN information" and lun == LUN and word.startswith("Backing store path: "):
            path = word[len("Backing store path: ") :]
            seen.path = "" if path == "None" else path
        elif part == "I_T nexus information" and word.startswith("Initiator: "):
            seen.sessions.append(word[len("Initiator: ") :].split(" alias: ")[0])
        elif part == "Account information" and word:
            seen.accounts.append(word.split()[0])
        elif part == "ACL information" and word:
            seen.acl.append(word)
    return found


def command(op: str, mode: str, *words: str) -> list[str]:
    """tgtadm's command line of a step."""
    return ["tgtadm", "--lld", "iscsi", "--op", op, "--mode", mode, *words]


def making(tid: int, iqn: str) -> list[str]:
    """The step that makes a target: op, mode and the rest of its words."""
    return ["new", "target", "--tid", str(tid), "--targetname", iqn]


def taking_away(tid: int) -> list[str]:
    """The step that ends a target with its sessions."""
    return ["delete", "target", "--force", "--tid", str(tid)]


def offering(tid: int, iqn: str, path: str, initiator: str, user: str | None) -> list[list[str]]:
    """The steps that offer a file to one initiator, in their order; `user`: the CHAP account that is asked for."""
    one = ["--tid", str(tid)]
    # tgt's own are made of the tid: two arrays' disks would look like two paths to one disk.
    serial = hashlib.sha256(iqn.encode()).hexdigest()[:20]
    params = f"scsi_id={serial},scsi_sn={serial}"
    return [
        making(tid, iqn),
        ["new", "logicalunit", *one, "--lun", str(LUN), "--bstype", "rdwr", "--backing-store", path],
        ["update", "logicalunit", *one, "--lun", str(LUN), "--params", params],
        *([["bind", "account", *one, "--user", user]] if user else []),
        # The last step: before it nobody can log in.
        ["bind", "target", *one, "--initiator-name", initiator],
    ]


class Tgt:
    def __init__(self, ctx: Context, settings: Mapping[str, Any]) -> None:
        self._ctx = ctx
        self._chap = settings.get("chap") or None

    def show(self) -> dict[str, Export]:
        return {seen.iqn: Export(seen.iqn, seen.path, tuple(seen.acl), tuple(seen.sessions)) for seen in self._there()}

    def export(self, iqn: str, path: str, initiator: str) -> None:
        targets = self._targets()
        seen = next((target for target in targets if target.iqn == iqn), None)
        user = [str(self._chap["user"])] if self._chap else []
        if user:
            self._account(targets)
        if seen is not None:
            if (seen.path, seen.acl, seen.accounts) == (path, [initiator], user):
                return
            # Half made by a run that was cut, or of another time: whoever is on it must log in anew.
            self._delete(seen)
            targets.remove(seen)
        tid = self._new_target(iqn, {target.tid for target in targets})
        for words in offering(tid, iqn, path, initiator, user[0] if user else None)[1:]:
            self._run(*words)

    def unexport(self, iqn: str) -> None:
        for seen in self._there():
            if seen.iqn == iqn:
                self._delete(seen)

    def _there(self) -> list[_Seen]:
        """The targets; none where tgtd has ended, which is sure only if no process of it is left: one that hangs may still serve."""
        done = self._attempt("show", "target")
        if done.status == 0:
            return parse(done.out)
        if _unanswered(done) and not running("tgtd"):
            return []
        raise self._fault(["show", "target"], done)

    # -- steps ------------------------------------------------------------------------------------------

    def _targets(self) -> list[_Seen]:
        return parse(self._run("show", "target"))

    def _new_target(self, iqn: str, taken: set[int]) -> int:
        """Make a target under a free number. The array's lock keeps our own runs apart; others of the machine may still be faster."""
        for _ in range(_TRIES):
            tid = next(number for number in range(1, len(taken) + 2) if number not in taken)
            done = self._attempt(*making(tid, iqn))
            if done.status == 0:
                return tid
            if "already exists" not in done.err:
                raise self._fault(["new", "target", iqn], done)
            targets = self._targets()
            if any(target.iqn == iqn for target in targets):
                raise Fault(
                    "Conflict",
                    f"{self._ctx.where}: something else has just made target {iqn}; look who does that there",
                )
            taken = {target.tid for target in targets}
        raise Fault(
            "Busy", f"{self._ctx.where}: no free target number for {iqn}: something else makes targets all the time"
        )

    def _delete(self, seen: _Seen) -> None:
        """Force a target away; with writes under way tgtd says that it is active, and they end in a moment."""
        end = time.monotonic() + max(0.0, self._ctx.left() - 1.0)
        while True:
            done = self._attempt(*taking_away(seen.tid))
            if done.status == 0 or "can't find the target" in done.err:
                break
            if "still active" not in done.err or time.monotonic() >= end:
                raise self._fault(["delete", "target", seen.iqn], done)
            time.sleep(_PAUSE)
        while any(target.iqn == seen.iqn for target in self._targets()):
            if time.monotonic() >= end:
                raise Fault(
                    "DeviceFault",
                    f"{self._ctx.where}: tgtd still offers {seen.iqn} after it was deleted; end tgtd there, then try again",
                )
            time.sleep(_PAUSE)

    def _account(self, targets: list[_Seen]) -> None:
        """See that tgtd has the CHAP account with this secret.

        tgtd never shows a secret. Which one it has is told by a second account that no target has, named for a salted hash of the secret:
        it lives and dies with the first. Deleting an account leaves its targets without any, and so without a question; therefore a third
        one, that nobody can log in with, stands in for it while a secret is changed.
        """
        assert self._chap is not None
        user, password = str(self._chap["user"]), str(self._chap["password"])
        accounts = [line.strip() for line in self._run("show", "account").splitlines()[1:]]
        marks = [name for name in accounts if name.startswith(f"{user}.known.")]
        if user in accounts and any(_marks(name, password) for name in marks):
            return
        guard = f"{user}.changing"
        asking = [str(seen.tid) for seen in targets if {user, guard} & set(seen.accounts)]
        if asking and guard not in accounts:
            self._run("new", "account", "--user", guard, "--password", os.urandom(16).hex())
        for tid in asking:
            self._repeat("bind", "account", "--tid", tid, "--user", guard)
        for name in [*marks, *([user] if user in accounts else [])]:
            self._run("delete", "account", "--user", name)
        self._run("new", "account", "--user", user, "--password", password)
        for tid in asking:
            self._run("bind", "account", "--tid", tid, "--user", user)
        if asking:
            self._run("delete", "account", "--user", guard)
        self._run("new", "account", "--user", _mark(user, password), "--password", os.urandom(16).hex())

    # -- words ------------------------------------------------------------------------------------------

    def _attempt(self, op: str, mode: str, *words: str) -> Done:
        return attempt(self._ctx, command(op, mode, *words))

    def _repeat(self, op: str, mode: str, *words: str) -> None:
        """A step that may have been done by a run that was cut."""
        done = self._attempt(op, mode, *words)
        if done.status != 0 and "already exists" not in done.err:
            raise self._fault([op, mode, *words], done)

    def _run(self, op: str, mode: str, *words: str) -> str:
        done = self._attempt(op, mode, *words)
        if done.status != 0:
            raise self._fault([op, mode, *words], done)
        return done.out

    def _fault(self, words: list[str], done: Done) -> Fault:
        if _unanswered(done):
            return Fault(
                "NotReady",
                f"{self._ctx.where}: its LUN service tgt does not answer ({done.err[:200]}); start tgtd there",
            )
        if "--password" in words:
            words = words[: words.index("--password")]
        return fault_of(self._ctx, ["tgtadm", *words], done)


def _unanswered(done: Done) -> bool:
    said = done.err.lower()
    return any(
        text in said for text in ("can't connect to", "cannot connect to", "failed to send request hdr to tgt daemon")
    )


def running(program: str) -> bool:
    """Whether a process of this program is there."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "comm").read_text().strip() == program:
                    return True
    return False


def _mark(user: str, password: str, salt: str = "") -> str:
    salt = salt or os.urandom(8).hex()
    digest = hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), n=1 << 12, r=8, p=1, dklen=16).hex()
    return f"{user}.known.{salt}.{digest}"


def _marks(name: str, password: str) -> bool:
    """Whether an account of this name says that this is the secret."""
    user, _, rest = name.rpartition(".known.")
    salt = rest.partition(".")[0]
    return re.fullmatch(r"[0-9a-f]{16}", salt) is not None and name == _mark(user, password, salt)
