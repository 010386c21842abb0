"""The lab's guests, asked through their agents inside their own hosts, and their ledgers in disks that were taken off an array.

A ledger is a file of lines `N CRC BOOT` on ext4 (lab/guest/ledger.c): CRC is the CRC-32 of "N BOOT" after the CRC of the line before.
"""

from __future__ import annotations

import json
import time
import zlib
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.commands import CommandFailed
from demo.stage import Ledger, for_each
from lab.machines import Lab, Machine
from lab.run import run

__all__ = ["Guests", "ledger_of_image", "ledger_of_text"]

_POLL = 0.05
_PATIENCE = 20.0
"""Seconds that a guest's agent may take to end a command."""


@dataclass(frozen=True)
class Guests:
    """`sites`: site by host, for what guests note of where they booted."""

    lab: Lab
    sites: Mapping[str, str]

    def running(self, hosts: Iterable[Machine] | None = None) -> dict[str, Machine]:
        """Each running guest's host; of all hosts that are on, or of some."""
        if hosts is None:
            hosts = [machine for machine in self.lab.machines.values() if machine.role == "host"]
        by_name = {host.name: host for host in hosts if host.alive}
        listed = for_each(by_name, lambda name: by_name[name].exec(["virsh", "-q", "list", "--name"]).out.split())
        return {guest: by_name[host] for host, guests in listed.items() for guest in guests}

    def ask(self, words: Mapping[str, tuple[str, ...]]) -> dict[str, Ledger]:
        """Say something to the ledgers of some guests, side by side; how each stands then."""
        where = self.running()
        missing = sorted(set(words) - set(where))
        if missing:
            raise CommandFailed(f"wanted a guest {missing[0]} that runs; {', '.join(sorted(where)) or 'none'} do")
        return for_each(words, lambda guest: self._ledger(where[guest], guest, words[guest]))

    def _ledger(self, host: Machine, guest: str, words: tuple[str, ...]) -> Ledger:
        said = self.execute(host, guest, "/bin/ledger", words)
        try:
            found = json.loads(said)
            boots = [name for name in str(found["boots"]).split(",") if name]
            ledger = Ledger(
                int(found["last"]),
                int(found["buffered"]),
                found["intact"] is True,
                tuple(self.sites.get(host, host) for host in boots),
                str(found["problem"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise CommandFailed(f"guest {guest}: its ledger said {said.strip()!r}, which is no state") from error
        return ledger

    def execute(self, host: Machine, guest: str, path: str, words: Sequence[str]) -> str:
        """Run a command in the guest through its agent; what it printed. Raises CommandFailed where it fails."""
        started = {"path": path, "arg": list(words), "capture-output": True}
        process = self._agent(host, guest, "guest-exec", started)["pid"]
        end = time.monotonic() + _PATIENCE
        while not (now := self._agent(host, guest, "guest-exec-status", {"pid": process}))["exited"]:
            if time.monotonic() > end:
                raise CommandFailed(f"guest {guest}: {path} {' '.join(words)} did not end within {_PATIENCE:.0f} s")
            time.sleep(_POLL)
        out, err = (_text(now.get(f"{stream}-data")) for stream in ("out", "err"))
        if now.get("exitcode") != 0:
            raise CommandFailed(f"guest {guest}: {path} {' '.join(words)} failed: {(err or out).strip()}")
        return out

    def _agent(self, host: Machine, guest: str, command: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        request = json.dumps({"execute": command, "arguments": arguments})
        words = ["virsh", "-q", "qemu-agent-command", "--timeout", "10", guest, request]
        answer: dict[str, Any] = json.loads(host.exec(words).out)["return"]
        return answer


def _text(data: object) -> str:
    return b64decode(str(data)).decode(errors="replace") if data else ""


def ledger_of_image(file: Path, sites: Mapping[str, str]) -> Ledger:
    """The ledger in an ext4 image. Its journal is replayed first, as a mount would, so the file changes."""
    checked = run(["e2fsck", "-fy", str(file)], what=f"the disk in {file.name}", timeout=120, check=False)
    if checked.rc not in (0, 1):
        return Ledger(0, 0, intact=False, problem=f"e2fsck ended with {checked.rc}: {checked.out.strip()[-200:]}")
    text, boots = (
        run(["debugfs", "-R", f"cat {name}", str(file)], what=f"the disk in {file.name}", timeout=60).out
        for name in ("/ledger", "/ledger.boots")
    )
    return ledger_of_text(text, tuple(sites.get(line.split()[0], line) for line in boots.splitlines() if line.strip()))


def ledger_of_text(text: str, boots: tuple[str, ...] = ()) -> Ledger:
    """Check a ledger's lines; a last one without its end was never acknowledged."""
    last, crc = 0, 0
    for line in text.split("\n")[:-1]:
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != str(last + 1):
            return Ledger(
                last, 0, intact=False, boots=boots, problem=f"{line[:40]!r} stands where entry {last + 1} should"
            )
        crc = zlib.crc32(f"{parts[0]} {parts[2]}".encode(), crc)
        if parts[1] != f"{crc:08x}":
            return Ledger(last, 0, intact=False, boots=boots, problem=f"entry {last + 1} has a wrong checksum")
        last += 1
    return Ledger(last, 0, intact=True, boots=boots)
