"""How libvirt reaches a host over ssh: the system's OpenSSH, with its own limits on silence and with host keys always checked.

libvirt runs one program for a `qemu+ssh` URI (`?command=`), so the options stand in a small program that is made for it.
"""

from __future__ import annotations

import shlex
import subprocess
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from dr_provider.model.errors import BadInput, Unreachable
from dr_provider.model.scratch import Scratch

__all__ = ["Ssh", "is_local", "over_ssh", "through"]


def over_ssh(uri: str) -> bool:
    """Whether libvirt runs an ssh program for the URI (qemu+ssh://...)."""
    return urlsplit(uri).scheme.endswith("+ssh")


def is_local(uri: str) -> bool:
    """Whether the host is this machine (qemu:///system, qemu+unix:///system)."""
    parts = urlsplit(uri)
    return not parts.hostname and not over_ssh(uri)


def through(uri: str, program: Path) -> str:
    """The URI with our program as its ssh; one that names a program of its own is left as it is."""
    parts = urlsplit(uri)
    if any(key == "command" for key, _ in parse_qsl(parts.query, keep_blank_values=True)):
        return uri
    words = f"command={quote(str(program), safe='/')}"
    return urlunsplit(parts._replace(query=f"{parts.query}&{words}" if parts.query else words))


@dataclass(frozen=True)
class Ssh:
    """ssh to the host of a URI. `options`: identity, knownHosts, config (absolute paths); what is absent is OpenSSH's own default."""

    uri: str
    options: Mapping[str, object]
    timeout: float

    def words(self) -> list[str]:
        """The ssh command up to the destination. Whatever stands first wins, so a config file cannot switch the checks off."""
        seconds = max(1, min(5, int(self.timeout)))
        words = ["ssh"]
        if config := self.options.get("config"):
            words += ["-F", str(config)]
        if identity := self.options.get("identity"):
            words += ["-i", str(identity), "-o", "IdentitiesOnly=yes"]
        if known := self.options.get("knownHosts"):
            words += ["-o", f'UserKnownHostsFile="{known}"']
        for option in (
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            f"ConnectTimeout={seconds}",
            f"ServerAliveInterval={seconds}",
            "ServerAliveCountMax=2",
        ):
            words += ["-o", option]
        return words

    def program(self) -> Path:
        """An executable file that is this ssh, in a folder that only we can read; it goes with the process."""
        folder = Scratch("ssh")
        weakref.finalize(self, folder.remove)
        path = folder.path / "ssh"
        path.write_text(f'#!/bin/sh\nexec {shlex.join(self.words())} "$@"\n', encoding="utf-8")
        path.chmod(0o700)
        return path

    def run(self, command: Sequence[str], where: str) -> subprocess.CompletedProcess[str]:
        """A command on the host; each of its words is quoted. Raises Unreachable when ssh itself fails or nothing comes back in time."""
        parts = urlsplit(self.uri)
        if not parts.hostname:
            raise BadInput(f"{where}: its URI {self.uri} names no host; wanted qemu+ssh://[USER@]HOST/system")
        words = self.words()
        if parts.username:
            words += ["-l", parts.username]
        if parts.port:
            words += ["-p", str(parts.port)]
        try:
            done = subprocess.run(
                [*words, "--", parts.hostname, shlex.join(command)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unreachable(f"{where} gave no answer over ssh within {self.timeout:g} s") from None
        except FileNotFoundError:
            raise BadInput(f"{where}: there is no ssh program on this machine; install OpenSSH's client") from None
        # 255 is ssh's own; the commands that we run never end with it.
        if done.returncode == 255:
            said = done.stderr.strip().splitlines()
            raise Unreachable(f"{where} gave no answer over ssh: {said[-1] if said else 'no reason was given'}")
        return done
