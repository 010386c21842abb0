"""Text of others (devices, records, users) as a terminal may be given it."""

from __future__ import annotations

import json
import re

__all__ = ["json_text", "plain"]

# Controls of both kinds, marks that turn the writing round or are not seen, and halves of characters.
_UNSEEN = re.compile(r"[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]")


def plain(text: str) -> str:
    """The text with what is no character to be read shown escaped; line ends stay."""
    return _UNSEEN.sub(lambda found: found[0] if found[0] == "\n" else repr(found[0])[1:-1], text)


def json_text(document: object) -> str:
    """A document as JSON, in the same way."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return _UNSEEN.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)
