"""What stands in a runbook for the day on which none of this software can be run: commands of the machines' own, to be typed by hand."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Block", "ssh_line"]


@dataclass(frozen=True)
class Block:
    """Commands for one machine. `where` names it ("array west-a"), `enter` is the command that leads to it ("": here), `says` is a sentence
    about what they do. `commands` are lines for a POSIX shell, to be pasted as they are, in their order."""

    where: str
    commands: tuple[str, ...]
    says: str = ""
    enter: str = ""

    def document(self) -> dict[str, object]:
        return {"where": self.where, "enter": self.enter, "says": self.says, "commands": list(self.commands)}


def _value(path: str) -> str:
    """A path as a value of an OpenSSH option: `%` starts a token there, and a blank ends the value unless it is quoted."""
    text = path.replace("%", "%%")
    return f'"{text}"' if any(c.isspace() for c in text) else text


def ssh_line(host: str, user: str | None, port: int | None, keys: object) -> str:
    """The `ssh` that leads to a machine; `keys`: the `ssh` mapping of its device in the topology, or None for OpenSSH's own defaults."""
    words = ["ssh"]
    if isinstance(keys, Mapping):
        for key, option, form in (
            ("config", "-F", "{}"),
            ("identity", "-i", "{}"),
            ("knownHosts", "-o", "UserKnownHostsFile={}"),
        ):
            if keys.get(key):
                words += [option, form.format(keys[key] if option != "-o" else _value(str(keys[key])))]
    words += ["-p", str(port)] if port else []
    return shlex.join([*words, f"{user}@{host}" if user else host])
