"""What the pool holds beside what is dr's: file systems and zvols, with what they take. Changes nothing."""

from __future__ import annotations

from typing import Any

from . import listing
from .core import Context, op, zfs

__all__ = ["inventory"]

_AT_ONCE = 200
"""Names in one command: a command line is not endless."""


@op("inventory")
def inventory(ctx: Context) -> list[dict[str, Any]]:
    """Rows of name, kind (filesystem, zvol), used, and size: a zvol's, or a quota's; None."""
    pool = ctx.pool.partition("/")[0]
    said = zfs(ctx, "list", "-rH", "-t", "filesystem,volume", "-o", "name", pool)
    names = [
        name for name in said.splitlines() if name != pool and not (name == ctx.root or name.startswith(ctx.root + "/"))
    ]
    found = []
    for at in range(0, len(names), _AT_ONCE):
        rows = listing.values(ctx, names[at : at + _AT_ONCE], ("type", "used", "volsize", "quota"))
        for name in names[at : at + _AT_ONCE]:
            row = rows.get(name)
            if row is None:
                continue  # it was destroyed while we looked
            zvol = row.get("type") == "volume"
            size = row.get("volsize" if zvol else "quota", "0")
            found.append(
                {
                    "name": name,
                    "kind": "zvol" if zvol else "filesystem",
                    "used": int(row.get("used", "0")),
                    "size": int(size) if size.isdigit() and int(size) else None,
                }
            )
    return found
