"""Names that both the operator's machine and the array work out: pure, so that each finds the same."""

from __future__ import annotations

import hashlib
import re

__all__ = ["HIDDEN", "iqn"]

HIDDEN = "_"
"""What a snapshot's name begins with that is no snapshot of anyone's: the origin of a clone of "now". Public names begin otherwise."""

_PREFIX = "iqn.2026-11.io.dr:"
_LONGEST = 200  # bytes; RFC 3720 section 3.2.6.1 allows 223
_OTHER = re.compile(r"[^a-z0-9.:-]")


def iqn(array: str, volume: str, lun: str) -> str:
    """The iSCSI name under which a LUN is offered. Where the plain name has characters that RFC 3722 forbids, or is too long, a hash
    keeps it unique."""
    plain = f"{array}:{volume}:{lun}"
    tame = _OTHER.sub("-", plain.lower())
    if tame == plain and len(_PREFIX) + len(plain) <= _LONGEST:
        return _PREFIX + plain
    digest = hashlib.sha256(plain.encode()).hexdigest()[:16]
    return f"{_PREFIX}{tame[: _LONGEST - len(_PREFIX) - 17]}:{digest}"
