"""What stands in a runbook for the day on which none of this software can be run: commands of the machines' own, to be typed by hand."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Block"]


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
