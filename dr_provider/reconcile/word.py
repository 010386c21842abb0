"""The operator's word: "<epoch>: <reason>", valid for the epoch that it leaves and void once that is past."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dr_provider.model.errors import BadInput

__all__ = ["Word", "ask_for_word", "parse_word"]

_LONGEST = 500
_WORD = re.compile(r"\s*(\d{1,9})\s*:\s*(\S.*)", re.DOTALL)


@dataclass(frozen=True)
class Word:
    epoch: int
    reason: str

    def __str__(self) -> str:
        return f"{self.epoch}: {self.reason}"


def parse_word(plan: str, text: str | None) -> Word | None:
    """The word, parsed. Raises BadInput where it is not of the form."""
    if text is None:
        return None
    match = _WORD.fullmatch(text)
    if match is None or not match[2].isprintable() or len(match[2]) > _LONGEST:
        raise BadInput(
            f"the operator's word for plan {plan}: wanted 'EPOCH: REASON' (such as '3: power lost at east'), found {text[:80]!r}; a reason is one line of at most {_LONGEST} characters; nothing was done"
        )
    return Word(int(match[1]), match[2].strip())


def ask_for_word(plan: str, epoch: int) -> str:
    """The exact line to add, for the stack and for the command."""
    return (
        f'to go on, give your word: add  dr:force: {{{plan}: "{epoch}: <reason>"}}  to the stack config, '
        f'or run with  --force "{epoch}: <reason>"'
    )
